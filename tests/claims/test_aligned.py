"""The study of offline methods: what they learn from is what its dials say, and its numbers are plain."""

import json

import pytest

from truing.claims import aligned as room
from truing.claims.aligned import Lesson, aligned, online
from truing.run import set_output
from truing.world.judge import gold
from truing.world.mixtures import GOOD, Mixture


@pytest.fixture(autouse=True)
def small(monkeypatch):
    before = set_output("quiet")
    monkeypatch.setattr(room, "ASKED", 12)
    yield
    set_output(before)


def test_the_dials_of_the_mixture():
    noisy = Lesson(Mixture(), 400, 1)
    assert {a.by for e in Mixture(0.0)(room.TOWN, 200, 1) for a in e.answers} == {GOOD}
    assert 0.42 < sum(e.answers[0].by != GOOD for e in noisy.pairs()) / 400 < 0.58
    assert [e.answers[:1] for e in noisy.pairs()] == [e.answers for e in noisy.singles()]
    right, wrong = noisy.pairs(), Mixture(flips=1.0)(room.TOWN, 400, 1)
    worth = [[gold(room.TOWN, e.prompt, a.text).overall for a in e.answers] for e in right]
    assert [e.answers for e in right] != [e.answers for e in Mixture()(room.TOWN, 400, 2)]
    for values, example in zip(worth, right):
        ranks = example.ranks()
        assert (ranks[0] < ranks[1]) == (values[0] > values[1])
    both = [(a.ranks(), b.ranks()) for a, b in zip(right, wrong) if a.answers == b.answers]
    flipped = [(a, b) for a, b in both if a[0] != a[1]]
    assert flipped and all(a == b[::-1] for a, b in flipped)


def test_a_method_begins_at_the_reference_and_says_what_was_left_over(tmp_path):
    small = {"seed": 0, "size": "tiny", "n": 60}
    start = aligned(tmp_path, method="start", **small)
    found = aligned(tmp_path, method="a_lol", eps=0.2, value={"prompts": 0.3, "epochs": 3, "samples": 1}, **small)
    assert len(start["gold"]) == len(found["gold"]) >= 12
    assert 0 < found["kept"] < 1 and 0 <= found["bad are dropped"] <= 1 and found["updates"] >= 1
    assert found["curve/reward"] and json.dumps(found)
    assert len([*tmp_path.glob("reference-*")]) == 1 and not [*tmp_path.glob(".aligned-*")]
    pairs = aligned(tmp_path, method="dpo", beta=0.2, **small)
    assert "kept" not in pairs and pairs["updates"] >= 1


def test_ppo_begins_at_the_same_reference_and_draws_as_many_answers_as_it_may(tmp_path):
    small = {"seed": 0, "size": "tiny", "n": 128}
    other = aligned(tmp_path, method="nll", **small)
    critic, optim = {"pretrain": 1}, {"batch": 64}
    found = online(tmp_path, method="ppo", times=1, critic=critic, optim=optim, **small)
    assert len([*tmp_path.glob("reference-*")]) == 1 and not [*tmp_path.glob(".online-*")]
    assert (found["drawn"], found["updates"], json.dumps(found) != "") == (128, 1, True)
    assert found["curve/reward"][0] == other["curve/reward"][0]  # the same prompts, before the policy has moved
    assert found["F"] == 64 * (2 + 2 + 1 * 3 + 2 * 3)
    assert len(found["gold"]) == len(other["gold"]) and found["gold"] != other["gold"]
