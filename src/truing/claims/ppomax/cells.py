"""The arms that claims about PPO share: vanilla with one ingredient at a time, PPO-max without one, two crowds.

Rates, sizes, crowds and the number of iterations were chosen with seed 99, which no claim uses, and before the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from truing.claims.base import Cell, Curve, Found, Picture, grid
from truing.claims.judging import SEEDS, Value, above, below, curve, difference, over_seeds, per_seed
from truing.claims.rl import rolled, started
from truing.stats.intervals import Interval, mean_t
from truing.stats.laws import fall, smoothed

SIZE, SMOOTH = "small", 5
ITERATIONS = {"noisy": 100, "wordy": 80}  # under a wordy crowd it goes faster
CROWDS = ("noisy", "wordy")
Arm = tuple[str, Mapping[str, Any]]
VANILLA: dict[str, Arm] = {  # PPO with nothing, and with one ingredient of PPO-max or another setting
    "vanilla": ("vanilla", {}),
    "kl 0.05": ("vanilla", {"kl.coefficient": 0.05}),
    "kl 0.02": ("vanilla", {"kl.coefficient": 0.02}),
    "kl 0.1": ("vanilla", {"kl.coefficient": 0.1}),
    "kl 0.2": ("vanilla", {"kl.coefficient": 0.2}),
    "scaled": ("vanilla", {"reward.transform": "scale"}),
    "clipped 0.8": ("vanilla", {"reward.transform": "normalise", "reward.clip": 0.8}),
    "clipped 0.8, folded": (
        "vanilla",
        {"reward.transform": "normalise", "reward.clip": 0.8, "critic.fold": True},
    ),
    "clipped 0.3": ("vanilla", {"reward.transform": "normalise", "reward.clip": 0.3}),
    "advantages clipped": ("vanilla", {"update.whiten": True, "update.bound": 0.12}),
    "values clipped": ("vanilla", {"critic.clip": 0.2}),
    "ratios free": ("vanilla", {"update.clip": None}),
    "gradients clipped": ("vanilla", {"optim.clip": 0.5}),
    "lambda 0": ("vanilla", {"gae.lam": 0.0}),
    "lambda 1": ("vanilla", {"gae.lam": 1.0}),
    "critic from policy": ("vanilla", {"critic.start": "policy"}),
    "critic first": ("vanilla", {"critic.pretrain": 10}),
    "fixed ratio": ("vanilla", {"update.ratio": "reference"}),
    "fixed ratio, kl 0.05": ("vanilla", {"update.ratio": "reference", "kl.coefficient": 0.05}),
    "both clipped": ("vanilla", {"update.whiten": True, "update.bound": 0.12, "critic.clip": 0.2}),
    **{f"entropy {c:g}": ("vanilla", {"update.entropy": c}) for c in (0.003, 0.01, 0.03, 0.1)},
    "entropy 0.1 to 0.4": ("vanilla", {"update.entropy": 0.1, "update.entropy_target": 0.4}),
}
MAX: dict[str, Arm] = {  # PPO-max, and without one ingredient
    "max": ("max", {}),
    "max − kl": ("max", {"kl.coefficient": 0.0}),
    "max − transform": ("max", {"reward.transform": "raw", "reward.clip": None}),
    "max − value clip": ("max", {"critic.clip": None}),
    "max − pretraining": ("max", {"critic.pretrain": 0}),
    "max − ratio clip": ("max", {"update.clip": None}),
    "max − gradient clip": ("max", {"optim.clip": 0.0}),
    "max + mix": ("max", {"mix": 0.05}),
    "max, from scrambled": ("max", {"begin": "scrambled"}),
}
ARMS = VANILLA | MAX
PLACES = {"vanilla": CROWDS, "kl 0.05": CROWDS, "max": CROWDS, "max + mix": ("noisy",)}  # the others: where it falls
SENTINELS = ("vanilla", "kl 0.05", "max", "lambda 0", "critic first", "fixed ratio", "max − kl", "max + mix")
TRUTH = "reward/world:gold.overall"
NOISE = 0.05  # of gold: of simulated runs that hold, 1.4% fall further than that in 100 iterations of 128 answers
Row = tuple[str, Interval | float | None, Literal["effect", "control", "context"]]


def arm(name: str, crowds: Sequence[str] = CROWDS) -> list[Cell]:
    preset, settings = ARMS[name]
    fixed = {key: (value,) for key, value in settings.items()}
    axes: dict[str, Sequence[Any]] = {"seed": SEEDS, "size": (SIZE,), **fixed}
    cells = [
        grid(rolled, _quick, arm=(name,), preset=(preset,), crowd=(c,), iterations=(ITERATIONS[c],), **axes)
        for c in crowds
    ]
    return [cell for each in cells for cell in each]


def _quick(params: Mapping[str, Any]) -> bool:
    """Seed 0 where it collapses fastest, and of what says most."""
    return (
        params["seed"] == 0
        and params["arm"] in SENTINELS
        and params["crowd"] == PLACES.get(params["arm"], ("wordy",))[-1]
    )


def arms(*names: str) -> list[Cell]:
    """Cells of these arms, under the crowds that they have."""
    return [cell for name in names for cell in arm(name, PLACES.get(name, ("wordy",)))]


STARTS = grid(started, lambda p: p["seed"] == 0 and p["crowd"] == "wordy", crowd=CROWDS, seed=SEEDS, size=(SIZE,))


def final(found: Mapping[str, Any]) -> float:
    """Gold of the last ten iterations."""
    return last(TRUTH)(found)


def begun(found: Mapping[str, Any]) -> float:
    """Gold of the first five iterations."""
    return float(smoothed(found[f"curve/{TRUTH}"], SMOOTH)[0])


def peak(found: Mapping[str, Any]) -> float:
    return float(smoothed(found[f"curve/{TRUTH}"], SMOOTH).max())


def fell(found: Mapping[str, Any]) -> int | None:
    return fall(found[f"curve/{TRUTH}"], begun(found), SMOOTH, NOISE)


def last(name: str) -> Value:
    """The mean of a curve's last ten iterations."""
    return lambda found: sum(found[f"curve/{name}"][-10:]) / len(found[f"curve/{name}"][-10:])


