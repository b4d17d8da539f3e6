"""PPO: its numbers beside an implementation that shares nothing with it, its switches, and runs that are killed."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny, tiny_tokenizer
from transformers import AutoModelForCausalLM, AutoModelForTokenClassification

import truing
from truing.align.cast import cast, fold, prepare
from truing.align.ingredients import Ppo
from truing.align.job import Job
from truing.align.ppo import _objectives as objectives
from truing.align.ppo import hand_over, minibatches
from truing.align.prompts import prompted
from truing.align.rollouts import advantages, draw, read, shaped
from truing.commands.ppo import ppo as verb
from truing.config import load
from truing.engine.open import open_local
from truing.objectives import RunningMoments, clipped_value
from truing.records import Example, Message
from truing.run import set_output
from truing.run.run import Run
from truing.settings import Machine

CHAT = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
WORDS = ("red", "blue", "bad", "green")
PROMPTS = [Example((Message("user", f"say {word}"),), meta={"kind": word[0]}) for word in WORDS]
VOWELS = """
def vowels(prompts, completions, **columns):
    return [sum(letter in "aeiou" for letter in answer[-1]["content"]) / 4 for answer in completions]
"""


@pytest.fixture(autouse=True)
def _quiet():
    before = set_output("quiet")
    yield
    set_output(before)


def saved(name, folder):
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    tiny(name).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    return saved("qwen3", tmp_path_factory.mktemp("qwen"))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return saved("gpt2", tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def vowels(tmp_path_factory):
    file = tmp_path_factory.mktemp("reward") / "reward.py"
    file.write_text(VOWELS)
    return f"call:{file}:vowels"


@pytest.fixture(scope="module")
def pm(qwen, tmp_path_factory):
    return judging(qwen, tmp_path_factory.mktemp("pm"), ("a good one", "bad"))


def judging(start, folder, said):
    """A preference model, a step from where it began."""
    pairs = [
        truing.Example(e.prompt, tuple(map(truing.Answer, said)), (truing.Judgement("order", (0, 1)),)) for e in PROMPTS
    ]
    optim = {"lr": 1e-2, "batch": 4, "epochs": 1}
    run = truing.pm(
        str(start), pairs, optim=optim, held_out=0, machine=MACHINE, run={"folder": str(folder), "name": "pm"}
    )
    return run.model


MACHINE = {"dtype": "fp32", "threads": 1}
BASE = {
    "preset": "vanilla",
    "critic": {"start": "policy", "lr": 1e-3},
    "iterations": 3,
    "rollouts": 4,
    "optim": {"lr": 1e-3, "batch": 2, "schedule": "constant", "warmup": 0},
    "sampling": {"max_tokens": 6},
    "machine": MACHINE,
}


def settings(model, rewards, folder, **keys):
    """What the verb gets, from the base above with some keys changed."""
    values = copy.deepcopy(BASE) | {"model": str(model), "data": {"path": "(examples)"}, "rewards": rewards}
    values["run"] = {"folder": str(folder), "name": keys.pop("name", "run"), "save_every": 1}
    for key, value in keys.items():
        values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
    return load(Ppo, values)


def run(model, rewards, folder, examples=PROMPTS, **keys):
    return verb(settings(model, [rewards], folder, **keys), examples)


def started(how, examples=PROMPTS, models=()):
    """The players, their prompts and one iteration's answers."""
    job = Job("ppo", how, examples)
    players = cast(job, how, models)
    (asked,) = prompted(job, players.policy, how.sampling.max_tokens)
    prepare(players, how)
    sampling = replace(how.sampling, seed=5)
    rollouts = draw(players.policy, (asked * 2)[: how.rollouts], sampling, how.reward.unended == "mask")
    job.run.close()
    return players, rollouts


# Beside an independent implementation


