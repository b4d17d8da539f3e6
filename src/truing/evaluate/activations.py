"""What a model thinks of a prompt before it says a word: every layer's activations, of all prompts in one pass.

    last   at the prompt's last token, where the answer begins
    mean   the mean over all of its tokens

Layer 0 is the embedding, layer l what block l says; the last one stands behind the final norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from truing.batch import Batch, Group
from truing.engine.base import Engine
from truing.model.pack import batches
from truing.records import Prompt, UserError

POOLS = ("last", "mean")
TOKENS = 2048  # in one pass: all layers of all of them are held at once


@torch.no_grad()
def activations(engine: Engine, prompts: Sequence[Prompt], layer: int | None = None) -> dict[str, np.ndarray]:
    """pool → [prompts, layers, d]; of one layer, if that is all that is wanted."""
    model = _model(engine)
    groups = [_group(engine, number, prompt) for number, prompt in enumerate(prompts, 1)]
    found: dict[str, list[Any]] = {pool: [None] * len(groups) for pool in POOLS}
    for numbers, batch in batches(groups, engine.layout, TOKENS):  # type: ignore[attr-defined]
        batch = batch.to(model.device)
        layers = model.layers(batch)
        for pool, rows in _pooled(layers if layer is None else [layers[layer]], batch).items():
            for number, row in zip(numbers, rows.cpu().numpy()):
                found[pool][number] = row
    return {pool: np.stack(rows) for pool, rows in found.items()}


def readable(engine: Engine, prompts: Sequence[Prompt]) -> list[bool]:
    """Which of these prompts fit into the model, the oldest turns left out if need be."""
    _model(engine)

    def fits(number: int, prompt: Prompt) -> bool:
        try:
            return bool(_group(engine, number, prompt))
        except UserError:
            return False

    return [fits(number, prompt) for number, prompt in enumerate(prompts, 1)]


def _model(engine: Engine) -> Any:
    model = getattr(engine, "model", None)
    if model is None:
        raise UserError(
            f"{engine.name}: activations can be read from local weights alone: a folder, a hub model or world:NAME, "
            "without a preface."
        )
    if engine.steered:  # type: ignore[attr-defined]
        raise UserError(f"{engine.name}: prompts are read as they are; name the model without +vec:.")
    return model


def _group(engine: Any, number: int, prompt: Prompt) -> Group:
    """The prompt as one answer to nothing: its last token is then the end of an answer."""
    try:
        ids = engine.codec.prompt_ids(prompt)
    except UserError as problem:
        raise UserError(f"prompt {number}: {problem}") from None
    if len(ids) < 2:
        raise UserError(f"prompt {number} is a single token: there is nothing in it to look at.")
    return Group([], [ids], [[False] + [True] * (len(ids) - 1)], id=f"prompt {number}")


def _pooled(layers: Sequence[Tensor], batch: Batch) -> dict[str, Tensor]:
    """pool → [prompts, layers, d]. The trained tokens are predicted by all tokens but the last."""
    last = [states[batch.end].float() for states in layers]
    counts = batch.lengths()[:, None] + 1
    sums = [end.index_add(0, batch.answer_of, states[batch.source].float()) for end, states in zip(last, layers)]
    return {"last": torch.stack(last, 1), "mean": torch.stack([total / counts for total in sums], 1)}
