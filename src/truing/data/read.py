"""Reading: a file or a hub name → a Dataset that knows its format, its counts and its defects."""

from __future__ import annotations

import gc
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import islice
from typing import Literal, get_args, overload

from truing.data import own
from truing.data.defects import DEFECTS, REPEATED, Finder
from truing.data.files import json_bytes, rows_of
from truing.data.formats import TABLE, Format, detect, named
from truing.data.rows import Row, RowError
from truing.data.tasks import gathered, resolved
from truing.records import Example, UserError

COMMON = ("preference", "prompt-completion", "messages")  # formats that most people mean
OnDefect = Literal["stop", "drop"]


@dataclass(frozen=True, slots=True)
class Counts:
    """kept + everything dropped = read."""

    read: int
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """The format of a file, and what says so."""

    name: str
    title: str
    because: str

    def __str__(self) -> str:
        return f"{self.title} format, {self.because}"


@dataclass(frozen=True, eq=False)
class Dataset(Sequence[Example]):
    examples: Sequence[Example]
    source: str
    format: Found
    counts: Counts
    defects: dict[str, int] = field(default_factory=dict)
    """what is odd about examples that were kept: name → how many"""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        return self.examples[index]

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all examples in their order: the same wherever they were read from, in whatever format."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(json_bytes(own.write(replace(example, source=None)), strict=False))
        return digest.hexdigest()[:16]

    def without(self, *defects: str) -> Dataset:
        """The same data, less the examples with one of these defects; they are counted as dropped."""
        if unknown := set(defects) - {*DEFECTS, REPEATED}:
            raise UserError(f"there is no defect '{min(unknown)}'. Defects: {', '.join([*DEFECTS, REPEATED])}.")
        find, kept = Finder(), []
        dropped, remaining = Counter(self.counts.dropped), Counter[str]()
        for example in self.examples:
            found = find(example)
            reason = next((name for name in found if name in defects), None)
            if reason:
                dropped[reason] += 1
            else:
                kept.append(example)
                remaining.update(found)
        notes = {name: count for name, count in self.defects.items() if name not in {*DEFECTS, REPEATED}}
        counts = Counts(self.counts.read, len(kept), dict(dropped))
        return replace(self, examples=kept, counts=counts, defects={**notes, **remaining})


def read(
    source: str | os.PathLike[str], *, format: str | None = None, on_defect: OnDefect = "stop", limit: int | None = None
) -> Dataset:
    """Read a file (.jsonl, .json, both also .gz, .parquet), `org/name[:subset][@split]` from the hub, or `task:NAME`.

    format     by name; None detects it from the first row
    on_defect  stop: the first row that cannot be read is an error. drop: such rows are left out, counted by reason
    limit      read at most so many rows
    """
    if on_defect not in get_args(OnDefect):
        raise UserError(f"data.on_defect is '{on_defect}': it must be stop or drop.")
    if limit is not None and limit < 1:
        raise UserError(f"data.limit is {limit}: it must be at least 1.")
    source = os.fspath(source)
    task, place = resolved(source)
    reading = _Reading(place, format or (task.format if task else None), on_defect)
    with _uncollected():
        for where, row in islice(rows_of(place, limit), limit):
            reading.add(where, row)
    found = reading.dataset()
    return replace(found, examples=gathered(found.examples)) if task else found


class _Reading:
    def __init__(self, source: str, format: str | None, on_defect: OnDefect) -> None:
        self.source, self.on_defect = source, on_defect
        self.format: Format | None = named(format) if format else None
        self.because = "as asked for"
        self.examples: list[Example] = []
        self.dropped, self.defects = Counter[str](), Counter[str]()
        self.find = Finder()

    def add(self, where: str, row: Row | RowError) -> None:
        notes: set[str] = set()
        place = f"{self.source} {where}"
        try:
            if isinstance(row, RowError):
                raise row
            if self.format is None:
                self.format, self.because = _detect(row, place), f"detected from {where}"
            example = self.format.read(row, notes.add, place)
        except RowError as error:
            if self.on_defect == "stop":
                format = f" ({self.found()})" if self.format else ""
                raise UserError(
                    f"{place}: {error}{format}. Fix the row, or drop such rows with data.on_defect=drop."
                ) from error
            self.dropped[str(error)] += 1
            return
        self.examples.append(example)
        for name in (*self.find(example), *notes):
            self.defects[name] += 1

    def found(self) -> Found:
        assert self.format is not None
        return Found(self.format.name, self.format.title, self.because)

    def dataset(self) -> Dataset:
        if not self.examples:
            why = ", ".join(f"{count} × {reason}" for reason, count in self.dropped.items())
            raise UserError(f"{self.source}: no example in it ({why or 'line 1 is already its end'}).")
        kept, dropped = len(self.examples), dict(self.dropped)
        counts = Counts(kept + sum(dropped.values()), kept, dropped)
        return Dataset(self.examples, self.source, self.found(), counts, dict(self.defects))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Examples hold no cycles: searching millions of young objects for some would take a third of the reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _detect(row: Row, place: str) -> Format:
    format = detect(row)
    if format is None:
        nearest = max(TABLE, key=lambda format: _alike(format.columns, list(row)))
        shown = dict.fromkeys((nearest, *map(named, COMMON)))
        known = "; ".join(f"{format.name}: {', '.join(format.columns)}" for format in shown)
        columns = ", ".join(row) or "none"
        raise UserError(
            f"{place}: its columns ({columns}) are of no known format. Rename them as in {known}. "
            f"Formats: {', '.join(format.name for format in TABLE)}."
        )
    return format


def _alike(columns: Sequence[str], given: Sequence[str]) -> float:
    """The share of a format's columns that a row has nearly."""
    return sum(bool(get_close_matches(column, given, n=1)) for column in columns) / len(columns)
