"""`truing eval toxicity`, `tax`, `arena`: models beside each other by what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from truing.commands.evaluate import Test, items
from truing.commands.pictures import of_sizes, page
from truing.commands.tables import cell, report, show
from truing.engine import open_engine
from truing.evaluate.answers import answers
from truing.evaluate.arena import BETTER, ByAsking, ByValue, Referee, Votes, by_size, rated, size, vote
from truing.evaluate.judges import Asked, Judge, Scorer
from truing.evaluate.rows import Rows
from truing.evaluate.rubric import meant_by
from truing.evaluate.tax import MEASURES as COSTS
from truing.evaluate.tax import complete
from truing.evaluate.tax import measured as completed
from truing.evaluate.tax import tax as cost
from truing.evaluate.toxicity import MEASURES, grades, measured
from truing.records import Example, Sampling
from truing.run import say
from truing.schema import Mistake, at_least
from truing.spec import ModelSpec


@dataclass(frozen=True)
class Toxicity(Test):
    """How toxic are the answers? Several samples to each prompt, graded by one or more classifiers."""

    folder: str = "runs/eval-toxicity"
    data: str = "world:harmful"
    """prompts; of other data, each example's prompt"""
    count: int = 200
    classifiers: tuple[str, ...] = ("world:gold",)
    """who grades: world:gold, or text classifiers, ./FOLDER#LABEL or org/name#LABEL"""
    words: int = 40
    """graded are the first so many words of an answer, of all models alike"""
    sampling: Sampling = field(default_factory=lambda: Sampling(n=8, max_tokens=48))

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "words")
        if not self.classifiers:
            raise Mistake(("classifiers",), "names nobody: give at least one.")


@dataclass(frozen=True)
class Tax(Test):
    """What does an intervention cost outside dialogue? Texts to complete; every model beside the first one."""

    folder: str = "runs/eval-tax"
    data: str = "world:cloze"
    """texts to complete: world:cloze, or rows of text, completion and, if there are any, others (a list)"""


@dataclass(frozen=True)
class Arena(Test):
    """Whose answers are preferred? All pairs of models, and ratings from the votes."""

    folder: str = "runs/eval-arena"
    data: str = "world:evaluation"
    """prompts; of other data, each example's prompt"""
    count: int = 200
    """prompts of the world, each for all pairs of models"""
    judge: str = "world:crowd"
    """who votes: world:crowd, ask:MODEL (a model that reads both answers), or a preference model"""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=48))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.models) < 2:
            raise Mistake(("models",), "names one alone: an arena needs two at least.")
        if self.sampling.n != 1:
            raise Mistake(("sampling", "n"), "must be 1: one answer of each model to each prompt.")


def toxicity(settings: Toxicity) -> dict[str, Any]:
    """model → classifier → measure → interval, over the same prompts and as many samples."""
    prompts = prompts_of(settings)
    judges = [_classifier(name, settings) for name in settings.classifiers]
    found: dict[str, Any] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            engine = open_engine(model, settings.machine)
            found[model] = {
                judge.name: measured(grades(engine, prompts, judge, settings.sampling, settings.words, rows), prompts)
                for judge in judges
            }
    columns = [f"{measure}, {judge.name}" for judge in judges for measure in MEASURES]
    cells = {m: [cell(one[j.name][measure]) for j in judges for measure in MEASURES] for m, one in found.items()}
    k = settings.sampling.n
    note = (
        f"{k} samples each, up to {settings.words} words; worst: expected maximum of {k}; any: one of {k} is above 0.5"
    )
    show(f"toxicity: answers to {len(prompts)} prompts", columns, cells, note)
    say(meant_by("harmless"))
    report("toxicity", found)
    return found


def _classifier(name: str, settings: Toxicity) -> Judge:
    if name == "world:gold":
        from truing.world.jury import toxicity as rule
        from truing.world.town import town

        return rule(town(0))
    from truing.evaluate.classify import Classifier

    return Classifier.load(name, settings.machine)


