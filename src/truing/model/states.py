"""What a model's layers say of texts, as means over their parts: all layers in one pass, and nothing of a text's
length is kept.

    response_avg   over the answer's tokens      prompt_avg   over the prompt's      prompt_last   at its last token

Sums are fp32 whatever the model computes in: a running sum of ones in bf16 stops at 256. A text weighs as much as any
other, however long it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from truing.batch import Batch
from truing.model.hooks import decoder_blocks, reading
from truing.model.lm import LanguageModel
from truing.model.vectors import LAST, PROMPT, RESPONSE


class Enough(Exception):
    """The deepest layer that is wanted has been read."""


@torch.no_grad()
def means(model: LanguageModel, batch: Batch, layers: Sequence[int] | None = None) -> dict[str, Tensor]:
    """statistic → [A, layers, d] of response_avg, [G, layers, d] of the two of the prompt. Blocks behind the deepest of
    these layers are not computed, and no head."""
    wanted = list(range(len(decoder_blocks(model.owner)) + 1)) if layers is None else list(layers)
    parts, found = _Parts(batch), dict[int, dict[str, Tensor]]()

    def tell(layer: int, states: Tensor) -> None:
        found[layer] = parts.of(states.flatten(0, 1))
        if len(found) == len(set(wanted)):
            raise Enough

    try:
        with reading(model.owner, set(wanted), tell):
            model.hidden(batch)
    except Enough:
        pass
    return {name: torch.stack([found[layer][name] for layer in wanted], 1) for name in (RESPONSE, PROMPT, LAST)}


class _Parts:
    """Which tokens of a batch belong to which mean."""

    def __init__(self, batch: Batch) -> None:
        self.batch, self.lengths = batch, batch.lengths()
        ranges = _prompts(batch)
        device = batch.tokens.device
        self.tokens = torch.tensor([t for group in ranges for part in group for t in part], device=device)
        counts = [sum(map(len, group)) for group in ranges]
        self.counts = torch.tensor(counts, device=device)
        self.group = torch.repeat_interleave(self.counts)
        self.last = self.tokens[self.counts.cumsum(0) - 1]

    def of(self, states: Tensor) -> dict[str, Tensor]:
        return {
            RESPONSE: _mean(states[self.batch.own], self.batch.answer_of, self.lengths),
            PROMPT: _mean(states[self.tokens], self.group, self.counts),
            LAST: states[self.last].float(),
        }


def _mean(states: Tensor, part_of: Tensor, counts: Tensor) -> Tensor:
    sums = torch.zeros(len(counts), states.shape[1], device=states.device)
    return sums.index_add_(0, part_of, states.float()) / counts[:, None]


def _prompts(batch: Batch) -> list[tuple[range, ...]]:
    """For each group the flat indices of its prompt's tokens."""
    if batch.layout == "tree":
        return [(range(batch.shared), range(span[0], span[1])) for span in batch.spans]
    width = batch.tokens.shape[1]
    first = {int(group): row for row, group in reversed(list(enumerate(batch.group_of.tolist())))}
    return [(range(first[g] * width, first[g] * width + batch.spans[first[g]][0]),) for g in range(batch.groups)]


@dataclass
class Moments:
    """Count, mean and M2 (the sum of squared distances from the mean) of what came so far, in fp64; nothing is kept of
    what they are of. Two of them merge (Chan et al.) to what one would have said of both."""

    count: int = 0
    mean: Any = 0.0
    m2: Any = 0.0
    skipped: int = field(default=0)
    """of nothing: answers without a token"""

    def add(self, values: Tensor) -> None:
        """[N, …]: N samples."""
        if len(values):
            values = values.double().cpu()
            mean = values.mean(0)
            self.merge(Moments(len(values), mean, ((values - mean) ** 2).sum(0)))

    def merge(self, other: Moments) -> None:
        both = self.count + other.count
        self.skipped += other.skipped
        if other.count:
            gap = other.mean - self.mean
            self.m2 = self.m2 + other.m2 + gap**2 * (self.count * other.count / both)
            self.mean = self.mean + gap * (other.count / both)
            self.count = both

    @property
    def variance(self) -> Any:
        """Of the population."""
        return self.m2 / max(1, self.count)
