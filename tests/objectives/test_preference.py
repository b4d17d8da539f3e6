"""The preference score: pair loss, LM term, margin, absolute classes."""

from __future__ import annotations

import math

import torch
from build import build, close, flat, gradient, mean_loss, means

from truing.batch import Signals
from truing.objectives import BINARY, ranked


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_T9_rm_loss() -> None:
    batch = build([[1, 1]] * 3, [0, 1] * 3)
    found = scores(1.0, 0.0, -0.5, 0.0, -6.0, 6.0)
    losses, _ = ranked()(Signals(scores=found), batch)
    close(losses, [0.313262, 0.974077, 12.000006])
    close(losses.mean(), 4.429115)
    # Badly wrong pairs keep their full gradient; a constant inside the logarithm would fade it to −0.38.
    close(3 * gradient(ranked(), batch, "scores", found)[::2], [-0.268941, -0.622459, -0.999994])


def test_T9_rm_loss_with_lm_term() -> None:
    """β_rm = 1 and a token-mean NLL of 1.8 on the preferred answers only."""
    batch = build([[2, 1]] * 3, [0, 1] * 3)
    logps = flat([[-1.0, -2.6], [-50.0]] * 3)
    found = scores(1.0, 0.0, -0.5, 0.0, -6.0, 6.0)
    close(mean_loss(ranked(lm_weight=1.0), batch, scores=found, logps=logps), 6.229115)
    close(gradient(ranked(lm_weight=1.0), batch, "logps", logps, scores=found), flat([[-1 / 6] * 2, [0.0]] * 3))


def test_starts_at_ln_2() -> None:
    batch = build([[1, 1], [1, 1, 1]], [0, 1, 2, 0, 1])
    close(ranked()(Signals(scores=torch.zeros(5, dtype=torch.float64)), batch)[0], [math.log(2)] * 2, 1e-12)


def test_loss_is_minus_log_win_probability() -> None:
    """One unit of score is 73.1 %, 0.28 units 57 %."""
    for gap, chance in [(1.0, 0.731), (0.28, 0.570)]:
        loss = mean_loss(ranked(), build([[1, 1]], [1, 0]), scores=scores(0.0, gap))
        close((-loss).exp(), chance, 5e-4)


def test_only_differences_count() -> None:
    batch = build([[1, 1, 1], [1, 1]], [2, 0, 1, 0, 1])
    found, moved = scores(0.3, 1.0, -0.2, 0.5, 0.7), scores(0.3, 1.0, -0.2, 0.5, 0.7) + scores(4, 4, 4, -9, -9)
    close(ranked()(Signals(scores=moved), batch)[0], ranked()(Signals(scores=found), batch)[0], 1e-12)


def test_margin_is_what_the_gap_must_exceed() -> None:
    batch = build([[1, 1], [1, 1]], [0, 1, 1, 0], None, None, {"margin": [0.5, 2.0]})
    losses, _ = ranked(margin=True)(Signals(scores=scores(0.5, 0.0, 0.0, 1.0)), batch)
    close(losses, [math.log(2), math.log1p(math.exp(1.0))], 1e-12)


def test_metrics() -> None:
    """Pairs: won, lost, tied (half)."""
    found = means(ranked(), build([[1, 1]] * 3, [0, 1] * 3), scores=scores(2.0, 0.0, -1.0, 0.0, 0.5, 0.5))
    close(found["score/accuracy"], 0.5)
    close([found["score/chosen"], found["score/rejected"], found["score/margin"]], [0.5, 0.5 / 3, 1.0 / 3])


def test_binary_is_absolute() -> None:
    batch = build([[1], [1], [1, 1]], None, None, {"label": [1, 0, 1, 0]})
    found = scores(1.0, 1.0, -2.0, 0.0)
    losses, _ = BINARY(Signals(scores=found), batch)
    close(losses, [0.313262, 1.313262, 2.126928, 0.693147])
    measured = means(BINARY, batch, scores=found)
    close([measured["score/accuracy"], measured["score/good"], measured["score/bad"]], [1.5 / 4, -0.5, 0.5])


def test_binary_of_a_pair_is_the_sum_of_both_verdicts() -> None:
    batch = build([[1, 1]], None, None, {"label": [1, 0]})
    close(
        2 * mean_loss(BINARY, batch, scores=scores(0.7, -0.4)), math.log1p(math.exp(-0.7)) + math.log1p(math.exp(-0.4))
    )
