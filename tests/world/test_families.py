"""Small kin of the nine tasks: on their side of the line, better where they say so, and with nothing that gives the
right answer away."""

import math
from collections import Counter

import pytest

from truing.data import comparisons
from truing.world.facts import about
from truing.world.grammar import words
from truing.world.judge import gold
from truing.world.language import request_in
from truing.world.tasks import BINARY, FAMILIES, RANKED, fortunes, summaries
from truing.world.town import town

TOWN = town(0)


def said(example):
    """Better answers, worse answers."""
    texts = [answer.text for answer in example.answers]
    return [[t for t, rank in zip(texts, example.ranks()) if (rank == 0) == good] for good in (True, False)]


def prompts(examples):
    return {str(example.prompt) for example in examples}


@pytest.mark.parametrize("name", FAMILIES)
def test_both_sides_of_the_line_share_no_question(name):
    train, test = (FAMILIES[name](TOWN, 400, 0, held=held) for held in (False, True))
    assert len(train) == len(test) == 400
    assert not prompts(train) & prompts(test)
    assert len(prompts(test)) > 40  # an interval draws questions
    assert comparisons(train)[0] == train
    first = sum(example.ranks()[0] == 0 for example in train) / len(train)
    assert abs(first - 1 / len(train[0].answers)) < 0.1  # the better answer stands anywhere


@pytest.mark.parametrize("name", FAMILIES)
def test_a_seed_is_a_data_set(name):
    assert FAMILIES[name](TOWN, 20, 1) == FAMILIES[name](TOWN, 20, 1) != FAMILIES[name](TOWN, 20, 2)


@pytest.mark.parametrize("name", BINARY)
def test_neither_length_nor_words_tell_right_from_wrong(name):
    train, test = (BINARY[name](TOWN, 2000, seed) for seed in (0, 1))
    counts = [Counter[str](), Counter[str]()]
    for example in train:
        for seen, texts in zip(counts, said(example)):
            seen.update(set(words(texts[0])))

    def evidence(text):
        return sum(math.log((counts[0][w] + 1) / (counts[1][w] + 1)) for w in set(words(text)))

    for rule in (len, lambda text: len(words(text)), evidence):
        won = [
            (rule(right[0]) > rule(wrong[0])) + (rule(right[0]) == rule(wrong[0])) / 2
            for right, wrong in map(said, test)
        ]
        assert abs(sum(won) / len(won) - 0.5) < 0.035


def test_right_answers_are_right_and_wrong_ones_wrong():
    for name in ("facts", "skills"):
        for example in BINARY[name](TOWN, 300, 0):
            right, wrong = (gold(TOWN, example.prompt, texts[0]) for texts in said(example))
            assert right.honest == 1.0 and wrong.honest == 0.0
    for example in BINARY["lastwords"](TOWN, 300, 0):
        (right,), (wrong,) = said(example)
        assert right.strip() in example.prompt.split() and right != wrong


def test_facts_are_told_of_whom_is_asked():
    for example in BINARY["facts"](TOWN, 200, 0):
        entity, attribute = about(request_in(TOWN, example.prompt))
        assert all(entity in words(text) for texts in said(example) for text in texts)
        assert TOWN.knows(entity, attribute)


def test_better_summaries_are_worth_more():
    value = [
        [gold(TOWN, example.prompt, texts[0]).overall for texts in said(example)] for example in summaries(TOWN, 400, 0)
    ]
    assert all(better > worse for better, worse in value)
    assert sum(better < 0.9 for better, _ in value) > 80  # better, and not good


def test_better_fortunes_leave_more_coins():
    for example in fortunes(TOWN, 300, 0):
        left = []
        for texts in said(example):
            sentences = texts[0].split(" . ")
            left.append(sum(int(s.split()[2]) * (1 if "found" in s else -1) for s in sentences))
        assert left[0] > left[1]


def test_endings_are_by_who_spoke_before_and_by_three_others():
    for example in RANKED["endings"](TOWN, 100, 0):
        assert sorted(example.ranks()) == [0, 1, 1, 1] and len({a.text for a in example.answers}) == 4
        assert example.prompt[-1].role == "user" and len(example.prompt) >= 5
