"""The sampler's key-value cache: answers of different ages side by side, coming and going.

All rows end at the same column. A step then writes one column, and to transformers the cache looks like a batch padded
on the left: every architecture builds its own masks from it (sliding windows, alternating layers, ALiBi), and the
window between two tokens counted in columns is the window counted in positions. The padding is masked to exactly zero
weight and the positions are each row's own, so that a row does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

SLACK = 128


class Prefix:
    """Keys and values of a few prompts, each computed once. Padded on the right, where nothing real can see it."""

    def __init__(self, trunk: nn.Module, prompts: Sequence[Sequence[int]], device: torch.device) -> None:
        width = max(map(len, prompts))
        tokens = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in prompts], device=device)
        cache = DynamicCache()
        trunk(input_ids=tokens, past_key_values=cache, use_cache=True)
        self.layers: list[tuple[Tensor, Tensor]] = [(layer.keys, layer.values) for layer in cache.layers]


class _Layer(DynamicLayer):
    """[rows, heads, columns, d] made once; `update` writes the column of this step in place."""

    def __init__(self, rows: Rows, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.rows, self.is_initialized = rows, True
        self.keys, self.values = (x.new_zeros(rows.size, x.shape[1], rows.width, x.shape[3]) for x in (keys, values))

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        live, start, end = key_states.shape[0], self.rows.start, self.rows.end
        self.keys[:live, :, end : end + 1] = key_states
        self.values[:live, :, end : end + 1] = value_states
        return self.keys[:live, :, start : end + 1], self.values[:live, :, start : end + 1]

    def get_seq_length(self) -> int:
        return self.rows.end - self.rows.start


class Rows(Cache):
    """`size` rows of at most `longest` tokens. Columns `start` … `end` - 1 hold all that living rows have seen."""

    def __init__(self, like: Prefix, size: int, longest: int) -> None:
        self.size, self.width = size, longest + SLACK
        self.start = self.end = 0
        super().__init__(layers=[_Layer(self, *pair) for pair in like.layers])

    def tensors(self) -> list[Tensor]:
        return [x for layer in self.layers for x in (layer.keys, layer.values)]

    def place(self, slots: Sequence[int], prefix: Prefix, row: int, length: int) -> None:
        """Start rows here: the first `length` tokens of this prompt, so that the next token goes to column `end`."""
        new = slice(self.end - length, self.end)
        for mine, theirs in zip(self.tensors(), (x for pair in prefix.layers for x in pair)):
            for slot in slots:
                mine[slot, :, new] = theirs[row, :, :length]

    def move(self, source: Tensor, target: Tensor) -> None:
        seen = slice(self.start, self.end)
        for x in self.tensors():
            x[target, :, seen] = x[source, :, seen]

    def shift(self) -> int:
        """When the last column is reached, drop those before `start`. Returns by how many columns all rows moved."""
        if self.end < self.width:
            return 0
        by = self.start
        for x in self.tensors():
            x[:, :, : self.end - by] = x[:, :, by : self.end].clone()
        self.start, self.end = 0, self.end - by
        return by
