"""Preference models: L = −ln σ(r(x, y_w) − r(x, y_l)), the score read at an end-of-context token.

(Askell et al., arXiv 2112.00861; Bai et al., arXiv 2204.05862.) One epoch: more ruins calibration fast. Whether a data
set ranks answers or calls them good and bad, the pair loss is the same. Two contrasts: `binary` learns good and bad of
single answers, `imitation` only ever sees the better one.

Some conversations are kept back, and the model is shown with what it knows of them.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from truing.align.card import card
from truing.align.doubts import below_chance, followed_the_better
from truing.align.estimate import cost
from truing.align.job import Job
from truing.batch import Group, Objective
from truing.data import comparisons, labelled, split
from truing.data.tranches import marked
from truing.engine.local import LocalEngine
from truing.evaluate.preference import judged_pairs
from truing.objectives import BINARY, NLL, ranked
from truing.records import Example, UserError
from truing.run import Run
from truing.run.checkpoint import write_text
from truing.schema import Mistake, at_least
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch
from truing.stats import pairs


@dataclass(frozen=True)
class Pm:
    """Train a preference model on comparisons, rankings, or good and bad answers."""

    model: str
    """the model to start from: a language model, or a preference model that goes on learning"""
    data: Data
    objective: Literal["ranked", "binary", "imitation"] = "ranked"
    """ranked compares answers; binary calls single ones good or bad; imitation learns to write the best (and is a
    language model afterwards)"""
    margin: bool = False
    """ask for a gap of the data's `margin` between the scores"""
    lm_weight: float = 0.0
    """weight of also imitating the best answer; the model can then write as well"""
    read: Literal["eoc", "end", "mean"] = "eoc"
    """read the score at an added end-of-context token, at the answer's own end, or as the mean over the answer"""
    stronger_than: float | None = None
    """leave out comparisons that were judged with this strength or less"""
    held_out: float = 0.05
    """share of the conversations that is kept back, to say what the model knows; 0 keeps none back"""
    optim: Optim = field(default_factory=Optim)
    lora: Lora = field(default_factory=Lora)
    prevent: tuple[str, ...] = ()
    """vectors that are added in all places while it learns, FILE@LAYER=COEF each; what is left is without them"""
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        at_least(self, 0, "lm_weight")
        if not 0 <= self.held_out < 1:
            raise Mistake(("held_out",), "must be at least 0 and below 1.")
        if self.lm_weight and self.objective != "ranked":
            raise Mistake(("lm_weight",), f"goes with objective ranked, not with {self.objective}.")


def pm(settings: Pm, examples: Sequence[Example] | None = None) -> Run:
    """Train, and leave a sequence classifier in the run's folder."""
    if settings.watch.every:
        raise UserError("watch.every: a preference model writes nothing that could be looked at; leave it at 0.")
    job, view = Job("pm", settings, examples), Comparisons(settings)
    with job.run as run:
        if run.finished:
            return run
        engine = _engine(job, settings)
        pools = job.encode(engine, view, allow_empty=settings.objective != "imitation")
        _prepare(pools, settings)
        back = view.kept_back(job)
        _doubt(job, settings, back)
        with engine.plainly():
            before = _language_loss(engine, back) if settings.lm_weight else None
        objective = _objective(settings)
        for step, batch in job.steps(engine, pools):
            metrics = engine.forward_backward(engine.work(batch, (objective, 1.0)))
            if step == 1 and objective.name == "ranked":
                _check_start(job, engine, settings, metrics["preference"])
            run.log(step, metrics, engine.step(), {"rows": len(batch)})
        with engine.plainly():
            found = _test(job, engine, back)
            if before is not None:
                _say_drift(job, before, _language_loss(engine, back))
        job.export(engine, card(job.prints, settings, view.learnt, sum(map(len, pools)), found))
    return run


def estimate(settings: Pm) -> str:
    return cost(settings, Comparisons(settings))


