"""The cells that claims about methods share: every method with five seeds on the same answers (arXiv 2305.14718)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from truing.claims.aligned import aligned
from truing.claims.base import Cell, Curve, Found, grid
from truing.claims.judging import SEEDS, Value, curve, difference, mean
from truing.stats.intervals import Interval, mean_t
from truing.stats.looks import common, drop

SIZE, N, NOISE = "base", 2000, 0.5
LADDER = ("nll", "filtered_nll", "a_lol_ref_free", "a_lol", "a_lol_seq")
ORDER = ("nll", "wbc", "r_lol", "a_lol_ref_free", "a_lol", "a_lol_seq")
OTHERS = ("filtered_nll", "r_gold", "a_lol_kl", "dpo", "dpo_ref_free", "pro", "kto")
GOLD = mean("gold")
FIXED: dict[str, Any] = {"size": (SIZE,), "noise": (NOISE,), "n": (N,), "seed": SEEDS}
SETTING = f"{N} answers, {NOISE:.0%} of the speakers bad, world:{SIZE}"


def first(*methods: str) -> Callable[[Mapping[str, Any]], bool]:
    """The quick profile: seed 0 of these methods, or of any."""
    return lambda p: p["seed"] == 0 and (not methods or p["method"] in methods)


MAIN = grid(
    aligned,
    first("start", "nll", "filtered_nll", "a_lol_seq", "dpo"),
    method=("start", *ORDER, *OTHERS),
    **FIXED,
)


def of(*methods: str) -> list[Cell]:
    return [cell for cell in MAIN if cell.params["method"] in methods]


def main(found: Found) -> Found:
    """Those of the shared cells alone."""
    return Found([(p, f) for p, f in found.rows if set(p) == {"method", *FIXED}])


def gain(found: Found, a: str, b: str, value: Value = GOLD, **where: Any) -> Interval | None:
    """a − b, of the shared cells, or of those with these parameters."""
    cells = found.where(**where) if where else main(found)
    return difference(cells, value, {"method": a}, {"method": b})


def drop_of(found: Mapping[str, Any]) -> float:
    """What of its best reward a run has lost by its end."""
    return drop(found["curve/reward"])


def looks(found: Found, method: str, name: str) -> Curve:
    """Means over seeds at the updates that all of them have."""
    runs = [f.get(f"curve/{name}", []) for _, f in found.where(method=method).rows]
    return curve(method, [(step, mean_t(values)) for step, values in common(runs)])
