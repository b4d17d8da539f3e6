"""What a policy is asked while it learns from its own answers, and what it imitates beside that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from truing.align.ingredients import Ppo
from truing.align.job import Job
from truing.align.rewards import Part, check_asked
from truing.align.rollouts import Asked
from truing.batch import Batch, Group, Objective
from truing.data import Dataset, Order, demonstrations, read
from truing.engine.local import LocalEngine
from truing.model.text import Codec, Dropped
from truing.objectives import NLL
from truing.records import Example, UserError


def prompted(job: Job, engine: LocalEngine, room: int, judges: Sequence[Part] = ()) -> list[list[Asked]]:
    """The prompts of each data set, each once, as tokens that leave `room` for an answer."""
    dropped = Counter[str]()
    pools = [askable(examples, engine.codec, room, dropped) for examples in job.sets]
    check_asked("rewards", judges, [one.example for pool in pools for one in pool])
    detail = "".join(f"; {reason} {count}" for reason, count in {**dropped, **engine.codec.notes}.items())
    job.note("data", f"{sum(map(len, pools))} prompts{detail}", dropped=dict(dropped))
    return pools


def askable(examples: Iterable[Example], codec: Codec, room: int, dropped: Counter[str]) -> list[Asked]:
    """Those of one data set; `dropped` counts the others by reason."""
    pool: dict[Any, Asked] = {}
    for example in examples:
        if example.prompt in pool:
            dropped["asked twice"] += 1
            continue
        try:
            if not example.prompt:
                raise Dropped("empty_prompt", "the prompt is empty")
            pool[example.prompt] = Asked(example, codec.prompt_ids(example.prompt, room=room))
        except Dropped as problem:
            dropped[problem.reason] += 1
    if not pool:
        source = examples.source if isinstance(examples, Dataset) else "the data"
        reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "it is empty"
        raise UserError(f"{source}: there is no prompt in it that could be asked ({reasons}).")
    return list(pool.values())


class Mixed:
    """Texts that are imitated beside what is learnt from answers; nothing where the recipe names none."""

    def __init__(self, how: Ppo) -> None:
        self.how, self.groups = how, list[Group]()
        path, format = how.mix.path, None if how.mix.format == "auto" else how.mix.format
        self.examples = read(path, format=format) if path and how.mix.weight else None

    @property
    def fingerprint(self) -> str:
        return self.examples.fingerprint if self.examples is not None else ""

    def encode(self, job: Job, engine: LocalEngine) -> None:
        if self.examples is None:
            return
        kept, unfit = demonstrations(self.examples)
        self.groups, lost = engine.encode(kept, allow_empty=False) if kept else ([], Counter[str]())
        if not self.groups:
            raise UserError(f"mix.path: there is nothing to imitate in {self.how.mix.path}.")
        self.order = job.run.keep("mix", Order([len(self.groups)], seed=self.how.run.seed))
        job.note("mix", f"{len(self.groups)} texts mixed in, {(unfit + lost).total()} dropped")

    def next(self, engine: LocalEngine) -> list[tuple[Batch, Objective, float]]:
        """As many texts as a step has prompts."""
        if not self.groups:
            return []
        chosen = [self.groups[row] for _, row in self.order.next(self.how.optim.batch)]
        return engine.work(chosen, (NLL, self.how.mix.weight))
