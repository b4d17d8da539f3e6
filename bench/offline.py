"""What a step of A-LoL costs beside a step of imitation, and an epoch of it beside one of TRL's DPO.

    python bench/offline.py                     in the environment of `make bench`; some minutes

Both ratios are of one run: the same model, the same rows, one after another, in several rounds. An epoch of A-LoL is
over the share of answers that is left, here the 67 % of the paper's dialogue data, and its reference pass is counted
in; what rewards and values cost depends on the judges and is not. TRL runs with its defaults, as in `run.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from data import WARMUP, given, make_models, pairs, tokenise, write
from rich.console import Console
from rich.table import Table
from run import BATCH, HERE, environment
from transformers import AutoTokenizer

SIDES = {"imitation": ("ours.py", "sft"), "a_lol_seq": ("ours.py", "a_lol_seq"), "DPO in TRL": ("peer_trl.py", "dpo")}
STEPS, KEPT, REPEATS = 12, 0.67, 3


def seconds(side: str, task: str, folder: Path, model: Path, rows: Path) -> tuple[float, float]:
    """Of a row: its share of a step, and of what was done beforehand."""
    out = folder / f"{task}.json"
    flags = ["--task", task, "--model", str(model), "--data", str(rows), "--out", str(out), "--batch", str(BATCH)]
    command = [sys.executable, str(HERE / side), *flags, "--steps", str(STEPS)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    told: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return told["seconds"] / told["rows"], told["once_s"] / told["rows"]


def main() -> None:
    source, found = pairs()
    with tempfile.TemporaryDirectory(prefix="bench-offline-") as scratch:
        folder = Path(scratch)
        model, _ = make_models(folder, found, "6M", 4000)
        every = tokenise(found, AutoTokenizer.from_pretrained(model))
        rows = write(folder / "rows.jsonl", given(every, WARMUP + STEPS, BATCH))
        rounds = [{n: seconds(*side, folder, model, rows) for n, side in SIDES.items()} for _ in range(REPEATS)]
    # One after the other in each round: what slows a machine down for a while slows all sides down.
    spent = {name: min(each[name] for each in rounds) for name in SIDES}
    ratios = sorted(each["a_lol_seq"][0] / each["imitation"][0] for each in rounds)
    table = Table("", "a step, s a row", "beforehand, s a row", title=f"6M parameters, vocabulary of 4k, {source}")
    for name, (step, once) in spent.items():
        table.add_row(name, f"{step:.4f}", f"{once:.4f}")
    say = Console().print
    say(table)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    say(f"a step of a_lol_seq takes {shown} of one of imitation, in {REPEATS} rounds")
    ratio = sum(spent["DPO in TRL"]) / (KEPT * spent["a_lol_seq"][0] + spent["a_lol_seq"][1])
    say(f"an epoch on {KEPT:.0%} of the answers is {ratio:.1f} times as fast as one of DPO in TRL")


if __name__ == "__main__":
    main()
