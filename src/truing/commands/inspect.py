"""`truing data inspect`: what is in data files, tranche by tranche, and whether it was read as it was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from truing.commands.data import opened
from truing.commands.tables import paper
from truing.data import Dataset, describe
from truing.data.describe import about, lengths
from truing.data.quirks import QUIRKS, direction, quirks
from truing.data.tranches import marked, tranche
from truing.engine import open_engine, require
from truing.evaluate.preference import judged_pairs
from truing.model.load import load_tokenizer
from truing.model.text import Codec, Dropped, encode_all, show
from truing.records import Example, Message, UserError
from truing.run import progress
from truing.schema import at_least
from truing.spec import ModelSpec
from truing.stats import pairs

BLOCKS, BARS = "▁▂▃▄▅▆▇█", 24


@dataclass(frozen=True)
class Inspect:
    """What is in data files: format, counts, lengths, defects; examples too, as text or as a model reads them."""

    path: str | tuple[str, ...]
    """files or hub names; several are also shown side by side"""
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
    scores: str | None = None
    """a preference model, or any that scores: what it gives to better and worse answers, tranche by tranche"""

    def __post_init__(self) -> None:
        at_least(self, 0, "show")
        at_least(self, 1, "limit", "max_tokens")


def inspect(settings: Inspect) -> dict[str, Any]:
    """Print what `truing.data.describe` and `quirks` find in each file, then the tranches beside each other."""
    paths = [settings.path] if isinstance(settings.path, str) else list(settings.path)
    if not paths:
        raise UserError("which file? Name at least one.")
    console = paper()
    sets = [opened(settings, path, settings.limit) for path in paths]
    codec = None
    if settings.model:
        spec = ModelSpec.parse(settings.model)
        codec = Codec(load_tokenizer(spec.name, spec.revision), max_tokens=settings.max_tokens)
    files = {path: _file(dataset, codec, settings.show, console) for path, dataset in zip(paths, sets)}
    tranches = _tranches(list(chain(*marked(settings.path, sets))), settings, console)
    return {"files": files, "tranches": tranches}


def _file(dataset: Dataset, codec: Codec | None, count: int, console: Console) -> dict[str, Any]:
    found = describe(dataset) | {"quirks": quirks(dataset)}
    if codec:
        found["tokens"] = _tokens(dataset, codec)
    progress.emit("inspect", "", found)
    console.print(_table({key: value for key, value in found.items() if key != "quirks"}))
    if found["length_only"] is not None:
        console.print(_quirks(found["quirks"]))
        console.print(f"Conversations: {direction(found['continues_with_rank'])}.", soft_wrap=True)
    for example in dataset[:count]:
        console.print()
        console.print(_as_text(example) if codec is None else _as_tokens(example, codec), soft_wrap=True)
    return found


def _tranches(examples: list[Example], settings: Inspect, console: Console) -> dict[str, Any]:
    """A card for each, if there are several or scores are asked for."""
    names = sorted(set(map(tranche, examples)))
    if len(names) < 2 and not settings.scores:
        return {}
    parts = {name: [e for e in examples if tranche(e) == name] for name in names}
    found = {name: {"examples": len(part), **about(part)} for name, part in parts.items()}
    cards = {name: _card(one) for name, one in found.items()}
    if settings.scores:
        engine = open_engine(settings.scores, max_tokens=settings.max_tokens)
        require(engine, "score")
        rows = pairs.by(judged_pairs(engine, examples), "tranche")
        if not rows:
            raise UserError("there is no pair of a better and a worse answer whose scores could be shown.")
        for name, said in _histograms(rows).items():
            cards[str(name)] |= said
            found[str(name)]["score"] = [row["score"] for row in rows[name]]
    progress.emit("tranches", "", found)
    table = Table("", *cards, title="tranches")
    for line in dict.fromkeys(chain(*cards.values())):
        table.add_row(line, *(card.get(line, "–") for card in cards.values()))
    console.print(table)
    return found


def _card(found: Mapping[str, Any]) -> dict[str, str]:
    words = {f"words, {name}": f"{value['mean']:.1f}" for name, value in found["words"].items() if value}
    longer, strength = found["length_only"], found["strength"] or {}
    clear = sum([*strength.values()][1:])
    return {
        "examples": str(found["examples"]),
        "at turn": _said(found["turn"]),
        "judged with strength": _said(strength) or "–",
        "above the weakest": f"{clear} of {sum(strength.values())}" if strength else "–",
        **words,
        "the longer is better": "–" if longer is None else f"{longer:.3f}",
        "go on with rank": _said(found["continues_with_rank"]) or "–",
        "share a first turn": str(found["same_first_turn"]),
    }


def _histograms(rows: Mapping[Any, Sequence[Mapping[str, Any]]]) -> dict[Any, dict[str, str]]:
    """Scores of better and worse answers on one scale for all tranches. They have no zero: the scale says its ends."""
    every = [score for part in rows.values() for row in part for score in row["score"]]
    low, high = min(every), max(every)
    name = f"scores from {low:.2f} to {high:.2f}"
    return {
        key: {
            f"{side}: {name}": bars([row["score"][i] for row in part], low, high)
            for i, side in enumerate(("better", "worse"))
        }
        for key, part in rows.items()
    }


def bars(values: Sequence[float], low: float, high: float) -> str:
    """A histogram on one line: empty bins are blank, and any other is at least the lowest block."""
    counts = [0] * BARS
    for value in values:
        counts[min(BARS - 1, int((value - low) / ((high - low) or 1) * BARS))] += 1
    tall = max(counts) or 1
    return "".join(BLOCKS[-(-n * len(BLOCKS) // tall) - 1] if n else " " for n in counts)


def _quirks(found: Mapping[str, Mapping[str, int]]) -> Table:
    """What is odd and found, line by line; what is not found, in one."""
    absent = [name for name, count in found.items() if not count["rows"]]
    caption = f"Not found: {', '.join(absent)}." if absent else None
    table = Table("what is odd", "rows", "better", "worse", "and what it means", caption=caption)
    for name, count in found.items():
        if count["rows"]:
            table.add_row(name, *(str(count.get(key, "")) for key in ("rows", "better", "worse")), QUIRKS[name].do)
    return table


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
            yield name, _said(value) or "none"
        elif value is not None:
            yield name, _number(value)


def _said(counts: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key} {_number(value)}" for key, value in counts.items())


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
