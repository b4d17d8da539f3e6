"""Between the blocks of a model: what the residual stream says there, and what is added to it.

    h_ℓ[t]    the residual stream at token t behind block ℓ, before any final norm; ℓ = 0 is the embedding, ℓ = 1 … L
              what the blocks hand on. Steering at layer ℓ is a hook on block ℓ − 1, counted from 0.

    add       h + α v                        ablate    h − (h·v̂) v̂
    clamp     h + (α − h·v̂) v̂                turn      (h + α v) · ‖h‖ / ‖h + α v‖

Where a hook acts follows from where a token stands in its prompt and answer, never from how long a sequence a cache
happens to leave for this pass. A hook that is not told where its tokens stand refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn

from truing.batch import Batch
from truing.records import UserError

How = Literal["add", "ablate", "clamp", "turn"]
At = Literal["response", "answer", "last", "prompt", "all"]
ELSEWHERE = ("vision", "visual", "audio", "image", "encoder", "mtp")  # blocks that are not the text decoder's
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "module")  # of compilation and sharding


@dataclass(frozen=True)
class Edit:
    """One direction at one layer.

    at: response   where the answer's tokens are predicted, the prompt's last token included: all that is said is
                   steered, and nothing that was asked
        answer     the answer's own tokens        last   the prompt's last token
        prompt     all of the prompt              all    everything
    first: where no more than the first so many tokens of an answer are predicted
    """

    layer: int
    vector: Tensor
    coef: float = 1.0
    how: How = "add"
    at: At = "response"
    first: int | None = None


@dataclass(frozen=True)
class Places:
    """Where the tokens of one forward pass stand: [rows, length] each. `answer`: the how-manieth of its answer a token
    is, from 1; 0 in prompts. `last`: whether it is the prompt's last. `which` [rows] or [rows, length]: the number of
    the configuration that steers them; none is the first."""

    answer: Tensor
    last: Tensor
    which: Tensor | None = None

    def at(self, at: At, first: int | None = None) -> Tensor | None:
        """None: everywhere. Padding counts as prompt: nobody looks at it."""
        if at == "all" and first is None:
            return None
        answer = self.answer > 0
        masks = {"answer": answer, "last": self.last, "response": answer | self.last, "prompt": ~answer}
        mask = masks[at] if at != "all" else torch.ones_like(answer)
        return mask if first is None else mask & (self.answer < first)


def places(batch: Batch) -> Places:
    """Of a batch of given answers."""
    answer = torch.zeros(batch.tokens.shape, dtype=torch.long, device=batch.tokens.device)
    last = answer > 0
    for row, span in enumerate(batch.spans):
        if batch.layout == "tree":
            row, span = 0, span[1:]
        for begin, end in pairwise(span):
            answer[row, begin:end] = torch.arange(1, end - begin + 1, device=answer.device)
        last[row, max(span[0] - 1, 0) : span[0]] = True
    return Places(answer, last)


# Which modules


def unwrapped(model: Any) -> Any:
    """The transformers model under adapters, compilation and sharding."""
    while True:
        inner = next((model._modules[name] for name in WRAPPERS if name in model._modules), None)
        if inner is None and hasattr(model, "get_base_model"):
            inner = model.get_base_model()
        if inner is None:
            return model
        model = inner


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The text decoder's blocks. Where it is not certain which modules those are, a refusal."""
    base = unwrapped(model)
    count = base.config.get_text_config().num_hidden_layers
    lists = {n: m for n, m in base.named_modules() if isinstance(m, nn.ModuleList)}
    found = {
        name: module
        for name, module in lists.items()
        if len(module) == count and not any(word in name for word in ELSEWHERE)
    }
    outer = [n for n in found if not any(n.startswith(f"{other}.") for other in found)]  # experts may be as many
    if len(outer) != 1:
        seen = ", ".join(f"{name} ({len(module)})" for name, module in list(lists.items())[:8]) or "it has no lists"
        raise UserError(
            f"{type(base).__name__}: which modules are its {count} decoder blocks is not certain ({seen}); nothing is "
            "read or steered in it."
        )
    return found[outer[0]]


# What they say


