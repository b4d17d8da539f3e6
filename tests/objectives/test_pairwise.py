"""DPO on two pairs, its gradient as weights on ln π, and groups of more than two answers."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, close, everything, flat, gradient, mean_loss, means, select

from truing.batch import Batch, Signals, UserError
from truing.objectives import dpo, surrogate

# Sums over the answers: chosen −1.75, −3.0; rejected −5.3, −2.2 (and the reference's −3.0, −3.1; −2.6, −2.4).
LOGPS = [[-0.5, -1.25], [-5.3], [-1.0, -0.5, -1.5], [-2.0, -0.2]]
REF = [[-1.0, -2.0], [-2.6], [-1.1, -1.0, -1.0], [-1.2, -1.2]]


def golden() -> Batch:
    return build([[2, 1], [3, 2]], [0, 1, 0, 1], {"ref_logps": REF})


def test_G9_dpo() -> None:
    losses, _ = dpo(0.1)(Signals(logps=flat(LOGPS)), golden())
    close(losses, [0.515025, 0.698160])
    close(mean_loss(dpo(0.1), golden(), logps=flat(LOGPS)), 0.606592)
    found = means(dpo(0.1), golden(), logps=flat(LOGPS))
    close([found["rewards/chosen"], found["rewards/rejected"]], [(0.125 + 0.010) / 2, (-0.270 + 0.020) / 2])
    close([found["rewards/accuracy"], found["rewards/margin"]], [0.5, 0.1 * (3.95 - 0.1) / 2])
    close([found["logps/chosen"], found["logps/rejected"]], [-2.375, -3.75])
    w1, w2 = -0.020126, -0.025125
    expected = flat([[w1] * 2, [-w1], [w2] * 3, [-w2] * 2])
    close(gradient(dpo(0.1), golden(), "logps", flat(LOGPS)), expected)


def test_G9_dpo_ref_free() -> None:
    objective = dpo(0.1, reference=False)
    losses, _ = objective(Signals(logps=flat(LOGPS)), build([[2, 1], [3, 2]], [0, 1, 0, 1]))
    close(losses, [0.531318, 0.733947])
    close(losses.mean(), 0.632633)


def test_starts_at_ln_2() -> None:
    found = means(dpo(), golden(), logps=flat(REF))
    close(mean_loss(dpo(), golden(), logps=flat(REF)), math.log(2), 1e-12)
    assert found["rewards/accuracy"] == 0.5


def test_gradient_is_the_surrogate_with_pair_weights() -> None:
    batch, beta, logps = golden(), 0.1, flat(LOGPS, grad=True)
    implicit = beta * batch.per_answer_sum(logps.detach() - batch.per_token["ref_logps"])
    pull = beta * torch.sigmoid(implicit[1::2] - implicit[::2])
    weight = torch.stack([pull, -pull], 1).flatten()[batch.answer_of]
    surrogate_grad = torch.autograd.grad(surrogate(logps, weight, batch).sum() / batch.groups, logps)[0]
    close(gradient(dpo(beta), batch, "logps", flat(LOGPS)), surrogate_grad, 1e-12)


def test_swap_symmetry() -> None:
    """The order of the answers in a group means nothing, their ranks everything; smoothing 1 is the opposite order."""
    batch, logps = golden(), flat(LOGPS)
    swapped, signals, _ = select(batch, Signals(logps=logps), [[1, 0], [3, 2]])
    close(dpo()(signals, swapped)[0], dpo()(Signals(logps=logps), batch)[0], 1e-12)
    opposite = build([[2, 1], [3, 2]], [1, 0, 1, 0], {"ref_logps": REF})
    smoothed = dpo(label_smoothing=1.0)(Signals(logps=logps), batch)[0]
    close(dpo()(Signals(logps=logps), opposite)[0], smoothed, 1e-12)


def test_label_smoothing_is_minimal_at_the_assumed_noise() -> None:
    """With a share q of flipped labels the best margin is ln((1 − q)/q)."""
    q, beta = 0.2, 0.1
    batch = build([[1, 1]], [0, 1], {"ref_logps": [[0.0], [0.0]]})
    logps = flat([[math.log((1 - q) / q) / beta - 50], [-50.0]])
    close(gradient(dpo(beta, label_smoothing=q), batch, "logps", logps), [0.0, 0.0], 1e-12)


def test_a_group_counts_once_whatever_its_size() -> None:
    batch, signals = everything([[2, 3, 1, 2]], [0, 2, 1, 1], seed=3)
    pairs = [(0, 1), (0, 2), (0, 3), (2, 1), (3, 1)]  # 2 and 3 are tied
    alone = [dpo()(s, b)[0] for b, s, _ in (select(batch, signals, [pair]) for pair in pairs)]
    close(dpo()(signals, batch)[0], torch.cat(alone).mean()[None], 1e-12)


def test_a_group_of_ties_is_named() -> None:
    batch, signals = everything([[1, 1], [2, 2]], [0, 1, 0, 0])
    with pytest.raises(UserError, match=r"dpo: no answer is ranked above another in example-1; drop ties"):
        dpo()(signals, batch)
