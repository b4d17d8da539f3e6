"""What judges of claims have in common: means over seeds, paired differences, points of a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from truing.claims.base import Curve, Found, Number
from truing.stats.effects import paired, regress, spearman
from truing.stats.intervals import Interval, mean_t

SIZES = ("tiny", "small", "base", "large")
PARAMETERS = {"tiny": 140_256, "small": 366_880, "base": 1_082_880, "large": 3_324_256}
SEEDS = (0, 1, 2, 3, 4)
Value = Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True)
class mean:
    """The mean of a list that a study returns under this name, or the number itself."""

    name: str

    def __call__(self, found: Mapping[str, Any]) -> float:
        return float(np.mean(found[self.name]))

    def items(self, found: Mapping[str, Any]) -> np.ndarray | None:
        value = found[self.name]
        return np.array(value, dtype=np.float64) if isinstance(value, list) and len(value) > 1 else None


def per_seed(found: Found, value: Value, **params: Any) -> dict[Any, float]:
    """seed → value, of the cells with these parameters."""
    return {seed: value(f) for seed, f in _alone(found.where(**params)).items()}


def _alone(found: Found) -> dict[Any, Mapping[str, Any]]:
    """The one cell of each seed: two would be told apart by another parameter, which has to be named."""
    cells: dict[Any, Mapping[str, Any]] = {}
    for params, one in found.rows:
        if cells.setdefault(params["seed"], one) is not one:
            raise ValueError(f"several cells of seed {params['seed']}: {dict(params)} is one of them")
    return cells


def average(found: Found, value: Value, **params: Any) -> Interval | None:
    """Over seeds, or over the items of a single one; None where there is no such cell."""
    cells = found.where(**params)
    if len(cells) == 1 and isinstance(value, mean) and (items := value.items(cells.rows[0][1])) is not None:
        return mean_t(items)
    values = list(per_seed(cells, value).values())
    return mean_t(values) if values else None


def difference(found: Found, value: Value, a: Mapping[str, Any], b: Mapping[str, Any]) -> Interval | None:
    """a − b over the seeds that both have, or over the items of a single one; None where there are none."""
    first, second = (_alone(found.where(**where)) for where in (a, b))
    both = [seed for seed in first if seed in second]
    if not both:
        return None
    if len(both) == 1 and isinstance(value, mean):
        mine, theirs = value.items(first[both[0]]), value.items(second[both[0]])
        if mine is not None and theirs is not None and len(mine) == len(theirs):
            return mean_t(mine - theirs)
    return paired({s: value(first[s]) for s in both}, {s: value(second[s]) for s in both})


def above(interval: Interval | None, bound: float = 0.0) -> bool | None:
    """Does it lie above the bound? None if there is no interval, or an estimate alone."""
    if interval is None or np.isinf(interval.low):
        return None
    return interval.low > bound


def below(interval: Interval | None, bound: float = 0.0) -> bool | None:
    """Does it lie below the bound? None as above."""
    if interval is None or np.isinf(interval.low):
        return None
    return interval.high < bound


def denied(condition: bool | None) -> bool | None:
    """What must not be shown: that a condition holds."""
    return None if condition is None else not condition


def curve(label: str, points: Iterable[tuple[float, Interval | None]]) -> Curve:
    """What is there of a line over sizes or counts; a single seed has a mean and no whiskers."""
    shown = []
    for x, v in points:
        if v is not None:
            lone = bool(np.isinf(v.low))
            shown.append((float(x), v.estimate, v.estimate if lone else v.low, v.estimate if lone else v.high))
    return Curve(label, shown)


def together(
    found: Found, value: Value, axis: str, a: Mapping[str, Any], b: Mapping[str, Any] | None = None
) -> dict[Any, float]:
    """seed → mean of a value, or of its difference a − b, over all values of an axis; seeds that lack one are left
    out."""
    sums: dict[Any, list[float]] = {}
    for name in (names := found.params(axis)):
        mine = per_seed(found, value, **{**a, axis: name})
        theirs = per_seed(found, value, **{**b, axis: name}) if b is not None else dict.fromkeys(mine, 0.0)
        for seed in mine:
            if seed in theirs:
                sums.setdefault(seed, []).append(mine[seed] - theirs[seed])
    return {seed: sum(each) / len(each) for seed, each in sums.items() if len(each) == len(names)}


def over_seeds(values: Mapping[Any, float]) -> Interval | None:
    return mean_t(list(values.values())) if values else None


class Trend(NamedTuple):
    """Of a value over sizes, by rank. Over one size or two nothing is said."""

    rho: float
    p: float

    @property
    def known(self) -> bool:
        return not math.isnan(self.rho)

    def goes(self, sign: Literal[1, -1], level: float = 0.05) -> bool | None:
        return sign * self.rho > 0 and self.p < level if self.known else None


def trend(points: Sequence[tuple[str, float]]) -> Trend:
    """One point for each size and seed."""
    if len({size for size, _ in points}) < 3:
        return Trend(math.nan, math.nan)
    return Trend(*spearman([PARAMETERS[size] for size, _ in points], [value for _, value in points]))


def contains(interval: Interval | None, value: float) -> bool | None:
    """Is a control where it has to be? None where that cannot be told."""
    return None if interval is None or np.isinf(interval.low) else not interval.excludes(value)


def growth(found: Found, value: Value, a: Mapping[str, Any], b: Mapping[str, Any]) -> Interval | None:
    """By how much a − b grows with each factor e of parameters; one point for each size and seed."""
    points = []
    for size in sizes_in(found):
        mine, theirs = (per_seed(found, value, **{**where, "size": size}) for where in (a, b))
        points += [(size, mine[seed] - theirs[seed]) for seed in mine if seed in theirs]
    return slope(points)


def slope(points: Sequence[tuple[str, float]]) -> Interval | None:
    """Of a value over ln parameters; None where there are too few points for an interval."""
    x = [math.log(PARAMETERS[size]) for size, _ in points]
    return regress([y for _, y in points], size=x).slopes["size"] if len(set(x)) > 1 and len(x) > 2 else None


def sizes_in(found: Found) -> Sequence[str]:
    return [size for size in SIZES if size in found.params("size")]


def lines(*rows: tuple[str, Interval | float | None, Literal["effect", "control", "context"]]) -> list[Number]:
    """Lines of a card, without those for which there are no cells."""
    return [Number(label, value, role) for label, value, role in rows if value is not None]
