"""`truing persona monitor`, `convert`: what is seen along a trait's direction; others' vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from truing.commands.persona import judges_of, trait_of
from truing.commands.pictures import page
from truing.commands.tables import cell, report, show
from truing.data import check_target, read, write
from truing.data.files import write_rows
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.rows import Rows
from truing.model.exchange import to_authors, to_gguf
from truing.model.vectors import LAST, RESPONSE, Vectors, load_vectors, save_vectors
from truing.pages.curves import dots
from truing.persona import monitor as looking
from truing.persona.project import Direction, projections
from truing.persona.traits import asked
from truing.records import Example, Sampling, UserError
from truing.run import say
from truing.schema import Mistake
from truing.settings import Machine
from truing.stats.intervals import mean_t
from truing.watch.personas import layer_of

Statistic = Literal["response_avg", "prompt_avg", "prompt_last"]


@dataclass(frozen=True)
class Monitor:
    """Can the trait be told before a word is said? System lines of all grades, what is then said, and a threshold; or,
    with --data, every prompt of a file with its projection."""

    model: str
    vectors: str
    trait: str | None = None
    """who asks and judges; the vector's own if none"""
    judge: str | None = None
    layer: int | None = None
    """none takes that at 55 % of the depth"""
    statistic: Statistic = "prompt_last"
    shots: str | None = None
    """a file of answers that show the trait: 0, 5, 10, 15 and 20 of its exchanges stand before the questions, as many
    as fit, instead of system lines"""
    false_alarms: float = 0.05
    """share of prompts without the trait that may be above the threshold"""
    data: str | None = None
    """prompts to look at, instead"""
    out: str = "monitored.jsonl"
    """of --data: each prompt with its projection, in class gaps"""
    threshold: float | None = None
    """of --data: how many are above it is counted"""
    folder: str = "runs/persona"
    sampling: Sampling = Sampling(n=4, max_tokens=256)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1:
            raise Mistake(("false_alarms",), "must lie between 0 and 1.")


@dataclass(frozen=True)
class Convert:
    """Persona vectors into other people's files and back: .safetensors, .pt of the authors, .gguf of llama.cpp."""

    source: str
    out: str
    statistic: Statistic = "response_avg"
    """which one goes into files that hold one"""
    trait: str | None = None
    """another name"""


def convert(settings: Convert) -> Vectors:
    check_target(settings.out, settings.source, endings=(".safetensors", ".pt", ".gguf"))
    vectors = load_vectors(settings.source)
    vectors = replace(vectors, trait=settings.trait or vectors.trait)
    out = Path(settings.out)
    if out.suffix == ".safetensors":
        save_vectors(vectors, out)
    else:
        (to_authors if out.suffix == ".pt" else to_gguf)(vectors, out, settings.statistic)
    say(f"{vectors.trait}: {vectors.layers} layers of {vectors.of(next(iter(vectors.rows))).shape[1]}: {out}")
    return vectors


def direction_of(path: str, engine: LocalEngine, layer: int | None, statistic: str) -> Direction:
    vectors = load_vectors(path)
    vectors.check(engine.model.owner, path)
    at = layer_of(vectors) if layer is None else layer
    return Direction(vectors.trait, at, vectors.row(at, statistic))


def trait_name(vectors: Vectors) -> str:
    """What truing persona extract was told: the world's traits have their prefix."""
    return str(vectors.meta.get("trait", vectors.trait))


def monitor(settings: Monitor) -> Any:
    vectors, engine = load_vectors(settings.vectors), open_local(settings.model, settings.machine)
    direction = direction_of(settings.vectors, engine, settings.layer, settings.statistic)
    if settings.data:
        return _look(settings, engine, direction)
    name = settings.trait or trait_name(vectors)
    trait = trait_of(name)
    judge, _ = judges_of(name, trait, settings.judge, settings.machine)
    other = LAST if settings.statistic == RESPONSE else RESPONSE
    directions = [direction]
    if other in vectors.rows:
        directions.append(Direction(other, direction.layer, vectors.row(direction.layer, other)))
    chance = looking.random_directions(direction.layer, len(direction.vector))
    questions = trait.evaluation or trait.extraction
    contexts = _many(settings, engine, questions) if settings.shots else looking.graded(trait)
    with Rows(settings.folder) as rows:
        points = looking.monitored(engine, [*directions, *chance], contexts, questions, settings.sampling, judge, rows)
    return _told(settings, direction, directions, points)


