"""Who plays in reinforcement learning: the policy, the reference it is held to, and the critic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from truing.align.ingredients import Ppo
from truing.align.job import Job
from truing.engine.local import LocalEngine
from truing.engine.open import open_local, positions
from truing.model.lm import LanguageModel, new_head
from truing.objectives import fold_head
from truing.objectives.advantage import RunningMoments
from truing.schema import Mistake
from truing.spec import ModelSpec


@dataclass(frozen=True)
class Cast:
    """`reference` None: the policy with its adapter off. `critic` None: advantages without one; the policy itself
    where they share a trunk."""

    policy: LocalEngine
    reference: LocalEngine | None
    critic: LocalEngine | None

    @property
    def shared(self) -> bool:
        return self.critic is self.policy

    @property
    def engines(self) -> list[LocalEngine]:
        """Each of them once."""
        return list(dict.fromkeys(e for e in (self.policy, self.reference, self.critic) if e))

    @property
    def learners(self) -> dict[str, LocalEngine]:
        return {"policy": self.policy} | ({"critic": self.critic} if self.critic and not self.shared else {})


def cast(job: Job, how: Ppo, models: Sequence[tuple[str, float]], judges: int = 1) -> Cast:
    """`models`: the preference models among the judges that count, with their weights; `judges`: how many count."""
    policy = job.engine()
    target, most = how.update.entropy_target, math.log(policy.model.base.get_input_embeddings().weight.shape[0])
    if target is not None and target >= most:
        raise Mistake(("update", "entropy_target"), f"is {target:g}, and no entropy is ever above ln V = {most:.2f}.")
    return Cast(policy, job.reference, _critic(job, how, policy, models, judges) if how.advantage == "gae" else None)


def prepare(players: Cast, how: Ppo) -> None:
    """Optimisers. What the critic does alone at the start is no step of the policy's."""
    players.policy.prepare(how.optim, how.moves * (how.iterations - how.alone))
    if players.critic and not players.shared:
        eps = how.optim.eps if how.critic.eps is None else how.critic.eps
        players.critic.prepare(replace(how.optim, lr=how.critic.lr, eps=eps), how.moves * how.iterations)


def fold(critic: LocalEngine, moments: RunningMoments, transform: str) -> None:
    """Its head moves to the scale of the rewards it is about to see."""
    if transform == "raw":
        return
    about = moments if transform == "normalise" else RunningMoments(0.0, moments.var, moments.count)
    assert critic.optimiser
    weights = critic.optimiser.masters
    folded = fold_head(weights["heads.value.weight"], weights["heads.value.bias"], about)
    critic.optimiser.assign({"heads.value.weight": folded[0], "heads.value.bias": folded[1]})


def _critic(job: Job, how: Ppo, policy: LocalEngine, models: Sequence[tuple[str, float]], judges: int) -> LocalEngine:
    if how.critic.start == "shared":
        policy.model.heads["value"] = new_head(policy.model, bias=True)
        return policy
    if how.critic.start == "reward" and not models:
        what = "is reward, and rewards name no preference model that counts: say policy or shared."
        raise Mistake(("critic", "start"), what)
    name, weight = models[0] if how.critic.start == "reward" else (how.model, 1.0)
    if how.critic.start == "reward" and judges > 1:
        job.note("critic", f"the critic begins as {name}, one of several judges, and has to learn what the others say")
    if how.critic.start == "fresh":
        name = str(ModelSpec.parse(how.model).base)
    critic: LocalEngine = open_local(
        name, how.machine, probed=job.place, max_tokens=how.data.max_tokens, lora=how.lora, seed=how.run.seed
    )
    if how.critic.start == "reward":
        _same_tokens(policy, critic, name)
    if how.critic.start == "fresh":
        _forget(critic.model, how.run.seed)
    _value_head(critic.model, weight)
    return critic


def _value_head(model: LanguageModel, weight: float) -> None:
    """What a preference model says at the end becomes what is expected everywhere; anything else begins at 0."""
    old, head = dict(model.heads).get("score"), new_head(model, bias=True)
    if isinstance(old, nn.Linear):
        with torch.no_grad():
            head.weight.copy_(weight * old.weight)
            if old.bias is not None:
                head.bias.copy_(weight * old.bias)
    model.heads = nn.ModuleDict({"value": head})
    model.writes = model.mean = False


def _forget(model: LanguageModel, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.base.load_state_dict(type(model.base)(model.base.config).state_dict())


def _same_tokens(policy: LocalEngine, critic: LocalEngine, name: str) -> None:
    """A critic reads the policy's tokens."""
    theirs = critic.codec.tokenizer.get_vocab()
    odd = [token for token, number in policy.codec.tokenizer.get_vocab().items() if theirs.get(token) != number]
    if odd:
        raise Mistake(
            ("critic", "start"),
            f"is reward, and {name} has another tokenizer than the policy ({odd[0]!r} is another token there): it can "
            "judge what the policy says, and cannot be its critic; say policy or shared.",
        )
    short, needed = positions(critic.model.base.config.get_text_config()), policy.codec.max_tokens
    if short < needed:
        raise Mistake(
            ("critic", "start"),
            f"is reward, and {name} has {short} positions where the policy may use {needed}: lower data.max_tokens, or "
            "say policy or shared.",
        )
