"""`truing eval versus`: one model against others, helpful and harmless asked apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from truing.commands.contests import prompts_of
from truing.commands.evaluate import Test
from truing.commands.tables import cell, report, show
from truing.engine import open_engine
from truing.evaluate.answers import answers
from truing.evaluate.arena import ByAsking, ByValue, Referee
from truing.evaluate.judges import Asked, Rule, Scorer
from truing.evaluate.rows import Rows
from truing.evaluate.rubric import Name, meant_by
from truing.evaluate.versus import SAID, question, versus
from truing.evaluate.versus import Versus as Found
from truing.records import Sampling
from truing.run import say
from truing.schema import Mistake

ASPECTS: tuple[Name, ...] = ("helpful", "harmless")


@dataclass(frozen=True)
class Versus(Test):
    """Does the first model answer better than each of the others? Judged in both orders; what disagrees is no win."""

    folder: str = "runs/eval-versus"
    data: str = "world:evaluation"
    """prompts; of other data, each example's prompt"""
    count: int = 200
    judge: str = "world:gold"
    """world:gold, ask:MODEL (a model that reads both answers), or a preference model, which is asked once for both"""
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=48))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.models) < 2:
            raise Mistake(("models",), "names one alone: it needs somebody to be compared with.")
        if self.sampling.n != 1:
            raise Mistake(("sampling", "n"), "must be 1: one answer of each model to each prompt.")


def compare(settings: Versus) -> dict[str, Any]:
    """other model → aspect → what was said."""
    prompts, referees = prompts_of(settings), _referees(settings)
    first, others = settings.models[0], settings.models[1:]
    found: dict[str, dict[str, Found]] = {}
    with Rows(settings.folder) as rows:
        engines = {m: open_engine(m, settings.machine) for m in settings.models}
        said = {m: answers(engine, prompts, settings.sampling, rows) for m, engine in engines.items()}
        for other in others:
            found[other] = {a: versus(said[first], said[other], referee, rows) for a, referee in referees.items()}
    cells = {f"{other}, {aspect}": _cells(one) for other, by in found.items() for aspect, one in by.items()}
    columns = [*SAID[:-1], "unscored", "wins of those decided", "first shown wins"]
    judge = next(iter(referees.values())).name
    show(f"{first} against others, judged by {judge} in both orders, {len(prompts)} prompts", columns, cells)
    say(meant_by(*ASPECTS))
    report("versus", {other: {aspect: _plain(one) for aspect, one in by.items()} for other, by in found.items()})
    return found


def _cells(found: Found) -> list[str]:
    """The share of first places among wins is one half where the judge does not mind the place."""
    place = "–" if found.first is None else f"{found.first:.3f}"
    return [*(cell(found.share(s)) for s in SAID[:-1]), str(found.counts["unscored"]), cell(found.ahead), place]


def _plain(found: Found) -> dict[str, Any]:
    return {"counts": found.counts, "ahead": found.ahead, "first": found.first}


def _referees(settings: Versus) -> Mapping[str, Referee]:
    if settings.judge == "world:gold":
        from truing.world.judge import gold
        from truing.world.town import town

        place = town(0)
        return {
            name: ByValue(Rule(f"world:gold.{name}", lambda p, a, name=name: float(getattr(gold(place, p, a), name))))  # type: ignore[misc]
            for name in ASPECTS
        }
    kind, _, model = settings.judge.partition(":")
    if kind == "ask":
        engine = open_engine(model, settings.machine)
        return {name: ByAsking(Asked(engine, question(name))) for name in ASPECTS}
    engine = open_engine(settings.judge, settings.machine)
    if not getattr(engine, "rewards", False):
        raise Mistake(
            ("judge",), f"{settings.judge} is no preference model; as a judge in words it is ask:{settings.judge}."
        )
    return {"preferred": ByValue(Scorer(engine))}
