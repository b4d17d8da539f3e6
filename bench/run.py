"""The bench: both sides in turn on the same model, rows, order, optimiser and dtype; prints tables, writes them down.

python bench/run.py                 6M parameters, vocabularies of 4k and 32k
FULL=1 python bench/run.py          1M and 30M as well
python bench/run.py --only dpo 4k   runs whose name (6M-4k-dpo) has all these parts; the page stays as it is
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tyro
from data import WARMUP, Row, given, grouped, make_models, pairs, tokenise, with_lengths, write
from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "measurements.md"
BEGIN, END = "<!-- bench:training -->", "<!-- /bench:training -->"
TASKS = ("sft", "pm", "dpo", "sample")
NAMES = {"sft": "SFT", "pm": "preference model", "dpo": "DPO with reference pass", "sample": "sampling, 8 a prompt"}
BATCH = 8
STEPS = {4000: 7, 32000: 2}  # timed; the peer needs half a minute for a DPO step at 32k
COMPARED = 50  # steps whose losses are laid side by side, of one row each so that it does not take half an hour
# What is switched off, by task and vocabulary: each lever alone, where it has something to move.
LEVERS: dict[tuple[str, int], tuple[str, ...]] = {
    ("pm", 4000): ("tree",),
    ("dpo", 4000): ("tree", "cache"),
    ("dpo", 32000): ("answer_head",),
    ("sample", 4000): ("prefill",),
}

Result = dict[str, Any]


@dataclass(frozen=True)
class Options:
    only: tuple[str, ...] = ()
    """run only what has all these parts in its name, such as 6M-4k-dpo"""
    dtype: Literal["fp32", "bf16"] = "fp32"
    threads: int = os.cpu_count() or 1
    full: bool = os.environ.get("FULL") == "1"
    """1M and 30M as well"""
    levers: bool = True
    """also measure ours with each lever switched off"""


@dataclass
class Line:
    """One line of the table: a task at a size, and everything measured for it."""

    name: str
    task: str
    results: dict[str, Result] = field(default_factory=dict)
    """by side and settings, as `ours default`"""
    compared: dict[str, Result] = field(default_factory=dict)
    off: dict[str, Result] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


def main(options: Options) -> int:
    console = Console(width=None if sys.stdout.isatty() else 200)
    source, found = pairs()
    lines = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for size, vocab in shapes(options.full):
            tasks = [t for t in TASKS if all(part in f"{size}-{vocab // 1000}k-{t}" for part in options.only)]
            tasks = [t for t in tasks if t != "sample" or vocab == min(STEPS)]  # the vocabulary hardly matters there
            if not tasks:
                continue
            models = make_models(Path(folder), found, size, vocab)
            rows = tokenise(found, AutoTokenizer.from_pretrained(models[0]))
            for task in tasks:
                line = Line(f"{size}-{vocab // 1000}k", task)
                measure(line, models[task == "pm"], rows, vocab, Path(folder), options, console)
                lines.append(line)
    tables = [speed(lines), *([levers(lines)] if options.levers else [])]
    for table in tables:
        console.print(table)
    if not options.only:
        write_page(tables, source, options)
    for error in (error for line in lines for error in line.errors):
        console.print(error, style="red", markup=False)
    return int(any(line.errors for line in lines))


def shapes(full: bool) -> Iterator[tuple[str, int]]:
    for size in ("1M", "6M", "30M") if full else ("6M",):
        for vocab in STEPS:
            yield size, vocab


def measure(
    line: Line, model: Path, rows: list[Row], vocab: int, folder: Path, options: Options, console: Console
) -> None:
    """Both sides, with the peer's defaults on the rows as drawn and with its best settings on the same rows grouped."""
    steps = STEPS[vocab] if line.task != "sample" else 1
    drawn = given(rows, steps, BATCH)
    orders = {"default": drawn, "best": grouped(drawn, BATCH)}
    if line.task == "sample":
        orders = {settings: with_lengths(order) for settings, order in orders.items()}
    common = ["--task", line.task, "--model", str(model), "--dtype", options.dtype, "--threads", str(options.threads)]

    def run(into: dict[str, Result], key: str, side: str, order: list[Row], *flags: str) -> None:
        console.print(f"{line.name} {line.task}: {key}", style="dim")
        data, out = write(folder / "rows.jsonl", order), folder / "out.json"
        out.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / side), *common, "--data", str(data), "--out", str(out), *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment())
        if done.returncode or not out.exists():
            line.errors.append(f"{line.name} {line.task}, {key}:\n{done.stdout[-2000:]}")
        else:
            into[key] = json.loads(out.read_text(encoding="utf-8"))

    timed = ["--batch", str(BATCH), "--steps", str(steps)]
    for settings, order in orders.items():
        for name, side in SIDES.items():
            run(line.results, f"{name} {settings}", side, order, *timed, "--settings", settings)
    if line.task != "sample" and line.name == "6M-4k":
        steps = COMPARED - WARMUP
        for name, side in SIDES.items():
            run(line.compared, name, side, given(rows, steps, 1), "--batch", "1", "--steps", str(steps))
    if options.levers:
        for lever in LEVERS.get((line.task, vocab), ()):
            run(line.off, lever, SIDES["ours"], orders["default"], *timed, "--off", lever)


