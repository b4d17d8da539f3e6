"""Claims about what preference models know, and how sure they are of it (arXiv 2204.05862, §3): C2, C3, C4."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from truing.claims.bai2022.learning import BOTH, N
from truing.claims.base import Claim, Found, Outcome, Picture, grid
from truing.claims.judging import (
    SEEDS,
    SIZES,
    Value,
    above,
    average,
    below,
    curve,
    lines,
    over_seeds,
    per_seed,
    sizes_in,
)
from truing.claims.preference import trained
from truing.stats.calibration import Calibration, calibration
from truing.stats.intervals import Interval
from truing.stats.pairs import FEWEST

LARGE_TEST, QUICK_SIZE = 5000, "small"
SLACK, TEMPERATURES = 0.01, (0.85, 1.15)
PASSES = 5.0  # that should break calibration
DRAWS = 300
QUANTILES, HIGH, GAP_BINS = tuple(i / 10 for i in range(10)), 0.8, 10


def _first(p: Mapping[str, Any]) -> bool:
    return p["seed"] == 0 and p["size"] == QUICK_SIZE


_ASKED: dict[str, Any] = {"n": (N,), "count": (LARGE_TEST,), "seed": SEEDS}
SIZED = SIZES[:-1]
HELPFUL = grid(trained, _first, size=SIZED, data=("helpful",), tests=(("helpful",),), **_ASKED)
MIXED = grid(trained, size=SIZED, data=(BOTH,), share=(0.5,), tests=(("helpful", "harmless"),), **_ASKED)
OFTEN = grid(
    trained, _first, size=(QUICK_SIZE, "base"), data=("helpful",), tests=(("helpful",),), epochs=(PASSES,), **_ASKED
)
ONCE: dict[str, Any] = {"epochs": None, "data": "helpful"}


def right_at(test: str, first: bool) -> Value:
    """Accuracy at the first turn, or at all later ones."""

    def value(found: Mapping[str, Any]) -> float:
        chosen = (np.array(found[f"{test}/turns"]) == 1) == first
        return float(_right(found, test)[chosen].mean())

    return value


def _right(found: Mapping[str, Any], test: str) -> np.ndarray:
    return np.asarray((np.sign(found[f"{test}/gaps"]) + 1) / 2)


def c2(found: Found) -> Outcome:
    """The first turn is easier."""
    numbers, gaps, shown = [], {}, []
    for test in ("helpful", "harmless"):
        cells = found.where(size=sizes_in(found)[-1], data="helpful" if test == "helpful" else BOTH)
        early, late = (per_seed(cells, right_at(test, first)) for first in (True, False))
        gaps[test] = over_seeds({seed: early[seed] - late[seed] for seed in early})
        numbers += lines(
            (f"{test}: accuracy at the first turn − later", gaps[test], "effect" if test == "helpful" else "context"),
            (f"{test}: the same of one who knows the worker's chances", _known(cells, test), "control"),
        )
        shown.append(curve(test, [(turn, average(cells, _at_turn(test, turn))) for turn in (1, 2, 3, 4) if len(cells)]))
    first = gaps["helpful"]
    why = f"{first.estimate:+.3f} at the first turn" if first else "too few cells"
    return Outcome(
        {"easier at the first turn": above(first)}, why, numbers, [Picture("Turns", "turn", "accuracy", shown)]
    )


def _at_turn(test: str, turn: int) -> Value:
    return lambda found: float(_right(found, test)[np.array(found[f"{test}/turns"]) == turn].mean())


def _known(cells: Found, test: str) -> Interval | None:
    """First turn − later of the ceiling: a turn whose answers are closer in worth is harder for everybody."""
    values = {}
    for params, one in cells.rows:
        chance, early = np.array(one[f"{test}/chances"]), np.array(one[f"{test}/turns"]) == 1
        best = np.maximum(chance, 1 - chance)
        values[params["seed"]] = float(best[early].mean() - best[~early].mean())
    return over_seeds(values)


def c3(found: Found) -> Outcome:
    """Stated chances come true."""
    size = sizes_in(found)[-1]
    once = found.where(size=size, **ONCE)
    told = _told(once, ("helpful",))
    often = _told(found.where(size=size, epochs=PASSES), ("helpful",))
    both = _told(found.where(size=size, data=BOTH), ("helpful", "harmless"))
    numbers = lines(
        ("ECE beyond what a perfect predictor shows 19 times of 20", over_seeds(_beyond(told)), "effect"),
        ("temperature", over_seeds(_temperatures(told)), "effect"),
        (f"temperature after {PASSES:g} passes (above 1: too sure)", over_seeds(_temperatures(often)), "control"),
        ("temperature of helpful and harmless together", over_seeds(_temperatures(both)), "context"),
        ("ECE", over_seeds({seed: one.ece for seed, one in told.items()}), "context"),
        ("distance of stated from true chances", average(once, _off), "context"),
    )
    low, high = TEMPERATURES
    fine = [one.ece <= one.floor_95 + SLACK and low <= one.temperature <= high for one in told.values()]
    sure = [one.temperature > 1 for one in often.values()]
    shown = [curve(s, [(i, average(found.where(size=s, **ONCE), _bin(i))) for i in range(10)]) for s in sizes_in(found)]
    shown.append(curve("stated", [(i, average(once, _bin(i, stated=True))) for i in range(10)]))
    conditions = {
        "calibrated by both measures in every seed": all(fine) if fine else None,
        f"{PASSES:g} passes make it too sure": all(sure) if sure else None,
    }
    why = f"{sum(fine)} of {len(fine)} models are calibrated by both measures, world:{size}"
    return Outcome(conditions, why, numbers, [Picture("Reliability", "tenth, from unsure to sure", "came true", shown)])


def _told(found: Found, tests: Sequence[str]) -> dict[Any, Calibration]:
    """seed → how well stated chances come true."""
    gaps = {p["seed"]: [gap for test in tests for gap in f[f"{test}/gaps"]] for p, f in found.rows}
    return {seed: calibration(each, draws=DRAWS) for seed, each in gaps.items()}


def _beyond(told: Mapping[Any, Calibration]) -> dict[Any, float]:
    return {seed: one.ece - one.floor_95 for seed, one in told.items()}


def _temperatures(told: Mapping[Any, Calibration]) -> dict[Any, float]:
    return {seed: one.temperature for seed, one in told.items()}


def _off(found: Mapping[str, Any]) -> float:
    return float(np.abs(expit(np.array(found["helpful/gaps"])) - np.array(found["helpful/chances"])).mean())


def _bin(number: int, stated: bool = False) -> Value:
    def value(found: Mapping[str, Any]) -> float:
        order = np.argsort(np.abs(found["helpful/gaps"]))
        part = np.array_split(order, 10)[number]
        chances = expit(np.abs(np.array(found["helpful/gaps"])[part]))
        return float((chances if stated else _right(found, "helpful")[part]).mean())

    return value


def c4(found: Found) -> Outcome:
    """Among good answers it is harder to say which is better."""
    cells = found.where(size=sizes_in(found)[-1], data="helpful")
    falls = over_seeds({p["seed"]: _above(HIGH)(f) - _above(0.0)(f) for p, f in cells.rows})
    matched = over_seeds({p["seed"]: value for p, f in cells.rows if (value := _matched(f)) is not None})
    share = f"{1 - HIGH:.0%} highest scores"
    numbers = lines(
        (f"accuracy where both are among the {share} − all", falls, "effect"),
        ("the same among pairs whose scores are as far apart", matched, "context"),
    )
    shown = [curve("accuracy", [(q, average(cells, _above(q))) for q in QUANTILES])]
    why = f"{falls.estimate:+.3f} where both score high" if falls else "too few cells"
    return Outcome(
        {"harder where both score high": below(falls)},
        why,
        numbers,
        [Picture("High scores", "share of scores below both", "accuracy", shown)],
    )


def _high(found: Mapping[str, Any], quantile: float) -> np.ndarray:
    """Which pairs have both scores at or above this quantile of all scores."""
    scores = np.array(found["helpful/scores"])
    return np.asarray(scores.min(axis=1) >= np.quantile(scores, quantile))


def _above(quantile: float) -> Value:
    return lambda found: float(_right(found, "helpful")[_high(found, quantile)].mean())


def _matched(found: Mapping[str, Any]) -> float | None:
    """High pairs − all pairs, in bins of the gap's size, weighted as the high ones are."""
    gap, right, high = np.abs(found["helpful/gaps"]), _right(found, "helpful"), _high(found, HIGH)
    if high.sum() < FEWEST:
        return None
    edges = np.quantile(gap[high], np.linspace(0, 1, GAP_BINS + 1))
    place = np.clip(np.searchsorted(edges, gap, side="right") - 1, 0, GAP_BINS - 1)
    inside = (gap >= edges[0]) & (gap <= edges[-1])
    parts = [(high & (place == b), inside & (place == b)) for b in range(GAP_BINS)]
    known = [(h.sum(), right[h].mean() - right[a].mean()) for h, a in parts if h.any()]
    return float(np.average([value for _, value in known], weights=[count for count, _ in known]))