@pytest.mark.parametrize("architecture", ["gpt2", "qwen"])
def test_a_step_is_that_of_a_padded_implementation_in_plain_torch(architecture, request, vowels, tmp_path):
    """Loops, padded tensors and the models of transformers alone: nothing is shared but weights and drawn tokens."""
    folder = request.getfixturevalue(architecture)
    how = settings(folder, [vowels], tmp_path, kl={"coefficient": 0.3}, critic={"clip": 0.05}, rollouts=8)
    players, rollouts = started(how)
    policy, critic = players.policy, players.critic
    with torch.no_grad():  # a critic and a policy that have moved since: ratios and clips are at work
        critic.model.heads["value"].weight.normal_(0, 0.2, generator=torch.Generator().manual_seed(1))
        rollouts.values = read(critic, rollouts, "values")
        for engine, size in ((policy, 0.02), (critic, 0.05)):
            for n, weight in enumerate(engine.model.parameters()):
                weight.add_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n)))
    ref = read(players.reference, rollouts, "logps")
    scores = torch.linspace(-1, 2, 8)
    advantage, returns = advantages(rollouts, scores, ref, how.kl.coefficient, how)
    hand_over(rollouts, ref, advantage, returns, how)
    work = policy.work(rollouts.groups, *objectives(players, how, 0.0))
    told = policy.forward_backward(work)
    valued = critic.forward_backward(critic.work(rollouts.groups, (clipped_value(how.critic.clip), 1.0)))

    expected, moved = padded(rollouts, folder, policy, critic, scores, how)
    assert float(told["loss"]) == pytest.approx(expected["policy"].item(), abs=1e-6)
    assert float(valued["loss"]) == pytest.approx(expected["value"].item(), abs=1e-6)
    assert 0 < float(told["policy/clipped"]) < 1 and 0 < float(valued["value/clipped"]) < 1
    (expected["policy"] + expected["value"]).backward()
    for name, weight in moved["policy"].named_parameters():
        mine = dict(policy.model.owner.named_parameters())[name].grad
        assert torch.allclose(mine, weight.grad, atol=2e-6, rtol=1e-4), name
    assert torch.allclose(critic.model.heads["value"].weight.grad, moved["head"].weight.grad, atol=2e-6, rtol=1e-4)


