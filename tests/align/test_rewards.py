"""Rewards: sums with weights, kept by content, and one sentence for each way in which a judge can fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from truing.align.rewards import Part, Rewards
from truing.evaluate.called import Called
from truing.evaluate.judges import Rule
from truing.evaluate.lexical import TfIdf, distinct, length
from truing.records import Answer, Example, Message, UserError

SAID = ("red and red", "blue", "a very long answer with rare words", "")
EXAMPLES = [Example((Message("user", f"q{i}"),), tuple(map(Answer, SAID[i : i + 2])), meta={"n": i}) for i in range(3)]


class Counting:
    """The length in letters, and how often it was asked."""

    name, fingerprint = "letters", "letters:1"

    def __init__(self):
        self.asked = 0

    def __call__(self, examples, rows):
        self.asked += sum(len(e.answers) for e in examples)
        return Rule("letters", lambda prompt, answer: float(len(answer)))(examples, rows)


def test_a_reward_is_a_weighted_sum_and_is_asked_once(tmp_path):
    letters = Counting()
    rewards = Rewards([Part(Rule("distinct", distinct)), Part(letters, -0.1, None)], tmp_path)
    found = rewards.of(EXAMPLES)
    assert found[0] == pytest.approx(np.array([[2 / 3, 11], [1, 4]]))
    assert rewards.total(found[0]) == pytest.approx([2 / 3 - 1.1, 0.6])
    assert letters.asked == 6
    again = Rewards([Part(letters, 2.0, None)], tmp_path)
    assert [row[:, 0].tolist() for row in again.of(EXAMPLES[::-1])] == [r[:, 1].tolist() for r in found[::-1]]
    assert letters.asked == 6, "another order and another weight ask nothing anew"
    letters.fingerprint = "letters:2"
    again.of(EXAMPLES)
    assert letters.asked == 12, "a judge that has changed is another one"
    (first, second) = rewards.table(found)
    assert (first.low, first.high, second.weight, second.high) == (0.0, 1.0, -0.1, 34)


def test_bounds_of_a_sum():
    unit, wide = Part(Rule("d", distinct), 2.0), Part(Rule("d", distinct), -1.0)
    assert Rewards([unit, wide], "x").bounds == (-1.0, 2.0)
    assert Rewards([unit, Part(Rule("d", distinct), 1.0, None)], "x").bounds is None


def test_a_preference_model_is_squashed(tmp_path):
    rewards = Rewards([Part(Rule("raw", lambda prompt, answer: -1000.0 if answer else 2.0), squash=True)], tmp_path)
    with np.errstate(over="ignore"):
        assert rewards.of(EXAMPLES[2:])[0][:, 0] == pytest.approx([0.0, 1 / (1 + math.exp(-2))])


@pytest.mark.parametrize(
    ("rule", "bounds", "said"),
    [
        (lambda p, a: 1 / (len(a) - 4), None, "reward r failed with ZeroDivisionError: .*answer 'blue'"),
        (lambda p, a: math.nan if a == "blue" else 1.0, None, "reward r gives nan at the answer 'blue'"),
        (
            lambda p, a: -0.5 if a == "blue" else 1.0,
            (0.0, 1.0),
            r"gives -0.5, outside of \[0, 1\] at the answer 'blue'",
        ),
    ],
)
def test_a_judge_that_fails_is_shown_with_the_answer(rule, bounds, said, tmp_path):
    with pytest.raises(UserError, match=said):
        Rewards([Part(Rule("r", rule), bounds=bounds)], tmp_path).of(EXAMPLES)


def test_tf_idf_is_that_of_scikit_learn():
    corpus = ["the red fox", "the blue fox sat", "a fox and a dog", "the the the dog"]
    theirs = TfidfVectorizer().fit(corpus)
    ours = TfIdf.of(corpus)
    for text in ("the red dog sat with the fox", "the blue fox and a red dog sat"):
        row = theirs.transform([text]).toarray()[0]
        said = row[row > 0]
        assert ours.value(text) == pytest.approx(said.mean() * (len(said) / 10 if len(said) < 5 else 1))
    assert ours.value("unknown words") == ours.value("") == 0.0
    assert TfIdf.of(corpus).fingerprint == ours.fingerprint != TfIdf.of(corpus[:3]).fingerprint


def test_lexical_values():
    assert length((), "a b") == 0.02 and length((), "a " * 300) == 1.0
    assert distinct((), "a b a") == pytest.approx(2 / 3) and distinct((), "") == 0.0


TALKS = """
def reward(prompts, completions, n, **other):
    return [len(c[0]["content"]) + 10 * m for c, m in zip(completions, n)]
"""
TEXTS = """
def reward(prompts, completions, **other):
    return [float(p == "once") + len(c) for p, c in zip(prompts, completions)]
"""


def test_a_function_is_called_as_trl_calls_it(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(TALKS)
    judge = Called.load(f"{file}:reward")
    rewards = Rewards([Part(judge, bounds=None)], tmp_path)
    assert [row[:, 0].tolist() for row in rewards.of(EXAMPLES)] == [[11, 4], [14, 44], [54, 20]]
    (other,) = rewards.of([replace(EXAMPLES[0], meta={"n": 7})])
    assert other[:, 0].tolist() == [81, 74], "columns are part of what is asked"
    file.write_text(TEXTS)
    changed = Called.load(f"{file}:reward")
    assert changed.fingerprint != judge.fingerprint
    bare = Example("once", (Answer("upon"),))
    assert Rewards([Part(changed, bounds=None)], tmp_path).of([bare])[0].tolist() == [[5.0]]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("{}:no", "no function 'no'"),
        ("nothing", "MODULE:FUNCTION"),
        ("no.py:f", "no such Python"),
        ("no.x:f", "cannot be imported"),
    ],
)
def test_a_function_that_is_not_there(where, said, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(TALKS)
    with pytest.raises(UserError, match=said):
        Called.load(where.format(file))
