"""Intervals against closed forms, published values, and the share of repetitions in which they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from truing.stats.intervals import Interval, mean_bootstrap, mean_crossed, mean_t, wilson


def held(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([not i.excludes(truth) for i in intervals]))


def bounds(share: float, n: int) -> tuple[float, float]:
    """Where an observed share of n repetitions lies but for one chance in ten thousand."""
    low, high = stats.binom.ppf([5e-5, 1 - 5e-5], n, share)
    return low / n, high / n


def test_t_interval_by_hand() -> None:
    found = mean_t([1, 2, 3, 4, 5])
    half = 2.7764451 * math.sqrt(2.5 / 5)  # t_{0.975} with 4 degrees of freedom
    assert (found.estimate, found.low, found.high) == pytest.approx((3, 3 - half, 3 + half))
    assert found.n == 5 and found.excludes(1) and not found.excludes(3)


def test_t_interval_holds_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    for level in (0.8, 0.95):
        found = [mean_t(random.normal(3, 2, 5), level) for _ in range(2000)]
        low, high = bounds(level, 2000)
        assert low <= held(found, 3) <= high


@pytest.mark.parametrize(("seeds", "items"), [(0.03, 0.2), (0.0, 0.2), (0.03, 0.0)])
def test_crossed_means_cover_what_both_seeds_and_items_would_change(seeds: float, items: float) -> None:
    """Differences of two systems that are alike: five seeds, each with an error of its own, and the same items."""
    random = np.random.default_rng(0)
    missed = 0
    for _ in range(400):
        noise = random.normal(0, 0.1, (5, 100))
        values = random.normal(0, seeds, (5, 1)) + random.normal(0, items, (1, 100)) + noise
        missed += mean_crossed(values).excludes(0.0)
    assert missed / 400 < 0.08


def test_crossed_means_of_one_seed_are_those_over_items() -> None:
    values = np.array([[0.1, 0.4, 0.3, 0.9]])
    one, plain = mean_crossed(values), mean_t(values[0])
    assert (one.estimate, one.low, one.high) == pytest.approx((plain.estimate, plain.low, plain.high))


def test_wilson_by_hand() -> None:
    z2 = stats.norm.ppf(0.975) ** 2
    none, half, all_ = wilson(0, 10), wilson(5, 10), wilson(10, 10)
    assert none.low == 0 and none.high == pytest.approx(z2 / (10 + z2))
    assert all_.high == 1 and all_.low == pytest.approx(10 / (10 + z2))
    assert (half.low, half.high) == pytest.approx((0.236593, 0.763407), abs=1e-6)


@pytest.mark.parametrize(("yes", "n"), [(3, 17), (1, 200), (40, 41)])
def test_wilson_ends_where_the_score_test_rejects(yes: int, n: int) -> None:
    found = wilson(yes, n, level=0.9)
    for p in (found.low, found.high):
        assert (yes / n - p) ** 2 == pytest.approx(stats.norm.ppf(0.95) ** 2 * p * (1 - p) / n)


def test_the_bootstrap_agrees_with_t_where_t_is_right() -> None:
    x = np.random.default_rng(1).normal(0, 1, 400)
    t, b = mean_t(x), mean_bootstrap(x, draws=20_000)
    width = t.high - t.low
    assert abs(t.low - b.low) < 0.05 * width and abs(t.high - b.high) < 0.05 * width
    assert b.estimate == t.estimate


def test_copies_within_a_cluster_are_no_evidence() -> None:
    x = np.random.default_rng(2).normal(0, 1, 30)
    once = mean_bootstrap(x)
    copied = mean_bootstrap(np.repeat(x, 7), clusters=np.repeat(np.arange(30), 7))
    assert (copied.estimate, copied.low, copied.high, copied.n) == pytest.approx(
        (once.estimate, once.low, once.high, 30)
    )


def test_cluster_labels_may_be_anything_in_any_order() -> None:
    x, names = np.arange(12.0) ** 2, [f"talk {i // 3}" for i in range(12)]
    whole = mean_bootstrap(x, names)
    mixed = [3 * talk + turn for turn in range(3) for talk in range(4)]  # turn by turn instead of talk by talk
    assert (
        mean_bootstrap(x[mixed], [names[i] for i in mixed]) == whole == mean_bootstrap(x, [i // 3 for i in range(12)])
    )
    assert whole.n == 4


def test_clusters_of_unequal_size_keep_the_mean_of_the_items() -> None:
    x, of = [1.0, 1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "a", "b"]
    found = mean_bootstrap(x, of)
    assert found.estimate == 0.8  # not the mean of cluster means
    assert (found.low, found.high) == (0.0, 1.0)  # a draw may hold only one of the two
    middle = mean_bootstrap(x, of, level=0.2)  # half of all draws hold both, and are weighted by size
    assert middle.low == middle.high == 0.8


def test_cluster_bootstrap_holds_the_mean_and_the_plain_one_does_not() -> None:
    """Turns of a conversation share its mood: 40 conversations of 5 turns, within-conversation correlation 0.8."""
    random = np.random.default_rng(4)
    of = np.repeat(np.arange(40), 5)
    data = [random.normal(0, 2, 40)[of] + random.normal(0, 1, 200) for _ in range(200)]
    assert held([mean_bootstrap(x, of, draws=300) for x in data], 0) >= bounds(0.95, 200)[0]
    assert held([mean_bootstrap(x, draws=300) for x in data], 0) < bounds(0.8, 200)[0]


def test_the_seed_makes_it_repeatable() -> None:
    x = list(range(20))
    assert mean_bootstrap(x) == mean_bootstrap(x) != mean_bootstrap(x, seed=1)


def test_one_value_or_one_cluster_has_no_ends() -> None:
    for found in (mean_t([2.0]), mean_bootstrap([2.0]), mean_bootstrap([1.0, 3.0], ["a", "a"])):
        assert (found.estimate, found.low, found.high, found.n) == (2.0, -math.inf, math.inf, 1)


def test_a_value_that_is_none_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="value 1 is not finite"):
        mean_t([1.0, math.nan])
    for bad in (np.zeros(0), np.zeros((1, 1))):
        with pytest.raises(ValueError):
            mean_bootstrap(bad)
    with pytest.raises(ValueError, match="2 values but 1 cluster"):
        mean_bootstrap([1.0, 2.0], ["a"])
    for yes, n in ((0, 0), (-1, 3), (4, 3)):
        with pytest.raises(ValueError):
            wilson(yes, n)
    with pytest.raises(ValueError):
        mean_t([1.0], level=95)
