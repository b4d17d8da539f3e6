"""Ratings against closed forms and against simulated votes with known truth."""

import math

import numpy as np
import pytest

from truing.stats.ratings import Vote, bootstrap, elo, fit, score, win_probability


def votes(a, b, won, lost, conversation=None):
    return [Vote(a, b, 1.0, conversation)] * won + [Vote(a, b, 0.0, conversation)] * lost


def played(ratings, per_pair, seed=0, turns=1):
    """Votes between all pairs. With `turns` > 1 the turns of a conversation all go the way of the first."""
    random, found = np.random.default_rng(seed), []
    for i, a in enumerate(ratings):
        for b in list(ratings)[i + 1 :]:
            for game in range(per_pair // turns):
                won = float(random.random() < win_probability(ratings[a], ratings[b]))
                found += [Vote(a, b, won, (a, b, game))] * turns
    return found


def test_two_players_in_closed_form():
    ratings = fit(votes("new", "old", 57, 43), "old")
    assert ratings.elo()["new"] == pytest.approx(400 * math.log10(57 / 43))
    assert ratings.elo()["new"] == pytest.approx(49, abs=0.1)
    assert ratings.elo()["old"] == 0
    assert ratings.errors() == {"new": pytest.approx(400 / math.log(10) / math.sqrt(100 * 0.57 * 0.43)), "old": 0}


@pytest.mark.parametrize(("n", "error"), [(400, 17.4), (1600, 8.7)])
def test_error_of_an_even_pair(n, error):
    assert fit(votes("a", "b", n // 2, n // 2), "b").errors()["a"] == pytest.approx(error, abs=0.05)


def test_units_and_their_direction():
    assert elo(1.0) == pytest.approx(173.72, abs=0.005)
    assert score(49.0) == pytest.approx(0.28, abs=0.005)
    assert win_probability(1.0, 0.0) == pytest.approx(0.731, abs=5e-4)
    assert win_probability(0.0, 1.0) < 0.5
    assert win_probability(score(400), 0) == pytest.approx(10 / 11)


def test_the_side_a_vote_stands_on_does_not_matter_and_a_draw_is_half_a_win():
    turned = [Vote("b", "a", 1 - v.won) for v in votes("a", "b", 30, 10)]
    assert fit(turned, "b").elo()["a"] == pytest.approx(400 * math.log10(3))
    assert fit([Vote("a", "b", 0.5)] * 5, "b").elo()["a"] == pytest.approx(0)


TRUTH = {"a": 0.0, "b": 0.4, "c": 1.0, "d": -0.7}


def test_known_ratings_come_back_and_errors_say_how_far_off_they_are():
    off, errors = [], []
    for seed in range(60):
        found = fit(played(TRUTH, 200, seed), "a")
        off.append([found.elo()[n] - elo(TRUTH[n]) for n in "bcd"])
        errors.append([found.errors()[n] for n in "bcd"])
    assert np.abs(np.mean(off, 0)).max() < 8  # error of a mean over 60: about 3
    assert np.std(off, 0) == pytest.approx(np.mean(errors, 0), rel=0.35)


def test_gap_between_two_has_its_own_error():
    found = fit(played(TRUTH, 300), "a")
    gap, error = found.gap("c", "b")
    assert gap == pytest.approx(found.elo()["c"] - found.elo()["b"])
    again = fit(played(TRUTH, 300), "b")
    assert error == pytest.approx(again.errors()["c"])


def test_conversations_are_drawn_whole():
    alone = bootstrap(played({"a": 0.0, "b": 0.5}, 400, turns=1), "a", draws=400)["b"]
    together = bootstrap(played({"a": 0.0, "b": 0.5}, 400, turns=4), "a", draws=400)["b"]
    assert (alone.n, together.n) == (400, 100)
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(2, rel=0.25)
    assert (alone.high - alone.low) / 2 == pytest.approx(1.96 * 17.5, rel=0.2)


def test_the_anchor_stays_in_a_bootstrap():
    found = bootstrap(played(TRUTH, 100), "c", draws=100)
    assert (found["c"].estimate, found["c"].low, found["c"].high) == (0, 0, 0)
    assert found["d"].high < 0


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (votes("a", "b", 5, 0), "a never lost|b never won"),
        (votes("a", "b", 2, 2) + votes("c", "d", 2, 2), "never met"),
        (votes("a", "a", 1, 1), "against itself"),
        ([Vote("a", "b", 1.5)], "share between 0 and 1"),
        (votes("c", "d", 2, 2), "anchor 'a'"),
        ([], "anchor 'a'"),
    ],
)
def test_votes_without_ratings(given, words):
    with pytest.raises(ValueError, match=words):
        fit(given, "a")


def test_too_few_votes_to_bootstrap():
    with pytest.raises(ValueError, match="too few votes"):
        bootstrap([*votes("a", "b", 1, 1), *votes("b", "c", 1, 1)], "a", draws=50)
