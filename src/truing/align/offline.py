"""Alignment on fixed data: a method is a row in a table; whatever needs a frozen model is computed once and cached."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from truing.align.estimate import cost
from truing.align.job import Job, View
from truing.batch import Group, Objective
from truing.data import Cache, comparisons, demonstrations
from truing.engine.local import LocalEngine, attach
from truing.objectives import dpo, weighted
from truing.records import Example
from truing.run import Run
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch


@dataclass(frozen=True)
class Offline:
    """Align on fixed answers with `method`: nll imitates the best answer, dpo learns from comparisons."""

    model: str
    """the policy to start from; as it is before the first step, it is also the reference"""
    data: Data
    method: Literal["nll", "dpo"] = "dpo"
    beta: float = 0.1
    """dpo: how strongly the policy is held to the reference"""
    optim: Optim = field(default_factory=lambda: Optim(lr=1e-6))
    lora: Lora = field(default_factory=Lora)
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)


class Method(NamedTuple):
    """objective: made from the settings. view: what it takes from an example.
    start: the loss of the first step, where theory says what it must be."""

    objective: Callable[[Offline], Objective]
    view: View
    start: float | None = None


METHODS = {
    "nll": Method(lambda s: weighted("nll"), demonstrations),
    "dpo": Method(lambda s: dpo(s.beta), comparisons, start=math.log(2)),
}


def offline(settings: Offline, examples: Sequence[Example] | None = None) -> Run:
    """Train, and leave the policy in the run's folder."""
    job, method = Job("offline", settings, examples), METHODS[settings.method]
    with job.run as run:
        if run.finished:
            return run
        engine = job.engine()
        pools = job.encode(engine, method.view, allow_empty=method.view is comparisons)
        objective = method.objective(settings)
        if "ref_logps" in objective.reads:
            cache_reference(engine, [g for pool in pools for g in pool], run.folder / "cache")
        watch = job.watcher(engine)
        for step, batch in job.steps(engine, pools):
            metrics = engine.forward_backward(engine.work(batch, (objective, 1.0)))
            if method.start is not None:
                job.expect_start(step, f"the loss of {settings.method}", metrics["loss"], method.start)
            run.log(step, metrics, engine.step(), watch(step, run), {"rows": len(batch)})
        job.export(engine)
    return run


def estimate(settings: Offline) -> str:
    method = METHODS[settings.method]
    reads = method.objective(settings).reads
    return cost(settings, method.view, frozen=settings.model if "ref_logps" in reads else None)


def cache_reference(engine: LocalEngine, groups: Sequence[Group], folder: Path) -> Cache:
    """ln π_ref of every trained token, from the model as it is before the first step (never again after it)."""
    for draft in folder.rglob(".*.writing"):  # of a process that was killed: the run is ours alone
        draft.unlink()
    cache = Cache(folder, {"model": engine.fingerprint, "codec": engine.codec.hash, "what": "logps"})

    def compute(positions: list[int]) -> list[dict]:
        answers = engine.signals([groups[p] for p in positions], ["logps"])["logps"]
        return [{"logps": torch.cat(tokens).numpy()} for tokens in answers]

    found = cache.fetch([group.id for group in groups], compute)
    lengths = [[sum(trained) for trained in group.trained] for group in groups]
    attach(groups, "ref_logps", [torch.from_numpy(f["logps"]).split(n) for f, n in zip(found, lengths)])
    return cache
