"""Claims about what preferences are learnt with (arXiv 2112.00861, §3 and §4): A7, A8, A12."""

from __future__ import annotations

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
    together,
    trend,
)
from truing.claims.preference import objectives, read_out
from truing.stats.effects import equivalent
from truing.stats.intervals import Interval
from truing.world.tasks import BINARY, RANKED

N, TESTED = 1000, 500
AHEAD, EQUAL = 0.05, 0.03  # of accuracy: by how much ranked has to be better; within which binary is as good
FEW = (100, 300, 1000)
READ_AT = 300
READS = ("eoc", "end", "mean")
RIGHT = mean("accuracy")


def _sentinel(p: Mapping[str, Any]) -> bool:
    return p["seed"] == 0 and p["size"] == "tiny" and p["objective"] != "none"


_TAUGHT: dict[str, Any] = {"n": (N,), "count": (TESTED,), "seed": SEEDS}
_LARGEST: dict[str, Any] = {"size": SIZES[-1:], **_TAUGHT}
ORDERS = [
    *grid(objectives, _sentinel, size=SIZES, family=tuple(RANKED), objective=("ranked", "imitation"), **_TAUGHT),
    *grid(objectives, family=tuple(RANKED), objective=("imitation",), equal=("tokens",), **_LARGEST),
    *grid(objectives, family=tuple(RANKED), objective=("none",), **_LARGEST),
    *grid(
        objectives,
        lambda p: p["seed"] == 0,
        size=("tiny",),
        family=tuple(RANKED),
        objective=("ranked",),
        control=("shuffled",),
        **_TAUGHT,
    ),
]
VERDICTS = [
    *grid(objectives, _sentinel, size=SIZES, family=tuple(BINARY), objective=("ranked", "imitation"), **_TAUGHT),
    *grid(objectives, family=tuple(BINARY), objective=("none",), **_LARGEST),
]
READ = grid(
    read_out,
    lambda p: p["seed"] == 0 and p["n"] == READ_AT,
    size=("base",),
    n=FEW,
    read=READS,
    seed=SEEDS,
)


def _ahead(found: Found, size: str, a: str, b: str = "imitation") -> dict[Any, float]:
    """seed → mean over families of a's accuracy minus b's, given the same pairs."""
    return together(
        found,
        RIGHT,
        "family",
        {"size": size, "objective": a, "control": None},
        {"size": size, "objective": b, "equal": None},
    )


def a7(found: Found) -> Outcome:
    """Ranked preference models are ahead of imitation."""
    sizes = sizes_in(found.where(control=None))
    gaps = {size: _ahead(found, size, "ranked") for size in sizes}
    last = over_seeds(gaps[sizes[-1]])
    grows = trend([(size, gap) for size in sizes for gap in gaps[size].values()])
    numbers = lines(
        ("accuracy at the largest size: ranked − imitation", last, "effect"),
        ("rank correlation of the gap with size", grows.rho if grows.known else None, "effect"),
    )
    numbers += _by_family(found, sizes[-1], "ranked", "imitation")
    coins = over_seeds(together(found, RIGHT, "family", {"control": "shuffled"}))
    numbers += lines(("accuracy where coins said which is better, tiny", coins, "control"))
    numbers += _beside(found, sizes[-1], {"objective": "imitation", "equal": "tokens"}, "imitation, as much to read")
    numbers += _beside(found, sizes[-1], {"objective": "none"}, "the language model itself")
    why = f"ranked is {last.estimate:+.3f} from imitation at the largest size" if last else "too few cells"
    shown = [_accuracy(found, sizes, objective) for objective in ("ranked", "imitation")]
    picture = Picture("Ranked families", "parameters", "accuracy", shown)
    conditions = {
        f"more than {AHEAD} ahead at the largest size": above(last, AHEAD),
        "the gap grows with size": grows.goes(1),
        "coins teach nothing": contains(coins, 0.5),
    }
    return Outcome(conditions, why, numbers, [picture])


def a8(found: Found) -> Outcome:
    """Binary discrimination is about as good as imitation."""
    sizes, numbers, same, said = sizes_in(found), list[Number](), dict[str, bool | None](), list[str]()
    for family in found.params("family"):
        cells = found.where(family=family, size=sizes[-1])
        taught, imitated = (per_seed(cells, RIGHT, objective=objective) for objective in ("ranked", "imitation"))
        gaps = {seed: taught[seed] - imitated[seed] for seed in taught if seed in imitated}
        interval, equal = equivalent(list(gaps.values()), EQUAL) if len(gaps) > 1 else (over_seeds(gaps), None)
        same[f"as good on {family}"] = equal
        said += [f"{interval.estimate:+.3f} on {family}"] if interval else []
        numbers += lines((f"{family}: preference model − imitation (90 %)", interval, "effect"))
    numbers += _beside(found, sizes[-1], {"objective": "none"}, "the language model itself")
    shown = [_accuracy(found, sizes, objective) for objective in ("ranked", "imitation")]
    why = f"the preference model is {', '.join(said)} from imitation at the largest size"
    return Outcome(same, why, numbers, [Picture("Binary families", "parameters", "accuracy", shown)])


