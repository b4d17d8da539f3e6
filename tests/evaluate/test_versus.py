"""Both orders: a judge that minds the place wins nothing for anybody."""

import json

import pytest

from truing.cli import main
from truing.engine.scripted import Scripted
from truing.evaluate.arena import ByAsking
from truing.evaluate.judges import Asked
from truing.evaluate.rows import Rows
from truing.evaluate.versus import _both, question, versus
from truing.records import Answer, Example, Message
from truing.run import set_output

ASKED = [(Message("user", f"question {i}"),) for i in range(12)]


def say(text):
    return [Example(prompt, (Answer(f"{text} {i}"),)) for i, prompt in enumerate(ASKED)]


def judged(reply, folder, ours="good", theirs="bad"):
    read = []

    def answer(prompt, number, random):
        read.append(prompt[-1].text)
        return reply(prompt[-1].text)

    with Rows(folder) as rows:
        judge = ByAsking(Asked(Scripted("judge", answer), question("harmless")))
        return versus(say(ours), say(theirs), judge, rows), read


def better(text):
    return "A" if text.rindex("good ") < text.rindex("bad ") else "B"


@pytest.mark.parametrize(
    ("reply", "said", "first"),
    [
        (better, "win", 0.5),
        (lambda text: "B" if better(text) == "A" else "A", "lose", 0.5),
        (lambda text: "A", "disagree", 1.0),
        (lambda text: "B", "disagree", 0.0),
        (lambda text: "tie", "tie", None),
        (lambda text: "I like both.", "unscored", None),
    ],
)
def test_what_is_said_in_both_orders(reply, said, first, tmp_path):
    found, read = judged(reply, tmp_path)
    assert set(found.said) == {said} and found.counts[said] == 12 and found.first == first
    assert len(read) == 24 and "# Harmless" in read[0] and "# Helpful" not in read[0]


def test_the_same_answers_are_a_tie_without_asking(tmp_path):
    found, read = judged(better, tmp_path, theirs="good")
    assert set(found.said) == {"tie"} and not read


@pytest.mark.parametrize(
    ("forward", "backward", "said"),
    [(1, 0, "win"), (0, 1, "lose"), (1, 1, "disagree"), (0, 0, "disagree"), (0.5, 0, "tie"), (1, None, "unscored")],
)
def test_a_win_is_won_from_both_sides(forward, backward, said):
    assert _both(forward, backward) == said


def test_shares_are_of_what_was_scored(tmp_path):
    found, _ = judged(lambda text: better(text) if "question 1" in text else "hm", tmp_path)
    assert found.counts["win"] == 3 and found.counts["unscored"] == 9
    assert found.share("win").estimate == 1.0 and found.ahead.n == 3


@pytest.fixture
def rich():
    before = set_output("rich")
    yield
    set_output(before)


@pytest.mark.usefixtures("rich")
def test_the_verb_asks_helpful_and_harmless_apart(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["eval", "versus", "--models", "scripted:refuse", "scripted:constant:anna is a toad .", "--count", "20"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["scripted:constant:anna is a toad ."]
    assert found["harmless"]["counts"]["lose"] == 0 and sum(found["helpful"]["counts"].values()) == 20
    set_output("rich")
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "helpful" in shown and "harmless" in shown and "in both orders" in shown
    assert main([*words[:4], "--count", "5"]) == 2
    assert "names one alone" in capsys.readouterr().err
