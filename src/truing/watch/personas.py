"""`persona:FILE@LAYER` among the probes: how far what the policy says lies along a trait.

    persona/NAME           ā · v̂ / ‖v‖ of its answers: 0 and 1 are one class gap apart, the distance from answers
                           without the trait to those with it
    persona/NAME/prompt    the same at the prompt's last token, before anything is said
    persona/NAME/error     the standard error of the first, over answers

FILE may be a pattern (traits/*.safetensors). Without @LAYER it is that at 55 % of the depth, where steering was
strongest in the models of Chen et al. (arXiv 2507.21509).
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np

from truing.engine.local import LocalEngine
from truing.model.vectors import RESPONSE, Vectors, load_vectors
from truing.persona.project import Direction, projections
from truing.records import Example, UserError

PREFIX = "persona:"
DEPTH = 0.55


class Personas:
    """The directions of all such probes, looked at in one pass."""

    def __init__(self, probes: Sequence[str], engine: LocalEngine) -> None:
        self.engine, self.directions = engine, list[Direction]()
        for probe in probes:
            for file, layer in files(probe):
                vectors = load_vectors(file)
                vectors.check(engine.model.owner, file)
                at = layer_of(vectors) if layer is None else layer
                statistic = RESPONSE if RESPONSE in vectors.rows else next(iter(vectors.rows))
                self.directions.append(Direction(vectors.trait, at, vectors.row(at, statistic)))
        names = [one.name for one in self.directions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"watch.probes: two vectors are of {twice[0]}: their numbers would have one name.")

    def __call__(self, drawn: Sequence[Example]) -> dict[str, float]:
        if not self.directions:
            return {}
        gaps = np.array([float(one.vector.norm()) for one in self.directions])
        seen = projections(self.engine, drawn, self.directions)
        said = np.concatenate([one.answers for one in seen]) / gaps
        before = np.stack([one.last for one in seen]) / gaps
        found: dict[str, Any] = {}
        for column, one in enumerate(self.directions):
            values = said[:, column][~np.isnan(said[:, column])]
            if len(values):
                found[f"persona/{one.name}"] = float(values.mean())
            if len(values) > 1:
                found[f"persona/{one.name}/error"] = float(values.std(ddof=1) / np.sqrt(len(values)))
            found[f"persona/{one.name}/prompt"] = float(before[:, column].mean())
        return found


def layer_of(vectors: Vectors) -> int:
    """Where to look, if nobody says."""
    return max(1, round(DEPTH * vectors.layers))


def files(probe: str) -> list[tuple[str, int | None]]:
    """The files that a probe means, and the layer, where it names one."""
    named, at, layer = probe.removeprefix(PREFIX).rpartition("@")
    if not at or not layer.isdigit():
        named, layer = probe.removeprefix(PREFIX), ""
    found = sorted(glob(named)) if any(c in named for c in "*?[") else [named] * Path(named).is_file()
    if not found:
        raise UserError(f"watch.probes: {probe}: there is no such file of vectors; truing persona extract makes one.")
    return [(file, int(layer) if layer else None) for file in found]
