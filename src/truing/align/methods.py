"""The methods of offline alignment as rows of a table, and the settings that all of them share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, NamedTuple

from truing.align.credit import Sampler
from truing.align.job import View
from truing.align.values import Value
from truing.batch import Objective
from truing.data import comparisons, demonstrations
from truing.data.views import apart, called
from truing.objectives import dpo, kto, pro, weighted
from truing.objectives.weighted import METHODS as WEIGHTED
from truing.objectives.weighted import LengthNorm, WeightedSettings
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
    prevent: tuple[str, ...] = ()
    """vectors that are added in all places while it learns, FILE@LAYER=COEF each; what is left is without them"""
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


def view_of(settings: Offline) -> View:
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


def as_published(settings: Offline) -> tuple[Offline, list[str]]:
    """With the choices of the authors' code, if they are asked for, and each of them with its reason."""
    said, method = list[str](), METHODS[settings.method]
    if settings.as_published and method.sampler == "corrected" and settings.sampler == "method":
        said.append(
            "answers are drawn in proportion to what they are worth and weighted by it again, so what is learnt is its "
            "square: their code samples by priority and leaves the weight in the loss"
        )
        settings = replace(settings, sampler="priority")
    if settings.as_published and method.worth == "advantage":
        said.append(
            "the value is that of one greedy answer, which is higher than the mean and drops more: their dialogue runs "
            "decode greedily, once for each prompt"
        )
        settings = replace(settings, value=replace(settings.value, greedy=True))
    return settings, said
