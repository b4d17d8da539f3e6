"""Drawing one token for each row: random numbers that are a function of who asks, and the inverse of a distribution.

    u = hash(seed, prompt, number of the answer, number of the token) / 2^23,   token = min {v : F(v) > u}

with F the cumulative softmax(logits / T) in the order of the vocabulary, cut to top-k and top-p where asked for. The
order of the vocabulary, and not of the probabilities, because the latter changes with the last bit of two near-equal
logits and would tie a sample to the batch it was drawn in.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from truing.records import Sampling

UNIFORM_BITS = 23  # so that u < 1 also after a product in fp32


def stream_key(seed: int, prompt: Sequence[int], index: int) -> int:
    """64 bits that name the random stream of one answer."""
    data = struct.pack(f"<qq{len(prompt)}q", seed, index, *prompt)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def _signed(bits: int) -> int:
    return bits - (1 << 64) if bits >> 63 else bits


# The constants of splitmix64 (Steele, Lea & Flood 2014), whose finaliser makes a counter into independent-looking bits.
GAMMA, MIX_1, MIX_2 = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def _right(x: Tensor, by: int) -> Tensor:
    """Logical shift: int64 tensors only know the arithmetic one."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def uniform(key: Tensor, step: Tensor) -> Tensor:
    """[R] stream keys and token numbers → [R] numbers in [0, 1)."""
    bits = key + (step + 1) * GAMMA
    bits = (bits ^ _right(bits, 30)) * MIX_1
    bits = (bits ^ _right(bits, 27)) * MIX_2
    return _right(bits ^ _right(bits, 31), 64 - UNIFORM_BITS) * 2.0**-UNIFORM_BITS


def draw(logits: Tensor, sampling: Sampling, u: Tensor) -> tuple[Tensor, Tensor]:
    """[R, V] logits, [R] uniform numbers → [R] tokens and their log-probabilities, before truncation, fp32.

    A row whose logits are not finite gets a log-probability that is not finite.
    """
    scaled = logits.float()
    if sampling.temperature not in (0.0, 1.0):
        scaled = scaled / sampling.temperature
    peak, likeliest = scaled.max(dim=1, keepdim=True)
    scaled = scaled - peak
    weights = scaled.exp()
    log_total = weights.sum(dim=1, keepdim=True).log()
    token = likeliest
    if sampling.temperature > 0:
        _truncate(weights, sampling)
        below = weights.cumsum(dim=1)
        token = torch.searchsorted(below, u[:, None] * below[:, -1:], right=True).clamp_(max=weights.shape[1] - 1)
        # A parallel cumulative sum may step up by rounding where the weight is zero.
        token = torch.where(weights.gather(1, token) > 0, token, likeliest)
    return token[:, 0], (scaled.gather(1, token) - log_total)[:, 0]


def _truncate(weights: Tensor, sampling: Sampling) -> None:
    """In place: keep the k largest, then of these the fewest that hold a share p. Equal ones stay or go together."""
    if 0 < sampling.top_k < weights.shape[1]:
        weights.masked_fill_(weights < weights.topk(sampling.top_k, dim=1).values[:, -1:], 0.0)
    if sampling.top_p < 1.0:
        ordered = weights.sort(dim=1, descending=True).values
        before = ordered.cumsum(dim=1) - ordered
        kept = (before < sampling.top_p * ordered.sum(dim=1, keepdim=True)).sum(dim=1, keepdim=True)
        weights.masked_fill_(weights < ordered.gather(1, kept - 1), 0.0)
