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
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "truing"
TOGETHER = 256  # tokens of answers in one attention call; one longer answer has a call of its own
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


class Piece(NamedTuple):
    """Queries of one attention call: consecutive branches, with their trunk or, if that is elsewhere, without it."""

    span: tuple[int, ...]
    """its edges in the row; the trunk of (5, 5, 9) is empty"""
    before: tuple[tuple[int, int], ...] = ()
    """further ranges of the row that all of it sees: the shared start, a trunk elsewhere"""


def pieces(spans: Sequence[tuple[int, ...]], shared: int) -> list[Piece]:
    """The calls that attention over a row is made of. A group of many answers is cut between answers: they do not see
    each other, so that one call for all would grow with the square of their number for nothing."""
    found = [Piece((0, shared, shared))] if shared else []
    start = ((0, shared),) if shared else ()
    for begin, *edges in spans:
        chunk, before = [begin, edges[0]], start
        for edge in edges[1:]:
            if len(chunk) > 2 and edge - chunk[1] > TOGETHER:
                found.append(Piece(tuple(chunk), before))
                chunk, before = [chunk[-1], chunk[-1]], (*start, (begin, edges[0]))
            chunk.append(edge)
        found.append(Piece(tuple(chunk), before))
    return found


class Tree:
    """The pieces of one row and, made when first asked for, their additive masks for each window and dtype.

    `shared` tokens at the row's start are a group of their own, which every other group sees as well.
    """

    def __init__(self, spans: Sequence[tuple[int, ...]], positions: Tensor, shared: int = 0) -> None:
        self.pieces, self.positions = pieces(spans, shared), positions
        self._masks: dict[Any, list[Tensor | None]] = {}

    def masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
        """None stands for plain causal attention, which needs no mask and is faster without."""
        if (window, dtype) not in self._masks:
            self._masks[window, dtype] = [self._mask(piece, window, dtype) for piece in self.pieces]
        return self._masks[window, dtype]

    def _mask(self, piece: Piece, window: int | None, dtype: torch.dtype) -> Tensor | None:
        own = self.positions[piece.span[0] : piece.span[-1]]
        unmasked = len(piece.span) == 3 and not piece.before and (window is None or window >= len(own))
        if unmasked and not written_out(own, dtype):
            return None
        allowed = visible(piece.span, own, window)
        if piece.before:
            earlier = torch.cat([self.positions[start:end] for start, end in piece.before])
            ahead = own[:, None] - earlier[None, :]
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
    masks = tree.masks(kwargs.get("sliding_window"), query.dtype)
    parts = []
    for piece, mask in zip(tree.pieces, masks):
        own = (piece.span[0], piece.span[-1])
        k, v = (_ranges(x, (*piece.before, own)) for x in (key, value))
        parts.append(_attend(query[:, :, slice(*own)], k, v, mask, scale))
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _ranges(x: Tensor, ranges: Sequence[tuple[int, int]]) -> Tensor:
    """These tokens of [1, heads, T, d], one range after another."""
    parts = [x[:, :, start:end] for start, end in ranges]
    return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]


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
