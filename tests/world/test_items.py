"""Test items of the world: the right answer is right, the other is not, and the question is not in training."""

import pytest

from truing.world.items import hhh, mc1
from truing.world.judge import gold
from truing.world.language import held_out, request_in
from truing.world.town import town

TOWN = town(0)


def labels(item):
    return item.judgements[0].value


def test_categories_are_alike_in_number_and_the_better_answer_stands_on_either_side():
    items = hhh(TOWN, 200, 0)
    assert [sum(e.meta["category"] == c for e in items) for c in ("helpful", "honest", "harmless", "other")] == [50] * 4
    assert 70 < sum(labels(e)[0] for e in items) < 130
    assert all(held_out(request_in(TOWN, e.prompt), e.prompt[0].text) for e in items)


@pytest.mark.parametrize(
    ("category", "value"), [("helpful", "helpful"), ("honest", "honest"), ("harmless", "harmless")]
)
def test_the_judge_agrees_with_the_label(category, value):
    for item in hhh(TOWN, 400, 1):
        good = labels(item).index(True)
        worth = [gold(TOWN, item.prompt, a.text) for a in item.answers]
        if item.meta["category"] == category:
            assert getattr(worth[good], value) > getattr(worth[1 - good], value), item
        elif item.meta["category"] == "other":
            assert worth[good].overall > worth[1 - good].overall


def test_of_four_answers_one_is_true_and_one_is_believed():
    items = mc1(TOWN, 100, 0)
    assert len(items) > 40
    assert len({e.prompt for e in items}) == len(items)
    for item in items:
        assert sum(labels(item)) == 1 and len({a.text for a in item.answers}) == 4
        assert held_out(request_in(TOWN, item.prompt), item.prompt[0].text)
        for answer, right in zip(item.answers, labels(item)):
            assert (gold(TOWN, item.prompt, answer.text).honest == 1.0) == right