def _by_family(found: Found, size: str, a: str, b: str) -> list[Any]:
    one = {"size": size, "control": None, "equal": None}
    return [
        line
        for family in found.params("family")
        for line in lines(
            (
                f"{family}: {a} − {b}",
                difference(found.where(family=family), RIGHT, {**one, "objective": a}, {**one, "objective": b}),
                "context",
            )
        )
    ]


def _beside(found: Found, size: str, where: Mapping[str, Any], name: str) -> list[Any]:
    return lines(
        (f"accuracy: {name}", over_seeds(together(found, RIGHT, "family", {"size": size, **where})), "context")
    )


def _accuracy(found: Found, sizes: Any, objective: str) -> Any:
    where = {"objective": objective, "control": None, "equal": None}
    values = {s: over_seeds(together(found, RIGHT, "family", {"size": s, **where})) for s in sizes}
    return curve(objective, [(PARAMETERS[size], value) for size, value in values.items()])


def a12(found: Found) -> Outcome:
    """A token of its own to read the score at."""

    def gain(value: Value, other: str, n: int) -> Interval | None:
        return difference(found, value, {"read": "eoc", "n": n}, {"read": other, "n": n})

    at = READ_AT
    cut = {other: gain(mean("cut/right"), other, at) for other in READS[1:]}
    whole = {other: gain(RIGHT, other, at) for other in READS[1:]}
    words = {"end": "the last token", "mean": "the mean of all"}
    numbers = lines(
        *((f"cut replies, {at} pairs: end of context − {words[o]}", v, "effect") for o, v in cut.items()),
        *((f"all, {at} pairs: end of context − {words[o]}", v, "effect") for o, v in whole.items()),
        *((f"accuracy on cut replies, {read}", _cut(found, read, at), "context") for read in READS),
    )
    shown = [curve(read, [(n, _cut(found, read, n)) for n in FEW]) for read in READS]
    conditions = {f"cut replies: above {words[o]}": above(v) for o, v in cut.items()} | {
        f"all: not below {words[o]}": denied(below(v)) for o, v in whole.items()
    }
    levels = [v.estimate for read in READS if (v := _cut(found, read, at))]
    why = f"on cut replies {', '.join(f'{v:.3f}' for v in levels)} by {', '.join(READS)}" if levels else "too few cells"
    return Outcome(conditions, why, numbers, [Picture("Replies that are cut", "pairs", "accuracy", shown)])


def _cut(found: Found, read: str, n: int) -> Interval | None:
    return average(found, lambda f: float(np.mean(f["cut/right"])), read=read, n=n)


CLAIMS = [
    Claim(
        "A7",
        "Ranked preference modelling is ahead of imitation",
        "On tasks whose answers are ranked, preference models are well above imitation learning, and the gap grows "
        "with size.",
        "reported",
        f"Three ranked families, {N} items, the same data, passes and share of the learning rate for both; imitation "
        "at its best way to choose, picked with the test in view. Ranked − imitation, mean over families, is above "
        f"{AHEAD} at the largest size with an interval that excludes it, and rises with size by rank (p < 0.05). "
        "Where coins say which answer is better, accuracy is one half.",
        ORDERS,
        a7,
    ),
    Claim(
        "A8",
        "Binary discrimination is about as good as imitation",
        "On tasks whose answers are right or wrong, there is no material gap, and both scale alike.",
        "reported",
        f"Three binary families, {N} pairs of a right and a wrong answer, for both; the preference model learns from "
        f"pairs as everywhere. At the largest size the difference is within {EQUAL} on each by two one-sided tests: "
        "not to find a difference would not be enough. Imitation at its best way to choose.",
        VERDICTS,
        a8,
    ),
    Claim(
        "A12",
        "An end-of-context token is the place to read the score",
        "Reading the score at a token of its own, after the end, helps.",
        "reported",
        f"A third of the worse replies are the better one cut off, a third have rudeness behind it; {READ_AT} pairs. "
        "At that token cut replies are told better than at the last token and than by the mean of all, with intervals "
        "that exclude 0, and accuracy over all is not shown to be below either.",
        READ,
        a12,
    ),
]