CLAIMS = [
    Claim(
        "C2",
        "The first turn is a little easier",
        "Accuracy is a few points higher at the first turn of a conversation than later, and then about flat.",
        "reported",
        f"{LARGE_TEST} held-out comparisons: accuracy at the first turn minus later ones is above 0 for helpful "
        "comparisons, with an interval that excludes 0. Control: the same of one who knows the worker's chances.",
        [*HELPFUL, *MIXED],
        c2,
    ),
    Claim(
        "C3",
        "Stated chances come true",
        "The chances that preference models state come true about as often as they say.",
        "verified",
        f"{LARGE_TEST} comparisons by a worker without bias, one pass over {N}: in every seed ECE is at most {SLACK} "
        "beyond what a perfect predictor shows 19 times of 20, and the temperature that would mend it within "
        f"{TEMPERATURES[0]} and {TEMPERATURES[1]}. Control: {PASSES:g} passes must make it too sure.",
        [*HELPFUL, *MIXED, *OFTEN],
        c3,
    ),
    Claim(
        "C4",
        "Pairs that both score high are harder",
        "The higher both scores, the lower the accuracy.",
        "verified",
        f"Accuracy among pairs both of whose scores are in the upper {1 - HIGH:.0%} minus accuracy of all is below 0, "
        "with an interval that excludes 0. Beside it: how much of that is owed to scores that lie closer together.",
        HELPFUL,
        c4,
    ),
]
