"""How a preference model's reward grows with the distance from the reference, and when that growth stops being real.

    reward ≈ start + a·√KL       Bai et al. (arXiv 2204.05862): near the reference KL is quadratic in the change of the
                                 policy and reward linear, since the reference is no extremum of the reward
    a ≈ √2·σ                     if the policy is the reference tilted by exp(β·score) and scores are normal with
                                 standard deviation σ among its answers to one prompt: then gain = σ·√(2·KL), exactly
    KL(best of k) ≤ ln k − (k−1)/k, with equality where no two answers score alike

Curves have one value per iteration, in order. Smoothed: the mean of the last `smooth` values, so nothing is known from
before the first `smooth` are there, and nothing is seen before it happens. Iterations are counted from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

Curve = Sequence[float] | np.ndarray
CLOSE = 0.05  # nats: nearer to the reference, noise of the reward is larger than what was gained
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sqrt": np.sqrt, "linear": np.asarray, "log": np.log1p}


class Form(NamedTuple):
    """start + coefficient·f(KL). `error` is the coefficient's standard error, residuals taken as independent."""

    coefficient: float
    error: float
    r2: float
    aic: float


class Law(NamedTuple):
    """The forms √KL, KL and ln(1 + KL) by their names in FORMS, on the same `n` points. A small `runs_p`:
    the points bend away from √KL."""

    forms: dict[str, Form]
    best: str
    runs_p: float
    n: int


def fit_law(kl: Curve, reward: Curve, start: float, until: int | None = None) -> Law | None:
    """Least squares through (0, start), which is measured and not fitted, for each form; the best has the lowest AIC.

    The window: iterations before `until` (where the held-out preference model diverges) with KL of at least 0.05. None
    where it holds fewer than 5 points. R² = 1 − RSS / Σ(reward − mean)², below 0 where a constant would do better.
    AIC = n·ln(RSS/n) + 2·2 (a coefficient and a variance; the constant n·(1 + ln 2π), alike for all, is left out).
    """
    x, y = _curves(kl, reward)
    x, y = x[:until], y[:until]
    inside = x >= CLOSE
    x, gain = x[inside], y[inside] - start
    if x.size < 5:
        return None
    forms = {name: _through_zero(f(x), gain) for name, f in FORMS.items()}
    residuals = gain - forms["sqrt"].coefficient * np.sqrt(x)
    runs_p = few_runs(residuals[np.argsort(x, kind="stable")])
    return Law(forms, min(forms, key=lambda name: forms[name].aic), runs_p, x.size)


