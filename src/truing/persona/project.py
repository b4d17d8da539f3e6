"""How far texts lie along a trait's direction, before and after an answer.

    projection    a · v̂,  a = ā_ℓ(x, y) over the answer's tokens, or h_ℓ at the prompt's last one
    shift         mean_i (h^F[last_i] − h^B[last_i]) · v̂           of a fine-tuned model F from its base B
    ΔP_i          (ā(x_i, y_i) − ā(x_i, y'_i)) · v̂                  of a data set's answer from the model's own, y'
                  ≈ (ā(x_i, y_i) − h[last_i]) · v̂                  without drawing one

All directions are looked at in one pass, and no layer behind the deepest of them is computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from truing.batch import Group
from truing.engine.local import LocalEngine
from truing.model.pack import batches
from truing.model.states import means
from truing.model.text import Dropped
from truing.model.vectors import LAST, PROMPT, RESPONSE
from truing.persona.extract import spoken
from truing.records import Answer, Example, UserError


@dataclass(frozen=True)
class Direction:
    """Where to look: a layer, and a vector of any length."""

    name: str
    layer: int
    vector: Tensor


@dataclass(frozen=True)
class Seen:
    """Of one example, projections on every direction: `answers` [k, D], NaN for an answer of nothing; `last` and
    `prompt` [D]."""

    answers: np.ndarray
    last: np.ndarray
    prompt: np.ndarray


def unit(vector: Tensor, name: str = "the vector") -> Tensor:
    length = vector.float().norm()
    if not length > 0 or not torch.isfinite(length):
        raise UserError(f"{name} is zero or not finite: there is no direction to project on.")
    return vector.float() / length


def project(states: Tensor, vector: Tensor) -> Tensor:
    """[…, d] → […]"""
    return states.float() @ unit(vector).to(states.device)


def projections(
    engine: LocalEngine,
    examples: Sequence[Example],
    directions: Sequence[Direction],
    dropped: Counter[str] | None = None,
) -> list[Seen]:
    """Of given answers, and of their prompts, in fp32. What cannot be read (too long, an image, a control token) is an
    error; with `dropped` it is counted there, and everything about it is NaN."""
    layers = sorted({one.layer for one in directions})
    units = torch.stack([unit(one.vector, one.name) for one in directions]).to(engine.model.device)
    at = torch.tensor([layers.index(one.layer) for one in directions], device=engine.model.device)

    def along(values: Tensor) -> np.ndarray:
        """[N, layers, d] → [N, D]"""
        return torch.einsum("ndh,dh->nd", values[:, at], units).double().cpu().numpy()

    # A prompt without an answer is looked at with one word behind it, which it does not see.
    asked = [e if e.answers else Example(e.prompt, (Answer("?"),)) for e in examples]
    groups = [_encoded(engine, e, dropped) for e in asked]
    kept = [n for n, group in enumerate(groups) if group and group.answers]
    nothing = np.full(len(directions), np.nan)
    found: list[Seen | None] = [None] * len(examples)
    for numbers, batch in batches([groups[n] or Group([], [], []) for n in kept], engine.layout, engine.micro_tokens):
        batch = batch.to(engine.model.device)
        parts = {name: along(values) for name, values in means(engine.model, batch, layers).items()}
        of_group = batch.group_of.cpu().numpy()
        for row, number in enumerate(numbers):
            example = kept[number]
            answers = parts[RESPONSE][of_group == row]
            found[example] = Seen(_placed(answers, asked[example], engine), parts[LAST][row], parts[PROMPT][row])
    for number, group in enumerate(groups):
        if group and not group.answers:  # nothing was said at all: the prompt is still there
            (bare,) = projections(engine, [Example(asked[number].prompt)], directions)
            found[number] = replace(bare, answers=np.tile(nothing, (len(asked[number].answers), 1)))
    return [one or Seen(np.tile(nothing, (len(e.answers), 1)), nothing, nothing) for one, e in zip(found, asked)]


def _encoded(engine: LocalEngine, example: Example, dropped: Counter[str] | None) -> Group | None:
    try:
        return spoken(engine, example)
    except Dropped as problem:
        if dropped is None:
            raise
        dropped[problem.reason] += 1
        return None


def _placed(answers: np.ndarray, example: Example, engine: LocalEngine) -> np.ndarray:
    """Answers of nothing were left out of the pass; here they stand again."""
    if len(answers) == len(example.answers):
        return answers
    said = [bool(spoken(engine, Example(example.prompt, (a,))).answers) for a in example.answers]
    found = np.full((len(said), answers.shape[1]), np.nan)
    found[said] = answers
    return found


def shift(tuned: np.ndarray, base: np.ndarray) -> np.ndarray:
    """[prompts, D] twice → [D]."""
    return np.asarray((tuned - base).mean(axis=0))


def difference(answers: np.ndarray, own: np.ndarray) -> np.ndarray:
    """ΔP of every sample: what the data say less what the model says itself, or less its prompt's last token."""
    return np.asarray(answers - own)
