"""Choices among given answers: by a language model in three ways, by a preference model in one."""

import math

import pytest
from tiny import tiny, tiny_tokenizer

from truing.engine import open_engine
from truing.engine.base import AnswerScore
from truing.engine.scripted import Scripted
from truing.evaluate.choice import accuracy, choose, chosen, numbers, right_ones
from truing.evaluate.rows import Rows
from truing.records import Answer, Example, Judgement, Message, UserError
from truing.settings import Machine


def item(question, *answers, right=0):
    said = tuple(Answer(a) for a in answers)
    return Example((Message("user", question),), said, (Judgement("label", [i == right for i in range(len(said))]),))


def test_a_number_for_each_way():
    scores = [AnswerScore(-6.0, 3), AnswerScore(-5.0, 1)]
    without = [AnswerScore(-9.0, 3), AnswerScore(-5.5, 1)]
    assert numbers(scores, without) == {"sum": [-6, -5], "mean": [-2, -5], "information": [3, 0.5]}
    assert numbers([AnswerScore(None, 3, reward=0.5), AnswerScore(None, 1, reward=-1.0)], None) == {"reward": [0.5, -1]}


def test_a_model_that_ignores_the_question_learns_nothing_from_it(tmp_path):
    engine = Scripted("deaf", lambda prompt, number, random: "yes it is")
    with Rows(tmp_path) as rows:
        (row,) = choose("t", engine, [item("is it ?", "no", "yes it is", right=1)], rows)
    assert row["information"] == [0, 0]
    assert chosen(row, "information") == 0.5  # it cannot decide
    assert chosen(row, "sum") == 1


def test_information_is_what_the_question_adds(tmp_path):
    tiny("llama").save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    engine = open_engine(str(tmp_path / "model"), Machine("fp32", 1))
    one = item("which ?", "alpha beta", "gamma", right=1)
    with Rows(tmp_path) as rows:
        (row,) = choose("t", engine, [one], rows)
    asked = engine.score([one])[0]
    bare = engine.score([Example((), one.answers)])[0]
    for i in range(2):
        assert row["information"][i] == pytest.approx(asked[i].logp - bare[i].logp, abs=1e-5)
        assert row["mean"][i] == pytest.approx(asked[i].logp / asked[i].tokens, abs=1e-5)


def test_another_model_adds_its_rows_and_the_first_is_not_asked_again(tmp_path):
    items = [item("a ?", "x", "y"), item("b ?", "x", "y", right=1)]
    calls = []

    class Counting(Scripted):
        def score(self, examples):
            calls.append((self.name, len(examples)))
            return super().score(examples)

    first, second = (Counting(name, lambda prompt, number, random: "x") for name in ("one", "two"))
    for engine, count in ((first, 2), (second, 2), (first, 2)):
        with Rows(tmp_path) as rows:
            assert len(choose("t", engine, items, rows)) == count
    with Rows(tmp_path) as rows:
        assert len(rows) == 4
    assert [call for call in calls if call[1] == 2] == [("scripted:one", 2)] * 2 + [("scripted:two", 2)] * 2


def test_items_of_one_prompt_are_one_piece_of_evidence():
    rows = [{"prompt": "p", "right": [True, False], "sum": [1, 0]}] * 50
    rows += [{"prompt": "q", "right": [True, False], "sum": [0, 1]}] * 50
    found = accuracy(rows, "sum")
    assert (found.estimate, found.n) == (0.5, 2)
    assert (found.low, found.high) == (0, 1)


def test_which_answers_are_right():
    assert right_ones(item("?", "a", "b", "c", right=2)) == [False, False, True]
    ranked = Example("?", (Answer("a"), Answer("b")), (Judgement("order", (1, 0)),))
    assert right_ones(ranked) == [False, True]


@pytest.mark.parametrize(
    "judgements", [(), (Judgement("label", [True, True]),), (Judgement("order", ((0, 1),)),), (Judgement("text", "x"),)]
)
def test_no_choice_is_refused(judgements):
    with pytest.raises(UserError, match="that is no choice"):
        right_ones(Example("?", (Answer("a"), Answer("b")), judgements, source="file.jsonl line 3"))


def test_an_empty_answer_has_a_mean():
    assert math.isfinite(numbers([AnswerScore(0.0, 0), AnswerScore(-1.0, 1)], None)["mean"][0])
