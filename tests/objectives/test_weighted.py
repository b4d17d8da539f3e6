"""Golden vectors of the weighted family: three answers of 3, 4 and 3 tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from build import build, close, flat, gradient, mean_loss, means, with_numbers

from truing.batch import Batch, Objective, Signals, UserError
from truing.objectives.weighted import METHODS, NLL, WeightedSettings, advantage, surrogate, weighted

LOGPS = [[-0.5, -1.0, -0.25], [-0.8, -0.6, -1.2, -0.4], [-1.5, -3.1, -0.7]]
REF = [[-0.9, -1.1, -1.0], [-0.7, -0.9, -1.0, -0.5], [-1.2, -0.5, -0.9]]
R, V = [0.9, 0.6, 0.3], [0.4, 0.7, 0.25]


def golden(reward: list[float] = R, baseline: list[float] = V) -> Batch:
    return build([[3], [4], [3]], None, {"ref_logps": REF}, {"reward": reward, "baseline": baseline})


def loss(method: str, **settings: object) -> float:
    return mean_loss(weighted(method, WeightedSettings(**settings)), golden(), logps=flat(LOGPS)).item()


def signed(method: str, length_norm: str) -> Objective:
    return weighted(method, WeightedSettings(length_norm=length_norm), replace(METHODS[method], credit=advantage))


def per_row(*rows: tuple[float, int] | list[float]) -> torch.Tensor:
    return flat([row if isinstance(row, list) else [row[0]] * row[1] for row in rows])


@pytest.mark.parametrize(
    ("method", "summed", "averaged"),
    [
        ("nll", 3.350000, 1.033333),
        ("wbc", 1.655000, 0.501667),
        ("r_gold", 0.622646, 0.185577),
        ("r_lol", 1.713603, 0.515942),
        ("a_lol", 0.563000, 0.187667),
        ("a_lol_ref_free", 0.380000, 0.126667),
        ("a_lol_seq", 0.425617, 0.141872),
    ],
)
def test_G1_losses(method: str, summed: float, averaged: float) -> None:
    close(loss(method), summed)
    close(loss(method, length_norm="mean"), averaged)


def test_G1_losses_unclipped() -> None:
    for method, summed, averaged in [("a_lol", 1.023953, 0.341318), ("a_lol_seq", 0.433330, 0.144443)]:
        close(loss(method, eps=None), summed)
        close(loss(method, eps=None, length_norm="mean"), averaged)


def test_G1_losses_other_eps() -> None:
    close([loss(m, eps=0.2) for m in ("a_lol", "a_lol_seq", "r_lol")], [0.420667, 0.409528, 1.717103])
    close([loss(m, eps=0.0) for m in ("a_lol", "a_lol_seq", "a_lol_ref_free")], [0.38] * 3)


def test_G1_losses_signed_advantage() -> None:
    for method, summed, averaged in [
        ("a_lol", 0.452483, 0.160037),
        ("a_lol_ref_free", 0.280000, 0.101667),
        ("a_lol_seq", 0.327006, 0.117220),
    ]:
        close(mean_loss(signed(method, "sum"), golden(), logps=flat(LOGPS)), summed)
        close(mean_loss(signed(method, "mean"), golden(), logps=flat(LOGPS)), averaged)


def test_G1_losses_kl() -> None:
    """A⁺·nll + β(s − s_ref): the loss leaves out the constant −β·s_ref, the metric has the ratio."""
    batch, beta, ref_sums = golden(), 0.1, torch.tensor([sum(row) for row in REF])
    close(loss("a_lol_kl") - beta * ref_sums.mean(), 0.335)
    close(loss("a_lol_kl", length_norm="mean") - beta * (ref_sums / batch.lengths()).mean(), 0.111389)
    log_ratio = means(weighted("a_lol_kl"), batch, logps=flat(LOGPS))["log_ratio"]
    close([loss("a_lol_ref_free"), beta * log_ratio], [0.38, -0.045])


def test_G2_gradients() -> None:
    expected = {
        "a_lol": per_row((-0.316667, 3), (0, 4), (-0.001667, 3)),
        "a_lol_seq": per_row([-0.248637, -0.184195, -0.316667], (0, 4), [-0.012347, -0.001667, -0.020357]),
        "a_lol_kl": per_row((-0.133333, 3), (0.033333, 4), (0.016667, 3)),
        "r_gold": per_row(
            [-0.181959, -0.110364, -0.233640],
            [-0.089866, -0.109762, -0.060239, -0.134064],
            [-0.022313, -0.010000, -0.049659],
        ),
        "r_lol": per_row((-0.57, 3), (-0.221034, 4), (-0.01, 3)),
    }
    for method, grad in expected.items():
        close(gradient(weighted(method), golden(), "logps", flat(LOGPS)), grad)


def test_G2_kl_is_ref_free_with_shifted_advantage() -> None:
    batch = golden()
    shifted = build([[3], [4], [3]], None, {}, {"reward": [0.4, -0.1, -0.05], "baseline": [0.0] * 3})
    ref_free = weighted("a_lol_ref_free", row=replace(METHODS["a_lol_ref_free"], credit=advantage))
    found = gradient(weighted("a_lol_kl"), batch, "logps", flat(LOGPS))
    close(found, gradient(ref_free, shifted, "logps", flat(LOGPS)), 1e-12)


@pytest.mark.parametrize("eps", [0.0, 0.2, 0.9, None])
def test_G3_step_0_identity(eps: float | None) -> None:
    settings, start = WeightedSettings(eps=eps), with_numbers(golden(), ref_logps=flat(LOGPS))
    for same in [("a_lol", "a_lol_seq", "a_lol_ref_free"), ("r_lol", "wbc")]:
        objectives = [weighted(method, settings) for method in same]
        losses = [mean_loss(o, start, logps=flat(LOGPS)) for o in objectives]
        grads = [gradient(o, start, "logps", flat(LOGPS)) for o in objectives]
        for other_loss, other_grad in zip(losses[1:], grads[1:]):
            close(other_loss, losses[0], 1e-12)
            close(other_grad, grads[0], 1e-12)


def test_G4_invariance_to_the_origin_of_rewards() -> None:
    moved = golden([x + 7 for x in R], [x + 7 for x in V])
    for method in ("a_lol", "a_lol_seq", "a_lol_ref_free", "a_lol_kl"):
        close(mean_loss(weighted(method), moved, logps=flat(LOGPS)), loss(method), 1e-12)
    close(mean_loss(weighted("wbc"), moved, logps=flat(LOGPS)), 25.105)


def test_G5_detach() -> None:
    """The undetached ratio has the opposite sign: it would unlearn the good answer."""
    found = gradient(weighted("a_lol", WeightedSettings(eps=None)), golden(), "logps", flat(LOGPS))
    close(found, per_row((-0.581724, 3), (0, 4), (-0.001120, 3)))

    batch, logps = golden(), flat(LOGPS, grad=True)
    total = batch.per_answer_sum(logps)
    ratio = (total - batch.per_answer_sum(batch.per_token["ref_logps"])).exp()
    wrong = -(torch.tensor([0.5, 0.0, 0.05]) * ratio * total).mean()
    close(torch.autograd.grad(wrong, logps)[0], per_row((0.436293, 3), (0, 4), (0.004816, 3)))


def test_G5_detach_in_the_surrogate() -> None:
    logps = flat(LOGPS, grad=True)
    (grad,) = torch.autograd.grad(surrogate(logps, 2 * logps, golden()).sum(), logps)
    close(grad, -2 * flat(LOGPS))


def test_G6_min_clip_is_another_method() -> None:
    """PPO's min on whole answers stops pulling once the ratio has left the interval; a_lol goes on with 1 + ε."""
    batch, logps = golden(), flat(LOGPS, grad=True)
    ratio = batch.per_answer_sum(logps - batch.per_token["ref_logps"]).exp()
    credit = torch.tensor([0.5, 0.0, 0.05])
    min_clip = -torch.minimum(ratio * credit, ratio.clamp(0.1, 1.9) * credit).mean()
    close(min_clip, -0.317787)
    assert (torch.autograd.grad(min_clip, logps)[0][:3] == 0).all()
    close(gradient(weighted("a_lol"), batch, "logps", flat(LOGPS))[:3], [-0.316667] * 3)


