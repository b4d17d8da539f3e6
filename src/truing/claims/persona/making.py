"""Claims about vectors and what they do to a model that learns nothing (arXiv 2507.21509): V1, V2, V3."""

from __future__ import annotations

import numpy as np

from truing.claims.base import Claim, Curve, Found, Outcome, Picture
from truing.claims.judging import SEEDS, Value, above, average, below, lines, over_seeds
from truing.claims.persona.cells import LAYER, MADE, PLACES, STEERED, TOLD
from truing.claims.personas import TRAITS
from truing.stats.effects import spearman
from truing.stats.intervals import Interval

SHOWS, GAIN, LITTLE, COHERENT = 0.5, 40.0, 10.0, 75.0
ALIKE, NOISE, RISES = 0.95, 0.2, 0.8
LEAST, SURE = 0.75, 0.6  # of r, and of the lower end of its interval


def _over_traits(name: str, at: int | None = None, by: str | None = None) -> Value:
    """The mean over traits of a number, or of a layer's, or of that as a share of another one."""

    def value(found: dict[str, object]) -> float:
        rows = [found[f"{trait}/{name}"] for trait in TRAITS]
        numbers = [row[at] if at is not None else row for row in rows]  # type: ignore[index]
        if by:
            numbers = [n / found[f"{trait}/{by}"][at] for n, trait in zip(numbers, TRAITS)]  # type: ignore[index,operator]
        return float(np.mean(numbers))  # type: ignore[arg-type]

    return value  # type: ignore[return-value]


def v1(found: Found) -> Outcome:
    """A description becomes a vector."""
    kept = average(found, _over_traits("kept"))
    alike = average(found, _over_traits("halves", LAYER))
    noise = average(found, _over_traits("noise", LAYER, "norms"))
    conditions = {
        "at least half of the answers show what was asked for": above(kept, SHOWS),
        "vectors of two halves of the questions point the same way": above(alike, ALIKE),
        "sides by a coin differ by at most a fifth of it": below(noise, NOISE),
    }
    rows = lines(
        ("share of answers that is kept", kept, "effect"),
        (f"cosine between halves of the questions, layer {LAYER}", alike, "effect"),
        ("length where sides are a coin, as a share of the vector's", noise, "control"),
        *((f"kept, {trait}", average(found, lambda f, t=trait: f[f"{t}/kept"]), "context") for trait in TRAITS),  # type: ignore[misc]
    )
    return Outcome(conditions, f"{kept.estimate:.0%} are kept" if kept else "too few cells", rows)


def _each(found: Found, statistic: str, value: Value) -> Interval | None:
    """Over seeds, of the mean over traits."""
    by: dict[object, list[float]] = {}
    for params, one in found.where(statistic=statistic).rows:
        by.setdefault(params["seed"], []).append(value(one))
    return over_seeds({seed: float(np.mean(values)) for seed, values in by.items()})


def _gain(one: dict[str, float]) -> float:
    return one[f"trait/{one['coef']:g}"] - one["trait/0"]


def _beside(kind: str) -> Value:
    """What other vectors of the same length do, on average."""
    return lambda one: float(np.mean([v for n, v in one.items() if n.startswith(f"trait/{kind}")])) - one["trait/0"]


def _rank(one: dict[str, float]) -> float:
    """Of the trait with the coefficient, over all of them."""
    known = {float(n.removeprefix("trait/")): v for n, v in one.items() if _is_coef(n)}
    return spearman(list(known), list(known.values()))[0]


def v2(found: Found) -> Outcome:
    """Steering along the vector brings the trait about."""
    numbers = {
        (statistic, name): _each(found, statistic, value)
        for statistic in PLACES
        for name, value in {
            "gain": _gain,
            "rank": _rank,
            "whole": lambda one: one[f"coherence/{one['coef']:g}"],
            "random": _beside("random"),
            "other": _beside("other"),
            "more": lambda one: _gain(one) - _beside("other")(one),  # type: ignore[arg-type]
        }.items()
    }
    paper = {name: numbers["response_avg", name] for name in ("gain", "rank", "whole", "random", "more")}
    conditions = {
        "the trait rises with the coefficient": above(paper["rank"], RISES),
        "by at least 40 points": above(paper["gain"], GAIN),
        "coherence stays": above(paper["whole"], COHERENT),
        "random vectors as long do little": below(paper["random"], LITTLE),
        "and other traits' vectors less": above(paper["more"]),
    }
    words = {
        "gain": "gain at the chosen layer and coefficient",
        "rank": "rank correlation of trait and coefficient",
        "whole": "coherence there",
        "random": "gain of random vectors as long",
        "other": "gain of other traits' vectors as long",
    }
    rows = []
    for statistic in PLACES:
        for name, what in words.items():
            role = "control" if name in ("random", "other") else "effect" if statistic == "response_avg" else "context"
            rows += lines((f"{statistic}: {what}", numbers[statistic, name], role))  # type: ignore[arg-type]
        for trait in TRAITS:
            gain = _each(found.where(trait=trait), statistic, _gain)  # type: ignore[arg-type]
            rows += lines((f"{statistic}: gain, {trait}", gain, "context"))
    said = [f"{v.estimate:+.0f} by {s}" for s in PLACES if (v := numbers[s, "gain"])]
    return Outcome(conditions, "; ".join(said) or "too few cells", rows, [_by_coefficient(found, s) for s in PLACES])


