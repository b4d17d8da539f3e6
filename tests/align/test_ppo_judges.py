"""What PPO makes of its judges: those of some prompts alone, those that do not count, those that nothing is learnt
from; and what alarms do before there is anything to go back to."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from judged import PPO, policy_and_judge
from safetensors.torch import load_file

from truing.align.guard import Guard
from truing.align.ingredients import Ppo
from truing.align.rollouts import Rollouts, advantages
from truing.align.sft import Sft
from truing.align.sft import sft as imitate
from truing.batch import Group
from truing.commands.ppo import ppo
from truing.config import load
from truing.engine import open_local
from truing.records import Answer, Example, Message, UserError
from truing.run import set_output
from truing.watch.alarms import Alarm, Alarms

COLOURS = ("red", "green", "blue", "go away")
PROMPTS = [
    Example((Message("user", f"paint it {c}"),), meta={"kind": "h" if n % 2 else "o"}) for n, c in enumerate(COLOURS)
]
SAYS = """
def four(completions, **columns):
    return [4.0] * len(completions)
def letters(completions, **columns):
    return [float(len(said[0]["content"])) for said in completions]
"""
BASE = PPO | {"rewards": ["call:says.py:letters"]}
LOOKS = {"every": 1, "count": 4, "max_tokens": 6}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = policy_and_judge(tmp_path_factory.mktemp("judges"))
    (folder / "says.py").write_text(SAYS)
    return folder


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)
    before = set_output("quiet")
    yield
    set_output(before)


def recipe(name, **keys):
    return load(Ppo, {**BASE, "run": {"folder": "runs", "name": name, "save_every": 20}, **keys})


def trained(name, **keys):
    return ppo(recipe(name, **keys), PROMPTS).view()


def values(view, name):
    return [value for _, value in view.series(name)]


# Judges of some prompts alone


def test_a_judge_of_half_of_the_prompts_is_not_halved():
    four = "call:says.py:four if kind=h"
    view = trained("half", rewards=[four], test=[four], watch=LOOKS)
    for name in ("reward", "reward/p5", "watch/reward", "watch/test"):
        assert values(view, name) == [4.0, 4.0], name
    assert values(view, "watch/test_error") == [0.0, 0.0]
    both = trained("both", rewards=[four, "call:says.py:letters"])
    assert values(both, f"reward/{four}") == [4.0, 4.0]


def test_the_spread_of_a_judge_is_that_of_the_prompts_that_it_judges():
    keys = {"sampling": {"max_tokens": 6, "n": 3}, "advantage": "rloo", "iterations": 1}
    letters = "call:says.py:letters"
    found = {}
    for name, judges in {"all": [letters], "half": [f"{letters} if kind=h", f"{letters}*0 if kind=o"]}.items():
        (found[name],) = [e for e in trained(f"spread-{name}", rewards=judges, **keys).events if e["event"] == "spread"]
    (other,) = found["half"]["apart"]
    assert (found["half"]["prompts"], found["half"]["answers"]) == (2, 6)
    assert found["half"]["sigma"] ** 2 + other["sigma"] ** 2 == pytest.approx(2 * found["all"]["sigma"] ** 2)
    assert other["agrees"] is None and other["freedom"] == 0, "no prompt has both"


# Judges that nothing is learnt from


def test_the_first_test_judge_that_counts_is_followed_and_units_are_not_added_up():
    view = trained("units", test=["lexical:length*0", "call:says.py:letters*2", "lexical:distinct"], watch=LOOKS)
    assert values(view, "watch/test") == [2 * v for v in values(view, "watch/test/call:says.py:letters")]
    assert len(values(view, "watch/test/lexical:distinct")) == 2
    (said,) = [e["message"] for e in view.events if e["event"] == "test"]
    assert "call:says.py:letters says which policy is best" in said


def test_the_error_of_a_look_is_that_of_its_answers():
    view = trained("error", test=["call:says.py:letters"], watch=LOOKS)
    said = [len(row["answer"]) for row in view.samples if row["step"] == 2][:4]  # then those of the rollouts
    assert values(view, "watch/test")[-1] == pytest.approx(np.mean(said))
    assert values(view, "watch/test_error")[-1] == pytest.approx(np.std(said, ddof=1) / 2)


# Judges that do not count


def test_a_critic_begins_as_the_first_preference_model_that_counts(monkeypatch):
    shutil.copytree("pm", "other-pm", dirs_exist_ok=True)
    begun = []
    monkeypatch.setattr(
        "truing.align.cast.open_local", lambda name, *a, **k: begun.append(name) or open_local(name, *a, **k)
    )
    trained("counts", rewards=["./other-pm*0", "./pm"], critic={"start": "reward"}, iterations=1)
    assert begun == ["./pm"]
    with pytest.raises(UserError, match="rewards name no preference model that counts"):
        trained("none", rewards=["./other-pm*0", "call:says.py:letters"], critic={"start": "reward"})


# What is learnt from


def rollouts(kept, group):
    answers = [[1, 2]] * len(kept)
    groups = [
        Group([0], [a for a, g in zip(answers, group) if g == n], [[True] * 2] * group.count(n))
        for n in sorted(set(group))
    ]
    tokens = torch.zeros(2 * len(kept))
    return Rollouts([], groups, tokens, None, torch.tensor(kept), torch.tensor(kept))


@pytest.mark.parametrize("advantage", ["rloo", "group"])
def test_a_masked_answer_is_in_no_baseline(advantage):
    how = recipe("masked", advantage=advantage, sampling={"n": 3}, reward={"unended": "mask"}, update={"whiten": False})
    group, kept = [0, 0, 0, 1, 1, 1], [True, True, False, True, False, False]
    found = {}
    for wild in (0.0, 1000.0):
        scores = torch.tensor([1.0, 3.0, wild, 5.0, wild, wild])
        all_of, _ = advantages(rollouts(kept, group), scores, torch.zeros(12), 0.0, how)
        found[wild] = all_of[::2]
    assert torch.equal(found[0.0], found[1000.0])
    size = 2.0 if advantage == "rloo" else 2**-0.5
    assert found[0.0].tolist() == pytest.approx([-size, size, 0, 0, 0, 0], abs=1e-5), (
        "one that is alone teaches nothing"
    )


def test_the_controller_waits_while_the_critic_learns_alone():
    kl = {"coefficient": 0.5, "target": 100.0, "horizon": 8}
    view = trained("waits", kl=kl, critic={"start": "policy", "pretrain": 2, "lr": 1e-3}, iterations=4)
    assert values(view, "kl_coefficient") == pytest.approx([0.5, 0.5, 0.5, 0.45])


# Alarms


def test_without_a_healthy_policy_of_its_own_a_rollback_leaves_the_start(monkeypatch):
    heard = iter([[], [Alarm("divergence", "told")]])

    def sound(self, metrics):
        found = next(heard)
        self.sounding.update(alarm.name for alarm in found)
        return found

    monkeypatch.setattr(Alarms, "__call__", sound)
    view = trained("rollback", iterations=6, watch={"on_alarm": "rollback"})
    assert max(step for step, _ in view.series("reward")) == 2
    left, start = (load_file(f"{folder}/model.safetensors") for folder in ("runs/rollback/model", "lm"))
    assert all(torch.equal(left[name], start[name]) for name in start if name in left)
    assert any("is the last one before the alarm" in e.get("message", "") for e in view.events)


def test_a_rollback_that_was_asked_for_too_late_is_said(monkeypatch):
    monkeypatch.setattr(Guard, "leave", leave_late(Guard.leave))
    monkeypatch.setattr(Alarms, "__call__", lambda self, metrics: self.sounding.add("divergence") or [])
    view = trained("late", iterations=1, watch={"on_alarm": "rollback"})
    assert any("no policy from before the alarm was kept" in e.get("message", "") for e in view.events)


def leave_late(leave):
    def without(self):
        shutil.rmtree(self.job.run.folder / "healthy")
        leave(self)

    return without


def test_alarms_that_nothing_would_make_sound_are_refused():
    with pytest.raises(UserError, match="reward_hacking follows a judge of test"):
        trained("deaf", watch={"alarms": ("reward_hacking",)})
    shown = [Example(e.prompt, (Answer("it is red"),)) for e in PROMPTS]
    how = {k: BASE[k] for k in ("model", "data", "machine")} | {"run": {"folder": "runs", "name": "sft"}}
    for watch in ({}, {"every": 1, "probes": ["length"]}):
        told = {"watch": {"alarms": ["divergence"], "healthy": ["runs/calm"], **watch}}
        if not watch:
            trained("calm", iterations=5)
        with pytest.raises(UserError, match=r"nothing would be heard of kl: set watch\.every"):
            imitate(load(Sft, how | told), shown)
    with pytest.raises(UserError, match="reward_hacking follows a judge of test"):
        imitate(load(Sft, how | {"watch": {"alarms": ["reward_hacking"], "every": 1}}), shown)
