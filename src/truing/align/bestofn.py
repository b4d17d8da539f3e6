"""Best of n: draw n answers, keep those that the preference model likes best.

No training: n buys reward about as √KL, and costs KL(best of n ‖ policy) ≤ ln n − (n−1)/n. The yardstick for methods
that change weights, and a source of demonstrations for those that learn from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from truing.align.rewards import Part, Rewards, as_text
from truing.data import write
from truing.engine import open_engine, require
from truing.engine.best import check_judge, check_varied, rated
from truing.engine.open import model_fingerprint
from truing.records import Answer, Example, Prompt, Sampling, UserError
from truing.schema import Mistake, at_least
from truing.settings import Data, Machine
from truing.spec import ModelSpec
from truing.stats.intervals import Interval, mean_t
from truing.stats.laws import best_of_kl


@dataclass(frozen=True)
class BestOfN:
    """Draw n answers to each prompt and keep the best by a preference model, with their scores; what would fewer do?"""

    model: str
    """who answers"""
    judge: str
    """the preference model that chooses"""
    data: Data
    """prompts; answers they already have are not looked at"""
    out: str = "bestofn.jsonl"
    """file to write: answers with rewards, best first"""
    keep: int | None = None
    """write only so many answers of each prompt, the best ones; 1 makes demonstrations for truing sft"""
    test: tuple[str, ...] = ()
    """who else says what the chosen answers are worth; the names of judges are those of truing compare"""
    sampling: Sampling = field(default_factory=lambda: Sampling(n=8))
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        n = self.sampling.n
        if n < 2:
            raise Mistake(("sampling", "n"), f"is {n}: the best of n needs n of at least 2")
        at_least(self, 1, "keep")
        if self.keep is not None and self.keep > n:
            raise Mistake(("keep",), f"is {self.keep}, and only {n} answers to each prompt are drawn (sampling.n).")
        if len(set(self.test)) < len(self.test):
            raise Mistake(("test",), "names one judge twice.")
        if not isinstance(self.data.path, str):
            raise Mistake(("data", "path"), "must be one file of prompts, not several.")


class Point(NamedTuple):
    """What the best of k is worth on average: to the judge that chooses it, and to each test judge."""

    k: int
    reward: Interval
    test: Mapping[str, Interval]

    @property
    def kl(self) -> float:
        """At most so many nats from the policy."""
        return best_of_kl(self.k)


class Found(NamedTuple):
    pool: list[Example]
    """all answers with rewards, best first"""
    kept: list[Example]
    """what was written of it"""
    curve: list[Point]
    prints: dict[str, str]
    """fingerprints of the policy and of the judge, by which a run knows whether it began as the one with the other"""


def bestofn(settings: BestOfN, examples: Sequence[Example], tests: Sequence[Part] = ()) -> Found:
    """Draw, rate, write. `tests`: the judges that `settings.test` names. A prompt that comes again is asked once, with
    the columns of its first time."""
    policy, judge = (open_engine(spec, settings.machine) for spec in (settings.model, settings.judge))
    require(policy, "sample")
    check_judge(judge, "judge")
    check_varied(settings.sampling, settings.sampling.n, settings.model)
    once: dict[Prompt, Example] = {}
    for example in examples:
        once.setdefault(example.prompt, example)
    texts = as_text(policy.sample(list(once), settings.sampling), list(once.values()))
    pool = [replace(e, answers=_best_first(e)) for e in rated(judge, texts)]
    points = curve(pool, dict(zip(settings.test, tests, strict=True)))
    kept = [replace(e, answers=e.answers[: settings.keep]) for e in pool]
    write(Path(settings.out), kept, "truing")
    prints = {"model": model_fingerprint(ModelSpec.parse(settings.model)), "judge": judge.fingerprint}
    return Found(pool, kept, points, prints)


def _best_first(example: Example) -> tuple[Answer, ...]:
    return tuple(sorted(example.answers, key=lambda answer: -float(answer.reward or 0)))


def curve(pool: Sequence[Example], tests: Mapping[str, Part]) -> list[Point]:
    """For k = 1, 2, 4 … n the mean over prompts, each from all n answers. A test judge counts the prompts that it is
    asked about."""
    n = len(pool[0].answers)
    rewards = [np.array([a.reward for a in e.answers], dtype=np.float64) for e in pool]
    worth = {name: _worth(name, part, pool) for name, part in tests.items()}
    points = []
    for k in [k for k in (2**i for i in range(n.bit_length())) if k < n] + [n]:
        chosen = [selection(r, k) for r in rewards]
        best = mean_t([float(p @ r) for p, r in zip(chosen, rewards)])
        by = {name: mean_t([float(chosen[i] @ v) for i, v in values.items()]) for name, values in worth.items()}
        points.append(Point(k, best, by))
    return points


def _worth(name: str, part: Part, pool: Sequence[Example]) -> dict[int, np.ndarray]:
    """What a test judge says of the answers to each prompt that it is asked about."""
    numbers = [i for i, example in enumerate(pool) if part.judges(example)]
    if not numbers:
        raise UserError(f"test {name}: no prompt has this column with this value, so there is nothing to judge.")
    rewards = Rewards([part])
    return {i: rewards.total(v) for i, v in zip(numbers, rewards.of([pool[i] for i in numbers]))}


def selection(rewards: Sequence[float] | np.ndarray, k: int) -> np.ndarray:
    """How likely each answer is the one that is chosen among k of these n, drawn without replacement. Equally good ones
    share alike. Times any score it is an unbiased estimate of what the chosen answer is worth by that score, and every
    answer is used for every k."""
    values = np.asarray(rewards, dtype=np.float64)
    _, tier, size = np.unique(values, return_inverse=True, return_counts=True)
    likely = np.bincount(np.sort(tier), weights=best_of_weights(values.size, k))
    return np.asarray((likely / size)[tier])


def expected_best(rewards: Sequence[float], k: int) -> float:
    """E[max of k of these n, drawn without replacement]."""
    return float(np.asarray(rewards, dtype=np.float64) @ selection(rewards, k))


def best_of_weights(n: int, k: int) -> np.ndarray:
    """How likely each of n answers, worst first, is the best of k drawn without replacement."""
    return np.array([math.comb(i, k - 1) / math.comb(n, k) for i in range(n)])
