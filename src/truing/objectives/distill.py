"""Learning a teacher's distribution: context distillation, and distillation in general.

    top-k and rest   L_t = Σ_{i∈S} q_i (ln q_i − ln p_i) + q_rest (ln q_rest − ln p_rest)

with S the teacher's k likeliest tokens and one bucket for everything else (Askell et al., arXiv 2112.00861; Bai et
al., arXiv 2204.05862). By the data-processing inequality it is never above the full KL(q ‖ p), which small
vocabularies can afford. Renormalising over S is a different method, here as a contrast: it says nothing about the
mass the student puts outside S.
"""

from __future__ import annotations

import torch
from torch import Tensor

from truing.batch import Batch, Metrics, Objective, Signals, tally

SMALLEST_REST = 1e-8


def _topk_rest(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
    teacher, student = _stored(batch, "teacher_logps"), signals["logps_at"]
    teacher_rest, student_rest = _log_rest(teacher), _log_rest(student)
    losses = _kl(torch.cat([teacher, teacher_rest], 1), torch.cat([student, student_rest], 1))
    return losses, {"kl": tally(losses)} | _tail_mass(teacher_rest, student_rest)


def _topk_renormalised(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
    teacher, student = _stored(batch, "teacher_logps"), signals["logps_at"]
    losses = _kl(teacher.log_softmax(1), student.log_softmax(1))
    return losses, {"kl": tally(losses)} | _tail_mass(_log_rest(teacher), _log_rest(student))


def _full_kl(signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
    losses = _kl(_stored(batch, "teacher_dist"), signals["dist"])
    return losses, {"kl": tally(losses)}


def _stored(batch: Batch, name: str) -> Tensor:
    """A teacher may be kept in half precision; sums over it may not be."""
    stored = batch.per_token[name]
    return stored.float() if stored.dtype in (torch.float16, torch.bfloat16) else stored


def _kl(teacher: Tensor, student: Tensor) -> Tensor:
    """[N, K] log-probabilities → [N] KL(teacher ‖ student); what the teacher rules out costs nothing."""
    return torch.where(teacher.isneginf(), 0.0, teacher.exp() * (teacher - student)).sum(1)


def _log_rest(logps: Tensor) -> Tensor:
    """[N, K] → [N, 1] ln(1 − Σ_K p), for a rest of at least SMALLEST_REST: rounding can make the sum exceed 1."""
    return torch.log(-torch.expm1(logps.logsumexp(1, keepdim=True).clamp(max=-SMALLEST_REST)))


def _tail_mass(teacher_rest: Tensor, student_rest: Tensor) -> Metrics:
    return {"rest/teacher": tally(teacher_rest.exp()), "rest/student": tally(student_rest.exp())}


_TOPK = (frozenset({"logps_at"}), frozenset({"ids_at", "teacher_logps"}))

# The data carry log-probabilities: "teacher_logps" [N, K] at the ids "ids_at" [N, K], or all of "teacher_dist" [N, V].
TOPK_REST = Objective("topk_rest", "token", _TOPK[0], _topk_rest, _TOPK[1])
TOPK_RENORMALISED = Objective("topk_renormalised", "token", _TOPK[0], _topk_renormalised, _TOPK[1])
FULL_KL = Objective("full_kl", "token", frozenset({"dist"}), _full_kl, frozenset({"teacher_dist"}))
