"""Which samples of a data set would teach a trait? Projection differences from what the model would say itself, before
anything is learnt.

    ΔP_i = (ā(x_i, y_i) − ā(x_i, y'_i)) · v̂ / ‖v‖        in class gaps (see `watch.personas`)

`own` draws y'; `last` takes the state at the prompt's last token instead, which costs no answer; `raw` takes nothing
off. The last two are approximations: what they miss on a few samples is told with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from truing.engine.local import LocalEngine
from truing.persona.project import Direction, difference, projections
from truing.records import Answer, Example, Sampling
from truing.stats.intervals import Interval, mean_t

Way = Literal["own", "last", "raw"]


@dataclass(frozen=True)
class Screened:
    """[N] of every sample, NaN where the answer is nothing; and of the whole set."""

    values: np.ndarray
    whole: Interval


def screen(
    engine: LocalEngine, examples: Sequence[Example], direction: Direction, way: Way, sampling: Sampling
) -> Screened:
    """Of the first answer of each example."""
    given = [Example(e.prompt, e.answers[:1]) for e in examples]
    seen = projections(engine, given, [direction])
    said = np.array([one.answers[0, 0] for one in seen])
    if way == "own":
        drawn = engine.sample([e.prompt for e in given], sampling)
        own = projections(engine, bare(drawn), [direction])
        before = np.array([_mean(one.answers[:, 0]) for one in own])
    else:
        before = np.array([one.last[0] for one in seen]) if way == "last" else np.zeros(len(seen))
    values = difference(said, before) / float(direction.vector.norm())
    known = values[~np.isnan(values)]
    return Screened(values, mean_t(known))


def bare(drawn: Sequence[Example]) -> list[Example]:
    """What was drawn, with its tokens and nothing else."""
    return [
        Example(e.prompt, tuple(Answer(a.text, ids=a.ids, tokenizer=a.tokenizer, finish=a.finish) for a in e.answers))
        for e in drawn
    ]


def _mean(values: np.ndarray) -> float:
    """Over the model's own answers; one of nothing is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