def padded(rollouts, folder, policy, critic, scores, how):
    base = AutoModelForCausalLM.from_pretrained(folder).eval()
    moved, trunk = copy.deepcopy(base), copy.deepcopy(base)
    moved.load_state_dict(policy.model.owner.state_dict())
    trunk.load_state_dict(critic.model.owner.state_dict())
    head = copy.deepcopy(critic.model.heads["value"])
    rows = [(group.prompt, answer) for group in rollouts.groups for answer in group.answers]
    width, longest = max(len(p) + len(a) for p, a in rows), max(len(a) for _, a in rows)
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), longest, dtype=torch.bool)
    old, values = torch.zeros(len(rows), longest), torch.zeros(len(rows), longest)
    at = 0
    for n, (prompt, answer) in enumerate(rows):
        ids[n, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[n, : len(answer)] = True
        old[n, : len(answer)] = rollouts.logps[at : at + len(answer)]
        values[n, : len(answer)] = rollouts.values[at : at + len(answer)]
        at += len(answer)

    def answers(x):
        """[B, T, …] at the positions that predict the answers, [B, longest, …]."""
        out = torch.zeros(len(rows), longest, *x.shape[2:])
        for n, (prompt, answer) in enumerate(rows):
            out[n, : len(answer)] = x[n, len(prompt) - 1 : len(prompt) + len(answer) - 1]
        return out

    def logps(model):
        logits, target = answers(model(ids).logits), torch.zeros(len(rows), longest, dtype=torch.long)
        for n, (_, answer) in enumerate(rows):
            target[n, : len(answer)] = torch.tensor(answer)
        return logits.log_softmax(-1).gather(2, target[..., None])[..., 0]

    with torch.no_grad():
        ref = logps(base)
    advantage, returns = np.zeros((len(rows), longest)), np.zeros((len(rows), longest))
    for n, (_, answer) in enumerate(rows):
        reward = [-how.kl.coefficient * float(old[n, t] - ref[n, t]) for t in range(len(answer))]
        reward[-1] += float(scores[n])
        running = 0.0
        for t in reversed(range(len(answer))):
            after = float(values[n, t + 1]) if t + 1 < len(answer) else 0.0
            running = reward[t] + how.gae.gamma * after - float(values[n, t]) + how.gae.gamma * how.gae.lam * running
            advantage[n, t], returns[n, t] = running, running + float(values[n, t])
    adv, ret = torch.tensor(advantage).float(), torch.tensor(returns).float()
    ratio = (logps(moved) - old).exp()
    policy_loss = torch.maximum(-adv * ratio, -adv * ratio.clamp(1 - how.update.clip, 1 + how.update.clip))
    value = answers(head(trunk(ids, output_hidden_states=True).hidden_states[-1]))[..., 0]
    near = values + (value - values).clamp(-how.critic.clip, how.critic.clip)
    value_loss = torch.maximum((value - ret).square(), (near - ret).square()) / 2
    return {"policy": policy_loss[mask].mean(), "value": value_loss[mask].mean()}, {"policy": moved, "head": head}


# Where a run begins, and what it may not change


def test_nothing_moves_where_nothing_is_learnt(qwen, vowels, tmp_path):
    done = run(qwen, vowels, tmp_path, iterations=20, optim={"lr": 0.0}, critic={"lr": 0.0})
    found = done.view()
    assert all(abs(value) < 1e-5 for _, value in found.series("kl"))
    assert all(abs(value - 1) < 1e-5 for _, value in found.series("policy/ratio"))
    before, after = (load_file(f / "model.safetensors") for f in (qwen, done.folder / "model"))
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert len({value for _, value in found.series("reward")}) > 1, "every iteration draws answers of its own"


def test_what_is_rewarded_becomes_likelier(qwen, vowels, tmp_path):
    done = run(qwen, vowels, tmp_path, iterations=40, rollouts=32, optim={"batch": 16, "lr": 3e-3})
    rewards = [value for _, value in done.view().series("reward")]
    assert np.mean(rewards[-5:]) > np.mean(rewards[:5]) + 0.15
    assert done.view().series("kl")[-1][1] > 0.3


def test_a_critic_that_learns_alone_leaves_the_policy_as_it_is(qwen, vowels, tmp_path):
    found = run(qwen, vowels, tmp_path, critic={"pretrain": 3}, preset="max", iterations=5).view()
    assert [step for step, _ in found.series("critic/total")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in found.series("policy/total")] == [4, 5]
    moved = [abs(value) > 1e-4 for _, value in found.series("kl_k3")]
    assert moved == [False, False, False, False, True], "the fourth's answers are drawn before its step"


# The critic


def test_a_critic_from_the_preference_model_expects_its_score(qwen, pm, tmp_path):
    how = settings(qwen, [pm], tmp_path, critic={"start": "reward"})
    players, rollouts = started(how, models=[(pm, 1.0)])
    judge = open_local(pm, Machine(**MACHINE))
    groups, _ = judge.encode(rollouts.examples)
    (score,) = judge.signals(groups[:1], ["scores"])["scores"]
    behind = groups[0]
    behind.answers, behind.trained = [[*behind.answers[0], 0]], [[True] * (len(behind.answers[0]) + 1)]
    value = players.critic.signals([behind], ["values"])["values"][0][0][-1]  # read behind the end-of-context token
    assert float(value) == pytest.approx(float(score[0]), abs=1e-5) and abs(float(value)) > 0.01


def test_a_folded_critic_begins_on_the_scale_of_normalised_scores(qwen, pm, tmp_path):
    players, rollouts = started(settings(qwen, [pm], tmp_path, critic={"start": "reward"}), models=[(pm, 1.0)])
    before = read(players.critic, rollouts, "values")
    fold(players.critic, RunningMoments(3.0, 4.0, 5), "normalise")
    assert torch.allclose(read(players.critic, rollouts, "values"), (before - 3) / math.sqrt(5), atol=1e-5)


def test_a_critic_is_a_token_classifier_that_transformers_loads(qwen, pm, tmp_path):
    done = run(qwen, pm, tmp_path, critic={"start": "reward"})
    critic = AutoModelForTokenClassification.from_pretrained(done.folder / "critic").eval()
    engine = open_local(str(done.folder / "critic"), Machine(**MACHINE))
    group = engine.codec.encode(Example(PROMPTS[0].prompt, (truing.Answer("abc"),)))
    ours = engine.signals([group], ["values"])["values"][0][0]
    with torch.no_grad():
        theirs = critic(torch.tensor([group.prompt + group.answers[0]])).logits[0, :, 0]
    assert torch.allclose(ours, theirs[len(group.prompt) - 1 : -1], atol=1e-5)


# The switches


@pytest.mark.parametrize(
    "keys",
    [
        {"critic": {"start": "shared"}},
        {"critic": {"start": "fresh"}, "update": {"joint_norm": True}},
        {"lora": {"rank": 4}},
        {"lora": {"rank": 4}, "critic": {"start": "shared"}},
        {"advantage": "rloo", "sampling": {"n": 3}},
        {"advantage": "group", "sampling": {"n": 3}, "kl": {"place": "loss", "estimator": "k3", "coefficient": 0.1}},
        {"preset": "max", "critic": {"pretrain": 1}},
        {"preset": "nplus", "rollouts": 4, "optim": {"batch": 2, "epochs": 2}},
        {"preset": "moss-release", "rollouts": 4},
        {"preset": "bai2022", "rollouts": 4},
        {"reward": {"unended": "mask"}, "sampling": {"n": 4, "max_tokens": 40}},
        {"kl": {"coefficient": 0.1, "target": 2.0}},
        {"kl": {"coefficient": 0.1, "target": 0.01, "place": "loss", "estimator": "k2"}, "rollouts": 12},
        {
            "sampling": {"temperature": 0.7},
            "watch": {"every": 1, "alarms": ("reward_hacking",)},
            "test": ("lexical:distinct",),
        },
        {"update": {"entropy": 0.01, "bound": 0.5, "dual": 3.0}, "kl": {"coefficient": 0.1}},
        {"update": {"ratio": "reference"}},
    ],
    ids=str,
)
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(keys, qwen, vowels, tmp_path, monkeypatch):
    whole, log = run(qwen, vowels, tmp_path, name="whole", **keys), Run.log

    def killed(self, step, *metrics):
        if step == 3:
            raise KeyboardInterrupt
        log(self, step, *metrics)

    monkeypatch.setattr(Run, "log", killed)
    with pytest.raises(KeyboardInterrupt):
        run(qwen, vowels, tmp_path, name="parted", **keys)
    monkeypatch.setattr(Run, "log", log)
    parted = run(qwen, vowels, tmp_path, name="parted", **keys)
    file = "adapter_model.safetensors" if "lora" in keys else "model.safetensors"
    weights = [load_file(done.folder / "model" / file) for done in (whole, parted)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for curve in ("reward", "kl", "policy/total"):
        assert whole.view().series(curve) == parted.view().series(curve)


def test_without_an_adapter_the_reference_of_an_adapter_is_the_model_it_stands_on(qwen, vowels, tmp_path):
    how = settings(qwen, [vowels], tmp_path, lora={"rank": 4})
    players, rollouts = started(how)
    assert players.reference is None
    for name, weight in players.policy.model.owner.named_parameters():
        if "lora_B" in name:
            with torch.no_grad():
                weight.fill_(0.1)
    apart = read(players.policy, rollouts, "logps", adapter=False)
    assert torch.allclose(apart, rollouts.logps, atol=1e-5)
    assert not torch.allclose(read(players.policy, rollouts, "logps"), rollouts.logps, atol=1e-2)


def test_an_unended_answer_is_treated_as_asked(qwen, vowels, tmp_path):
    _, rollouts = started(settings(qwen, [vowels], tmp_path, sampling={"n": 4}, reward={"unended": "mask"}))
    ended, scores = rollouts.ended, torch.arange(len(rollouts.ended)).float()
    assert not ended.all() and ended.any() and torch.equal(rollouts.kept, ended)
    counts = {"score": 16, "subtract": 16, "replace": 16, "mask": int(ended.sum())}
    missing = {"score": scores, "subtract": scores - 3, "replace": torch.full_like(scores, -3.0), "mask": scores}
    for unended, expected in missing.items():
        moments, kept = RunningMoments(), torch.ones_like(ended) if unended != "mask" else ended
        how = settings(qwen, [vowels], tmp_path, reward={"unended": unended, "penalty": 3.0}).reward
        found = shaped(scores, replace(rollouts, kept=kept), how, moments)
        assert torch.equal(found, torch.where(ended, scores, expected)) and moments.count == counts[unended]
    rollouts.carry("advantage", torch.arange(len(rollouts.logps)).float())
    kept = rollouts.learnt()
    flat = [t for group in kept for tensors in group.per_token["advantage"] for t in tensors.tolist()]
    inside = rollouts.ended.repeat_interleave(rollouts.lengths)
    assert flat == torch.arange(len(rollouts.logps))[inside].tolist()


def test_every_pass_sees_every_prompt_once(qwen, vowels, tmp_path):
    how = settings(qwen, [vowels], tmp_path, optim={"epochs": 2})
    _, rollouts = started(how)
    seen = [[id(group) for group in batch] for batch in minibatches(rollouts.groups, how, 1)]
    assert [len(batch) for batch in seen] == [2, 2, 2, 2]
    first, second = [g for b in seen[:2] for g in b], [g for b in seen[2:] for g in b]
    assert sorted(first) == sorted(second) == sorted(map(id, rollouts.groups))


def test_rewards_may_be_for_some_prompts_alone(qwen, vowels, tmp_path):
    done = verb(settings(qwen, [f"{vowels}*2 if kind=b", "lexical:distinct"], tmp_path, iterations=1), PROMPTS)
    total, some, every = (
        done.view().series(n)[0][1] for n in ("reward", f"reward/{vowels} if kind=b", "reward/lexical:distinct")
    )
    assert total == pytest.approx(2 * some + every)


@pytest.mark.parametrize("architecture", ["gpt2", "qwen"])
def test_two_preference_models_and_a_callable_are_weighed(architecture, request, pm, vowels, tmp_path):
    """Of another architecture than the policy, too; the critic begins as the first of them."""
    policy = request.getfixturevalue(architecture)
    other = judging(request.getfixturevalue("gpt2"), tmp_path, ("green", "blue"))
    rewards = [f"{pm}*2", f"{other}*-0.5", vowels]
    done = verb(settings(policy, rewards, tmp_path, critic={"start": "reward"}, iterations=2), PROMPTS)
    total, first, second, third = (
        [value for _, value in done.view().series(f"reward{name}")]
        for name in ("", f"/{pm}", f"/{other}", f"/{vowels}")
    )
    assert np.allclose(total, 2 * np.array(first) - 0.5 * np.array(second) + np.array(third), atol=1e-5)
    assert np.std([*first, *second]) > 0 and (done.folder / "critic").exists()


def test_a_prompt_that_comes_twice_is_answered_twice(qwen, vowels, tmp_path):
    _, rollouts = started(settings(qwen, [vowels], tmp_path, rollouts=8))
    said = [tuple(group.answers[0]) for group in rollouts.groups]
    assert [group.prompt for group in rollouts.groups[:4]] == [group.prompt for group in rollouts.groups[4:]]
    assert len(set(said)) == 8


def test_whitened_advantages_are_those_of_what_is_learnt(qwen, vowels, tmp_path):
    keys = {"update": {"whiten": True}, "reward": {"unended": "mask"}, "sampling": {"n": 4}}
    how = settings(qwen, [vowels], tmp_path, **keys)
    players, rollouts = started(how)
    rollouts.values = read(players.critic, rollouts, "values")
    scores = torch.where(rollouts.ended, torch.linspace(0, 1, 16), torch.full((16,), 50.0))
    found, _ = advantages(rollouts, scores, rollouts.logps, 0.0, how)
    inside = found[rollouts.ended.repeat_interleave(rollouts.lengths)]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-5)
    assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-3)


