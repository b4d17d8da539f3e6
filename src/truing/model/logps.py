"""Log-probabilities from hidden states, in chunks, only where they are asked for.

log π(v) = l_v − logsumexp(l),  H = −Σ_v π(v) log π(v),  with logits l = head(h)/T.
The full [N, V] matrix never exists with its autograd copies: a chunk's log-probabilities are kept for the backward
pass while they fit under KEEP_BYTES in all, and computed again where they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 512
KEEP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Head:
    """An output head: logits = scale · softcap·tanh(linear(h) / softcap), as its architecture defines it."""

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 whatever the weights are: log-sum-exp in half precision loses the third digit."""
        logits = F.linear(hidden, self.weight, self.bias).float()
        if self.scale != 1.0:
            logits = logits * self.scale
        return logits if self.softcap is None else torch.tanh(logits / self.softcap) * self.softcap


class _LogProbs(torch.autograd.Function):
    """(hidden [N, d], head) → (log π at ids [N, K], entropy [N] or empty)."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        head: Head,
        temperature: float,
        entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        head = Head(weight, bias, head.softcap, head.scale)
        out = torch.empty(ids.shape, dtype=torch.float32, device=hidden.device)
        entropies = torch.empty(len(ids) if entropy else 0, dtype=torch.float32, device=hidden.device)
        kept: list[Tensor] = []
        room = KEEP_BYTES if any(ctx.needs_input_grad) else 0
        for start in range(0, len(ids), CHUNK):
            part = slice(start, start + CHUNK)
            logps = _log_softmax(head.logits(hidden[part]), temperature)
            out[part] = logps.gather(1, ids[part])
            if entropy:
                entropies[part] = -(logps.exp() * logps).sum(1)
            room -= logps.numel() * 4
            if room >= 0 and head.softcap is None:
                kept.append(logps)
        ctx.save_for_backward(hidden, weight, bias, ids, entropies, *kept)
        ctx.softcap, ctx.scale, ctx.temperature = head.softcap, head.scale, temperature
        return out, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        grad_out, grad_entropy = grads
        hidden, weight, bias, ids, entropies, *kept = ctx.saved_tensors
        head = Head(weight, bias, ctx.softcap, ctx.scale)
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        d_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        d_bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and ctx.needs_input_grad[2] else None
        for number, start in enumerate(range(0, len(ids), CHUNK)):
            part = slice(start, start + CHUNK)
            logits = None
            if number < len(kept):
                logps = kept[number].clone()
            else:
                logits = head.logits(hidden[part])
                logps = _log_softmax(logits.clone() if head.softcap else logits, ctx.temperature)
            d_logits = _d_logits(logps, ids[part], grad_out[part], entropies[part], grad_entropy[part])
            d_logits.mul_(head.scale / ctx.temperature)
            if head.softcap and logits is not None:
                d_logits.mul_(1 - (logits / head.softcap).square_())
            d_logits = d_logits.to(hidden.dtype)
            if d_hidden is not None:
                d_hidden[part] = d_logits @ weight
            if d_weight is not None:
                d_weight += d_logits.T @ hidden[part]
            if d_bias is not None:
                d_bias += d_logits.sum(0)
        cast = [None if d is None else d.to(weight.dtype) for d in (d_weight, d_bias)]
        return d_hidden, cast[0], cast[1], None, None, None, None


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    """In place: `logits` is ours."""
    if temperature != 1.0:
        logits.div_(temperature)
    return logits.sub_(torch.logsumexp(logits, dim=1, keepdim=True))


def _d_logits(logps: Tensor, ids: Tensor, grad: Tensor, entropy: Tensor, grad_entropy: Tensor) -> Tensor:
    """∂/∂l of Σ_k g_k log π(id_k) + g_H H  =  Σ_k g_k (1[id_k] − π) − g_H π (log π + H). Overwrites `logps`."""
    if len(entropy):
        pull = grad.sum(1, keepdim=True) + grad_entropy[:, None] * (logps + entropy[:, None])
        d_logits = logps.exp_().mul_(pull).neg_()
    else:
        d_logits = logps.exp_().mul_(-grad.sum(1, keepdim=True))
    return d_logits.scatter_add_(1, ids, grad)


def log_probs(
    hidden: Tensor, head: Head, ids: Tensor, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """log π at ids [N, K], and the entropy [N] in the same pass if asked for."""
    out, entropies = _LogProbs.apply(hidden, head.weight, head.bias, ids, head, temperature, entropy)
    return out, entropies if entropy else None


@torch.no_grad()
def divergence(hidden: Tensor, head: Head, ref_hidden: Tensor, ref_head: Head) -> Tensor:
    """[N] KL(π ‖ π_ref) of the next token at each position, over the whole vocabulary."""
    found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for start in range(0, len(hidden), CHUNK):
        part = slice(start, start + CHUNK)
        logps, ref = (_log_softmax(h.logits(x[part]), 1.0) for h, x in ((head, hidden), (ref_head, ref_hidden)))
        found[part] = (logps.exp() * (logps - ref)).sum(1)
    return found


@torch.no_grad()
def likeliest(hidden: Tensor, head: Head, count: int) -> tuple[Tensor, Tensor]:
    """The `count` likeliest tokens at each position: their log-probabilities, over all tokens, and ids, [N, count]."""
    logps = torch.empty(len(hidden), count, dtype=torch.float32, device=hidden.device)
    ids = torch.empty(len(hidden), count, dtype=torch.long, device=hidden.device)
    for start in range(0, len(hidden), CHUNK):
        part = slice(start, start + CHUNK)
        logps[part], ids[part] = _log_softmax(head.logits(hidden[part]), 1.0).topk(count, dim=1)
    return logps, ids
