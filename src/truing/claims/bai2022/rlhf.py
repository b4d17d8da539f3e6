"""The cells that claims about RLHF share, and what their judges have in common (arXiv 2204.05862, §4).

Rates, sizes, iterations and temperatures were chosen with seed 99, which no claim uses, and before the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from truing.claims.base import Found, Number, grid
from truing.claims.judging import SEEDS, SIZES, Value, lines
from truing.claims.portraits import changed, cooled
from truing.claims.practice import climbed
from truing.claims.tension import able, pooled, pulled
from truing.stats.intervals import Interval, mean_t

POLICIES, ONE = SIZES[:-1], "small"
FAR, FAST = 60, 30  # iterations until a preference model is gamed; it goes fast where the crowd is wordy
NEAR = 20  # while the policy still gets better
TEACHER = "base"  # the preference model of policies that are looked at afterwards
TEMPERATURES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
ARMS = {  # what is judged, and the share of helpful prompts
    "start": (None, 0.5),
    "helpful": ("helpful", 1.0),
    "harmless": ("harmless", 0.0),
    "both": ("helpful+harmless", 0.5),
    "more helpful": ("helpful+harmless", 0.9),
    "coins": ("coins", 0.5),
}
DOERS = ("start", "practised", "prompted")


def _first(**ends: Any) -> Any:
    """The quick profile: seed 0 and these values."""
    return lambda p: p["seed"] == 0 and all(p.get(name) == value for name, value in ends.items())


_far: dict[str, Any] = {"iterations": (FAR,), "seed": SEEDS}
_near: dict[str, Any] = {"iterations": (NEAR,), "pm": (TEACHER,), "seed": SEEDS}
CLIMBS = grid(climbed, _first(size=ONE), size=POLICIES, judged=("noisy",), pm=(ONE,), **_far)
OTHERS = grid(climbed, size=(ONE,), judged=("noisy",), pm=[pm for pm in POLICIES if pm != ONE], **_far)
TEACHERS = [*OTHERS, *(cell for cell in CLIMBS if cell.params["size"] == ONE)]
WORDY = grid(climbed, size=(ONE,), judged=("wordy",), pm=(ONE,), iterations=(FAST,), seed=SEEDS)
CHANGED = grid(changed, _first(size=ONE), size=POLICIES, judged=("noisy",), **_near)
COINS = grid(changed, size=(ONE,), judged=("coins",), **_near)
STARTS = grid(cooled, _first(size=ONE), size=POLICIES, temperatures=(TEMPERATURES,), seed=SEEDS)
LARGEST = grid(cooled, size=SIZES[-1:], temperatures=((1.0,),), seed=SEEDS)
POOLS = grid(pooled, _first(), size=(ONE,), seed=SEEDS)
_pulled: dict[str, Any] = {"size": (ONE,), "seed": SEEDS, "iterations": (NEAR,)}
PULLED = [
    cell
    for name, (judged, share) in ARMS.items()
    for cell in grid(pulled, _first(arm="both"), arm=(name,), judged=(judged,), share=(share,), **_pulled)
]
ABLE = grid(able, _first(size="tiny", who="start"), who=DOERS, size=POLICIES[:2], seed=SEEDS, iterations=(NEAR,))
WORLD = f"{NEAR} iterations of 128 answers under world:{TEACHER}'s preference model of a crowd that is right on average"


def arm(found: Found, size: str, judged: str = "noisy") -> Found:
    """Policies of this size, before and after."""
    return found.where(size=size, judged=judged)


def sizes_of(found: Found, judged: str = "noisy") -> list[str]:
    return [size for size in POLICIES if len(arm(found, size, judged))]


def moved(found: Found, name: str, size: str, judged: str = "noisy") -> Interval | None:
    """After − before, over seeds, or over the items of a single one."""
    cells = arm(found, size, judged).rows
    if not cells:
        return None
    gaps = [np.array(f[f"after/{name}"]) - np.array(f[f"before/{name}"]) for _, f in cells]
    if len(gaps) == 1 and gaps[0].size > 1:
        return mean_t(gaps[0])
    return mean_t([float(np.mean(gap)) for gap in gaps])


def largest(found: Found) -> str:
    """Of the policies that there are."""
    return (sizes_of(found) or [ONE])[-1]


def shifts(found: Found, name: str, what: str) -> list[Number]:
    """After − before: of the largest policy, of one that practised for coins, and of the others."""
    sizes, size = sizes_of(found), largest(found)
    return lines(
        (f"{what}, after − before, {size}", moved(found, name, size), "effect"),
        (f"{what}, after practice for coins, {ONE}", moved(found, name, ONE, "coins"), "control"),
        *((f"{what}, after − before, {s}", moved(found, name, s), "context") for s in sizes if s != size),
    )


def each(found: Found, value: Value, size: str, judged: str = "noisy") -> Interval | None:
    """The mean over seeds of a value of these policies."""
    values = [value(f) for _, f in arm(found, size, judged).rows]
    return mean_t(values) if values else None


def change(name: str) -> Value:
    return lambda f: float(np.mean(f[f"after/{name}"]) - np.mean(f[f"before/{name}"]))


def matched(found: Found, size: str, value: Value, judged: str = "noisy") -> dict[Any, float]:
    """seed → what a policy's value is above that of its start at the temperature at which both are as sure of their
    words: the start's values between temperatures lie on straight lines over its entropy. `value` is of one look."""
    starts = {p["seed"]: f for p, f in found.where(size=size, judged=None).rows}
    gaps = {}
    for p, f in arm(found, size, judged).rows:
        if p["seed"] in starts:
            looks = at_temperatures(starts[p["seed"]])
            entropy = [look["entropy"] for look in looks]
            level = np.interp(f["after/entropy"], entropy[::-1], [value(look) for look in looks][::-1])
            gaps[p["seed"]] = value(after(f)) - float(level)
    return gaps


def at_temperatures(cooled: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was found at each, hottest first."""
    return [{name: values[n] for name, values in cooled.items()} for n in range(len(cooled["temperature"]))]


def after(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("after/"): value for name, value in found.items() if name.startswith("after/")}


def blocks(values: Sequence[float] | np.ndarray, size: int) -> np.ndarray:
    """Means of so many values at a time, without what is left over at the end."""
    whole = len(values) // size * size
    return np.asarray(values[:whole], dtype=np.float64).reshape(-1, size).mean(1)
