"""`truing data prompts`: more prompts like those there are, written by a model, and how much of them is new."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any, Literal

import numpy as np

from truing.commands.data import opened
from truing.commands.tables import report, show
from truing.data import beside, check_target, write
from truing.data.fewshot import as_chat, as_list, drawn, list_ends, opening
from truing.engine import open_engine, require
from truing.engine.base import Asking
from truing.records import Answer, Example, Message, Sampling, UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.run.progress import Progress
from truing.schema import Mistake, at_least
from truing.settings import Machine
from truing.stats.overlap import Known, among, quantiles, words
from truing.stats.text import distinct

BATCH, MOST = 64, 10  # documents at a time; answers for each prompt that is wanted, before it is given up


@dataclass(frozen=True)
class Prompts:
    """Write more prompts like those of a file: a model is shown ten of them at a time, and adds one. What is there
    already is dropped and counted, and a report says how near the new ones are to the old."""

    model: str
    """who writes them"""
    path: str
    """file of prompts, or hub name; of conversations the first turn of the user"""
    out: str
    """the file to write, in Truing's format; the report stands beside it as NAME.overlap.json"""
    count: int = 1000
    """how many new ones"""
    shown: int = 10
    """how many of the file, drawn at random, are shown each time"""
    ask: Literal["list", "chat"] = "list"
    """list: a language model continues a numbered list; chat: a chat model is asked for one after the other"""
    near: float = 0.7
    """a prompt of which this share (in runs of three words) stands in one other is too near to it, and dropped"""
    held_out: str | None = None
    """file of prompts that are kept for evaluation: what is near to one of them is dropped"""
    format: str = "auto"
    """name of the format to read; auto detects it from the first row and says so"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a row that cannot be read stops the verb, or is dropped and counted"""
    sampling: Sampling = field(default_factory=Sampling)
    """max_tokens: of a prompt; one that is cut off is dropped. The seed also decides what is shown"""
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "count", "shown")
        if not 0 < self.near <= 1:
            raise Mistake(("near",), "must be above 0 and at most 1.")
        if self.sampling.n != 1:
            raise Mistake(("sampling", "n"), "must be 1: other prompts are shown each time.")
        if self.sampling.stop:
            raise Mistake(("sampling", "stop"), "is decided by `ask`.")


def prompts(settings: Prompts) -> list[Example]:
    """Read, draw, write, report."""
    check_target(settings.out, settings.path, settings.held_out)
    sources = _sources(settings, settings.path)
    if len(sources) < settings.shown:
        raise UserError(f"{settings.path} holds {len(sources)} different prompts, and {settings.shown} shall be shown.")
    held = list(_sources(settings, settings.held_out)) if settings.held_out else []
    engine = open_engine(settings.model, settings.machine)
    require(engine, "sample")
    found = Gathered(settings, sources, held)
    found.gather(engine)
    if not found.kept:
        raise UserError(f"{engine.name} wrote nothing new ({_counted(found.dropped)}); nothing was written.")
    told = found.report(engine)
    write(settings.out, found.kept, "truing")
    file = beside(settings.out, ".overlap.json")
    write_text(file, json.dumps(told, indent=1, ensure_ascii=False))
    report("prompts", told)
    _show(settings, told)
    say(f"{len(found.kept)} prompts: {settings.out}; report: {file}")
    return found.kept


def _sources(settings: Prompts, path: str) -> dict[str, Example]:
    """Each text with the first example that holds it."""
    found = dict[str, Example]()
    for example in opened(settings, path):
        if words(text := opening(example)):
            found.setdefault(text, example)
    return found


