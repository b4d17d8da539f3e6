"""Learning a preference score: the scalar read at the end of an answer.

    ranked   L = −ln σ(r(y_w) − r(y_l) − m) + λ · NLL(y_w)     P(w ≻ l) = σ(r_w − r_l), so r has no absolute zero
    binary   L = −ln σ(r(y)) for a good answer, −ln σ(−r(y)) for a bad one: zero is the border between the classes

(Askell et al., arXiv 2112.00861; Bai et al., arXiv 2204.05862; the LM term as in Zheng et al., arXiv 2307.04964.)
With a zero head every ranked loss starts at ln 2.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, tally
from truing.objectives.pairwise import best, comparison, mean_over_pairs, pairs


def ranked(margin: bool = False, lm_weight: float = 0.0, weighted: bool = False) -> Objective:
    """Pairs, averaged in each group. `margin`: win by per_group["margin"]; `lm_weight`: imitate the best answer too;
    `weighted`: a group's loss counts per_group["weight"] times (L = L_helpful + λ L_harmless, say)."""

    def function(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        better, worse = pairs(batch, "ranked")
        score = signals["scores"]
        gap = score[better] - score[worse]
        if margin:
            gap = gap - batch.per_group["margin"][batch.group_of[better]]
        losses = mean_over_pairs(-F.logsigmoid(gap), batch, better)
        metrics = comparison("score", score, better, worse) | {"preference": tally(losses)}
        if lm_weight:
            first = best(batch, worse).to(score.dtype)
            total = batch.per_group_sum(first * batch.per_answer_sum(signals["logps"]))
            nll = -total / batch.per_group_sum(first * batch.lengths())
            losses, metrics = losses + lm_weight * nll, metrics | {"nll_best": tally(nll)}
        return losses * batch.per_group["weight"] if weighted else losses, metrics

    needs = frozenset({"scores", "logps"} if lm_weight else {"scores"})
    reads = {name for name, read in (("margin", margin), ("weight", weighted)) if read}
    return Objective("ranked", "group", needs, function, frozenset(reads))


def _binary(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
    score, good = signals["scores"], batch.per_answer["label"] > 0
    right = ((score.sign() + 1) / 2).where(good, (1 - score.sign()) / 2)
    metrics: Metrics = {
        "score/accuracy": tally(right),
        "score/good": tally(score[good]),
        "score/bad": tally(score[~good]),
    }
    return -F.logsigmoid(score.where(good, -score)), metrics


# per_answer["label"]: 1 for a good answer, 0 for a bad one; no comparison needed.
BINARY = Objective("binary", "answer", frozenset({"scores"}), _binary, frozenset({"label"}))