def test_the_controller_steers_a_term_of_the_loss_too(qwen, vowels, tmp_path):
    kls = []
    for target in (None, 1e-6):
        kl = {"coefficient": 1.0, "target": target, "place": "loss", "estimator": "k2", "horizon": 32}
        done = run(qwen, vowels, tmp_path, name=f"{target}", kl=kl, rollouts=32, optim={"batch": 16}, iterations=6)
        kls.append([value for _, value in done.view().series("kl")])
    assert kls[0] != kls[1]
    assert [value for _, value in done.view().series("kl_coefficient")][-1] > 1.5


def test_a_weighted_reward_begins_a_weighted_critic(qwen, pm, tmp_path):
    values = {}
    for weight in (1.0, -3.0):
        how = settings(qwen, [pm], tmp_path, critic={"start": "reward"}, name=f"w{weight}")
        players, rollouts = started(how, models=[(pm, weight)])
        values[weight] = read(players.critic, rollouts, "values")
    assert torch.allclose(values[-3.0], -3 * values[1.0], atol=1e-5)


def test_half_precision_trains_and_keeps_its_best(qwen, vowels, tmp_path):
    keys = {"watch": {"every": 1, "count": 4, "max_tokens": 6}, "test": [vowels], "rollouts": 8, "iterations": 4}
    done = run(qwen, vowels, tmp_path, machine={"dtype": "bf16"}, critic={"start": "shared"}, **keys)
    tested = [value for _, value in done.view().series("watch/test")]
    saved = [e["step"] for e in done.view().events if e["event"] == "best saved"]
    assert saved[-1] == 1 + tested.index(max(tested))
    best = AutoModelForCausalLM.from_pretrained(done.folder / "best")
    assert best.dtype == torch.float32


