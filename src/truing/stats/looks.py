"""Runs that are looked at now and then: what is lost by the end, and what two of them differ in at the same reward.

Looks are (step, value), in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Looks = Sequence[tuple[float, float]]
COLLAPSED = 0.5  # share of the start's different answers, below which a policy says much the same to everybody


def drop(looks: Looks) -> float:
    """Best − last: larger by chance alone where there are more looks, so compare runs of as many."""
    values = [value for _, value in looks]
    return max(values) - values[-1]


def common(runs: Sequence[Looks]) -> list[tuple[float, list[float]]]:
    """Each step that all runs were looked at, with the value of each."""
    each = [dict(run) for run in runs if run]
    steps = sorted(set.intersection(*map(set, each))) if each else []
    return [(step, [run[step] for run in each]) for step in steps]


def frontier(reward: Looks, other: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Looks at which the reward was higher than ever before, and the other value there."""
    beside, kept, best = dict(other), list[tuple[float, float]](), -np.inf
    for step, value in reward:
        if value > best and step in beside:
            best = value
            kept.append((value, beside[step]))
    return np.array([v for v, _ in kept]), np.array([v for _, v in kept])


def at_same_reward(a: tuple[Looks, Looks], b: tuple[Looks, Looks]) -> float | None:
    """a − b of the other value at the highest reward that both reach, along a straight line between looks; None where
    one begins above what the other ever reaches. Each is (reward, other)."""
    lines = [frontier(*looks) for looks in (a, b)]
    if not all(len(rewards) for rewards, _ in lines):
        return None
    level = min(rewards[-1] for rewards, _ in lines)
    if any(rewards[0] > level for rewards, _ in lines):
        return None
    first, second = (float(np.interp(level, *line)) for line in lines)
    return first - second
