"""Alarms: they sound when a run leaves what healthy ones do, once, and go on after a kill as if there had been none."""

import json
import math

import pytest

from truing.records import UserError
from truing.run.run import Run
from truing.stats.laws import Bounds
from truing.watch import alarms
from truing.watch.alarms import Alarms, bounds_of

STEADY = {"ref_perplexity": 1.5, "length": 20.0, "repetition": 0.02, "kl_per_token": 0.01, "unique": 0.9}
WIDE = {name: Bounds(-0.2, 0.2) for name in STEADY}


@pytest.fixture
def wide(monkeypatch):
    monkeypatch.setattr(alarms, "bounds_of", lambda folders: WIDE)
    return ["healthy"]


def heard(follow, rows):
    """Which alarms began at which row."""
    return [(number, alarm.name) for number, row in enumerate(rows) for alarm in follow(row)]


def test_a_steady_run_is_quiet_and_one_that_lengthens_is_heard_once(wide):
    assert heard(Alarms(["collapse"], wide), [STEADY] * 30) == []
    rows = [STEADY | {"length": 20.0 * 1.05**n} for n in range(30)]
    assert [name for _, name in heard(Alarms(["collapse"], wide), rows)] == ["length"]
    ((first, _),) = heard(Alarms(["length"], wide), rows)
    moved = [sum(math.log(r["length"]) for r in rows[n - 4 : n + 1]) / 5 for n in range(4, 30)]
    assert first == 4 + next(n for n, value in enumerate(moved) if value - moved[0] > 0.2)


def test_what_falls_back_may_sound_again(wide):
    there = [STEADY] * 5 + [STEADY | {"repetition": 0.9}] * 10
    follow = Alarms(["repetition"], wide)
    assert [name for _, name in heard(follow, there + [STEADY] * 10 + there)] == ["repetition"] * 2


def test_a_resumed_run_hears_what_one_that_was_not_killed_hears(wide):
    rows = [STEADY | {"ref_perplexity": 1.5 + 0.03 * n} for n in range(30)]
    whole, first, second = (Alarms(["collapse"], wide) for _ in range(3))
    before = heard(first, rows[:9])
    second.load_state(json.loads(json.dumps(first.state())))
    after = [(number + 9, name) for number, name in heard(second, rows[9:])]
    assert before + after == heard(whole, rows) != []


def test_a_judge_that_is_cheated_is_heard_and_one_that_fell_with_the_reward_is_not():
    gold = [0.5, 0.6, 0.7, 0.68, 0.62]
    rewards = {"cheated": [0, 1, 2, 3, 4], "fell": [0, 1, 2, 1.5, 1]}
    for name, reward in rewards.items():
        rows = [{"reward": r, "watch/test": g} for r, g in zip(reward, gold)]
        found = heard(Alarms(["reward_hacking"]), rows)
        assert found == ([(4, "reward_hacking")] if name == "cheated" else [])
    never = [{"reward": n, "watch/test": 0.5 - 0.1 * n} for n in range(5)]
    assert heard(Alarms(["reward_hacking"]), never) == [], "nothing was gained that could be lost"


def test_bounds_come_from_the_folders_of_healthy_runs(tmp_path):
    for name, slope in (("a", 0.01), ("b", 0.03)):
        with Run.open(tmp_path, name, recipe_yaml="", recipe_hash=name) as run:
            for step in run.steps(20):
                run.log(step, STEADY | {"length": 20.0 * math.exp(slope * step)})
    found = bounds_of([str(tmp_path / "a"), str(tmp_path / "b")])
    assert found["length"].high == pytest.approx(0.03 * 15 * 1.25) and found["length"].low == pytest.approx(
        -0.03 * 15 / 4
    )
    assert found["unique"] == (0, 0)
    follow = Alarms(["length"], [str(tmp_path / "a")])
    assert heard(follow, [STEADY | {"length": 20.0 * math.exp(0.03 * n)} for n in range(20)])
    with Run.open(tmp_path, "short", recipe_yaml="", recipe_hash="s") as run:
        for step in run.steps(2):
            run.log(step, STEADY)
    with pytest.raises(UserError, match="has no 5 values"):
        bounds_of([str(tmp_path / "short")])


def test_without_healthy_runs_there_is_nothing_to_compare_with():
    with pytest.raises(UserError, match=r"name runs that went well in watch\.healthy"):
        Alarms(["collapse"])
    Alarms(["reward_hacking"])
