"""`truing sample`, `truing score`, `truing chat`: ask any model, by file or in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from truing.data import check_target, read, write
from truing.engine import open_engine, require
from truing.records import Example, Judgement, Message, Sampling, UserError
from truing.run import say
from truing.settings import Data, Machine


@dataclass(frozen=True)
class Sample:
    """Answers for a file of prompts. The same seed, prompt and number give the same answer, whatever else is asked."""

    model: str
    """who answers: a folder, a hub name, api:NAME, scripted:NAME"""
    data: Data
    """prompts; of other formats, each example's prompt"""
    out: str = "samples.jsonl"
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
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.7, max_tokens=256))
    machine: Machine = field(default_factory=Machine)


def sample(settings: Sample) -> list[Example]:
    """Write one example per prompt with its answers, tokens and log-probabilities."""
    check_target(settings.out)
    prompts = [example.prompt for example in _examples(settings.data)]
    engine = open_engine(settings.model, settings.machine, max_tokens=settings.data.max_tokens)
    require(engine, "sample")
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("sampling", total=len(set(prompts)) * settings.sampling.n)
        more = {"on_progress": lambda done: bar.advance(task, done)} if hasattr(engine, "model") else {}
        drawn = engine.sample(prompts, settings.sampling, **more)  # type: ignore[call-arg]
    write(Path(settings.out), drawn, "truing")
    if shortened := engine.codec.notes["prompt_truncated"] if hasattr(engine, "codec") else 0:
        say(f"{shortened} prompts were shortened to leave room for {settings.sampling.max_tokens} tokens of answer")
    answers = [answer for example in drawn for answer in example.answers]
    cut = sum(answer.finish == "length" for answer in answers)
    say(f"{len(answers)} answers to {len(prompts)} prompts, {cut} of them cut at max_tokens: {settings.out}")
    return drawn


def score(settings: Score) -> list[Example]:
    """Write the examples with a reward (or log-probability) for every answer, and say how often the order is right."""
    check_target(settings.out)
    examples = _examples(settings.data)
    engine = open_engine(settings.model, settings.machine, max_tokens=settings.data.max_tokens)
    require(engine, "score")
    scored = []
    for example, scores in zip(examples, engine.score(examples)):
        values = tuple(s.reward if s.reward is not None else s.logp for s in scores)
        judgement = Judgement("scores", values, by=engine.name)
        answers = tuple(replace(a, reward=value) for a, value in zip(example.answers, values))
        scored.append(replace(example, answers=answers, judgements=(*example.judgements, judgement)))
    write(Path(settings.out), scored, "truing")
    say(f"{len(scored)} examples scored: {settings.out}{_agreement(examples, scored)}")
    return scored


def _agreement(before: Sequence[Example], after: Sequence[Example]) -> str:
    """Accuracy over all ordered pairs, ties as one half, beside what length alone gets."""
    right, by_length, pairs = 0.0, 0.0, 0
    for example, scored in zip(before, after):
        ranks = example.ranks() or []
        for i, better in enumerate(ranks):
            for j, worse in enumerate(ranks):
                if better < worse:
                    pairs += 1
                    right += _above(float(scored.answers[i].reward or 0), float(scored.answers[j].reward or 0))
                    by_length += _above(len(example.answers[i].text), len(example.answers[j].text))
    if not pairs:
        return ""
    longer = max(by_length, pairs - by_length) / pairs
    return f"; order agrees in {right / pairs:.1%} of {pairs} pairs (length alone: {longer:.1%})"


def _above(a: float, b: float) -> float:
    return 0.5 if a == b else float(a > b)


def chat(settings: Chat) -> None:
    """A conversation in the terminal."""
    engine = open_engine(settings.model, settings.machine)
    require(engine, "sample")
    console = Console()
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
        turns = (*turns, Message("assistant", answer.text))


def printable(text: str) -> str:
    """Without control characters: a model must not steer the terminal."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


def _examples(data: Data) -> list[Example]:
    if data.weights is not None:
        raise UserError("data.weights: shares are for training; here every example is used once.")
    paths = [data.path] if isinstance(data.path, str) else list(data.path)
    format = None if data.format == "auto" else data.format
    sets = [read(path, format=format, on_defect=data.on_defect, limit=data.limit) for path in paths]
    for one in sets:
        say(f"{one.source}: {one.format}; {len(one)} examples")
    found = [example for one in sets for example in one]
    if not found:
        raise UserError("there are no examples in the data")
    return found
