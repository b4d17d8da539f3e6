"""What must hold for all of them: shapes, gradients, and that only what they say they read can matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from build import F64, build, close, everything, select

from truing.batch import Batch, Objective, Signals, UserError
from truing.objectives import (
    BINARY,
    FULL_KL,
    METHODS,
    NLL,
    TOPK_RENORMALISED,
    TOPK_REST,
    WeightedSettings,
    clipped_policy,
    clipped_value,
    dpo,
    entropy,
    kl_penalty,
    kto,
    plackett_luce,
    pro,
    ranked,
    weighted,
)

GROUPS, RANK = [[2, 3], [1, 2, 4, 1], [3, 1, 2]], [1, 0, 0, 2, 1, 1, 2, -1, 0]
ALL = {
    "nll_per_token": NLL,
    **{name: weighted(name) for name in METHODS},
    "a_lol_per_token_mean": weighted("a_lol", WeightedSettings(length_norm="mean")),
    "dpo": dpo(),
    "dpo_smoothed": dpo(label_smoothing=0.1),
    "dpo_ref_free": dpo(reference=False),
    "kto": kto(bad_weight=1.5),
    "pro": pro(),
    "plackett_luce_scores": plackett_luce(),
    "plackett_luce_logps": plackett_luce("logps"),
    "ranked": ranked(margin=True, lm_weight=0.5),
    "binary": BINARY,
    "policy": clipped_policy(dual=3.0),
    "value": clipped_value(),
    "kl_penalty": kl_penalty(),
    "entropy": entropy(),
    "entropy_target": entropy(target=50.0),
    "topk_rest": TOPK_REST,
    "topk_renormalised": TOPK_RENORMALISED,
    "full_kl": FULL_KL,
}
# Their weights are functions of ln π that are not differentiated, on purpose.
DETACHED = {"r_gold", "r_lol", "a_lol", "a_lol_seq", "a_lol_per_token_mean"}
every = pytest.mark.parametrize("objective", ALL.values(), ids=ALL.keys())


def test_the_list_is_complete() -> None:
    import truing.objectives as room

    made = {o.name for o in ALL.values()}
    constants = {getattr(room, name).name for name in room.__all__ if isinstance(getattr(room, name), Objective)}
    assert constants | METHODS.keys() <= made


def only_needed(objective: Objective, batch: Batch, signals: Signals) -> tuple[Batch, Signals]:
    kept = {
        k: {n: v for n, v in getattr(batch, k).items() if n in objective.reads} for k in ("per_token", "per_answer")
    }
    groups = {n: v for n, v in batch.per_group.items() if n in objective.reads}
    return replace(batch, **kept, per_group=groups), Signals(**{n: getattr(signals, n) for n in objective.needs})


@every
def test_one_loss_per_unit_from_what_it_declares(objective: Objective) -> None:
    batch, signals = everything(GROUPS, RANK)
    losses, metrics = objective(*reversed(only_needed(objective, batch, signals)))
    assert losses.shape == (batch.count(objective.unit),) and losses.isfinite().all()
    close(losses, objective(signals, batch)[0], 0.0)
    assert metrics
    for total, count in metrics.values():
        assert total.shape == () and not total.requires_grad and total.isfinite() and int(count) > 0


@every
def test_a_missing_number_is_named(objective: Objective) -> None:
    batch, signals = everything(GROUPS, RANK)
    batch, signals = only_needed(objective, batch, signals)
    for name in objective.reads:
        lacking = replace(
            batch,
            **{
                kind: {n: v for n, v in getattr(batch, kind).items() if n != name}
                for kind in ("per_token", "per_answer", "per_group")
            },
        )
        with pytest.raises(UserError, match=rf"objective {objective.name} reads {name}, which"):
            objective(signals, lacking)


@every
def test_a_missing_signal_is_named(objective: Objective) -> None:
    batch, signals = everything(GROUPS, RANK)
    for name in objective.needs:
        with pytest.raises(ValueError, match=f"not asked for '{name}'"):
            objective(replace(signals, **{name: None}), batch)


@every
def test_G4_permutation_and_junk(objective: Objective) -> None:
    """Other groups, other order, other answers' order, other tokens in the batch: the same loss for the same unit."""
    batch, signals = everything(GROUPS, RANK)
    losses, _ = objective(signals, batch)
    shuffled = [[8, 6, 7], [1, 0], [4, 5, 2, 3]]
    other, moved, at = select(batch, signals, shuffled)
    close(objective(moved, other)[0], losses[at[objective.unit]], 1e-12)


@every
def test_groups_can_be_split_over_batches(objective: Objective) -> None:
    batch, signals = everything(GROUPS, RANK)
    whole = objective(signals, batch)[0].sum()
    parts = [select(batch, signals, [group]) for group in ([0, 1], [2, 3, 4, 5], [6, 7, 8])]
    close(sum(objective(s, b)[0].sum() for b, s, _ in parts), whole, 1e-12)


@pytest.mark.parametrize("name", sorted(ALL.keys() - DETACHED))
def test_gradients(name: str) -> None:
    objective = ALL[name]
    batch, signals = everything(GROUPS, RANK)
    for signal in objective.needs:

        def losses(at: torch.Tensor, signal: str = signal) -> torch.Tensor:
            return objective(replace(signals, **{signal: at}), batch)[0]

        assert torch.autograd.gradcheck(losses, getattr(signals, signal).clone().requires_grad_())


@pytest.mark.parametrize("name", sorted(DETACHED))
def test_detached_weights(name: str) -> None:
    """The loss is linear in ln π with constant weights: L = Σ (∂L/∂ln π) · ln π."""
    batch, signals = everything(GROUPS, RANK)
    logps = signals["logps"].clone().requires_grad_()
    losses, _ = ALL[name](replace(signals, logps=logps), batch)
    (grad,) = torch.autograd.grad(losses.sum(), logps)
    close((grad * logps).sum().detach(), losses.sum().detach(), 1e-12)


def test_single_precision_stays_single() -> None:
    """fp32 signals beside fp32 numbers, as an engine hands them over."""
    batch, signals = everything(GROUPS, RANK)

    def single(x: torch.Tensor) -> torch.Tensor:
        return x.float() if x.dtype == F64 else x

    batch = replace(
        batch,
        per_token={k: single(v) for k, v in batch.per_token.items()},
        per_answer={k: single(v) for k, v in batch.per_answer.items()},
        per_group={k: single(v) for k, v in batch.per_group.items()},
    )
    signals = Signals(
        **{n: single(getattr(signals, n)) for n in ("logps", "entropy", "values", "scores", "logps_at", "dist")}
    )
    for objective in ALL.values():
        assert objective(signals, batch)[0].dtype == torch.float32


def test_build_makes_what_it_says() -> None:
    batch = build([[2, 1], [3]], [0, 1, -1], {"x": [[1, 2], [3], [4, 5, 6]]})
    assert batch.answer_of.tolist() == [0, 0, 1, 2, 2, 2] and batch.group_of.tolist() == [0, 0, 1]
    assert batch.lengths().tolist() == [2, 1, 3] and (batch.answers, batch.groups) == (3, 2)
    close(batch.per_answer_sum(batch.per_token["x"]), [3.0, 3.0, 15.0])
