"""Confidence intervals of a mean and of a share.

mean_t           exact for normal values, good for most others from about 20 on; the choice for a handful of seeds
mean_bootstrap   no shape assumed; with `clusters`, whole conversations are drawn, because turns of one are not
                 independent evidence
mean_crossed     seeds × items: both are few, and the same items are asked of every seed
wilson           a share of yes among n: stays within [0, 1] and does not shrink to nothing at 0 or n

Two systems on the same items: the interval of the *differences*, item by item (paired), under either mean.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the range around it. `n` counts what was taken as independent: items, or clusters."""

    estimate: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}]"

    def excludes(self, value: float) -> bool:
        return not self.low <= value <= self.high


def mean_t(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """x̄ ± t_{n−1} · s/√n. One value has a mean, and an interval without ends."""
    x = _checked(values, level)
    mean = float(x.mean())
    if x.size == 1:
        return Interval(mean, -np.inf, np.inf, 1, level)
    half = float(stats.t.ppf((1 + level) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size))
    return Interval(mean, mean - half, mean + half, x.size, level)


def mean_bootstrap(
    values: Sequence[float] | np.ndarray,
    clusters: Sequence[Hashable] | np.ndarray | None = None,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentiles of the mean over `draws` resamples of the values or, where given, of whole clusters of values.

    Too narrow below about 20 clusters (it cannot know what it has not seen): a warning to the reader, not an error.
    One cluster has an interval without ends.
    """
    x = _checked(values, level)
    sums, counts = x, np.ones_like(x)
    if clusters is not None:
        if len(clusters) != x.size:
            raise ValueError(f"{x.size} values but {len(clusters)} cluster labels")
        number: dict[Hashable, int] = {}
        of = np.array([number.setdefault(label, len(number)) for label in clusters])
        sums, counts = np.bincount(of, weights=x), np.bincount(of).astype(np.float64)
    if sums.size == 1:
        return Interval(float(x.mean()), -np.inf, np.inf, 1, level)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(draws):  # one draw at a time: draws × clusters would not fit for large data
        drawn = random.integers(0, sums.size, sums.size)
        means[i] = sums[drawn].sum() / counts[drawn].sum()
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(low), float(high), sums.size, level)


def mean_crossed(values: np.ndarray, level: float = 0.95) -> Interval:
    """[seeds, items]: the same items under every seed, both drawn at random. The variance of the mean is that over
    seeds plus that over items (what belongs to neither is counted twice, which errs on the wide side), with as many
    degrees of freedom as Satterthwaite gives. One seed or one item: that over the other alone."""
    x = np.atleast_2d(np.asarray(values, dtype=np.float64))
    mean, sides = float(_checked(x.ravel(), level).mean()), [x.mean(1), x.mean(0)]
    parts = [(side.var(ddof=1) / side.size, side.size - 1) for side in sides if side.size > 1]
    total = sum(part for part, _ in parts)
    if not parts:
        return Interval(mean, -np.inf, np.inf, 1, level)
    if not total:
        return Interval(mean, mean, mean, x.shape[0], level)
    freedom = total**2 / sum(part**2 / df for part, df in parts)
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(total))
    return Interval(mean, mean - half, mean + half, x.shape[0], level)


def wilson(yes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval: the shares p that (yes/n − p)² ≤ z²·p(1−p)/n does not reject."""
    if not 0 <= yes <= n or n == 0:
        raise ValueError(f"{yes} of {n} is no share")
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    centre = (yes + z2 / 2) / (n + z2)
    half = np.sqrt(z2 * (yes * (n - yes) / n + z2 / 4)) / (n + z2)
    low = 0.0 if yes == 0 else float(centre - half)  # exact, where rounding would leave 1e-17
    high = 1.0 if yes == n else float(centre + half)
    return Interval(yes / n, low, high, n, level)


def _checked(values: Sequence[float] | np.ndarray, level: float) -> np.ndarray:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError(f"a mean needs a list of at least one number, not shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"value {int(np.flatnonzero(~np.isfinite(x))[0])} is not finite")
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not {level}")
    return x
