"""Which part of the data an example is from: data are collected in tranches, by models and from people that differ.

(Bai et al., arXiv 2204.05862, §2.) What holds of a mixture need not hold of any tranche of it, so accuracies, lengths
and scores are shown tranche by tranche.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from truing.records import Example

LATE = 5  # turns from here on are counted together


def tranche(example: Example) -> str:
    """Said by the data, or else what was asked of those who judged."""
    aspects = (j.aspect for j in example.judgements if j.aspect)
    return str(example.meta.get("tranche") or next(aspects, "all"))


def marked(path: str | Sequence[str], sets: Iterable[Sequence[Example]]) -> list[list[Example]]:
    """The data sets of these paths. Several are told apart by the names of their files."""
    paths = [path] if isinstance(path, str) else list(path)
    names = [Path(p).name.split(".")[0] for p in paths]
    names = names if len(set(names)) == len(names) else paths
    if len(paths) == 1:
        return [list(examples) for examples in sets]
    return [
        [replace(e, meta={"tranche": name, **e.meta}) for e in examples]
        for name, examples in zip(names, sets, strict=True)
    ]


def turn(example: Example) -> int:
    """How often the human has spoken."""
    if isinstance(example.prompt, str):
        return 1
    return max(1, sum(message.role == "user" for message in example.prompt))


def turns(examples: Iterable[Example]) -> dict[str, int]:
    """At which turn of the human how many examples are."""
    found = Counter(min(turn(example), LATE) for example in examples)
    return {f"{number}+" if number == LATE else str(number): found[number] for number in sorted(found)}


def strengths(examples: Iterable[Example]) -> dict[str, int]:
    """How many examples were judged how strongly, where that is known; `pm --stronger_than` leaves weak ones out."""
    found = Counter(j.strength for e in examples for j in e.judgements[:1] if j.strength is not None)
    return {f"{strength:g}": found[strength] for strength in sorted(found)}
