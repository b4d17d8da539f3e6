"""Extraction of persona vectors beside one answer at a time: the same answers, the same vectors, one run.

One answer at a time is how the authors' scripts do it: a forward pass for every answer with all hidden states and the
logits of every position, means of its parts kept for every layer until the end. `packed` reads many answers in one
pass, and a prompt once for its ten answers; `heard` reads them while they are written and costs what listening adds to
that, and a pass over the prompts. Every side has the weights, the threads and a process of its own, so peak memory is
its own, too; drawing the answers is part of none.

    python bench/persona.py            world:base, 600 and 2400 answers
    python bench/persona.py --full     and a model of 30 M parameters, answers of 100 tokens
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.model.vectors import RESPONSE
from truing.persona.extract import Rollouts, difference
from truing.persona.traits import POLARITIES
from truing.records import Message, Prompt, Sampling
from truing.run import set_output
from truing.settings import Machine
from truing.world.corpora import prompts
from truing.world.town import town

TENTH, TRIES = 10, 2  # answers to one prompt, as in the paper; of what listening adds, the least is taken
WAYS = ("one at a time", "packed", "heard")
Heard = dict[tuple[int, int], torch.Tensor]


def one_at_a_time(engine: LocalEngine, sides: list[Rollouts]) -> torch.Tensor:
    model, means = engine.model.owner, {}
    for side in sides:
        kept: list[list[torch.Tensor]] = []
        for example in side.examples:
            prompt = engine.codec.prompt_ids(example.prompt)
            for answer in example.answers:
                said = [i for i in answer.ids or () if i not in engine.codec.end_ids]
                if not said:
                    continue
                with torch.no_grad():
                    states = model(torch.tensor([[*prompt, *said]]), output_hidden_states=True).hidden_states
                start = len(prompt)
                kept.append([layer[0, start:].mean(0).cpu() for layer in states])
                [layer[0, :start].mean(0).cpu() for layer in states], [layer[0, start - 1].cpu() for layer in states]
        means[side.polarity] = torch.stack([torch.stack(rows) for rows in kept]).mean(0)
    return means["pos"] - means["neg"]


def asked(engine: LocalEngine, count: int) -> list[Prompt]:
    """So many prompts, half for each side. What they say does not matter here."""
    if engine.name.startswith("world"):
        return [e.prompt for e in prompts(town(0), count, 0)]
    random = np.random.default_rng(0)
    return [(Message("user", " ".join(str(x) for x in random.integers(10, 99, size=12))),) for _ in range(count)]


def drawn(engine: LocalEngine, every: list[Prompt], longest: int, listen: bool = False) -> list[Rollouts]:
    heard: Heard = {}

    def hear(prompt: int, answer: int, states: torch.Tensor) -> None:
        heard[prompt, answer] = states

    said = engine.sample(every, Sampling(n=TENTH, max_tokens=longest), hear=hear if listen else None)
    half = len(every) // 2
    parts = [(said[:half], 0), (said[half:], half)]
    of = [{(p - at, a): s for (p, a), s in heard.items() if 0 <= p - at < half} for _, at in parts]
    return [Rollouts(p, e, list(range(half)), (), (), h) for p, (e, _), h in zip(POLARITIES, parts, of)]


def opened(size: str, folder: str) -> LocalEngine:
    machine = Machine(dtype="fp32", threads=torch.get_num_threads())
    if size == "world":
        return open_local("world:base", machine)
    place = Path(folder) / size
    if not place.exists():
        make_model(place, make_tokenizer([str(n) for n in range(100)], 512), **SIZES[size])
    return open_local(str(place), machine)


def seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def peak(reset: bool = False) -> float:
    """MiB of the process at most, since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) / 1024


def side(way: str, size: str, count: int, folder: str) -> dict[str, float | list[float]]:
    """In a process of its own: seconds, peak memory, and the vector of the middle layer."""
    set_output("quiet")
    torch.set_num_threads(2)
    engine = opened(size, folder)
    every, longest = asked(engine, count // TENTH), 48 if size == "world" else 100
    sides = drawn(engine, every, longest, listen=way == "heard")
    masks = {s.polarity: np.ones((len(s.examples), TENTH), bool) for s in sides}
    one = one_at_a_time if way == "one at a time" else lambda e, s: difference(e, s, masks).rows[RESPONSE]
    before = peak(reset=True)
    began = time.monotonic()
    found = one(engine, sides)
    spent = time.monotonic() - began
    more = peak() - before
    if way == "heard":
        times = [[seconds(lambda b=b: drawn(engine, every, longest, b)) for b in (False, True)] for _ in range(TRIES)]
        spent += max(0.0, min(b for _, b in times) - min(a for a, _ in times))
    return {"seconds": spent, "peak": more, "vector": found[len(found) // 2].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--side", nargs=4)
    settings = parser.parse_args()
    if settings.side:
        way, size, count, folder = settings.side
        print(json.dumps(side(way, size, int(count), folder)))
        return
    jobs = [("world", 600), ("world", 2400)] + ([("30M", 100), ("30M", 300)] if settings.full else [])
    print("| model | answers | way | s | times as fast | largest gap | more memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size, count in jobs:
            if size != "world":
                opened(size, folder)
            first: dict[str, list[float]] = {}
            for way in WAYS:
                words = [sys.executable, __file__, "--side", way, size, str(count), folder]
                said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                found = json.loads(said.splitlines()[-1])
                first = first or found
                a, b = (np.array(one["vector"]) for one in (first, found))
                more = f"{first['seconds'] / found['seconds']:.1f} | {np.abs(a - b).max() / np.abs(a).max():.0e}"
                print(
                    f"| {size} | {count} | {way} | {found['seconds']:.2f} | {more} | {found['peak']:.0f} |", flush=True
                )


if __name__ == "__main__":
    main()
