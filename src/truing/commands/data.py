"""`truing data inspect|convert|split`: what is in a file, from format to format, honest splits."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from truing.data import Dataset, describe, losses, read, write
from truing.data import split as divide
from truing.data.describe import lengths
from truing.model.load import load_tokenizer
from truing.model.text import Codec, Dropped, encode_all, show
from truing.records import Example, Message, UserError
from truing.run import progress, say
from truing.schema import Mistake, at_least
from truing.spec import ModelSpec


@dataclass(frozen=True)
class Inspect:
    """What is in a data file: format, counts, lengths, defects; examples too, as text or as a model reads them."""

    path: str
    """file or hub name"""
    format: str = "auto"
    """name of the format; auto detects it from the first row and says so"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a row that cannot be read stops the verb, or is dropped and counted"""
    limit: int | None = None
    """read only the first so many rows"""
    show: int = 0
    """show so many examples; with a model, as coloured tokens and with what is trained on"""
    model: str | None = None
    """whose tokens to count and show: a folder or hub name"""
    max_tokens: int = 1024
    """longest prompt and answer together, in tokens of the model"""

    def __post_init__(self) -> None:
        at_least(self, 0, "show")
        at_least(self, 1, "limit", "max_tokens")


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


def inspect(settings: Inspect) -> dict[str, Any]:
    """Print what `truing.data.describe` finds, tokens if there is a model, and the first examples if asked for."""
    dataset = _read(settings, settings.limit)
    found = describe(dataset)
    codec = None
    if settings.model:
        spec = ModelSpec.parse(settings.model)
        codec = Codec(load_tokenizer(spec.name, spec.revision), max_tokens=settings.max_tokens)
        found["tokens"] = _tokens(dataset, codec)
    progress.emit("inspect", "", found)
    if progress._mode == "rich":
        console = Console(highlight=False)
        console.print(_table(found))
        for example in dataset[: settings.show]:
            console.print()
            console.print(_as_text(example) if codec is None else _as_tokens(example, codec), soft_wrap=True)
    return found


def convert(settings: Convert) -> int:
    """Write the file and say what of its contents the format does not keep."""
    if Path(settings.path).absolute() == Path(settings.out).absolute():
        raise UserError(f"{settings.out} is the file to read: write to another one.")
    dataset = _read(settings, settings.limit)
    lost = losses(dataset, settings.to)
    written = write(settings.out, dataset, settings.to)
    say(f"{written} examples written to {settings.out}.{_dropped(dataset)}{_lost(lost, settings.to)}")
    return written


def split(settings: Split) -> dict[str, Path]:
    """Write `out/PART.jsonl` for each part: all of them or none."""
    dataset = _read(settings, None)
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


def _read(settings: Inspect | Convert | Split, limit: int | None) -> Dataset:
    format = None if settings.format == "auto" else settings.format
    try:
        dataset = read(settings.path, format=format, on_defect=settings.on_defect, limit=limit)
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


def _tokens(dataset: Dataset, codec: Codec) -> dict[str, Any]:
    """How long the data is in a model's tokens, and what of it could not be used."""
    groups, dropped = encode_all([example for example in dataset if example.answers], codec)
    prompts = [len(group.prompt) for group in groups]
    for example in dataset:
        if not example.answers:
            try:
                prompts.append(len(codec.prompt_ids(example.prompt)))
            except Dropped as problem:
                dropped[problem.reason] += 1
    return {
        "codec": codec.describe(),
        "prompt": lengths(prompts),
        "answer": lengths(len(ids) for group in groups for ids in group.answers),
        "trained on": sum(sum(map(sum, group.trained)) for group in groups),
        "adapted": dict(codec.notes),
        "dropped": dict(dropped),
    }


def _table(found: dict[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _lines(found):
        table.add_row(Text(name, "dim"), Text(value))
    return table


def _lines(found: dict[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    for key, value in found.items():
        name = f"{at}{key}".replace("_", " ")
        if isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values()):
            yield from _lines(value, f"{name} · ")
        elif isinstance(value, dict):
            yield name, ", ".join(f"{k} {_number(v)}" for k, v in value.items()) or "none"
        elif value is not None:
            yield name, _number(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_text(example: Example) -> Text:
    prompt, ranks = example.prompt, example.ranks()
    turns = [Message("prompt", prompt)] if isinstance(prompt, str) else prompt
    pieces = [(turn.role, turn.text, "grey62") for turn in turns]
    for number, answer in enumerate(example.answers):
        rank = f", rank {ranks[number]}" if ranks else ""
        pieces.append((f"answer {number}{rank}", answer.text, "green3"))
        pieces += [(turn.role, turn.text, "green3" if turn.role == "assistant" else "grey62") for turn in answer.more]
    text = Text()
    for name, said, style in pieces:
        said = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", said)  # terminal escapes
        text.append(f"{name}  ", "bold").append(said.strip("\n") + "\n", style)
    return text


def _as_tokens(example: Example, codec: Codec) -> Text:
    try:
        return show(codec.encode(example), codec.tokenizer)
    except Dropped as problem:
        return Text(f"{example.source}: cannot be used: {problem}", "red")
