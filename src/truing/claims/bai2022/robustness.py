"""Claims about how far a preference model can be trusted (arXiv 2204.05862, §4): C12, C16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from truing.claims.bai2022.rlhf import FAR, ONE, POOLS, TEACHERS, WORDY, blocks
from truing.claims.base import Claim, Curve, Found, Outcome, Picture
from truing.claims.judging import Value, above, below, contains, curve, difference, lines, over_seeds, per_seed, slope
from truing.stats.intervals import Interval, mean_t
from truing.stats.laws import best_of_kl, smoothed

EARLY, MATCHED, LAST, SMOOTH = 1.0, 2.0, 10, 5  # nats; iterations
WHO = ("train", "test", "gold")
FEW, SOME = 4, 16  # answers to choose among
FAIR, WORDS = {"judged": "noisy"}, {"judged": "wordy"}
CHOOSERS = {"noisy": "crowd right on average", "wordy": "wordy crowd"}


def gained(found: Mapping[str, Any], who: str) -> np.ndarray:
    """What a judge has gained since the start, in its own spread among answers to one prompt."""
    return np.asarray((np.array(found[f"curve/{who}"]) - found[f"{who}/mean"]) / found[f"{who}/sigma"])


def excess(found: Mapping[str, Any]) -> np.ndarray:
    """By how much the one that looks on gains less than a policy near its start would give it: there it gains its
    correlation with the teacher for every standard deviation that the teacher gains (`stats.laws.agreement`), so that
    two preference models which do not agree on everything part at once, and nobody has been fooled."""
    return np.asarray(found["test/agrees"] * gained(found, "train") - gained(found, "test"))


def early_gap(found: Mapping[str, Any]) -> float:
    return float(excess(found)[np.array(found["curve/kl"]) < EARLY].mean())


def end_gap(found: Mapping[str, Any]) -> float:
    return float(excess(found)[-LAST:].mean())


def end(who: str) -> Value:
    return lambda found: float(gained(found, who)[-LAST:].mean())


def matched_gap(found: Mapping[str, Any]) -> float:
    """At the same distance for all: around the first iteration at which the smoothed KL has reached it, or at the
    end."""
    gap, kl = (smoothed(c, SMOOTH) for c in (gained(found, "train") - gained(found, "test"), found["curve/kl"]))
    there = np.flatnonzero(kl >= MATCHED)
    return float(gap[there[0] if there.size else -1])


def peak(who: str) -> Value:
    return lambda found: float(smoothed(found[f"curve/{who}"], SMOOTH).argmax() + SMOOTH - 1)


def shared(found: Mapping[str, Any]) -> float:
    """Of what the teacher believes to have gained and gold did not, the share that the other one believes, too."""
    train, test, gold = (end(who)(found) for who in WHO)
    return (test - gold) / (train - gold)


def together(cells: Found, value: Value) -> Interval | None:
    """Over seeds; preference models of all sizes are one number of their seed."""
    by = {pm: per_seed(cells, value, pm=pm) for pm in cells.params("pm")}
    seeds = [s for s in next(iter(by.values()), {}) if all(s in one for one in by.values())]
    return over_seeds({s: float(np.mean([one[s] for one in by.values()])) for s in seeds})


def _before(found: Mapping[str, Any]) -> float:
    return peak("gold")(found) - peak("train")(found)


def _agrees(who: str) -> Value:
    return lambda found: float(found[f"{who}/agrees"])


def c12(found: Found) -> Outcome:
    """A preference model from other data sees through what the first one is fooled by, in part."""
    fair, wordy = found.where(judged="noisy"), found.where(judged="wordy")
    early, late, before = (together(fair, value) for value in (early_gap, end_gap, _before))
    falls = slope([(p["pm"], matched_gap(f)) for p, f in fair.rows])
    share, biased = _of(fair, shared, ONE), _of(wordy, shared, ONE)
    more, gap = difference(found.where(pm=ONE, size=ONE), shared, WORDS, FAIR), f"train − test at {MATCHED:g} nats"
    numbers = lines(
        (f"what test lacks below {EARLY:g} nat, in standard deviations", early, "effect"),
        ("what test lacks at the end", late, "effect"),
        ("iteration of gold's best − of the teacher's", before, "effect"),
        (f"{gap} with each factor e of the preference model's parameters", falls, "effect"),
        (f"of what gold lacks, the share that both believe, preference model {ONE}", share, "effect"),
        ("the same, wordy crowd", biased, "effect"),
        ("wordy crowd: what test lacks at the end", _of(wordy, end_gap, ONE), "control"),
        *((f"{gap}, preference model {pm}", _of(fair, matched_gap, pm), "context") for pm in fair.params("pm")),
        *((f"gained at the end by {who}", _of(fair, end(who), ONE), "context") for who in WHO),
        *((f"gained at the end by {who}, wordy crowd", _of(wordy, end(who), ONE), "context") for who in WHO),
        *((f"correlation of {who} and train at the start", _of(fair, _agrees(who), ONE), "context") for who in WHO[1:]),
    )
    shown = [
        Picture(f"{name}, standard deviations", "√KL", "gained", _drawn(cells, ONE))
        for name, cells in zip(CHOOSERS.values(), (fair, wordy))
    ]
    conditions = {
        f"test lacks nothing below {EARLY:g} nat": contains(early, 0.0),
        "it does at the end": above(late),
        "gold is best before the teacher is": below(before),
        f"the gap at {MATCHED:g} nats shrinks with the preference model's size": below(falls),
        "more of the failure is shared under the wordy crowd": above(more),
    }
    why = f"test lacks {late.estimate:.2f} standard deviations at the end" if late else "too few cells"
    why += f"; both halves share {share.estimate:.0%} of what gold lacks" if share else ""
    why += f", {biased.estimate:.0%} under the wordy crowd" if biased else ""
    return Outcome(conditions, why, numbers, [*shown, _gaps(fair)])


def _of(cells: Found, value: Value, pm: str) -> Interval | None:
    return over_seeds(per_seed(cells, value, pm=pm))


def _drawn(cells: Found, pm: str) -> list[Curve]:
    """Means over seeds at the same iterations."""
    runs = [f for _, f in cells.where(pm=pm).rows]
    x = zip(*(np.sqrt(np.maximum(blocks(f["curve/kl"], SMOOTH), 0)) for f in runs))
    places = [float(np.mean(each)) for each in x]
    found = []
    for who in WHO:
        y = zip(*(blocks(gained(f, who), SMOOTH) for f in runs))
        found.append(curve(who, [(at, mean_t(list(v))) for at, v in zip(places, y)]))
    return found


def _gaps(cells: Found) -> Picture:
    """A line for each size of the preference models."""
    shown = []
    for pm in cells.params("pm"):
        train, test, _ = _drawn(cells, pm)
        gaps = [(a[0], a[1] - b[1]) for a, b in zip(train.points, test.points)]
        shown.append(Curve(f"preference model {pm}", [(x, y, y, y) for x, y in gaps]))
    return Picture("Train − test", "√KL", "standard deviations", shown)


def at(who: str, k: int) -> Value:
    """What the best of k is worth."""
    return lambda found: float(found[who][found["k"].index(k)])


def step(found: Found, who: str, more: int, fewer: int) -> Interval | None:
    return over_seeds(per_seed(found, lambda f: at(who, more)(f) - at(who, fewer)(f)))


def c16(found: Found) -> Outcome:
    """Choosing among more answers helps less and less, and harms where the chooser is biased."""
    ks = sorted({k for _, f in found.rows for k in f["k"]})
    most, fair = max(ks, default=1), "noisy/gold"
    first, later = step(found, fair, SOME, 1), step(found, fair, most, SOME)
    less = over_seeds(per_seed(found, lambda f: 2 * at(fair, SOME)(f) - at(fair, 1)(f) - at(fair, most)(f)))
    harm = step(found, "wordy/gold", most, FEW)
    rises = [all(np.diff(f[f"{crowd}/train"]) > 0) for _, f in found.rows for crowd in CHOOSERS]
    numbers = lines(
        (f"gold: best of {SOME} − 1, {CHOOSERS['noisy']}", first, "effect"),
        (f"gold: best of {most} − {SOME}, {CHOOSERS['noisy']}", later, "effect"),
        ("the first − the second of these", less, "effect"),
        (f"gold: best of {most} − {FEW}, {CHOOSERS['wordy']}", harm, "effect"),
        (f"gold: best of {FEW} − 1, {CHOOSERS['wordy']}", step(found, "wordy/gold", FEW, 1), "context"),
        *((f"the chooser's score, {n}", step(found, f"{c}/train", most, 1), "context") for c, n in CHOOSERS.items()),
        *((f"another's score, {n}", step(found, f"{c}/test", most, 1), "control") for c, n in CHOOSERS.items()),
    )
    shown = []
    for who, what in (("gold", "gold"), ("train", "the chooser's score")):
        gains = [
            curve(name, [(best_of_kl(k) ** 0.5, step(found, f"{crowd}/{who}", k, 1)) for k in ks])
            for crowd, name in CHOOSERS.items()
        ]
        shown.append(Picture(f"Best of k: {what}", "√KL at most", "gained", gains))
    conditions = {
        "the chooser's score rises with every k": all(rises) if rises else None,
        f"right on average: {SOME} are better than one": above(first),
        f"right on average: from 1 to {SOME} more is gained than from {SOME} to {most}": above(less),
        f"wordy: {most} are worse than {FEW}": below(harm),
    }
    why = f"gold {first.estimate:+.3f} by {SOME}" if first else "too few cells"
    why += f", {harm.estimate:+.3f} from {FEW} to {most} under the wordy crowd" if harm else ""
    return Outcome(conditions, why, numbers, shown)


CLAIMS = [
    Claim(
        "C12",
        "A held-out preference model shows where the first one is gamed",
        "Preference models from two halves of the comparisons agree at first; then the one that nothing is learnt from "
        "falls behind. Larger ones are more robust.",
        "verified",
        f"world:{ONE}, {FAR} iterations, comparisons by a crowd that is right on average cut in two by prompt, "
        "preference models of three sizes, every score in standard deviations of its own among answers of the start. "
        f"What test lacks, given how far both agree at the start: nothing below {EARLY:g} nat, something in the last "
        f"{LAST} iterations, with intervals; gold is best earlier than the teacher; train − test at {MATCHED:g} nats "
        "falls with the preference models' size; and of what gold lacks both halves believe a larger share where the "
        "crowd is wordy: what it likes, both have learnt.",
        [*TEACHERS, *WORDY],
        c12,
    ),
    Claim(
        "C16",
        "Choosing among more answers helps less and less",
        "Ratings rise with the number of answers that the preference model chooses from, by less and less.",
        "verified",
        f"256 answers to each of 64 prompts by world:{ONE}, unbiased estimates for every k. Chosen by the preference "
        f"model of a crowd that is right on average gold rises up to {SOME}, and less from there on, with intervals; "
        f"chosen by that of a wordy crowd the best of 256 are worth less than the best of {FEW}.",
        POOLS,
        c16,
    ),
]
