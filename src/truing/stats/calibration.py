"""Do a preference model's stated chances come true? Everything here is a function of score gaps.

A gap is r(chosen) − r(rejected) on a held-out comparison. The model says the answer it scores higher is preferred
with chance c = σ(|gap|); it was right where the gap is positive, and half right where it is 0. So

    ECE = Σ_b (n_b / N) · |right_b − c_b|            over bins of equally many comparisons
    T   = argmin_T Σ ln(1 + e^{−gap / T})            T < 1: too cautious, T > 1: too sure

(Bai et al., arXiv 2204.05862, §3.) Even a model whose chances are exactly true has an ECE above 0, because a bin holds
few comparisons; `noise_floor` says how much, for these gaps. An ECE without it means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from truing.stats.intervals import Interval, wilson

BINS = 10
COLDEST, HOTTEST = 1e-3, 1e3


@dataclass(frozen=True, slots=True)
class Bin:
    """Comparisons of about the same stated chance: `chance` is its mean, `right` the share that came true."""

    chance: float
    right: Interval


@dataclass(frozen=True, slots=True)
class Calibration:
    """ECE beside what a perfect predictor would show, and the temperature that would mend it."""

    n: int
    ece: float
    floor: float
    floor_95: float
    temperature: float

    @property
    def passes(self) -> bool:
        """No worse than what chance does to a perfect predictor 19 times of 20."""
        return self.ece <= self.floor_95


def calibration(gaps: Sequence[float] | np.ndarray, bins: int = BINS, draws: int = 1000, seed: int = 0) -> Calibration:
    x = _checked(gaps)
    floor = noise_floor(x, bins, draws, seed)
    return Calibration(x.size, ece(x, bins), float(floor.mean()), float(np.quantile(floor, 0.95)), temperature(x))


def reliability(gaps: Sequence[float] | np.ndarray, bins: int = BINS) -> list[Bin]:
    """Bins of equally many comparisons, from unsure to sure."""
    chance, right = _sorted(_checked(gaps))
    return [
        Bin(float(c.mean()), wilson(float(r.sum()), r.size))
        for c, r in zip(_cut(chance, bins), _cut(right, bins))
        if r.size
    ]


def ece(gaps: Sequence[float] | np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error over bins of equally many."""
    chance, right = _sorted(_checked(gaps))
    return _ece(chance, right, bins)


def noise_floor(gaps: Sequence[float] | np.ndarray, bins: int = BINS, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """[draws] the ECE of a predictor with these chances all of which are true: outcomes are drawn from them."""
    chance, _ = _sorted(_checked(gaps))
    random = np.random.default_rng(seed)
    return np.array([_ece(chance, (random.random(chance.size) < chance).astype(float), bins) for _ in range(draws)])


def temperature(gaps: Sequence[float] | np.ndarray) -> float:
    """The T under which the chances σ(gap / T) make these outcomes likeliest. At the ends of [0.001, 1000] where there
    is no such T: a model that is never wrong could not be too sure, one that is mostly wrong not unsure enough."""
    x = _checked(gaps)
    bounds = (float(np.log(COLDEST)), float(np.log(HOTTEST)))
    found = minimize_scalar(lambda log_t: np.logaddexp(0, -x / np.exp(log_t)).mean(), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def accuracy(gaps: Sequence[float] | np.ndarray) -> float:
    """Share of comparisons ordered as they were judged; a tie is half right."""
    return float(((np.sign(_checked(gaps)) + 1) / 2).mean())


def _sorted(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stated chances in order, and whether each came true."""
    order = np.argsort(np.abs(x), kind="stable")
    return expit(np.abs(x[order])), (np.sign(x[order]) + 1) / 2


def _ece(chance: np.ndarray, right: np.ndarray, bins: int) -> float:
    edges = _edges(chance.size, bins)
    off = np.add.reduceat(right - chance, edges[:-1])
    return float(np.abs(off).sum() / chance.size)


def _edges(n: int, bins: int) -> np.ndarray:
    """Where bins of equally many begin, and the end. No bin is empty: fewer comparisons than bins are as many bins."""
    return np.linspace(0, n, min(bins, n) + 1).astype(int)


def _cut(x: np.ndarray, bins: int) -> list[np.ndarray]:
    return np.split(x, _edges(x.size, bins)[1:-1])


def _checked(gaps: Sequence[float] | np.ndarray) -> np.ndarray:
    x = np.asarray(gaps, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ValueError("calibration needs at least one comparison")
    if not np.isfinite(x).all():
        raise ValueError(f"gap {int(np.flatnonzero(~np.isfinite(x))[0])} is not finite")
    return x
