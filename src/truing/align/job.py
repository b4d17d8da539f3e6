"""What every training procedure begins and ends with, so that its own page holds nothing but its loop.

job = Job("sft", settings, examples)
with job.run as run:                          # finished already: nothing below does anything
    engine = job.engine()
    pools = job.encode(engine, demonstrations)
    for step, batch in job.steps(engine, pools):
        run.log(step, engine.forward_backward(engine.work(batch, (NLL, 1.0))), engine.step())
    job.export(engine)                    # or a Guard's `leave`, where the run is watched
"""

from __future__ import annotations

import math
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from typing import Any, Protocol

from truing.batch import Group
from truing.config import dump, recipe_hash
from truing.data import Dataset, Draws, Order, read
from truing.engine.local import LocalEngine
from truing.engine.open import Place, model_fingerprint, open_local, place
from truing.model.vectors import edits, vectors_hash
from truing.records import Example, UserError, fingerprint
from truing.run import Run, say
from truing.run.checkpoint import disk_full_is_said
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch
from truing.spec import ModelSpec, Vector
from truing.watch import Rate, Watcher, check_names

View = Callable[[Iterable[Example]], tuple[list[Example], Counter[str]]]
Encoder = Callable[[Sequence[Example]], tuple[list[Group], Counter[str]]]


class Recipe(Protocol):
    """What the settings of every training procedure have."""

    @property
    def model(self) -> str: ...
    @property
    def data(self) -> Data: ...
    @property
    def optim(self) -> Optim: ...
    @property
    def lora(self) -> Lora: ...
    @property
    def prevent(self) -> tuple[str, ...]: ...
    @property
    def machine(self) -> Machine: ...
    @property
    def watch(self) -> Watch: ...
    @property
    def run(self) -> RunSettings: ...


