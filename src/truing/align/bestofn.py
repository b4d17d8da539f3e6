"""Best of n: draw n answers, keep the one that the preference model likes best.

No training: KL(best of n ‖ policy) ≤ ln n − (n−1)/n, and n buys reward about as √KL. The yardstick for methods that
change weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from truing.align.rewards import as_text
from truing.data import check_target, read, write
from truing.engine import open_engine, require
from truing.records import Example, Sampling, UserError
from truing.run import say
from truing.settings import Data, Machine


@dataclass(frozen=True)
class BestOfN:
    """Draw n answers to each prompt and keep the best by a preference model, with all of them and their scores."""

    model: str
    """who answers"""
    judge: str
    """the preference model that chooses"""
    data: Data
    """prompts; answers they already have are not looked at"""
    out: str = "bestofn.jsonl"
    """file to write: all answers with rewards, best first"""
    sampling: Sampling = field(default_factory=lambda: Sampling(n=8))
    machine: Machine = field(default_factory=Machine)


def bestofn(settings: BestOfN) -> list[Example]:
    """Write and return one example per prompt: its n answers, best first, with rewards."""
    if settings.sampling.n < 2:
        raise UserError(f"sampling.n is {settings.sampling.n}: the best of n needs n of at least 2")
    data = settings.data
    if not isinstance(data.path, str):
        raise UserError("data.path: give one file of prompts, not several.")
    check_target(settings.out)
    format = None if data.format == "auto" else data.format
    prompts = [e.prompt for e in read(data.path, format=format, on_defect=data.on_defect, limit=data.limit)]
    policy, judge = (open_engine(spec, settings.machine) for spec in (settings.model, settings.judge))
    require(policy, "sample")
    require(judge, "score")
    if not getattr(judge, "rewards", False):
        raise UserError(f"judge: {settings.judge} is not a preference model, it gives no rewards; train one with pm.")
    drawn = policy.sample(list(dict.fromkeys(prompts)), settings.sampling)
    texts = as_text(drawn, drawn)
    results = []
    for example, scores in zip(texts, judge.score(texts)):
        rated = [replace(a, reward=s.reward) for a, s in zip(example.answers, scores)]
        results.append(replace(example, answers=tuple(sorted(rated, key=lambda a: -float(a.reward or 0)))))
    write(Path(settings.out), results, "truing")
    say(summary(results, settings.sampling.n) + f"; written to {settings.out}")
    return results


def summary(results: Sequence[Example], n: int) -> str:
    """Mean reward of the best of k for k = 1, 2, 4 … n, each from all n answers, and the KL that it may cost."""
    rewards = [[float(a.reward or 0) for a in example.answers] for example in results]
    ks = [k for k in (2**i for i in range(20)) if k < n] + [n]
    parts = [f"best of {k}: {np.mean([expected_best(r, k) for r in rewards]):.3f}" for k in ks]
    return ", ".join(parts) + f" (KL at most {math.log(n) - (n - 1) / n:.2f} nats)"


def expected_best(rewards: Sequence[float], k: int) -> float:
    """E[max of k of these n, drawn without replacement]: unbiased, and every sample is used for every k."""
    return float(np.sort(np.asarray(rewards, dtype=np.float64)) @ best_of_weights(len(rewards), k))


def best_of_weights(n: int, k: int) -> np.ndarray:
    """How likely each of n answers, worst first, is the best of k drawn without replacement."""
    return np.array([math.comb(i, k - 1) / math.comb(n, k) for i in range(n)])