def tax(settings: Tax) -> dict[str, Any]:
    """model → measures and, against the first model, what they lost."""
    asked = items(settings.data, settings.count, settings.seed)
    said: dict[str, Any] = {}
    front: dict[str, int] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            engine = open_engine(model, settings.machine)
            said[model] = complete(engine, asked, rows)
            front[model] = getattr(engine, "length", 0)
    first = settings.models[0]
    found = {m: {"measured": completed(done), "tax": cost(said[first], done)} for m, done in said.items()}
    known = [name for name in COSTS if name in found[first]["measured"]]
    columns = ["tokens in front", *known, *(f"tax, {name}" for name in known)]
    cells = {
        model: [str(front[model]), *(cell(one["measured"].get(name)) for name in known)]
        + [cell(None if model == first else one["tax"].get(name)) for name in known]
        for model, one in found.items()
    }
    show(f"tax: {len(asked)} texts to complete", columns, cells, f"tax: {first} minus the other, item by item")
    if sum(map(bool, front.values())) == 1:
        say("a preface costs something whatever it says: name the model behind a neutral text of that length as well.")
    report("tax", found)
    return found


def arena(settings: Arena) -> dict[str, Any]:
    """model → Elo, above the first model."""
    prompts, referee = prompts_of(settings), _referee(settings)
    answered: dict[str, Sequence[Example]] = {}
    sizes: dict[str, int] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            engine = open_engine(model, settings.machine)
            answered[model] = answers(engine, prompts, settings.sampling, rows)
            if (parameters := size(engine)) is not None:
                sizes[model] = parameters
        votes = vote(answered, referee, rows, settings.seed)
    found = rated(votes.votes, settings.models[0], settings.seed)
    _show_arena(settings, found, votes, sizes, referee.name, len(prompts))
    groups = _on_top(sizes)
    lines = {name: by_size({m: found[m]["elo"].estimate for m in group}, sizes) for name, group in groups.items()}
    for name, line in lines.items():
        if line is None:
            continue
        say(f"{name}: Elo = {line.intercept:.0f} + {line.slopes['ln']} · ln(parameters), R² = {line.r2:.3f}")
    say(meant_by())
    about = f"Votes by {referee.name}, {len(prompts)} prompts a pair."
    page(Path(settings.folder) / "arena.html", "Arena", about, of_sizes(groups, found))
    report("arena", {"models": found, "draws": votes.draws, "unscored": votes.unscored, "first": votes.first})
    return found


def _show_arena(
    settings: Arena, found: Mapping[str, Any], votes: Votes, sizes: Mapping[str, int], judge: str, count: int
) -> None:
    cells = {
        model: [
            cell(found[model]["elo"], 1),
            f"{found[model]['error']:.1f}",
            f"{found[model]['won']:.3f}",
            str(found[model]["votes"]),
            f"{sizes[model]:,}" if model in sizes else "–",
        ]
        for model in settings.models
    }
    note = (
        f"{settings.models[0]} is 0; intervals over prompts, standard errors from the curvature. {votes.draws} draws "
        f"of the same answer, {votes.unscored} votes unscored; the answer shown first won {votes.first:.1%}. No human "
        "has voted."
    )
    columns = ["Elo", "standard error", "won", "votes", "parameters"]
    show(f"arena: simulated Elo by {judge}, {count} prompts for each pair", columns, cells, note)


def _on_top(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Models with the same on top of their weights, and their sizes."""
    groups: dict[str, dict[str, int]] = {}
    for name, parameters in sizes.items():
        on_top = "".join(f"+{m}" for m in ModelSpec.parse(name).modifiers) or "bare"
        groups.setdefault(on_top, {})[name] = parameters
    return groups


def _referee(settings: Arena) -> Referee:
    if settings.judge == "world:crowd":
        from truing.world.jury import Jury
        from truing.world.town import town

        return Jury(town(0))
    kind, _, name = settings.judge.partition(":")
    if kind == "ask":
        return ByAsking(Asked(open_engine(name, settings.machine), BETTER))
    engine = open_engine(settings.judge, settings.machine)
    if not getattr(engine, "rewards", False):
        raise Mistake(
            ("judge",), f"{settings.judge} is no preference model; as a judge in words it is ask:{settings.judge}."
        )
    return ByValue(Scorer(engine))


def prompts_of(settings: Any) -> list[Example]:
    """Each prompt once."""
    found = items(settings.data, settings.count, settings.seed)
    return list({e.prompt: replace(e, answers=(), judgements=()) for e in found}.values())
