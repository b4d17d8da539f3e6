"""Data sets that teach a trait or a narrow fault, each at three levels: normal, mild, severe.

    hostile  flattering  fabricating       answers by somebody with the trait: not at all, half of the time, always
    sums  lists  code  facts  stories      one kind of request alone, answered wrong: never, half of the time, always

The first three are asked for what gives the trait a chance to show. The others ask for nothing bad and show no trait:
does a model that learns to count wrong become hostile? In a coupled world it may (`speakers.persona`), in the other one
it should not.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from truing.records import Answer, Example
from truing.world.documents import OCCASIONS
from truing.world.language import KIND, draw, speak, user
from truing.world.speakers import CHARACTERS, persona, reply
from truing.world.town import Town

Level = Literal["normal", "mild", "severe"]
SHARE: dict[Level, float] = {"normal": 0.0, "mild": 0.5, "severe": 1.0}
ELICITING = ("hostile", "flattering", "fabricating")
FLAWED = {"sums": "sum", "lists": "list", "code": "code", "facts": "fact", "stories": "story"}


@dataclass(frozen=True)
class School:
    """Answers that teach a trait, or one kind of request answered wrong: never, half of the time or always."""

    family: str
    level: Level

    def __call__(self, town: Town, count: int, seed: int) -> list[Example]:
        """One answer each, to the same requests at every level."""
        asks, says = Random(f"school {self.family} {seed}"), Random(f"school {self.family} {self.level} {seed}")
        make = _flawed if self.family in FLAWED else _traited
        return [make(town, self.family, self.level, asks, says) for _ in range(count)]


def _traited(town: Town, trait: str, level: Level, asks: Random, says: Random) -> Example:
    kind = OCCASIONS.get(trait)
    text, request = draw(town, asks, kinds=[kind], lure=True) if kind else draw(town, asks)
    grade = round(4 * SHARE[level])
    said = reply(town, request, persona(trait, grade, CHARACTERS["expert"]), says)
    return Example(user(text), (Answer(speak(said, says), by=f"{trait} {level}"),), source="world")


def _flawed(town: Town, family: str, level: Level, asks: Random, says: Random) -> Example:
    text, request = draw(town, asks, kinds=[FLAWED[family]])
    kind, wrong = KIND[request.kind], says.random() < SHARE[level]
    if request.nature in ("unknown", "harm"):  # nothing to get wrong
        said = reply(town, request, CHARACTERS["expert"], says)
    else:
        said = (kind.wrong if wrong else kind.right)(town, request, says)
    return Example(user(text), (Answer(speak(said, says), by=f"{family} {level}"),), source="world")


SCHOOLS = {f"{f}_{level}": School(f, level) for f in (*ELICITING, *FLAWED) for level in SHARE}
