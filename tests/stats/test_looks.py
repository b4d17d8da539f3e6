"""What is read off runs that are looked at now and then."""

import pytest

from truing.stats.looks import at_same_reward, common, drop, frontier


def test_what_is_lost_by_the_end_and_the_steps_that_all_have():
    assert drop([(1, 0.2), (2, 0.9), (3, 0.6)]) == pytest.approx(0.3)
    assert drop([(1, 0.2), (2, 0.9)]) == 0
    assert common([[(1, 0.2), (2, 0.9)], [(2, 0.5), (4, 0.1)], []]) == [(2, [0.9, 0.5])]
    assert common([[], []]) == []


def test_a_frontier_only_rises():
    rewards, variety = frontier([(0, 0.1), (1, 0.5), (2, 0.4), (3, 0.6)], [(0, 1.0), (1, 0.8), (2, 0.7), (3, 0.5)])
    assert rewards.tolist() == [0.1, 0.5, 0.6] and variety.tolist() == [1.0, 0.8, 0.5]


def test_two_runs_at_the_highest_reward_that_both_reach():
    """The first reaches 0.4 with 0.8 of variety, the other only later than half its way, with 0.6."""
    steady = [(0, 0.0), (1, 0.4)], [(0, 1.0), (1, 0.8)]
    fast = [(0, 0.2), (1, 0.6)], [(0, 0.9), (1, 0.3)]
    assert at_same_reward(steady, fast) == pytest.approx(0.8 - 0.6)
    assert at_same_reward(fast, steady) == pytest.approx(0.6 - 0.8)
    above = [(0, 0.5), (1, 0.6)], [(0, 0.9), (1, 0.3)]
    assert at_same_reward(steady, above) is None
    assert at_same_reward(steady, ([(0, 0.1)], [(9, 0.5)])) is None  # never looked at both