def test_G7_filter_keeps_answers_strictly_above_their_baseline() -> None:
    batch = golden(baseline=[0.4, 0.7, 0.3])
    close(weighted("filtered_nll")(Signals(logps=flat(LOGPS)), batch)[0], [1.75, 0.0, 0.0])


def test_sft_is_a_mean_over_tokens() -> None:
    close(mean_loss(NLL, golden(), logps=flat(LOGPS)), 10.05 / 10)


def test_truncation_is_counted_per_token() -> None:
    found = means(weighted("a_lol"), golden(), logps=flat(LOGPS))
    close([found["importance/at_lower"], found["importance/at_upper"]], [0.3, 0.3])
    found = means(weighted("a_lol_seq"), golden(), logps=flat(LOGPS))
    close([found["importance/at_lower"], found["importance/at_upper"]], [0.1, 0.1])


@pytest.mark.parametrize("method", METHODS)
def test_a_row_reads_exactly_what_it_says(method: str) -> None:
    row, full = METHODS[method], golden()
    only = build(
        [[3], [4], [3]],
        None,
        {k: v for k, v in full.per_token.items() if k in row.reads},
        {k: v for k, v in full.per_answer.items() if k in row.reads},
    )
    close(mean_loss(weighted(method), only, logps=flat(LOGPS)), mean_loss(weighted(method), full, logps=flat(LOGPS)))
    for name in row.reads:
        lacking = replace(only, per_token=dict(only.per_token), per_answer=dict(only.per_answer))
        lacking.per_token.pop(name, None)
        lacking.per_answer.pop(name, None)
        with pytest.raises(UserError, match=rf"{method} reads {name}\b"):
            mean_loss(weighted(method), lacking, logps=flat(LOGPS))


def test_unknown_method_is_a_sentence() -> None:
    with pytest.raises(UserError, match="'alol' is not a weighted method; there are nll, filtered_nll"):
        weighted("alol")
