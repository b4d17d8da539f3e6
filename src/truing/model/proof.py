"""Hooks prove themselves on the very model that they are about to steer, or nothing is steered."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from truing.model.hooks import Edit, Places, Steering, decoder_blocks, reading, steered, unwrapped
from truing.records import UserError


def steer(model: Any, edits: Sequence[Edit]) -> str:
    """A model with heads, for good: hooks that have proven themselves on this very one. What was seen."""
    said = prove(model.owner, {edit.layer for edit in edits})
    model.steering.append(Steering(model.owner, [edits]))
    return said


@torch.no_grad()
def prove(model: nn.Module, layers: Collection[int]) -> str:
    """Hooks stand where they should, and do what they should, or a refusal. One sentence about what was seen.

    Block l's output is hidden state l of transformers (but for the last one, which it norms); an edit with coefficient
    0 changes no bit; any other one changes its layer by exactly its vector, where it should, and nothing before it.
    """
    with torch.compiler.set_stance("force_eager"):  # so is everything that is read or steered
        return _proven(model, layers)


def _proven(model: nn.Module, layers: Collection[int]) -> str:
    base = unwrapped(model)
    if any(type(module).__name__.startswith(("FSDP", "FullyShardedDataParallel")) for module in model.modules()):
        raise UserError(
            f"{type(base).__name__}: its weights are sharded by FSDP, which gathers them for whole passes alone; read "
            "and steer it on one device, or with tensor parallelism."
        )
    blocks, device = decoder_blocks(model), next(base.parameters()).device
    size = base.get_input_embeddings().weight.shape[0]
    tokens = torch.randint(size, (1, 8), generator=torch.Generator().manual_seed(0)).to(device)
    told, last = _pass(model, tokens)
    own = base.base_model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
    if len(own) != len(blocks) + 1 or any(not torch.equal(told[n], own[n]) for n in range(len(blocks))):
        raise UserError(f"{type(base).__name__}: what its blocks hand on is not what its hidden states are.")
    answer = (torch.arange(8, device=device)[None] - 4).clamp(min=0)
    where = Places(answer, torch.arange(8, device=device)[None] == 4)
    for layer in layers:
        vector = torch.randn(told[layer].shape[-1], generator=torch.Generator().manual_seed(layer)).to(device)
        for coef in (0.0, 1.0):
            with steered(model, [[Edit(layer, vector, coef)]]) as steering, steering.over(where):
                now, after = _pass(model, tokens)
            moved = coef * where.at("response")[..., None] * vector  # type: ignore[index]
            wrong = [n for n in range(layer) if not torch.equal(now[n], told[n])]
            if wrong or not torch.equal(now[layer], told[layer] + moved.to(told[layer].dtype)):
                raise UserError(f"{type(base).__name__}: a vector added at layer {layer} is not what changes there.")
            if torch.equal(after, last) != (coef == 0):
                raise UserError(f"{type(base).__name__}: what is added at layer {layer} does not reach its output.")
    named = ", ".join(f"layer {layer} = what block {layer - 1} hands on" for layer in sorted(layers))
    return f"hooked and proven: {named}, of {len(blocks)} blocks"


def _pass(model: nn.Module, tokens: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """All layers, and the trunk's output."""
    told: dict[int, Tensor] = {}
    layers = range(len(decoder_blocks(model)) + 1)
    with reading(model, layers, lambda layer, states: told.update({layer: states.clone()})):
        out = unwrapped(model).base_model(input_ids=tokens, use_cache=False).last_hidden_state
    return told, out
