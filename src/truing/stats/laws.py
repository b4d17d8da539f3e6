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

from truing.stats.intervals import Interval

Curve = Sequence[float] | np.ndarray
CLOSE = 0.05  # nats: nearer to the reference, noise of the reward is larger than what was gained
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sqrt": np.sqrt, "linear": np.asarray, "log": np.log1p}


class Form(NamedTuple):
    """start + coefficient·f(KL). `error` is the coefficient's standard error, residuals taken as independent."""

    start: float
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


def fit_law(kl: Curve, reward: Curve, start: float, until: int | None = None, weight: float = 1.0) -> Law | None:
    """Least squares for each form; the best has the lowest AIC.

    The line has to pass near (0, start), and not through it: the start is measured as everything else is, so it is one
    more point, with the weight of the iterations that it is a mean of. Taken as exact, its error would tilt the line.

    The window: iterations before `until` (where the held-out preference model diverges) with KL of at least 0.05. None
    where it holds fewer than 5 points, and where the reward is the same in all of them. R² = 1 − RSS / Σ(reward −
    mean)² of the window, below 0 where a constant would do better. AIC = n·ln(RSS/n) + 2·3 with the start among n and
    RSS (two coefficients and a variance; what is alike for all forms is left out).
    """
    x, y = _curves(kl, reward)
    x, y = x[:until], y[:until]
    inside = x >= CLOSE
    x, y = x[inside], y[inside]
    if x.size < 5 or np.allclose(y, y[0], rtol=1e-9, atol=1e-12):
        return None
    forms = {name: _near(start, weight, f(x), y) for name, f in FORMS.items()}
    root = forms["sqrt"]
    residuals = y - root.start - root.coefficient * np.sqrt(x)
    runs_p = few_runs(residuals[np.argsort(x, kind="stable")])
    return Law(forms, min(forms, key=lambda name: forms[name].aic), runs_p, x.size)


def _near(start: float, weight: float, f: np.ndarray, reward: np.ndarray) -> Form:
    x, y = np.append(f, 0.0), np.append(reward, start)
    w = np.append(np.ones(f.size), weight)
    middle, level = float(np.average(x, weights=w)), float(np.average(y, weights=w))
    away, up = x - middle, y - level
    slope = float(w @ (away * up) / (w @ away**2))
    squares = w * (up - slope * away) ** 2
    rss, spread = float(squares.sum()), float(((reward - reward.mean()) ** 2).sum())
    error = math.sqrt(rss / (x.size - 2) / (w @ away**2))
    aic = x.size * math.log(max(rss, np.finfo(float).tiny) / x.size) + 2 * 3
    return Form(level - slope * middle, slope, error, 1 - float(squares[:-1].sum()) / spread, aic)


def share_of(form: Form, foreseen: float, freedom: int) -> Interval:
    """The slope over the one foreseen, 95 %. Both are measured: the variance of √2·σ, from answers to prompts that are
    `freedom` fewer, is (√2·σ)² / (2·freedom) if scores are normal."""
    share = form.coefficient / foreseen
    error = math.hypot(form.error / foreseen, share / math.sqrt(2 * freedom))
    return Interval(share, share - 1.96 * error, share + 1.96 * error, freedom)


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


def least_gain(agrees: float, freedom: int) -> float | None:
    """What the second judge gains at least (95 %) in its own σ for each σ of the first, if it goes on as it began:
    `agrees` is measured, on answers to prompts that are `freedom` fewer, and this is the lower end of that line's
    slope. None where there are too few for any."""
    if freedom < 2:
        return None
    return agrees - float(stats.t.ppf(0.975, freedom - 1)) * math.sqrt(max(1 - agrees**2, 0.0) / (freedom - 1))


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


class Bounds(NamedTuple):
    """How far a healthy run's smoothed metric moves from where it started."""

    low: float
    high: float


def envelope(healthy: Sequence[Mapping[str, Curve]], smooth: int = 5, margin: float = 0.25) -> dict[str, Bounds]:
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
