"""The arms of a comparison: a method, or PPO, with settings of its own on top of what all arms have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from truing.align.ingredients import Ppo
from truing.align.methods import METHODS, Offline
from truing.config import load
from truing.records import Sampling, UserError
from truing.schema import Mistake, at_least, merge, plain

Arm = Offline | Ppo
PPO = "ppo"
SQUASHED = "σ of "  # before a judge's name, where a run of PPO learns from σ of what it says
FIXED = ("model", "data", "method", "rewards", "run", "machine", "cache")
SHARED = ("model", "data", "rewards", "lora", "prevent", "machine", "watch", "run")  # with an arm of PPO


@dataclass(frozen=True)
class Compare(Offline):
    """Several methods, or one with several settings, on the same data: who is better, by how much, how surely?"""

    arms: tuple[str, ...] = ("nll", "filtered_nll", "a_lol", "dpo")
    """methods, or ppo, each perhaps with settings of its own: a_lol:eps=0.2,sampler=filter"""
    ppo: dict[str, Any] = field(default_factory=dict)
    """settings of truing ppo that all arms of it have; model, prompts, judges and looks are those of the other arms"""
    seeds: int = 5
    test: tuple[str, ...] = ()
    """who judges in the end; none takes the judges of --rewards"""
    prompts: str = "world:evaluation"
    """what is asked in the end: world:evaluation, a file or a hub name"""
    count: int = 200
    """of the world's prompts"""
    sampling: Sampling = Sampling(max_tokens=48)  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "seeds", "count")
        if not (self.test or self.rewards):
            raise Mistake(("test",), "names no judge: who says in the end what answers are worth?")
        if self.method != Offline.method:
            raise Mistake(("method",), "is what the arms name: --arms METHOD METHOD …")
        if len(set(self.arms)) < len(self.arms) or not self.arms:
            raise Mistake(("arms",), "names one arm twice, or none.")
        if self.ppo and not any(named(arm) == PPO for arm in self.arms):
            raise Mistake(("ppo",), "has settings, and no arm is ppo.")


def named(arm: str) -> str:
    return arm.partition(":")[0]


def arm_of(settings: Compare, text: str) -> Arm:
    """METHOD or METHOD:key=value,…"""
    method, known = named(text), (*METHODS, PPO)
    if method not in known:
        raise Mistake(("arms",), f"{text}: there is no method '{method}'; there are {', '.join(known)}.")
    if method == PPO:
        return _online(settings, text)
    return load(Offline, plain(base_of(settings)), {"method": method} | _own(text, FIXED))


def _own(text: str, fixed: Sequence[str]) -> dict[str, Any]:
    """The settings of an arm, nested as a recipe is."""
    own: dict[str, Any] = {}
    for one in filter(None, text.partition(":")[2].split(",")):
        key, equals, value = one.partition("=")
        if not equals:
            raise Mistake(("arms",), f"{text}: write settings as key=value.")
        *above, last = key.split(".")
        if (above or [last])[0] in fixed or len(above) > 1:
            raise Mistake(("arms",), f"{text}: {key} is the same for all arms.")
        place = own.setdefault(above[0], {}) if above else own
        place[last] = None if value == "none" else value
    return own


def _online(settings: Compare, text: str) -> Ppo:
    """PPO that begins where the others begin and learns from what the same judges say, to the prompts of the same data.
    Looks come after as many updates; its answers may be as long as those in the end."""
    fixed = (*SHARED, "test")
    if alike := [key for key in settings.ppo if key in fixed]:
        raise Mistake((PPO, alike[0]), "is the same for all arms.")
    shared = {name: plain(getattr(settings, name)) for name in SHARED}
    usual = {"critic": {"start": "policy"}, "sampling": {"max_tokens": settings.sampling.max_tokens}}
    looks = {"test": settings.rewards if settings.watch.every else ()}
    own = merge(settings.ppo, _own(text, fixed))
    try:
        how = load(Ppo, merge(merge(usual, own), shared | looks))
    except UserError as error:
        raise UserError(f"the arm {text}: {error}") from error
    if how.advantage == "gae" and how.critic.start == "reward":
        raise Mistake(
            (PPO, "critic", "start"), "is reward, and σ of a preference model is what all arms learn from: say policy."
        )
    every = how.watch.every and max(1, how.watch.every // how.moves)
    run = replace(how.run, save_every=Ppo.run.save_every)  # iterations, which take longer than updates
    return replace(how, watch=replace(how.watch, every=every), run=run)


def base_of(settings: Compare) -> Offline:
    """What all arms have in common."""
    return Offline(**{f.name: getattr(settings, f.name) for f in fields(Offline)})
