"""Held-out pairs in rows, and several models on the same pairs."""

import numpy as np
import pytest

from truing.engine.base import AnswerScore
from truing.engine.scripted import Scripted
from truing.evaluate.preference import judged_pairs, kept_pairs
from truing.evaluate.rows import Rows
from truing.records import Answer, Example, Judgement, Message
from truing.stats.pairs import beside, removed


class Lengths(Scripted):
    """A preference model that likes long answers, `scale` for each letter, and counts what it is asked."""

    rewards = True

    def __init__(self, name="lengths", scale=1.0):
        super().__init__(name, lambda *_: "")
        self.scale, self.asked = scale, 0

    def score(self, examples):
        self.asked += len(examples)
        return [[AnswerScore(None, 1, reward=5 + self.scale * len(a.text)) for a in e.answers] for e in examples]


def pair(i, order, tranche="one"):
    said = (Answer("x" * (i + 2)), Answer("y"))
    return Example((Message("user", f"q{i}"),), said, (Judgement("order", order),), meta={"tranche": tranche})


def test_rows_are_the_pairs_and_are_asked_for_once(tmp_path):
    engine, examples = Lengths(), [pair(i, (0, 1)) for i in range(5)]
    for _ in range(2):
        with Rows(tmp_path) as rows:
            found = kept_pairs(engine, examples, rows)
    assert found == judged_pairs(Lengths(), examples)
    assert engine.asked == 5


def test_two_people_about_one_pair_are_two_pairs(tmp_path):
    examples = [pair(1, (0, 1)), pair(1, (1, 0)), pair(1, (0, 1))]
    with Rows(tmp_path) as rows:
        found = kept_pairs(Lengths(), examples, rows)
    assert [row["gap"] for row in found] == [2, -2, 2]


def test_scores_are_compared_without_their_means_and_choices_as_they_are():
    examples = [pair(i, (0, 1) if i % 3 else (1, 0)) for i in range(12)]
    one, twice = judged_pairs(Lengths(), examples), judged_pairs(Lengths("twice", 2.0), examples)
    against = judged_pairs(Lengths("against", -1.0), examples)
    assert removed(twice) - 5 == pytest.approx(2 * (removed(one) - 5))
    found = beside(one, twice)
    assert (found.correlation, found.same_choice, found.gained.estimate) == pytest.approx((1, 1, 0))
    other = beside(one, against)
    assert (other.correlation, other.same_choice) == pytest.approx((-1, 0))
    assert other.gained.estimate == pytest.approx((4 - 8) / 12)
    assert np.isnan(beside(one, judged_pairs(Lengths("none", 0.0), examples)).correlation)
