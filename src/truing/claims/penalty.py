"""The baseline that punishes where a model moves: λ ((h − h_base) · v̂)² at every token of the answer, beside NLL.

The trait need not lie along v̂ to be learnt, so a model may pay nothing and have it all the same (Chen et al., arXiv
2507.21509, say that it does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from truing.align.job import Job
from truing.align.sft import Sft
from truing.batch import Batch, Metrics, Objective, Signals
from truing.data import demonstrations
from truing.engine.local import LocalEngine
from truing.model.hooks import reading
from truing.objectives import NLL
from truing.persona.project import unit
from truing.records import Example
from truing.run import Run


class Held:
    """What the penalty needs of both models at one layer, in class gaps."""

    def __init__(self, engine: LocalEngine, base: LocalEngine, layer: int, vector: Tensor) -> None:
        self.engine, self.base, self.layer = engine, base, layer
        self.direction = unit(vector) / vector.norm()
        self.said: Tensor | None = None
        self.objective = Objective("penalty", "token", frozenset({"logps"}), self._moved)

    @contextmanager
    def listening(self) -> Iterator[None]:
        def tell(_: int, states: Tensor) -> None:
            self.said = states

        with reading(self.engine.model.owner, [self.layer], tell):
            yield

    def _moved(self, signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        was = list[Tensor]()
        with torch.no_grad(), reading(self.base.model.owner, [self.layer], lambda _, states: was.append(states)):
            self.base.model.hidden(batch)
        assert self.said is not None
        moved = ((self.said - was[0]) @ self.direction).flatten()[batch.own]
        return moved**2, {"moved": (moved.detach().sum(), len(moved))}


def penalised(
    settings: Sft, examples: Sequence[Example], base: LocalEngine, vector: Tensor, layer: int, weight: float
) -> Run:
    """`truing sft` with the penalty added."""
    job = Job("sft", settings, examples)
    with job.run as run:
        engine = job.engine()
        held = Held(engine, base, layer, vector)
        for step, batch in job.steps(engine, job.encode(engine, demonstrations, allow_empty=False)):
            with held.listening():
                metrics = engine.forward_backward(engine.work(batch, (NLL, 1.0), (held.objective, weight)))
            run.log(step, metrics, engine.step(), {"rows": len(batch)})
        job.export(engine, bare=True)
    return run
