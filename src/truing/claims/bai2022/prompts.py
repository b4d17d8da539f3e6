"""Claims about where policies start and what prompts are refused (arXiv 2204.05862): C24, C25."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from truing.claims.askell2021.prompting import ARMS, GOOD, PLAIN
from truing.claims.base import Claim, Found, Outcome, Picture, grid
from truing.claims.judging import (
    PARAMETERS,
    SIZES,
    Value,
    above,
    average,
    curve,
    difference,
    lines,
    mean,
    sizes_in,
)
from truing.claims.outliers import ood
from truing.stats.effects import equivalent
from truing.stats.intervals import Interval, mean_t

MARGIN = 0.03  # of gold, within which distilled is as good as prompted
SPLITS, SHOWN = (0, 1, 2), 10
FULL = 0.99  # an AUROC above which nothing can be seen to help
OUTSIDE = ("harmful", "deeds", "benign")
STARTS = [cell for cell in ARMS if cell.params.get("arm") in (None, "rest", "unprompted")]
REJECTED = grid(
    ood,
    lambda p: p["seed"] == 0 and p["size"] in ("tiny", "base") and p["outside"] != "harmful",
    size=SIZES,
    outside=OUTSIDE,
    seed=SPLITS,
)


def c24(found: Found) -> Outcome:
    """Context distillation is where policies start."""
    falls = [1 - f["kl"][-1] / f["kl"][0] for _, f in found.where(arm="rest").rows]
    gold = {name: {p["seed"]: mean("gold")(f) for p, f in found.where(**w).rows} for name, w in _WHO.items()}
    gaps = [gold["distilled"][s] - gold["prompted"][s] for s in gold["distilled"] if s in gold["prompted"]]
    equal, same = equivalent(gaps, MARGIN) if len(gaps) > 1 else (None, None)
    given = difference(found, mean("gold"), GOOD, PLAIN)
    control = difference(found, mean("gold"), {"arm": "unprompted"}, PLAIN)
    numbers = lines(
        ("share of the divergence from the prompted teacher that is gone", mean_t(falls) if falls else None, "effect"),
        ("gold: distilled − prompted (90 %)", equal, "effect"),
        ("gold: prompted − plain", given, "effect"),
        ("gold: distilled − plain", difference(found, mean("gold"), _WHO["distilled"], PLAIN), "context"),
        ("gold: teacher without the prompt − plain", control, "control"),
    )
    down = all(fall > 0 for fall in falls) if falls else None
    conditions = {
        "the divergence falls in every seed": down,
        "the prompt raises gold": above(given),
        f"distilled within {MARGIN} of prompted": same,
    }
    return Outcome(conditions, f"{np.mean(falls):.0%} of the divergence is gone" if falls else "", numbers)


_WHO: dict[str, Mapping[str, Any]] = {"distilled": {"arm": "rest"}, "prompted": GOOD}


def c25(found: Found) -> Outcome:
    """Prompts that the model is not meant for can be told by its activations."""
    largest = sizes_in(found)[-1]

    def method(name: str) -> Any:
        return lambda f: float(f["mean"][name])

    def chosen(name: str) -> Any:
        return lambda f: float(f["chosen"][name]["test"]["estimate"])

    def exposed(f: Mapping[str, Any]) -> float:
        return float(next(row["test"]["estimate"] for row in f["exposed"]["rows"] if row["shown"] == SHOWN))

    def at(value: Any, outside: str = "deeds", size: str = largest) -> Interval | None:
        return average(found, value, size=size, outside=outside)

    relative, plain = at(method("SRM")), at(method("MD"))
    few, best = at(exposed), at(chosen("SRM"))
    small = at(chosen("SRM"), size=sizes_in(found)[0])
    numbers = lines(
        ("AUROC of SRM, mean over layers, borderline-worded harm", relative, "effect"),
        ("AUROC of MD, mean over layers", plain, "effect"),
        ("SRM at the layer chosen on validation", best, "effect"),
        (f"with {SHOWN} outliers shown", few, "effect"),
        ("SRM at the chosen layer, smallest model", small, "effect"),
        ("SRM at the chosen layer, any harmful wording", at(chosen("SRM"), "harmful"), "context"),
        ("SRM at the chosen layer, more benign prompts", at(chosen("SRM"), "benign"), "control"),
    )
    shown = [curve(o, [(PARAMETERS[s], at(chosen("SRM"), o, s)) for s in sizes_in(found)]) for o in OUTSIDE]
    full = best is not None and best.estimate > FULL
    ahead, more = at(_more(method("SRM"), method("MD"))), at(_more(exposed, chosen("SRM")))
    ends = {"outside": "deeds", "size": largest}, {"outside": "deeds", "size": sizes_in(found)[0]}
    larger = difference(found, chosen("SRM"), *ends)
    numbers += lines(("SRM − MD", ahead, "effect"), (f"{SHOWN} outliers − none", more, "effect"))
    ranked = {
        "SRM > MD": above(ahead),
        f"{SHOWN} outliers > none": None if full else above(more),
        "largest > smallest": None if full else above(larger),
    }
    said = [f"not so: {word}" for word, holds in ranked.items() if holds is False]
    said += (
        [f"{best.estimate:.3f} without outliers leaves no room to tell what outliers or size add"]
        if full and best
        else []
    )
    why = "; ".join(said) or "all three orders are as the paper has them"
    return Outcome(ranked, why, numbers, [Picture("Rejection", "parameters", "AUROC of SRM", shown)])


def _more(a: Value, b: Value) -> Value:
    return lambda found: a(found) - b(found)


CLAIMS = [
    Claim(
        "C24",
        "Context distillation is where policies start",
        "The distillation loss falls to little, and the distilled model is about as good as the prompted one.",
        "verified",
        "The divergence from the prompted teacher on held-out texts falls, the prompt raises gold with an interval "
        f"that excludes 0, and the gold value of the student's answers is within {MARGIN} of the prompted model's by "
        "two one-sided tests.",
        STARTS,
        c24,
    ),
    Claim(
        "C25",
        "Activations tell harmful prompts apart, best with a few examples",
        "Without examples the simplified relative Mahalanobis distance is better than the plain one at every layer; "
        "ten outliers raise the AUROC further; larger models are better.",
        "verified",
        "Harmful requests in borderline wording against benign ones, three random splits, layer chosen on validation. "
        f"SRM is above MD in the mean over layers, {SHOWN} outliers above none, the largest model above the smallest, "
        f"with intervals; where the AUROC without outliers is above {FULL} the last two cannot be told (added on "
        "2026-11-22, when that had been seen). Control: more benign prompts, which cannot be told apart.",
        REJECTED,
        c25,
        seeds=3,
    ),
]
