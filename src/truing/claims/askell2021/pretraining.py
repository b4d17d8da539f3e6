"""Claims about preference-model pre-training (arXiv 2112.00861, §4): A9, A10, A11, A13, A15."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.claims.base import Claim, Found, Outcome, Picture, grid
from truing.claims.judging import (
    SEEDS,
    above,
    average,
    curve,
    difference,
    lines,
    mean,
    over_seeds,
    per_seed,
)
from truing.claims.pretraining import detector, transfer
from truing.claims.symbols import symbols
from truing.stats.effects import regress
from truing.stats.intervals import Interval

PAIRS = 4000
COUNTS = (50, 100, 200, 500, 1000, 2000, 4000)
FEW, MANY = 100, 4000
COSTS = 0.03  # of accuracy, that the language loss may cost at most
SITES = ("votes", "comments", "reverts", "mixed", "text")
DISTANCES = (0.0, 0.25, 0.5, 0.75, 1.0)
LEARNT = 0.5  # of the order, at least
WORDS = 50  # pairs of the new order
RIGHT = mean("correct")
MORE_SEEDS = (*SEEDS, 5, 6, 7)


def _cells(seeds: tuple[int, ...] = SEEDS, quick: Any = lambda _: False, **axes: Any) -> list[Any]:
    """A subsample of its own for each seed."""
    fixed = {"size": ("base",), "encoding": ("ranked",), "pairs": (PAIRS,)}
    found = [cell for s in seeds for cell in grid(transfer, quick, **{**fixed, **axes}, seed=(s,), subsample=(s,))]
    return found


def _first(*counts: int) -> Any:
    return lambda p: p["seed"] == 0 and p["n"] in counts


NONE = _cells(source=("none",), n=COUNTS, quick=_first(FEW, MANY))
MIXED = _cells(source=("mixed",), n=COUNTS, quick=_first(FEW, MANY))
GAINS = [
    *NONE,
    *MIXED,
    *_cells(source=tuple(s for s in SITES if s != "mixed"), n=(FEW, 500)),
    *_cells(source=("mixed",), n=(FEW, 500), shuffled=(True,), quick=_first(FEW)),
]
ENCODED = [
    *_cells(MORE_SEEDS, source=("mixed",), n=(FEW, 500), epochs=(2.0,), quick=_first(FEW)),
    *_cells(MORE_SEEDS, source=("mixed",), n=(FEW, 500), encoding=("binary",), quick=_first(FEW)),
]
WEIGHTS = [
    *_cells(source=("mixed",), n=(FEW, 500), lm_weight=(0.0,), quick=_first(FEW)),
    *_cells(source=("mixed",), n=(FEW, 500), lm_weight=(0.1,)),
    *(c for c in MIXED if c.params["n"] in (FEW, 500)),
]


def _ends(p: Mapping[str, Any]) -> bool:
    return p["seed"] == 0 and p["distance"] in (0.0, 1.0)


_ORDER: dict[str, Any] = {"size": ("tiny",), "distance": DISTANCES, "n": (WORDS,), "seed": SEEDS}
ORDERS = [
    *grid(symbols, _ends, encoding=("none", "binary"), **_ORDER),
    *grid(symbols, _ends, encoding=("ranked",), epochs=(2.0,), **_ORDER),
]
VERSUS = [
    *grid(detector, lambda p: p["seed"] == 0, size=("base",), pairs=(PAIRS,), seed=SEEDS),
    *(c for c in NONE if c.params["n"] in (FEW, 500)),
    *_cells(source=("versus",), n=(FEW, 500), quick=_first(FEW)),
]


def a9(found: Found) -> Outcome:
    """Pre-training makes fine-tuning sample-efficient."""
    none: dict[str, Any] = {"source": "none"}
    mixed: dict[str, Any] = {"source": "mixed", "shuffled": None}
    coins: dict[str, Any] = {"source": "mixed", "shuffled": True}

    def gain(arm: Mapping[str, Any], n: int) -> Interval | None:
        return difference(found, RIGHT, {**arm, "n": n}, {**none, "n": n})

    few, many = gain(mixed, FEW), gain(mixed, MANY)
    numbers = lines(
        (f"accuracy with {FEW} pairs: all three sites − none", few, "effect"),
        (f"accuracy with {MANY} pairs: all three sites − none", many, "effect"),
        (f"with {FEW} pairs: judgements of the sites shuffled − none", gain(coins, FEW), "control"),
        (f"with {FEW} pairs: their texts read as a language model − none", gain({"source": "text"}, FEW), "control"),
        *((f"with {FEW} pairs: {s} − none", gain({"source": s}, FEW), "context") for s in SITES[:3]),
    )
    arms = {"none": none, "mixed": mixed, "shuffled": coins, "text": {"source": "text"}}
    shown = [curve(name, [(n, average(found, RIGHT, **arm, n=n)) for n in COUNTS]) for name, arm in arms.items()]
    owed = {name: difference(found, RIGHT, {**mixed, "n": FEW}, {**arm, "n": FEW}) for name, arm in arms.items()}
    shrinks = over_seeds(_shrinks(found, mixed, none))
    numbers += lines((f"gain with {FEW} pairs − gain with {MANY}", shrinks, "effect"))
    why = f"{few.estimate:+.3f} with {FEW} pairs, {many.estimate:+.3f} with {MANY}" if few and many else "too few cells"
    words = {"none": "none", "shuffled": "the judgements shuffled", "text": "the texts read as a language model"}
    conditions = {f"above {word}": above(owed[name]) for name, word in words.items()}
    conditions["the gain shrinks with more pairs"] = above(shrinks)
    return Outcome(conditions, why, numbers, [Picture("Transfer", "pairs", "accuracy", shown)])


def _shrinks(found: Found, mixed: Mapping[str, Any], none: Mapping[str, Any]) -> dict[Any, float]:
    """seed → gain with few pairs minus gain with many."""
    gains = []
    for n in (FEW, MANY):
        taught, plain = (per_seed(found, RIGHT, **arm, n=n) for arm in (mixed, none))
        gains.append({seed: taught[seed] - plain[seed] for seed in taught if seed in plain})
    return {seed: gains[0][seed] - gains[1][seed] for seed in gains[0] if seed in gains[1]}


def a10(found: Found) -> Outcome:
    """Binary pre-training transfers better than ranked."""
    gaps = {
        n: difference(found, RIGHT, {"encoding": "binary", "n": n}, {"encoding": "ranked", "n": n})
        for n in found.params("n")
    }
    numbers = lines(*((f"accuracy with {n} pairs: binary − ranked", v, "effect") for n, v in gaps.items()))
    for encoding in ("binary", "ranked"):
        untuned = average(found, mean("zero_shot"), encoding=encoding, n=FEW)
        numbers += lines((f"without fine-tuning, {encoding}", untuned, "context"))
    few = gaps.get(FEW)
    why = f"binary {few.estimate:+.3f} against ranked with {FEW} pairs" if few else "too few cells"
    return Outcome({f"binary above ranked with {FEW} pairs": above(few)}, why, numbers)


def a11(found: Found) -> Outcome:
    """A ranking is harder to unlearn."""
    points: dict[str, list[tuple[float, float]]] = {"ranked": [], "binary": []}
    shown = []
    for encoding, penalties in points.items():
        for p, f in found.where(encoding=encoding).rows:
            plain = found.where(encoding="none", distance=p["distance"], seed=p["seed"]).rows
            learnt = 2 * f["first"] - 1  # who has learnt half of the order has half of it to unlearn
            if learnt > LEARNT:
                penalties.append((p["distance"], (plain[0][1]["accuracy"] - f["accuracy"]) / learnt))
    slopes = {e: regress([y for _, y in v], d=[x for x, _ in v]).slopes["d"] for e, v in points.items() if len(v) > 2}
    for encoding in ("none", "ranked", "binary"):
        means = [(d, average(found, mean("accuracy"), encoding=encoding, distance=d)) for d in DISTANCES]
        shown.append(curve(encoding, means))
    numbers = lines(
        *((f"accuracy lost from distance 0 to 1 for each order learnt, {e}", v, "effect") for e, v in slopes.items())
    )
    for encoding in points:
        first = average(found, mean("first"), encoding=encoding, distance=1.0)
        numbers += lines((f"share of the first order that was learnt, {encoding}", first, "context"))
    holds = None
    if len(slopes) == 2:
        holds = slopes["ranked"].low > slopes["binary"].high
    why = ", ".join(f"{e} loses {v.estimate:.2f}" for e, v in slopes.items()) or "too few cells"
    picture = Picture("Unlearning", "distance of the new order", f"accuracy after {WORDS} pairs", shown)
    return Outcome({"ranked loses more with distance": holds}, why, numbers, [picture])


def a13(found: Found) -> Outcome:
    """Human against model text."""
    gain = difference(found, RIGHT, {"source": "versus", "n": FEW}, {"source": "none", "n": FEW})
    more = difference(found, RIGHT, {"source": "versus", "n": 500}, {"source": "none", "n": 500})
    probes = {
        "an expert's answer above the model's (what it was taught)": "own",
        "the same where both are worth as much (above one half it knows the speaker)": "equal",
        "the better of two answers by people": "people",
        "the better of two answers by the model": "model",
        "the model's answer above a worse one by people (low: it only knows the speaker)": "across",
    }
    cells = found.where(pairs=PAIRS, n=None)
    numbers = lines(
        (f"accuracy with {FEW} pairs: human against model − none", gain, "effect"),
        ("with 500 pairs", more, "effect"),
        *((label, average(cells, mean(key)), "context") for label, key in probes.items()),
    )
    why = f"{gain.estimate:+.3f} with {FEW} pairs" if gain else "too few cells"
    return Outcome({f"above none with {FEW} pairs": above(gain)}, why, numbers)


def a15(found: Found) -> Outcome:
    """The language loss beside it."""

    def lost(found: Mapping[str, Any]) -> float:
        return float(found["language_after"] - found["language_before"])

    full = {"lm_weight": None, "n": FEW}
    keeps = difference(found, lost, {"lm_weight": 0.0, "n": FEW}, full)
    costs = difference(found, RIGHT, full, {"lm_weight": 0.0, "n": FEW})
    numbers = lines(
        ("language loss after pre-training: weight 0 − weight 1", keeps, "effect"),
        (f"accuracy with {FEW} pairs: weight 1 − weight 0", costs, "effect"),
        ("language loss gained, weight 0", average(found, lost, lm_weight=0.0, n=FEW), "context"),
        ("language loss gained, weight 0.1", average(found, lost, lm_weight=0.1, n=FEW), "context"),
        ("language loss gained, weight 1", average(found, lost, **full), "context"),
    )
    why = (
        f"{keeps.estimate:+.3f} of language loss is spared at {costs.estimate:+.3f} in accuracy"
        if keeps and costs
        else ""
    )
    conditions = {"language is spared": above(keeps), f"accuracy is less than {COSTS} lower": above(costs, -COSTS)}
    return Outcome(conditions, why, numbers)


CLAIMS = [
    Claim(
        "A9",
        "Pre-training on public preferences saves human ones",
        "Preference-model pre-training raises accuracy after fine-tuning, most with few pairs; the gain shrinks as "
        "they grow many.",
        "reported",
        f"{PAIRS} pairs of three sites with tastes of their own, then n of the crowd's. With {FEW} pairs all three "
        "are above none, above the sites' judgements shuffled, and above their texts read as a language model, and the "
        f"gain is less with {MANY}, all with intervals that exclude 0.",
        GAINS,
        a9,
    ),
    Claim(
        "A10",
        "Binary pre-training transfers better than ranked",
        "Judging single texts good or bad in pre-training transfers better than ranking them.",
        "reported",
        f"The same {PAIRS} pairs either way, ranked ones read twice so that both read as much; eight seeds. Binary − "
        f"ranked after {FEW} pairs is above 0 with an interval that excludes 0. The language loss reads the better "
        "text twice when ranked, and both once as binary.",
        ENCODED,
        a10,
        seeds=8,
    ),
    Claim(
        "A11",
        "A ranking is harder to unlearn",
        "With orders of symbols, a model pre-trained on a ranking adapts worse to another order than one pre-trained "
        "on verdicts.",
        "reported",
        f"Twelve words in an order, then {WORDS} pairs of an order at Kendall's distance 0 to 1. What pre-training "
        "costs against none, divided by how much of the order it had learnt (2 · share right − 1), grows faster with "
        "distance for ranked than for binary: both slopes' intervals are apart.",
        ORDERS,
        a11,
    ),
    Claim(
        "A13",
        "Human against model text will do for pre-training",
        "Pairs of a human-written and a model-written text transfer, too.",
        "reported",
        f"{PAIRS} pairs of an expert's answer and the model's own, then {FEW} of the crowd's: above none with an "
        "interval that excludes 0. Controls ask whether it knows quality or only who is speaking.",
        VERSUS,
        a13,
    ),
    Claim(
        "A15",
        "A language loss beside the preference loss",
        "The language loss on the better text is added in pre-training. No number is claimed.",
        "unsure",
        "Weight 1 against 0: the language loss on unread documents grows less, with an interval that excludes 0, and "
        f"accuracy with {FEW} pairs is less than {COSTS} lower, with an interval.",
        WEIGHTS,
        a15,
    ),
]
