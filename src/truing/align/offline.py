"""Alignment on fixed data: a method is a row in a table; whatever needs a frozen model is computed once and cached.

engine → answers with rewards R → values V of their prompts → those with A = R − V > 0 → reference log-probs → steps
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from truing.align.credit import Credit, Credited, Sampler, drawn, left_over, write_advantages
from truing.align.estimate import cost
from truing.align.job import Job, View
from truing.align.ledger import Ledger
from truing.align.mismatch import Mismatch
from truing.align.rewards import Part, Rewards
from truing.align.values import Value
from truing.batch import Group, Objective
from truing.data import Cache, Draws, Order, comparisons, demonstrations
from truing.data.cache import sweep
from truing.data.views import apart, called
from truing.engine.local import LocalEngine, attach
from truing.objectives import dpo, kto, pro, weighted
from truing.objectives.weighted import METHODS as WEIGHTED
from truing.objectives.weighted import LengthNorm, WeightedSettings
from truing.records import Example, fingerprint
from truing.run import Run
from truing.schema import Mistake
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch


@dataclass(frozen=True)
class Offline:
    """Align on fixed answers with `method`: imitate the best, weight them by what they are worth, learn from pairs."""

    model: str
    """the policy to start from; as it is before the first step, it is also the reference"""
    data: Data
    method: Literal[
        "nll", "filtered_nll", "wbc", "r_gold", "r_lol", "a_lol", "a_lol_seq", "a_lol_ref_free", "a_lol_kl",
        "dpo", "dpo_ref_free", "pro", "kto",
    ] = "dpo"  # fmt: skip
    """see docs/offline.md"""
    rewards: tuple[str, ...] = ()
    """judges of answers, each with *WEIGHT if it is not 1: world:gold, ./PM, ./CLASSIFIER#LABEL, lexical:tfidf,
    call:MODULE:FUNCTION; none takes the scores that the data have"""
    value: Value = field(default_factory=Value)
    answers: Literal["best", "all"] = "best"
    """methods that weight single answers: the best one of each prompt, or each of them"""
    sampler: Literal["method", "uniform", "filter", "corrected", "priority"] = "method"
    """uniform: every answer; filter: those worth something; corrected: as often as they are worth, and each counting
    alike; method takes what suits the method"""
    eps: float | None = 0.9
    """importance ratios are truncated to [1 − eps, 1 + eps]; none does not"""
    beta: float = 0.1
    """dpo, kto: how strongly the policy is held to the reference; a_lol_kl: by how much advantages are shifted down"""
    length_norm: LengthNorm = "sum"
    """sum or mean over an answer's tokens, of methods that weight single answers"""
    as_published: bool = False
    """take the choices of the authors' code where they differ, and say why each is one"""
    cache: str | None = None
    """folder for rewards, values and reference log-probs, which runs may share; none keeps them in the run's folder"""
    optim: Optim = field(default_factory=lambda: Optim(lr=1e-6))
    lora: Lora = field(default_factory=Lora)
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        if self.eps is not None and not self.eps > 0:
            raise Mistake(("eps",), "must be above 0; none switches truncation off.")
        if self.sampler == "priority" and not self.as_published:
            raise Mistake(("sampler",), "priority counts what an answer is worth twice; it needs --as_published.")


class Method(NamedTuple):
    """objective: made from the settings. view: what it takes from an example. worth: what an answer is picked by, and
    how. start: the loss of the first step, where theory says what it must be."""

    objective: Callable[[Offline], Objective]
    view: View
    worth: Literal["", "reward", "advantage"] = ""
    sampler: Sampler = "uniform"
    start: float | None = None


def _single(name: str, sampler: Sampler = "uniform") -> Method:
    """A row of the weighted family."""
    reads = WEIGHTED[name].reads
    worth: Literal["", "reward", "advantage"] = (
        "advantage" if "baseline" in reads else "reward" if "reward" in reads else ""
    )

    def objective(s: Offline) -> Objective:
        return weighted(name, WeightedSettings(eps=s.eps, beta=s.beta, length_norm=s.length_norm))

    return Method(objective, demonstrations, worth, sampler)


