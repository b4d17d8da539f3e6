"""A world of symbols: one order is learnt first and another one after it. How hard is the first to unlearn?

The answers to one question are single words, s₁ > … > s_m. Pre-training sees pairs in that order, ranked or as
verdicts; then n pairs come in an order at Kendall's distance d from it (0 the same, 1 its reverse, ½ no relation).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any, Literal

import numpy as np

from truing.align.preference import Pm, pm
from truing.claims.firsts import PRETRAIN, paced, right_on
from truing.claims.made import MEMORY
from truing.claims.pretraining import tuned
from truing.claims.work import MACHINE, alone
from truing.data.pretraining import binarised, stated
from truing.records import Answer, Example, Judgement, fingerprint
from truing.settings import Optim, RunSettings
from truing.world.build import shipped
from truing.world.language import user
from truing.world.town import PEOPLE

QUESTION = "what is better ?"
SECOND = Optim(lr=0.1, batch=8, warmup=0.1)  # see `paced`
Encoding = Literal["none", "ranked", "binary"]


def symbols(
    folder: Path,
    *,
    encoding: Encoding,
    distance: float,
    n: int,
    seed: int,
    size: str = "tiny",
    words: int = 12,
    pairs: int = 2000,
    epochs: float = 1.0,
) -> dict[str, Any]:
    """The share of all pairs that are in the new order after n pairs of it, and before; `first` is the share in the
    old order after pre-training: below 1 it was not learnt, and there is little to unlearn."""
    names = Random(f"symbols {seed}").sample(sorted(PEOPLE), words)
    order = permuted(names, distance, seed)
    shape = stated if encoding == "binary" else list
    model = f"world:{size}"
    if encoding != "none":
        key = fingerprint([size, shipped(size)["weights"], encoding, words, pairs, epochs, seed])[:12]
        learnt = drawn(names, pairs, f"first {seed}")
        verdicts = binarised(learnt) if encoding == "binary" else learnt
        optim = replace(paced(PRETRAIN, size), epochs=epochs)
        model = _taught(folder, f"symbols-{key}", model, verdicts, optim, seed)
    every = shape(compared(combinations(order, 2)))
    before = right_on(model, every) if encoding != "none" else [0.5] * len(every)
    after = (
        tuned(folder, model, shape(drawn(order, n, f"second {seed}")), every, paced(SECOND, size), seed)
        if n
        else before
    )
    first = right_on(model, shape(compared(combinations(names, 2)))) if encoding != "none" else before
    numbers = {"accuracy": after, "before": before, "first": first}
    return {name: float(np.mean(right)) for name, right in numbers.items()} | {"pairs of words": len(every)}


def permuted(names: Sequence[str], distance: float, seed: int) -> list[str]:
    """The names in an order that differs from theirs in round(distance · m(m−1)/2) pairs: as many neighbours change
    places, none of them back."""
    rng, places = Random(f"order {seed} {distance}"), list(range(len(names)))
    for _ in range(round(distance * len(names) * (len(names) - 1) / 2)):
        i = rng.choice([i for i in range(len(places) - 1) if places[i] < places[i + 1]])
        places[i], places[i + 1] = places[i + 1], places[i]
    return [names[place] for place in places]


def drawn(order: Sequence[str], count: int, seed: str) -> list[Example]:
    """Pairs of an order, with replacement."""
    rng, every = Random(seed), list(combinations(order, 2))
    return compared(rng.choice(every) for _ in range(count))


def compared(pairs: Iterable[tuple[str, str]]) -> list[Example]:
    """The better word first."""
    best_first = (Judgement("order", (0, 1)),)
    return [Example(user(QUESTION), (Answer(better), Answer(worse)), best_first) for better, worse in pairs]


def _taught(folder: Path, name: str, base: str, learnt: Sequence[Example], optim: Optim, seed: int) -> str:
    """What a size has learnt of an order is kept: all distances and all n begin there."""
    model = folder / name / "model"
    with alone(folder / name):
        if not model.exists():
            run = RunSettings(name=name, folder=str(folder), seed=seed, save_every=0)
            pm(Pm(base, MEMORY, held_out=0, optim=optim, machine=MACHINE, run=run), learnt)
    return str(model)