SIDES = {"ours": "ours.py", "TRL": "peer_trl.py"}


def environment() -> dict[str, str]:
    """Threads are set by each side itself; nothing may be fetched."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def speed(lines: list[Line]) -> Table:
    rates = ("ours", "TRL default", "TRL best", "× default", "× best", "share of peak")
    peaks = ("MiB ours", "MiB default", "MiB best")
    title = "rows a second, and peak memory above the bare model"
    table = Table("model", "task", *rates, *peaks, "losses differ by", title=title)
    for line in lines:
        ours, trl = ({s: line.results.get(f"{side} {s}", {}) for s in ("default", "best")} for side in SIDES)
        rate, theirs = ([side[s].get("rows_per_s") for s in ("default", "best")] for side in (ours, trl))
        table.add_row(
            line.name,
            NAMES[line.task],
            " / ".join(map(number, rate)),
            *map(number, theirs),
            *(number(a and b and a / b) for a, b in zip(rate, theirs)),
            number(ours["default"].get("share_of_peak")),
            number(ours["default"].get("peak_mib"), 0),
            *(number(trl[s].get("peak_mib"), 0) for s in ("default", "best")),
            differ(line),
        )
    return table


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def differ(line: Line) -> str:
    """The largest difference of two losses at the same step, over all runs that both sides made on the same rows."""
    timed = ({side: line.results.get(f"{side} {s}", {}) for side in SIDES} for s in ("default", "best"))
    runs = [[run.get(side, {}).get("losses", []) for side in SIDES] for run in (line.compared, *timed)]
    both = [run for run in runs if all(run)]
    pairs_of_losses = [pair for ours, trl in both for pair in zip(ours, trl)]
    if not pairs_of_losses:
        return "–"
    return f"{max(abs(a - b) for a, b in pairs_of_losses):.1e} in {max(len(trl) for _, trl in both)} steps"


def levers(lines: list[Line]) -> Table:
    head = ("model", "task", "without", "rows a second", "with", "gain")
    table = Table(*head, title="ours, each lever switched off alone")
    for line in lines:
        full = line.results.get("ours default", {}).get("rows_per_s")
        for lever, result in line.off.items():
            less = result["rows_per_s"]
            table.add_row(line.name, line.task, lever, number(less), number(full), number(full and full / less))
    return table


def write_page(tables: list[Table], source: str, options: Options) -> None:
    """Put the tables between the markers of the page; what stands around them stays."""
    full = "FULL=1 " if options.full else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "trl"))
    text = "\n\n".join(
        [
            f"{date.today()}, {machine()}, {options.threads} threads, {options.dtype}, {libraries}; {source}. "
            f"Command: `{full}make bench`. What is compared, and how, is written in `bench/README.md`.",
            *map(markdown, tables),
        ]
    )
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Measurements\n"
    if BEGIN not in page:
        page += f"\n## Training\n\n{BEGIN}\n{END}\n"
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    partial = PAGE.with_suffix(".partial")
    partial.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    os.replace(partial, PAGE)


def markdown(table: Table) -> str:
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    head, *body = ["| " + " | ".join(cells) + " |" for cells in zip(*columns)]
    return "\n".join([f"**{table.title}**", "", head, "|" + "---|" * len(columns), *body])


def machine() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return next(line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name"))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