def _many(settings: Monitor, engine: LocalEngine, questions: Sequence[str]) -> list[looking.Context]:
    """So many exchanges before a question."""
    shown = [
        (e.prompt[-1].text, e.answers[0].text)
        for e in read(settings.shots or "")
        if e.answers and len(e.prompt) == 1 and not isinstance(e.prompt, str)
    ]
    longest = max(len(engine.codec.prompt_ids(asked(q))) for q in questions)
    found = looking.shots(engine, shown, looking.SHOTS, settings.sampling.max_tokens, longest)
    if len(found) < 2:
        raise UserError(
            f"{settings.shots}: {len(shown)} exchanges of one turn with an answer are in it, and {looking.SHOTS[1]} of "
            f"them, a question and {settings.sampling.max_tokens} tokens of an answer have to fit into "
            f"{engine.codec.max_tokens} tokens; lower --sampling.max_tokens or take shorter ones."
        )
    return found


def _told(
    settings: Monitor, direction: Direction, directions: Sequence[Direction], points: Sequence[looking.Point]
) -> Mapping[str, Any]:
    found, lines = {}, {}
    names = [settings.statistic, *(one.name for one in directions[1:])]
    for number, name in enumerate(names):
        one = looking.related(points, number)
        found[name] = asdict(one)
        lines[name] = [cell(one.pooled, 2), f"{one.within:.2f}", f"{one.between:.2f}", f"{one.p:.4f}"]
    lines["random directions"] = [f"{looking.by_chance(points, len(directions)):.2f}\n(95 % of |r|)", "–", "–", "–"]
    title = f"{direction.name} of {settings.model} at layer {direction.layer}: projection before, trait after"
    kinds = "numbers of exchanges" if settings.shots else "grades of system lines"
    note = f"over prompts; interval: questions drawn again; within and between the {kinds}"
    show(title, ["r", "within", "between", "p"], lines, note)
    limit = looking.threshold(points, 0, settings.false_alarms)
    gap = float(direction.vector.norm())
    if limit:
        say(
            f"threshold {limit.at / gap:.3f} class gaps: of the prompts that it is set with, {limit.false:.1%} of "
            f"those without the trait are above it, and {limit.found:.0%} of those with it"
        )
    else:
        say("no threshold: the trait shows after all of these prompts, or after none")
    told = {"threshold": limit.at / gap, "false": limit.false, "found": limit.found} if limit else {}
    report("persona monitor", {"correlations": found, **told})
    file = Path(settings.folder) / f"monitor-{direction.name}.html"
    page(file, f"{direction.name}: told before it is said", title, _scatters(points, gap, kinds))
    rows = [
        {"kind": p.context.kind, "grade": p.context.grade, "question": p.question, "trait": p.trait}
        | {name: round(float(p.seen[n]), 5) for n, name in enumerate(names)}
        for p in points
    ]
    write_rows(file.with_suffix(".jsonl"), rows)
    return found


def _scatters(points: Sequence[looking.Point], gap: float, kinds: str) -> list[Mapping[str, Any]]:
    """Every question in every context; and the means of each grade, from the opposite to the trait."""
    named = {"x": "projection, class gaps", "y": "trait"}
    every = dots(sorted((float(p.seen[0]) / gap, p.trait) for p in points))
    means = []
    for grade in sorted({p.context.grade for p in points}):
        here = [p for p in points if p.context.grade == grade]
        found = mean_t([p.trait for p in here])
        means.append((float(np.mean([p.seen[0] for p in here])) / gap, found.estimate, found.low, found.high))
    return [
        {"title": "Every prompt", **named, "curves": [{"label": "a prompt", "points": every, "only": "dots"}]},
        {"title": f"Means of {kinds}", **named, "curves": [{"label": "all questions", "points": means}]},
    ]


def _look(settings: Monitor, engine: LocalEngine, direction: Direction) -> list[Example]:
    """Prompts of a file, each with its projection."""
    check_target(settings.out, settings.data)
    examples = list(read(settings.data or ""))
    gap = float(direction.vector.norm())
    seen = projections(engine, [Example(e.prompt) for e in examples], [direction])
    name = f"persona/{direction.name}"
    found = [replace(e, meta={**e.meta, name: round(float(s.last[0]) / gap, 4)}) for e, s in zip(examples, seen)]
    write(settings.out, found, "truing")
    values = [e.meta[name] for e in found]
    above = "" if settings.threshold is None else f"; {sum(v > settings.threshold for v in values)} above it"
    say(f"{len(found)} prompts, {direction.name} {np.mean(values):.3f} class gaps on average{above}: {settings.out}")
    return found
