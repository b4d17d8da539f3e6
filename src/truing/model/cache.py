"""The sampler's key-value cache: answers of different ages side by side, coming and going.

All rows end at the same column. A step then writes one column, and to transformers the cache looks like a batch padded
on the left: every architecture builds its own masks from it (sliding windows, alternating layers, ALiBi), and the
distance of two tokens in columns is their distance in positions. The padding gets exactly zero weight and positions are
each row's own, so that a row does not depend on the others.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

SLACK = 128  # columns beyond the longest row, at most: all rows are moved back to the front once in so many steps


def _tensors(cache: Cache) -> list[Tensor]:
    layers: list[Any] = cache.layers
    return [x for layer in layers for x in (layer.keys, layer.values)]


class Prefix:
    """Keys and values of a few prompts, computed once. They are padded on the right, where no real token looks. `start`
    holds those of what all of them begin with."""

    tensors: list[Tensor]

    def __init__(
        self, trunk: nn.Module, prompts: Sequence[Sequence[int]], device: torch.device, start: Prefix | None = None
    ) -> None:
        cache, done = DynamicCache(), 0
        if start:
            done = start.tensors[0].shape[2]
            for layer, (keys, values) in enumerate(zip(start.tensors[::2], start.tensors[1::2])):
                each = (len(prompts), -1, -1, -1)
                cache.update(keys.expand(each), values.expand(each), layer)
        width = max(map(len, prompts)) - done
        tokens = torch.tensor([[*ids[done:], *[0] * (done + width - len(ids))] for ids in prompts], device=device)
        places = torch.arange(done, done + width, device=device)[None]
        trunk(input_ids=tokens, position_ids=places, past_key_values=cache, use_cache=True)
        self.tensors = _tensors(cache)

    @property
    def token_bytes(self) -> int:
        """What one token of one row takes."""
        return sum(x.shape[1] * x.shape[3] * x.element_size() for x in self.tensors)


class _Layer(DynamicLayer):
    """[rows, heads, columns, d], made once; `update` writes this step's column in place."""

    keys: Tensor
    values: Tensor

    def __init__(self, rows: Rows, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.rows, self.is_initialized = (
            weakref.proxy(rows),
            True,
        )  # a cycle would keep the cache until somebody collects
        # Zeros: what is masked still takes part in sums, and 0 · NaN is NaN.
        self.keys, self.values = (x.new_zeros(rows.size, x.shape[1], rows.width, x.shape[3]) for x in (keys, values))

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        live, start, end = key_states.shape[0], self.rows.start, self.rows.end
        self.keys[:live, :, end : end + 1] = key_states
        self.values[:live, :, end : end + 1] = value_states
        return self.keys[:live, :, start : end + 1], self.values[:live, :, start : end + 1]

    def get_seq_length(self) -> int:
        return self.rows.end - self.rows.start


class Rows(Cache):
    """`size` rows of at most `longest` tokens. All that living rows have seen is in columns `start` … `end` - 1. Where
    none comes when another one goes, all end with the longest, and no column behind it is needed."""

    def __init__(self, like: Prefix, size: int, longest: int, come_and_go: bool) -> None:
        self.size, self.width = size, longest + (min(SLACK, longest) if come_and_go else 0)
        self.start = self.end = 0
        pairs = zip(like.tensors[::2], like.tensors[1::2])
        super().__init__(layers=[_Layer(self, keys, values) for keys, values in pairs])
        self.tensors = _tensors(self)

    def place(self, slots: Sequence[int], prefix: Prefix, row: int, length: int) -> None:
        """Let rows begin: the first `length` tokens of a prompt, so that their next token goes to column `end`."""
        for mine, theirs in zip(self.tensors, prefix.tensors):
            for slot in slots:
                mine[slot, :, self.end - length : self.end] = theirs[row, :, :length]

    def move(self, source: Tensor, target: Tensor) -> None:
        for x in self.tensors:
            x[target, :, self.start : self.end] = x[source, :, self.start : self.end]

    def shift(self) -> int:
        """Once the last column is written, drop all before `start`. Returns how far the rows moved to the left."""
        if self.end < self.width:
            return 0
        by = self.start
        for x in self.tensors:
            x[:, :, : self.end - by] = x[:, :, by : self.end].clone()
        self.start, self.end = 0, self.end - by
        return by
