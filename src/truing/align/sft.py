"""Supervised fine-tuning: L = −Σ_t ln π(y_t | x, y_<t) / (number of answer tokens in the step)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from truing.align.estimate import cost
from truing.align.guard import Guard
from truing.align.job import Job
from truing.data import demonstrations
from truing.objectives import NLL
from truing.records import Example
from truing.run import Run
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch


@dataclass(frozen=True)
class Sft:
    """Learn from demonstrations: make the given answers likely. Of ranked answers, the best one is taken."""

    model: str
    """the model to start from"""
    data: Data
    optim: Optim = field(default_factory=lambda: Optim(lr=2e-5))
    lora: Lora = field(default_factory=Lora)
    prevent: tuple[str, ...] = ()
    """vectors that are added in all places while it learns, FILE@LAYER=COEF each; what is left is without them"""
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)


def sft(settings: Sft, examples: Sequence[Example] | None = None) -> Run:
    """Train, and leave the model in the run's folder."""
    job = Job("sft", settings, examples)
    with job.run as run:
        if run.finished:
            return run
        engine = job.engine()
        pools = job.encode(engine, demonstrations, allow_empty=False)
        watch = Guard(job, engine)
        for step, batch in job.steps(engine, pools):
            metrics = engine.forward_backward(engine.work(batch, (NLL, 1.0)))
            run.log(step, metrics, engine.step(), watch(step), {"rows": len(batch)})
        watch.leave()
    return run


def estimate(settings: Sft) -> str:
    return cost(settings, demonstrations)
