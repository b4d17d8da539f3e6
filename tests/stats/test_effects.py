"""Trends and equivalence against independent computations."""

import numpy as np
import pytest
from scipy import stats

from truing.stats.effects import equivalent, paired, regress, spearman

RANDOM = np.random.default_rng(0)


def test_one_slope_is_that_of_scipy():
    x, y = RANDOM.normal(size=30), RANDOM.normal(size=30)
    found, expected = regress(y, x=x), stats.linregress(x, y)
    half = stats.t.ppf(0.975, 28) * expected.stderr
    assert found.slopes["x"].estimate == pytest.approx(expected.slope)
    assert found.slopes["x"].low == pytest.approx(expected.slope - half)
    assert found.slopes["x"].high == pytest.approx(expected.slope + half)
    assert found.intercept == pytest.approx(expected.intercept)
    assert found.r2 == pytest.approx(expected.rvalue**2)


def test_two_slopes_are_told_apart():
    """Inputs that go together: alone, each would take the other's credit."""
    a = RANDOM.normal(size=200)
    b = a + 0.5 * RANDOM.normal(size=200)
    found = regress(1 + 2 * a - 3 * b + 0.01 * RANDOM.normal(size=200), a=a, b=b)
    assert found.slopes["a"].estimate == pytest.approx(2, abs=0.01)
    assert found.slopes["b"].estimate == pytest.approx(-3, abs=0.01)
    assert found.r2 > 0.99


def test_an_interval_of_a_slope_holds_the_truth_as_often_as_it_says():
    x = np.arange(8.0)
    held = [not regress(2 * x + RANDOM.normal(size=8), x=x).slopes["x"].excludes(2.0) for _ in range(1000)]
    assert 0.93 < np.mean(held) < 0.97


@pytest.mark.parametrize("x", [[1.0, 1.0, 1.0, 1.0], [1.0, 2.0]])
def test_points_that_determine_no_slope_are_refused(x):
    with pytest.raises(ValueError, match="do not determine"):
        regress([1.0, 2.0, 3.0, 4.0][: len(x)], x=x)


def test_equivalence_needs_evidence_and_not_its_absence():
    same = RANDOM.normal(0, 1, size=400)
    assert equivalent(same, 0.2)[1]
    assert not equivalent(same[:5], 0.2)[1]  # no difference was found, and nothing was shown
    assert not equivalent(same + 0.5, 0.2)[1]


def test_equivalence_is_right_at_the_edge_of_the_margin_once_in_twenty():
    passed = [equivalent(RANDOM.normal(0.3, 1, size=50), 0.3)[1] for _ in range(2000)]
    assert 0.035 < np.mean(passed) < 0.065


def test_pairs_are_those_that_both_have():
    found = paired({0: 1.0, 1: 2.0, 2: 9.0}, {1: 1.0, 0: 0.0, 3: 5.0})
    assert (found.estimate, found.n) == (1.0, 2)
    with pytest.raises(ValueError, match="nothing to pair"):
        paired({0: 1.0}, {1: 1.0})


def test_ranks_that_never_vary_have_no_correlation():
    assert spearman([1, 2, 3], [5, 5, 5]) == (0.0, 1.0)
    assert spearman([1, 2, 3, 4], [1, 4, 9, 16])[0] == pytest.approx(1.0)
