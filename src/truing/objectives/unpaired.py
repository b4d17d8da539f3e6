"""Learning a policy from single answers that were called good or bad: KTO.

    r(x, y) = Σ_t [ln π(y_t) − ln π_ref(y_t)]        z = max(0, mean of r over answers to other prompts)
    L = λ_good (1 − σ(β (r − z)))   for a good answer,      λ_bad (1 − σ(β (z − r)))   for a bad one

(Ethayarajh et al., "KTO", arXiv 2402.01306.) z, how far the policy has gone from the reference wherever it is asked, is
a constant of the step: whoever makes the batch measures it (`reference_point`, one number per answer).
"""

from __future__ import annotations

import torch
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, tally


def kto(beta: float = 0.1, good_weight: float = 1.0, bad_weight: float = 1.0) -> Objective:
    """The weights make up for labels that are rarer on one side."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        gone = batch.per_answer_sum(signals["logps"] - batch.per_token["ref_logps"])
        good = batch.per_answer["label"] > 0
        share = good.to(gone.dtype)
        sign, weight = 2 * share - 1, share * good_weight + (1 - share) * bad_weight
        utility = torch.sigmoid(beta * sign * (gone - batch.per_answer["reference_point"]))
        metrics: Metrics = {"reference_point": tally(batch.per_answer["reference_point"])}
        metrics |= {f"rewards/{name}": tally(beta * gone[side]) for name, side in (("good", good), ("bad", ~good))}
        return weight * (1 - utility), metrics

    reads = frozenset({"ref_logps", "label", "reference_point"})
    return Objective("kto", "answer", frozenset({"logps"}), function, reads)