METHODS = {
    "nll": _single("nll"),
    "filtered_nll": _single("filtered_nll", "filter"),
    "wbc": _single("wbc", "corrected"),
    "r_gold": _single("r_gold", "corrected"),
    "r_lol": _single("r_lol", "corrected"),
    "a_lol": _single("a_lol", "corrected"),
    "a_lol_seq": _single("a_lol_seq", "corrected"),
    "a_lol_ref_free": _single("a_lol_ref_free", "corrected"),
    "a_lol_kl": _single("a_lol_kl", "filter"),  # A⁺ − β is no multiple of what it would be drawn by
    "dpo": Method(lambda s: dpo(s.beta), comparisons, start=math.log(2)),
    "dpo_ref_free": Method(lambda s: dpo(s.beta, reference=False), comparisons),
    "pro": Method(lambda _: pro(), comparisons),
    "kto": Method(lambda s: kto(s.beta), called, start=0.5),
}


def offline(settings: Offline, examples: Sequence[Example] | None = None, judges: Sequence[Part] = ()) -> Run:
    """Train, and leave the policy in the run's folder. `judges` are those that `settings.rewards` names."""
    judged = [p.judge.fingerprint for p in judges]
    job = Job("offline", settings, examples, known={"judges": judged} if judged else {})
    how, method = _as_said(settings, job), METHODS[settings.method]
    if how.sampler not in ("method", "uniform") and not method.worth:
        raise Mistake(("sampler",), f"{how.method} does not know what answers are worth: it takes all of them.")
    if method.worth == "advantage" and not judges:
        raise Mistake(("rewards",), f"{how.method} has to have the model's own answers judged: name judges.")
    with job.run as run:
        if run.finished:
            return run
        if idle := unused(settings):
            job.note("unused", f"{how.method} makes no use of {', '.join(idle)}")
        engine, cache = job.engine(), Path(how.cache or run.folder / "cache")
        if not how.cache:
            sweep(cache)
        ledger = Ledger(engine)
        credit = Credit(engine, Rewards(judges, cache) if judges else None, how.value, cache, how.run.seed)
        with ledger.phase("rewards and values"):
            credited, order = _credited(job, engine, credit, how, method)
        objective, groups = method.objective(how), [g for pool in credited.pools for g in pool]
        with ledger.phase("reference"):
            if "ref_logps" in objective.reads:
                cache_reference(engine, groups, cache)
            mismatch = Mismatch(engine, groups, cache) if "reference_point" in objective.reads else None
        watch = job.watcher(engine, credit.rewards.means if credit.rewards else None)
        for step, batch in job.steps(engine, credited.pools, order):
            with ledger.phase("training"):
                if mismatch:
                    mismatch.measure(batch)
                metrics = engine.forward_backward(engine.work(batch, (objective, 1.0)))
            if method.start is not None:
                job.expect_start(step, f"the loss of {how.method}", metrics["loss"], method.start)
            if "importance/mean" in metrics and "ref_logps" in objective.reads:
                job.expect_start(step, "the ratio of policy and reference", metrics["importance/mean"], 1.0, 1e-5)
            if "importance/square" in metrics:  # as many tokens of equal weight would tell as much
                metrics["importance/effective"] = metrics["importance/mean"] ** 2 / metrics.pop("importance/square")
            with ledger.phase("watching"):
                seen = watch(step, run)
            run.log(step, metrics, engine.step(), seen, {"rows": len(batch)})
        ledger.close(run)
        job.export(engine)
    return run


