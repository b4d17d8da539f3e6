"""Persona vectors as files: one direction for each layer, and all that is known about where it is from.

    NAME.safetensors    response_avg, prompt_avg, prompt_last: [L + 1, d] fp32, row ℓ belongs to h_ℓ (see `hooks`);
                        the rest in its metadata, as JSON
    NAME.pt, NAME.gguf  those of others (see `exchange`)

Rows are not normalised: a coefficient of 1 moves a state from the mean of the answers without the trait to the mean of
those with it. transformers hands its last hidden state out behind the final norm; a row that was made from it
(`post_norm`) lives in another space than the residual stream and is not steered with.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from truing.model.hooks import At, Edit, How, unwrapped
from truing.records import UserError
from truing.run.checkpoint import write_bytes
from truing.spec import Vector

RESPONSE, PROMPT, LAST = "response_avg", "prompt_avg", "prompt_last"
STATISTICS = (RESPONSE, PROMPT, LAST)
KEY = "truing"


@dataclass(frozen=True)
class Vectors:
    """`rows`: statistic → [L + 1, d]. `family`: what a model has to be like to be steered with them."""

    trait: str
    rows: Mapping[str, Tensor]
    family: Mapping[str, Any] = field(default_factory=dict)
    post_norm: bool = False
    """the last row was read behind the final norm"""
    whole: bool = True
    """of all layers of the model it was made for"""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {tuple(rows.shape) for rows in self.rows.values()}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise UserError(
                f"vectors of {self.trait}: there has to be a row for each layer, and here are {sorted(shapes)}."
            )

    @property
    def layers(self) -> int:
        """L: row 0 is the embedding's."""
        return next(iter(self.rows.values())).shape[0] - 1

    def of(self, statistic: str = RESPONSE) -> Tensor:
        if statistic not in self.rows:
            raise UserError(f"vectors of {self.trait}: there is no {statistic}; there are {', '.join(self.rows)}.")
        return self.rows[statistic]

    def row(self, layer: int, statistic: str = RESPONSE) -> Tensor:
        """The vector of a layer, to be steered with."""
        if not 1 <= layer <= self.layers:
            raise UserError(f"vectors of {self.trait}: layer {layer} is not among 1 to {self.layers}.")
        if layer == self.layers and self.post_norm:
            raise UserError(
                f"vectors of {self.trait}: row {layer} was read behind the final norm and is not a direction of the "
                f"residual stream; take a layer from 1 to {layer - 1}."
            )
        return self.of(statistic)[layer]

    def check(self, model: Any, name: str) -> None:
        """Made for this model, or for one that was fine-tuned from it."""
        wanted = family(model)
        here = dict(self.family) or {"layers": self.layers, "width": next(iter(self.rows.values())).shape[1]}
        if not self.whole and self.layers <= wanted["layers"]:
            here.pop("layers", None)
        if wrong := [key for key in here if here[key] != wanted.get(key)]:
            has, wants = (", ".join(f"{key} {of[key]}" for key in wrong) for of in (here, wanted))
            raise UserError(f"{name}: it was made for a model with {has}, and this one has {wants}: extract its own.")


def family(model: Any) -> dict[str, Any]:
    """What a model shares with those that are fine-tuned from it."""
    config = unwrapped(model).config
    text = config.get_text_config()
    return {"type": config.model_type, "layers": text.num_hidden_layers, "width": text.hidden_size}


def load_vectors(path: str) -> Vectors:
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: there is no such file of vectors.")
    if file.suffix in (".pt", ".gguf"):
        from truing.model.exchange import of_authors, of_gguf

        return of_authors(file) if file.suffix == ".pt" else of_gguf(file)
    try:
        with safe_open(file, "pt") as found:
            told = json.loads((found.metadata() or {})[KEY])
            rows = {name: found.get_tensor(name).float() for name in found.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, ValueError) as problem:
        raise UserError(
            f"{path}: these are no persona vectors ({problem or 'no metadata'}); truing persona extract makes some, "
            "truing persona convert reads others'."
        ) from None
    return Vectors(told["trait"], rows, told["family"], told["post_norm"], told.get("whole", True), told["meta"])


def save_vectors(vectors: Vectors, path: str | Path) -> None:
    flags = {"post_norm": vectors.post_norm, "whole": vectors.whole}
    told = {"trait": vectors.trait, "family": dict(vectors.family), "meta": dict(vectors.meta), **flags}
    rows = {name: tensor.float().clone().contiguous() for name, tensor in vectors.rows.items()}
    write_bytes(Path(path), save(rows, {KEY: json.dumps(told, ensure_ascii=False)}))


def vectors_hash(path: str) -> str:
    """By content: part of the fingerprint of a model that is steered with them."""
    load_vectors(path)  # says what is wrong with it
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def edits(named: Vector, model: Any, at: At = "response") -> list[Edit]:
    """What is meant by FILE@LAYER=COEF, for this model. `at`: where nothing else is said."""
    vectors, how, first = load_vectors(named.file), "add", None
    vectors.check(model, named.file)
    for word in named.words:
        if word in get_args(At):
            at = word  # type: ignore[assignment]
        elif word in get_args(How):
            how = word
        elif re.fullmatch(r"first[1-9]\d{0,5}", word):
            first = int(word.removeprefix("first"))
        else:
            known = ", ".join((*get_args(At), *get_args(How), "first8"))
            raise UserError(f"vector '{named}': '{word}' is no place and no way to steer; there are {known}.")
    statistic = named.statistic or (RESPONSE if RESPONSE in vectors.rows else next(iter(vectors.rows)))
    if named.upto is None:
        return [Edit(named.layer, vectors.row(named.layer, statistic), named.coef, how, at, first)]  # type: ignore[arg-type]
    band = range(named.layer, named.upto + 1)
    if not band:
        raise UserError(f"vector '{named}': a band of layers is FIRST-LAST.")
    if how == "add":
        steps = increments(vectors, band, statistic)
    else:  # what is taken away or set at a layer is what lies along its own vector
        steps = [vectors.row(layer, statistic) for layer in band]
    return [Edit(layer, step, named.coef, how, at, first) for layer, step in zip(band, steps)]  # type: ignore[arg-type]


def increments(vectors: Vectors, layers: Sequence[int], statistic: str = RESPONSE) -> list[Tensor]:
    """u_ℓ = v_ℓ − v_{ℓ−1}: v grows over the layers, and adding all of it at each would count it many times."""
    return [vectors.row(layer, statistic) - vectors.of(statistic)[layer - 1] for layer in layers]
