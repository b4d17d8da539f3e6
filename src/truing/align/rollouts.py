"""An iteration's answers: drawn, judged, shaped, and turned into an advantage for every token.

    R̃ = transform(R)     ρ_t = −η·k_t + 1[t = T]·R̃     Â from ρ and the critic's V, or from other answers to the prompt

Numbers of tokens are flat, answer after answer, prompt after prompt. Log-probabilities (and values, where the critic is
a head on the policy) are those that the sampler saw; nothing is decoded and tokenised again, but by judges who read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from truing.align.ingredients import Ppo, Reward
from truing.align.rewards import Rewards, as_text
from truing.batch import Group
from truing.engine.local import LocalEngine
from truing.model.decode import Sampled
from truing.objectives import gae, group_normalised, kl_estimate, leave_one_out, token_rewards, whiten
from truing.objectives.advantage import RunningMoments
from truing.records import Example, Sampling, UserError
from truing.watch.probes import Look


class Asked(NamedTuple):
    """A prompt, tokenised once."""

    example: Example
    ids: list[int]


@dataclass
class Rollouts:
    """What is known about an iteration's answers. [A] answers, [N] tokens."""

    examples: list[Example]
    groups: list[Group]
    logps: Tensor
    """[N] of the policy that drew them"""
    values: Tensor | None
    """[N] what the critic expects before each token; None without one"""
    ended: Tensor
    """[A] by themselves: neither cut off, nor stopped when they went on with the other side's turn"""
    kept: Tensor
    """[A] what is learnt from"""

    @property
    def lengths(self) -> Tensor:
        return torch.tensor([len(answer) for group in self.groups for answer in group.answers])

    @property
    def group_of(self) -> Tensor:
        return torch.tensor([number for number, group in enumerate(self.groups) for _ in group.answers])

    @property
    def compared(self) -> Tensor:
        """[A] kept, and not the only such answer to its prompt."""
        others = self.group_of[self.kept].bincount(minlength=len(self.groups))
        return self.kept & (others[self.group_of] > 1)

    def carry(self, name: str, flat: Tensor) -> None:
        """Hand a number per token to the groups, for objectives to read."""
        parts = iter(flat.split(self.lengths.tolist()))
        for group in self.groups:
            group.per_token[name] = [next(parts) for _ in group.answers]

    def look(self, ref_logps: Tensor) -> Look:
        """As probes see answers."""
        lengths = self.lengths.tolist()
        answers = [answer for example in self.examples for answer in example.answers]
        return Look(answers, self.logps.split(lengths), (), ref_logps.split(lengths))

    def learnt(self) -> list[Group]:
        """The groups without answers that are masked."""
        if bool(self.kept.all()):
            return self.groups
        kept, found = iter(self.kept.tolist()), []
        for group in self.groups:
            chosen = [j for j, _ in enumerate(group.answers) if next(kept)]
            if chosen:
                found.append(_only(group, chosen))
        return found


def _only(group: Group, chosen: Sequence[int]) -> Group:
    return replace(
        group,
        answers=[group.answers[j] for j in chosen],
        trained=[group.trained[j] for j in chosen],
        per_token={name: [tensors[j] for j in chosen] for name, tensors in group.per_token.items()},
    )


def draw(policy: LocalEngine, asked: Sequence[Asked], sampling: Sampling, mask: bool = False) -> Rollouts:
    """Answers to the prompts, with what the sampler saw. `mask`: nothing is learnt from those that did not end."""
    # Where turns are plain text, a stop is the other side's next turn; elsewhere it is one that the recipe asks for.
    ends = ("end",) if policy.codec.template.stop else ("end", "stop")
    sampling = policy.stopping([one.example.prompt for one in asked], sampling)
    drawn = _dealt(policy, asked, sampling)
    examples, groups = [], []
    for number, (one, samples) in enumerate(zip(asked, drawn)):
        answers = tuple(policy.answer(one.example.prompt, sample, sampling) for sample in samples)
        examples.append(replace(one.example, answers=answers, judgements=()))
        ids = [sample.ids for sample in samples]
        groups.append(Group(one.ids, ids, [[True] * len(a) for a in ids], id=one.example.id, source=f"prompt {number}"))
    flat = [sample for samples in drawn for sample in samples]
    ended = torch.tensor([sample.finish in ends for sample in flat])
    if mask and not ended.any():
        raise UserError(
            f"reward.unended is mask, and none of {len(flat)} answers ended within {sampling.max_tokens} tokens: there "
            "is nothing to learn from. Raise sampling.max_tokens."
        )
    return Rollouts(
        as_text(examples, examples),
        groups,
        torch.tensor([logp for sample in flat for logp in sample.logps]),
        torch.tensor([v for s in flat for v in s.values or ()]) if flat[0].values is not None else None,
        ended,
        ended if mask else torch.ones_like(ended),
    )