class Comparisons:
    """What is learnt from, and what is kept back: a conversation is on one side alone."""

    __name__ = "comparisons"

    def __init__(self, settings: Pm) -> None:
        self.settings = settings
        self.single = settings.objective == "binary"
        self.learnt: list[Example] = []

    def __call__(self, examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
        kept, dropped = self._all(examples)
        learnt = self._parts(kept)["learnt"]
        if kept and not learnt:
            share, all_of_them = self.settings.held_out, f"all {len(kept)} comparisons"
            raise UserError(
                f"held_out is {share:g}, which keeps back {all_of_them} and leaves none to learn from: lower it."
            )
        self.learnt += learnt
        if self.settings.objective == "imitation":
            learnt = [_imitated(e) for e in learnt]
        return learnt, dropped + Counter({"kept_back": len(kept) - len(learnt)})

    def kept_back(self, job: Job) -> list[Example]:
        """Comparisons alone: that is what is asked of every kind of model."""
        sets = marked(self.settings.data.path, job.sets)
        return [e for examples in sets for e in self._parts(comparisons(self._all(examples)[0])[0])["back"]]

    def _all(self, examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
        kept, dropped = (labelled if self.single else comparisons)(examples)
        least = self.settings.stronger_than
        if least is None:
            return kept, dropped
        clear = [e for e in kept if any((j.strength or 0) > least for j in e.judgements)]
        return clear, dropped + Counter({"weak_preference": len(kept) - len(clear)})

    def _parts(self, examples: list[Example]) -> dict[str, list[Example]]:
        share = self.settings.held_out
        if not share:
            return {"learnt": examples, "back": []}
        return split(examples, {"learnt": 1 - share, "back": share}, self.settings.run.seed)


def _imitated(example: Example) -> Example:
    return replace(example, answers=(example.answers[(example.ranks() or [0]).index(0)],), judgements=())


def _engine(job: Job, settings: Pm) -> LocalEngine:
    if settings.objective == "imitation":
        return job.engine()
    where = {"eoc": settings.read == "eoc", "mean": settings.read == "mean"}
    engine = job.engine(head="score", **where, speaks=settings.lm_weight > 0)
    engine.model.writes = settings.lm_weight > 0
    return engine


def _objective(settings: Pm) -> Objective:
    if settings.objective == "imitation":
        return NLL
    if settings.objective == "binary":
        return BINARY
    return ranked(settings.margin, settings.lm_weight, settings.data.loss_weights is not None)


def _prepare(pools: list[list[Group]], settings: Pm) -> None:
    """What the objective reads: the weight of a data set, whether an answer is good."""
    for pool, weight in zip(pools, settings.data.loss_weights or ()):
        for group in pool:
            group.per_group["weight"] = weight
    if settings.objective == "binary":
        groups = [group for pool in pools for group in pool]
        for group in groups:
            group.per_answer["label"] = [float(rank == 0) for rank in group.rank or ()]
        kinds = {label for group in groups for label in group.per_answer["label"]}
        if len(kinds) < 2:
            raise UserError(f"all answers are {'good' if kinds == {1.0} else 'bad'}: there is nothing to tell apart.")


def _check_start(job: Job, engine: LocalEngine, settings: Pm, loss: Any) -> None:
    """At ln 2, or it is said why not."""
    if engine.fresh_head and not settings.margin and not settings.data.loss_weights:
        return job.expect_start(1, "the preference loss", loss, math.log(2))
    why = "the data ask for margins" if settings.margin else "data sets count differently"
    why = why if engine.fresh_head else "the model has learnt preferences before"
    job.note("start", f"the preference loss starts at {float(loss):.3f} and not at ln 2 = 0.693: {why}")


def _language_loss(engine: LocalEngine, back: Sequence[Example]) -> float | None:
    """Per token of the better answers that were kept back."""
    groups, _ = engine.encode([_imitated(e) for e in back]) if back else ([], None)
    return float(engine.measure(groups, NLL)["loss"]) if groups else None


def _say_drift(job: Job, before: float, after: float | None) -> None:
    job.run.event(
        "language",
        message=f"held-out language loss per token: {before:.3f} before, {after:.3f} after",
        before=before,
        after=after,
    )


def _test(job: Job, engine: LocalEngine, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """What the model says of the comparisons that were kept back, in a file of the run."""
    rows = judged_pairs(engine, examples) if examples else []
    if rows:
        write_text(job.run.folder / pairs.FILE, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        right, longer = pairs.accuracy(rows), pairs.length_alone(rows)
        job.run.event(
            "tested",
            message=f"{right.estimate:.1%} of {len(rows)} held-out pairs in the right order "
            f"[{right.low:.1%}, {right.high:.1%}]; the longer answer: {longer.estimate:.1%}",
        )
        for doubt in below_chance(rows):
            job.run.event("labels", message=doubt)
    return rows


def _doubt(job: Job, settings: Pm, back: Sequence[Example]) -> None:
    """Said before anything is learnt."""
    paths = [settings.data.path] if isinstance(settings.data.path, str) else settings.data.path
    for path, examples in zip(paths, job.sets):
        if said := followed_the_better(path, examples):
            job.note("labels", said)
    if settings.held_out and not back:
        job.note(
            "held out", f"held_out is {settings.held_out:g}, which keeps nothing back of so few: nothing is tested"
        )
