"""From a few runs to a statement: trends over sizes, correlations, and that two things are as good as equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from truing.stats.intervals import Interval, mean_t


@dataclass(frozen=True, slots=True)
class Fit:
    """Least squares: `slopes` by name with t-intervals, and the share of the variance that they explain."""

    slopes: Mapping[str, Interval]
    intercept: float
    r2: float


def regress(y: Sequence[float], level: float = 0.95, **xs: Sequence[float]) -> Fit:
    """y = a + Σ b_i x_i. Errors are taken as independent and alike: give it one number per run, not per item."""
    target = np.asarray(y, dtype=np.float64)
    design = np.column_stack([np.ones(target.size), *(np.asarray(x, dtype=np.float64) for x in xs.values())])
    free = target.size - design.shape[1]
    if free < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"{target.size} points do not determine {design.shape[1]} numbers")
    beta, *_ = np.linalg.lstsq(design, target, rcond=None)
    residual, spread = target - design @ beta, target - target.mean()
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * (residual @ residual) / free)
    half = stats.t.ppf((1 + level) / 2, free) * errors
    slopes = {
        name: Interval(float(b), float(b - h), float(b + h), target.size, level)
        for name, b, h in zip(xs, beta[1:], half[1:])
    }
    return Fit(slopes, float(beta[0]), float(1 - residual @ residual / (spread @ spread)) if spread.any() else 1.0)


def paired(a: Mapping[object, float], b: Mapping[object, float], level: float = 0.95) -> Interval:
    """Mean of a − b over the keys (seeds, items) that both have."""
    both = [key for key in a if key in b]
    if not both:
        raise ValueError("nothing to pair: no key is in both")
    return mean_t([a[key] - b[key] for key in both], level)


def equivalent(differences: Sequence[float], margin: float) -> tuple[Interval, bool]:
    """Two one-sided tests at 5 %: the 90 % interval of the mean difference lies within ± margin. Not to have found a
    difference would be no evidence of equality; this is. (Schuirmann, J. Pharmacokinet. Biopharm. 15, 1987.)"""
    interval = mean_t(differences, level=0.90)
    return interval, bool(-margin < interval.low and interval.high < margin)


def spearman(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Rank correlation and its two-sided p-value; 0 and 1 where one of both never varies."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0, 1.0
    found = stats.spearmanr(x, y)
    return float(found.statistic), float(found.pvalue)
