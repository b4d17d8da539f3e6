"""`truing demo` and `truing world …`: the built-in world from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.table import Table

from truing.data import write
from truing.data.preface import write_preface
from truing.engine import open_engine
from truing.pages.story import render_story
from truing.records import Example, UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.settings import Machine
from truing.world.corpora import CORPORA
from truing.world.demo import demo as run_demo
from truing.world.documents import Document, documents
from truing.world.gates import Gate, of_model, of_world
from truing.world.lab import Demo
from truing.world.prefaces import preface as make_preface
from truing.world.town import town


@dataclass(frozen=True)
class Show:
    """Print documents that the base models have read."""

    count: int = 5
    seed: int = 0
    coupling: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """Write a data set of the world, in Truing's format."""

    name: str
    """demonstrations, tranches, helpful, harmless, mixed, scored, voted, ranked, threads, comments, reverts, prompts,
    hhh, mc1, …; any other word lists them all"""
    out: str
    """the file: .jsonl, .jsonl.gz or .parquet"""
    count: int = 1000
    seed: int = 0
    town: int = 0
    """the seed of the town; checkpoints that come with Truing know town 0"""


@dataclass(frozen=True)
class Preface:
    """Write a preface in the language of the world, for +prompt:FILE: conversations with an expert, or a control."""

    out: str
    """the file: .yaml"""
    kind: str = "good"
    """good, rude, shuffled or neutral"""
    count: int = 4
    """conversations"""
    seed: int = 0


@dataclass(frozen=True)
class Gates:
    """Is this world fit to prove anything in? Each gate is a number and a bound that was set beforehand."""

    model: str = "world:base"
    """the base model that is measured"""
    seed: int = 0
    """of the town that the model was built for"""
    machine: Machine = field(default_factory=Machine)


def demo(settings: Demo) -> Path:
    """Run the demo and write its report."""
    folder = run_demo(settings)
    page = folder / "report.html"
    write_text(page, render_story(folder))
    say(f"\nreport: {page}")
    return page


def show(settings: Show) -> list[Document]:
    """Documents, and print them."""
    console, found = (
        Console(),
        list(islice(documents(town(settings.seed), settings.seed, settings.coupling), settings.count)),
    )
    for document in found:
        if isinstance(document, str):
            console.print(document, markup=False, highlight=False)
        for message in () if isinstance(document, str) else document:
            console.print(f"[bold]{message.role:9}[/bold]  {message.text}", highlight=False)
        console.rule(style="dim")
    return found


def corpus(settings: Corpus) -> list[Example]:
    """Make, write, and say what it is."""
    if settings.name not in CORPORA:
        raise UserError(f"name: there is no '{settings.name}'; there are {', '.join(CORPORA)}.")
    function = CORPORA[settings.name]
    found = function(town(settings.town), settings.count, settings.seed)
    write(settings.out, found, "truing")
    say(f"{settings.out}: {len(found)} examples. {' '.join((function.__doc__ or '').split())}")
    return found


def preface(settings: Preface) -> Path:
    """Make, write, and show the beginning of it."""
    found = make_preface(town(0), settings.kind, settings.count, settings.seed)
    write_preface(found, settings.out)
    first = " → ".join(m.text for m in found.conversations[0]) if found.conversations else found.preamble[:80]
    say(f"{settings.out}: {len(found.conversations)} conversations. {first}")
    return Path(settings.out)


def gates(settings: Gates) -> list[Gate]:
    """Measure, print, and fail if one does not pass."""
    place = town(settings.seed)
    engine = open_engine(settings.model, settings.machine)
    found = [*of_world(place, settings.seed), *of_model(place, engine, settings.seed)]
    table = Table("gate", "measured", "bound", "", title=f"{settings.model}, seed {settings.seed}")
    for gate in found:
        sign = "≥" if gate.at_least else "≤"
        verdict = "[green]passes[/green]" if gate.passed else "[red]fails[/red]"
        table.add_row(gate.name, f"{gate.value:.3g}", f"{sign} {gate.bound:g}", verdict)
    Console().print(table)
    if failed := [gate.name for gate in found if not gate.passed]:
        raise UserError(f"{len(failed)} of {len(found)} gates do not pass: {', '.join(failed)}.")
    return found
