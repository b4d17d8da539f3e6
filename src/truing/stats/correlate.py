"""Correlations that may be of groups alone: pooled, within groups and between them, with what chance would say.

    pooled    over all points             within    of distances from each group's means
    between   of the groups' means

Points of several groups may lie on a line though within each of them they do not (Simpson): all three are told.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from truing.stats.intervals import Interval

DRAWS = 2000


@dataclass(frozen=True)
class Correlation:
    """`pooled` with a 95 % interval over clusters drawn again; `p`: how often it is as large where groups change their
    places, each as a whole (or points, where groups do not have the same clusters)."""

    pooled: Interval
    within: float
    between: float
    p: float


def pearson(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> float:
    """NaN where one of them is constant."""
    sides = [np.asarray(v, float) for v in (x, y)]
    if any(np.ptp(v) <= 1e-12 * np.abs(v).max(initial=0) for v in sides):
        return float("nan")
    a, b = (v - v.mean() for v in sides)
    return float(a @ b) / float(np.sqrt((a @ a) * (b @ b)))


def within(x: Sequence[float], y: Sequence[float], groups: Sequence[Hashable]) -> float:
    return pearson(*(_centred(v, groups) for v in (x, y)))


def between(x: Sequence[float], y: Sequence[float], groups: Sequence[Hashable]) -> float:
    means = [[float(np.mean(v[rows])) for rows in _rows(groups)] for v in (np.asarray(x, float), np.asarray(y, float))]
    return pearson(*means) if len(means[0]) > 1 else float("nan")


def correlation(
    x: Sequence[float],
    y: Sequence[float],
    groups: Sequence[Hashable],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
) -> Correlation:
    """`clusters`: what would be drawn anew, questions say; every point by itself if nobody says."""
    a, b = np.asarray(x, float), np.asarray(y, float)
    random, r = np.random.default_rng(seed), pearson(x, y)
    rows = _rows(clusters) if clusters is not None else [np.array([n]) for n in range(len(a))]
    drawn = []
    for _ in range(draws):
        taken = np.concatenate([rows[k] for k in random.integers(len(rows), size=len(rows))])
        drawn.append(pearson(a[taken], b[taken]))
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if not np.isnan(drawn).all() else (np.nan, np.nan)
    chance = np.array([abs(pearson(a, b[order])) for order in _shuffled(groups, clusters, random, draws)])
    p = float((1 + (chance >= abs(r)).sum()) / (1 + draws)) if np.isfinite(r) else float("nan")
    return Correlation(Interval(r, float(low), float(high), len(rows)), within(x, y, groups), between(x, y, groups), p)


def _shuffled(
    groups: Sequence[Hashable], clusters: Sequence[Hashable] | None, random: np.random.Generator, draws: int
) -> Iterator[np.ndarray]:
    """Orders of the points in which whole groups have changed their places; of the points, where that cannot be."""
    within_each = list(range(len(groups))) if clusters is None else list(clusters)
    names, marks = list(dict.fromkeys(groups)), list(dict.fromkeys(within_each))
    at = {pair: row for row, pair in enumerate(zip(groups, within_each))}
    whole = len(names) > 1 and len(at) == len(groups) == len(names) * len(marks)
    for _ in range(draws):
        if not whole:
            yield random.permutation(len(groups))
            continue
        to = dict(zip(names, random.permutation(len(names))))
        yield np.array([at[names[to[group]], mark] for group, mark in zip(groups, within_each)])


def _centred(values: Sequence[float], groups: Sequence[Hashable]) -> np.ndarray:
    found = np.array(values, float)
    for rows in _rows(groups):
        found[rows] -= found[rows].mean()
    return found


def _rows(groups: Sequence[Hashable]) -> list[np.ndarray]:
    found: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        found.setdefault(group, []).append(row)
    return [np.array(rows) for rows in found.values()]
