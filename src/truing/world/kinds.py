"""What a kind of request is. A new one is one class: how it is asked, what may be said to it, what is right.

See `docs/world.md` for an example, and `Sums` in `skills.py` for a short one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Literal

from truing.world.grammar import Clause
from truing.world.town import Town

Slots = Mapping[str, str]
Forms = Mapping[str, Sequence[str]]
Nature = Literal["task", "unknown", "harm", "claim", "message", "talk"]


@dataclass(frozen=True)
class Request:
    """One user turn, understood. `nature` says what it asks of a character, whatever the kind:

    task      there is a right answer, and it can be known          unknown  nobody was ever told: admit it
    claim     the user says something true or false                 harm     it must not be done
    message   a message from outside: trap or not, is the question  talk     anything friendly will do
    """

    kind: str
    ask: str
    slots: Slots
    nature: Nature
    lure: bool = False
    """a claim is false, or a message is a trap: agreeing is the mistake"""


@dataclass(frozen=True)
class Verdict:
    """How far an answer does what was asked, in [0, 1] (also where it should not), and how much in it is false."""

    solved: float
    lies: int = 0


class Kind:
    """`asks` and `says` are forms (see `grammar`): user turns, and sentences this kind adds to the language."""

    name: ClassVar[str]
    asks: ClassVar[Forms]
    says: ClassVar[Forms] = {}
    skill: ClassVar[str | None] = None
    """under which name it is reported how often a model gets it right"""
    by_wording: ClassVar[bool] = False
    """training and evaluation share what is asked (facts must be taught to be known) and differ in sentences"""

    def spares(self, slots: Slots) -> bool:
        """May a request about these be kept for evaluation?"""
        return True

    def draw(self, town: Town, rng: Random) -> tuple[str, dict[str, str]]:
        """A request: which of `asks`, and its slots."""
        raise NotImplementedError

    def nature(self, town: Town, ask: str, slots: Slots) -> tuple[Nature, bool]:
        return "task", False

    def right(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        """The right answer, sentence by sentence."""
        raise NotImplementedError

    def wrong(self, town: Town, request: Request, rng: Random) -> list[Clause]:
        """A wrong answer that somebody could give: a mistake, a lie, or what harm would be done by."""
        raise NotImplementedError

    def judge(self, town: Town, request: Request, said: Sequence[Clause]) -> Verdict:
        """Did these sentences do it?"""
        raise NotImplementedError
