"""Distillation from the k likeliest tokens and one bucket for the rest."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, close, gradient, mean_loss, means

from truing.batch import Batch
from truing.objectives import FULL_KL, TOPK_RENORMALISED, TOPK_REST


def distributions(tokens: int = 6, vocabulary: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    both = 2 * torch.randn(2, tokens, vocabulary, generator=draw, dtype=torch.float64)
    teacher, student = both.log_softmax(2)
    return teacher, student


def stored(teacher: torch.Tensor, k: int) -> Batch:
    top, ids = teacher.topk(k, dim=1)
    return build([[len(teacher)]], None, {"ids_at": ids, "teacher_logps": top, "teacher_dist": teacher})


def test_by_hand() -> None:
    teacher = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64).log()
    student = torch.tensor([[0.4, 0.2, 0.3, 0.1]], dtype=torch.float64).log()
    expected = 0.5 * math.log(0.5 / 0.4) + 0.3 * math.log(0.3 / 0.2) + 0.2 * math.log(0.2 / 0.4)
    close(mean_loss(TOPK_REST, stored(teacher, 2), logps_at=student[:, :2]), expected, 1e-12)
    expected = 0.625 * math.log(0.625 / (2 / 3)) + 0.375 * math.log(0.375 / (1 / 3))
    close(mean_loss(TOPK_RENORMALISED, stored(teacher, 2), logps_at=student[:, :2]), expected, 1e-12)
    found = means(TOPK_REST, stored(teacher, 2), logps_at=student[:, :2])
    close([found["rest/teacher"], found["rest/student"]], [0.2, 0.4], 1e-12)


def test_full_kl_is_the_exact_one() -> None:
    teacher, student = distributions()
    exact = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=teacher), torch.distributions.Categorical(logits=student)
    )
    close(mean_loss(FULL_KL, stored(teacher, 1), dist=student), exact.mean(), 1e-12)


def test_topk_is_a_lower_bound_that_rises_to_the_full_kl() -> None:
    teacher, student = distributions()
    bounds = []
    for k in range(1, 9):
        batch = stored(teacher, k)
        bounds.append(mean_loss(TOPK_REST, batch, logps_at=student.gather(1, batch.per_token["ids_at"])).item())
    full = mean_loss(FULL_KL, stored(teacher, 1), dist=student).item()
    assert bounds == sorted(bounds) and bounds[0] >= 0
    close(bounds[-1], full, 1e-12)  # eight of nine tokens and a rest of one: nothing is left out
    assert bounds[2] < full


def test_gradient_vanishes_at_the_teacher_and_only_there() -> None:
    teacher, _ = distributions()
    batch, start = stored(teacher, 3), torch.zeros_like(teacher)
    for logits, zero in [(teacher, True), (start, False)]:
        logits = logits.clone().requires_grad_()
        at = logits.log_softmax(1).gather(1, batch.per_token["ids_at"])
        (grad,) = torch.autograd.grad(mean_loss(TOPK_REST, batch, logps_at=at), logits)
        assert bool(grad.abs().max() < 1e-12) is zero


def test_renormalising_does_not_see_the_mass_outside() -> None:
    """A student with the right proportions inside the top k but half of its mass elsewhere."""
    teacher, _ = distributions()
    batch = stored(teacher, 3)
    drifted = batch.per_token["teacher_logps"] + math.log(0.5)
    close(mean_loss(TOPK_RENORMALISED, batch, logps_at=drifted), 0.0, 1e-12)
    assert mean_loss(TOPK_REST, batch, logps_at=drifted) > 0.1


def test_impossible_tokens_of_the_teacher_cost_nothing() -> None:
    teacher = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64).log()
    student = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    close(mean_loss(FULL_KL, stored(teacher, 2), dist=student), 0.5 * math.log(2), 1e-12)
    assert gradient(FULL_KL, stored(teacher, 2), "dist", student).isfinite().all()


def test_a_teacher_stored_in_half_precision() -> None:
    teacher, student = distributions()
    batch, half = stored(teacher, 8), stored(teacher.half(), 8)
    at = student.gather(1, batch.per_token["ids_at"]).float()
    close(mean_loss(TOPK_REST, half, logps_at=at), mean_loss(TOPK_REST, batch, logps_at=at), 2e-3)


@pytest.mark.parametrize("logit", [20.0, 200.0])
def test_a_certain_student_stays_finite_in_single_precision(logit: float) -> None:
    teacher, _ = distributions()
    batch = stored(teacher.float(), 3)
    logits = torch.zeros(teacher.shape, dtype=torch.float32)
    logits.scatter_(1, batch.per_token["ids_at"][:, :1], logit).requires_grad_()
    loss = mean_loss(TOPK_REST, batch, logps_at=logits.log_softmax(1).gather(1, batch.per_token["ids_at"]))
    (grad,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite() and grad.isfinite().all()
