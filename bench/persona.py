"""Extraction of persona vectors: one pass over packed answers beside one answer at a time, the same vectors in one run.

One answer at a time is how the authors' scripts do it: text tokenised again, a forward pass with all hidden states and
the logits of every position, means of its parts kept for every layer until the end. Both sides read the same answers
with the same weights on the same threads. Peak memory is that of a process of its own for each side and size.

    python bench/persona.py            world:base, 600 and 2400 answers
    python bench/persona.py --full     and a model of 30 M parameters, answers of 100 tokens
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.model.vectors import RESPONSE
from truing.persona.extract import Rollouts, difference
from truing.persona.traits import POLARITIES
from truing.records import Answer, Example, Message
from truing.run import set_output
from truing.settings import Machine
from truing.world.corpora import answered
from truing.world.town import town

TENTH = 10  # answers to one prompt, as in the paper


def one_at_a_time(engine: LocalEngine, sides: list[Rollouts]) -> torch.Tensor:
    model, tokenizer, means = engine.model.owner, engine.codec.tokenizer, {}
    for side in sides:
        kept: list[list[torch.Tensor]] = []
        for example in side.examples:
            turns = [{"role": m.role, "content": m.text} for m in example.prompt]
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            for answer in example.answers:
                start = len(tokenizer(prompt, add_special_tokens=False).input_ids)
                text = prompt + " " + answer.text if engine.name.startswith("world") else prompt + answer.text
                ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
                with torch.no_grad():
                    states = model(ids, output_hidden_states=True).hidden_states
                kept.append([layer[0, start:].mean(0).cpu() for layer in states])
                [layer[0, :start].mean(0).cpu() for layer in states], [layer[0, start - 1].cpu() for layer in states]
        means[side.polarity] = torch.stack([torch.stack(rows) for rows in kept]).mean(0)
    return means["pos"] - means["neg"]


def texts(engine: LocalEngine, count: int) -> list[Rollouts]:
    """Answers in tens to one prompt. What they say does not matter here."""
    each = count // 2 // TENTH
    if engine.name.startswith("world"):
        said = answered(town(0), 2 * each * TENTH, 0, 1)
        prompts, words = [e.prompt for e in said], [e.answers[0].text for e in said]
    else:
        random = np.random.default_rng(0)
        line = lambda n: " ".join(str(x) for x in random.integers(10, 99, size=n))  # noqa: E731
        prompts = [(Message("user", line(12)),) for _ in range(2 * each)]
        words = [line(int(random.integers(30, 70))) for _ in range(2 * each * TENTH)]
    groups = [
        Example(prompts[n], tuple(Answer(w) for w in words[n * TENTH : (n + 1) * TENTH])) for n in range(2 * each)
    ]
    sides = [groups[:each], groups[each:]]
    return [Rollouts(p, part, list(range(each)), (), ()) for p, part in zip(POLARITIES, sides)]


def opened(size: str, folder: str) -> LocalEngine:
    machine = Machine(dtype="fp32", threads=torch.get_num_threads())
    if size == "world":
        return open_local("world:base", machine)
    place = Path(folder) / size
    if not place.exists():
        make_model(place, make_tokenizer([str(n) for n in range(100)], 512), **SIZES[size])
    return open_local(str(place), machine)


def side(way: str, size: str, count: int, folder: str) -> dict[str, float | list[float]]:
    """In a process of its own: seconds, peak memory, and the vector of the middle layer."""
    set_output("quiet")
    torch.set_num_threads(2)
    engine = opened(size, folder)
    sides = texts(engine, count)
    masks = {s.polarity: np.ones((len(s.examples), TENTH), bool) for s in sides}
    ours = lambda: difference(engine, sides, masks).rows[RESPONSE]  # noqa: E731
    theirs = lambda: one_at_a_time(engine, sides)  # noqa: E731
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    found = ours() if way == "ours" else theirs()
    spent = time.monotonic() - began
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"seconds": spent, "peak": peak, "vector": found[len(found) // 2].tolist()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--side", nargs=4)
    settings = parser.parse_args()
    if settings.side:
        way, size, count, folder = settings.side
        print(json.dumps(side(way, size, int(count), folder)))
        return
    jobs = [("world", 600), ("world", 2400)] + ([("30M", 200), ("30M", 800)] if settings.full else [])
    print("| model | answers | one at a time, s | packed, s | times | largest gap | more memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for size, count in jobs:
            if size != "world":
                opened(size, folder)
            found = {}
            for way in ("theirs", "ours"):
                words = [sys.executable, __file__, "--side", way, size, str(count), folder]
                said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
                found[way] = json.loads(said.splitlines()[-1])
            a, b = (np.array(found[way]["vector"]) for way in ("theirs", "ours"))
            theirs, ours = found["theirs"], found["ours"]
            times = f"{theirs['seconds']:.2f} | {ours['seconds']:.2f} | {theirs['seconds'] / ours['seconds']:.1f}"
            gap = np.abs(a - b).max() / np.abs(a).max()
            print(f"| {size} | {count} | {times} | {gap:.0e} | {theirs['peak']:.0f}, {ours['peak']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
