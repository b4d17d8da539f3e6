"""Studies of what models say, plain, behind a preface, or trained: who is preferred, how toxic it is, what it costs.

condition    plain; prompt, behind conversations with an expert; neutral, behind plain text that is as long; or
             the folder of a model
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from truing.claims.prompting import TALKS
from truing.claims.work import MACHINE
from truing.engine import open_engine
from truing.engine.base import Asking
from truing.engine.prefaced import Prefaced
from truing.evaluate import tax as cost
from truing.evaluate.answers import answers
from truing.evaluate.arena import by_size, rated, vote
from truing.evaluate.arena import size as size_of
from truing.evaluate.rows import Rows
from truing.evaluate.toxicity import grades, measured
from truing.records import Sampling, fingerprint
from truing.world.corpora import prompts
from truing.world.items import cloze
from truing.world.jury import Jury
from truing.world.jury import toxicity as rule
from truing.world.language import KIND
from truing.world.measure import LONGEST
from truing.world.prefaces import preface
from truing.world.town import town

PREFACES = {"prompt": "good", "neutral": "neutral"}
TEXTS, ASKED, WORDS = 300, 60, 40  # to complete; prompts of a kind; of an answer that are graded
ASKING = {"harmful": ["harm"], "benign": [name for name in KIND if name not in ("harm", "message")]}


def under(size: str, condition: str, seed: int) -> Asking:
    """The model of the world of this size, under this condition."""
    if condition not in ("plain", *PREFACES):
        return open_engine(condition, MACHINE)
    engine = open_engine(f"world:{size}", MACHINE)
    if condition == "plain":
        return engine
    text = preface(town(0), PREFACES[condition], TALKS, seed)
    return Prefaced(engine, text, f"world:{size} behind {text.name}-{seed}")


def arena(folder: Path, *, sizes: Sequence[str], conditions: Sequence[str], votes: int, seed: int) -> dict[str, Any]:
    """Elo of every size under every condition, above the first of both, by the simulated crowd: about so many votes
    for each pair. `lines`: condition → Elo over ln(parameters), with three sizes or more."""
    asked = prompts(town(0), votes, seed, held=True)
    sampling, said, count = Sampling(max_tokens=LONGEST, seed=seed), {}, {}
    with _rows(folder, "arena", sizes, conditions, votes, seed) as rows:
        for condition in conditions:
            for size in sizes:
                engine = under(size, condition, seed)
                said[f"{size}, {condition}"] = answers(engine, asked, sampling, rows)
                count[f"{size}, {condition}"] = size_of(engine) or 0
        cast = vote(said, Jury(town(0)), rows, seed)
    found = rated(cast.votes, next(iter(said)), seed)
    elo = {name: one["elo"].estimate for name, one in found.items()}
    lines = {c: by_size({f"{s}, {c}": elo[f"{s}, {c}"] for s in sizes}, count) for c in conditions}
    return {
        "models": {name: one | {"elo": asdict(one["elo"]), "parameters": count[name]} for name, one in found.items()},
        "lines": {c: {"slope": asdict(line.slopes["ln"]), "r2": line.r2} for c, line in lines.items() if line},
        "votes": len(cast.votes),
        "draws": cast.draws,
        "first": cast.first,
    }


def toxicity(folder: Path, *, size: str, condition: str, samples: int, seed: int) -> dict[str, Any]:
    """Kind of prompt (harmful, benign) → mean, worst of so many and any above one half, with intervals; `values` are
    the means of each prompt, in an order that depends on the seed alone."""
    engine, judge = under(size, condition, seed), rule(town(0))
    sampling, found = Sampling(n=samples, max_tokens=LONGEST, seed=seed), dict[str, Any]()
    with _rows(folder, "toxicity", size, condition, samples, seed) as rows:
        for name, kinds in ASKING.items():
            asked = prompts(town(0), ASKED, seed, held=True, kinds=kinds)
            graded = grades(engine, asked, judge, sampling, WORDS, rows)
            numbers = {measure: asdict(value) for measure, value in measured(graded, asked).items()}
            found[name] = numbers | {"values": graded.mean(1).tolist()}
    return found | {"parameters": size_of(engine)}


def tax(folder: Path, *, size: str, condition: str, seed: int) -> dict[str, Any]:
    """measure → what is lost against the plain model over the same texts; `values` and `plain` are those of each text,
    in an order that depends on the seed alone."""
    items = cloze(town(0), TEXTS, seed)
    with _rows(folder, "tax", size, condition, seed) as rows:
        plain = cost.complete(under(size, "plain", seed), items, rows)
        engine = under(size, condition, seed)
        after = cost.complete(engine, items, rows)
    return {
        "measured": {name: asdict(value) for name, value in cost.measured(after, seed).items()},
        "tax": {name: asdict(value) for name, value in cost.tax(plain, after, seed).items()},
        "values": _columns(after),
        "plain": _columns(plain),
        "category": [item.meta["category"] for item in items],
        "front": getattr(engine, "length", 0),
        "parameters": size_of(engine),
    }


def _columns(rows: Sequence[Any]) -> dict[str, list[float]]:
    return {name: each.tolist() for name, each in cost.columns(rows).items()}


def _rows(folder: Path, *what: Any) -> Rows:
    """What was asked, kept for a study that was interrupted."""
    return Rows(folder / f"{what[0]}-{fingerprint(what)}")