def _through_zero(x: np.ndarray, y: np.ndarray) -> Form:
    slope = float(x @ y / (x @ x))
    rss, spread = float(((y - slope * x) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    error = math.sqrt(rss / (x.size - 1) / (x @ x))
    aic = x.size * math.log(max(rss, np.finfo(float).tiny) / x.size) + 2 * 2
    return Form(slope, error, 1 - rss / spread if spread else math.nan, aic)


def few_runs(residuals: Curve) -> float:
    """Wald and Wolfowitz's runs test, exact and one-sided: how likely signs in random order have as few runs as these,
    or fewer. Residuals of 0 have no sign and are left out."""
    signs = np.sign(np.asarray(residuals, dtype=np.float64))
    signs = signs[signs != 0]
    up, down = int((signs > 0).sum()), int((signs < 0).sum())
    if not up or not down:
        return 1.0  # there is but one order
    seen = 1 + int((signs[1:] != signs[:-1]).sum())
    ways = 0
    for runs in range(2, seen + 1):  # of one sign half of the runs, rounded up, of the other the rest; then swapped
        a, b = (runs + 1) // 2 - 1, runs // 2 - 1
        ways += math.comb(up - 1, a) * math.comb(down - 1, b) + math.comb(up - 1, b) * math.comb(down - 1, a)
    return ways / math.comb(up + down, up)


class Parallel(NamedTuple):
    """`slope` is the common one, each weighed by 1/error². A small `p`: they differ by more than their errors."""

    slope: float
    chi2: float
    freedom: int
    p: float


def parallel(slopes: Curve, errors: Curve) -> Parallel:
    """Do slopes of several models differ? χ² = Σ ((slope − common) / error)², with one degree of freedom fewer than
    models. That no difference is found does not make them equal (see effects.equivalent), and errors from within one
    run are too small where its iterations are alike: those over seeds are better."""
    slope, error = _curves(slopes, errors)
    if slope.size < 2 or (error <= 0).any():
        raise ValueError("parallel slopes need at least two, each with a standard error above 0")
    common = float(np.average(slope, weights=error**-2))
    chi2 = float((((slope - common) / error) ** 2).sum())
    return Parallel(common, chi2, slope.size - 1, float(stats.chi2.sf(chi2, slope.size - 1)))


def spread(scores: Sequence[Curve]) -> float:
    """`scores[prompt]` of answers to it → σ within prompts: σ² is the mean of the prompts' unbiased variances."""
    return math.sqrt(_covariance(scores, scores))


def predicted_slope(scores: Sequence[Curve]) -> float:
    """√2·σ of the reference's own answers: under one tilt β for all prompts gain = β·mean(σᵢ²) and KL = β²·mean(σᵢ²)/2,
    so that the gain is √(2·KL)·σ."""
    return math.sqrt(2) * spread(scores)


def agreement(scores: Sequence[Curve], others: Sequence[Curve]) -> float | None:
    """The correlation of two judges within prompts: under a tilt by the first, what the second gains in its own σ while
    the first gains one. None where one of them tells no answers apart."""
    sizes = spread(scores) * spread(others)
    return _covariance(scores, others) / sizes if sizes else None


def _covariance(scores: Sequence[Curve], others: Sequence[Curve]) -> float:
    if min(map(len, scores), default=0) < 2:
        raise ValueError("a spread within prompts needs prompts, and at least two answers to each")
    pairs = (_curves(a, b) for a, b in zip(scores, others, strict=True))
    return float(np.mean([(a - a.mean()) @ (b - b.mean()) / (a.size - 1) for a, b in pairs]))


def best_of_kl(k: float) -> float:
    """Nats from the reference at which the best of k answers lies: ln k − (k−1)/k."""
    if k < 1:
        raise ValueError(f"best of {k}: there must be one to choose")
    return math.log(k) - (k - 1) / k


def percentile_of(mean: float, scores: Curve) -> float:
    """Where a policy's mean score lies among the scores of data, 0 to 100; equal ones count half."""
    x = np.asarray(scores, dtype=np.float64)
    if not x.size:
        raise ValueError("a percentile needs scores")
    return 100 * float((x < mean).mean() + (x == mean).mean() / 2)


class Divergence(NamedTuple):
    """From `iteration` on, where KL or step is `at`, the smoothed gap stays above `threshold`."""

    iteration: int
    at: float
    threshold: float


def divergence_point(train: Curve, test: Curve, kl_or_step: Curve, smooth: int = 5) -> Divergence | None:
    """Where a policy begins to please the preference model that it was trained on more than one from other data.

    Both curves are without their model's mean over a fixed held-out set: scores have no zero of their own. The gap is
    train − test. Its first fifth (10 iterations at least) is early: mean m and standard deviation s of n values. The
    smoothed gap diverges where it is above m + 2·s·√(1/smooth + 1/n), two standard errors of what is compared, and it
    counts from the first iteration after which it is never below again, if that holds for the last 2·smooth iterations
    at least. What has diverged within the early fifth is taken as noise. None: no such iteration.
    """
    a, b = _curves(train, test)
    at, gap = _curves(kl_or_step, a - b)
    n = max(10, gap.size // 5)
    if gap.size < n + 2 * smooth:
        raise ValueError(f"{gap.size} iterations show no divergence: it takes {n + 2 * smooth}")
    threshold = float(gap[:n].mean() + 2 * gap[:n].std(ddof=1) * math.sqrt(1 / smooth + 1 / n))
    below = np.flatnonzero(smoothed(gap, smooth) <= threshold)
    first = (int(below[-1]) + 1 if below.size else 0) + smooth - 1
    return Divergence(first, float(at[first]), threshold) if first <= gap.size - 2 * smooth else None


def smoothed(curve: Curve, smooth: int = 5) -> np.ndarray:
    """Means of the last `smooth` values, the first of them at iteration smooth − 1."""
    x = np.asarray(curve, dtype=np.float64)
    if x.ndim != 1 or not 1 <= smooth <= x.size:
        raise ValueError(f"a mean of {smooth} needs a curve of at least as many values, not shape {x.shape}")
    return np.lib.stride_tricks.sliding_window_view(x, smooth).mean(1)


def fall(gold: Curve, start: float, smooth: int = 5, noise: float = 0.0) -> int | None:
    """The iteration from which on smoothed gold has lost a quarter of what was gained at its peak, and more than
    `noise`, for good: it is never back, and the last 2·smooth values are below that on average, too. Where no more than
    `noise` was gained it has to lose a quarter of its level. None: it held."""
    values = _curves(gold)[0]
    x = smoothed(values, smooth)
    top = float(x.max())
    gain = top - start
    bound = top - max(gain / 4, noise) if gain > noise else start - abs(start) / 4
    if values[-2 * smooth :].mean() >= bound:
        return None
    held = np.flatnonzero(x >= bound)
    return (int(held[-1]) + 1 if held.size else 0) + smooth - 1


def lead(alarm: int | None, fell: int | None) -> int | None:
    """Iterations by which an alarm came before the fall (below 0: after it); None unless there were both."""
    return None if alarm is None or fell is None else fell - alarm


class Bounds(NamedTuple):
    """How far a healthy run's smoothed metric moves from where it started."""

    low: float
    high: float


class FalseAlarms(NamedTuple):
    alarms: int
    runs: int


Run = Mapping[str, Curve]


def envelope(healthy: Sequence[Run], smooth: int = 5, margin: float = 0.25) -> dict[str, Bounds]:
    """Per metric that all healthy runs have: the least and the most that any moved from its start (its first smoothed
    value), each further out by `margin` of the distance between them."""
    if not healthy:
        raise ValueError("an envelope needs a healthy run")
    bounds = {}
    for metric in healthy[0]:
        if all(metric in run for run in healthy):
            moved = np.concatenate([_moved(_curves(run[metric])[0], smooth) for run in healthy])
            low, high = float(moved.min()), float(moved.max())
            bounds[metric] = Bounds(low - margin * (high - low), high + margin * (high - low))
    return bounds


def first_alarm(curve: Curve, bounds: Bounds, smooth: int = 5) -> int | None:
    """The first iteration at which the smoothed curve has left the envelope; what is not a number has left it."""
    moved = _moved(curve, smooth)
    out = np.flatnonzero(~((bounds.low <= moved) & (moved <= bounds.high)))
    return int(out[0]) + smooth - 1 if out.size else None


def false_alarms(healthy: Sequence[Run], smooth: int = 5, margin: float = 0.25) -> dict[str, FalseAlarms]:
    """Per metric, how many healthy runs leave the envelope of all the others: each is left out in turn. One run fewer
    makes a narrower envelope, so the full one raises no more."""
    if len(healthy) < 2:
        raise ValueError("leaving one healthy run out needs at least two")
    counts = dict.fromkeys(envelope(healthy, smooth, margin), 0)
    for i, run in enumerate(healthy):
        others = envelope([*healthy[:i], *healthy[i + 1 :]], smooth, margin)
        for metric in counts:
            counts[metric] += first_alarm(run[metric], others[metric], smooth) is not None
    return {metric: FalseAlarms(count, len(healthy)) for metric, count in counts.items()}


def _moved(curve: Curve, smooth: int) -> np.ndarray:
    x = smoothed(curve, smooth)
    return x - x[0]


def _curves(*curves: Curve) -> list[np.ndarray]:
    """As arrays of one length; what is not finite is refused."""
    arrays = [np.asarray(curve, dtype=np.float64) for curve in curves]
    if any(x.ndim != 1 or x.size != arrays[0].size for x in arrays):
        raise ValueError(f"curves must be lists of one length, not of shapes {[x.shape for x in arrays]}")
    if not all(np.isfinite(x).all() for x in arrays):
        raise ValueError("a curve has a value that is not finite")
    return arrays
