"""What the studies of preference pre-training learn from: the world's sites and its crowd, with no question on both the
learning and the testing side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Literal

from truing.claims.work import MACHINE
from truing.data import comparisons, pretraining, split
from truing.data.describe import length_only
from truing.engine import open_engine
from truing.records import Example, Judgement, Sampling, UserError
from truing.world import corpora
from truing.world.measure import LONGEST
from truing.world.town import town

Source = Literal["none", "votes", "comments", "reverts", "mixed", "versus", "text"]
Built = tuple[list[Example], Counter[str]]
DRAWN, TEST = 20_000, 1200  # comparisons that the crowd is asked for, two thirds of them ties; pairs that are tested on
SITES: tuple[Source, ...] = ("votes", "comments", "reverts")


@cache
def target() -> tuple[list[Example], list[Example]]:
    """The crowd's comparisons: to fine-tune on, and to test on. The same in every study."""
    clear, _ = comparisons(corpora.tranches(town(0), DRAWN, 2112))
    return side(clear, "learnt"), Random("tested").sample(side(clear, "tested"), TEST)


@cache
def limits() -> dict[str, float]:
    """What no model can exceed on the test, and what taking the longer answer gets there."""
    tested = target()[1]
    return {
        "ceiling": corpora.CROWD.ceiling(town(0), tested, "overall"),
        "longer": length_only(tested) or 0.0,
    }


def side(examples: Sequence[Example], name: Literal["learnt", "tested"]) -> list[Example]:
    """Those whose question is for learning, or for testing."""
    return split(examples, {"learnt": 0.75, "tested": 0.25})[name]


def site(source: Source, pairs: int, seed: int, model: str) -> list[Example]:
    """So many pairs of a site, or of all three. In `versus` the model answers beside an expert."""
    if source in ("mixed", "text"):
        sizes = [(pairs + i) // len(SITES) for i in range(len(SITES))]
        return [pair for size, one in zip(sizes, SITES) for pair in site(one, size, seed, model)]
    place = town(0)
    makers: dict[str, tuple[float, Callable[[int], Built]]] = {  # how many questions a pair takes, and some more
        "votes": (1.2, lambda k: pretraining.votes(side(corpora.threads(place, k, seed), "learnt"))),
        "comments": (5.5, lambda k: pretraining.comments(side(corpora.comments(place, k, seed), "learnt"))),
        "reverts": (1.6, lambda k: pretraining.reverts(side(corpora.reverts(place, k, seed), "learnt"))),
        "versus": (2.4, lambda k: _versus(side(corpora.demonstrations(place, k, seed), "learnt"), model, seed)),
    }
    questions, make = makers[source]
    found, _ = make(int(questions * pairs) + 50)
    if len(found) < pairs:
        raise UserError(f"{source}: {pairs} pairs were asked for, and {len(found)} came.")
    return Random(f"{source} {seed}").sample(found, pairs)


def _versus(people: Sequence[Example], model: str, seed: int) -> Built:
    return pretraining.versus(people, sampled(model, people, 1, seed))


def sampled(model: str, asked: Sequence[Example], n: int, seed: int) -> list[Example]:
    """The model's own answers to these prompts, each prompt once."""
    prompts = list(dict.fromkeys(e.prompt for e in asked))
    return list(open_engine(model, MACHINE).sample(prompts, Sampling(n=n, max_tokens=LONGEST, seed=seed)))


def coins(examples: Sequence[Example], seed: int) -> list[Example]:
    """The same pairs, with a coin for a judgement."""
    rng = Random(f"coins {seed}")
    return [replace(e, judgements=(Judgement("order", rng.choice(((0, 1), (1, 0)))),)) for e in examples]
