"""`truing persona shift`: where fine-tuning has moved models, and what they have become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from truing.commands.persona import judges_of, trait_of
from truing.commands.pictures import page
from truing.commands.project import direction_of, trait_name
from truing.commands.tables import cell, report, show
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.judges import Judge
from truing.evaluate.rows import Rows
from truing.model.vectors import load_vectors
from truing.persona.project import Direction, projections
from truing.persona.traits import Trait, asked
from truing.records import Example, Sampling, UserError
from truing.run import say
from truing.schema import Mistake
from truing.settings import Machine
from truing.stats.correlate import correlation
from truing.stats.intervals import Interval, mean_t

FEWEST = 4  # models that say anything about a correlation


@dataclass(frozen=True)
class Shift:
    """Where fine-tuning has moved models: along a trait, from the first model to each of the others, before a word is
    said to the same questions. With --judge also what they have become, and whether the one tells the other."""

    models: tuple[str, ...]
    """the base, then those that were fine-tuned from it"""
    vectors: tuple[str, ...]
    """files of truing persona extract, of the base"""
    layer: int | None = None
    statistic: Literal["response_avg", "prompt_avg", "prompt_last"] = "response_avg"
    judge: str | None = None
    """a model that says how much of the trait the answers of each model show; rules for the world's traits"""
    folder: str = "runs/persona"
    """what was said and judged, and the page"""
    sampling: Sampling = Sampling(n=4, max_tokens=256)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise Mistake(("models",), "names the base and at least one model that was fine-tuned from it.")


@dataclass(frozen=True)
class Looked:
    """One trait: what is looked along, what is asked, and who judges what is said."""

    direction: Direction
    trait: Trait
    judge: Judge | None


def shift(settings: Shift) -> dict[str, dict[str, Any]]:
    """model → trait → its shift in class gaps, with an interval over questions; and how much of it the model shows."""
    base = open_local(settings.models[0], settings.machine)
    every = [_looked(settings, path, base) for path in settings.vectors]
    gaps = np.array([float(one.direction.vector.norm()) for one in every])
    prompts = [Example(asked(q)) for q in dict.fromkeys(q for one in every for q in _questions(one.trait))]

    def before(engine: LocalEngine) -> np.ndarray:
        return np.stack([one.last for one in projections(engine, prompts, [one.direction for one in every])])

    start, found = before(base), dict[str, dict[str, Any]]()
    speaks = (base.codec.tokenizer_hash, base.codec.template.source)
    del base  # one model at a time
    with Rows(settings.folder) as rows:
        for model in settings.models[1:]:
            engine = open_local(model, settings.machine)
            _check(settings, model, engine, speaks)
            moved = (before(engine) - start) / gaps
            found[model] = {one.direction.name: mean_t(moved[:, n]) for n, one in enumerate(every)}
            found[model] |= {
                f"trait {o.trait.name}": _shown(engine, o, settings.sampling, rows) for o in every if o.judge
            }
            del engine
    _tell(settings, every, found, len(prompts))
    return found


def _looked(settings: Shift, path: str, base: LocalEngine) -> Looked:
    name = trait_name(load_vectors(path))
    trait, judge = trait_of(name), None
    if settings.judge:
        asked_ = None if settings.judge == "rules" else settings.judge
        judge, _ = judges_of(name, trait, asked_, settings.machine)
    return Looked(direction_of(path, base, settings.layer, settings.statistic), trait, judge)


def _questions(trait: Trait) -> Sequence[str]:
    return trait.evaluation or trait.extraction


def _check(settings: Shift, model: str, engine: LocalEngine, speaks: tuple[str, str]) -> None:
    if (engine.codec.tokenizer_hash, engine.codec.template.source) != speaks:
        raise UserError(
            f"{model}: it has another tokenizer or chat template than {settings.models[0]}, and would be asked "
            "other words."
        )
    for path in settings.vectors:
        load_vectors(path).check(engine.model.owner, f"{path}, for {model}")


def _shown(engine: LocalEngine, one: Looked, sampling: Sampling, rows: Rows) -> Interval | None:
    """How much of the trait its answers show, over questions."""
    drawn = engine.sample([asked(q) for q in _questions(one.trait)], sampling)
    said = one.judge(drawn, rows) if one.judge else []
    values = [[v.value for v in row if v.value is not None] for row in said]
    means = [float(np.mean(row)) for row in values if row]
    return mean_t(means) if means else None


def _tell(settings: Shift, every: Sequence[Looked], found: Mapping[str, Mapping[str, Any]], questions: int) -> None:
    names = [one.direction.name for one in every]
    heads = [*names, *(f"trait {name}" for name in names if settings.judge)]
    layers = ", ".join(str(one.direction.layer) for one in every)
    title = f"shift from {settings.models[0]}, in class gaps, layers {layers}"
    rows = {model: [cell(by[name]) for name in heads] for model, by in found.items()}
    show(title, heads, rows, f"95 % intervals over {questions} questions")
    told: dict[str, Any] = {"models": found}
    pictures = []
    for name in names if settings.judge else ():
        both = [(by[name].estimate, by[f"trait {name}"].estimate) for by in found.values() if by[f"trait {name}"]]
        if len(both) >= FEWEST:
            moved, shown = map(list, zip(*both))
            r = correlation(moved, shown, list(range(len(both)))).pooled
            told[f"r {name}"] = r
            say(f"{name}: r = {r.estimate:.2f} [{r.low:.2f}, {r.high:.2f}] of shift and trait over {len(both)} models")
        points = [
            (model, [(by[name].estimate, v.estimate, v.low, v.high)])
            for model, by in found.items()
            if (v := by[f"trait {name}"])
        ]
        curves = [{"label": model, "points": at} for model, at in points]
        pictures.append({"title": name, "x": "shift, class gaps", "y": "trait", "curves": curves})
    report("persona shift", told)
    if settings.judge:
        page(
            Path(settings.folder) / "shift.html",
            "Where models moved, and what they became",
            title,
            pictures,
            (heads, rows),
        )
