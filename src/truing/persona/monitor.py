"""Can a trait be told before a word is said? Projections at the prompt's last token, beside what is then said.

Prompts differ in what is asked of the assistant's character: system lines from the opposite of the trait to the trait,
or so many exchanges in which somebody has shown it. Most of what correlates is *between* such contexts, and less within
one of them (Chen et al., arXiv 2507.21509, say so themselves): both are told, and what random directions do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from truing.engine.local import LocalEngine
from truing.evaluate.judges import Judge
from truing.evaluate.rows import Asker
from truing.model.text import Dropped
from truing.persona.project import Direction, projections
from truing.persona.traits import Trait
from truing.records import Answer, Example, Message, Sampling, UserError, fingerprint
from truing.stats.correlate import Correlation, correlation, pearson

SHOTS = (0, 5, 10, 15, 20)
RANDOM = 200


@dataclass(frozen=True)
class Context:
    """What stands before a question. `kind`: system or shots; `grade`: how much of the trait it asks for or shows."""

    kind: str
    grade: int
    before: tuple[Message, ...]


@dataclass(frozen=True)
class Point:
    """A question in a context: its projections on the directions, and the mean score of the answers."""

    context: Context
    question: int
    seen: np.ndarray
    trait: float


def graded(trait: Trait) -> list[Context]:
    if not trait.graded:
        raise UserError(f"trait {trait.name}: it has no graded system lines (key graded) to tell apart.")
    return [Context("system", n, (Message("system", line),)) for n, line in enumerate(trait.graded)]


def shots(
    engine: LocalEngine, shown: Sequence[tuple[str, str]], counts: Sequence[int], room: int, longest: int
) -> list[Context]:
    """`shown`: questions with answers that have the trait. As many of each count as fit into the model's context with
    a question of `longest` tokens and `room` for the answer."""
    found = []
    for count in counts:
        turns = [m for q, a in shown[:count] for m in (Message("user", q), Message("assistant", a))]
        if len(shown) < count:
            break
        if count and _length(engine, turns) + longest + room > engine.codec.max_tokens:
            break
        found.append(Context("shots", count, tuple(turns)))
    return found


def _length(engine: LocalEngine, turns: Sequence[Message]) -> float:
    try:
        return engine.codec.transcript(turns).tree_tokens
    except Dropped:
        return float("inf")


def monitored(
    engine: LocalEngine,
    directions: Sequence[Direction],
    contexts: Sequence[Context],
    questions: Sequence[str],
    sampling: Sampling,
    judge: Judge,
    rows: Asker,
) -> list[Point]:
    """Every question in every context; without a score, no point."""
    asked = [(c, n, (*c.before, Message("user", q))) for c in contexts for n, q in enumerate(questions)]
    seen = projections(engine, [Example(prompt) for _, _, prompt in asked], directions)
    keys = [fingerprint(["monitor", engine.fingerprint, Example(p).id, asdict(sampling)]) for _, _, p in asked]

    def ask(prompts: list[tuple[Message, ...]]) -> list[Mapping[str, Any]]:
        return [{"said": [a.text for a in e.answers]} for e in engine.sample(prompts, sampling)]

    wanted = {key: prompt for key, (_, _, prompt) in zip(keys, asked)}
    said = dict(zip(wanted, rows.fetch(wanted, ask)))
    answered = [Example(p, tuple(map(Answer, said[key]["said"]))) for key, (_, _, p) in zip(keys, asked)]
    points = []
    for (context, number, _), one, verdicts in zip(asked, seen, judge(answered, rows)):
        values = [v.value for v in verdicts if v.value is not None]
        if values:
            points.append(Point(context, number, one.last, float(np.mean(values))))
    if not points:
        raise UserError("no answer was given a score: the judge said nothing that could be read.")
    return points


def related(points: Sequence[Point], direction: int, seed: int = 0) -> Correlation:
    """Of projection and trait, over questions drawn anew; groups are contexts."""
    x = [float(p.seen[direction]) for p in points]
    groups = [(p.context.kind, p.context.grade) for p in points]
    return correlation(x, [p.trait for p in points], groups, [p.question for p in points], seed=seed)


def by_chance(points: Sequence[Point], first: int) -> float:
    """The 95th percentile of |r| of random directions, which stand in the points from `first` on: prompts differ in
    many ways, and some direction always follows them."""
    traits = [p.trait for p in points]
    every = [abs(pearson([float(p.seen[n]) for p in points], traits)) for n in range(first, len(points[0].seen))]
    found = [r for r in every if not np.isnan(r)]
    return float(np.percentile(found, 95)) if found else float("nan")


def random_directions(layer: int, width: int, count: int = RANDOM, seed: int = 0) -> list[Direction]:
    draw = torch.Generator().manual_seed(seed)
    return [Direction(f"random {n + 1}", layer, torch.randn(width, generator=draw)) for n in range(count)]


@dataclass(frozen=True)
class Threshold:
    """`at`: projections above it sound. Shares of the prompts that it was set with, after which the trait stays away
    and after which it shows."""

    at: float
    false: float
    found: float


def threshold(points: Sequence[Point], direction: int, false: float = 0.05, shows: float = 50.0) -> Threshold | None:
    """Set so that at most this share of the prompts after which the trait stays away would sound; None where it shows
    after all of them, or after none."""
    x, y = np.array([p.seen[direction] for p in points]), np.array([p.trait for p in points])
    calm, loud = x[y < shows], x[y >= shows]
    if not len(calm) or not len(loud):
        return None
    at = float(np.quantile(calm, 1 - false, method="higher"))
    return Threshold(at, float((calm > at).mean()), float((loud > at).mean()))
