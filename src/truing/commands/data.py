"""`truing data convert|split`: from format to format, and honest splits. (What is in a file: `inspect.py`.)"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from truing.data import Dataset, check_target, losses, read, write
from truing.data import split as divide
from truing.records import UserError
from truing.run import say
from truing.schema import Mistake, at_least


@dataclass(frozen=True)
class Convert:
    """Write a data file in another format. What the format cannot keep is named; what would change is refused."""

    path: str
    """file or hub name"""
    out: str
    """the file to write: .jsonl, .jsonl.gz, .parquet"""
    to: str = "truing"
    """name of the format to write"""
    format: str = "auto"
    """name of the format to read"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a row that cannot be read stops the verb, or is dropped and counted"""
    limit: int | None = None
    """read only the first so many rows"""

    def __post_init__(self) -> None:
        at_least(self, 1, "limit")


@dataclass(frozen=True)
class Split:
    """Divide a data file so that conversations with the same first human turn stay in one part."""

    path: str
    """file or hub name"""
    out: str
    """the folder to write one file per part into"""
    parts: tuple[str, ...] = ("train=0.9", "test=0.1")
    """name=share of each part; the shares add up to 1"""
    seed: int = 0
    """another seed, another split; the same seed keeps a conversation where it was when other data comes or goes"""
    to: str | None = None
    """name of the format to write; none keeps the one read"""
    format: str = "auto"
    """name of the format to read"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a row that cannot be read stops the verb, or is dropped and counted"""

    def __post_init__(self) -> None:
        for part in self.parts:
            _share(part)


def convert(settings: Convert) -> int:
    """Write the file and say what of its contents the format does not keep."""
    check_target(settings.out, settings.path)
    dataset = opened(settings, settings.path, settings.limit)
    lost = losses(dataset, settings.to)
    written = write(settings.out, dataset, settings.to)
    say(f"{written} examples written to {settings.out}.{_dropped(dataset)}{_lost(lost, settings.to)}")
    return written


def split(settings: Split) -> dict[str, Path]:
    """Write `out/PART.jsonl` for each part: all of them or none."""
    for part in settings.parts:
        check_target(Path(settings.out, f"{_share(part)[0]}.jsonl"), settings.path)
    dataset = opened(settings, settings.path)
    to = settings.to or dataset.format.name
    parts = divide(dataset, dict(map(_share, settings.parts)), settings.seed)
    for name, examples in parts.items():
        if not examples:
            raise UserError(f"part '{name}' would be empty: {len(dataset)} examples have too few first turns.")
    lost = losses(dataset, to)
    folder = Path(settings.out)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".split-", dir=folder) as partial:
        for name, examples in parts.items():
            write(Path(partial, f"{name}.jsonl"), examples, to)
        for name in parts:
            os.replace(Path(partial, f"{name}.jsonl"), folder / f"{name}.jsonl")
    sizes = ", ".join(f"{name}.jsonl {len(examples)}" for name, examples in parts.items())
    say(f"{folder}: {sizes} examples; no first human turn is in two.{_dropped(dataset)}{_lost(lost, to)}")
    return {name: folder / f"{name}.jsonl" for name in parts}


class Opening(Protocol):
    """How the settings of these verbs say that a file is to be read."""

    @property
    def format(self) -> str: ...
    @property
    def on_defect(self) -> Literal["stop", "drop"]: ...


def opened(settings: Opening, path: str, limit: int | None = None) -> Dataset:
    """A file that somebody named, and what was found in it."""
    format = None if settings.format == "auto" else settings.format
    try:
        dataset = read(path, format=format, on_defect=settings.on_defect, limit=limit)
    except UserError as problem:  # these verbs have no section `data`
        raise UserError(str(problem).replace("data.on_defect=drop", "--on_defect drop")) from None
    say(f"{dataset.source}: {dataset.format}; {len(dataset)} examples")
    return dataset


def _share(part: str) -> tuple[str, float]:
    name, _, share = part.partition("=")
    try:
        if not name or Path(name).name != name:
            raise ValueError
        return name, float(share)
    except ValueError:
        raise Mistake(("parts",), f"must look like train=0.9 test=0.1, not {part!r}.") from None


def _dropped(dataset: Dataset) -> str:
    dropped = dataset.counts.dropped
    return f" Dropped: {', '.join(f'{n} × {reason}' for reason, n in dropped.items())}." if dropped else ""


def _lost(lost: dict[str, int], format: str) -> str:
    return f" The format {format} does not keep: {', '.join(f'{k} ({n})' for k, n in lost.items())}." if lost else ""
