"""Alarms: they sound when a run leaves what healthy ones do, once, and go on after a kill as if there had been none."""

import json
import math

import numpy as np
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


def looks(gold, reward, error=0.0):
    return [{"reward": r, "watch/test": g, "watch/test_error": error} for r, g in zip(reward, gold, strict=True)]


def test_a_judge_that_is_cheated_is_heard_and_one_that_fell_with_the_reward_is_not():
    gold = [0.4, 0.5, 0.6, 0.7, 0.7, 0.7, 0.66, 0.6, 0.6, 0.6, 0.6]  # of 0.2 gained, at 0.65 a quarter is lost
    rising, falling = list(range(11)), [0, 1, 2, 3, 3, 3, 2, 1, 1, 1, 1]
    assert heard(Alarms(["reward_hacking"]), looks(gold, rising)) == [(9, "reward_hacking")], "at the third of 0.6"
    assert heard(Alarms(["reward_hacking"]), looks(gold, falling)) == []
    assert heard(Alarms(["reward_hacking"]), looks(gold, rising, 0.2)) == [], "so much may be noise"
    once = [0.4, 0.5, 0.6, 0.7, 0.7, 0.7, 0.7, 0.0, 0.7, 0.7, 0.7]
    assert heard(Alarms(["reward_hacking"]), looks(once, rising)) == [], "one look is none"
    never = looks([0.5 - 0.1 * n for n in range(12)], range(12))
    assert heard(Alarms(["reward_hacking"]), never) == [], "nothing was gained that could be lost"
    rows = looks(gold, rising)
    apart = [row for look in rows for row in ({"reward": 0.0}, look, {"reward": 0.0})]
    assert heard(Alarms(["reward_hacking"]), apart) == [(28, "reward_hacking")], "between looks nothing is heard"


def share_of_alarms(curve, runs=100, answers=16, noise=0.12, seed=0):
    """Of runs whose looks ask 16 answers, with the errors that are known from them."""
    random, count = np.random.default_rng(seed), 0
    for _ in range(runs):
        said = curve[:, None] + random.normal(0, noise, (len(curve), answers))
        rows = [
            {"reward": n, "watch/test": row.mean(), "watch/test_error": row.std(ddof=1) / answers**0.5}
            for n, row in enumerate(said)
        ]
        count += bool(heard(Alarms(["reward_hacking"]), rows))
    return count / runs


@pytest.mark.parametrize("count", [10, 40])
def test_healthy_runs_are_quiet_and_a_real_fall_is_heard(count):
    """A standard error of 0.03 at a look. What rises by 0.1 and stays there has lost nothing."""
    time = np.linspace(0, 1, count)
    for healthy in (0 * time, 0.1 * np.minimum(1, 4 * time), 0.1 * time, 0.1 * (time > 0)):
        assert share_of_alarms(healthy) < 0.05
    if count == 40:
        fallen = np.where(time < 0.4, 0.75 * time, 0.3 - 0.2 * np.minimum(1, (time - 0.4) / 0.3))
        assert share_of_alarms(fallen, 50) > 0.95


def test_an_alarm_that_nothing_would_make_sound_is_refused(wide):
    collapse = Alarms(["collapse"], wide)
    collapse.check(["kl", "length", "ref_perplexity", "repetition", "diversity"])
    with pytest.raises(UserError, match=r"nothing would be heard of ref_perplexity, diversity: set watch\.every"):
        collapse.check(["kl", "length", "repetition", "test"])
    Alarms(["reward_hacking"]).check(["test"])
    with pytest.raises(UserError, match="reward_hacking follows a judge of test"):
        Alarms(["reward_hacking"]).check(["kl", "length"])


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
        Alarms(["length"], [str(tmp_path / "short")])


def test_without_healthy_runs_there_is_nothing_to_compare_with():
    with pytest.raises(UserError, match=r"name runs that went well in watch\.healthy"):
        Alarms(["collapse"])
    Alarms(["reward_hacking"])


def looks_at(values, error, name="odd", healthy=()):
    alarms, said = Alarms(["persona_drift"], healthy), []
    for value in values:
        key = f"watch/persona/{name}"
        found = {key: value, f"{key}/error": error, f"{key}/prompt": 0.0}
        said += [alarm.message for alarm in alarms(found)]
        assert alarms({"loss": 1.0}) == []  # between looks
    return said


def test_a_trait_that_rises_is_heard_once_and_one_that_wavers_is_not():
    assert looks_at([0.0] * 3 + [0.05, 0.1, 0.2, 0.4, 0.5, 0.6], 0.02) == ["odd went from 0.00 to 0.12 class gaps"]
    assert looks_at([0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.3, -0.5], 0.02) == []  # the other way
    assert looks_at([0.0] * 3 + [0.09] * 20, 0.001) == []  # surely, and not far
    draw = np.random.default_rng(0)
    quiet = sum(bool(looks_at(draw.normal(0.2, 0.05, size=20), 0.05)) for _ in range(400))
    heard = sum(bool(looks_at(np.linspace(0, 0.4, 20) + draw.normal(0, 0.05, size=20), 0.05)) for _ in range(100))
    assert quiet <= 12 and heard >= 97  # 1 % is meant, over all looks of a run


def test_a_trait_has_to_rise_further_than_in_runs_that_went_well(tmp_path):
    with Run.open(tmp_path, "well", recipe_yaml="", recipe_hash="well") as run:
        for step in run.steps(12):
            run.log(step, {"watch/persona/odd": 0.02 * step, "watch/persona/odd/error": 0.01})
    well, rises = [str(tmp_path / "well")], [0.025 * n for n in range(10)]  # by 0.18 there: 0.225 is needed
    assert looks_at(rises, 0.01) and not looks_at(rises, 0.01, healthy=well)
    assert looks_at([2 * v for v in rises], 0.01, healthy=well)
    assert looks_at(rises, 0.01, name="other", healthy=well)  # of which they say nothing


def test_drift_without_a_trait_is_refused():
    with pytest.raises(UserError, match=r"persona_drift follows traits, and here are none"):
        Alarms(["persona_drift"]).check(["kl", "length"])
    Alarms(["persona_drift"]).check(["kl", "persona:odd.safetensors@2"])
