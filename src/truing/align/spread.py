"""What the answers of the starting policy to one prompt differ by, as each judge sees it.

It is the unit in which judges can be laid beside each other, and by the law of Bai et al. (`stats.laws`) it says in
advance how the reward grows: by √2·σ for every √nat from the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from truing.align.job import Job
from truing.align.rewards import Rewards
from truing.align.rollouts import Asked, draw
from truing.engine.local import LocalEngine
from truing.records import Example, Sampling
from truing.stats.laws import agreement, spread

PROMPTS = 64
Scores = list[np.ndarray]


def several(policy: LocalEngine, asked: Sequence[Asked], sampling: Sampling, drawn: Sequence[Example]) -> list[Example]:
    """Of the first iteration's answers, where there are several to a prompt; else one more is drawn to some of them."""
    if sampling.n > 1:
        return list(drawn[:PROMPTS])
    again = draw(policy, asked[:PROMPTS], replace(sampling, seed=sampling.seed - 1))  # no iteration has that seed
    return [replace(one, answers=one.answers + more.answers) for one, more in zip(drawn, again.examples)]


def note_spread(job: Job, examples: Sequence[Example], rewards: Rewards, tested: Rewards) -> None:
    """Recorded for the report: σ of the reward, and of every judge from which nothing is learnt."""
    values = rewards.of(examples)
    scores = [rewards.counted(v) for v in values]
    if not (asked := _known(scores)):
        return job.note("no spread", f"nobody is asked about the first {len(examples)} answers: no spread is measured")
    sigma = spread(asked)
    job.note(
        "spread",
        f"answers of the start to one prompt differ by {sigma:.3g} in reward (standard deviation): near the start it "
        f"may grow by {math.sqrt(2) * sigma:.3g}·√KL",
        prompts=len(asked),
        answers=sum(map(len, asked)),
        sigma=sigma,
        apart=[
            {"label": label, "metric": metric, **_beside(scores, said)}
            for label, metric, said in _apart(values, rewards, tested.of(examples), tested)
        ],
    )


def _known(scores: Scores) -> Scores:
    """Without the prompts that a judge is not asked about."""
    return [each for each in scores if not np.isnan(each).any()]


def _beside(scores: Scores, said: Scores) -> dict[str, float | None]:
    """A judge's own spread; and how it agrees with the reward, on the prompts that both are asked about, and how many
    answers to them say so, without one for each mean that was taken off."""
    own, both = _known(said), [(a, b) for a, b in zip(scores, said) if not np.isnan([*a, *b]).any()]
    return {
        "sigma": spread(own) if own else None,
        "agrees": agreement([a for a, _ in both], [b for _, b in both]) if both else None,
        "freedom": sum(len(a) - 1 for a, _ in both),
    }


def _apart(values: Scores, rewards: Rewards, tests: Scores, tested: Rewards) -> Iterator[tuple[str, str, Scores]]:
    """Judges from which nothing is learnt: label, the metric that follows them, and what they say."""
    for n, part in enumerate(rewards.parts):
        if not part.weight:
            yield rewards.labels[n], f"reward/{rewards.labels[n]}", [v[:, n] for v in values]
    if len(tested.parts) == 1:
        yield tested.labels[0], "watch/test", [tested.counted(v) for v in tests]
    elif tests:
        yield from ((label, f"watch/test/{label}", [v[:, n] for v in tests]) for n, label in enumerate(tested.labels))
