"""Claims about the answers that are learnt from (arXiv 2305.14718): L2, L6, L7, L10."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from truing.claims.aligned import aligned
from truing.claims.alol.cells import GOLD, NOISE, SIZE, N, first
from truing.claims.base import Claim, Found, Number, Outcome, Picture, grid
from truing.claims.judging import (
    SEEDS,
    above,
    average,
    below,
    curve,
    denied,
    difference,
    lines,
    mean,
    over_seeds,
    per_seed,
)

NOISES, CAUGHT = (0.1, 0.5, 0.8), 0.8
SUM = ("helpful", "honest", "harmless", "fluent", "informative")
CLOSED = 0.8  # of the gap between imitation of the worst and of the best half
AMOUNTS, UPDATES = (300, 1000, 3000), 94  # one pass over the most, and as many updates with fewer
MOST, EARLY = 0.95, 0.5  # of the gain, within this share of the updates
_BASE: dict[str, Any] = {"size": (SIZE,), "seed": SEEDS}


DROPPED = grid(aligned, first(), method=("a_lol_ref_free",), noise=NOISES, n=(N,), **_BASE)
SUMMED = [
    *grid(aligned, first(), method=("a_lol_seq",), noise=(NOISE,), n=(N,), judged_by=(SUM,), **_BASE),
    *grid(aligned, first(), method=("start",), noise=(NOISE,), n=(N,), **_BASE),
]
HALVES = [
    *grid(aligned, first(), method=("nll", "a_lol_seq"), half=("worst",), noise=(NOISE,), n=(N,), **_BASE),
    *grid(aligned, first(), method=("nll",), half=("best",), noise=(NOISE,), n=(N,), **_BASE),
    *grid(aligned, method=("dpo",), half=("worst",), noise=(NOISE,), n=(N,), **_BASE),
]
CLEAN, NOISY = 0.1, 0.8
STORIES = [
    *grid(aligned, first(), method=("nll", "a_lol_seq"), task=("stories",), noise=(NOISY,), n=(N,), **_BASE),
    *grid(aligned, first(), method=("nll",), task=("stories",), noise=(CLEAN,), n=(N,), **_BASE),
]
_SAME: dict[str, Any] = {"noise": (NOISE,), **_BASE, "start_n": AMOUNTS[-1:]}
GROWING = [
    *grid(aligned, first(), method=("start",), n=AMOUNTS[-1:], **_SAME),
    *grid(
        aligned,
        lambda p: p["seed"] == 0 and p["n"] != 1000,
        method=("a_lol_seq", "r_lol", "dpo"),
        n=AMOUNTS,
        steps=(UPDATES,),
        **_SAME,
    ),
]


def l2(found: Found) -> Outcome:
    """What is left over."""
    shares = {noise: average(found, lambda f: 1 - f["kept"], noise=noise) for noise in NOISES}
    rises = [per_seed(found, lambda f: 1 - f["kept"], noise=noise) for noise in NOISES]
    steps = [over_seeds({s: b[s] - a[s] for s in a if s in b}) for a, b in pairwise(rises)]
    pure, caught = (average(found, mean(name), noise=NOISE) for name in ("dropped are bad", "bad are dropped"))
    numbers = lines(
        *((f"share that is dropped, noise {noise}", v, "effect") for noise, v in shares.items()),
        (f"of what is dropped, by bad speakers (noise {NOISE})", pure, "effect"),
        (f"of what bad speakers said, dropped (noise {NOISE})", caught, "effect"),
    )
    shown = [curve("dropped", list(shares.items()))]
    why = ", ".join(f"{v.estimate:.0%} at noise {noise}" for noise, v in shares.items() if v)
    conditions = {
        **{f"more is dropped at noise {b} than at {a}": above(v) for (a, b), v in zip(pairwise(NOISES), steps)},
        "what is dropped is by bad speakers": above(pure, CAUGHT),
        "what bad speakers said is dropped": above(caught, CAUGHT),
    }
    return Outcome(conditions, f"dropped: {why}", numbers, [Picture("Left over", "noise", "share dropped", shown)])


def l6(found: Found) -> Outcome:
    """Several rewards at once."""
    parts = {p: difference(found, mean(f"gold/{p}"), {"method": "a_lol_seq"}, {"method": "start"}) for p in SUM}
    numbers = lines(*((f"{part}: after − before", v, "effect") for part, v in parts.items()))
    total = over_seeds(
        {
            seed: sum(after[f"gold/{p}"] - before[f"gold/{p}"] for p in SUM)
            for seed, after in _cells(found, "a_lol_seq").items()
            if (before := _cells(found, "start").get(seed))
        }
    )
    numbers += lines(("their sum", total, "effect"))
    unhurt = {f"{part} does not fall": denied(below(v)) for part, v in parts.items()}
    lost = [part for part, v in parts.items() if v and v.high < 0]
    why = f"{', '.join(lost)} {'is' if len(lost) == 1 else 'are'} traded away" if lost else "none is traded away"
    return Outcome({"the sum rises": above(total), **unhurt}, why, numbers)


def _cells(found: Found, method: str) -> dict[Any, Any]:
    return {p["seed"]: f for p, f in found.where(method=method).rows}


def l7(found: Found) -> Outcome:
    """Robust to bad data."""
    sides: dict[str, tuple[Any, Any]] = {
        "votes": ({"half": "worst"}, {"half": "best"}),
        "stories": ({"task": "stories", "noise": NOISY}, {"task": "stories", "noise": CLEAN}),
    }
    conditions, numbers, said = dict[str, bool | None](), list[Number](), list[str]()
    for name, (bad, good) in sides.items():
        low, high = (per_seed(found, GOLD, method="nll", **where) for where in (bad, good))
        ours = per_seed(found, GOLD, method="a_lol_seq", **bad)
        both = [s for s in ours if s in low and s in high]
        enough = over_seeds({s: ours[s] - low[s] - CLOSED * (high[s] - low[s]) for s in both})
        apart = over_seeds({s: high[s] - low[s] for s in both})
        conditions |= {
            f"{name}: good and bad answers differ": above(apart),
            f"{name}: more than {CLOSED:.0%} of the gap is closed": above(enough),
        }
        ends = {"imitation of bad": low, "a_lol_seq on bad": ours, "imitation of good": high}
        numbers += lines(
            (f"{name}: a_lol_seq − imitation, on bad answers, less {CLOSED:.0%} of the gap", enough, "effect"),
            *((f"gold, {name}: {word} answers", over_seeds(values), "context") for word, values in ends.items()),
        )
        said += [" < ".join(f"{v.estimate:.2f}" for e in ends.values() if (v := over_seeds(e))) + f" ({name})"]
    numbers += lines(
        ("gold, votes: dpo on bad answers", average(found, GOLD, method="dpo", half="worst"), "context"),
    )
    why = f"imitation of bad, a_lol_seq on bad, imitation of good answers: {', '.join(said)}".replace(" < ", ", ")
    return Outcome(conditions, why, numbers)


def l10(found: Found) -> Outcome:
    """Few examples are enough."""
    few, many = AMOUNTS[0], AMOUNTS[-1]

    def gain(method: str, n: int) -> dict[Any, float]:
        after, before = per_seed(found, GOLD, method=method, n=n), per_seed(found, GOLD, method="start")
        return {seed: after[seed] - before[seed] for seed in after if seed in before}

    ours, theirs = (per_seed(found, GOLD, method=m, n=n) for m, n in (("a_lol_seq", few), ("r_lol", many)))
    ahead = over_seeds({seed: ours[seed] - theirs[seed] for seed in ours if seed in theirs})
    numbers, soon = lines((f"gold: a_lol_seq with {few} − r_lol with {many}", ahead, "effect")), {}
    for method in ("a_lol_seq", "r_lol", "dpo"):
        numbers += lines(*((f"gain of {method} with {n}", over_seeds(gain(method, n)), "context") for n in AMOUNTS))
        soon[method] = over_seeds({p["seed"]: _soon(f) for p, f in found.where(method=method, n=many).rows})
        role: Any = "effect" if method == "a_lol_seq" else "context"
        numbers += lines((f"share of its updates until {method} has {MOST:.0%} of its gain", soon[method], role))
    shown = [
        curve(m, [(n, average(found, GOLD, method=m, n=n)) for n in AMOUNTS]) for m in ("a_lol_seq", "r_lol", "dpo")
    ]
    why = f"with {few} answers {ahead.estimate:+.3f} from r_lol with {many}" if ahead else "too few cells"
    conditions = {
        f"{few} answers above {many} with r_lol": above(ahead),
        f"{MOST:.0%} of the gain within {EARLY:.0%} of the updates": below(soon["a_lol_seq"], EARLY),
    }
    return Outcome(conditions, why, numbers, [Picture("Amounts", "answers", "gold", shown)])


def _soon(found: Mapping[str, Any]) -> float:
    """Of the gain between the first look and the last."""
    seen = found["curve/reward"]
    wanted = seen[0][1] + MOST * (seen[-1][1] - seen[0][1])
    return float(next(step for step, value in seen if value >= wanted) / seen[-1][0])


CLAIMS = [
    Claim(
        "L2",
        "A third of the answers is left over",
        "A third of the chosen answers of HH are not better than what the reference would say, and are dropped.",
        "reported",
        "The share that is dropped rises with the share of bad speakers, each step with an interval that excludes 0; "
        f"at noise {NOISE} more than {CAUGHT:.0%} of what is dropped is by bad speakers, and more than {CAUGHT:.0%} "
        "of what they said is dropped.",
        DROPPED,
        l2,
    ),
    Claim(
        "L6",
        "Several rewards at once",
        "Sums of four or five rewards can be learnt.",
        "verified",
        "The sum of five parts of gold rises, with an interval that excludes 0, and none of them falls with one.",
        SUMMED,
        l6,
    ),
    Claim(
        "L7",
        "Bad data are nearly as good as good ones",
        "Training on downvoted replies comes close to training on upvoted ones.",
        "reported",
        f"The worse half of the answers by noisy votes, and stories shortened by speakers of whom {NOISY:.0%} are bad: "
        f"a_lol_seq on them closes more than {CLOSED:.0%} of the gap between imitation of them and of the better half, "
        f"or of speakers of whom {CLEAN:.0%} are bad, with intervals.",
        [*HALVES, *STORIES],
        l7,
    ),
    Claim(
        "L10",
        "Few examples are enough",
        "Advantage methods come near their best early.",
        "unsure",
        f"{UPDATES} updates from the same start, however many answers there are: a_lol_seq with {AMOUNTS[0]} has more "
        f"gold than r_lol with {AMOUNTS[-1]}, and with {AMOUNTS[-1]} it has {MOST:.0%} of its gain within {EARLY:.0%} "
        "of the updates, with intervals.",
        GROWING,
        l10,
    ),
]
