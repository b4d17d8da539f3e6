"""Is this prompt like those the model was made for? Distances of activations from an in-distribution set.

    MD(x)  = (x − μ)ᵀ Σ⁻¹ (x − μ)
    SRM(x) = MD(x) − (x − μ)ᵀ diag(Σ)⁻¹ (x − μ)          simplified relative Mahalanobis

μ and Σ (with 1/N) come from in-distribution vectors alone; higher is further out. (Bai et al., arXiv 2204.05862, §5.)
Σ has d² entries: with fewer than a few times d vectors it must be shrunk towards its own diagonal, or Σ⁻¹ is noise.
`expose` needs a few outliers: a logistic classifier, outliers repeated until they weigh as much as the rest.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata

from truing.stats.intervals import Interval
from truing.stats.pairs import ALIKE


@dataclass(frozen=True, slots=True)
class Normal:
    """An in-distribution set, as a mean and what Σ⁻¹ needs. `shrinkage` is the weight that Σ's diagonal was given."""

    mean: np.ndarray
    precision: np.ndarray
    variance: np.ndarray
    shrinkage: float

    def mahalanobis(self, vectors: np.ndarray) -> np.ndarray:
        """[N, d] → [N]"""
        x = vectors - self.mean
        return np.einsum("nd,de,ne->n", x, self.precision, x, optimize=True)

    def relative(self, vectors: np.ndarray) -> np.ndarray:
        """[N, d] → [N]: what correlations add. Prompts that are merely extreme in each direction do not count."""
        return self.mahalanobis(vectors) - ((vectors - self.mean) ** 2 / self.variance).sum(1)


def fit_normal(vectors: np.ndarray, shrinkage: float | None = None) -> Normal:
    """From in-distribution vectors [N, d]. Without a `shrinkage` it is d / (d + N): none with many, half with d."""
    x = np.asarray(vectors, dtype=np.float64)
    n, d = x.shape
    if n < 2:
        raise ValueError(f"a covariance needs at least two vectors, not {n}")
    weight = d / (d + n) if shrinkage is None else shrinkage
    if not 0 <= weight <= 1:
        raise ValueError(f"shrinkage lies between 0 and 1, not {weight}")
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / n
    variance = np.diag(covariance)
    if (variance == 0).any():
        raise ValueError(f"direction {int(np.flatnonzero(variance == 0)[0])} never varies: leave it out")
    shrunk = (1 - weight) * covariance + weight * np.diag(variance)
    return Normal(mean, np.linalg.inv(shrunk), variance, weight)


def auroc(outliers: np.ndarray, inliers: np.ndarray) -> float:
    """P(an outlier scores higher than an inlier), a tie counting half."""
    if not len(outliers) or not len(inliers):
        raise ValueError("an AUROC needs scores of both kinds")
    ranks = rankdata(np.concatenate([outliers, inliers]))[: len(outliers)]
    return float((ranks.sum() - len(outliers) * (len(outliers) + 1) / 2) / (len(outliers) * len(inliers)))


def auroc_bootstrap(
    outliers: np.ndarray,
    inliers: np.ndarray,
    clusters: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> Interval:
    """AUROC with percentiles over resamples of both kinds, each drawn on its own; with `clusters` (of the outliers, of
    the inliers) whole conversations are drawn."""
    above = np.sign(np.subtract.outer(outliers, inliers)) / 2 + 0.5
    labels = clusters or (range(len(outliers)), range(len(inliers)))
    random = np.random.default_rng(seed)
    left, right = (_times(of, draws, random) for of in labels)
    found = np.einsum("do,oi,di->d", left, above, right, optimize=True) / (left.sum(1) * right.sum(1))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    fewest = min(len(set(of)) for of in labels)
    return Interval(auroc(outliers, inliers), float(low), float(high), fewest, level)


def _times(labels: Sequence[Hashable], draws: int, random: np.random.Generator) -> np.ndarray:
    """[draws, values] how often each value is in a resample of whole clusters."""
    number: dict[Hashable, int] = {}
    of = np.array([number.setdefault(label, len(number)) for label in labels])
    return random.multinomial(len(number), np.full(len(number), 1 / len(number)), draws)[:, of].astype(float)


def match(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs of numbers, one of each list, that are alike: as many turns, and lengths within `ALIKE` of each other. Each
    is (turns, length); the nearest that nobody has taken yet is taken, and who finds nobody is left out."""
    free, pairs = set(range(len(second))), list[tuple[int, int]]()
    for i, (turns, length) in enumerate(first):
        near = [(abs(second[j][1] - length), j) for j in free if second[j][0] == turns]
        off, j = min(near, default=(0, -1))
        if j >= 0 and off <= ALIKE * (length + second[j][1]) / 2:
            pairs.append((i, j))
            free.remove(j)
    return pairs


@dataclass(frozen=True, slots=True)
class Exposed:
    """A linear classifier that has seen a few outliers."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: float

    def logit(self, vectors: np.ndarray) -> np.ndarray:
        """[N, d] → [N]: how much more like the outliers than like the rest."""
        return (vectors - self.mean) / self.scale @ self.weights + self.bias


def expose(inliers: np.ndarray, outliers: np.ndarray, penalty: float = 1.0) -> Exposed:
    """Logistic regression on standardised vectors, ½·penalty·‖w‖² added; each of M outliers weighs ⌊N/M⌋ times."""
    if not len(inliers) or not len(outliers):
        raise ValueError("a classifier needs vectors of both kinds")
    mean, scale = inliers.mean(0), inliers.std(0) + 1e-12
    x = (np.concatenate([inliers, outliers]) - mean) / scale
    y = np.r_[np.zeros(len(inliers)), np.ones(len(outliers))]
    times = np.where(y == 1, max(1, len(inliers) // len(outliers)), 1.0)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = theta[:-1], theta[-1]
        logit = x @ w + b
        value = times @ (np.logaddexp(0, logit) - y * logit) + penalty * w @ w / 2
        slope = times * (expit(logit) - y)
        return float(value), np.r_[x.T @ slope + penalty * w, slope.sum()]

    theta = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    return Exposed(mean, scale, theta[:-1], float(theta[-1]))
