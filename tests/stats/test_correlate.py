"""Correlations, and what groups hide. Numbered tests are golden vectors."""

import numpy as np
import pytest

from truing.stats.correlate import between, correlation, pearson, within
from truing.stats.outliers import auroc


def test_17_pearson_and_auroc():
    assert pearson([0, 1, 2, 3], [0, 10, 40, 70]) == pytest.approx(0.979796, abs=1e-6)
    assert auroc(np.array([0.9, 0.8, 0.4]), np.array([0.5, 0.3])) == pytest.approx(0.833333, abs=1e-6)


def test_18_what_holds_between_groups_may_be_false_within_each():
    x, y, groups = [0, 1, 10, 11], [5, 4, 51, 50], "aabb"
    assert pearson(x, y) == pytest.approx(0.99264, abs=1e-5)
    assert within(x, y, groups) == pytest.approx(-1) and between(x, y, groups) == pytest.approx(1)
    assert within(x[:2], y[:2], "aa") == pytest.approx(-1) and np.isnan(between(x[:2], y[:2], "aa"))


def test_a_constant_correlates_with_nothing():
    assert np.isnan(pearson([1, 1, 1], [1, 2, 3])) and np.isnan(pearson([0.1] * 3, [1, 2, 3]))


def test_intervals_draw_clusters_and_chance_is_told():
    """Twenty copies of each of five points say no more than the five do."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 5))
    many = [np.repeat(v, 20) for v in (x, y)]
    clusters = np.repeat(np.arange(5), 20)
    alone, copied = correlation(x, y, [0] * 5), correlation(*many, [0] * 100, clusters)
    naive = correlation(*many, [0] * 100)
    assert copied.pooled.estimate == pytest.approx(alone.pooled.estimate)
    assert copied.pooled.high - copied.pooled.low == pytest.approx(alone.pooled.high - alone.pooled.low, abs=0.1)
    assert naive.pooled.high - naive.pooled.low < 0.5 * (copied.pooled.high - copied.pooled.low)
    noise = correlation(random.normal(size=60), random.normal(size=60), [0] * 60)
    line = correlation(np.arange(60), np.arange(60) + random.normal(size=60), [0] * 60)
    assert noise.p > 0.05 and line.p < 0.001 and line.pooled.low > 0.9


def test_chance_moves_whole_groups():
    """Five contexts that all questions follow alike: of 120 orders of five few correlate as much."""
    random = np.random.default_rng(0)
    groups, clusters = np.repeat(np.arange(5), 20).tolist(), np.tile(np.arange(20), 5).tolist()
    x = np.repeat(np.arange(5.0), 20)
    found = correlation(x, x + 0.1 * random.normal(size=100), groups, clusters)
    assert 1 / 120 < found.p < 0.05 and found.pooled.n == 20
    alone = correlation(x, x + 0.1 * random.normal(size=100), groups)
    assert alone.p < 0.001
    assert np.isnan(correlation(x, [1.0] * 100, groups, clusters).p)
