"""What may be wrong with comparisons that can be learnt from all the same: labels the wrong way round, nothing to test
on. Sentences for the run, not errors: data that say the opposite of other data may be meant to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from truing.data.describe import clicked
from truing.data.quirks import direction
from truing.data.tranches import tranche
from truing.records import Example
from truing.stats import pairs
from truing.stats.intervals import wilson

RED = ("harmless", "redteam", "red-team", "red_team")  # in a file's name, or in what was asked of those who judged


def followed_the_better(path: str, examples: Sequence[Example]) -> str | None:
    """Red-teamers follow the more harmful reply, and the other one is stored as better: if conversations go on with the
    better reply there, somebody stored what was clicked. (Bai et al., arXiv 2204.05862, §2.)"""
    names = {path, *map(tranche, examples)}
    if not any(word in name.lower() for name in names for word in RED):
        return None
    went = clicked(examples)
    better, total = went.get(0, 0), sum(went.values())
    if not total or wilson(better, total).low <= 0.5:
        return None
    return (
        f"{path}: of its conversations {direction(went)}; red-team data call the less harmful reply better, and follow "
        "the other: these labels may be the wrong way round"
    )


def below_chance(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Far below one half is a flipped label more often than a discovery."""
    found = []
    for name, part in pairs.by(rows, "tranche").items():
        right = pairs.accuracy(part)
        if len(part) >= pairs.FEWEST and right.high < 0.5:
            found.append(
                f"{name}: {right.estimate:.1%} of {len(part)} held-out pairs are in the right order, which is below "
                "chance: its labels may be the wrong way round, or it asks for the opposite of the other data"
            )
    return found
