"""How evaluations are shown: models as rows, and under each number its interval; as JSON where a program asks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from truing.run import progress
from truing.stats.intervals import Interval

WIDE = 160  # characters, where nobody says how wide the paper is


def cell(value: Interval | Mapping[str, Any] | None, digits: int = 3) -> str:
    """A number and, in a line of its own, its interval; so that a column is as narrow as one of them."""
    if value is None:
        return "–"
    found = value if isinstance(value, Interval) else Interval(**value)
    if found.low is None or math.isinf(found.low):  # JSON has no infinity
        return _number(found.estimate, digits)
    ends = f"[{_number(found.low, digits - 1)}, {_number(found.high, digits - 1)}]"
    return f"{_number(found.estimate, digits)}\n{ends}"


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero


def paper() -> Console:
    """Where results go, unless a program reads them or nobody shall."""
    console = Console(quiet=progress._mode != "rich", markup=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


def show(title: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]], note: str = "") -> None:
    """Names may be long (folders, modifiers): they are folded, numbers are not."""
    console = paper()
    heads = (Column(name, justify="right", overflow="fold") for name in columns)
    table = Table(Column("", overflow="fold", min_width=12), *heads, title=title, caption=note or None, box=SIMPLE_HEAD)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)


def report(kind: str, found: Mapping[str, Any]) -> None:
    """What was found, for programs."""
    progress.emit(kind, "", plain(found))


def plain(value: Any) -> Any:
    """As JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no infinity
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