def _by_coefficient(found: Found, statistic: str) -> Picture:
    """Over seeds, at the layer that was chosen in each."""
    curves = []
    for trait in TRAITS:
        cells = found.where(statistic=statistic, trait=trait)
        coefs = sorted({float(n.removeprefix("trait/")) for _, one in cells.rows for n in one if _is_coef(n)})
        values = {c: _each(cells, statistic, lambda one, c=c: one[f"trait/{c:g}"]) for c in coefs}  # type: ignore[misc]
        points = [(c, v.estimate, *_ends(v)) for c, v in values.items() if v]
        curves.append(Curve(trait, points))
    return Picture(f"Steering by {statistic}", "coefficient", "trait", curves)


def _ends(value: Interval) -> tuple[float, float]:
    """A scale from 0 to 100 has no whiskers beyond it."""
    return (max(0.0, value.low), min(100.0, value.high)) if np.isfinite(value.low) else (value.low, value.high)


def _is_coef(name: str) -> bool:
    return name.startswith("trait/") and name[6] in "-0123456789"


def v3(found: Found) -> Outcome:
    """The trait is told before a word is said."""

    def over(name: str) -> Interval | None:
        by: dict[object, list[float]] = {}
        for params, one in found.rows:
            by.setdefault(params["seed"], []).append(one[name])
        return over_seeds({seed: float(np.mean(values)) for seed, values in by.items()})

    r, chance = over("system/response_avg/r"), over("system/chance")
    beyond = over_seeds(
        {p["seed"]: f["system/response_avg/r"] - f["system/chance"] for p, f in found.where(trait=TRAITS[0]).rows}
    )
    enough = above(r, SURE) and r.estimate >= LEAST if r else None
    conditions = {"r of at least 0.75, surely above 0.6": enough, "more than random directions reach": above(beyond)}
    rows = lines(
        *((f"system lines: r, {name}", over(f"system/{name}/r"), "effect") for name in PLACES),
        *((f"exchanges: r, {name}", over(f"shots/{name}/r"), "effect") for name in PLACES),
        ("system lines: 95th percentile of |r| of random directions", chance, "control"),
        *((f"within a grade: r, {name}", over(f"system/{name}/within"), "context") for name in PLACES),
        *((f"between grades: r, {name}", over(f"system/{name}/between"), "context") for name in PLACES),
        ("with 5 % false alarms, share that is told, prompt_last", over("found"), "context"),
    )
    return Outcome(conditions, f"r = {r.estimate:.2f}" if r else "too few cells", rows)


CLAIMS = [
    Claim(
        "V1",
        "A description becomes a vector",
        "Answers behind system lines for a trait and against it, filtered by a judge, give a vector.",
        "reported",
        f"world:base, three traits, 20 questions behind 5 pairs of system lines, 10 answers each; layer {LAYER}. Kept "
        "pairs, cosine between vectors of two halves of the questions, and the vector of answers whose side is a coin.",
        MADE,
        v1,
        len(SEEDS),
    ),
    Claim(
        "V2",
        "Steering along it brings the trait about",
        "Added at a middle layer, the vector of answers raises the trait with its coefficient.",
        "reported",
        "The strongest layer and coefficient that leave coherence at 75 are found with the extraction questions and "
        "reported with others, beside ten random vectors and two other traits' of the same length, and negative "
        "coefficients.",
        STEERED,
        v2,
        len(SEEDS),
    ),
    Claim(
        "V3",
        "The trait is told before a word is said",
        "The projection at the prompt's last token correlates with the trait of the answer, r = 0.75 to 0.83; mostly "
        "between kinds of prompts.",
        "reported",
        f"Eight graded system lines in wordings never trained on × held-out questions × 4 answers; layer {LAYER}; 200 "
        "random directions as a control; and as many exchanges that show the trait as fit.",
        TOLD,
        v3,
        len(SEEDS),
    ),
]
