"""Probes: pure functions from what the policy just said to named numbers.

kl              k1 = Σ_t ln π/π_ref per answer (unbiased, may be negative) and k3 = Σ_t (ρ − 1 − ln ρ), ρ = π_ref/π;
                exact = Σ_t KL(π ‖ π_ref) of the next token, summed over the vocabulary where that is small: what k1
                would be on average over all tokens that could have been drawn at each place
length          tokens per answer, and the share that never ended
entropy         of the distribution each token was drawn from
ref_perplexity  of the answers under the model the run started from: what leaves the language shows here first
composite       exp(mean NLL of an answer / mean length), which Zheng et al. 2023 plot as perplexity: longer answers
                alone lower it
refusals        share of answers that decline at once, by their words
diversity       distinct-n and the share of different answers
repetition      share of an answer's word pairs that it has already said
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor

from truing.records import Answer, UserError
from truing.stats import text


@dataclass(frozen=True)
class Look:
    """One look: the answers drawn, and per answer [T] what policy and reference say about each token."""

    answers: Sequence[Answer]
    logps: Sequence[Tensor]
    entropy: Sequence[Tensor]
    ref_logps: Sequence[Tensor]
    divergence: Sequence[Tensor] = ()
    """KL(π ‖ π_ref) of the next token, where it was computed"""


def kl(look: Look) -> dict[str, float]:
    gaps = [policy - reference for policy, reference in zip(look.logps, look.ref_logps)]
    k1 = torch.stack([gap.sum() for gap in gaps])
    k3 = torch.stack([(torch.expm1(-gap) + gap).sum() for gap in gaps])
    tokens = sum(len(gap) for gap in gaps)
    exact = {"kl_exact": sum(float(t.sum()) for t in look.divergence) / len(gaps)} if look.divergence else {}
    return {"kl": float(k1.mean()), "kl_k3": float(k3.mean()), **exact, "kl_per_token": float(k1.sum()) / tokens}


def length(look: Look) -> dict[str, float]:
    lengths = torch.tensor([float(len(t)) for t in look.logps])
    cut = sum(answer.finish == "length" for answer in look.answers) / len(look.answers)
    return {"length": float(lengths.mean()), "length_p95": float(lengths.quantile(0.95)), "unfinished": cut}


def entropy(look: Look) -> dict[str, float]:
    return {"entropy": float(torch.cat(list(look.entropy)).mean())}


def ref_perplexity(look: Look) -> dict[str, float]:
    return {
        "ref_perplexity": float(torch.cat(list(look.ref_logps)).mean().neg().exp()),
        "perplexity": float(torch.cat(list(look.logps)).mean().neg().exp()),
    }


def composite(look: Look) -> dict[str, float]:
    means = torch.stack([-logps.mean() for logps in look.logps])
    lengths = torch.tensor([float(len(logps)) for logps in look.logps])
    return {"composite": float((means.sum() / lengths.sum()).exp())}


def repetition(look: Look) -> dict[str, float]:
    """An answer of one word has no pairs, and repeats nothing."""
    shares = text.repetition([answer.text for answer in look.answers], 2)
    return {"repetition": float(np.nan_to_num(shares).mean())}


def diversity(look: Look) -> dict[str, float]:
    texts = [answer.text for answer in look.answers]
    return {f"distinct_{n}": text.distinct(texts, n) for n in (1, 2)} | {"unique": text.unique_rate(texts)}


def refusals(look: Look) -> dict[str, float]:
    return {"refusals": text.refusals([answer.text for answer in look.answers])}


def check_known(kind: str, name: str, known: Collection[str]) -> None:
    """Also where nothing is looked at: a name that means nothing is a mistake."""
    if name not in known:
        near = "".join(f"; did you mean {n}?" for n in get_close_matches(name, known, 1))
        raise UserError(
            f"watch.{kind}: there is no {kind.removesuffix('s')} '{name}'{near} (there are {', '.join(known)})"
        )


PROBES: dict[str, Callable[[Look], dict[str, float]]] = {
    "kl": kl,
    "length": length,
    "entropy": entropy,
    "ref_perplexity": ref_perplexity,
    "composite": composite,
    "diversity": diversity,
    "repetition": repetition,
    "refusals": refusals,
}