def test_texts_that_are_mixed_in_are_remembered(qwen, vowels, tmp_path):
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"prompt": "say a", "completion": "ooo"}\n' * 8)
    losses = {}
    for weight in (0.0, 1.0):
        mix = {"path": str(texts), "weight": weight}
        done = run(qwen, vowels, tmp_path, name=f"mix{weight}", mix=mix, iterations=10)
        engine = truing.load(str(done.folder / "model"))
        losses[weight] = -engine.score(list(truing.read(str(texts))))[0][0].logp
    assert losses[1.0] < losses[0.0] - 1


@pytest.mark.parametrize("on_alarm", ["warn", "stop", "rollback"])
def test_an_alarm_warns_or_stops_or_leaves_the_last_healthy_policy(on_alarm, qwen, vowels, tmp_path):
    keys = {"iterations": 12, "rollouts": 16, "optim": {"batch": 16, "lr": 0.0}, "critic": {"lr": 0.0}}
    calm = run(qwen, vowels, tmp_path, name="calm", **keys)
    watch = {"alarms": ("divergence",), "healthy": (str(calm.folder),), "on_alarm": on_alarm}
    keys["optim"] = {"batch": 16, "lr": 3e-3, "warmup": 9}
    done = run(qwen, vowels, tmp_path, name=on_alarm, watch=watch, **keys)
    (alarm,) = [e for e in done.view().events if e["event"] == "alarm"]
    assert done.step == (12 if on_alarm == "warn" else alarm["step"]) and 5 <= alarm["step"] < 12
    saved = [e["step"] for e in done.view().events if e["event"] == "healthy saved"]
    if on_alarm == "rollback":
        assert saved[-1] == alarm["step"] - 1
        left, healthy = (load_file(done.folder / name / "model.safetensors") for name in ("model", "healthy"))
        assert all(torch.equal(left[name], healthy[name]) for name in left)
    else:
        assert not saved
