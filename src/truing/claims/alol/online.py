"""The claim about PPO beside offline methods (arXiv 2305.14718): L11.

It is given as much as the others have, answers that are judged, and then more of it. They are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.claims.aligned import online
from truing.claims.alol.cells import FIXED, GOLD, SETTING, N, drop_of, looks, of
from truing.claims.base import Claim, Found, Number, Outcome, Picture, grid
from truing.claims.judging import above, average, below, lines, mean, over_seeds, per_seed
from truing.stats.intervals import Interval
from truing.stats.looks import COLLAPSED

TIMES = (1, 3)  # as many judged answers as the others are given
OWN = grid(online, lambda p: p["seed"] == 0 and p["times"] == 1, method=("ppo",), times=TIMES, **FIXED)
IMITATED = 32 * 3  # F of an offline update
UNIQUE = mean("unique")


def l11(found: Found) -> Outcome:
    """PPO is less steady, and needs more."""
    ours = per_seed(found, GOLD, method="a_lol_seq")
    ends = {times: per_seed(found, GOLD, method="ppo", times=times) for times in TIMES}
    gaps = {times: over_seeds(_beside(ends[times], ours)) for times in TIMES}
    more = _strayed(list(ends.values()), ours)
    numbers = lines(
        *((f"gold: ppo − a_lol_seq, {times} × as many judged", v, "effect") for times, v in gaps.items()),
        ("how far a seed's gold is from the mean: ppo − a_lol_seq", more, "effect"),
    )
    conditions = {"varies more over seeds": above(more)} | {
        f"below a_lol_seq with {times} × as many judged answers": below(gaps[times]) for times in TIMES
    }
    shown = [looks(found, "a_lol_seq", "reward"), looks(found.where(times=TIMES[-1]), "ppo", "reward")]
    said = [f"{v.estimate:+.3f} with {times} ×" for times, v in gaps.items() if v]
    why = f"ppo is {', '.join(said)} as many judged answers from a_lol_seq" if said else "too few cells"
    numbers = [*numbers, *(number for times in TIMES for number in _aside(found, times))]
    return Outcome(conditions, why, numbers, [Picture("Reward", "updates", "gold", shown)])


def _beside(a: Mapping[Any, float], b: Mapping[Any, float]) -> dict[Any, float]:
    return {seed: a[seed] - b[seed] for seed in a if seed in b}


def _strayed(runs: list[dict[Any, float]], ours: dict[Any, float]) -> Interval | None:
    """How much further from their mean seeds end (Levene's comparison of spreads); the mean of several such runs."""
    alike = [seed for seed in ours if all(seed in run for run in runs)]
    if len(alike) < 2:
        return None

    def strays(run: dict[Any, float]) -> dict[Any, float]:
        middle = sum(run[seed] for seed in alike) / len(alike)
        return {seed: abs(run[seed] - middle) for seed in alike}

    each, mine = [strays(run) for run in runs], strays(ours)
    return over_seeds({seed: sum(one[seed] for one in each) / len(each) - mine[seed] for seed in alike})


def _aside(found: Found, times: int) -> list[Number]:
    """What it costs, and what becomes of the answers."""
    where, label = {"method": "ppo", "times": times}, f"ppo, {times} ×"
    passed = per_seed(found, lambda f: f["F"], **where)
    theirs = per_seed(found, lambda f: f["updates"] * IMITATED, method="a_lol_seq")
    start, unique = average(found, UNIQUE, method="start"), per_seed(found, UNIQUE, **where)
    fell = [value < COLLAPSED * start.estimate for value in unique.values()] if start else []
    return lines(
        (f"passes for one of a_lol_seq, {label}", over_seeds({s: passed[s] / theirs[s] for s in passed if s in theirs}),
         "effect"),
        (f"words of an answer, {label}", average(found, mean("length"), **where), "context"),
        (f"share of different answers, {label}", average(found, UNIQUE, **where), "context"),
        (f"share of seeds that collapse, {label}", sum(fell) / len(fell) if fell else None, "context"),
        (f"best − last reward, {label}", over_seeds(per_seed(found, drop_of, **where)), "context"),
    )  # fmt: skip


CLAIMS = [
    Claim(
        "L11",
        "PPO is unstable and needs more data",
        "PPO with the same rewards varies over seeds and needs many times the computation.",
        "reported",
        f"{SETTING}. PPO from the same reference, with the same judge and prompts, has {TIMES[0]} and "
        f"{TIMES[1]} × {N} answers of its own judged. Over seeds it ends further from its mean than a_lol_seq (on "
        "average of the two), and with either it ends below a_lol_seq, each with an interval that excludes 0. Passes, "
        "lengths, variety and collapsed seeds beside it.",
        [*of("start", "a_lol_seq"), *OWN],
        l11,
    ),
]
