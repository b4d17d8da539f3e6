"""Calibration against closed forms, against its own definition, and against the noise table of a perfect predictor."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import expit

from truing.stats.calibration import accuracy, calibration, ece, noise_floor, reliability, temperature


def gaps_of(scores, seed=0, scale=1.0):
    """Outcomes drawn with P = σ(score): gaps of a perfect predictor; `scale` makes it claim more than it knows."""
    won = np.random.default_rng(seed).random(scores.size) < expit(scores)
    return scale * np.where(won, scores, -scores)


def normal(n, seed=0):
    return np.random.default_rng(seed).normal(size=n)


def slow_ece(gaps, bins):
    rows = sorted((1 / (1 + math.exp(-abs(g))), 0.5 if g == 0 else float(g > 0)) for g in gaps)
    edges = [len(rows) * i // bins for i in range(bins + 1)]
    total = 0.0
    for low, high in pairwise(edges):
        part = rows[low:high]
        total += abs(sum(right for _, right in part) - sum(chance for chance, _ in part))
    return total / len(rows)


@pytest.mark.parametrize("n", [10, 97, 1000])
def test_ece_is_its_definition(n):
    gaps = gaps_of(normal(n, 1), 2, 1.7)
    assert ece(gaps, 10) == pytest.approx(slow_ece(gaps, 10))


def test_ece_of_one_bin_in_closed_form():
    # Always sure with ln 3 (chance 3/4), right half of the time.
    assert ece([math.log(3), -math.log(3)] * 10) == pytest.approx(0.25)
    assert ece([math.log(3)] * 3 + [-math.log(3)], bins=1) == pytest.approx(0)


@pytest.mark.parametrize(
    ("n", "mean", "high"),
    [(500, 0.050, 0.071), (1000, 0.037, 0.054), (2312, 0.023, 0.033), (5000, 0.016, 0.023), (20_000, 0.008, 0.011)],
)
def test_noise_floor_of_a_perfect_predictor(n, mean, high):
    floor = noise_floor(normal(n), draws=400)
    assert floor.mean() == pytest.approx(mean, abs=0.0025)
    assert np.quantile(floor, 0.95) == pytest.approx(high, abs=0.004)


def test_a_true_predictor_stays_under_its_floor_and_a_boastful_one_does_not():
    passes = [calibration(gaps_of(normal(2000, i), 100 + i), draws=200).passes for i in range(40)]
    assert sum(passes) >= 34  # 38 expected; below 34 less than once in 100
    assert not calibration(gaps_of(normal(2000), 1, 2.0)).passes


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_is_what_the_scores_were_stretched_by(scale):
    assert temperature(gaps_of(2 * normal(40_000), 3, scale)) == pytest.approx(scale, rel=0.05)


def test_temperature_without_a_best_one_is_at_an_end():
    assert temperature([1.0, 2.0]) == pytest.approx(1e-3, rel=0.01)
    assert temperature([-1.0, -2.0]) == pytest.approx(1e3, rel=0.01)


def test_bins_hold_equally_many_and_state_what_came_true():
    gaps = gaps_of(normal(1003), 4)
    bins = reliability(gaps, 10)
    assert sum(b.right.n for b in bins) == 1003
    assert {b.right.n for b in bins} == {100, 101}
    assert [b.chance for b in bins] == sorted(b.chance for b in bins)
    assert sum(b.right.estimate * b.right.n for b in bins) / 1003 == pytest.approx(accuracy(gaps))
    assert len(reliability([0.3, -0.2, 1.0], 10)) == 3


def test_ties_are_half_right():
    assert accuracy([1.0, 0.0, -1.0, 0.0]) == 0.5
    assert ece([0.0] * 8) == 0.0


@pytest.mark.parametrize("gaps", [[], [float("nan")], [float("inf"), 1.0]])
def test_nothing_to_calibrate(gaps):
    with pytest.raises(ValueError, match=r"at least one|not finite"):
        ece(gaps)
