"""Mahalanobis distances, AUROC and the exposed classifier against scikit-learn and closed forms."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.covariance import EmpiricalCovariance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from truing.stats.outliers import auroc, auroc_bootstrap, expose, fit_normal, match


def vectors(n=400, d=6, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d))
    return random.normal(size=(n, d)) @ mixing + 3 + shift


def test_distance_is_scikit_learns():
    x, new = vectors(), vectors(50, seed=1, shift=1)
    ours = fit_normal(x, shrinkage=0).mahalanobis(new)
    assert ours == pytest.approx(EmpiricalCovariance().fit(x).mahalanobis(new))


def test_relative_distance_subtracts_what_single_directions_say():
    x, new = vectors(), vectors(20, seed=2)
    normal = fit_normal(x, shrinkage=0)
    alone = sum(((new[:, i] - x[:, i].mean()) / x[:, i].std()) ** 2 for i in range(6))
    assert normal.relative(new) == pytest.approx(normal.mahalanobis(new) - alone)


def test_without_correlation_nothing_is_relative():
    x = np.array([[1.0, 2], [1, -2], [-1, 2], [-1, -2]])
    assert fit_normal(x, shrinkage=0).relative(np.array([[5.0, 7]])) == pytest.approx([0])


def test_a_broken_correlation_is_seen_by_the_distance_and_not_by_its_directions():
    random = np.random.default_rng(3)
    a = random.normal(size=500)
    x = np.stack([a, a + 0.1 * random.normal(size=500)], 1)
    usual, odd = np.array([[1.0, 1.0]]), np.array([[1.0, -1.0]])
    normal = fit_normal(x)
    assert normal.mahalanobis(odd) > 20 * normal.mahalanobis(usual)
    assert normal.relative(odd) > 0 > normal.relative(usual)


def test_shrinkage_goes_with_dimensions_per_vector_and_keeps_few_vectors_usable():
    assert fit_normal(vectors(60, 6)).shrinkage == pytest.approx(6 / 66)
    few = fit_normal(vectors(8, 20, seed=4))
    assert np.isfinite(few.mahalanobis(vectors(10, 20, seed=5))).all()
    full = fit_normal(vectors(), shrinkage=1)
    assert full.relative(vectors(9, seed=6)) == pytest.approx(np.zeros(9), abs=1e-9)


def test_auroc_is_scikit_learns_with_ties():
    random = np.random.default_rng(0)
    out, inside = random.integers(0, 6, 80).astype(float), random.integers(0, 5, 200).astype(float)
    label = np.r_[np.ones(80), np.zeros(200)]
    assert auroc(out, inside) == pytest.approx(roc_auc_score(label, np.r_[out, inside]))
    assert auroc(np.ones(3), np.ones(4)) == 0.5


def test_exposed_classifier_is_scikit_learns_with_repeated_outliers():
    inside, out, new = vectors(203), vectors(10, seed=7, shift=0.8), vectors(40, seed=8)
    repeated = np.repeat(out, 20, 0)  # ⌊203 / 10⌋
    mean, scale = inside.mean(0), inside.std(0)
    theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000)
    theirs.fit((np.r_[inside, repeated] - mean) / scale, np.r_[np.zeros(203), np.ones(200)])
    assert expose(inside, out).logit(new) == pytest.approx(theirs.decision_function((new - mean) / scale), abs=2e-3)


def test_exposure_finds_more_of_the_same_kind():
    inside, out = vectors(300, 12), vectors(10, 12, seed=1, shift=1.5)
    exposed = expose(inside, out)
    assert auroc(exposed.logit(vectors(200, 12, seed=2, shift=1.5)), exposed.logit(vectors(200, 12, seed=3))) > 0.8


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: fit_normal(vectors(1)), "at least two"),
        (lambda: fit_normal(np.ones((9, 2))), "never varies"),
        (lambda: fit_normal(vectors(), shrinkage=2), "between 0 and 1"),
        (lambda: auroc(np.array([]), np.ones(2)), "both kinds"),
        (lambda: expose(vectors(9), vectors(0)), "both kinds"),
    ],
)
def test_what_cannot_be_measured(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()


def test_the_interval_of_an_auroc_covers_the_truth_as_often_as_it_says():
    truth, hits = norm.cdf(0.8 / np.sqrt(2)), 0  # of two normals that are 0.8 apart
    for seed in range(200):
        random = np.random.default_rng(seed)
        found = auroc_bootstrap(random.normal(0.8, 1, 60), random.normal(0, 1, 80), draws=300, seed=seed)
        hits += not found.excludes(truth)
    assert 180 <= hits <= 198  # 95 % of 200, give or take three standard deviations


def test_turns_of_one_conversation_are_one_piece_of_evidence():
    random = np.random.default_rng(4)
    out, inside = random.normal(1, 1, 20), random.normal(0, 1, 30)
    alone = auroc_bootstrap(out, inside)
    ten_times = auroc_bootstrap(np.repeat(out, 10), np.repeat(inside, 10))
    of = (np.repeat(range(20), 10), np.repeat(range(30), 10))
    clusters = auroc_bootstrap(np.repeat(out, 10), np.repeat(inside, 10), of)
    assert alone.estimate == pytest.approx(ten_times.estimate)
    assert clusters.high - clusters.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert ten_times.high - ten_times.low < 0.5 * (alone.high - alone.low)


def test_ties_are_half_in_every_resample():
    found = auroc_bootstrap(np.ones(20), np.ones(30))
    assert (found.estimate, found.low, found.high) == (0.5, 0.5, 0.5)


def test_matching_takes_away_what_length_alone_can_tell():
    random = np.random.default_rng(5)
    short = [(1, int(n)) for n in random.integers(4, 12, 200)]
    long = [(1, int(n)) for n in random.integers(8, 20, 200)]
    pairs = match(long, short)
    assert auroc(np.array([n for _, n in long]), np.array([n for _, n in short])) > 0.9
    left = auroc(np.array([long[i][1] for i, _ in pairs]), np.array([short[j][1] for _, j in pairs]))
    assert len(pairs) > 50 and left < 0.62
    assert len({j for _, j in pairs}) == len(pairs)


def test_nobody_is_matched_with_somebody_of_other_turns_or_length():
    assert match([(1, 10), (2, 10), (1, 100)], [(1, 11), (1, 10), (1, 50)]) == [(0, 1)]
