"""Laws of optimisation against closed forms, enumeration and simulation."""

import math
from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy import integrate, stats

from truing.stats.laws import (
    FORMS,
    Bounds,
    agreement,
    best_of_kl,
    divergence_point,
    envelope,
    fall,
    few_runs,
    first_alarm,
    fit_law,
    least_gain,
    percentile_of,
    predicted_slope,
    share_of,
    smoothed,
    spread,
)


def tilted(scores: np.ndarray, beta: float) -> tuple[float, float]:
    """KL and gain of π ∝ exp(β·score) over equally likely answers, from their definitions."""
    weights = np.exp(beta * (scores - scores.max()))
    p = weights / weights.sum()
    return float((p * np.log(p * scores.size)).sum()), float(p @ scores - scores.mean())


def test_a_tilt_of_normal_scores_follows_the_law_with_the_predicted_slope():
    """Prompts of unlike spread and level, one β: only the root mean square of the spreads gives the slope."""
    random, spreads = np.random.default_rng(0), [0.3, 1.0, 2.5]
    grid = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    points = [np.mean([tilted(s * grid, beta) for s in spreads], axis=0) for beta in np.linspace(0.02, 1, 40)]
    kl, gain = np.array(points).T
    law = fit_law(kl, gain + 0.7, start=0.7)
    exact = math.sqrt(2 * np.mean(np.square(spreads)))
    assert law is not None and law.best == "sqrt" and law.forms["sqrt"].r2 > 0.9999
    assert law.forms["sqrt"].coefficient == pytest.approx(exact, rel=0.005)
    few = [random.normal(10 * s, s, size=4) for s in spreads for _ in range(3000)]  # 4 answers: n − 1 must be right
    assert predicted_slope(few) == pytest.approx(exact, rel=0.02)
    assert predicted_slope([[1, 3], [2, 2, 2]]) == pytest.approx(math.sqrt(2 * (2 + 0) / 2))
    assert predicted_slope(np.array([[1.0, 3.0], [1.0, 3.0]])) == pytest.approx(2)


def test_judges_agree_within_prompts_and_not_across_them():
    """Levels of prompts are no agreement; tilted by one judge, the other gains ρ of its own standard deviations."""
    random, scores = np.random.default_rng(4), []
    for level in (0.0, 5.0, -20.0):
        a = random.normal(size=40000)
        scores.append((level + 2 * a, 3 * level + 0.6 * a + 0.8 * random.normal(size=40000)))
    train, test = zip(*scores)
    assert agreement(train, test) == pytest.approx(0.6, abs=0.01)
    weights = [np.exp(0.1 * (t - t.max())) for t in train]
    gains = [[float(w @ x / w.sum() - x.mean()) for w, x in zip(weights, each)] for each in (train, test)]
    gained = [np.mean(gain) / spread(each) for gain, each in zip(gains, (train, test))]
    assert gained[1] / gained[0] == pytest.approx(0.6, abs=0.02)
    assert agreement(train, [np.ones(40000)] * 3) is None
    assert spread([[1, 3], [2, 2, 2]]) == pytest.approx(1.0)


def test_a_score_with_a_ceiling_bends_the_law():
    """−score exponential: gain g has KL −ln(1 − g) − g, and gain/√KL goes from 1.32 at 0.02 to 0.78 near 1.3."""
    gain = np.linspace(0.19, 0.885, 60)
    kl = -np.log1p(-gain) - gain
    assert (gain / np.sqrt(kl))[[0, -1]] == pytest.approx([1.32, 0.78], abs=0.01)
    law = fit_law(kl, gain, start=0)
    assert law is not None and law.runs_p < 1e-6
    assert law.forms["sqrt"].start > 0.1, "the line would begin far above where it does"


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_known_among_the_others_by_likelihood(name):
    random, kl = np.random.default_rng(1), np.linspace(0.1, 12, 80)
    reward = 2 + 1.5 * FORMS[name](kl) + random.normal(0, 0.2, size=80)
    law = fit_law(kl, reward, start=2)
    assert law is not None and law.best == name and law.n == 80
    fit = law.forms[name]
    assert abs(fit.coefficient - 1.5) < 3 * fit.error
    for other, form in law.forms.items():
        found = stats.linregress([0, *FORMS[other](kl)], [2, *reward])
        assert (form.coefficient, form.start) == pytest.approx((found.slope, found.intercept))
        assert form.error == pytest.approx(found.stderr)
        residual = np.array([2, *reward]) - found.intercept - found.slope * np.array([0, *FORMS[other](kl)])
        # AIC from the density itself: 2·3 − 2·ln L, all but the constant
        log_likelihood = stats.norm.logpdf(residual, scale=math.sqrt(np.mean(residual**2))).sum()
        assert form.aic == pytest.approx(6 - 2 * log_likelihood - 81 * (1 + math.log(2 * math.pi)))
        assert form.r2 == pytest.approx(1 - np.mean(residual[1:] ** 2) / np.var(reward))


