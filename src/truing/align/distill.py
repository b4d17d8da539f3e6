"""Distillation of a context: the student learns to speak without it as the teacher does with it.

    L = Σ_t KL( p_teacher(x_t | C, x_<t) ‖ p_student(x_t | x_<t) )

over texts x and a preface C that the teacher alone reads (Askell et al., arXiv 2112.00861). The teacher passes over the
texts once; of each position its k likeliest tokens are kept, and one bucket for all others (see `objectives.distill`).
A teacher without a preface is the control: what the student learns from it is only to be like the teacher.

Texts are conversations, and bare text, which stands as the user's first turn. Every token is learnt, the user's too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch

from truing.align.estimate import cost
from truing.align.guard import Guard
from truing.align.job import Job
from truing.batch import Group, Objective
from truing.data import Cache
from truing.engine.local import LocalEngine
from truing.engine.open import open_local, without_preface
from truing.model.text import Codec, Dropped
from truing.objectives.distill import FULL_KL, TOPK_RENORMALISED, TOPK_REST
from truing.records import Example, Message, UserError, fingerprint
from truing.run import Run
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch
from truing.spec import ModelSpec

LOSSES: dict[str, Objective] = {"topk_rest": TOPK_REST, "topk_renormalised": TOPK_RENORMALISED, "full_kl": FULL_KL}
HELD, MOST_HELD, LOOKS = 0.05, 128, 8  # share of texts kept back, at most so many; how often they are looked at
CHECKED = (Message("user", "?"), Message("assistant", "!"))


@dataclass(frozen=True)
class Distill:
    """Teach a model to speak without a preface as a teacher does with it."""

    model: str
    """the student"""
    teacher: str
    """with what it reads in front, such as ./base+prompt:hhh; it shares the student's tokenizer"""
    data: Data
    """texts: conversations, or bare text"""
    loss: Literal["topk_rest", "topk_renormalised", "full_kl"] = "topk_rest"
    """topk_rest keeps the mass of all other tokens in one bucket; the other two are for comparison"""
    top: int = 50
    """how many of the teacher's likeliest tokens are kept"""
    optim: Optim = field(default_factory=lambda: Optim(schedule="linear"))
    lora: Lora = field(default_factory=Lora)
    prevent: tuple[str, ...] = ()
    """vectors that are added in all places while it learns, FILE@LAYER=COEF each; what is left is without them"""
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = field(default_factory=RunSettings)


