"""Alignment on fixed data: a method is a row in a table; whatever needs a frozen model is computed once and cached.

engine → answers with rewards R → values V of their prompts → those with A = R − V > 0 → reference log-probs → steps
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from truing.align.credit import Credit, Credited, drawn, left_over, write_advantages
from truing.align.estimate import cost
from truing.align.guard import Guard
from truing.align.job import Job
from truing.align.ledger import Ledger
from truing.align.methods import METHODS, Method, Offline, as_published, unused, view_of
from truing.align.mismatch import Mismatch
from truing.align.rewards import Part, Rewards, check_asked
from truing.batch import Group
from truing.data import Cache, Draws, Order, demonstrations
from truing.data.cache import sweep
from truing.data.views import apart
from truing.engine.local import LocalEngine, attach
from truing.records import Example, fingerprint
from truing.run import Run
from truing.schema import Mistake


def offline(settings: Offline, examples: Sequence[Example] | None = None, judges: Sequence[Part] = ()) -> Run:
    """Train, and leave the policy in the run's folder. `judges` are those that `settings.rewards` names."""
    (how, published), method = as_published(settings), METHODS[settings.method]
    if how.sampler not in ("method", "uniform") and not method.worth:
        raise Mistake(("sampler",), f"{how.method} does not know what answers are worth: it takes all of them.")
    if method.worth == "advantage" and not judges:
        raise Mistake(("rewards",), f"{how.method} has to have the model's own answers judged: name judges.")
    judged = [p.judge.fingerprint for p in judges]
    job = Job("offline", settings, examples, known={"judges": judged} if judged else {})
    with job.run as run:
        if run.finished:
            return run
        check_asked("rewards", judges, [example for examples in job.sets for example in examples])
        for choice in published:
            job.note("as published", choice)
        if idle := unused(settings):
            job.note("unused", f"{how.method} makes no use of {', '.join(idle)}")
        engine, cache = job.engine(), Path(how.cache or run.folder / "cache")
        if not how.cache:
            sweep(cache)
        ledger = run.keep("ledger", Ledger(engine))
        credit = Credit(engine, Rewards(judges, cache) if judges else None, how.value, cache, how.run.seed)
        with ledger.phase("rewards and values"):
            credited, order = _credited(job, engine, credit, how, method)
        objective, groups = method.objective(how), [g for pool in credited.pools for g in pool]
        with ledger.phase("reference"):
            if "ref_logps" in objective.reads:
                cache_reference(engine, groups, cache)
            mismatch = Mismatch(engine, groups, cache) if "reference_point" in objective.reads else None
        rewards = credit.rewards
        watch = Guard(job, engine, (lambda drawn: rewards.means(rewards.own(drawn))) if rewards else None)
        if how.watch.every and not run.step:  # what all methods have in common: where they begin
            with ledger.phase("watching"):
                run.log(0, watch(0))
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
            with ledger.phase("training"):
                taken = engine.step()
            with ledger.phase("watching"):
                seen = watch(step)
            run.log(step, metrics, taken, seen, {"rows": len(batch)})
        ledger.close(run)
        watch.leave()
    return run


def _credited(
    job: Job, engine: LocalEngine, credit: Credit, how: Offline, method: Method
) -> tuple[Credited, Order | Draws]:
    """What is learnt from, and in which order."""
    judged = bool(method.worth) or "reward" in method.objective(how).reads
    view = view_of(how)

    def encoded(examples: Sequence[Example]) -> tuple[list[Group], Counter[str]]:
        left, lost = credit.set_apart(examples) if method.worth == "advantage" else (examples, Counter[str]())
        rated = credit.rated(list(left), raw=how.method == "pro") if judged else left
        kept, unfit = view(rated)
        groups, dropped = (
            engine.encode(kept, allow_empty=view not in (demonstrations, apart)) if kept else ([], Counter[str]())
        )
        return groups, dropped + unfit + lost

    pools = job.counted(encoded, view.__name__, engine.codec.notes)
    if credit.columns and credit.rewards:
        _tell(job, credit.rewards, credit.columns)
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


def _tell(job: Job, rewards: Rewards, columns: Sequence[np.ndarray]) -> None:
    """What each judge said, and how much of it was known."""
    told = rewards.table(columns)
    said = "; ".join(f"{c.name} × {c.weight:g}: {c.mean:.3f} [{c.low:.3f}, {c.high:.3f}]" for c in told)
    known = f"{rewards.asked['known']} of {rewards.asked.total()} known already"
    job.note("rewards", f"{said}; {known}", parts=[c._asdict() for c in told], **rewards.asked)


def estimate(settings: Offline) -> str:
    reads = METHODS[settings.method].objective(settings).reads
    return cost(settings, view_of(settings), frozen=settings.model if "ref_logps" in reads else None)


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
