"""`truing sample`, `truing score`, `truing chat`: ask any model, by file or in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import Progress

from truing.align.job import read_sets
from truing.commands.tables import cell, report, show
from truing.data import Dataset, check_target, write
from truing.data.tranches import marked
from truing.engine import Asking, open_engine, require
from truing.evaluate.detector import guarded
from truing.evaluate.preference import pair_rows
from truing.records import Example, Judgement, Message, Sampling, UserError
from truing.run import say
from truing.settings import Data, Machine
from truing.stats import pairs
from truing.stats.intervals import Interval
from truing.stats.ratings import elo, win_probability


@dataclass(frozen=True)
class Sample:
    """Answers for a file of prompts. The same seed, prompt and number give the same answer, whatever else is asked."""

    model: str
    """who answers: a folder, a hub name, api:NAME, scripted:NAME"""
    data: Data
    """prompts; of other formats, each example's prompt"""
    out: str = "samples.jsonl"
    reject: str | None = None
    """a detector from `truing eval ood --out`: prompts that it rejects get a refusal, and are counted"""
    sampling: Sampling = field(default_factory=Sampling)
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class Score:
    """Score the answers of a file: a preference model's reward, or the log-probability under a language model."""

    model: str
    """who scores"""
    data: Data
    out: str = "scores.jsonl"
    machine: Machine = field(default_factory=Machine)


@dataclass(frozen=True)
class Chat:
    """Talk with a model. An empty line ends the conversation, /new begins another."""

    model: str
    system: str | None = None
    """a system line before the first turn"""
    reject: str | None = None
    """a detector from `truing eval ood --out`: what it rejects gets a refusal"""
    personas: tuple[str, ...] = ()
    """files of persona vectors, FILE@LAYER: how far each turn lies along the trait, before the answer and in it"""
    above: float | None = None
    """class gaps before the answer from which on a turn is marked; truing persona monitor finds such a threshold"""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, max_tokens=256))
    machine: Machine = field(default_factory=Machine)


def sample(settings: Sample) -> list[Example]:
    """Write one example per prompt with its answers, tokens and log-probabilities."""
    check_target(settings.out, settings.data.path)
    prompts = [example.prompt for one in _sets(settings.data) for example in one]
    engine = guarded(
        open_engine(settings.model, settings.machine, max_tokens=settings.data.max_tokens), settings.reject
    )
    require(engine, "sample")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sampling", total=len(set(prompts)) * settings.sampling.n)
        more = {"on_progress": lambda done: bar.advance(task, done)} if hasattr(engine, "model") else {}
        drawn = engine.sample(prompts, settings.sampling, **more)  # type: ignore[call-arg]
    write(Path(settings.out), drawn, "truing")
    codec = getattr(engine, "codec", None)  # of local weights alone
    if shortened := codec.notes["prompt_truncated"] if codec else 0:
        say(f"{shortened} prompts were shortened to leave room for {settings.sampling.max_tokens} tokens of answer")
    if settings.reject:
        say(f"{getattr(engine, 'rejected', 0)} of {len(prompts)} prompts were rejected by {settings.reject}")
    answers = [answer for example in drawn for answer in example.answers]
    cut = sum(answer.finish == "length" for answer in answers)
    say(f"{len(answers)} answers to {len(prompts)} prompts, {cut} of them cut at max_tokens: {settings.out}")
    return drawn


def score(settings: Score) -> list[Example]:
    """Write the examples with a reward (or log-probability) for every answer, and say how often the order is right."""
    check_target(settings.out, settings.data.path)
    sets = _sets(settings.data)
    engine = open_engine(settings.model, settings.machine, max_tokens=settings.data.max_tokens)
    require(engine, "score")
    examples = [example for one in sets for example in one]
    every = engine.score(examples)
    scored = []
    for example, scores in zip(examples, every):
        values = tuple(s.reward if s.reward is not None else s.logp for s in scores)
        judgement = Judgement("scores", values, by=engine.name)
        answers = tuple(replace(a, reward=value) for a, value in zip(example.answers, values))
        scored.append(replace(example, answers=answers, judgements=(*example.judgements, judgement)))
    write(Path(settings.out), scored, "truing")
    told = [answer.reward for example in scored for answer in example.answers if answer.reward is not None]
    mean = f", {fmean(told):.4f} on average" if told else ""
    say(f"{len(scored)} examples scored: {settings.out}{mean}")
    named = chain(*marked(settings.data.path, sets))
    if rows := [row for example, scores in zip(named, every) for row in pair_rows(example, scores)]:
        found = _known(rows, getattr(engine, "rewards", False))
        report("scores", found)
        lines = {name: [_shown(value) for value in known.values()] for name, known in found.items()}
        show("scores and judgements", list(next(iter(found.values()))), lines, "Intervals draw whole conversations.")
    return scored


