"""Learning from one's own samples: the clipped policy and value losses of PPO, KL estimates, the entropy term.

    ratio_t = π(t) / π_old(t)
    policy  = max(−Â_t ratio_t, −Â_t clip(ratio_t, 1 ± ε))          value = ½ max((V − Ĝ)², (clip(V, V_old ± ε) − Ĝ)²)

(Schulman et al., arXiv 1707.06347; as in Zheng et al., "Secrets of RLHF in Large Language Models Part I: PPO", arXiv
2307.04964.) Every loss is per token. Several of them on one batch share its forward pass, each with its weight in the
step; PPO's pretraining mix is a second batch with NLL and a weight, not an objective of its own.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, tally

FARTHEST = 20.0  # nats between two policies of one token: beyond that a ratio is no number to compute with
Estimator = Literal["k1", "k2", "k3"]


def kl_estimate(logps: Tensor, ref_logps: Tensor, kind: Estimator = "k1") -> Tensor:
    """KL(π ‖ π_ref) from samples of π, one term per token. In expectation k1 and k3 are exact; k3 is never negative.

    k1 = ln π − ln π_ref;  k2 = k1²/2;  k3 = e^{−k1} − 1 + k1
    """
    k1 = logps - ref_logps
    if kind == "k1":
        return k1
    return k1.square() / 2 if kind == "k2" else torch.expm1(-k1) + k1


def clipped_policy(eps: float | None = 0.2, dual: float | None = None) -> Objective:
    """`eps` None leaves ratios as they are. `dual` = c bounds the loss by −c·Â where Â < 0: a bad token that has become
    likely cannot dominate a step."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        logps, old, advantage = signals["logps"], batch.per_token["old_logps"], batch.per_token["advantage"]
        ratio = (logps - old).clamp(-FARTHEST, FARTHEST).exp()
        free = -advantage * ratio
        clipped = free if eps is None else -advantage * ratio.clamp(1 - eps, 1 + eps)
        losses = torch.maximum(free, clipped)
        if dual is not None:
            losses = torch.where(advantage < 0, torch.minimum(losses, -dual * advantage), losses)
        metrics: Metrics = {
            "policy/loss": tally(losses),
            "policy/clipped": tally((clipped > free).float()),
            "policy/ratio": tally(ratio),
            "policy/gap": tally((logps - old).abs()),
        }
        return losses, metrics | {f"policy/old_{k}": tally(kl_estimate(old, logps, k)) for k in ("k1", "k3")}

    return Objective("policy", "token", frozenset({"logps"}), function, frozenset({"old_logps", "advantage"}))


def clipped_value(eps: float | None = 0.2) -> Objective:
    """The clip is pessimistic: a value that has moved further than eps is frozen even if it moved the right way."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        values, returns = signals["values"], batch.per_token["returns"]
        losses = (values - returns).square()
        metrics: Metrics = {"value/mean": tally(values), "value/return": tally(returns)}
        if eps is not None:
            old = batch.per_token["old_values"]
            clipped = (old + (values - old).clamp(-eps, eps) - returns).square()
            metrics["value/clipped"] = tally((clipped > losses).float())
            losses = torch.maximum(losses, clipped)
        return losses / 2, metrics | {"value/loss": tally(losses / 2)}

    reads = frozenset({"returns"} if eps is None else {"returns", "old_values"})
    return Objective("value", "token", frozenset({"values"}), function, reads)


def kl_penalty(kind: Estimator = "k3") -> Objective:
    """A KL term as a loss. The gradient of k1 is zero in expectation; k2 has the gradient of KL(π ‖ π_ref)."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        losses = kl_estimate(signals["logps"], batch.per_token["ref_logps"], kind)
        return losses, {f"kl/{kind}": tally(losses)}

    return Objective("kl_penalty", "token", frozenset({"logps"}), function, frozenset({"ref_logps"}))


def entropy(target: float | None = None) -> Objective:
    """−H, a bonus; or |H − target| for the mean H over tokens. A target above ln V can never be reached.

    The second is ±(H_t − target) per token, with the sign of the mean: it adds up exactly over micro-batches as long
    as all of them lie on the same side of the target.
    """

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        found = signals["entropy"]
        losses = -found if target is None else (found.detach().mean() - target).sign() * (found - target)
        return losses, {"entropy": tally(found)}

    return Objective("entropy", "token", frozenset({"entropy"}), function)
