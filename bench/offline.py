"""What a step of A-LoL costs beside a step of imitation, and an epoch of it beside one of TRL's DPO.

    python bench/offline.py                     in the environment of `make bench`; some minutes

The steps take turns in one process, on the same rows with one engine, so that whatever slows the machine down slows
both down. An epoch of A-LoL is over the share of answers that is left, here the 67 % of the paper's dialogue data, and
its reference pass is counted in; what rewards and values cost depends on the judges and is not. TRL runs with its
defaults, as in `run.py`; the two sides of that ratio are processes that follow each other, in several rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data import WARMUP, Row, given, make_models, pairs, tokenise, write
from ours import MICRO, OBJECTIVES, group, reference
from rich.console import Console
from rich.table import Table
from run import BATCH, HERE, environment
from transformers import AutoTokenizer

from truing.engine.local import LocalEngine
from truing.model.load import load_model, load_tokenizer
from truing.model.text import Codec
from truing.settings import Optim

SIDES = {"a_lol_seq": ("ours.py", "a_lol_seq"), "DPO in TRL": ("peer_trl.py", "dpo")}
TURNS = ("sft", "a_lol_seq")
STEPS, KEPT, REPEATS = 12, 0.67, 3


def taking_turns(model: Path, rows: list[Row]) -> np.ndarray:
    """[steps, turns] seconds. Who goes first changes from step to step."""
    torch.set_num_threads(os.cpu_count() or 1)
    trunk, layout = load_model(str(model), dtype=torch.float32, layout="auto")
    engine = LocalEngine(trunk, Codec(load_tokenizer(str(model))), name="ours", fingerprint="", layout=layout)
    engine.prepare(Optim(lr=1e-5, schedule="constant", micro_tokens=MICRO), len(TURNS) * (WARMUP + REPEATS * STEPS))
    groups = [group(row, "a_lol_seq", n) for n, row in enumerate(rows)]
    reference(engine, groups)
    spent = np.zeros((len(rows) // BATCH, len(TURNS)))
    for step in range(len(spent)):
        batch = groups[step * BATCH : (step + 1) * BATCH]
        for turn in (0, 1) if step % 2 else (1, 0):
            began = time.perf_counter()
            engine.forward_backward(engine.work(batch, (OBJECTIVES[TURNS[turn]], 1.0)))
            engine.step()
            spent[step, turn] = time.perf_counter() - began
    return spent[WARMUP:]


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
        steps = taking_turns(model, given(every, REPEATS * STEPS, BATCH))
        rows = write(folder / "rows.jsonl", given(every, WARMUP + STEPS, BATCH))
        rounds = [{n: seconds(*side, folder, model, rows) for n, side in SIDES.items()} for _ in range(REPEATS)]
    table = Table("", "a step, s a row", "beforehand, s a row", title=f"6M parameters, vocabulary of 4k, {source}")
    for name, spent in zip(TURNS, steps.mean(0) / BATCH):
        table.add_row(f"{name}, taking turns", f"{spent:.4f}", "")
    for name in SIDES:
        step, once = min(each[name] for each in rounds)
        table.add_row(f"{name}, alone", f"{step:.4f}", f"{once:.4f}")
    say = Console().print
    say(table)
    thirds = ", ".join(f"{part[:, 1].sum() / part[:, 0].sum():.2f}" for part in np.split(steps, REPEATS))
    ratio = steps[:, 1].sum() / steps[:, 0].sum()
    say(f"a step of a_lol_seq takes {ratio:.2f} of one of imitation, over {len(steps)} steps (by thirds: {thirds})")
    epochs = sorted(sum(r["DPO in TRL"]) / (KEPT * r["a_lol_seq"][0] + r["a_lol_seq"][1]) for r in rounds)
    shown = ", ".join(f"{epoch:.1f}" for epoch in epochs)
    say(f"an epoch on {KEPT:.0%} of the answers is {shown} times as fast as one of DPO in TRL")


if __name__ == "__main__":
    main()
