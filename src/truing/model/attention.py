"""Attention over a packed tree row: each group apart, each answer sees its prompt, itself, and what all groups share.
Short groups of similar length are done beside each other in one call.

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
BESIDE, SIMILAR = 256, 0.75  # longest piece that goes beside others; how short, as a share of it, the others may be


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


class Call(NamedTuple):
    """Pieces that one attention call does beside each other, padded on the right to a common length."""

    pieces: list[Piece]
    length: int
    real: Tensor
    """[pieces, length] no padding"""

    @property
    def size(self) -> int:
        return len(self.pieces) * self.length


def calls(found: Sequence[Piece], device: torch.device) -> list[Call]:
    """Short pieces of similar length go together: a call costs more than the little that padding adds to it."""
    lengths = {piece: piece.span[-1] - piece.span[0] for piece in found}
    waiting = sorted(found, key=lambda piece: -lengths[piece])
    grouped: list[list[Piece]] = []
    for piece in waiting:
        longest = lengths[grouped[-1][0]] if grouped else 0
        alone = piece.before or longest > BESIDE or (grouped and grouped[-1][0].before)
        if grouped and not alone and lengths[piece] >= SIMILAR * longest:
            grouped[-1].append(piece)
        else:
            grouped.append([piece])
    made = []
    for group in grouped:
        length = lengths[group[0]]
        own = torch.tensor([lengths[piece] for piece in group], device=device)
        made.append(Call(group, length, torch.arange(length, device=device) < own[:, None]))
    return made


class Tree:
    """The calls that attention over one row is made of and, made when first asked for, their additive masks for each
    window and dtype.

    `shared` tokens at the row's start are a group of their own, which every other group sees as well.
    """

    def __init__(self, spans: Sequence[tuple[int, ...]], positions: Tensor, shared: int = 0) -> None:
        self.positions = positions
        self.calls = calls(pieces(spans, shared), positions.device)
        places = [torch.arange(p.span[0], p.span[-1]) for call in self.calls for p in call.pieces]
        real = torch.cat([call.real.flatten() for call in self.calls])
        self.padded = torch.zeros(len(real), dtype=torch.long, device=positions.device)
        """[N] the token of the row that stands at each place of the calls; any, where it is padding"""
        self.padded[real] = torch.cat(places).to(positions.device)
        self.place = torch.empty_like(positions)
        """[T] where each token of the row stands"""
        self.place[self.padded[real]] = real.nonzero()[:, 0]
        self.unreal = None if bool(real.all()) else (~real).nonzero()[:, 0]
        self.ordered = torch.equal(self.padded, torch.arange(len(positions), device=positions.device))
        self._masks: dict[Any, list[Tensor | None]] = {}

    def masks(self, window: int | None, dtype: torch.dtype) -> list[Tensor | None]:
        """None stands for plain causal attention, which needs no mask and is faster without. Padding stands behind
        everything, where no real token looks."""
        if (window, dtype) not in self._masks:
            self._masks[window, dtype] = [self._mask(call, window, dtype) for call in self.calls]
        return self._masks[window, dtype]

    def _mask(self, call: Call, window: int | None, dtype: torch.dtype) -> Tensor | None:
        plain = all(len(p.span) == 3 and not p.before for p in call.pieces) and (
            window is None or window >= call.length
        )
        if plain and not written_out(self.positions, call.length, dtype):
            return None
        allowed = [self._allowed(piece, call.length, window) for piece in call.pieces]
        mask = torch.zeros(len(allowed), 1, *allowed[0].shape, dtype=dtype, device=self.positions.device)
        return mask.masked_fill_(~torch.stack(allowed)[:, None], float("-inf"))

    def _allowed(self, piece: Piece, length: int, window: int | None) -> Tensor:
        own = self.positions[piece.span[0] : piece.span[-1]]
        allowed = visible(piece.span, own, window)
        if piece.before:
            earlier = torch.cat([self.positions[start:end] for start, end in piece.before])
            ahead = own[:, None] - earlier[None, :]
            allowed = torch.cat([ahead >= 0 if window is None else ahead < window, allowed], dim=1)
        more = length - len(own)
        padded = F.pad(allowed, (0, more, 0, more))
        padded[len(own) :, 0] = True  # padding has to see something: a softmax over nothing is not a number
        return padded


class Gather(torch.autograd.Function):
    """Rows of [T, C] by an index in which every row has one place, and padding any: the gradient is a gather, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor, back: Tensor, unreal: Tensor | None) -> Tensor:
        ctx.back, ctx.unreal = back, unreal
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        found = grad.index_select(0, ctx.back)
        if ctx.unreal is not None:
            found.index_fill_(0, ctx.unreal, 0.0)
        return found, None, None, None


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
    heads, length, width = query.shape[1:]
    rows = [x[0].transpose(0, 1).reshape(length, heads * width) for x in (query, key, value)]
    if not tree.ordered:
        rows = [Gather.apply(x, tree.padded, tree.place, None) for x in rows]
    q, k, v = ([c.view(-1, heads, width) for c in x.split([call.size for call in tree.calls])] for x in rows)
    parts = []
    for n, (call, mask) in enumerate(zip(tree.calls, masks)):
        shape = (len(call.pieces), call.length, heads, width)
        own = [x[n].view(shape).transpose(1, 2) for x in (q, k, v)]
        for start, end in reversed(call.pieces[0].before):
            own[1:] = [torch.cat([x[:, :, start:end], y], 2) for x, y in zip((key, value), own[1:])]
        parts.append(_attend(own[0], own[1], own[2], mask, scale).transpose(1, 2).reshape(call.size, heads * width))
    out = torch.cat(parts) if len(parts) > 1 else parts[0]
    if not tree.ordered:
        out = Gather.apply(out, tree.place, tree.padded, tree.unreal)
    return out.view(1, length, heads, width), None


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """[pieces, heads, L, d] each."""
    if mask is None or not written_out(query, key.shape[2], query.dtype):
        return F.scaled_dot_product_attention(query, key, value, mask, is_causal=mask is None, scale=scale)
    return torch.softmax(torch.matmul(query, key.transpose(2, 3)) * scale + mask, -1) @ value


def written_out(where: Tensor, length: int, dtype: torch.dtype) -> bool:
    """Short sequences in half precision on a CPU, where torch's fused kernel takes twice as long backward."""
    return dtype == torch.bfloat16 and where.device.type == "cpu" and length <= SHORT


AttentionInterface.register(NAME, tree_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
