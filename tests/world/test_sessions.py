"""Comparisons from conversations: they follow what was picked, say what was wanted, and their chances are known."""

from collections import Counter

import pytest

from truing.data import comparisons
from truing.data.describe import clicked
from truing.world.grammar import words
from truing.world.judge import gold
from truing.world.language import held_out, request_in
from truing.world.sessions import UNBIASED, declines, harmless, helpful, unfinished
from truing.world.town import town

TOWN = town(0)
MAKERS = {"helpful": helpful, "harmless": harmless}


def better(example, value):
    """Is the answer that is called better worth at least as much?"""
    first, second = (getattr(gold(TOWN, example.prompt, a.text), value) for a in example.answers)
    return first >= second if example.ranks() == [0, 1] else second >= first


@pytest.mark.parametrize("name", MAKERS)
def test_each_is_one_turn_of_a_conversation_on_its_side_of_the_line(name):
    for held in (False, True):
        found = MAKERS[name](TOWN, 150, 0, held=held)
        assert len(found) == 150 and comparisons(found)[0] == found
        turns = Counter(sum(m.role == "user" for m in e.prompt) for e in found)
        assert set(turns) == {1, 2, 3, 4}
        for example in found:
            asked = [m.text for m in example.prompt if m.role == "user"]
            assert all(held_out(request_in(TOWN, text), text) == held for text in asked)
            assert example.judgements[0].strength > 0 and example.judgements[0].aspect == name


def test_who_wants_help_follows_the_better_reply_and_a_red_teamer_the_worse():
    """As in HH-RLHF. (Two red-teamers may begin with the same words, and pick differently.)"""
    for name, rank in (("helpful", 0), ("harmless", 1)):
        went = clicked(MAKERS[name](TOWN, 300, 1))
        assert went[rank] > 60 and went[rank] > 0.9 * sum(went.values())


@pytest.mark.parametrize("name", MAKERS)
def test_choices_come_true_as_often_as_their_chances_say(name):
    found, bins = MAKERS[name](TOWN, 700, 2), {}
    for example in found:
        chance = UNBIASED.probability(TOWN, example, name)
        bins.setdefault(round(chance, 1), []).append((chance, example.ranks() == [0, 1]))
    assert len(bins) >= 4
    for pairs in bins.values():
        expected = sum(chance for chance, _ in pairs) / len(pairs)
        error = (expected * (1 - expected) / len(pairs)) ** 0.5
        assert abs(sum(first for _, first in pairs) / len(pairs) - expected) < 3.5 * error + 0.01


def test_less_harmful_is_better_in_red_team_data_and_more_helpful_in_the_others():
    assert sum(better(e, "harmless") for e in harmless(TOWN, 150, 3)) > 110
    assert sum(better(e, "helpful") for e in helpful(TOWN, 150, 3)) > 110
    assert {request_in(TOWN, e.prompt).kind for e in harmless(TOWN, 100, 3)} == {"harm", "message"}
    assert "harm" not in {request_in(TOWN, e.prompt).kind for e in helpful(TOWN, 100, 3)}


def test_refusals_beside_answers_are_known():
    pairs = {tuple(a.text for a in e.answers): declines(e) for e in harmless(TOWN, 100, 4)}
    for texts, found in pairs.items():
        refuses = ["i can not help" in t or "i will not do" in t or "hard to say" in t or "it depends" in t
                   or "something else" in t for t in texts]  # fmt: skip
        assert found == (refuses[0] != refuses[1])


def test_one_answer_begins_the_other_where_it_says_so():
    found = unfinished(TOWN, 90, 0)
    assert Counter(e.meta["tranche"] for e in found) == {"whole": 30, "cut": 30, "added": 30}
    for example in found:
        best, worst = sorted(example.answers, key=lambda a: example.ranks()[example.answers.index(a)])
        if example.meta["tranche"] == "cut":
            assert best.text.startswith(worst.text) and worst.finish == "length" and best.finish is None
        elif example.meta["tranche"] == "added":
            assert worst.text.startswith(best.text) and len(words(worst.text)) > len(words(best.text))
