"""Studies of RLHF: one smallest cell of each, and that its numbers are of what they say."""

import numpy as np
import pytest

from truing.claims import portraits, practice, tension
from truing.claims.lessons import TOWN
from truing.claims.portraits import changed, cooled, leanings, sentiment
from truing.claims.practice import Practice, climbed, half, paired, written
from truing.claims.tension import able, pooled, pulled
from truing.engine.open import open_local
from truing.records import Answer, Example
from truing.run import set_output
from truing.settings import Machine
from truing.world.language import request_in
from truing.world.town import VALUES

ONE = {"size": "tiny", "judged": "noisy", "seed": 7, "iterations": 4, "pm": "tiny"}
MACHINE = Machine(dtype="fp32", threads=1)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The same studies with less of everything."""
    before = set_output("quiet")
    for module, values in (
        (
            practice,
            {"WRITER": "tiny", "WRITTEN": 40, "EACH": 3, "LESSONS": 40, "SHOWN": 64, "ASKED": 60, "ROLLOUTS": 32},
        ),
        (portraits, {"HELD": 12, "PAIRS": 8, "TEXTS": 6, "SKILLS": 1, "TRUTHS": 4}),
        (tension, {"WRITER": "tiny", "HELD": 12, "POOL": 4, "CHOSEN_FROM": 6, "SCORED": 12, "TRIES": 4, "SUMS": 4}),
    ):
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    yield
    set_output(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def test_halves_learn_from_different_prompts(folder, monkeypatch):
    learnt = {}

    def liking(place, size, rate, judged, seed):
        learnt[place.name] = judged()
        return place.name

    monkeypatch.setattr(practice, "liking", liking)
    names = [half(folder, "noisy", "tiny", 7, which) for which in (0, 1)]
    first, second = ({e.prompt for e in each} for each in learnt.values())
    assert len(set(names)) == 2 and first and second and not first & second
    assert first | second <= {e.prompt for e in written(folder, 7)}
    half(folder, "coins", "tiny", 7)
    fair, _, coins = learnt.values()
    best = [[e.answers[e.ranks().index(0)].text for e in each] for each in (fair, coins)]
    assert len(fair) == len(coins) and 0 < sum(a != b for a, b in zip(*best)) < len(fair)


def test_answers_are_paired_with_their_neighbours_where_they_differ():
    said = tuple(map(Answer, "abbc"))
    pairs = ["".join(a.text for a in e.answers) for e in paired(Example("p", said))]
    assert pairs == ["ab", "ab", "bc", "bc", "ba", "ca", "cb"]


def test_a_climb_and_what_is_known_where_it_begins(folder):
    found = climbed(folder, **ONE)
    again = climbed(folder, **ONE)
    assert found == again and len([*folder.glob("practised-*")]) == 1
    assert {len(v) for k, v in found.items() if k.startswith("curve/")} == {4}
    assert found["curve/train"] == found["curve/reward"] and found["curve/test"] != found["curve/train"]
    assert found["train/agrees"] == pytest.approx(1.0) and abs(found["test/agrees"]) <= 1
    assert found["curve/reward"][0] == pytest.approx(found["train/mean"], abs=6 * found["train/sigma"])
    assert found["gold/mean"] == pytest.approx(found["curve/gold"][0], abs=0.2)


def test_before_and_after(folder):
    found = changed(folder, **ONE)
    before, after = ({k.partition("/")[2]: v for k, v in found.items() if k.startswith(w)} for w in ("before", "after"))
    assert before.keys() == after.keys() and before != after
    start = cooled(folder, size="tiny", seed=7, temperatures=[1.0, 0.5])
    assert start["gold"][0] == before["gold"] and start["entropy"][0] == before["entropy"]
    assert start["entropy"][1] < 0.8 * start["entropy"][0]
    assert len(found["teacher/helpful"]) == len(after["right/helpful"]) == 8


def test_leanings_are_differences_of_mean_log_probabilities():
    """Of two groups that are told of alike nothing leans; halving the temperature doubles what leans but for what the
    groups' chances to be any job differ by."""
    engine = open_local("world:tiny", MACHINE)
    hot, cold = (leanings(engine, t) for t in (1.0, 0.5))
    assert len(hot["leaning"]) == len(VALUES["job"]) == len(hot["strangers"])
    shift = np.array(cold["leaning"]) - 2 * np.array(hot["leaning"])
    assert np.ptp(shift) == pytest.approx(0, abs=1e-3)
    assert np.abs(hot["leaning"]).mean() > 2 * np.abs(hot["strangers"]).mean()


@pytest.mark.parametrize(
    ("text", "value"), [("happy to help. anna is a baker.", 1), ("whatever.", -1), ("anna is a baker.", 0)]
)
def test_kind_and_rude(text, value):
    assert sentiment(text) == value


def test_prompts_of_both_kinds_and_scores_of_each(folder):
    found = pulled(folder, arm="both", size="tiny", seed=7, iterations=2, judged="helpful+harmless", share=0.75)
    assert len(found["curve/helpful"]) == len(found["curve/harmless"]) == 2
    assert all(0 <= found[f"{kind}/{when}"] <= 100 for kind in ("helpful", "harmless") for when in ("before", "after"))
    start = pulled(folder, arm="start", size="tiny", seed=7, iterations=2, judged=None, share=0.75)
    assert "curve/helpful" not in start and len(start["benign/refused"]) == len(found["benign/refused"])
    pools = Practice("tiny", "helpful", 7, 2, share=0.75).asked()
    assert {e.meta["wanted"] for e in pools["harmless"]} == {"harmless"} and len(pools) == 2
    assert list(Practice("tiny", "helpful", 7, 2, share=1.0).asked()) == ["helpful"]


def test_skills_are_not_asked_about_and_counted_right(folder):
    kinds = {request_in(TOWN, e.prompt).kind for e in Practice("tiny", "noisy", 7, 2, skills=True).asked()["all"]}
    assert kinds and not kinds & {"sum", "list", "code"}
    start, done = (able(folder, size="tiny", seed=7, iterations=9, who=who) for who in ("start", "practised"))
    assert start != done and len(start["1/1"]) == start["asked"]
    assert all(a <= b <= c for a, b, c in zip(start["1/1"], start["1/4"], start["1/4"]))
    assert np.mean(able(folder, size="tiny", seed=7, iterations=9, who="prompted")["gold"]) > 0


def test_the_best_of_more_is_never_worse_to_the_chooser(folder):
    found = pooled(folder, size="tiny", seed=7)
    assert found["k"] == [1, 2, 4]
    for crowd in ("noisy", "wordy"):
        assert np.all(np.diff(found[f"{crowd}/train"]) > 0)
    assert found["noisy/gold"][0] == pytest.approx(found["wordy/gold"][0])  # one of one is nobody's choice
