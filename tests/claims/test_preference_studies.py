"""Studies of preference models: what is learnt from is what was asked for, and every number is of the pair it says."""

from functools import partial

import numpy as np
import pytest

from truing.claims import preference
from truing.claims.lessons import Lesson, drawn, read_by, shuffled
from truing.data import comparisons
from truing.engine import open_engine
from truing.records import UserError
from truing.run import set_output
from truing.settings import Machine
from truing.world.sessions import declines

SMALL = {"size": "tiny", "n": 16, "seed": 0}
lesson = partial(Lesson, "tiny", n=100, seed=1)


@pytest.fixture(autouse=True)
def _quiet():
    before = set_output("quiet")
    yield
    set_output(before)


@pytest.mark.parametrize(
    ("data", "share", "sizes"),
    [
        ("helpful", 0.5, {"helpful": 100}),
        ("helpful+harmless", 0.3, {"helpful": 70, "harmless": 30}),
        ("helpful+harmless", 0.0, {"helpful": 100}),
        ("helpful+harmless", 1.0, {"harmless": 100}),
        ("helpful+summaries", 0.5, {"helpful": 50, "summaries": 50}),
    ],
)
def test_a_mixture_has_the_size_and_the_shares_that_were_asked_for(data, share, sizes):
    parts = lesson(data, share=share).parts()
    assert {name: len(part) for name, part in parts.items()} == sizes
    assert all(comparisons(part)[0] == part for part in parts.values())


def test_more_comparisons_begin_with_the_fewer():
    assert drawn("helpful", 100, 1)[:40] == drawn("helpful", 40, 1)


def test_controls_change_what_they_say():
    plain = lesson("helpful").parts()["helpful"]
    coins = lesson("helpful", control="shuffled").parts()["helpful"]
    assert [e.prompt for e in plain] == [e.prompt for e in coins]
    assert [set(e.answers) for e in plain] == [set(e.answers) for e in coins]
    best = [[e.answers[e.ranks().index(0)] for e in part] for part in (plain, coins)]
    assert 0.35 < sum(a != b for a, b in zip(*best)) / 100 < 0.65
    kept = lesson("harmless", control="no refusals").parts()["harmless"]
    assert len(kept) == 100 and not any(map(declines, kept)) and any(map(declines, drawn("harmless", 30, 1)))
    four = shuffled(drawn("endings", 40, 1), 0)
    assert {e.ranks().index(0) for e in four} == {0, 1, 2, 3}


def test_a_model_is_trained_once(tmp_path):
    first = preference.trained(tmp_path, data="helpful+harmless", count=12, **SMALL)
    (model,) = tmp_path.glob("preference-*")
    before = (model / "model.safetensors").stat().st_mtime_ns
    assert preference.trained(tmp_path, data="helpful+harmless", count=12, **SMALL) == first
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    preference.trained(tmp_path, data="helpful+harmless", count=12, weight=4.0, **SMALL)
    assert len([*tmp_path.glob("preference-*")]) == 2 and not [p for p in tmp_path.glob(".preference-*") if p.is_dir()]


def test_numbers_belong_to_their_pairs(tmp_path):
    found = preference.trained(tmp_path, data="helpful", tests=("harmless", "summaries"), count=40, **SMALL)
    examples = drawn("harmless", 40, 0, held=True)
    (path,) = map(str, tmp_path.glob("preference-*"))
    scores = open_engine(path, Machine(dtype="fp32", threads=1)).score(examples)
    for example, given, gap, turn in zip(examples, scores, found["harmless/gaps"], found["harmless/turns"]):
        best = example.ranks().index(0)
        assert gap == pytest.approx(given[best].reward - given[1 - best].reward, abs=1e-3)
        assert turn == sum(m.role == "user" for m in example.prompt)
    gaps, chances = np.array(found["harmless/gaps"]), np.array(found["harmless/chances"])
    assert found["harmless/accuracy"] == pytest.approx(float((gaps > 0).mean()), abs=0.03)
    assert found["harmless/ceiling"] == pytest.approx(float(np.maximum(chances, 1 - chances).mean()), abs=1e-3)
    assert (chances > 0.5).mean() > 0.6  # what was chosen was the likelier choice
    assert found["summaries/pairs"] == 40 and "summaries/chances" not in found


def test_imitation_reads_the_better_answers_and_as_much_as_the_others_if_asked(tmp_path):
    small = {"family": "facts", "size": "tiny", "n": 32, "seed": 0, "count": 20}
    ranked, binary, pairs, tokens, plain = (
        preference.objectives(tmp_path, objective=objective, equal=equal, **small)
        for objective, equal in (
            ("ranked", "pairs"),
            ("binary", "pairs"),
            ("imitation", "pairs"),
            ("imitation", "tokens"),
            ("none", "pairs"),
        )
    )
    assert ranked["words"] == binary["words"] == tokens["words"] == 2 * pairs["words"] and plain["words"] == 0
    assert (ranked["way"], ranked["pairs"]) == ("reward", 20) and set(pairs["ways"]) == {"sum", "mean", "information"}
    assert plain["ways"]["sum"] == 1.0  # the world's models know these facts before anybody teaches them
    examples = drawn("endings", 10, 0)
    assert read_by(examples) > 3.5 * read_by(examples, best_only=True)


def test_pairs_that_share_the_good_answer_are_counted_one_by_one():
    (example,) = drawn("endings", 1, 0, held=True)
    ways = preference.right(open_engine("world:tiny", Machine(dtype="fp32", threads=1)), [example])
    assert {way: len(values) for way, values in ways.items()} == {"sum": 3, "mean": 3, "information": 3}


def test_the_other_studies_return_plain_numbers(tmp_path):
    read = preference.read_out(tmp_path, read="mean", count=30, **SMALL)
    assert len(read["cut/right"]) == len(read["added/right"]) == 10
    hhh = preference.hhh(tmp_path, data="helpful", count=16, **SMALL)
    assert len(hhh["preference/reward"]) == len(hhh["plain/information"]) == len(hhh["prompted/sum"]) == 16
    harm = preference.transfer_harm(tmp_path, writer="tiny", data="helpful", count=60, **SMALL)
    assert 0 <= harm["auroc"] <= 1 and harm["harmful"] > 5 and harm["harmless"] > 5


def test_a_name_that_nobody_knows():
    with pytest.raises(UserError, match="there is no 'kind'; there are helpful"):
        drawn("kind", 5, 0)
