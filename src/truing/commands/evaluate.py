"""`truing eval …`: models on tests. One folder holds one test; every model adds its rows beside the others'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from truing.commands.tables import cell, report, show
from truing.data import read
from truing.engine import open_engine
from truing.evaluate.choice import WAYS, accuracy, choose
from truing.evaluate.rows import Rows
from truing.evaluate.rubric import Name, meant_by
from truing.records import Example, UserError
from truing.run import say
from truing.schema import Mistake, at_least
from truing.settings import Machine
from truing.stats.intervals import Interval

MEANT: dict[str, tuple[Name, ...]] = {"hhh": (), "mc1": ("honest",)}
NAMES = {"sum": "ln P(a | q)", "mean": "its mean per token"}


@dataclass(frozen=True)
class Test:
    """What every test is told."""

    models: tuple[str, ...]
    """who is tested: language models, preference models"""
    folder: str = "runs/eval"
    """where rows are kept: models asked before are not asked again"""
    count: int = 400
    """of the world's items"""
    seed: int = 0
    """of the world's items, of what is drawn, of the intervals"""
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "count")
        if not self.models:
            raise Mistake(("models",), "names nobody: give at least one.")
        if len(set(self.models)) < len(self.models):
            raise Mistake(("models",), "names one model twice.")


@dataclass(frozen=True)
class Hhh(Test):
    """Which answer does a model choose, the helpful, honest and harmless one? By category, in all ways of choosing."""

    folder: str = "runs/eval-hhh"
    data: str = "world:hhh"
    """comparisons: world:hhh, or a file or hub name (HuggingFaceH4/hhh_alignment:helpful, say)"""


@dataclass(frozen=True)
class Mc1(Hhh):
    """Does a model choose the truth among answers that people believe? (TruthfulQA's MC1: one of several is right.)"""

    folder: str = "runs/eval-mc1"
    data: str = "world:mc1"
    """items: world:mc1, or a file or hub name (truthfulqa/truthful_qa, say)"""


def hhh(settings: Hhh) -> dict[str, Any]:
    return _choices("hhh", settings)


def mc1(settings: Mc1) -> dict[str, Any]:
    return _choices("mc1", settings)


def items(data: str, count: int, seed: int) -> list[Example]:
    """Test items by name: the world's are made here."""
    found = _items(data, count, seed)
    if not found:
        raise UserError(f"{data}: there is no item in it.")
    return found


def _items(data: str, count: int, seed: int) -> list[Example]:
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
    asked = items(settings.data, settings.count, settings.seed)
    found: dict[str, Any] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            found[model] = _by_way(choose(task, open_engine(model, settings.machine), asked, rows))
    _show(task, found, len(asked))
    say(meant_by(*MEANT[task]))
    say(f"rows: {Path(settings.folder) / 'rows.jsonl'}")
    return found


def _by_way(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Interval]]:
    ways = [way for way in WAYS if way in rows[0]]
    names = sorted({row["about"].get("category", "") for row in rows} - {""})
    parts = {"all": rows} | {name: [r for r in rows if r["about"].get("category") == name] for name in names}
    return {way: {name: accuracy(part, way) for name, part in parts.items()} for way in ways}


def _show(task: str, found: Mapping[str, Mapping[str, Mapping[str, Interval]]], count: int) -> None:
    """Part by part by the number that counts: what the question adds, or a preference model's reward. The other ways
    to choose stand beside it, over everything."""
    best = {model: ways.get("information") or ways["reward"] for model, ways in found.items()}
    parts = list(dict.fromkeys(part for values in best.values() for part in values))
    others = [way for way in NAMES if any(way in ways for ways in found.values())]
    rows = {
        model: [
            *(cell(best[model].get(part)) for part in parts),
            *(cell(ways[way]["all"] if way in ways else None) for way in others),
        ]
        for model, ways in found.items()
    }
    columns = [*parts, *(f"all, by {NAMES[way]}" for way in others)]
    show(f"{task}: share of {count} items that is right", columns, rows, "95 % intervals")
    report(task, found)