class Gathered:
    """What a model has written, until there is enough of it."""

    def __init__(self, settings: Prompts, sources: dict[str, Example], held: Sequence[str]) -> None:
        self.settings, self.texts, self.examples, self.held = settings, [*sources], [*sources.values()], held
        self.plain = all(isinstance(e.prompt, str) for e in self.examples)
        self.known = {"an existing prompt": Known(self.texts), "a held-out prompt": Known(held), "a new one": Known()}
        self.drawn, self.kept, self.dropped, self.shortened = list[str](), list[Example](), Counter[str](), 0

    def gather(self, engine: Asking) -> None:
        """In the order of the documents: how many are asked at a time changes nothing."""
        settings, bar = self.settings, Progress("new prompts", 0, self.settings.count)
        try:
            for shown, answer in self._answers(engine):
                if self._takes(shown, answer, engine.name):
                    bar.show({"step": len(self.kept)})
                if len(self.kept) == settings.count:
                    break
        finally:
            bar.close()
        self.shortened = codec.notes["prompt_truncated"] if (codec := getattr(engine, "codec", None)) else 0

    def _answers(self, engine: Asking) -> Iterator[tuple[list[int], Answer]]:
        settings = self.settings
        document = as_list if settings.ask == "list" else as_chat
        sampling = replace(settings.sampling, stop=list_ends(settings.shown) if settings.ask == "list" else ())
        for start in range(0, MOST * settings.count, BATCH):
            numbers = range(start, min(start + BATCH, MOST * settings.count))
            shown = [drawn(self.texts, settings.shown, sampling.seed, number) for number in numbers]
            asked = engine.sample([document([self.texts[i] for i in chosen]) for chosen in shown], sampling)
            yield from zip(shown, (example.answers[0] for example in asked), strict=True)

    def _takes(self, shown: Sequence[int], answer: Answer, by: str) -> bool:
        text = answer.text.strip()
        self.drawn.append(text)
        reason = "cut off" if answer.finish == "length" else "" if words(text) else "empty"
        for what, known in self.known.items():
            if not reason and text in known:
                reason = f"copy of {what}"
            elif not reason and known.overlap(text) >= self.settings.near:
                reason = f"near {what}"
        if reason:
            self.dropped[reason] += 1
            return False
        self.known["a new one"].add(text)
        meta = {"tranche": "generated", "by": by, "shown": [self.examples[i].id for i in shown]}
        self.kept.append(Example(text if self.plain else (Message("user", text),), source=by, meta=meta))
        return True

    def report(self, engine: Asking) -> dict[str, Any]:
        """How much of what was drawn is new, and how near prompts are to those that were there: the drawn ones, the
        kept ones and, for comparison, the existing ones to each other."""
        settings, existing = self.settings, self.known["an existing prompt"]
        said = [text for text in self.drawn if words(text)]
        new = [opening(example) for example in self.kept]
        few = min(len(said), len(new), len(self.texts))
        parts = {
            "drawn": (said, [existing.overlap(text) for text in said], sum(text in existing for text in said)),
            "kept": (new, [existing.overlap(text) for text in new], 0),
            "existing": (self.texts, among(self.texts), len(self.texts) - len(existing.copies)),
        }
        return {
            "model": engine.name,
            "fingerprint": engine.fingerprint,
            "settings": {name: value for name, value in asdict(settings).items() if name != "machine"},
            "drawn": len(self.drawn),
            "kept": len(self.kept),
            "new": len(self.kept) / len(self.drawn),
            "dropped": dict(self.dropped),
            "shortened": self.shortened,
            "prompts": {name: self._about(*part, few) for name, part in parts.items()},
        }

    def _about(self, texts: Sequence[str], overlaps: Sequence[float], copies: int, few: int) -> dict[str, Any]:
        """`few`: distinct-n falls with the number of texts, so it is of as many on all sides."""
        near, held = self.settings.near, self.known["a held-out prompt"]
        found: dict[str, Any] = {"texts": len(texts), "copies": copies, "near": sum(o >= near for o in overlaps)}
        found |= quantiles(overlaps)
        if self.held:
            beside = [held.overlap(text) for text in texts]
            found["held-out"] = {
                "copies": sum(text in held for text in texts),
                "near": sum(o >= near for o in beside),
                **quantiles(beside),
            }
        some = Random(few).sample(list(texts), few)
        length = float(np.mean([len(words(text)) for text in texts]))
        return found | {"words": length, **{f"distinct-{n}": distinct(some, n) for n in (1, 2)}}


def _counted(dropped: Counter[str] | dict[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "none dropped"


def _show(settings: Prompts, told: dict[str, Any]) -> None:
    parts = told["prompts"].values()
    rows = {"not empty": "texts", "copies": "copies", f"near ({settings.near:g} or more)": "near"}
    rows |= {f"overlap, {name}": name for name in ("median", "p90", "max")} | {"words": "words"}
    rows |= {name: name for name in ("distinct-1", "distinct-2")}
    lines = {line: [f"{part[name]:.4g}" for part in parts] for line, name in rows.items()}
    if settings.held_out:
        held = [part["held-out"] for part in parts]
        lines |= {f"held-out: {name}": [f"{part[name]:.4g}" for part in held] for name in held[0]}
    show(f"{told['model']}: how near to existing prompts", list(told["prompts"]), lines)
    say(f"{told['kept']} of {told['drawn']} are new ({told['new']:.1%}); dropped: {_counted(told['dropped'])}")
    if told["shortened"]:
        say(f"{told['shortened']} documents were cut at the front, since the model holds no more: show fewer, --shown")
    if told["kept"] < settings.count:
        say(f"{settings.count} were wanted: after {told['drawn']} answers it was given up")
