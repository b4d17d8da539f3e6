"""Learning a policy from comparisons: DPO, with and without a reference.

    r̂(y) = β · Σ_t [ln π(y_t) − ln π_ref(y_t)],    L = −ln σ(r̂(y_w) − r̂(y_l))

(Rafailov et al., "Direct Preference Optimization", arXiv 2305.18290.) Sums over tokens, not means. A group of k
ranked answers is all its pairs, averaged, so that a prompt counts once however many answers it has.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, UserError, tally


def dpo(beta: float = 0.1, label_smoothing: float = 0.0, reference: bool = True) -> Objective:
    """`label_smoothing` is the assumed share of flipped labels. Without a reference, r̂ = β ln π(y)."""
    name = "dpo" if reference else "dpo_ref_free"

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        better, worse = pairs(batch, name)
        implicit = implicit_reward(signals, batch, beta, reference)
        margin = implicit[better] - implicit[worse]
        losses = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
        logps = batch.per_answer_sum(signals["logps"])
        metrics = comparison("rewards", implicit, better, worse)
        metrics |= {"logps/chosen": tally(logps[better]), "logps/rejected": tally(logps[worse])}
        return mean_over_pairs(losses, batch, better), metrics

    reads = frozenset({"ref_logps"} if reference else ())
    return Objective(name, "group", frozenset({"logps"}), function, reads)


def implicit_reward(signals: Signals, batch: Batch, beta: float, reference: bool) -> Tensor:
    """[A] the reward for which π would be optimal under a KL penalty β."""
    logps = signals["logps"]
    return beta * batch.per_answer_sum(logps - batch.per_token["ref_logps"] if reference else logps)


def pairs(batch: Batch, name: str) -> tuple[Tensor, Tensor]:
    """(better, worse) answers. A group without any would silently count as a comparison with loss 0."""
    better, worse = batch.pairs()
    empty = batch.group_of[better].bincount(minlength=batch.groups) == 0
    if empty.any():
        ids = ", ".join(batch.ids[i] for i in empty.nonzero().flatten().tolist())
        raise UserError(f"objective {name}: no answer is ranked above another in {ids}; drop ties before training.")
    return better, worse


def best(batch: Batch, worse: Tensor) -> Tensor:
    """[A] which ranked answers have no other ranked above them: one per group, or several that are tied."""
    first = batch.rank >= 0
    first[worse] = False
    return first


def mean_over_pairs(values: Tensor, batch: Batch, better: Tensor) -> Tensor:
    """[P] → [G]: the mean over the pairs of each group."""
    group = batch.group_of[better]
    sums = values.new_zeros(batch.groups).index_add(0, group, values)
    return sums / group.bincount(minlength=batch.groups)


def comparison(name: str, score: Tensor, better: Tensor, worse: Tensor) -> Metrics:
    """How well a score per answer agrees with the order; a tie is half right."""
    margin = score[better] - score[worse]
    return {
        f"{name}/chosen": tally(score[better]),
        f"{name}/rejected": tally(score[worse]),
        f"{name}/margin": tally(margin),
        f"{name}/accuracy": tally((margin.sign() + 1) / 2),
    }
