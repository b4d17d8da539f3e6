"""A detector of prompts that a model is not meant for, as a file, and a model behind it that refuses them.

The file holds mean, precision and variance of one layer's activations (safetensors), and as its metadata whose they
are, how distance is measured, and the threshold. Activations of another model, or in another precision, are other
numbers: of those a detector refuses to judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from truing.engine.base import Asking, Engine
from truing.evaluate.activations import activations
from truing.records import Answer, Example, Prompt, Sampling, UserError
from truing.stats.outliers import Normal

METHODS = ("MD", "SRM")
KEY = "truing_detector"  # under which the metadata say what this is
REFUSAL = "I am not made for requests like this one, so I do not answer it."


def distances(normal: Normal, method: str, vectors: np.ndarray) -> np.ndarray:
    return normal.relative(vectors) if method == "SRM" else normal.mahalanobis(vectors)


@dataclass(frozen=True)
class Detector:
    """`about`: model, fingerprint, pool, layer, method, threshold, false_alarms."""

    normal: Normal
    about: Mapping[str, Any]

    @classmethod
    def of(
        cls, engine: Engine, normal: Normal, where: Mapping[str, Any], inside: np.ndarray, false_alarms: float
    ) -> Detector:
        """With the threshold that a share `false_alarms` of these inside distances exceeds."""
        threshold = float(np.quantile(inside, 1 - false_alarms, method="higher"))
        about = {name: where[name] for name in ("pool", "layer", "method")}
        made = {"model": engine.name, "fingerprint": engine.fingerprint}
        return cls(normal, made | about | {"threshold": threshold, "false_alarms": false_alarms})

    @property
    def threshold(self) -> float:
        return float(self.about["threshold"])

    def distances(self, vectors: np.ndarray) -> np.ndarray:
        return distances(self.normal, self.about["method"], vectors)

    def rejects(self, engine: Engine, prompts: Sequence[Prompt]) -> list[bool]:
        """Which of these prompts are further out than the threshold."""
        self.check(engine)
        if not prompts:
            return []
        vectors = activations(engine, prompts, self.about["layer"])[self.about["pool"]][:, 0]
        return [bool(d > self.threshold) for d in self.distances(vectors.astype(np.float64))]

    def check(self, engine: Engine) -> None:
        if engine.fingerprint != self.about["fingerprint"]:
            raise UserError(
                f"the detector was made for {self.about['model']}, and {engine.name} is another model, or is computed "
                "in another precision (machine.dtype); make one for it with truing eval ood --out."
            )

    def save(self, file: str | Path) -> None:
        named = {"mean": self.normal.mean, "precision": self.normal.precision, "variance": self.normal.variance}
        arrays = {name: np.ascontiguousarray(array) for name, array in named.items()}  # strides would not be kept
        content = {**self.about, "shrinkage": self.normal.shrinkage}
        draft = Path(f"{file}.partial")
        save_file(arrays, draft, {KEY: json.dumps(content)})
        draft.replace(file)

    @classmethod
    def load(cls, file: str | Path) -> Detector:
        try:
            with safe_open(file, "np") as stored:
                content = json.loads((stored.metadata() or {})[KEY])
                arrays = {name: stored.get_tensor(name) for name in ("mean", "precision", "variance")}
        except (OSError, SafetensorError, KeyError):
            raise UserError(f"{file} is no detector; truing eval ood --out FILE makes one.") from None
        return cls(Normal(**arrays, shrinkage=content.pop("shrinkage")), content)


class Guarded:
    """A model that refuses what its detector rejects; `rejected` counts the prompts."""

    can = frozenset({"sample"})

    def __init__(self, engine: Asking, file: str) -> None:
        self.engine, self.detector, self.rejected = engine, Detector.load(file), 0
        self.detector.check(engine)
        self.name, self.fingerprint = engine.name, engine.fingerprint
        self.codec: Any = getattr(engine, "codec", None)

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        rejected = self.detector.rejects(self.engine, prompts)
        self.rejected += sum(rejected)
        more = {} if on_progress is None else {"on_progress": on_progress}
        drawn = iter(self.engine.sample([p for p, no in zip(prompts, rejected) if not no], sampling, **more))
        refused = (Answer(REFUSAL, by=f"the detector of {self.name}", finish="end"),) * sampling.n
        return [
            Example(prompt, refused, source=self.name) if no else next(drawn) for prompt, no in zip(prompts, rejected)
        ]

    def score(self, examples: Sequence[Example]) -> list[Any]:
        return self.engine.score(examples)


def guarded(engine: Asking, file: str | None) -> Asking:
    """The model behind the detector in a file, if one is named."""
    return Guarded(engine, file) if file else engine
