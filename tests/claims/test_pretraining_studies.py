"""Studies of preference pre-training: small, the same twice, with arms that differ in what they are said to."""

import json
from itertools import combinations, pairwise

import pytest
from scipy.stats import kendalltau

from truing.claims import firsts, pretraining, sites
from truing.claims.symbols import permuted, symbols
from truing.data.split import first_turn
from truing.engine.base import AnswerScore
from truing.run import set_output
from truing.world.judge import gold
from truing.world.town import town

SMALL = {"size": "tiny", "pairs": 30, "n": 8, "seed": 0, "subsample": 0}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    before = set_output("quiet")
    monkeypatch.setattr(sites, "DRAWN", 500)
    monkeypatch.setattr(sites, "TEST", 24)
    monkeypatch.setattr(firsts, "DOCUMENTS", 5)
    monkeypatch.setattr(pretraining, "ASKED", 60)
    for made in (sites.target, sites.limits, firsts.language_loss):
        made.cache_clear()
    yield
    for made in (sites.target, sites.limits, firsts.language_loss):
        made.cache_clear()
    set_output(before)


@pytest.mark.parametrize("distance", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_an_order_at_that_distance(distance):
    names = [f"s{i}" for i in range(12)]
    order = permuted(names, distance, 3)
    tau = kendalltau(range(12), [order.index(name) for name in names]).statistic
    assert (1 - tau) / 2 == pytest.approx(distance, abs=0.5 / 66 + 1e-9)
    assert permuted(names, distance, 3) == order
    assert distance in (0.0, 1.0) or permuted(names, distance, 4) != order


def test_orders_are_changed_everywhere():
    """Not in front alone: each pair of neighbours is inverted in some of them."""
    names = "abcdefgh"
    orders = [permuted(names, 0.2, seed) for seed in range(40)]
    assert all(any(order.index(b) < order.index(a) for order in orders) for a, b in pairwise(names))


def test_no_question_is_learnt_and_tested():
    learnt, tested = sites.target()
    asked = set(map(first_turn, tested))
    assert len(tested) == 24 and not asked & set(map(first_turn, learnt))
    for source in ("votes", "comments", "reverts"):
        pairs = sites.site(source, 25, 0, "world:tiny")
        assert len(pairs) == 25 and not asked & set(map(first_turn, pairs))
        assert [e.id for e in pairs] == [e.id for e in sites.site(source, 25, 0, "world:tiny")]
        assert [e.id for e in pairs] != [e.id for e in sites.site(source, 25, 1, "world:tiny")]


def test_coins_keep_the_pairs_and_forget_who_won():
    pairs = sites.site("votes", 60, 0, "world:tiny")
    flipped = sites.coins(pairs, 1)
    assert [e.answers for e in flipped] == [e.answers for e in pairs]
    assert 15 < sum(e.ranks() == [0, 1] for e in flipped) < 45


@pytest.mark.parametrize("source", ["none", "mixed", "text"])
def test_a_transfer_is_the_same_twice_and_pays_for_its_first_stage_once(source, tmp_path):
    first = pretraining.transfer(tmp_path, source=source, encoding="ranked", **SMALL)
    kept = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
    again = pretraining.transfer(tmp_path, source=source, encoding="ranked", **SMALL)
    other = pretraining.transfer(tmp_path, source=source, encoding="ranked", **SMALL | {"n": 16})
    assert first == again and json.dumps(first)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")} == kept
    assert len(list(tmp_path.rglob("model/*.safetensors"))) == (source != "none")
    assert not list(tmp_path.glob("tuned-*"))
    assert len(first["correct"]) == 24 and first["language_before"] == other["language_before"] > 0
    assert first["zero_shot"] == other["zero_shot"] and (first["zero_shot"] == 0.5) >= (source != "mixed")
    assert (first["language_after"] == first["language_before"]) == (source == "none")


def test_arms_are_different_runs(tmp_path):
    arms = [{}, {"encoding": "binary"}, {"shuffled": True}, {"lm_weight": 0.0}]
    found = [
        pretraining.transfer(tmp_path, **{**SMALL, "source": "votes", "encoding": "ranked", "n": 0} | a) for a in arms
    ]
    assert len(list(tmp_path.glob("pretrained-*"))) == len(arms)
    assert len({one["language_after"] for one in found}) == len(arms)


class Judge:
    """Gives each answer of an example the reward that a rule says."""

    def __init__(self, rule):
        self.rule = rule

    def score(self, examples):
        return [[AnswerScore(None, 1, reward=reward) for reward in self.rule(e)] for e in examples]


def truth(example):
    return [gold(town(0), example.prompt, answer.text).overall for answer in example.answers]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (truth, {"people": 1.0, "model": 1.0, "across": 1.0}),
        (lambda e: [1, 1, 0, 0], {"own": 1.0, "equal": 1.0, "people": 0.5, "model": 0.5, "across": 0.0}),
    ],
    ids=["quality", "speaker"],
)
def test_who_speaks_or_what_is_good(rule, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(firsts.First, "model", lambda *_: "judge")
    monkeypatch.setattr(pretraining, "open_engine", lambda *_: Judge(rule))
    found = pretraining.detector(tmp_path, size="tiny", pairs=20, seed=0)
    for name, share in expected.items():
        assert found[name] and found[f"{name}_share"] == share == sum(found[name]) / len(found[name])


def test_an_order_that_was_learnt_stands_in_the_way_of_its_reverse(tmp_path):
    small = {"words": 5, "pairs": 320, "epochs": 2.0, "seed": 0, "n": 0}
    same, reverse = (symbols(tmp_path, encoding="ranked", distance=d, **small) for d in (0.0, 1.0))
    assert same["first"] == same["before"] == 1.0 and reverse["before"] == 0.0
    assert symbols(tmp_path, encoding="none", distance=1.0, **small)["accuracy"] == 0.5
    assert same["pairs of words"] == len(list(combinations(range(5), 2)))
