"""A claim of a paper, the cells it is judged by, and what became of it.

A cell is one study with its parameters: something is trained or asked, and numbers come back. Which cells a claim needs
is written down before any of them runs; so is the test that its judge carries out on what they found. Cells are rows of
a file that only grows: a command that was killed goes on, claims share what several of them need, and the few cells of
the quick profile are among those of the full one. Below its number of seeds a claim is inconclusive, whatever it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from truing.records import fingerprint
from truing.stats.intervals import Interval
from truing.world.build import SIZES, shipped

Study = Callable[..., Mapping[str, Any]]
Profile = Literal["quick", "full"]
Leaning = Literal["", "support", "no support"]
Word = Literal["supported", "not supported", "inconclusive", "not run here"]
MARKS = {
    "verified": "checked against the paper or its own descriptions",
    "reported": "as summaries report it, not checked against the text",
    "unsure": "remembered, not checked",
    "ours": "no paper says so: an expectation of ours",
}


@dataclass(frozen=True)
class Cell:
    """One call of a study. `quick` cells are run in both profiles."""

    study: Study
    params: Mapping[str, Any]
    quick: bool = False

    @cached_property
    def key(self) -> str:
        """A cell is another one when the study, its version, or the world's checkpoints are others."""
        module = self.study.__module__
        version = getattr(self.study, "version", 1)
        return fingerprint([module, self.study.__name__, version, dict(self.params), _models(self.params)])


@dataclass(frozen=True)
class Found:
    """What cells have found, in the order in which the claim names them."""

    rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]

    def where(self, **params: Any) -> Found:
        """Those with these parameters."""
        return Found([(p, f) for p, f in self.rows if all(p.get(name) == value for name, value in params.items())])

    def params(self, name: str) -> list[Any]:
        """The different values of a parameter, in order."""
        return list(dict.fromkeys(p[name] for p, _ in self.rows if name in p))

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Number:
    """One line of a card. A control is what must fail, or must not differ, if the effect is what it seems."""

    label: str
    value: Interval | float
    role: Literal["effect", "control", "context"] = "effect"


@dataclass(frozen=True)
class Curve:
    """Points (x, mean, low, high) for a card's picture."""

    label: str
    points: Sequence[tuple[float, float, float, float]]
    only: Literal["", "line", "dots"] = ""


@dataclass(frozen=True)
class Picture:
    title: str
    x: str
    y: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class Outcome:
    """What the judge says. `conditions`: what has to come out, in a few words, and whether it did; None where the cells
    cannot tell."""

    conditions: Mapping[str, bool | None]
    why: str
    numbers: Sequence[Number] = ()
    pictures: Sequence[Picture] = ()

    @property
    def holds(self) -> bool | None:
        """Whether all do: False if one does not, None if none fails and one cannot be told."""
        parts = list(self.conditions.values())
        if False in parts:
            return False
        return None if not parts or None in parts else True


@dataclass(frozen=True)
class Claim:
    """`says`: the paper's statement in our words, with `mark` for how sure we are that it says so. `test`: what is done
    here, and what has to come out."""

    id: str
    title: str
    says: str
    mark: Literal["verified", "reported", "unsure", "ours"]
    test: str
    cells: Sequence[Cell]
    judge: Callable[[Found], Outcome]
    seeds: int = 5

    def chosen(self, profile: Profile) -> list[Cell]:
        return [cell for cell in self.cells if cell.quick or profile == "full"]


@dataclass(frozen=True)
class Card:
    """A claim and what became of it."""

    claim: Claim
    verdict: Word
    why: str
    conditions: Mapping[str, bool | None] = field(default_factory=dict)
    numbers: Sequence[Number] = ()
    pictures: Sequence[Picture] = ()
    cells: int = 0
    seconds: float = 0.0
    seeds: Sequence[Any] = field(default_factory=tuple)
    leaning: Leaning = ""
    """what the verdict would be, had it its seeds"""


def card(claim: Claim, found: Found, seconds: float) -> Card:
    """Judge a claim by what was found."""
    if not claim.cells:
        return Card(claim, "not run here", claim.judge(found).why)
    if not len(found):
        return Card(claim, "not run here", "none of its cells was run")
    outcome, seeds = claim.judge(found), tuple(found.params("seed"))
    verdict: Word = "inconclusive" if outcome.holds is None else "supported" if outcome.holds else "not supported"
    why = outcome.why
    leaning: Leaning = ""
    if len(seeds) < claim.seeds:
        leaning = "" if outcome.holds is None else "support" if outcome.holds else "no support"
        hint = f" (it would be {leaning})" if leaning else ""
        verdict, why = "inconclusive", f"{len(seeds)} of {claim.seeds} seeds{hint}; {why}"
    said = (verdict, why, outcome.conditions, outcome.numbers, outcome.pictures)
    return Card(claim, *said, len(found), seconds, seeds, leaning)


def grid(study: Study, quick: Callable[[dict[str, Any]], bool] = lambda _: False, **axes: Sequence[Any]) -> list[Cell]:
    """A cell for each combination of the axes' values; `quick` says which belong to the quick profile."""
    points: list[dict[str, Any]] = [{}]
    for name, values in axes.items():
        points = [{**point, name: value} for point in points for value in values]
    return [Cell(study, point, quick(point)) for point in points]


def _models(params: Mapping[str, Any]) -> list[str]:
    """The weights of the world's checkpoints that these parameters name."""
    named = [one for value in params.values() for one in (value if isinstance(value, list | tuple) else [value])]
    return [f"{size} {shipped(size)['weights']}" for size in SIZES if size in named]