def test_a_start_counts_as_the_iterations_it_is_a_mean_of():
    """As if each of them stood in the list."""
    random, kl = np.random.default_rng(5), np.linspace(0.1, 3, 9)
    reward = 1 + np.sqrt(kl) + random.normal(0, 0.3, size=9)
    law = fit_law(kl, reward, 1.4, weight=7)
    assert law is not None
    for name, form in law.forms.items():
        design = np.stack([np.ones(16), FORMS[name](np.append(np.zeros(7), kl))], axis=1)
        expected, rss, *_ = np.linalg.lstsq(design, np.append(np.full(7, 1.4), reward), rcond=None)
        assert (form.start, form.coefficient) == pytest.approx(tuple(expected))
        variance = float(rss[0]) / 8 * np.linalg.inv(design.T @ design)[1, 1]  # ten points, two coefficients
        assert form.error == pytest.approx(math.sqrt(variance))


@pytest.mark.parametrize("starts", [1, 10])
def test_a_slope_lies_within_its_error_though_the_start_is_measured(starts):
    """An interval of 95 % holds the true slope in 90 % of runs at least, and so does that of its share of √2·σ, which
    is measured on two answers to each of 64 prompts; and a start that came out too low makes no ln(1 + KL) of √KL."""
    random, kl = np.random.default_rng(starts), np.linspace(0.06, 9, 60)
    held, shares, best = [], [], []
    for _ in range(400):
        reward = 2 + 0.8 * np.sqrt(kl) + random.normal(0, 0.1, size=60)
        law = fit_law(kl, reward, 2 + random.normal(0, 0.1 / math.sqrt(starts)), weight=starts)
        assert law is not None
        form = law.forms["sqrt"]
        held.append(abs(form.coefficient - 0.8) < 1.96 * form.error)
        drawn = predicted_slope(random.normal(0, 0.8, size=(64, 2)))  # slope and σ: the share is 1/√2
        shares.append(not share_of(form, drawn, 64).excludes(1 / math.sqrt(2)))
        best.append(law.best)
    assert np.mean(held) >= 0.9 and np.mean(shares) >= 0.9
    assert best.count("sqrt") >= 380


def test_a_reward_that_did_not_move_has_no_law():
    kl = np.linspace(0.1, 5, 31)
    assert fit_law(kl, np.full(31, 0.7), 0.7) is None
    assert fit_law(kl, 0.7 + 1e-15 * (np.arange(31) % 2), 0.7) is None  # rounding
    assert fit_law(kl, 0.7 + 1e-3 * kl, 0.7) is not None


def test_only_the_window_counts():
    kl = np.array([0.0, 0.049, 0.05, 0.5, 1.0, 2.0, 3.0, 4.0, 4.5])
    reward = 1 + 2 * np.sqrt(kl)
    reward[[0, 1, 7, 8]] = -50
    law = fit_law(kl, reward, 1, 7)
    assert law is not None and law.n == 5 and law.forms["sqrt"].coefficient == pytest.approx(2)
    assert fit_law(kl, reward, 1, 6) is None
    with pytest.raises(ValueError, match="one length"):
        fit_law(kl, reward[1:], 1)
    with pytest.raises(ValueError, match="not finite"):
        fit_law(kl, np.where(kl > 4, np.nan, reward), 1)


@pytest.mark.parametrize("signs", ["++--", "+-+-+", "++++--", "+---+", "+++-++", "++--+-+"])
def test_few_runs_is_the_share_of_all_orders(signs):
    runs = [1 + sum(a != b for a, b in pairwise(order)) for order in permutations(signs)]
    seen = 1 + sum(a != b for a, b in pairwise(signs))
    assert few_runs([{"+": 0.3, "-": -2.0}[s] for s in signs]) == pytest.approx(np.mean([r <= seen for r in runs]))


def test_few_runs_without_an_order_to_speak_of():
    assert few_runs([1, 2, 0, 3]) == 1
    assert few_runs([1, 0, 1, -1, -1]) == few_runs([1, 1, -1, -1]) < 1


@pytest.mark.parametrize(("k", "nats"), [(4, 0.64), (16, 1.84), (64, 3.17)])
def test_the_divergence_of_the_best_of_k_is_that_of_its_rank(k, nats):
    """The best of k uniform ranks has density k·u^(k−1)."""
    integral, _ = integrate.quad(lambda u: k * u ** (k - 1) * math.log(k * u ** (k - 1)), 0, 1)
    assert best_of_kl(k) == pytest.approx(integral, rel=1e-6) and best_of_kl(k) == pytest.approx(nats, abs=0.005)
    assert best_of_kl(1) == 0
    with pytest.raises(ValueError, match="best of 0"):
        best_of_kl(0)


