"""What steering does: every layer and coefficient in one job, with one model, beside random vectors of equal length.

A row of the sampler's batch has the configuration of its own, and all of them share prompts and random streams: what
differs between two is the steering. Where the trait is strongest is looked for with some questions and reported with
others, and only among those that leave the language whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from truing.engine.local import LocalEngine
from truing.evaluate.judges import Judge, Verdict
from truing.evaluate.rows import Asker
from truing.model.hooks import At, Edit
from truing.model.proof import prove
from truing.persona.traits import asked
from truing.records import Answer, Example, Sampling, UserError, fingerprint
from truing.stats.intervals import Interval, mean_t

TOGETHER = 2048  # prompts that are answered before anything is written down


class Arm(NamedTuple):
    """A configuration: a vector's name, and what is added where. `coef` 0 is the model as it is."""

    name: str
    layer: int
    coef: float
    at: At = "response"


@dataclass(frozen=True)
class Effect:
    """Over questions: every one is asked as often as the others. `unscored`: answers without a score of the trait; None
    where no answer has one."""

    arm: Arm
    trait: Interval | None
    coherence: Interval | None
    unscored: int


def sweep(
    engine: LocalEngine,
    vectors: Mapping[str, Tensor],
    arms: Sequence[Arm],
    questions: Sequence[str],
    sampling: Sampling,
    judges: Sequence[Judge],
    rows: Asker,
    system: str = "",
) -> list[Effect]:
    """`vectors`: name → [L + 1, d]. `judges`: of the trait, and of coherence."""
    if engine.steered:
        raise UserError(f"{engine.name}: a vector is added to it already; name the model without +vec:.")
    prove(engine.model.owner, {arm.layer for arm in arms if arm.coef})
    prompts = [asked(question, system) for question in questions]
    prints = {name: fingerprint([tensor.tolist()]) for name, tensor in vectors.items()}

    def key(arm: Arm, prompt: Any) -> str:
        what = [prints[arm.name], arm.layer, arm.coef, arm.at] if arm.coef else []
        return fingerprint(["steered", engine.fingerprint, what, Example(prompt).id, asdict(sampling)])

    def ask(wanted: list[tuple[Arm, Any]]) -> list[Mapping[str, Any]]:
        here = list(dict.fromkeys(arm for arm, _ in wanted))
        edits = [[Edit(a.layer, vectors[a.name][a.layer], a.coef, at=a.at)] if a.coef else [] for a in here]
        with engine.model.steered(edits):
            drawn = engine.sample([p for _, p in wanted], sampling, which=[here.index(arm) for arm, _ in wanted])
        return [
            {"arm": arm._asdict(), "said": [answer.text for answer in e.answers]} for (arm, _), e in zip(wanted, drawn)
        ]

    keys = [[key(arm, prompt) for prompt in prompts] for arm in arms]
    wanted = {k: (arm, prompt) for arm, row in zip(arms, keys) for k, prompt in zip(row, prompts)}
    found = dict(zip(wanted, rows.fetch(wanted, ask, at_once=TOGETHER)))
    return [
        _effect(arm, [Example(p, tuple(map(Answer, found[k]["said"]))) for p, k in zip(prompts, row)], judges, rows)
        for arm, row in zip(arms, keys)
    ]


def _effect(arm: Arm, examples: Sequence[Example], judges: Sequence[Judge], rows: Asker) -> Effect:
    shown, coherent = (judge(examples, rows) for judge in judges)
    unscored = sum(v.value is None for row in shown for v in row)
    return Effect(arm, _over_questions(shown), _over_questions(coherent), unscored)


def _over_questions(verdicts: Sequence[Sequence[Verdict]]) -> Interval | None:
    """The mean over questions of their mean; one without any score says nothing."""
    each = [[v.value for v in row if v.value is not None] for row in verdicts]
    means = [float(np.mean(values)) for values in each if values]
    return mean_t(means) if means else None


def grid(name: str, layers: Sequence[int], coefs: Sequence[float], at: At = "response") -> list[Arm]:
    """The model as it is, and every coefficient at every layer."""
    return [Arm(name, 0, 0.0, at), *(Arm(name, layer, coef, at) for layer in layers for coef in coefs if coef)]


def best(effects: Sequence[Effect], least: float = 75.0) -> Effect:
    """The strongest trait among those whose coherence is at least this much."""
    scored = [(one.trait.estimate, one.coherence.estimate, one) for one in effects if one.trait and one.coherence]
    if not scored:
        raise UserError("no answer was given a score: the judge said nothing that could be read.")
    whole = [(trait, one) for trait, coherence, one in scored if one.arm.coef and coherence >= least]
    if not whole:
        top = max((coherence for _, coherence, one in scored if one.arm.coef), default=0.0)
        raise UserError(
            f"no configuration leaves coherence at {least:g} or more (the best has {top:.0f}): take smaller "
            "coefficients."
        )
    return max(whole, key=lambda pair: pair[0])[1]


def of_equal_norm(vector: Tensor, count: int, seed: int = 0) -> dict[str, Tensor]:
    """Random directions, each at every layer as long as the vector is there: what does length alone do?"""
    found = {}
    for number in range(count):
        draw = torch.Generator().manual_seed(1000 * seed + number)
        noise = torch.randn(vector.shape, generator=draw)
        found[f"random {number + 1}"] = noise / noise.norm(dim=1, keepdim=True) * vector.norm(dim=1, keepdim=True)
    return found
