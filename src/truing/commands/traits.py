"""`truing persona describe`, `truing persona features`: what an experiment asks, and what a vector is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from truing.batch import Group
from truing.commands.offline import read_all
from truing.commands.tables import report, show
from truing.data import check_target
from truing.engine import open_engine
from truing.engine.base import require
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.model.vectors import Vectors, load_vectors, save_vectors
from truing.persona.describe import as_yaml, described
from truing.persona.sae import Ranked, Sae, load_sae, ranked, rebuilt, token_states, train
from truing.persona.traits import Trait
from truing.records import Sampling, UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.schema import at_least
from truing.settings import Data, Machine
from truing.watch.personas import layer_of

TRAINED = 64  # times as many tokens as features: fewer make features of single texts


@dataclass(frozen=True)
class Describe:
    """Write a trait's file from its name and description: instructions for it and against it, questions, the judge's
    text and graded system lines, by any model. Read it before you use it."""

    name: str
    description: str
    """what counts as the trait and what does not, in a paragraph"""
    model: str
    """who writes it: an endpoint's model or local weights that follow instructions well"""
    out: str | None = None
    """NAME.yaml if none"""
    style: str = ""
    """a sentence about what the questions should be like"""
    tries: int = 3
    sampling: Sampling = Sampling(max_tokens=8000)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "tries")


@dataclass(frozen=True)
class Features:
    """What is a vector made of? Features of a sparse autoencoder by their cosine with it, and how much of it they
    rebuild. Without --sae a small one is trained on what the model makes of --data."""

    model: str
    vectors: str
    data: Data
    """texts whose answers the model reads: to train on, or to tell whether the autoencoder is right for this layer"""
    sae: str | None = None
    """ae.pt of dictionary_learning"""
    layer: int | None = None
    """none takes that at 55 % of the depth"""
    statistic: Literal["response_avg", "prompt_avg", "prompt_last"] = "response_avg"
    top: int = 10
    """features that are told and written"""
    out: str = "features.safetensors"
    """these features' directions, as long as the vector: feature_N for +vec:OUT#feature_N@LAYER=COEF"""
    size: int = 1024
    """features of one that is trained"""
    k: int = 16
    """of them at once"""
    seed: int = 0
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "top", "size", "k")


def describe(settings: Describe) -> Trait:
    check_target(out := settings.out or f"{settings.name}.yaml", endings=(".yaml",))
    engine = open_engine(settings.model, settings.machine)
    require(engine, "sample")
    trait = described(engine, settings.name, settings.description, settings.sampling, settings.style, settings.tries)
    write_text(Path(out), f"# written by {engine.name}; read it before you use it\n{as_yaml(trait)}")
    asked = f"{len(trait.extraction)} questions to extract with and {len(trait.evaluation)} to report with"
    say(f"{trait.name}: {len(trait.systems)} pairs of instructions, {asked}, {len(trait.graded)} graded lines: {out}")
    return trait


def features(settings: Features) -> list[Ranked]:
    check_target(settings.out, settings.data.path, endings=(".safetensors",))
    vectors, engine = load_vectors(settings.vectors), open_local(settings.model, settings.machine)
    vectors.check(engine.model.owner, settings.vectors)
    layer = layer_of(vectors) if settings.layer is None else settings.layer
    vector = vectors.row(layer, settings.statistic)
    groups, _ = engine.encode([e for e in read_all(settings.data, None) if e.answers])
    states = token_states(engine, groups, layer)
    held = states[-max(1, len(states) // 10) :]
    sae = _autoencoder(settings, states[: -len(held)], layer)
    order = ranked(sae, vector)[: settings.top]
    fires = (sae.encode(held) > 0).float().mean(0)
    left = [rebuilt(sae, vector, [one.feature for one in order[: n + 1]])[1] for n in range(len(order))]
    rows = {
        f"feature {one.feature}": [f"{one.cosine:.3f}", f"{1 - rest:.1%}", f"{fires[one.feature]:.2%}"]
        for one, rest in zip(order, left)
    }
    title = f"{vectors.trait}, {settings.statistic}, layer {layer} of {settings.model}"
    note = "rebuilt: share of the vector's squared length by this feature and those above it, with weights of 0 or more"
    show(title, ["cosine", "rebuilt", "tokens"], rows, note)
    near = _around(engine, sae, groups, layer) if settings.sae else {layer: sae.unexplained(held)}
    say("variance that the autoencoder does not rebuild: " + ", ".join(f"{v:.1%} (layer {n})" for n, v in near.items()))
    directions = {f"feature_{one.feature}": _rows(vectors, sae.direction(one.feature), vector, layer) for one in order}
    save_vectors(replace(vectors, rows=directions, meta={"of": settings.vectors}), settings.out)
    report("persona features", {"features": [one._asdict() for one in order], "left": left, "unexplained": near})
    say(f"directions: {settings.out}")
    return order


def _autoencoder(settings: Features, states: Tensor, layer: int) -> Sae:
    if settings.sae:
        sae = load_sae(settings.sae)
        if sae.width != states.shape[1]:
            raise UserError(f"{settings.sae}: it is {sae.width} wide, and {settings.model} is {states.shape[1]}.")
        return sae
    if len(states) < TRAINED * settings.size:
        raise UserError(
            f"{settings.data.path}: {len(states)} tokens of answers are too few for {settings.size} features, which "
            f"take {TRAINED * settings.size}; take more texts, or a smaller --size."
        )
    say(f"training {settings.size} features on {len(states)} tokens at layer {layer}")
    return train(states, settings.size, settings.k, seed=settings.seed)


def _around(engine: LocalEngine, sae: Sae, groups: Sequence[Group], layer: int) -> dict[int, float]:
    """At the layers beside, too: an autoencoder of another layer rebuilds that one better."""
    some = groups[: max(1, len(groups) // 10)]
    last = engine.model.owner.config.get_text_config().num_hidden_layers
    return {n: sae.unexplained(token_states(engine, some, n)) for n in (layer - 1, layer, layer + 1) if 0 < n <= last}


def _rows(vectors: Vectors, direction: Tensor, vector: Tensor, layer: int) -> Tensor:
    """One layer of a table as large as the vectors'."""
    rows = torch.zeros_like(next(iter(vectors.rows.values())))
    rows[layer] = direction / direction.norm() * vector.norm()
    return rows
