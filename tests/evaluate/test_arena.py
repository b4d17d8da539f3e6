"""Votes about all pairs, whichever answer stands first, and the ratings that come of them."""

import math

import numpy as np
import pytest
from tiny import tiny, tiny_tokenizer

from truing.engine import open_engine
from truing.engine.scripted import Scripted, scripted
from truing.evaluate.arena import BETTER, ByAsking, ByValue, by_size, rated, size, vote
from truing.evaluate.judges import Asked, Rule
from truing.evaluate.rows import Rows
from truing.records import Answer, Example, Message, UserError
from truing.settings import Machine
from truing.stats.ratings import Vote, win_probability


def answered(*texts):
    return [Example((Message("user", f"question {i}"),), (Answer(text),)) for i, text in enumerate(texts)]


SAID = {
    "long": answered(*["a long answer"] * 40),
    "short": answered(*["short"] * 40),
    "same": answered(*["short"] * 40),
}
LONGER = ByValue(Rule("longer", lambda prompt, answer: len(answer)))


class First:
    """Whatever stands first."""

    name = fingerprint = "first"

    def __call__(self, examples, rows):
        return [1.0] * len(examples)


@pytest.mark.parametrize("seed", range(4))
def test_a_vote_goes_to_the_model_and_not_to_the_place(tmp_path, seed):
    with Rows(tmp_path) as rows:
        found = vote(SAID, LONGER, rows, seed)
    assert {(v.a, v.b, v.won) for v in found.votes} == {
        ("long", "short", 1.0),
        ("long", "same", 1.0),
        ("short", "same", 0.5),
    }
    assert (len(found.votes), found.draws, found.unscored) == (120, 40, 0)
    assert 0.3 < found.first < 0.7  # of 80, by lot


def test_who_votes_for_the_first_prefers_nobody(tmp_path):
    with Rows(tmp_path) as rows:
        found = vote(SAID, First(), rows)
    for name in ("short", "same"):
        assert 0.2 < np.mean([v.won for v in found.votes if v.b == name and v.a == "long"]) < 0.8
    assert found.first == 1.0


def test_the_same_answers_are_voted_on_once(tmp_path):
    calls = []

    class Counting(First):
        def __call__(self, examples, rows):
            calls.append(len(examples))
            return super().__call__(examples, rows)

    for _ in range(2):
        with Rows(tmp_path) as rows:
            vote(SAID, Counting(), rows)
    assert 40 <= sum(calls) <= 80  # "short" and "same" say the same: often even on the same side
    assert len(calls) == 1


def test_what_is_left_unsaid_is_counted_and_no_draw(tmp_path):
    judge = Scripted("judge", lambda prompt, number, random: "A" if "question 1\n" in prompt[-1].text else "well")
    with Rows(tmp_path) as rows:
        found = vote({k: SAID[k] for k in ("long", "short")}, ByAsking(Asked(judge, BETTER)), rows)
    assert (len(found.votes), found.unscored, found.first) == (1, 39, 1.0)


def test_a_model_that_is_asked_reads_both_answers_behind_a_number(tmp_path):
    read = []

    def reply(prompt, number, random):
        text = prompt[-1].text
        read.append(text)
        return "B" if text.rindex("short") < text.rindex("a long answer") else "A"  # behind the pages on what counts

    with Rows(tmp_path) as rows:
        found = vote({k: SAID[k] for k in ("long", "short")}, ByAsking(Asked(Scripted("j", reply), BETTER)), rows)
    assert all(v.won == 1.0 for v in found.votes)  # it names the long one, wherever it stands
    assert " A]\n" in read[0] and " B]\n" in read[0] and "tie" in read[0]


def test_ratings_come_back():
    random, truth = np.random.default_rng(0), {"a": 0.0, "b": 0.5, "c": 1.2}
    votes = [
        Vote(x, y, float(random.random() < win_probability(truth[x], truth[y])), i)
        for x, y in (("a", "b"), ("b", "c"), ("a", "c"))
        for i in range(800)
    ]
    found = rated(votes, "a")
    for name, value in truth.items():
        assert found[name]["elo"].estimate == pytest.approx(value * 400 / math.log(10), abs=3 * 15)
        assert found[name]["votes"] == 1600
    assert found["b"]["error"] == pytest.approx((found["b"]["elo"].high - found["b"]["elo"].low) / 3.92, rel=0.25)
    assert sum(one["won"] for one in found.values()) == pytest.approx(1.5)


def test_who_never_lost_has_no_rating():
    with pytest.raises(UserError, match="b never won against the others"):
        rated([Vote("a", "b", 1.0, i) for i in range(9)], "a")


def test_elo_over_size_is_a_line():
    sizes = {"s": 10**5, "m": 10**6, "l": 10**7}
    line = by_size({name: 7 + 20 * math.log(count) for name, count in sizes.items()}, sizes)
    assert (line.slopes["ln"].estimate, line.intercept, line.r2) == pytest.approx((20, 7, 1))
    assert by_size({"s": 1.0, "m": 2.0}, sizes) is None
    assert by_size({"s": 1.0, "m": 2.0, "remote": 3.0}, sizes) is None


def test_size_is_without_embeddings(tmp_path):
    for name in ("llama", "gpt2", "qwen2"):  # an output layer of its own, learnt positions, a tied output layer
        model = tiny(name)
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
        blocks = sum(
            w.numel()
            for n, w in model.named_parameters()
            if not any(k in n for k in ("embed", "wte", "wpe", "lm_head"))
        )
        assert size(open_engine(str(tmp_path / name), Machine("fp32", 1))) == blocks
    assert size(scripted("echo")) is None
