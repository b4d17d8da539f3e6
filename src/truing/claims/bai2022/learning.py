"""Claims about what preference models learn from how much of what (arXiv 2204.05862, §3): C1, C6, C7, C8."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from truing.claims.base import Claim, Found, Number, Outcome, Picture, grid
from truing.claims.judging import (
    PARAMETERS,
    SEEDS,
    SIZES,
    Value,
    above,
    average,
    below,
    contains,
    curve,
    denied,
    difference,
    lines,
    mean,
    over_seeds,
    per_seed,
    sizes_in,
    trend,
)
from truing.claims.preference import trained
from truing.stats.effects import Fit, equivalent, regress
from truing.stats.intervals import Interval

BOTH = "helpful+harmless"
TESTS = ("helpful", "harmless")
AMOUNTS = (500, 1000, 2000, 4000)
THREE = SEEDS[:3]
N, SHARES, FEWER_SHARES, WEIGHTS = 2000, tuple(i / 10 for i in range(11)), (0.0, 0.1, 0.5, 0.9, 1.0), (2.0, 3.0, 10.0)
INNER = FEWER_SHARES[1:-1]
STRAIGHT = 0.8
NEAR, SKILL_PAIRS, SKILL_EQUAL = 0.03, 1000, 0.01
MIXED = "base"  # the size whose mixtures are scanned in steps of a tenth
OWN = {"helpful": 0.0, "harmless": 1.0}  # the share at which a model has learnt nothing else
RIGHT: dict[str, Value] = {name: mean(f"{name}/accuracy") for name in TESTS}


def _at(**ends: Any) -> Any:
    """Seed 0 and these values."""
    return lambda p: p["seed"] == 0 and all(p[name] in values for name, values in ends.items())


_ends = _at(size=("tiny", "base"), n=(500, N))
GROWTH = [
    *grid(trained, _ends, size=SIZES, data=(BOTH,), n=AMOUNTS, share=(0.5,), seed=THREE),
    *grid(trained, size=(MIXED,), data=(BOTH,), n=(N,), share=(0.5,), control=("shuffled",), seed=THREE),
]
_mixed = _at(size=(MIXED,), share=(0.0, 0.5, 1.0))
SCAN = grid(trained, _mixed, size=(MIXED,), data=(BOTH,), n=(N,), share=SHARES, seed=SEEDS)
MILD = grid(
    trained, size=(MIXED,), data=(BOTH,), n=(N,), share=(0.0, 1.0), control=("no refusals",), tests=(TESTS,), seed=SEEDS
)
SIZED = [
    *grid(
        trained,
        _at(size=("tiny",), share=FEWER_SHARES),
        size=[s for s in SIZES if s != MIXED],
        data=(BOTH,),
        n=(N,),
        share=FEWER_SHARES,
        seed=THREE,
    ),
    *(c for c in SCAN if c.params["share"] in FEWER_SHARES and c.params["seed"] in THREE),
    *grid(trained, size=("tiny", MIXED), data=(BOTH,), n=(N,), share=(0.5,), weight=WEIGHTS, seed=THREE),
]
_SKILLED = {"size": (MIXED,), "count": (2000,), "seed": (*SEEDS, 5, 6, 7)}
SKILLED = [
    *grid(trained, _at(), data=("helpful",), n=(SKILL_PAIRS,), tests=(("helpful",),), **_SKILLED),
    *grid(trained, _at(), data=("summaries",), n=(SKILL_PAIRS,), tests=(("summaries",),), **_SKILLED),
    *grid(
        trained,
        _at(),
        data=("helpful+summaries",),
        n=(2 * SKILL_PAIRS,),
        share=(0.5,),
        tests=(("helpful", "summaries"),),
        **_SKILLED,
    ),
]


def both(found: Mapping[str, Any]) -> float:
    return float(np.mean([found[f"{name}/accuracy"] for name in TESTS]))


def c1(found: Found) -> Outcome:
    """Accuracy over sizes and amounts."""
    clean = found.where(control=None)
    fits = {name: _plane(clean, value) for name, value in {"both tests": both, **RIGHT}.items()}
    plane, most = fits["both tests"], {"size": MIXED, "n": N}
    numbers = [
        Number(
            f"accuracy on {name} with each factor e of {word}",
            fit.slopes[key],
            "effect" if name == "both tests" else "context",
        )
        for name, fit in fits.items()
        if fit
        for key, word in (("size", "parameters"), ("amount", "comparisons"))
    ]
    numbers += lines(
        ("R² of the plane", plane.r2 if plane else None, "effect"),
        ("accuracy where coins said which is better", average(found, both, control="shuffled"), "control"),
        *((f"what no model exceeds, {t}", average(clean, mean(f"{t}/ceiling"), **most), "context") for t in TESTS),
    )
    shown = [
        curve(size, [(n, average(clean, both, size=size, n=n)) for n in clean.params("n")]) for size in sizes_in(clean)
    ]
    coins = contains(average(found, both, control="shuffled"), 0.5)
    conditions = {
        "rises with parameters": above(plane.slopes["size"]) if plane else None,
        "rises with comparisons": above(plane.slopes["amount"]) if plane else None,
        f"R² at least {STRAIGHT}": plane.r2 >= STRAIGHT if plane else None,
        "coins teach nothing": coins,
    }
    why = f"R² = {plane.r2:.2f} over the logs of parameters and comparisons" if plane else "too few cells"
    return Outcome(conditions, why, numbers, [Picture("Accuracy", "comparisons", "mean of both tests", shown)])


def _plane(found: Found, value: Value) -> Fit | None:
    """A value over ln parameters and ln comparisons; one point per cell."""
    size = [math.log(PARAMETERS[p["size"]]) for p, _ in found.rows]
    amount = [math.log(p["n"]) for p, _ in found.rows]
    if len(set(size)) < 2 or len(set(amount)) < 2 or len(found) < 4:
        return None
    return regress([value(f) for _, f in found.rows], size=size, amount=amount)


def c6(found: Found) -> Outcome:
    """Helpful and harmless pull apart, and a mixture holds both."""
    clean, mild = found.where(control=None), found.where(control="no refusals")
    crossed, vanish = _crossed(clean), _crossed(mild)
    behind = {t: difference(clean, RIGHT[t], {"share": 0.5}, {"share": own}) for t, own in OWN.items()}
    numbers = lines(
        *((f"accuracy on {t} pairs of the model that learnt none", v, "effect") for t, v in crossed.items()),
        *((f"{t} pairs: half and half − all {t}", v, "effect") for t, v in behind.items()),
        *((f"{t} pairs, none learnt, without refusals anywhere", v, "control") for t, v in vanish.items()),
    )
    shown = [
        curve(f"{t} pairs", [(s, average(clean, RIGHT[t], share=s)) for s in clean.params("share")]) for t in TESTS
    ]
    conditions = {
        **{f"below chance on {t} pairs without any": below(v, 0.5) for t, v in crossed.items()},
        **{f"half and half at most {NEAR} below all {t}": above(v, -NEAR) for t, v in behind.items()},
        **{f"{t}: not below chance without refusals": denied(below(v, 0.5)) for t, v in vanish.items()},
    }
    why = ", ".join(f"{v.estimate:.2f} on {t} pairs without having learnt any" for t, v in crossed.items() if v)
    return Outcome(conditions, why, numbers, [Picture("Mixtures", "share of harmless", "accuracy", shown)])


def _crossed(found: Found) -> dict[str, Interval | None]:
    """test → accuracy of the model that has learnt only the other kind."""
    return {t: average(found, RIGHT[t], share=1 - own) for t, own in OWN.items()}


def c7(found: Found) -> Outcome:
    """Larger models lose less by mixing."""
    scan = found.where(weight=None)
    lost = {size: _area(scan.where(size=size)) for size in sizes_in(scan)}
    falls = trend([(size, value) for size, values in lost.items() for value in values.values()])
    numbers = lines(
        ("rank correlation of the area lost with size", falls.rho if falls.known else None, "effect"),
        *((f"area lost by mixing, {size}", over_seeds(values), "context") for size, values in lost.items()),
    )
    for size in found.where(weight=WEIGHTS[-1]).params("size"):
        plain = {"size": size, "share": 0.5, "weight": None}
        for weight in WEIGHTS:
            costs = difference(found, RIGHT["helpful"], {**plain, "weight": weight}, plain)
            gains = difference(found, both, {**plain, "weight": weight}, plain)
            numbers += lines(
                (f"helpful accuracy with harmless weighted {weight:g} − 1, {size}", costs, "context"),
                (f"mean accuracy so, {size}", gains, "context"),
            )
    shown = [curve("area lost", [(PARAMETERS[size], over_seeds(values)) for size, values in lost.items()])]
    picture = Picture("Lost by mixing", "parameters", "of each test's best, mean over mixtures", shown)
    ends = [f"{v.estimate:.3f}" for values in lost.values() if (v := over_seeds(values))]
    why = f"{' → '.join(ends)} of the best is lost, from the smallest to the largest"
    return Outcome({"the area lost falls with size": falls.goes(-1)}, why, numbers, [picture])


def _area(found: Found) -> dict[Any, float]:
    """seed → mean over tests and inner mixtures of 1 − accuracy / the best at any mixture."""
    sums: dict[Any, list[float]] = {}
    for value in RIGHT.values():
        scans = {share: per_seed(found, value, share=share) for share in FEWER_SHARES}
        for seed in scans[INNER[0]]:
            best = max(scan[seed] for scan in scans.values() if seed in scan)
            sums.setdefault(seed, []).extend(1 - scans[s][seed] / best for s in INNER if seed in scans[s])
    return {seed: float(np.mean(values)) for seed, values in sums.items()}


def c8(found: Found) -> Outcome:
    """Another skill is free."""
    numbers, same = list[Number](), dict[str, bool | None]()
    for name in ("helpful", "summaries"):
        value = mean(f"{name}/accuracy")
        alone = per_seed(found, value, data=name)
        mixed = per_seed(found, value, data="helpful+summaries")
        gaps = [mixed[seed] - alone[seed] for seed in alone if seed in mixed]
        interval, equal = equivalent(gaps, SKILL_EQUAL) if len(gaps) > 1 else (over_seeds(dict(enumerate(gaps))), None)
        same[f"{name}: as good as alone"] = equal
        numbers += lines(
            (f"{name}: both learnt − {name} alone (90 %)", interval, "effect"),
            (f"{name} alone", over_seeds(alone), "context"),
        )
    why = "as good as equal" if all(same.values()) else f"not shown to be within {SKILL_EQUAL} for both"
    return Outcome(same, why, numbers)


CLAIMS = [
    Claim(
        "C1",
        "Accuracy grows with the logs of size and data",
        "Preference model accuracy is about linear in the logarithms of parameters and of comparisons.",
        "verified",
        f"Half helpful, half harmless, {AMOUNTS[0]} to {AMOUNTS[-1]} comparisons, four sizes: both slopes of the plane "
        "through the mean of the two tests are above 0 with intervals that exclude 0, and its R² is at least "
        f"{STRAIGHT}. Where coins say which answer is better, accuracy is one half.",
        GROWTH,
        c1,
        seeds=3,
    ),
    Claim(
        "C6",
        "Helpfulness and harmlessness are opposed, and a mixture holds both",
        "A model of only one does worse than chance on the other's comparisons; one of a mixture is good at both.",
        "verified",
        f"{N} comparisons in eleven mixtures, world:{MIXED}. Each pure model is below 0.5 on the other test, with "
        f"intervals, and half and half is at most {NEAR} below either, with intervals. Without pairs of an answer "
        "and a refusal the pure models are not shown to be below chance.",
        [*SCAN, *MILD],
        c6,
    ),
    Claim(
        "C7",
        "Larger models lose less by mixing",
        "The more harmlessness counts, the more helpfulness a small preference model loses; a large one loses little.",
        "reported",
        f"{N} comparisons, four sizes: what is lost of a test's best accuracy, mean over the mixtures from a tenth to "
        "nine, falls with size by rank (p < 0.05). Weights of the harmless comparisons beside it.",
        SIZED,
        c7,
        seeds=3,
    ),
    Claim(
        "C8",
        "Another skill is free",
        "Comparisons of summaries can be learnt beside the others without loss on either.",
        "reported",
        f"{SKILL_PAIRS} comparisons of each: learnt together against alone, on both tests within {SKILL_EQUAL} by two "
        "one-sided tests; eight seeds.",
        SKILLED,
        c8,
        seeds=8,
    ),
]
