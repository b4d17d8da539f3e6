"""Proximal policy optimisation: answers are drawn, judged, and made likelier or less likely than they were.

rollout → score → shape → advantage → optimise → watch

(Schulman et al., arXiv 1707.06347; Zheng et al., "Secrets of RLHF in Large Language Models Part I: PPO", arXiv
2307.04964.) Every ingredient is a switch of its own (`ingredients`), a preset a value for each of them (`presets`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.stats import sem
from torch import Tensor

from truing.align.cast import Cast, cast, fold, prepare
from truing.align.guard import Guard
from truing.align.ingredients import Ppo
from truing.align.job import Job
from truing.align.ledger import Ledger
from truing.align.presets import described
from truing.align.prompts import Mixed, prompted
from truing.align.rewards import Part, Rewards, check_asked, followed
from truing.align.rollouts import Rollouts, advantages, draw, judged, read, shaped
from truing.align.spread import note_spread, several
from truing.batch import Group, Objective
from truing.data import Order
from truing.engine.local import LocalEngine
from truing.objectives import AdaptiveKL, RunningMoments, clipped_policy, clipped_value, entropy, kl_penalty
from truing.records import Example
from truing.run import Run
from truing.schema import plain
from truing.watch.probes import PROBES
from truing.watch.watcher import plain as readable

ROLLOUT = (
    "kl",
    "length",
    "ref_perplexity",
    "composite",
    "diversity",
    "repetition",
    "refusals",
)  # probes that an iteration's answers pay for
SHOWN = 4  # answers of an iteration that are kept to be read


def ppo(
    how: Ppo,
    judges: Sequence[Part],
    models: Sequence[tuple[str, float]] = (),
    tests: Sequence[Part] = (),
    examples: Sequence[Example] | None = None,
) -> Run:
    """Train, and leave the policy in the run's folder. `judges` are those that `how.rewards` names, `models` the
    preference models among them with their weights, `tests` those of `how.test`."""
    mixed = Mixed(how)
    known = {"judges": [p.judge.fingerprint for p in judges], "mix": mixed.fingerprint}
    job = Job("ppo", how, examples, known=known)
    with job.run as run:
        if run.finished:
            return run
        _say_preset(job, how)
        players = cast(job, how, models, sum(part.weight != 0 for part in judges))
        policy, critic = players.policy, players.critic
        asked = prompted(job, policy, how.sampling.max_tokens, judges)
        mixed.encode(job, policy)
        rewards, tested = Rewards(judges), Rewards(followed(tests))
        prepare(players, how)
        ledger = run.keep("ledger", Ledger(*players.engines))
        moments = run.keep("moments", RunningMoments())
        kl = run.keep("kl", AdaptiveKL(how.kl.coefficient, how.kl.target or 0.0, how.kl.horizon))
        order = run.keep("order", Order([len(pool) for pool in asked], how.data.weights, how.run.seed))
        for name, engine in players.learners.items():
            run.attach(name, engine)
        watch = _guard(job, policy, rewards, tested)
        for step in run.steps(how.iterations):
            with ledger.phase("sampling"):
                prompts = [asked[pool][row] for pool, row in order.next(how.rollouts)]
                sampling = replace(how.sampling, seed=how.run.seed * 1_000_003 + step)  # new answers every time
                rollouts = draw(policy, prompts, sampling, how.reward.unended == "mask")
            with ledger.phase("judging"):
                raw, metrics = judged(rollouts, rewards)
                scores = shaped(raw, rollouts, how.reward, moments)
            if step == 1:
                with ledger.phase("spread"):
                    note_spread(job, several(policy, prompts, sampling, rollouts.examples), rewards, tested)
            if step == 1 and critic and how.critic.fold and how.critic.start == "reward":
                fold(critic, moments, how.reward.transform)
            with ledger.phase("reference"):
                frozen = players.reference or policy
                ref_logps = read(frozen, rollouts, "logps", frozen is not policy, sampling.temperature)
            if step == 1:
                job.expect_same("the policy and its reference", (rollouts.logps - ref_logps).abs().mean())
            with ledger.phase("critic"):
                if critic and rollouts.values is None:
                    rollouts.values = read(critic, rollouts, "values")
            advantage, returns = advantages(rollouts, scores, ref_logps, kl.coefficient, how)
            hand_over(rollouts, ref_logps, advantage, returns, how)
            with ledger.phase("training"):
                learnt = optimise(job, players, rollouts, how, step, kl.coefficient, mixed)
            told = {"reward": metrics.pop("reward"), **_looked(rollouts, ref_logps)}
            told |= _told(rollouts, scores, advantage, returns)
            if how.kl.target:
                told["kl_coefficient"] = kl.coefficient
                if step > how.alone:  # else it would answer for a policy that stands still
                    kl.update(told["kl"], len(rollouts.lengths))
            with ledger.phase("watching"):
                watched = watch(step, told)
            run.log(step, told, metrics, learnt, watched)
            run.samples(step, _samples(rollouts, step, how))
        ledger.close(run)
        if critic and not players.shared:
            job.export(critic, name="critic")
        watch.leave()
    return run


def hand_over(rollouts: Rollouts, ref_logps: Tensor, advantage: Tensor, returns: Tensor | None, how: Ppo) -> None:
    """What the objectives read."""
    rollouts.carry("advantage", advantage)
    rollouts.carry("old_logps", ref_logps if how.update.ratio == "reference" else rollouts.logps)
    rollouts.carry("ref_logps", ref_logps)
    if returns is not None and rollouts.values is not None:
        rollouts.carry("returns", returns)
        rollouts.carry("old_values", rollouts.values)


def optimise(
    job: Job, players: Cast, rollouts: Rollouts, how: Ppo, step: int, coefficient: float, mixed: Mixed
) -> dict[str, Any]:
    """Passes over the answers, in steps of some prompts each."""
    policy, critic, temperature = players.policy, players.critic, how.sampling.temperature
    alone = critic is not None and step <= how.critic.pretrain
    told: dict[str, list[Any]] = {}
    for number, batch in enumerate(minibatches(rollouts.learnt(), how, step)):
        steps = list[tuple[LocalEngine, Any]]()
        if not alone:
            work = policy.work(batch, *_objectives(players, how, coefficient), temperature=temperature)
            metrics = policy.forward_backward(work + mixed.next(policy))
            if number == 0 and how.update.ratio == "old":
                job.expect_same("sampler and learner", metrics["policy/gap"])
                told["policy/first_gap"] = [metrics["policy/gap"]]
            steps.append((policy, metrics))
        if critic and not players.shared:
            steps.append((critic, critic.forward_backward(critic.work(batch, (clipped_value(how.critic.clip), 1.0)))))
        norms = [engine.grad_norm() for engine, _ in steps]
        joint = torch.stack(norms).square().sum().sqrt() if how.update.joint_norm else None
        for (engine, metrics), norm in zip(steps, norms):
            name = "policy" if engine is policy else "critic"
            taken = engine.step(norm if joint is None else joint)
            # Numbers, because tensors that wait for the end of the passes keep what lies around them from being reused.
            for key, value in (metrics | {f"{name}/grad_norm": norm, f"{name}/lr": taken["lr"]}).items():
                told.setdefault(key if key != "loss" else f"{name}/total", []).append(float(value))
    return {key: sum(values) / len(values) for key, values in told.items()}


def _objectives(players: Cast, how: Ppo, coefficient: float) -> list[tuple[Objective, float]]:
    found = [(clipped_policy(how.update.clip, how.update.dual), 1.0)]
    if how.kl.place == "loss" and coefficient:
        found.append((kl_penalty(how.kl.estimator), coefficient))
    if how.update.entropy:
        found.append((entropy(how.update.entropy_target), how.update.entropy))
    if players.shared:
        found.append((clipped_value(how.critic.clip), how.critic.weight))
    return found


def minibatches(groups: Sequence[Group], how: Ppo, step: int) -> Iterator[list[Group]]:
    """Every pass in an order of its own."""
    for turn in range(round(how.optim.epochs)):
        order = np.random.default_rng([how.run.seed, step, turn]).permutation(len(groups))
        for start in range(0, len(groups), how.optim.batch):
            yield [groups[i] for i in order[start : start + how.optim.batch]]


def _guard(job: Job, policy: LocalEngine, rewards: Rewards, tested: Rewards) -> Guard:
    if not tested.parts:
        return Guard(job, policy, told=ROLLOUT)
    watch = Guard(job, policy, lambda drawn: _both(drawn, rewards, tested), ("test", *ROLLOUT))
    check_asked("test", tested.parts, watch.watcher.asked, 2)  # one has no error
    if len(tested.parts) > 1:
        first = next(label for label, part in zip(tested.labels, tested.parts) if part.weight)
        job.note("test", f"of the judges of test, {first} says which policy is best, and reward_hacking follows it")
    return watch


def _both(drawn: Sequence[Example], rewards: Rewards, tested: Rewards) -> dict[str, float]:
    """Of a look's answers: the judge that teaches beside those that do not, with the standard error of its mean."""
    taught, values = rewards.means(rewards.own(drawn)), tested.own(drawn)
    found = tested.means(values, "test")
    found["test_error"] = float(sem(tested.counted(values), nan_policy="omit"))
    return found | {name: value for name, value in taught.items() if name == "reward"}


