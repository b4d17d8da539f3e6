"""Likelihood with weights: imitation, and every offline method that differs from it only in the weight of a token.

    L_i = −Σ_t sg(w_it) · ln π(y_it | ·),    w_it = credit_i · importance_it

(Baheti et al., "Leftover Lunch: Advantage-based Offline RL for Language Models", arXiv 2305.14718.) Nothing but ln π
is differentiated: through an undetached ratio the gradient would be −A·r·(1 + s), with s = ln π(y) below −1 nearly
always, and good answers would be unlearnt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, UserError, tally

LengthNorm = Literal["sum", "mean"]


@dataclass(frozen=True, slots=True)
class WeightedSettings:
    eps: float | None = 0.9
    """importance ratios are truncated to [1 − eps, 1 + eps]; none = not at all (0 would make every ratio 1)"""
    beta: float = 0.1
    """a_lol_kl: how far the advantage is shifted down"""
    floor: float = 0.1
    """r_gold: least weight of a token"""
    length_norm: LengthNorm = "sum"
    """whether an answer's loss is divided by its length; the mean changes the step size by about that factor"""


def surrogate(logps: Tensor, weight: Tensor, batch: Batch, length_norm: LengthNorm = "sum") -> Tensor:
    """[A] −Σ_t sg(w_t) ln π_t: the loss of this family, and the gradient of DPO, PRO and PPO for the right w."""
    losses = -batch.per_answer_sum(weight.detach() * logps)
    return losses / batch.lengths() if length_norm == "mean" else losses


# ── credit: what an answer is worth, [A] ──────────────────────────────────────────────────────────────────────────


def one(batch: Batch, settings: WeightedSettings) -> Tensor:
    return torch.ones(batch.answers, device=batch.end.device)


def reward(batch: Batch, settings: WeightedSettings) -> Tensor:
    return batch.per_answer["reward"]


def advantage(batch: Batch, settings: WeightedSettings) -> Tensor:
    return batch.per_answer["reward"] - batch.per_answer["baseline"]


def advantage_above_zero(batch: Batch, settings: WeightedSettings) -> Tensor:
    return advantage(batch, settings).clamp(min=0)


def is_above_baseline(batch: Batch, settings: WeightedSettings) -> Tensor:
    return (advantage(batch, settings) > 0).to(batch.per_answer["reward"].dtype)


def advantage_minus_beta(batch: Batch, settings: WeightedSettings) -> Tensor:
    """A⁺ ln π − β ln(π/π_ref) has the gradient (A⁺ − β) ∇ln π: the reference is a constant and is not needed."""
    return advantage_above_zero(batch, settings) - settings.beta


# ── importance: how much a token of it counts, [N], from detached log-probabilities ───────────────────────────────


def equal(logps: Tensor, batch: Batch, settings: WeightedSettings) -> Tensor:
    return torch.ones_like(logps)


def answer_ratio(logps: Tensor, batch: Batch, settings: WeightedSettings) -> Tensor:
    """π(y)/π_ref(y) of the whole answer, for each of its tokens."""
    return _truncate(batch.per_answer_sum(logps - batch.per_token["ref_logps"]), settings.eps)[batch.answer_of]


def token_ratio(logps: Tensor, batch: Batch, settings: WeightedSettings) -> Tensor:
    return _truncate(logps - batch.per_token["ref_logps"], settings.eps)


def own_probability(logps: Tensor, batch: Batch, settings: WeightedSettings) -> Tensor:
    return logps.exp().clamp(min=settings.floor)


def _truncate(log_ratio: Tensor, eps: float | None) -> Tensor:
    """A truncated weight, not PPO's min: an answer far above the interval still pulls with 1 + ε."""
    ratio = log_ratio.exp()
    return ratio if eps is None else ratio.clamp(1 - eps, 1 + eps)


# ── the methods ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Weighting:
    """A method as a row of data. `reads` are the numbers its two factors take. Where answers are drawn in proportion to
    their credit it counts twice, unless the data carry `undrawn` [A], the factor that takes the draw out again."""

    credit: Callable[[Batch, WeightedSettings], Tensor]
    importance: Callable[[Tensor, Batch, WeightedSettings], Tensor] = equal
    reads: tuple[str, ...] = ()


METHODS = {
    "nll": Weighting(one),
    "filtered_nll": Weighting(is_above_baseline, reads=("reward", "baseline")),
    "wbc": Weighting(reward, reads=("reward",)),
    "r_gold": Weighting(reward, own_probability, ("reward",)),
    "r_lol": Weighting(reward, answer_ratio, ("reward", "ref_logps")),
    "a_lol": Weighting(advantage_above_zero, answer_ratio, ("reward", "baseline", "ref_logps")),
    "a_lol_seq": Weighting(advantage_above_zero, token_ratio, ("reward", "baseline", "ref_logps")),
    "a_lol_ref_free": Weighting(advantage_above_zero, reads=("reward", "baseline")),
    "a_lol_kl": Weighting(advantage_minus_beta, reads=("reward", "baseline")),
}

PAPER = WeightedSettings()


def weighted(method: str, settings: WeightedSettings = PAPER, row: Weighting | None = None) -> Objective:
    """The objective of a row of METHODS, or of a row of one's own."""
    if row is None and method not in METHODS:
        raise UserError(f"{method!r} is not a weighted method; there are {', '.join(METHODS)}.")
    row = row or METHODS[method]

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        logps = signals["logps"]
        credit = row.credit(batch, settings) * batch.per_answer.get("undrawn", 1.0)
        importance = row.importance(logps.detach(), batch, settings)
        metrics = {"nll": tally(-logps), "credit": tally(credit)} | _importance_metrics(row, importance, settings.eps)
        if "ref_logps" in batch.per_token:
            metrics["log_ratio"] = tally(batch.per_answer_sum(logps - batch.per_token["ref_logps"]))
        return surrogate(logps, credit[batch.answer_of] * importance, batch, settings.length_norm), metrics

    return Objective(method, "answer", frozenset({"logps"}), function, frozenset(row.reads))


def _importance_metrics(row: Weighting, importance: Tensor, eps: float | None) -> Metrics:
    """How strongly the ratios vary and how often they are truncated, over tokens."""
    if row.importance is equal:
        return {}
    metrics: Metrics = {"importance/mean": tally(importance), "importance/square": tally(importance**2)}
    if eps is not None and row.importance is not own_probability:
        metrics["importance/at_lower"] = tally((importance <= 1 - eps).float())
        metrics["importance/at_upper"] = tally((importance >= 1 + eps).float())
    return metrics


def _nll(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
    return -signals["logps"], {"nll": tally(-signals["logps"])}


# Supervised fine-tuning, context mixing, PPO's pretraining mix: every token alike, so the mean is over tokens.
NLL = Objective("nll", "token", frozenset({"logps"}), _nll)
