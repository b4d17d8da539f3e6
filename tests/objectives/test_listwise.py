"""PRO on the golden answers, Plackett–Luce against the definition."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from build import build, close, everything, flat, gradient, mean_loss, means

from truing.batch import Batch, Signals
from truing.objectives import dpo, plackett_luce, pro, ranked, surrogate

LOGPS = [[-0.5, -1.0, -0.25], [-0.8, -0.6, -1.2, -0.4], [-1.5, -3.1, -0.7]]
REWARD = [2.0, 0.5, -1.0]


def golden(n: int) -> Batch:
    return build([[3, 4, 3][:n]], [0, 1, 2][:n], None, {"reward": REWARD[:n]})


def test_G10_pro_pair() -> None:
    logps, batch = flat(LOGPS[:2]), golden(2)
    found = means(pro(), batch, logps=logps)
    close([found["ranking"], 0.05 * found["nll_best"]], [0.575939, 0.0875])
    close(mean_loss(pro(), batch, logps=logps), 0.663439)
    grad = gradient(pro(sft_weight=0.0), batch, "logps", logps)
    close(batch.per_answer_sum(grad), [-0.656735, 0.656735])  # each token carries dL/dσ divided by the length
    close(grad[0] * 3, -0.656735)


def test_G10_pro_list() -> None:
    logps, batch = flat(LOGPS), golden(3)
    close(mean_loss(pro(sft_weight=0.0), batch, logps=logps), 1.260565)
    close(mean_loss(pro(), batch, logps=logps), 1.610565)


def test_pro_pair_is_a_softplus() -> None:
    logps = flat(LOGPS[:2])
    gap = 1.5 * (-1.75 / 3 + 3.0 / 4)
    close(mean_loss(pro(0.0), golden(2), logps=logps), torch.nn.functional.softplus(torch.tensor(-gap)))


def test_pro_gradient_is_the_surrogate_with_rank_weights() -> None:
    batch, logps = golden(3), flat(LOGPS, grad=True)
    sigma = [sum(row) / len(row) for row in LOGPS]
    pull = [-0.05 * 4.0, 0.0, 0.0]  # dL/ds: imitation of the best, (n − 1)² = 4
    for k in range(2):
        tau = {j: REWARD[k] - REWARD[j] for j in range(k + 1, 3)}
        tau[k] = max(tau.values())
        chance = torch.tensor([sigma[j] * tau[j] for j in sorted(tau)]).softmax(0).tolist()
        for j, p in zip(sorted(tau), chance):
            pull[j] += tau[j] * (p - (j == k)) / len(LOGPS[j])
    losses = surrogate(logps, -torch.tensor(pull, dtype=torch.float64)[batch.answer_of], batch)
    close(gradient(pro(), batch, "logps", flat(LOGPS)), torch.autograd.grad(losses.sum(), logps)[0])


def test_plackett_luce_is_a_distribution_over_orders() -> None:
    scores = torch.tensor([0.3, -1.2, 0.8, 0.1], dtype=torch.float64)
    chances = []
    for order in permutations(range(4)):
        rank = [order.index(answer) for answer in range(4)]
        chances.append((-mean_loss(plackett_luce(), build([[1, 1, 1, 1]], rank), scores=scores)).exp())
    close(torch.stack(chances).sum(), 1.0, 1e-12)
    by_hand = torch.tensor(1.0, dtype=torch.float64)
    for k in range(4):
        by_hand = by_hand * scores[k:].softmax(0)[0]
    close(chances[0], by_hand, 1e-12)


def test_plackett_luce_of_two_is_the_pair_loss() -> None:
    batch, signals = everything([[2, 1], [1, 3]], [0, 1, 1, 0])
    close(plackett_luce()(signals, batch)[0], ranked()(signals, batch)[0], 1e-12)
    for reference in (True, False):
        lists = plackett_luce("logps", 0.2, reference)(signals, batch)[0]
        close(lists, dpo(0.2, reference=reference)(signals, batch)[0], 1e-12)


def test_tied_answers_are_no_rivals() -> None:
    """1 ≻ {0, 2}: one choice among three, and none between the tied ones."""
    scores = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)
    found = plackett_luce()(Signals(scores=scores), build([[1, 1, 1]], [1, 0, 1]))[0]
    close(found, -scores.log_softmax(0)[1:2], 1e-12)


def test_unranked_answers_take_no_part() -> None:
    batch, signals = everything([[2, 1, 3]], [1, -1, 0])
    small = build([[2, 3]], [1, 0], {}, {"reward": batch.per_answer["reward"][[0, 2]]})
    keep = batch.answer_of != 1
    found = pro()(Signals(logps=signals.logps[keep]), small)[0]
    close(pro()(signals, batch)[0], found, 1e-12)


@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_large_scores_stay_finite(scale: float) -> None:
    scores = scale * torch.tensor([-5.0, 0.0, 5.0])
    losses, _ = plackett_luce()(Signals(scores=scores.requires_grad_()), build([[1, 1, 1]], [0, 1, 2]))
    (grad,) = torch.autograd.grad(losses.sum(), scores)
    assert losses.isfinite().all() and grad.isfinite().all()