def _known(rows: Sequence[Mapping[str, Any]], rewards: bool) -> dict[str, dict[str, Any]]:
    """Tranche by tranche: accuracy, the same for length alone, and how far better and worse answers are apart. A
    language model's score is here the mean log-probability of a token: sums favour short answers."""
    parts: dict[str, Sequence[Mapping[str, Any]]] = {str(k): v for k, v in pairs.by(rows, "tranche").items()}
    found = dict[str, dict[str, Any]]()
    for name, part in (parts | {"all": rows} if len(parts) > 1 else parts).items():
        gap = fmean(pairs.gaps(part))
        found[name] = {
            "pairs": len(part),
            "right": pairs.accuracy(part),
            "longer is better": pairs.length_alone(part),
            "mean score": fmean(score for row in part for score in row["score"]),
            "mean gap": gap,
            **({"win probability": win_probability(gap, 0), "Elo": elo(gap)} if rewards else {}),
        }
    return found


def _shown(value: Any) -> str:
    return cell(value) if isinstance(value, Interval) else f"{value:.4g}"


def chat(settings: Chat) -> None:
    """A conversation in the terminal."""
    bare = open_engine(settings.model, settings.machine)
    engine = guarded(bare, settings.reject)
    require(engine, "sample")
    console, monitor = Console(), _monitor(settings, bare)
    start = (Message("system", settings.system),) if settings.system else ()
    turns: tuple[Message, ...] = start
    console.print(f"[dim]{settings.model}: an empty line ends, /new begins again[/dim]")
    while True:
        try:
            said = console.input("[bold]you[/bold]  ")
        except EOFError:
            return
        if not said.strip():
            return
        if said.strip() == "/new":
            turns = start
            continue
        turns = (*turns, Message("user", said))
        seed = settings.sampling.seed + len(turns)
        answer = engine.sample([turns], replace(settings.sampling, n=1, seed=seed))[0].answers[0]
        console.print("[bold]model[/bold]  ", end="")
        console.print(printable(answer.text.strip()), markup=False, highlight=False)  # a model's text is never markup
        for line in monitor(Example(turns, (answer,))):
            console.print(line, style="dim")
        turns = (*turns, Message("assistant", answer.text))


def _monitor(settings: Chat, engine: Asking) -> Callable[[Example], list[str]]:
    """What is seen along each trait in a turn."""
    if not settings.personas:
        return lambda turn: []
    from truing.engine.local import LocalEngine
    from truing.watch.personas import PREFIX, Personas

    if not isinstance(engine, LocalEngine):
        raise UserError(f"personas: what {settings.model} computes cannot be looked at here; it takes local weights.")
    look = Personas([f"{PREFIX}{one}" for one in settings.personas], engine)

    def told(turn: Example) -> list[str]:
        found, lines = look([turn]), []
        for one in look.directions:
            before, said = found[f"persona/{one.name}/prompt"], found.get(f"persona/{one.name}", float("nan"))
            mark = " [red]▲[/red]" if settings.above is not None and before > settings.above else ""
            lines.append(f"       {one.name}: {before:+.2f} before the answer, {said:+.2f} in it{mark}")
        return lines

    return told


def printable(text: str) -> str:
    """Without control characters: a model must not steer the terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _sets(data: Data) -> list[Dataset]:
    if data.weights is not None:
        raise UserError("data.weights: shares are for training; here every example is used once.")
    sets = read_sets(data)
    if not any(sets):
        raise UserError("there are no examples in the data")
    return sets