class Job:
    """A recipe being carried out: its data, its run folder, its engine."""

    def __init__(
        self,
        verb: str,
        settings: Recipe,
        examples: Sequence[Example] | None = None,
        models: Sequence[str] = (),
        known: Mapping[str, Any] | None = None,
    ) -> None:
        """`models`: further models on which the result depends (a teacher); `known`: other such fingerprints."""
        self.verb, self.settings = verb, settings
        if any(isinstance(m, Vector) for m in ModelSpec.parse(settings.model).modifiers):
            raise UserError(
                f"model '{settings.model}': what is learnt with a vector added would be saved without it. Train the "
                "model without +vec:; prevent: adds one while it learns."
            )
        check_names(settings.watch)
        self.sets: list[Sequence[Example]] = [examples] if examples is not None else [*read_sets(settings.data)]
        prints = {
            "model": model_fingerprint(ModelSpec.parse(settings.model)),
            **{name: model_fingerprint(ModelSpec.parse(name)) for name in models},
            **{f"prevent {text}": vectors_hash(Vector.parse(text).file) for text in settings.prevent},
            "data": [s.fingerprint if isinstance(s, Dataset) else _content(s) for s in self.sets],
            **(known or {}),
        }
        identity = recipe_hash(settings, prints)
        self.prints = prints
        self.run = Run.open(
            settings.run.folder,
            settings.run.name or f"{verb}-{identity[:8]}",
            recipe_yaml=dump(settings),
            recipe_hash=identity,
            manifest={
                "verb": verb,
                "model": settings.model,
                "data": settings.data.path,
                "fingerprints": prints,
                "seed": settings.run.seed,
                "versions": {name: version(name) for name in ("truing", "torch", "transformers")}
                | {"python": platform.python_version()},
            },
            save_every=settings.run.save_every,
            keep=settings.run.keep,
            log_every=settings.run.log_every,
            tensorboard=settings.run.tensorboard,
        )

    @cached_property
    def place(self) -> Place:
        """Where this run computes: measured when it began, kept by a resume."""
        return Place(**self.run.probe(lambda: asdict(place(self.settings.machine))))

    def engine(self, *, speaks: bool = True, **how: Any) -> LocalEngine:
        """The model to train, as it is before the first step. `speaks`: it must give probabilities of tokens."""
        settings = self.settings
        engine: LocalEngine = open_local(
            settings.model,
            settings.machine,
            probed=self.place,
            max_tokens=settings.data.max_tokens,
            lora=settings.lora,
            seed=settings.run.seed,
            **how,
        )
        if speaks and engine.model.output is None:
            raise UserError(
                f"{settings.model} gives scores and no probabilities of tokens (it is a preference model, say), and "
                "those are needed here: start from a language model."
            )
        if proven := self._prevent(engine):
            added = ", ".join(settings.prevent)
            self.note("prevent", f"while it learns: {added}; {proven}")
        where = self.place
        self.note("model", f"{engine.codec.describe()}; {engine.layout}, {where.dtype}, {where.threads} threads")
        return engine

    def _prevent(self, engine: LocalEngine) -> str:
        """Preventative steering (Chen et al., arXiv 2507.21509): the vector supplies what the data ask for, so that the
        weights need not. What was proven of its hooks."""
        if not (named := [Vector.parse(text) for text in self.settings.prevent]):
            return ""
        every = [edit for one in named for edit in edits(one, engine.model.owner, "all")]
        return engine.prevent(every, [f"{one} {vectors_hash(one.file)}" for one in named])

    def note(self, event: str, message: str, **fields: Any) -> None:
        """Said and recorded once, not again by a resume."""
        if not self.run.resumed:
            self.run.event(event, message=message, **fields)

    def encode(self, engine: LocalEngine, view: View, *, allow_empty: bool = True) -> list[list[Group]]:
        """Tokens of a view of each data set. What is dropped is counted, said and recorded."""

        def encoded(examples: Sequence[Example]) -> tuple[list[Group], Counter[str]]:
            kept, unfit = view(examples)
            groups, lost = engine.encode(kept, allow_empty=allow_empty) if kept else ([], Counter[str]())
            return groups, lost + unfit

        return self.counted(encoded, view.__name__, engine.codec.notes)

    def counted(self, encoded: Encoder, what: str, notes: Mapping[str, int]) -> list[list[Group]]:
        """The tokens that `encoded` makes of each data set, and the reasons for what it leaves out."""
        pools, dropped = [], Counter[str]()
        for examples in self.sets:
            groups, lost = encoded(examples)
            pools.append(groups)
            dropped += lost
            if not groups:
                source = examples.source if isinstance(examples, Dataset) else "the data"
                reasons = ", ".join(f"{reason} {n}" for reason, n in lost.items())
                raise UserError(f"{source}: there are no {what} in it to train on ({reasons}).")
        count = sum(map(len, pools))
        detail = "".join(f"; {reason} {n}" for reason, n in {**dropped, **notes}.items())
        self.note("data", f"{count} examples to train on, {dropped.total()} dropped{detail}", dropped=dict(dropped))
        return pools

    def rows(self, pools: Sequence[Sequence[Group]]) -> int | None:
        """How many rows the run trains on; None where the recipe counts steps instead."""
        optim = self.settings.optim
        if optim.steps:
            return None
        rows = round(optim.epochs * sum(map(len, pools)))
        if not rows:
            count = sum(map(len, pools))
            raise UserError(f"optim.epochs is {optim.epochs}: of {count} examples that is none to train on.")
        return rows

    def total(self, pools: Sequence[Sequence[Group]]) -> int:
        """How many steps the run takes."""
        optim = self.settings.optim
        return optim.steps or math.ceil((self.rows(pools) or 0) / optim.batch)

    def steps(
        self, engine: LocalEngine, pools: Sequence[Sequence[Group]], order: Order | Draws | None = None
    ) -> Iterator[tuple[int, list[Group]]]:
        """(step, its groups): continues where the run stopped. The last step of the last epoch may be smaller."""
        optim, run = self.settings.optim, self.run
        rows, total = self.rows(pools), self.total(pools)
        engine.prepare(optim, total)
        order = order or Order([len(p) for p in pools], self.settings.data.weights, self.settings.run.seed)
        run.keep("order", order)
        run.attach("engine", engine)
        for step in run.steps(total):
            size = optim.batch if rows is None else min(optim.batch, rows - (step - 1) * optim.batch)
            yield step, [pools[pool][row] for pool, row in order.next(size)]

    @cached_property
    def reference(self) -> LocalEngine | None:
        """The model as it was before the first step; None where that is the policy with its adapter off."""
        settings = self.settings
        if settings.lora.rank:
            return None
        engine: LocalEngine = open_local(
            settings.model, settings.machine, probed=self.place, max_tokens=settings.data.max_tokens
        )
        self._prevent(engine)  # the policy learns from where it is held, and so is the reference
        return engine

    def watcher(self, engine: LocalEngine, rate: Rate | None = None) -> Watcher:
        """Looks at the policy while it trains, beside the model it started from."""
        settings = self.settings
        reference = self.reference if settings.watch.every else None
        every = [example for examples in self.sets for example in examples]
        return Watcher(settings.watch, engine, reference, every, settings.run.seed, rate)

    def expect_start(self, step: int, what: str, value: Any, expected: float, exact: float = 1e-4) -> None:
        """A run that begins with the wrong number is wrong from the beginning: wrong reference, label or mask."""
        tolerance = exact if self.place.dtype == "fp32" else 2e-2
        if step == 1 and abs(float(value) - expected) > tolerance:
            raise UserError(
                f"{what} starts at {float(value):.6f} and must start at {expected:.6f} (±{tolerance}): the model does "
                "not compute the same twice, or its cached numbers belong to another one"
            )

    def expect_same(self, what: str, gap: Any) -> None:
        """The mean distance of log-probabilities that were computed twice: rounding, not another mask or model."""
        tolerance = 1e-4 if self.place.dtype == "fp32" else 0.1
        if not float(gap) <= tolerance:
            raise UserError(
                f"log-probabilities of {what} differ by {float(gap):.6f} on average, and may differ by {tolerance}: "
                "the model does not compute the same twice"
            )

    def export(self, engine: LocalEngine, card: str | None = None, name: str = "model", bare: bool = False) -> None:
        """runs/NAME/model: an ordinary model folder, there as a whole or not at all. `bare`: without its heads."""
        folder, draft = self.run.folder / name, self.run.folder / f".{name}"
        shutil.rmtree(draft, ignore_errors=True)
        try:
            with disk_full_is_said(folder):
                draft.mkdir()
                said = engine.export(draft, bare)
                if card:
                    (draft / "README.md").write_text(card, "utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self.run.event(f"{name} saved", message=f"{name}: {folder}" + (f" ({said})" if said else ""))


def _content(examples: Sequence[Example]) -> str:
    """Everything that can be learnt from: the same answers judged otherwise are other data."""
    return fingerprint(
        [
            [
                e.id,
                [[j.kind, j.value, j.aspect, j.strength] for j in e.judgements],
                [a.reward for a in e.answers],
                e.meta,
            ]
            for e in examples
        ]
    )


def read_sets(data: Data) -> list[Dataset]:
    """The data sets of a recipe; what was left out is said."""
    paths = [data.path] if isinstance(data.path, str) else list(data.path)
    format = None if data.format == "auto" else data.format
    sets = [read(path, format=format, on_defect=data.on_defect, limit=data.limit) for path in paths]
    for one in sets:
        lost = "".join(f", {n} dropped ({reason})" for reason, n in one.counts.dropped.items())
        say(f"{one.source}: {one.format}; {len(one)} examples{lost}")
    return sets
