"""Agreement against scikit-learn and against Krippendorff's own example."""

import math
from random import Random

import pytest
from sklearn.metrics import cohen_kappa_score

from truing.stats.agreement import cohen_kappa, krippendorff, share

# Four coders, twelve units: the worked example of K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011),
# section D, whose nominal alpha is 0.743.
CODERS = (
    "1 2 3 3 2 1 4 1 2 - - -",
    "1 2 3 3 2 2 4 1 2 5 - 3",
    "- 3 3 3 2 3 4 2 2 5 1 -",
    "1 2 3 3 2 4 4 1 2 5 1 -",
)
UNITS = [[None if x == "-" else x for x in unit] for unit in zip(*(row.split() for row in CODERS))]


def test_krippendorffs_example():
    assert krippendorff(UNITS) == pytest.approx(0.743, abs=5e-4)


def test_kappa_is_scikit_learns():
    rng = Random(0)
    first = [rng.choice("aab") for _ in range(300)]
    second = [a if rng.random() < 0.6 else rng.choice("abc") for a in first]
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))
    skipped = [None if i % 3 == 0 else a for i, a in enumerate(first)]
    kept = [i for i in range(300) if i % 3]
    assert cohen_kappa(skipped, second) == pytest.approx(
        cohen_kappa_score([first[i] for i in kept], [second[i] for i in kept])
    )


def test_chance_is_zero_and_sameness_is_one():
    rng = Random(1)
    noise = [[rng.choice("ab") for _ in range(3)] for _ in range(4000)]
    assert krippendorff(noise) == pytest.approx(0, abs=0.03)
    assert share(noise) == pytest.approx(0.5, abs=0.02)
    same = [["a"] * 3, ["b"] * 3]
    assert (krippendorff(same), share(same), cohen_kappa("ab", "ab")) == (1, 1, 1)


def test_share_counts_pairs_and_skips_what_was_not_judged():
    assert share([["a", "a", "b"], ["a", None, "a"]]) == pytest.approx(2 / 4)


@pytest.mark.parametrize("judgements", [[], [[None, "a"]], [["a", None], [None, None]]])
def test_nothing_judged_twice(judgements):
    assert math.isnan(share(judgements))
    assert math.isnan(krippendorff(judgements))


def test_one_label_for_everything_leaves_no_room_for_agreement():
    assert math.isnan(krippendorff([["a", "a"], ["a", "a"]]))
    assert math.isnan(cohen_kappa("aa", "aa"))
    assert math.isnan(cohen_kappa([None], ["a"]))
