"""What comes flat out of a batch, by the groups and answers it belongs to; and sums over the batches of a step."""

from __future__ import annotations

import torch
from torch import Tensor

from truing.batch import Batch, Metrics


def by_group(values: Tensor, batch: Batch, whole: bool = False) -> list[list[Tensor]]:
    """A flat signal as group → answer → tensor, on the CPU; `whole`: of one number per answer."""
    values = values.cpu()
    pieces = list(values) if whole else list(values.split(batch.lengths().tolist()))
    counts = torch.bincount(batch.group_of, minlength=batch.groups).tolist()
    result, at = [], 0
    for count in counts:
        result.append([piece.clone() for piece in pieces[at : at + count]])
        at += count
    return result


def group_of(batch: Batch, losses: Tensor, unit: int) -> int:
    """The group that unit number `unit` belongs to; which unit it is shows in how many there are."""
    if len(losses) == batch.groups:
        return unit
    answer = unit if len(losses) == batch.answers else int(batch.answer_of[unit])
    return int(batch.group_of[answer])


def means(sums: Metrics) -> dict[str, Tensor]:
    """A metric of nothing (the score of good answers where all were bad) has no mean."""
    return {name: value / count for name, (value, count) in sums.items() if torch.is_tensor(count) or count}


def add(sums: Metrics, metrics: Metrics) -> None:
    for name, (value, count) in metrics.items():
        before, counted = sums.get(name, (0, 0))
        sums[name] = (before + value, counted + count)
