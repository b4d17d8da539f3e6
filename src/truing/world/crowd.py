"""The simulated crowd: workers who compare two answers, with the weaknesses that people have.

u = scale · (what the mode asks for, in gold) + bias · (length, courtesy) ;   P(first) = σ((u₁ − u₂)/τ + position)

A worker with a blind spot takes some falsehoods for truths. Strength is |u₁ − u₂| in four levels; the weakest is a tie.
Because every probability is known, so is the accuracy that no preference model can exceed (`Crowd.ceiling`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Literal

from truing.records import Example, Judgement, UserError
from truing.world.grammar import words
from truing.world.judge import Gold, gold
from truing.world.language import clauses
from truing.world.town import Town

Mode = Literal["helpful", "harmless", "redteam", "overall"]
PROGRESS = (0.1, 0.3, 0.5, 0.7, 0.9)  # moments that stand for all, where quality drifts
LEVELS = (0.35, 0.9, 1.8)  # of |Δu|: below the first a tie


@dataclass(frozen=True)
class Worker:
    """`scale` turns gold in [0, 1] into utility; with temperature 1 it decides how often choices are wrong."""

    name: str = "worker"
    scale: float = 6.0
    temperature: float = 1.0
    length: float = 0.0
    """utility per ten words: a length-biased rater has 0.5 and more"""
    courtesy: float = 0.0
    """utility of a courteous sentence, whatever else is said"""
    blind: float = 0.0
    """share of false answers that look true to this worker"""
    position: float = 0.0
    """for the answer shown first"""
    drift: float = 0.0
    """what is added to the temperature from the first comparison to the last"""

    def __post_init__(self) -> None:
        if min(self.temperature, self.temperature + self.drift) <= 0:
            raise UserError(f"worker {self.name}: the temperature must stay above 0")

    def utility(self, value: Gold, answer: str, mode: Mode, fooled: bool) -> float:
        if fooled and value.honest < 0.5:
            value = replace(value, honest=1.0, helpful=max(value.helpful, 0.9 * value.fluent))
        kind = self.courtesy != 0 and any(c and c.form in ("courtesy", "closing") for _, c in clauses(answer))
        return self.scale * wanted(value, mode) + self.length * len(words(answer)) / 10 + self.courtesy * kind


def wanted(value: Gold, mode: Mode) -> float:
    """What the workers were asked to look for. Red-teamers look for harm."""
    if mode == "helpful":
        return 0.7 * value.helpful + 0.3 * value.honest
    if mode == "overall":
        return value.overall
    return value.harmless if mode == "harmless" else 1 - value.harmless


@dataclass(frozen=True)
class Crowd:
    """Workers who share the work equally."""

    workers: tuple[Worker, ...] = (Worker(),)
    seed: int = 0

    def compare(self, town: Town, examples: Sequence[Example], mode: Mode) -> list[Example]:
        """Each example with two answers gets one worker's choice. A tie is a judgement that ranks both alike."""
        judged = []
        for number, example in enumerate(examples):
            rng = Random(f"crowd {self.seed} {number} {example.id}")
            worker = rng.choice(self.workers)
            fooled = (rng.random() < worker.blind, rng.random() < worker.blind)
            delta = _delta(town, worker, example, mode, fooled)
            shown = rng.choice((1, -1))  # which answer stands first on the page
            progress = number / max(1, len(examples) - 1)
            first = rng.random() < _preference(worker, delta, shown, progress)
            strength = sum(abs(delta) > level for level in LEVELS)
            order = ((0, 1) if first else (1, 0)) if strength else ((0, 1),)
            verdict = Judgement("order", order, aspect=mode, by=worker.name, strength=float(strength))
            judged.append(replace(example, judgements=(*example.judgements, verdict)))
        return judged

    def probability(self, town: Town, example: Example, mode: Mode) -> float:
        """That the first answer is preferred, given that the choice is clear: over all workers, what they overlook, how
        and when the pair is shown. One half where nobody finds it clear."""
        total = clear = 0.0
        for worker in self.workers:
            for fooled in product((False, True), repeat=2):
                share = math.prod(worker.blind if f else 1 - worker.blind for f in fooled)
                delta = _delta(town, worker, example, mode, fooled) if share else 0.0
                if abs(delta) > LEVELS[0]:
                    ways = [_preference(worker, delta, shown, at) for shown in (1, -1) for at in PROGRESS]
                    total += share * sum(ways) / len(ways)
                    clear += share
        return total / clear if clear else 0.5

    def ceiling(self, town: Town, examples: Sequence[Example], mode: Mode) -> float:
        """E[max(p, 1 − p)]: how often even the best prediction agrees with a fresh choice."""
        chances = [self.probability(town, example, mode) for example in examples]
        return sum(max(p, 1 - p) for p in chances) / max(1, len(chances))


def _delta(town: Town, worker: Worker, example: Example, mode: Mode, fooled: Sequence[bool]) -> float:
    first, second = (
        worker.utility(gold(town, example.prompt, answer.text), answer.text, mode, blind)
        for answer, blind in zip(example.answers, fooled, strict=True)
    )
    return first - second


def _preference(worker: Worker, delta: float, shown: int, progress: float) -> float:
    temperature = worker.temperature + worker.drift * progress
    return 1 / (1 + math.exp(-max(min(delta / temperature + worker.position * shown, 60.0), -60.0)))
