"""Claims about what the parts of a method do (arXiv 2305.14718): L3, L9, L12, the ladder and the sweeps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from truing.claims.aligned import aligned
from truing.claims.alol.cells import FIXED, GOLD, LADDER, SETTING, N, drop_of, first, gain, looks, main, of
from truing.claims.base import Claim, Found, Number, Outcome, Picture, grid
from truing.claims.judging import Value, above, average, below, curve, lines, mean, over_seeds, per_seed
from truing.stats.looks import COLLAPSED

STEADY_ONES = ("a_lol_seq", "dpo", "wbc", "r_lol")
RATES = (1.0, 3.0, 10.0)  # times the usual learning rate
EPS, BETAS = (0.2, 0.5, 0.9, 3.0, None), (0.02, 0.3, 1.0)  # β beside 0.1
LONG = 3 * N // 32  # steps of the runs whose end is looked at, alike for all
WORSE = 0.01  # of gold
UNIQUE = mean("unique")
STEADY = [
    *grid(aligned, first("a_lol_seq", "dpo"), method=STEADY_ONES, steps=(LONG,), rate=RATES[:1], **FIXED),
    *grid(aligned, method=STEADY_ONES, steps=(LONG,), rate=RATES[1:], **FIXED),
]
CLIPS = grid(aligned, lambda p: p["seed"] == 0 and p["eps"] is None, method=("a_lol",), steps=(LONG,), eps=EPS, **FIXED)
TARGETS: dict[str, Any] = {"one greedy answer": {"greedy": True}, "an MLP": {"head": "mlp"}}  # beside 4 samples
SAMPLERS = ("uniform", "filter")  # beside corrected
SHIFTS = grid(aligned, method=("a_lol_kl",), beta=BETAS, **FIXED)
VALUES = grid(aligned, method=("a_lol_seq",), value=tuple(TARGETS.values()), **FIXED)
NORMS = grid(aligned, method=("a_lol_seq",), length_norm=("mean",), **FIXED)
ORDERS = [
    *grid(aligned, method=("a_lol_seq",), sampler=SAMPLERS, **FIXED),
    *grid(aligned, method=("a_lol_seq",), as_published=(True,), **FIXED),
]
SWEEPS = [*SHIFTS, *VALUES, *NORMS, *ORDERS]


def l3(found: Found) -> Outcome:
    """Offline advantage methods are steady."""
    usual, spreads = found.where(rate=1.0), list[Number]()
    drops = {m: per_seed(usual, drop_of, method=m) for m in STEADY_ONES}
    more = over_seeds({s: drops["dpo"][s] - drops["a_lol_seq"][s] for s in drops["a_lol_seq"] if s in drops["dpo"]})
    numbers = lines(("best − last reward: dpo − a_lol_seq", more, "effect"))
    for rate in found.params("rate"):
        for method in STEADY_ONES:
            ends = per_seed(found, GOLD, method=method, rate=rate)
            lost = over_seeds(per_seed(found, drop_of, method=method, rate=rate))
            numbers += lines((f"best − last reward, {method}, rate × {rate:g}", lost, "context"))
            if len(ends) > 1:
                spread = float(np.std([*ends.values()], ddof=1))
                spreads += lines((f"sd of gold over seeds, {method}, rate × {rate:g}", spread, "context"))
    shown = [looks(usual, method, "reward") for method in drops]
    why = f"dpo loses {more.estimate:+.3f} more of its best" if more else "too few cells"
    picture = Picture("Steadiness", "updates", "gold", shown)
    return Outcome({"dpo loses more of its best": above(more)}, why, [*numbers, *spreads], [picture])


def l9(found: Found) -> Outcome:
    """Ratios of tokens are best, and without a reference it is nearly as good."""
    best = {m: gain(found, "a_lol_seq", m) for m in ("a_lol", "a_lol_ref_free", "a_lol_kl")}
    seq, free = best["a_lol"], gain(found, "a_lol_ref_free", "a_lol")
    numbers = lines(
        *((f"gold: a_lol_seq − {m}", v, "effect") for m, v in best.items()),
        ("gold: a_lol_ref_free − a_lol", free, "effect"),
    )
    why = f"{seq.estimate:+.3f} and {free.estimate:+.3f} beside a_lol" if seq and free else "too few cells"
    conditions = {f"a_lol_seq above {m}": above(v) for m, v in best.items()} | {
        f"a_lol_ref_free at most {WORSE} below a_lol": above(free, -WORSE),
    }
    return Outcome(conditions, why, numbers)


def l12(found: Found) -> Outcome:
    """Filter, weight, ratio and truncation each do something."""
    rungs = {(a, b): gain(found, b, a) for a, b in pairwise(LADDER)}
    free = average(found.where(method="a_lol", steps=LONG, eps=None), UNIQUE)
    start = average(main(found), UNIQUE, method="start")
    numbers = lines(
        *((f"gold: {b} − {a}", v, "effect") for (a, b), v in rungs.items()),
        ("share of different answers without truncation", free, "effect"),
        ("share of different answers at the start", start, "context"),
    )
    numbers += _swept(found)
    conditions = {
        "the filter alone helps": above(rungs["nll", "filtered_nll"]),
        "without truncation the policy collapses": below(free, COLLAPSED * start.estimate) if start else None,
    }
    why = f"without truncation {free.estimate:.2f} of answers differ" if free else "too few cells"
    return Outcome(
        conditions, why, numbers, [_widths(found, GOLD, "gold"), _widths(found, UNIQUE, "different answers")]
    )


def _swept(found: Found) -> list[Number]:
    """What each of the other choices makes of the gold, beside the usual one."""
    seq, shared = found.where(method="a_lol_seq"), main(found)
    rows = [("a_lol_seq as it is", average(shared, GOLD, method="a_lol_seq"))]
    rows += [(f"value learnt from {name}", average(seq.where(value=how), GOLD)) for name, how in TARGETS.items()]
    rows += [("mean over tokens", average(seq, GOLD, length_norm="mean"))]
    rows += [(f"sampler {name}", average(seq, GOLD, sampler=name)) for name in SAMPLERS]
    rows += [("as published: drawn by A⁺ and weighted by it, a greedy value", average(seq, GOLD, as_published=True))]
    rows += [("a_lol_kl, β = 0.1", average(shared, GOLD, method="a_lol_kl"))]
    rows += [(f"a_lol_kl, β = {beta:g}", average(found, GOLD, method="a_lol_kl", beta=beta)) for beta in BETAS]
    return lines(*((f"gold: {name}", value, "context") for name, value in rows))


def _widths(found: Found, value: Value, name: str) -> Picture:
    cells = found.where(method="a_lol", steps=LONG)
    points = [(eps, average(cells, value, eps=eps)) for eps in EPS if eps is not None]
    free = [(2 * points[-1][0], average(cells, value, eps=None))]
    shown = [curve("truncated", points), curve("not truncated (drawn at the end)", free)]
    return Picture(f"Truncation: {name}", "ε", name, shown)


CLAIMS = [
    Claim(
        "L3",
        "Advantage methods are steady, preference-based ones less so",
        "Offline advantage training is stable; DPO is less so.",
        "unsure",
        f"{SETTING}, {LONG} steps each: DPO loses more of its best reward by the end than a_lol_seq does, with an "
        "interval over seeds that excludes 0. Higher learning rates and spreads over seeds beside it.",
        STEADY,
        l3,
    ),
    Claim(
        "L9",
        "Ratios by token are best, and the reference can be left out",
        "Of the variants the one with ratios of tokens is best; without a reference it is competitive.",
        "reported",
        f"{SETTING}. a_lol_seq is above each of the others, with intervals that exclude 0, and a_lol_ref_free not more "
        f"than {WORSE} of gold below a_lol.",
        of("a_lol", "a_lol_seq", "a_lol_ref_free", "a_lol_kl"),
        l9,
    ),
    Claim(
        "L12",
        "Filter and truncation matter",
        "What is dropped and how ratios are truncated contribute.",
        "reported",
        f"{SETTING}. The filter alone is above imitation with an interval that excludes 0; after {LONG} steps without "
        f"truncation the ratio of whole answers collapses the policy to less than {COLLAPSED:.0%} of the reference's "
        "share of different answers. The other rungs, widths, shifts, targets of the value, samplers and the mean over "
        "tokens beside them.",
        [*of("start", *LADDER, "a_lol_kl"), *CLIPS, *SWEEPS],
        l12,
    ),
]
