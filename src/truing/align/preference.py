"""Preference models: L = −ln σ(r(x, y_w) − r(x, y_l)), the score read at an end-of-context token.

(Askell et al., arXiv 2112.00861; Bai et al., arXiv 2204.05862.) One epoch: more ruins calibration fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from truing.align.estimate import cost
from truing.align.job import Job
from truing.data import comparisons
from truing.objectives import ranked
from truing.records import Example, UserError
from truing.run import Run
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch


@dataclass(frozen=True)
class Pm:
    """Train a preference model on comparisons or rankings."""

    model: str
    """the model to start from: a language model, or a preference model that goes on learning"""
    data: Data
    objective: Literal["ranked"] = "ranked"
    margin: bool = False
    """ask for a gap of the data's `margin` between the scores"""
    lm_weight: float = 0.0
    """weight of also imitating the best answer"""
    read: Literal["eoc", "end"] = "eoc"
    """read the score at an added end-of-context token, or at the answer's own end marker"""
    optim: Optim = field(default_factory=Optim)
    lora: Lora = field(default_factory=Lora)
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)


def pm(settings: Pm, examples: Sequence[Example] | None = None) -> Run:
    """Train, and leave a sequence classifier in the run's folder."""
    if settings.watch.every:
        raise UserError("watch.every: a preference model writes nothing that could be looked at; leave it at 0.")
    job = Job("pm", settings, examples)
    with job.run as run:
        if run.finished:
            return run
        engine = job.engine(head="score", eoc=settings.read == "eoc", speaks=settings.lm_weight > 0)
        pools = job.encode(engine, comparisons)
        objective = ranked(settings.margin, settings.lm_weight)
        for step, batch in job.steps(engine, pools):
            metrics = engine.forward_backward(engine.work(batch, (objective, 1.0)))
            if engine.fresh_head and not settings.margin:
                job.expect_start(step, "the preference loss", metrics["preference"], math.log(2))
            run.log(step, metrics, engine.step(), {"rows": len(batch)})
        job.export(engine)
    return run


def estimate(settings: Pm) -> str:
    return cost(settings, comparisons)
