"""`truing compare`: methods on the same data with the same budget, several seeds each, one table.

A cell is one arm with one seed: a run of `truing offline`, and what its model then says to prompts that nothing was
learnt from. Cells are rows of a file that only grows, so a comparison that was killed goes on, and one with another arm
pays for that arm alone. Rewards, values and reference log-probabilities are shared by all cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from truing.align.methods import METHODS, Offline
from truing.align.offline import offline as align
from truing.align.rewards import Part, Rewards, as_text
from truing.commands.compared import NOTE, START, pictures
from truing.commands.compared import rows as compared
from truing.commands.evaluate import items
from truing.commands.offline import judges, read_all
from truing.commands.pictures import page
from truing.commands.tables import report, show
from truing.config import load, recipe_hash
from truing.data import write
from truing.engine import open_engine
from truing.evaluate.rows import Rows
from truing.records import Example, Sampling, UserError, fingerprint
from truing.run import read_run, say, set_output
from truing.schema import Mistake, at_least, plain
from truing.stats.text import distinct, unique_rate

FIXED = ("model", "data", "method", "rewards", "run", "machine", "cache")


@dataclass(frozen=True)
class Compare(Offline):
    """Several methods, or one with several settings, on the same data: who is better, by how much, how surely?"""

    arms: tuple[str, ...] = ("nll", "filtered_nll", "a_lol", "dpo")
    """methods, each perhaps with settings of its own: a_lol:eps=0.2,sampler=filter"""
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


def compare(settings: Compare, examples: Sequence[Example] | None = None) -> dict[str, Any]:
    """Run what is missing, print the table, write the page."""
    arms = {name: _arm(settings, name) for name in settings.arms}
    folder = Path(settings.run.folder) / (settings.run.name or f"compare-{recipe_hash(_base(settings))[:8]}")
    asked = [replace(e, answers=(), judgements=()) for e in items(settings.prompts, settings.count, 0)]
    learnt = read_all(settings.data, examples)
    rewarding = judges(settings.rewards, settings.data, settings.machine, learnt)
    testing = judges(settings.test, settings.data, settings.machine, learnt) if settings.test else rewarding
    with Rows(folder) as rows:
        if settings.watch.every and settings.watch.prompts is None:
            shown = str(folder / "prompts.jsonl")  # nothing is learnt from these, and all cells are looked at with them
            if not Path(shown).exists():
                write(shown, asked, "truing")
            arms = {name: replace(arm, watch=replace(arm.watch, prompts=shown)) for name, arm in arms.items()}
        bench = Bench(folder, rows, examples, rewarding, testing, asked, settings)
        found = {START: [bench.judged(START, settings.model, 0)]}
        for name, arm in arms.items():
            found[name] = [bench.cell(name, arm, seed) for seed in range(settings.seeds)]
    judge = ", ".join(settings.test or settings.rewards)
    about, table = f"{settings.model}: {settings.seeds} seeds, {len(asked)} prompts, judged by {judge}", compared(found)
    show(about, *table, NOTE)
    page(folder / "compare.html", "Methods compared", f"{about}; {NOTE}", pictures(found), table)
    report("compare", {name: [_brief(one) for one in each] for name, each in found.items()})
    return found


def _brief(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key != "values"}


@dataclass(frozen=True)
class Bench:
    """Where cells are carried out."""

    folder: Path
    rows: Rows
    learnt: Sequence[Example] | None
    rewarding: Sequence[Part]
    testing: Sequence[Part]
    asked: Sequence[Example]
    settings: Compare

    def cell(self, name: str, arm: Offline, seed: int) -> dict[str, Any]:
        """A run, and what its model is worth."""
        run = replace(arm.run, folder=str(self.folder), name=f"{_slug(name)}-{seed}", seed=seed)
        how = replace(arm, run=run, cache=arm.cache or str(self.folder / "cache"))
        before = set_output("quiet")
        try:
            done = align(how, self.learnt, self.rewarding)
        except UserError as error:
            raise UserError(f"{name}, seed {seed}: {error}") from error
        finally:
            set_output(before)
        view = read_run(done.folder)
        ledger = [e["phases"] for e in view.events if e["event"] == "ledger"]
        spent = {
            "updates": len(view.series("rows")),
            "F": sum(told["training"]["F"] for told in ledger),
            "seconds": sum(told["training"]["seconds"] for told in ledger),
        }
        curves = {key: view.series(f"watch/{key}") for key in ("reward", "unique", "kl", "length")}
        say(f"{name}, seed {seed}: {spent['updates']} updates, {spent['seconds']:.0f} s")
        return self.judged(name, done.model, seed) | spent | {"curves": {k: v for k, v in curves.items() if v}}

    def judged(self, name: str, model: str, seed: int) -> dict[str, Any]:
        """What a model says to the prompts, judged; asked once."""
        engine = open_engine(model, self.settings.machine)
        rewards = Rewards(self.testing, self.folder / "cache")
        prompts = [fingerprint([e.id, dict(e.meta)]) for e in self.asked]
        how = [asdict(self.settings.sampling), prompts, rewards.fingerprint]
        key = fingerprint(["compare", engine.fingerprint, how])

        def ask(_: list[str]) -> list[Mapping[str, Any]]:
            drawn = engine.sample([e.prompt for e in self.asked], self.settings.sampling)
            texts = as_text(drawn, self.asked)
            parts = rewards.of(texts)
            said = [e.answers[0].text for e in texts]
            return [
                {
                    "model": model,
                    "values": [float(rewards.total(v).mean()) for v in parts],
                    "parts": {c.name: c.mean for c in rewards.table(parts)},
                    "unique": unique_rate(said),
                    "distinct_2": distinct(said, 2),
                    "distinct_2_per_word": distinct(said, 2, per="word"),
                    "length": float(np.mean([len(text.split()) for text in said])),
                }
            ]

        (row,) = self.rows.fetch({key: key}, ask)
        return {k: v for k, v in row.items() if k not in ("key", "model")} | {"arm": name, "seed": seed}


def _arm(settings: Compare, text: str) -> Offline:
    """METHOD or METHOD:key=value,…"""
    method, _, rest = text.partition(":")
    if method not in METHODS:
        raise Mistake(("arms",), f"{text}: there is no method '{method}'; there are {', '.join(METHODS)}.")
    own: dict[str, Any] = {"method": method}
    for one in filter(None, rest.split(",")):
        key, equals, value = one.partition("=")
        if not equals:
            raise Mistake(("arms",), f"{text}: write settings as key=value.")
        *above, last = key.split(".")
        if (above or [last])[0] in FIXED or len(above) > 1:
            raise Mistake(("arms",), f"{text}: {key} is the same for all arms.")
        place = own.setdefault(above[0], {}) if above else own
        place[last] = None if value == "none" else value
    return load(Offline, plain(_base(settings)), own)


def _base(settings: Compare) -> Offline:
    """What all arms have in common."""
    return Offline(**{f.name: getattr(settings, f.name) for f in fields(Offline)})


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._=+-" else "-" for c in name)


def estimate(settings: Compare) -> str:
    return f"{len(settings.arms)} arms × {settings.seeds} seeds; see truing offline --dry-run for one of them"
