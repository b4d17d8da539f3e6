"""Batches and signals made directly from numbers: objectives are tested without a model and without text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from truing.batch import Batch, Objective, Signals

F64 = torch.float64


def flat(rows: Sequence[Sequence[float]], grad: bool = False) -> Tensor:
    """One row of numbers per answer → a flat vector over tokens."""
    return torch.tensor([x for row in rows for x in row], dtype=F64, requires_grad=grad)


def build(
    groups: Sequence[Sequence[int]],
    rank: Sequence[int] | None = None,
    per_token: Mapping[str, Any] | None = None,
    per_answer: Mapping[str, Any] | None = None,
    per_group: Mapping[str, Any] | None = None,
) -> Batch:
    """`groups` holds, for each group, the number of trained tokens of each of its answers.

    Numbers per token may be given as one row per answer. Tokens and positions are junk: no objective may look.
    """
    lengths = [length for group in groups for length in group]
    ends = torch.tensor(lengths).cumsum(0)
    tokens = int(ends[-1])
    return Batch(
        layout="tree",
        tokens=torch.randint(0, 99, (1, tokens + 5)),
        positions=torch.randint(0, 99, (1, tokens + 5)),
        spans=[],
        source=torch.randint(0, 99, (tokens,)),
        own=torch.randint(0, 99, (tokens,)),
        target=torch.randint(0, 99, (tokens,)),
        answer_of=torch.repeat_interleave(torch.tensor(lengths)),
        end=ends,
        group_of=torch.tensor([g for g, group in enumerate(groups) for _ in group]),
        rank=torch.tensor(rank if rank is not None else [-1] * len(lengths)),
        groups=len(groups),
        ids=[f"example-{g}" for g in range(len(groups))],
        per_token={k: _numbers(flat(v) if isinstance(v, list) else v) for k, v in (per_token or {}).items()},
        per_answer={k: _numbers(v) for k, v in (per_answer or {}).items()},
        per_group={k: _numbers(v) for k, v in (per_group or {}).items()},
    )


def _numbers(values: Any) -> Tensor:
    return values if isinstance(values, Tensor) else torch.tensor(values, dtype=F64)


def everything(groups: Sequence[Sequence[int]], rank: Sequence[int], seed: int = 0) -> tuple[Batch, Signals]:
    """A random batch with every number an objective may read, and every signal it may need."""
    draw = torch.Generator().manual_seed(seed)
    tokens, answers = sum(map(sum, groups)), sum(map(len, groups))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=F64)

    def logps(*shape: int) -> Tensor:
        return -normal(*shape).abs() - 0.1

    vocabulary = 7
    teacher, student = normal(tokens, vocabulary).log_softmax(1), normal(tokens, vocabulary).log_softmax(1)
    top, ids = teacher.topk(3, dim=1)
    old = logps(tokens)
    batch = build(
        groups,
        rank,
        per_token={
            "ref_logps": old + 0.3 * normal(tokens),
            "old_logps": old,
            "advantage": normal(tokens),
            "returns": normal(tokens),
            "old_values": normal(tokens),
            "ids_at": ids,
            "teacher_logps": top,
            "teacher_dist": teacher,
        },
        per_answer={
            "reward": normal(answers).abs(),
            "baseline": normal(answers) * 0.3,
            "label": (normal(answers) > 0).to(F64),
            "reference_point": torch.full((answers,), 0.2, dtype=F64),
        },
        per_group={"margin": normal(len(groups)).abs()},
    )
    signals = Signals(
        logps=old + 0.3 * normal(tokens),
        entropy=normal(tokens).abs(),
        values=normal(tokens),
        scores=normal(answers),
        logps_at=student.gather(1, ids),
        dist=student,
    )
    return batch, signals


def select(batch: Batch, signals: Signals, groups: Sequence[Sequence[int]]) -> tuple[Batch, Signals, dict[str, Tensor]]:
    """Some groups with some of their answers, in the given order: answer numbers of the batch, group by group.

    Also returns where each unit of the result stood in the original.
    """
    answers = torch.tensor([a for group in groups for a in group])
    tokens = torch.cat([(batch.answer_of == a).nonzero().flatten() for a in answers])
    whole = torch.stack([batch.group_of[group[0]] for group in groups])
    at = {"token": tokens, "answer": answers, "group": whole}
    kinds = {f.name: "answer" if f.name == "scores" else "token" for f in fields(Signals)}
    present = {n: getattr(signals, n)[at[kind]] for n, kind in kinds.items() if getattr(signals, n) is not None}
    chosen = build(
        [[int(batch.lengths()[a]) for a in group] for group in groups],
        batch.rank[answers].tolist(),
        {k: v[tokens] for k, v in batch.per_token.items()},
        {k: v[answers] for k, v in batch.per_answer.items()},
        {k: v[whole] for k, v in batch.per_group.items()},
    )
    return chosen, Signals(**present), at


def mean_loss(objective: Objective, batch: Batch, **signals: Tensor) -> Tensor:
    """What an engine makes of it: the sum over the units, divided by their count."""
    losses, _ = objective(Signals(**signals), batch)
    assert losses.shape == (batch.count(objective.unit),)
    return losses.sum() / batch.count(objective.unit)


def means(objective: Objective, batch: Batch, **signals: Tensor) -> dict[str, float]:
    _, metrics = objective(Signals(**signals), batch)
    return {name: float(total) / int(count) for name, (total, count) in metrics.items()}


def gradient(objective: Objective, batch: Batch, name: str, at: Tensor, **others: Tensor) -> Tensor:
    """Of the mean loss, with respect to one signal."""
    at = at.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(mean_loss(objective, batch, **{name: at}, **others), at)
    return grad


def close(found: Any, expected: Any, atol: float = 1e-6) -> None:
    """Golden numbers are printed with six decimals."""
    expected = torch.as_tensor(expected, dtype=F64)
    torch.testing.assert_close(torch.as_tensor(found, dtype=F64), expected, atol=atol, rtol=0)


def with_numbers(batch: Batch, **per_token: Any) -> Batch:
    return replace(batch, per_token=batch.per_token | {k: _numbers(v) for k, v in per_token.items()})
