"""`truing compare`: methods on the same data with the same budget, several seeds each, one table.

A cell is one arm with one seed: a run of `truing offline`, or of `truing ppo`, and what its model then says to prompts
that nothing was learnt from. Cells are rows of a file that only grows, so a comparison that was killed goes on, and one
with another arm pays for that arm alone. Rewards, values and reference log-probabilities are shared by all cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from truing.align.ingredients import Ppo
from truing.align.ledger import Ledger
from truing.align.offline import offline as align
from truing.align.ppo import ppo
from truing.align.rewards import Part, Rewards, as_text, check_asked
from truing.commands.arms import SQUASHED, Arm, Compare, arm_of, base_of
from truing.commands.compared import NOTE, START, pictures
from truing.commands.compared import rows as compared
from truing.commands.evaluate import items
from truing.commands.offline import judges, read_all
from truing.commands.pictures import page
from truing.commands.tables import report, show
from truing.config import recipe_hash
from truing.data import write
from truing.engine import open_engine
from truing.evaluate.rows import Rows
from truing.records import Example, UserError, fingerprint
from truing.run import Run, say, set_output
from truing.stats.text import distinct, unique_rate

__all__ = ["Compare", "compare", "estimate"]


def compare(settings: Compare, examples: Sequence[Example] | None = None) -> dict[str, Any]:
    """Run what is missing, print the table, write the page."""
    arms = {name: arm_of(settings, name) for name in settings.arms}
    name = f"compare-{recipe_hash(base_of(settings), settings.ppo or ())[:8]}"
    folder = Path(settings.run.folder) / (settings.run.name or name)
    asked = [replace(e, answers=(), judgements=()) for e in items(settings.prompts, settings.count, 0)]
    learnt = read_all(settings.data, examples)
    rewarding = judges(settings.rewards, settings.data, settings.machine, learnt)
    testing = judges(settings.test, settings.data, settings.machine, learnt, key="test") or rewarding
    check_asked("test" if settings.test else "rewards", testing, asked)
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

    def cell(self, name: str, arm: Arm, seed: int) -> dict[str, Any]:
        """A run, and what its model is worth."""
        run = replace(arm.run, folder=str(self.folder), name=f"{_slug(name)}-{seed}", seed=seed)
        before = set_output("quiet")
        try:
            done = self.trained(replace(arm, run=run))
        except UserError as error:
            raise UserError(f"{name}, seed {seed}: {error}") from error
        finally:
            set_output(before)
        spent, curves = _spent(done, arm), _curves(done, arm)
        say(f"{name}, seed {seed}: {spent['updates']} updates, {spent['seconds']:.0f} s")
        return self.judged(name, done.model, seed) | spent | {"curves": curves}

    def trained(self, how: Arm) -> Run:
        """With the judges that all arms have. The recipe of PPO says so where it learns from σ of what they say:
        `truing ppo`, with the same names, would not."""
        if isinstance(how, Ppo):
            says = [SQUASHED * part.squash + name for name, part in zip(how.rewards, self.rewarding, strict=True)]
            how = replace(how, rewards=tuple(says))
            return ppo(how, self.rewarding, (), self.rewarding if how.test else (), self.learnt)
        return align(replace(how, cache=how.cache or str(self.folder / "cache")), self.learnt, self.rewarding)

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
                    "values": [float(v.mean()) for v in map(rewards.counted, parts) if not np.isnan(v).any()],
                    "parts": {c.name: c.mean for c in rewards.table(parts)},
                    "unique": unique_rate(said),
                    "distinct_2": distinct(said, 2),
                    "distinct_2_per_word": distinct(said, 2, per="word"),
                    "length": float(np.mean([len(text.split()) for text in said])),
                }
            ]

        (row,) = self.rows.fetch({key: key}, ask)
        return {k: v for k, v in row.items() if k not in ("key", "model")} | {"arm": name, "seed": seed}


def _spent(done: Run, arm: Arm) -> dict[str, float]:
    """While it was trained. What offline methods keep and share is not counted, and looks are not."""
    rows, online = [value for _, value in done.view().series("rows")], isinstance(arm, Ppo)
    paid = [p for name, p in Ledger.read(done).items() if name == "training" or (online and name != "watching")]
    return {
        "updates": (len(rows) - arm.alone) * arm.moves if isinstance(arm, Ppo) else len(rows),
        "drawn": sum(rows) if online else 0,
        "F": sum(phase["F"] for phase in paid),
        "seconds": sum(phase["seconds"] for phase in paid),
    }


def _curves(done: Run, arm: Arm) -> dict[str, list[tuple[int, float]]]:
    """Of looks, at updates of the policy."""
    view, found = done.view(), {}
    for key in ("reward", "unique", "kl", "length"):
        looks = view.series(f"watch/{'test' if isinstance(arm, Ppo) and key == 'reward' else key}")
        if isinstance(arm, Ppo):
            looks = arm.at_updates(looks)
        if looks:
            found[key] = looks
    return found


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._=+-" else "-" for c in name)


def estimate(settings: Compare) -> str:
    return f"{len(settings.arms)} arms × {settings.seeds} seeds; see truing offline --dry-run for one of them"