def _credited(
    job: Job, engine: LocalEngine, credit: Credit, how: Offline, method: Method
) -> tuple[Credited, Order | Draws]:
    """What is learnt from, and in which order."""
    judged = bool(method.worth) or "reward" in method.objective(how).reads
    view = _view(how)

    def encoded(examples: Sequence[Example]) -> tuple[list[Group], Counter[str]]:
        left, lost = credit.set_apart(examples) if method.worth == "advantage" else (examples, Counter[str]())
        rated = credit.rated(list(left), raw=how.method == "pro") if judged else left
        kept, unfit = view(rated)
        groups, dropped = engine.encode(kept) if kept else ([], Counter[str]())
        return groups, dropped + unfit + lost

    pools = job.counted(encoded, view.__name__, engine.codec.notes)
    sampler = method.sampler if how.sampler == "method" else how.sampler
    if method.worth == "advantage":
        groups = [g for pool in pools for g in pool]
        credit.baseline(groups)
        found = write_advantages(job.run.folder, groups, engine.codec)
        job.note("advantages", f"{found['kept']:.1%} of {len(groups)} answers are worth more than their prompt's value")
        test = credit.test
        said = f"error {test.error:.4f}, of a constant {test.constant:.4f}: R² = {test.r2:.3f}"
        job.note("value", f"{said} on prompts it has not seen", r2=test.r2)
    if not method.worth or sampler == "uniform":
        credited = Credited([list(p) for p in pools], [[1.0] * len(p) for p in pools], sum(map(len, pools)))
    else:
        credited = left_over(pools, method.worth)
    return credited, drawn(credited, sampler, how.data.weights, how.run.seed)


def _view(settings: Offline) -> View:
    view = METHODS[settings.method].view
    return apart if settings.answers == "all" and view is demonstrations else view


def unused(settings: Offline) -> list[str]:
    """What was set, and makes no difference to this method."""
    method, row = METHODS[settings.method], WEIGHTED.get(settings.method)
    reads = method.objective(settings).reads
    used = {
        "rewards": bool(method.worth or "reward" in reads or settings.watch.every),
        "value": method.worth == "advantage",
        "answers": method.view is demonstrations,
        "eps": bool(row and "ref_logps" in row.reads),
        "beta": settings.method in ("dpo", "dpo_ref_free", "kto", "a_lol_kl"),
        "length_norm": bool(row),
        "cache": bool(method.worth or reads),
    }
    usual = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields(Offline)}
    return [name for name, is_used in used.items() if not is_used and getattr(settings, name) != usual[name]]


def _as_said(settings: Offline, job: Job) -> Offline:
    """With the authors' choices, if they are asked for; each is said with its reason."""
    if not settings.as_published:
        return settings
    method = METHODS[settings.method]
    if method.sampler == "corrected" and settings.sampler == "method":
        job.note("as published", "answers are drawn in proportion to what they are worth, and weighted by it again")
        settings = replace(settings, sampler="priority")
    if method.worth == "advantage":
        job.note(
            "as published", "the value is learnt from one greedy answer: that of what the model says, not its mean"
        )
        settings = replace(settings, value=replace(settings.value, greedy=True))
    return settings


def estimate(settings: Offline) -> str:
    reads = METHODS[settings.method].objective(settings).reads
    return cost(settings, _view(settings), frozen=settings.model if "ref_logps" in reads else None)


def cache_reference(engine: LocalEngine, groups: Sequence[Group], folder: Path) -> Cache:
    """ln π_ref of every trained token, from the model as it is before the first step (never again after it)."""
    cache = Cache(folder, {"model": engine.fingerprint, "codec": engine.codec.hash, "what": "logps"})

    def compute(positions: list[int]) -> list[dict]:
        answers = engine.signals([groups[p] for p in positions], ["logps"])["logps"]
        return [{"logps": torch.cat(tokens).numpy()} for tokens in answers]

    found = cache.fetch([fingerprint([g.prompt, g.answers, g.trained]) for g in groups], compute)
    lengths = [[sum(trained) for trained in group.trained] for group in groups]
    attach(groups, "ref_logps", [torch.from_numpy(f["logps"]).split(n) for f, n in zip(found, lengths)])
    return cache