def fall_time(found: Mapping[str, Any]) -> float:
    """One that never falls counts as falling after the end."""
    at = fell(found)
    return float(len(found[f"curve/{TRUTH}"]) if at is None else at)


def falls(found: Found, name: str, crowd: str) -> tuple[int, int]:
    """In how many seeds gold falls, and of how many."""
    values = [fell(f) for _, f in found.where(arm=name, crowd=crowd).rows]
    return sum(value is not None for value in values), len(values)


def all_fall(found: Found, name: str, crowd: str) -> bool | None:
    fallen, of = falls(found, name, crowd)
    return fallen == of if of else None


def none_falls(found: Found, name: str, crowd: str) -> bool | None:
    fallen, of = falls(found, name, crowd)
    return fallen == 0 if of else None


def apart(found: Found, a: str, b: str, value: Value, crowd: str) -> Interval | None:
    return difference(found.where(crowd=crowd), value, {"arm": a}, {"arm": b})


def of_arm(found: Found, name: str, value: Value, crowd: str) -> dict[Any, float]:
    return per_seed(found, value, arm=name, crowd=crowd)


def seeds(found: Found, name: str, value: Value, crowd: str) -> Interval | None:
    return over_seeds(of_arm(found, name, value, crowd))


def lost(found: Found, name: str, crowd: str) -> float:
    """From its first iterations to its last, in gold; the mean over seeds, 0 where nothing is."""
    each = of_arm(found, name, lambda f: begun(f) - final(f), crowd).values()
    return max(0.0, sum(each) / len(each)) if each else 0.0


def within(interval: Interval | None, bound: float) -> bool | None:
    """Does it lie between −bound and +bound?"""
    low, high = above(interval, -bound), below(interval, bound)
    return None if low is None or high is None else low and high


def drawn(found: Found, names: Sequence[str], crowd: str, what: str, y: str) -> Picture:
    """A curve over iterations for each arm: means over seeds, every fifth iteration."""
    shown: list[Curve] = []
    for name in names:
        runs = [f[f"curve/{what}"] for _, f in found.where(arm=name, crowd=crowd).rows]
        steps = range(0, min(map(len, runs), default=0), 5)
        shown.append(curve(name, [(step + 1, mean_t([run[step] for run in runs])) for step in steps]))
    return Picture(f"{y}, {crowd} crowd", "updates", y, shown)