def _looked(rollouts: Rollouts, ref_logps: Tensor) -> dict[str, float]:
    """The probes that cost nothing more."""
    look = rollouts.look(ref_logps)
    found = {name: value for probe in ROLLOUT for name, value in PROBES[probe](look).items()}
    first = ("kl", "length", "ref_perplexity")
    return {name: found[name] for name in first} | found


def _told(rollouts: Rollouts, scores: Tensor, advantage: Tensor, returns: Tensor | None) -> dict[str, Any]:
    """What became of the scores."""
    found = {
        "shaped": scores.mean(),
        "advantage": advantage.mean(),
        "advantage_size": advantage.abs().mean(),
        "rows": len(rollouts.lengths),
        "stopped": sum(a.finish == "stop" for e in rollouts.examples for a in e.answers) / len(rollouts.lengths),
        "masked": 1 - rollouts.kept.double().mean(),
    }
    if returns is not None and rollouts.values is not None:
        found["critic/explained"] = 1 - (returns - rollouts.values).var() / returns.var().clamp(min=1e-12)
    return found


def _samples(rollouts: Rollouts, step: int, how: Ppo) -> list[dict[str, Any]]:
    every = max(1, how.iterations // 20)
    if step % every and step > 1:
        return []
    return [{"prompt": readable(e.prompt), "answer": e.answers[0].text} for e in rollouts.examples[:SHOWN]]


def _say_preset(job: Job, how: Ppo) -> None:
    lines = described(how.preset, plain(how))
    width = max(len(name) for name, _, _ in lines)
    table = "\n".join(f"  {name:{width}}  {said}  ({source})" for name, said, source in lines)
    job.note("preset", f"preset {how.preset}: paper, code, or ours where it is silent\n{table}")
    if how.mismatched:
        job.note(
            "mismatch",
            "answers are drawn from fewer tokens than the policy has (top_p, top_k), and learnt from as if they were "
            "not: read kl_k3, since kl may fall below 0",
        )
