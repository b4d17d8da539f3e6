"""Learning from whole rankings: Plackett–Luce, and PRO, which is the same sum with a temperature for every rival.

    L = Σ_a  ln( e^{f_a τ_aa} + Σ_{j worse than a} e^{f_j τ_aj} ) − f_a τ_aa

Plackett–Luce: τ = 1, f a preference score or DPO's implicit reward. PRO (Song et al., "Preference Ranking
Optimization", arXiv 2306.17492): f the *mean* log-probability, τ_aj = R_a − R_j from a reward model, τ_aa the largest
of them, plus imitation of the best answer. Tied answers are nobody's rivals; with k = 2 the first is the pair loss.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, tally
from truing.objectives.pairwise import best, comparison, implicit_reward, pairs


def plackett_luce(over: Literal["scores", "logps"] = "scores", beta: float = 0.1, reference: bool = True) -> Objective:
    """Over the preference scores, or over β Σ_t [ln π − ln π_ref] (without the reference: β Σ_t ln π)."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        better, worse = pairs(batch, "plackett_luce")
        strength = signals["scores"] if over == "scores" else implicit_reward(signals, batch, beta, reference)
        even = strength.new_ones(batch.answers, batch.answers)
        losses = batch.per_group_sum(_first_choices(strength, even, better, worse))
        return losses, comparison("score" if over == "scores" else "rewards", strength, better, worse)

    reads = frozenset({"ref_logps"} if over == "logps" and reference else ())
    return Objective("plackett_luce", "group", frozenset({over}), function, reads)


def pro(sft_weight: float = 0.05) -> Objective:
    """Rewards are raw scores of a reward model. Imitation is a sum over tokens and grows with (ranked answers − 1)²."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        better, worse = pairs(batch, "pro")
        total = batch.per_answer_sum(signals["logps"])
        mean = total / batch.lengths()
        reward = batch.per_answer["reward"].to(mean.dtype)
        ranking = batch.per_group_sum(_first_choices(mean, reward[:, None] - reward[None, :], better, worse))
        first, ranked = best(batch, worse).to(mean.dtype), (batch.rank >= 0).to(mean.dtype)
        nll_best = -batch.per_group_sum(first * total) / batch.per_group_sum(first)
        losses = ranking + sft_weight * (batch.per_group_sum(ranked) - 1) ** 2 * nll_best
        metrics = comparison("mean_logp", mean, better, worse)
        return losses, metrics | {"ranking": tally(ranking), "nll_best": tally(nll_best)}

    return Objective("pro", "group", frozenset({"logps"}), function, frozenset({"reward"}))


def _first_choices(strength: Tensor, temperature: Tensor, better: Tensor, worse: Tensor) -> Tensor:
    """[A] −ln of the probability that an answer is chosen before all answers worse than it; 0 for the last."""
    rivals = torch.zeros_like(temperature, dtype=torch.bool)
    rivals[better, worse] = True
    own = temperature.masked_fill(~rivals, -torch.inf).amax(1)
    own = torch.where(rivals.any(1), own, 0.0)
    logits = (strength[None, :] * temperature).masked_fill(~rivals, -torch.inf)
    logits = torch.where(torch.eye(len(own), dtype=torch.bool, device=own.device), (strength * own)[:, None], logits)
    return logits.logsumexp(1) - strength * own