def test_a_percentile_is_that_of_scipy():
    scores = [0.0, 1.0, 1.0, 2.0, 5.0]
    for mean in (-1.0, 1.0, 1.5, 5.0, 9.0):
        assert percentile_of(mean, scores) == pytest.approx(stats.percentileofscore(scores, mean, kind="mean"))
    with pytest.raises(ValueError, match="needs scores"):
        percentile_of(0, [])


def curves(seed: int, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reward that both models see rise, each with noise of its own; the train model sees `gap` more."""
    random, steps = np.random.default_rng(seed), np.arange(gap.size)
    rise, noise = 3 * np.sqrt(steps / gap.size), random.normal(0, 0.1, size=(2, gap.size))
    return rise + gap + noise[0], rise + noise[1], 10.0 * steps


NONE, LATE = np.zeros(100), np.maximum(0, np.arange(100) - 50) * 0.05


@pytest.mark.parametrize("gap", [NONE, NONE + 0.8, -LATE, np.where(np.arange(100) < 70, LATE, 0)])
def test_what_does_not_diverge_raises_one_alarm_in_a_hundred_at_most(gap):
    """No gap, one that was always there, the test model above, and a gap that closes again. (Of 3000 seeds of pure
    noise 0.2 % at most gave an alarm, for 30 to 200 iterations.)"""
    assert sum(divergence_point(*curves(seed, gap)) is not None for seed in range(100)) <= 1


@pytest.mark.parametrize("correlation", [-0.3, 0.5, 0.95])
def test_the_least_gain_is_the_lower_end_of_a_regression(correlation):
    random = np.random.default_rng(6)
    x = random.normal(size=40)
    y = 3 * correlation * x + random.normal(size=40)
    found, freedom = stats.linregress(x, y), 39
    least = found.slope - stats.t.ppf(0.975, 38) * found.stderr
    agrees = agreement([x], [y])
    assert least_gain(agrees, freedom) == pytest.approx(least * spread([x]) / spread([y]))
    assert least_gain(1.0, 64) == 1 and least_gain(0.5, 1) is None


def diverges(random, correlation: float, turns: int = 60) -> bool:
    """Is a divergence found? Rewards are tilted further and further, prompts have levels of their own and unlike
    spreads; the other judge correlates with the reward, and from iteration `turns` on it goes back as it came."""

    def judged(shift, real, answers: int) -> tuple[np.ndarray, np.ndarray]:
        size, levels = random.choice([0.5, 1.0, 2.0], (len(shift), 1)), random.normal(size=(2, len(shift), 1))
        own, other = random.normal(size=(2, len(shift), answers))
        test = correlation * (own + real[:, None] * size) + math.sqrt(1 - correlation**2) * other
        return levels[0] + size * (own + shift[:, None] * size), levels[1] + size * test

    first = judged(np.zeros(64), np.zeros(64), 2)
    shift = 2 * np.sqrt(np.arange(60) / 60)
    real = np.where(np.arange(60) < turns, shift, 2 * shift[min(turns, 59)] - shift)
    means = [x.reshape(60, 64).mean(1) for x in judged(shift.repeat(64), real.repeat(64), 1)]
    train, test = ((mean - mean[0]) / spread(scores) for mean, scores in zip(means, first))
    least = least_gain(agreement(*first), 64)
    assert least is not None
    return divergence_point(least * train, test, range(60)) is not None


@pytest.mark.parametrize("correlation", [0.2, 0.5, 1.0])
def test_a_judge_that_follows_as_it_began_does_not_diverge(correlation):
    """Nothing is exploited. (The gap to the reward itself would be called a divergence in nearly every run.)"""
    random = np.random.default_rng(int(100 * correlation))
    assert np.mean([diverges(random, correlation) for _ in range(200)]) < 0.05


@pytest.mark.parametrize("correlation", [0.5, 0.9])
def test_a_judge_that_turns_back_diverges(correlation):
    random = np.random.default_rng(int(100 * correlation))
    assert np.mean([diverges(random, correlation, turns=15) for _ in range(100)]) > 0.9


def test_a_divergence_is_found_soon_after_it_begins():
    """The mean of the last 5 gaps is 0.05·(i − 52), the threshold 2·√(2·0.1²)·√(1/5 + 1/20) = 0.14: passed at i = 55.
    Their noise, 0.07, is worth 1.4 iterations: the median must be near, and all within 5 times that."""
    found = [divergence_point(*curves(seed, LATE)) for seed in range(100)]
    at = [f.iteration for f in found if f]
    assert len(at) == 100 and abs(np.median(at) - 55) <= 1.4 and max(abs(i - 55) for i in at) <= 7
    assert all(f.at == 10 * f.iteration for f in found if f)


def test_a_sudden_divergence_is_dated_exactly_and_must_last():
    early = np.resize([0.1, -0.1], 40)
    step = early + np.where(np.arange(40) < 30, 0, 5)
    found = divergence_point(step, np.zeros(40), range(40))
    assert found is not None and found.iteration == 30
    error = math.sqrt(0.01 * 10 / 9) * math.sqrt(1 / 5 + 1 / 10)
    assert found.threshold == pytest.approx(2 * error)
    assert divergence_point(early + np.where(np.arange(40) < 31, 0, 5), np.zeros(40), range(40)) is None
    with pytest.raises(ValueError, match="takes 20"):
        divergence_point(step[:19], np.zeros(19), range(19))


def test_a_smoothed_curve_knows_nothing_of_what_comes():
    assert smoothed([1, 2, 3, 10], 3).tolist() == [2, 5]
    for bad in (0, 5):
        with pytest.raises(ValueError, match="a mean of"):
            smoothed([1, 2, 3, 10], bad)


def test_a_fall_is_the_loss_of_a_quarter_of_the_gain():
    gold = [1, 2, 4, 5, 5, 4.5, 4, 3.9, 2, 1]  # start 1, peak 5: below 4 at iteration 7
    assert fall(gold, 1, smooth=1) == 7
    assert fall(gold, -7, smooth=1) == 9  # gain 12: 2 itself, at iteration 8, is not below 2
    assert fall(gold[:7], 1, smooth=1) is None
    assert fall([1, 5, 1, 6, 6], 1, smooth=1) is None  # it recovered, and what counts is the highest peak
    assert fall([3, 2, 1, 0], 3, smooth=1) == 1  # nothing was gained: a quarter of the level
    assert fall([3, 3, 2.5, 2.5], 3, smooth=1) is None
    assert fall([1, 5, 5, 3.5, 3.5], 1, smooth=1) == 3
    assert fall([1, 5, 5, 3.5, 3.5], 1, smooth=1, noise=1.5) is None
    assert fall([0] * 5 + [4] * 10 + [0] * 10, 0) == 16  # means of 5: 4, 3.2 and then 2.4 < 3
    with pytest.raises(ValueError, match="not finite"):
        fall([1, 2, math.nan], 0, smooth=1)


@pytest.mark.parametrize("gain", [0.0, 0.1, 0.2])
def test_a_run_that_holds_does_not_fall_by_chance(gain):
    """128 answers an iteration that are worth 0.29 more or less, as those of the world's small model are."""
    random = np.random.default_rng(0)
    curve = 0.75 + gain * np.minimum(np.arange(100) / 30, 1)
    runs = curve + random.normal(0, 0.29 / math.sqrt(128), (300, 100))
    fallen = [fall(run, float(run[:5].mean()), noise=0.05) for run in runs]
    assert sum(at is not None for at in fallen) <= 9  # 3%
    lost = runs - 0.3 * np.clip((np.arange(100) - 50) / 20, 0, 1)
    times = [fall(run, float(run[:5].mean()), noise=0.05) for run in lost]
    assert None not in times and 50 < np.mean(times) < 75


HEALTHY = [
    {"length": [10, 12, 14], "kl": [0, 1, 2]},
    {"length": [20, 18, 22], "kl": [0, 2, 4]},
    {"length": [30, 31, 39], "kl": [0, 1, 3], "loss": [1, 1, 1]},
]


def test_an_envelope_is_relative_to_each_run_s_start():
    assert envelope(HEALTHY, smooth=1, margin=0) == {"length": Bounds(-2, 9), "kl": Bounds(0, 4)}
    wide = envelope(HEALTHY, smooth=1, margin=0.5)
    assert wide == {"length": Bounds(-7.5, 14.5), "kl": Bounds(-2, 6)}
    smooth = envelope(HEALTHY, smooth=2, margin=0)
    assert smooth == {"length": Bounds(0, 4.5), "kl": Bounds(0, 2)}
    with pytest.raises(ValueError, match="healthy"):
        envelope([])


def test_an_alarm_is_raised_when_the_smoothed_curve_leaves():
    bounds = Bounds(-2, 4)
    assert first_alarm([100, 104, 98, 105, 100], bounds, smooth=1) == 3
    assert first_alarm([100, 104, 97.9, 105], bounds, smooth=1) == 2
    assert first_alarm([100, 104, 98], bounds, smooth=1) is None
    assert first_alarm([0, 0, 0, 6, 0, 6, 6], bounds, smooth=2) == 6  # means 0 0 3 3 3 6
    assert first_alarm([0, 1, math.nan], bounds, smooth=1) == 2