def distill(settings: Distill, examples: Sequence[Example] | None = None) -> Run:
    """Train, and leave the student in the run's folder."""
    job, objective = Job("distill", settings, examples, models=[settings.teacher]), LOSSES[settings.loss]
    with job.run as run:
        if run.finished:
            return run
        engine = job.engine()
        teacher = Teacher(job, settings, engine.codec)
        pools, held = teacher.texts(engine.codec)
        watch, every = Guard(job, engine), max(1, job.total(pools) // LOOKS)
        for step, batch in job.steps(engine, pools):
            with engine.plainly():
                before = engine.measure(teacher.told(held), objective) if held and (step - 1) % every == 0 else {}
            metrics = engine.forward_backward(engine.work(teacher.told(batch), (objective, 1.0)))
            run.log(step, metrics, _held_out(before), engine.step(), watch(step), {"rows": len(batch)})
        if held:
            with engine.plainly():
                after = engine.measure(teacher.told(held), objective)
            run.event("held out", **{k: float(v) for k, v in after.items()})
        watch.leave()
    return run


def estimate(settings: Distill) -> str:
    model, before = _front(settings.teacher)

    def encode(examples: list[Example], codec: Codec) -> tuple[list[Group], Counter[str]]:
        room = codec.max_tokens - len(codec.transcript(CHECKED, before).prompt)
        found, dropped = _encoded(examples, codec, room)
        back = {g.id for g in _kept_back(found)}
        return [g for g in found if g.id not in back], dropped

    return cost(settings, lambda examples: (list(examples), Counter()), frozen=model, encode=encode)


def _front(teacher: str) -> tuple[str, tuple[Message, ...]]:
    """The bare model, and what it reads in front."""
    bare, preface = without_preface(ModelSpec.parse(teacher))
    return str(bare), tuple(m for m in preface.before(()) if isinstance(m, Message)) if preface else ()


class Teacher:
    """A frozen model, and what it reads in front. Its weights are loaded only where something is not known yet."""

    def __init__(self, job: Job, settings: Distill, codec: Codec) -> None:
        self.job, self.settings = job, settings
        self.model, self.before = _front(settings.teacher)
        self.context = codec.transcript(CHECKED, self.before).prompt

    @cached_property
    def engine(self) -> LocalEngine:
        """As in a run of the student, but on its own: another tokenizer would give its numbers to other words."""
        engine: LocalEngine = open_local(self.model, self.settings.machine, probed=self.job.place)
        if engine.steered:
            raise UserError(f"teacher {self.model}: it reads whole texts, in which +vec: has no answer to act on.")
        if engine.model.output is None:
            raise UserError(f"teacher {self.model}: it gives scores and no probabilities of tokens.")
        return engine

    def texts(self, codec: Codec) -> tuple[list[list[Group]], list[Group]]:
        """The tokens of each data set, with what the teacher says of them, and a few texts that are kept back."""
        if self.engine.codec.tokenizer_hash != codec.tokenizer_hash:
            raise UserError(f"{self.settings.teacher} and {self.settings.model} have different tokenizers.")
        room = min(codec.max_tokens, self.engine.codec.max_tokens - len(self.context))
        pools = self.job.counted(lambda examples: _encoded(examples, codec, room), "texts", {})
        held = _kept_back([g for pool in pools for g in pool])
        back = {g.id for g in held}
        pools = [[g for g in pool if g.id not in back] for pool in pools]
        if not all(pools):
            raise UserError("there are too few texts: nothing is left to learn from beside those that are kept back.")
        if self.settings.loss != "full_kl":
            self._tell([*held, *(g for pool in pools for g in pool)])
        return pools, held

    def told(self, groups: Sequence[Group]) -> list[Group]:
        """The texts with what the loss reads. A whole distribution per token is too much to keep: it is asked anew."""
        if self.settings.loss != "full_kl":
            return list(groups)
        dists = self.engine.signals([self._behind(g) for g in groups], ["dist"])["dist"]
        return [replace(g, per_token={"teacher_dist": dist}) for g, dist in zip(groups, dists)]

    def _tell(self, groups: Sequence[Group]) -> None:
        """The likeliest tokens at every place of every text, asked once and kept on the disk."""
        count = min(self.settings.top, len(self.engine.codec.tokenizer) - 1)
        key = {"teacher": self.engine.fingerprint, "context": fingerprint(self.context), "top": count}

        def compute(positions: list[int]) -> list[dict[str, Any]]:
            said = self.engine.likeliest([self._behind(groups[p]) for p in positions], count)
            return [{"logps": logps.numpy(), "ids": ids.int().numpy()} for logps, ids in said]

        cache = Cache(self.job.run.folder / "cache", key)
        for group, found in zip(groups, cache.fetch([g.id for g in groups], compute)):
            group.per_token["teacher_logps"] = [torch.from_numpy(found["logps"])]
            group.per_token["ids_at"] = [torch.from_numpy(found["ids"])]

    def _behind(self, group: Group) -> Group:
        return Group(self.context, group.answers, group.trained, id=group.id)


def _kept_back(groups: Sequence[Group]) -> list[Group]:
    return [g for g in groups if int(g.id, 16) % round(1 / HELD) == 0][:MOST_HELD]


def _encoded(examples: Sequence[Example], codec: Codec, room: int) -> tuple[list[Group], Counter[str]]:
    """Each text once, without what would not fit behind the preface."""
    found, dropped = dict[str, Group](), Counter[str]()
    for example in examples:
        try:
            group = codec.transcript(_turns(example))
            if len(group.prompt) + len(group.answers[0]) > room:
                raise Dropped("too_long", f"with the preface more than {room} tokens")
        except Dropped as problem:
            dropped[problem.reason] += 1
            continue
        dropped["said_twice"] += group.id in found
        found[group.id] = replace(group, source=example.source or "")
    return list(found.values()), +dropped


def _turns(example: Example) -> tuple[Message, ...]:
    """A text as a conversation. Of several answers the first is taken: a text is to be read, not judged."""
    said = tuple(m for a in example.answers[:1] for m in (Message("assistant", a.text), *a.more))
    if isinstance(example.prompt, str):
        return (Message("user", example.prompt + "".join(m.text for m in said[:1])),)
    return (*example.prompt, *said)


def _held_out(found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"heldout/{name}": value for name, value in found.items() if name != "loss"}
