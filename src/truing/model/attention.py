"""Attention over a packed tree row: each group apart, each answer sees its prompt, itself, and what all groups share.

Registered with transformers under the name `truing`, so that any architecture that asks its configuration which
attention to use can run it. Outside a tree (sampling, plain rows, other people's code) it behaves like `sdpa`.
Because every layer hands its own sliding window over, mixed windows need no special case; a window counts positions,
not places in the row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "truing"
SHORT = 1024  # tokens: scores of heads × SHORT² are kept for the backward pass


def visible(span: Sequence[int], positions: Tensor, window: int | None) -> Tensor:
    """[L, L] who may look at whom within one group whose edges are `span` and whose positions are given."""
    length = positions.shape[0]
    branch = torch.zeros(length, dtype=torch.long, device=positions.device)
    for number, (start, end) in enumerate(pairwise(span[1:]), start=1):
        branch[start - span[0] : end - span[0]] = number
    ahead = positions[:, None] - positions[None, :]
    allowed = (ahead >= 0) & ((branch[None, :] == 0) | (branch[None, :] == branch[:, None]))
    return allowed if window is None else allowed & (ahead < window)


class Tree:
    """The groups of one row and, made when first asked for, their additive masks for each window and dtype.

    `shared` tokens at the row's start are a group of their own, which every other group sees as well.
    """

    def __init__(self, spans: Sequence[tuple[int, ...]], positions: Tensor, shared: int = 0) -> None:
        self.shared = shared
        self.spans = [(0, shared, shared), *spans] if shared else list(spans)
        self.lengths = [span[-1] - span[0] for span in self.spans]
        self.positions = positions.split(self.lengths)
        self._masks: dict[Any, list[Tensor | None]] = {}

    def masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
        """None stands for plain causal attention, which needs no mask and is faster without."""
        if (window, dtype) not in self._masks:
            self._masks[window, dtype] = [self._mask(i, window, dtype) for i in range(len(self.spans))]
        return self._masks[window, dtype]

    def _mask(self, i: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
        before = self.shared if i else 0
        unmasked = len(self.spans[i]) == 3 and not before and (window is None or window >= self.lengths[i])
        if unmasked and not written_out(self.positions[i], dtype):
            return None
        allowed = visible(self.spans[i], self.positions[i], window)
        if before:
            ahead = self.positions[i][:, None] - self.positions[0][None, :]
            allowed = torch.cat([ahead >= 0 if window is None else ahead < window, allowed], dim=1)
        return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, float("-inf"))


_tree: ContextVar[Tree | None] = ContextVar("truing_tree", default=None)


@contextmanager
def attending(tree: Tree | None) -> Iterator[None]:
    """Attention inside is over this tree."""
    token = _tree.set(tree)
    try:
        yield
    finally:
        _tree.reset(token)


def tree_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """The attention function transformers calls: [1, heads, T, d] each → [1, T, heads, d]."""
    tree = _tree.get()
    if tree is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    for name in ("softcap", "s_aux"):  # Gemma 2's cap on scores, sinks: left out, the result would be quietly wrong
        if kwargs.get(name) is not None:
            raise NotImplementedError(f"attention over a tree knows no {name}")
    repeats = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, repeats), repeat_kv(value, repeats)
    scale = kwargs.get("scaling") or query.shape[-1] ** -0.5
    queries, keys, values = (x.split(tree.lengths, dim=2) for x in (query, key, value))
    if tree.shared:
        keys, values = ([x[0], *(torch.cat([x[0], own], dim=2) for own in x[1:])] for x in (keys, values))
    masks = tree.masks(kwargs.get("sliding_window"), query.dtype)
    pieces = [_attend(q, k, v, mask, scale) for q, k, v, mask in zip(queries, keys, values, masks)]
    return torch.cat(pieces, dim=2).transpose(1, 2).contiguous(), None


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """One group, [1, heads, L, d]."""
    if mask is None or not written_out(key[0, 0, :, 0], query.dtype):
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None, scale=scale)
    scores = torch.baddbmm(mask.expand(query.shape[1], *mask.shape), query[0], key[0].transpose(1, 2), alpha=scale)
    return torch.bmm(scores.softmax(-1), value[0])[None]


def written_out(places: Tensor, dtype: torch.dtype) -> bool:
    """Short sequences in half precision on a CPU, where torch's fused kernel takes twice as long backward."""
    return dtype == torch.bfloat16 and places.device.type == "cpu" and len(places) <= SHORT


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