@contextmanager
def reading(model: nn.Module, layers: Collection[int], tell: Callable[[int, Tensor], None]) -> Iterator[None]:
    """`tell(ℓ, h_ℓ)` for these layers of every forward pass inside. What is steered is told as it is then."""
    if not layers:
        yield
        return
    blocks = list[Any](decoder_blocks(model))

    def block(layer: int) -> Any:
        return lambda module, args, output: tell(layer, _states(output))

    def first(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tell(0, args[0] if args else kwargs["hidden_states"])

    with ExitStack() as hooks, torch.compiler.set_stance("force_eager"):  # what was compiled knows no new hooks
        if 0 in layers:
            hooks.callback(blocks[0].register_forward_pre_hook(first, with_kwargs=True).remove)
        for layer in layers:
            if layer:
                hooks.callback(blocks[layer - 1].register_forward_hook(block(layer)).remove)
        yield


# What is added


class Steering:
    """Configurations, each a list of edits, hooked into a model: every row of a batch may have another one.

    Directions that are added in one place are one matrix product: coefficients [rows, directions] times directions.
    """

    def __init__(self, model: nn.Module, configurations: Sequence[Sequence[Edit]]) -> None:
        blocks = decoder_blocks(model)
        width = unwrapped(model).config.get_text_config().hidden_size
        for edit in (edit for edits in configurations for edit in edits):
            _check(edit, len(blocks), width)
        self.prompts = any(e.at in ("prompt", "all") for edits in configurations for e in edits)
        """whether what is computed for a prompt depends on the configuration"""
        self.count, self.places, self.idle = len(configurations), None, False  # type: int, Places | None, bool
        layers = sorted({edit.layer for edits in configurations for edit in edits})
        self.stages = {layer: _stages(configurations, layer) for layer in layers}
        self.hooks = [
            blocks[layer - 1].register_forward_hook(self._hook(stages)) for layer, stages in self.stages.items()
        ]

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()

    @contextmanager
    def over(self, places: Places) -> Iterator[None]:
        """One forward pass over tokens that stand there."""
        before, self.places = self.places, places
        try:
            yield
        finally:
            self.places = before

    @contextmanager
    def off(self) -> Iterator[None]:
        before, self.idle = self.idle, True
        try:
            yield
        finally:
            self.idle = before

    def _hook(self, stages: Sequence[Stage]) -> Any:
        def steer(module: nn.Module, args: Any, output: Any) -> Any:
            if self.idle:
                return None
            if self.places is None:
                raise RuntimeError("a steered model does not know where the tokens of this pass stand")
            states = _states(output)
            for stage in stages:
                states = stage(states, self.places)
            return _with(output, states)

        return steer


@contextmanager
def steered(model: nn.Module, configurations: Sequence[Sequence[Edit]]) -> Iterator[Steering]:
    steering = Steering(model, configurations)
    try:
        yield steering
    finally:
        steering.remove()


@contextmanager
def over(steering: Collection[Steering], places: Places) -> Iterator[None]:
    """One forward pass over tokens that stand there, for all who steer. What was compiled before knows no hooks."""
    with ExitStack() as stack:
        if steering:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for each in steering:
            stack.enter_context(each.over(places))
        yield


class Stage:
    """Edits that one matrix product does. `coefs` [configurations, directions]; `on`, which of them have it."""

    def __init__(self, edits: Sequence[tuple[int, Edit]], configurations: int) -> None:
        first = edits[0][1]
        self.how, self.where = first.how, (first.at, first.first)
        self.vectors = torch.stack([edit.vector.float() for _, edit in edits])
        self.coefs = torch.zeros(configurations, len(edits))
        self.on = torch.zeros(configurations, 1)
        for column, (number, edit) in enumerate(edits):
            self.coefs[number, column], self.on[number] = edit.coef, 1.0

    def __call__(self, states: Tensor, places: Places) -> Tensor:
        for name in ("vectors", "coefs", "on"):
            setattr(self, name, getattr(self, name).to(states.device))
        added = self._of(self.coefs, places) @ self.vectors  # [rows or 1, length or 1, d]
        if self.how == "add":
            mask = places.at(*self.where)
            return states + (added if mask is None else added * mask[..., None]).to(states.dtype)
        on, mask = self._of(self.on, places) > 0, places.at(*self.where)
        return torch.where(on if mask is None else on & mask[..., None], self._moved(states, added, places), states)

    def _of(self, table: Tensor, places: Places) -> Tensor:
        """The rows of a table that belong to the rows of the pass, or to its tokens."""
        if places.which is None or len(table) == 1:  # others who steer may have more configurations
            return table[:1, None]
        return table[places.which] if places.which.dim() == 2 else table[places.which, None]

    def _moved(self, states: Tensor, added: Tensor, places: Places) -> Tensor:
        """One direction, where it is not added but set."""
        exact = states.float()
        if self.how == "turn":
            moved = exact + added
            return (moved * (exact.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True))).to(states.dtype)
        unit = self.vectors[0] / self.vectors[0].norm()
        wanted = self._of(self.coefs, places) if self.how == "clamp" else 0.0
        return (exact + (wanted - (exact @ unit)[..., None]) * unit).to(states.dtype)


def _stages(configurations: Sequence[Sequence[Edit]], layer: int) -> list[Stage]:
    """Edits of one layer in their order; neighbours that are added in the same places go together."""
    grouped: list[list[tuple[int, Edit]]] = []
    for number, edits in enumerate(configurations):
        for edit in (e for e in edits if e.layer == layer):
            last = grouped[-1][0][1] if grouped else None
            if last and edit.how == last.how == "add" and (edit.at, edit.first) == (last.at, last.first):
                grouped[-1].append((number, edit))
            else:
                grouped.append([(number, edit)])
    return [Stage(edits, len(configurations)) for edits in grouped]


def _check(edit: Edit, blocks: int, width: int) -> None:
    if not 1 <= edit.layer <= blocks:
        raise UserError(
            f"layer {edit.layer}: there are layers 1 to {blocks} to steer; layer ℓ is what block ℓ − 1 hands on."
        )
    if edit.vector.shape != (width,):
        raise UserError(
            f"the vector has {' × '.join(map(str, edit.vector.shape))} numbers and the model is {width} wide: it was "
            "made for another model."
        )
    if not torch.isfinite(edit.vector).all():
        raise UserError("the vector has numbers that are not finite: extract it again, in fp32 or bf16.")
    if not edit.vector.any():
        raise UserError("the vector is zero: it has no direction to steer in.")


def _states(output: Any) -> Tensor:
    first = output if isinstance(output, Tensor) else output[0]
    if not isinstance(first, Tensor):
        raise UserError("a decoder block hands on something that is no tensor, so nothing is read or steered there.")
    if hasattr(first, "placements"):  # sequence parallelism: each device has a part of the tokens
        raise UserError(
            "a decoder block hands on states that lie in parts on several devices, so nothing is read or steered "
            "there: use tensor parallelism with whole outputs, and not that of the sequence."
        )
    return first


def _with(output: Any, states: Tensor) -> Any:
    """The same kind of output, and nothing changed in place: gradients may need what was there."""
    if isinstance(output, Tensor):
        return states
    if isinstance(output, list | tuple):
        return type(output)([states, *output[1:]])
    raise UserError(f"a decoder block hands on a {type(output).__name__}, in which nothing can be steered.")
