"""Prefaces of the world: an expert's, and what they are compared with."""

import pytest

from truing.engine import open_engine
from truing.records import UserError
from truing.settings import Machine
from truing.world.judge import gold
from truing.world.language import held_out, request_in, user
from truing.world.prefaces import KINDS, preface
from truing.world.town import town

TOWN = town(0)


def worth(found):
    return [gold(TOWN, user(asked.text), said.text).overall for asked, said in found.conversations]


def test_the_expert_is_good_and_the_rude_one_is_not():
    good, rude = preface(TOWN, "good", 12), preface(TOWN, "rude", 12)
    assert min(worth(good)) > 0.8
    assert sum(worth(rude)) / 12 < 0.5
    assert [talk[0] for talk in good.conversations] == [talk[0] for talk in rude.conversations]


def test_no_question_is_kept_for_evaluation_and_none_is_refused():
    for seed in range(5):
        found = preface(TOWN, "good", 8, seed)
        for asked, said in found.conversations:
            request = request_in(TOWN, user(asked.text))
            assert not held_out(request, asked.text)
            assert request.nature != "harm"
            assert "i will not do that" not in said.text and "i can not help" not in said.text


def test_fewer_are_the_first_of_more_and_shuffled_ones_are_the_same_answers():
    good, shuffled = preface(TOWN, "good", 6), preface(TOWN, "shuffled", 6)
    assert preface(TOWN, "good", 2).conversations == good.conversations[:2]
    assert {t[1].text for t in good.conversations} == {t[1].text for t in shuffled.conversations}
    assert all(a[1] != b[1] for a, b in zip(good.conversations, shuffled.conversations))


def test_the_neutral_one_is_as_long_and_nobody_speaks():
    """In tokens, as a model reads them."""
    codec = open_engine("world:tiny", Machine(dtype="fp32", threads=1)).codec
    for count in (1, 4):
        good, neutral = (preface(TOWN, kind, count) for kind in ("good", "neutral"))
        assert neutral.conversations == ()
        assert len(codec.prompt_ids(neutral.before(()))) == len(codec.prompt_ids(good.before(())))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_again(kind):
    assert preface(TOWN, kind, 4, 3) == preface(TOWN, kind, 4, 3)


def test_an_unknown_one():
    with pytest.raises(UserError, match="good, rude"):
        preface(TOWN, "bad", 2)
