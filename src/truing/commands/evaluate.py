"""`truing eval …`: models on tests. One folder holds one test; every model adds its rows beside the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from truing.data import read
from truing.engine import open_engine
from truing.evaluate.choice import WAYS, accuracy, choose
from truing.evaluate.rows import Rows
from truing.records import Example, UserError
from truing.run import say
from truing.settings import Machine
from truing.stats.intervals import Interval

NAMES = {"sum": "ln P(a | q)", "mean": "its mean per token"}


@dataclass(frozen=True)
class Hhh:
    """Which answer does a model choose, the helpful, honest and harmless one? By category, in all ways of choosing."""

    models: tuple[str, ...]
    """who is tested: language models, preference models"""
    data: str = "world:hhh"
    """comparisons: world:hhh, or a file or hub name (HuggingFaceH4/hhh_alignment:helpful, say)"""
    folder: str = "runs/eval-hhh"
    """where rows are kept: models asked before are not asked again"""
    count: int = 400
    """of the world's items"""
    seed: int = 0
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class Mc1(Hhh):
    """Does a model choose the truth among answers that people believe? (TruthfulQA's MC1: one of several is right.)"""

    data: str = "world:mc1"
    """items: world:mc1, or a file or hub name (truthfulqa/truthful_qa, say)"""
    folder: str = "runs/eval-mc1"


def hhh(settings: Hhh) -> dict[str, Any]:
    return _choices("hhh", settings)


def mc1(settings: Mc1) -> dict[str, Any]:
    return _choices("mc1", settings)


def items(data: str, count: int, seed: int) -> list[Example]:
    """Test items by name: the world's are made here."""
    kind, _, name = data.partition(":")
    if kind == "world":
        from truing.world.corpora import CORPORA
        from truing.world.town import town

        if name not in CORPORA:
            raise UserError(f"data: the world has no '{name}'; it has {', '.join(CORPORA)}.")
        return CORPORA[name](town(0), count, seed)
    found = read(data)
    say(f"{found.source}: {found.format}; {len(found)} items")
    return list(found)


def _choices(task: str, settings: Hhh) -> dict[str, Any]:
    """Ask every model, print who is how often right, and return model → way → category → interval."""
    if not settings.models:
        raise UserError("models: name at least one.")
    asked = items(settings.data, settings.count, settings.seed)
    if not asked:
        raise UserError(f"{settings.data}: there is no item in it.")
    found: dict[str, Any] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            found[model] = _by_way(choose(task, open_engine(model, settings.machine), asked, rows))
    _show(task, found, len(asked))
    say(f"rows: {Path(settings.folder) / 'rows.jsonl'}")
    return found


def _by_way(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Interval]]:
    ways = [way for way in WAYS if way in rows[0]]
    names = sorted({row["about"].get("category", "") for row in rows} - {""})
    parts = {"all": rows} | {name: [r for r in rows if r["about"].get("category") == name] for name in names}
    return {way: {name: accuracy(part, way) for name, part in parts.items()} for way in ways}


def _show(task: str, found: Mapping[str, Mapping[str, Mapping[str, Interval]]], count: int) -> None:
    """Part by part by the number that counts: what the question adds, or a preference model's reward. The other ways
    to choose stand below, over everything."""
    table = Table("", *found, title=f"{task}: share of {count} items that is right, 95 % intervals")
    counts = {model: ways.get("information") or ways["reward"] for model, ways in found.items()}
    for part in next(iter(counts.values())):
        table.add_row(part, *(_cell(values[part]) for values in counts.values()), style="bold" if part == "all" else "")
    for way in ("sum", "mean"):
        if any(way in ways for ways in found.values()):
            cells = (_cell(ways[way]["all"]) if way in ways else "–" for ways in found.values())
            table.add_row(f"all, by {NAMES[way]}", *cells, style="dim")
    Console().print(table)


def _cell(value: Interval) -> str:
    return f"{value.estimate:.3f} [{value.low:.2f}, {value.high:.2f}]"