def _dealt(policy: LocalEngine, asked: Sequence[Asked], sampling: Sampling) -> list[list[Sampled]]:
    """A sample is a function of seed, prompt and number: a prompt that comes k times draws k times as many, and each
    time gets others of them."""
    prompts = [tuple(one.ids) for one in asked]
    times = Counter(prompts)
    dealt: dict[tuple[int, ...], list[list[Sampled]]] = {}
    for copies in set(times.values()):
        once = [prompt for prompt, count in times.items() if count == copies]
        drawn = policy.draw([list(prompt) for prompt in once], replace(sampling, n=sampling.n * copies))
        for prompt, samples in zip(once, drawn):
            dealt[prompt] = [samples[at : at + sampling.n] for at in range(0, len(samples), sampling.n)]
    return [dealt[prompt].pop() for prompt in prompts]


def read(engine: LocalEngine, rollouts: Rollouts, name: str, adapter: bool = True, temperature: float = 1.0) -> Tensor:
    """[N] what a model says of every token."""
    found = engine.signals(rollouts.groups, [name], adapter=adapter, temperature=temperature)[name]
    return torch.cat([tokens for answers in found for tokens in answers])


def judged(rollouts: Rollouts, rewards: Rewards) -> tuple[Tensor, dict[str, float]]:
    """[A] the weighted sum of what the judges say; its mean, that of each of them, and quantiles."""
    parts = np.concatenate(rewards.of(rollouts.examples))
    total = rewards.counted(parts)
    asked = total[~np.isnan(total)]
    spread = {f"reward/p{q}": float(np.quantile(asked, q / 100)) for q in (5, 50, 95)} if asked.size else {}
    return torch.from_numpy(np.nan_to_num(total)).float(), {"reward": 0.0} | rewards.means(parts) | spread


def shaped(scores: Tensor, rollouts: Rollouts, how: Reward, moments: RunningMoments) -> Tensor:
    """[A] what is learnt from. Moments are of all scores so far, these included."""
    if how.unended == "subtract":
        scores = torch.where(rollouts.ended, scores, scores - how.penalty)
    elif how.unended == "replace":
        scores = torch.where(rollouts.ended, scores, torch.full_like(scores, -how.penalty))
    moments.update(scores[rollouts.kept])
    if how.transform == "scale":
        scores = moments.scale(scores)
    elif how.transform == "normalise":
        scores = moments.normalise(scores)
    return scores if how.clip is None else scores.clamp(-how.clip, how.clip)


def advantages(
    rollouts: Rollouts, scores: Tensor, ref_logps: Tensor, coefficient: float, how: Ppo
) -> tuple[Tensor, Tensor | None]:
    """[N] advantages, and the returns that a critic learns, if there is one."""
    lengths, returns, taken = rollouts.lengths, None, rollouts.kept
    kl = kl_estimate(rollouts.logps, ref_logps, how.kl.estimator)
    cost = coefficient if how.kl.place == "reward" else 0.0
    if how.advantage == "gae":
        assert rollouts.values is not None
        rewards = token_rewards(scores, kl, lengths, cost)
        found, returns = gae(rewards, rollouts.values, lengths, how.gae.gamma, how.gae.lam)
    else:
        answer_of = torch.arange(len(lengths)).repeat_interleave(lengths)
        whole = scores - cost * scores.new_zeros(len(lengths)).index_add(0, answer_of, kl)
        compare = leave_one_out if how.advantage == "rloo" else group_normalised
        taken, found = rollouts.compared, torch.zeros_like(whole)
        if taken.any():
            found[taken] = compare(whole[taken], rollouts.group_of[taken])
        found = found[answer_of]
    if how.update.whiten:
        inside = taken.repeat_interleave(lengths)
        found[inside] = whiten(found[inside])
    bound = how.update.bound
    return found if bound is None else found.clamp(-bound, bound), returns
