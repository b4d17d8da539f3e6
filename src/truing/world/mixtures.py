"""Answers of mixed character, for learning from what is there: some by an expert, the others by bad speakers.

Each prompt has two of them, drawn alike and put in order by gold. `half` keeps prompts both of whose answers are among
the better half of all answers, or the worse, as readers' noisy votes have it: a forum's upvoted replies, or its
downvoted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Literal

from truing.records import Answer, Example, Judgement
from truing.world.judge import gold
from truing.world.language import draw, speak, user
from truing.world.speakers import CHARACTERS, reply
from truing.world.town import Town

GOOD, BAD = "expert", ("careless", "reckless", "liar", "evasive")
VOTES, SURPLUS = 0.1, 6  # noise of a vote; pairs that are drawn for each that is kept: about a quarter agree
DIALOGUE: Sequence[str] | None = None  # every kind of request
FACTS, GROUNDED = ("fact",), ("story",)  # a subject and a relation, completed; answers about a text that is given


@dataclass(frozen=True)
class Mixture:
    """Pairs of answers, some by an expert and the others by bad speakers."""

    noise: float = 0.5
    """the share of bad speakers"""
    flips: float = 0.0
    """the share of pairs in the wrong order"""
    half: Literal["", "best", "worst"] = ""
    """of all answers, by votes"""
    kinds: Sequence[str] | None = DIALOGUE

    def __call__(self, town: Town, count: int, seed: int) -> list[Example]:
        if not self.half:
            return self._drawn(town, count, seed)
        rng, every = Random(f"votes {seed}"), self._drawn(town, SURPLUS * count, seed)
        votes = [[gold(town, e.prompt, a.text).overall + rng.gauss(0, VOTES) for a in e.answers] for e in every]
        middle, sign = median(v for pair in votes for v in pair), 1 if self.half == "best" else -1
        return [e for e, pair in zip(every, votes) if all(sign * (v - middle) > 0 for v in pair)][:count]

    def _drawn(self, town: Town, count: int, seed: int) -> list[Example]:
        rng, found = Random(f"mixture {self.noise} {seed}"), list[Example]()
        for _ in range(count):
            text, request = draw(town, rng, kinds=self.kinds)
            names = [rng.choice(BAD) if rng.random() < self.noise else GOOD for _ in range(2)]
            said = tuple(Answer(speak(reply(town, request, CHARACTERS[name], rng), rng), by=name) for name in names)
            worth = [gold(town, user(text), a.text).overall for a in said]
            order = sorted(range(2), key=lambda i: -worth[i])
            order = order[::-1] if rng.random() < self.flips else order
            tied = worth[0] == worth[1]
            verdict = Judgement("order", ((0, 1),) if tied else tuple(order))
            found.append(Example(user(text), said, (verdict,), "world"))
        return found


MIXTURES = {
    "mixed": Mixture(),
    "upvoted": Mixture(half="best"),
    "downvoted": Mixture(half="worst"),
    "mixed_facts": Mixture(kinds=FACTS),
    "clean_stories": Mixture(noise=0.1, kinds=GROUNDED),
    "noisy_stories": Mixture(noise=0.8, kinds=GROUNDED),
}
