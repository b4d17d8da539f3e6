"""Studies of offline alignment: one method with one seed on answers of mixed character, and what the policy is worth;
and PPO beside them, which asks the same judge about answers of its own.

The data are answers to the world's questions, a share of them (`noise`) by somebody careless, reckless, evasive or
lying, the others by an expert. Methods that learn from single answers get these; methods that learn from pairs get each
beside another one from the same mixture, ordered by gold, a share of them (`flips`) the wrong way round. Every method
begins at the same reference: a model of the world that has imitated all of the answers once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from truing.align.credit import FILE
from truing.align.ingredients import Ppo
from truing.align.ledger import Ledger
from truing.align.methods import METHODS, Offline
from truing.align.offline import offline
from truing.align.ppo import ppo
from truing.align.rewards import Part
from truing.claims.lessons import TOWN
from truing.claims.made import MEMORY, imitated
from truing.claims.work import MACHINE
from truing.config import load
from truing.data import demonstrations, write
from truing.engine import open_engine
from truing.evaluate.judges import Rule
from truing.records import Example, Sampling, fingerprint
from truing.schema import merge, plain
from truing.settings import Optim, RunSettings, Watch
from truing.stats.text import distinct, unique_rate
from truing.world.build import SIZES, shipped
from truing.world.corpora import prompts
from truing.world.judge import gold
from truing.world.measure import LONGEST
from truing.world.mixtures import FACTS, GOOD, GROUNDED, Mixture

LOOKED_AT = ("reward", "unique", "kl", "length")
PARTS = ("helpful", "honest", "harmless", "fluent", "informative", "on_topic")
ASKED, SAMPLES = 300, 2
IMITATED, ALIGNED = 0.1, 0.1  # of the rate that a size was pre-trained with
WATCHED, LOOKS = 64, 8  # at the policy while it learns
OWN, CRITIC = 64, 1e-3  # answers of PPO in an iteration and its critic's rate, chosen with seed 99 as `PPO` was
PPO: dict[str, Any] = {
    "preset": "max",
    "rollouts": OWN,
    "critic": {"start": "policy", "pretrain": 3, "lr": CRITIC},
    "update": {"whiten": True},
    "reward": {"clip": None},
    "sampling": {"max_tokens": LONGEST},
}


TASKS = {
    "dialogue": Mixture(),
    "facts": Mixture(kinds=FACTS),
    "stories": Mixture(kinds=GROUNDED),
}


@dataclass(frozen=True)
class Lesson:
    """What one seed learns from."""

    mixture: Mixture
    n: int
    seed: int

    def pairs(self) -> list[Example]:
        """The first answer of each is what single answers are learnt from."""
        return self.mixture(TOWN, self.n, self.seed)

    def singles(self) -> list[Example]:
        return [replace(e, answers=e.answers[:1], judgements=()) for e in self.pairs()]


def reference(folder: Path, size: str, lesson: Lesson) -> str:
    """The model that has imitated all answers, good and bad: where every method begins."""
    name = f"reference-{fingerprint([size, shipped(size)['weights'], asdict(lesson), IMITATED])[:12]}"
    return imitated(folder / name, size, IMITATED, lambda: demonstrations(lesson.singles())[0], lesson.seed)


def aligned(
    folder: Path,
    *,
    method: str,
    seed: int,
    size: str = "base",
    n: int = 2000,
    task: str = "dialogue",
    noise: float = 0.5,
    flips: float = 0.0,
    half: Literal["", "best", "worst"] = "",
    steps: int | None = None,
    rate: float = 1.0,
    start_n: int | None = None,
    judged_by: Sequence[str] = ("overall",),
    **settings: Any,
) -> dict[str, Any]:
    """`method` start: the reference itself. `settings` are those of `truing offline`. Lists have one entry for each
    held-out prompt, in an order that depends on the seed alone. `judged_by`: the parts of gold that are added up;
    `rate`: times the usual learning rate. `start_n`: answers that the reference has imitated, where not all `n`."""
    lesson = Lesson(replace(TASKS[task], noise=noise, flips=flips, half=half), n, seed)
    start = reference(folder, size, replace(lesson, n=start_n or n))
    shown, asked = _held_out(lesson.mixture.kinds, seed)
    if method == "start":
        return worth(start, seed, asked)
    single = METHODS[method].view is demonstrations
    learnt = lesson.singles() if single else lesson.pairs()
    with TemporaryDirectory(dir=folder, prefix=".aligned-") as scratch:
        optim = Optim(lr=rate * ALIGNED * SIZES[size].lr, batch=32, warmup=0.1, steps=steps)
        run = RunSettings(name="run", folder=scratch, seed=seed, save_every=0)
        updates = steps or max(1, round(n / 32))
        watch = _watch(scratch, shown, updates)
        how = {"method": method, "optim": optim, "machine": MACHINE, "run": run, "watch": watch}
        base = Offline(start, MEMORY, cache=str(folder / "offline"), **how)  # type: ignore[arg-type]
        done = offline(load(Offline, plain(base), settings), learnt, [judge(part) for part in judged_by])
        view = done.view()
        found = worth(done.model, seed, asked) | {"updates": len(view.series("rows"))}
        for name in LOOKED_AT:
            found[f"curve/{name}"] = view.series(f"watch/{name}")
        for name in ("at_lower", "at_upper", "effective"):
            if series := view.series(f"importance/{name}"):
                found[f"importance/{name}"] = float(np.mean([value for _, value in series]))
        return found | _left_over(done.folder / FILE, learnt)


def online(
    folder: Path,
    *,
    method: Literal["ppo"],
    times: int,
    seed: int,
    size: str = "base",
    n: int = 2000,
    noise: float = 0.5,
    **settings: Any,
) -> dict[str, Any]:
    """PPO from the same reference, with the same judge and prompts: it has `times` as many answers judged, its own, as
    the other methods are given. `settings` are sections of `truing ppo`."""
    lesson = Lesson(Mixture(noise=noise), n, seed)
    start = reference(folder, size, lesson)
    shown, asked = _held_out(lesson.mixture.kinds, seed)
    iterations = round(times * n / OWN)
    with TemporaryDirectory(dir=folder, prefix=".online-") as scratch:
        recipe = {
            "model": start,
            "data": plain(MEMORY),
            "rewards": ["world:gold.overall"],
            "test": ["world:gold.overall"],
            "iterations": iterations,
            "optim": {"lr": ALIGNED * SIZES[size].lr, "batch": OWN // 2},
            "machine": plain(MACHINE),
            "run": {"name": "run", "folder": scratch, "seed": seed, "save_every": 0},
            "watch": plain(_watch(scratch, shown, iterations)),
        }
        how, judges = load(Ppo, merge(merge(PPO, recipe), settings)), [judge("overall")]
        done = ppo(how, judges, (), judges, lesson.singles())
        view = done.view()
        found = worth(done.model, seed, asked) | {
            "updates": (how.iterations - how.alone) * how.moves,
            "drawn": sum(rows for _, rows in view.series("rows")),
            "F": sum(told["F"] for phase, told in Ledger.read(done).items() if phase != "watching"),
        }
        for name in LOOKED_AT:
            found[f"curve/{name}"] = how.at_updates(view.series(f"watch/{'test' if name == 'reward' else name}"))
        return found


def judge(part: str) -> Part:
    return Part(Rule(f"world:gold.{part}", lambda prompt, answer: float(getattr(gold(TOWN, prompt, answer), part))))


def _held_out(kinds: Sequence[str] | None, seed: int) -> tuple[list[Example], list[Example]]:
    """Prompts for looks at a policy while it learns, and others that it is asked in the end; of a single kind there are
    fewer than one would like."""
    every = prompts(TOWN, ASKED + WATCHED, seed, held=True, kinds=kinds)
    few = min(WATCHED, len(every) // 3)
    return every[:few], every[few:]


def worth(model: str, seed: int, asked: Sequence[Example]) -> dict[str, Any]:
    """What a model says to prompts, by gold, and how varied it is."""
    drawn = open_engine(model, MACHINE).sample(
        [e.prompt for e in asked], Sampling(n=SAMPLES, max_tokens=LONGEST, seed=seed)
    )
    values = [[gold(TOWN, e.prompt, a.text) for a in e.answers] for e in drawn]
    said = [a.text for e in drawn for a in e.answers]
    parts = {f"gold/{p}": float(np.mean([getattr(v, p) for row in values for v in row])) for p in PARTS}
    return parts | {
        "asked": len(asked),
        "gold": [round(float(np.mean([v.overall for v in row])), 4) for row in values],
        "unique": unique_rate(said),
        "same": float(np.mean([len({a.text for a in e.answers}) == 1 for e in drawn])),
        "distinct_1": distinct(said, 1),
        "distinct_2": distinct(said, 2),
        "length": float(np.mean([len(text.split()) for text in said])),
    }


def _left_over(file: Path, learnt: Sequence[Example]) -> dict[str, Any]:
    """Of the answers that are left over, how many are by bad speakers; and of those, how many are left over."""
    if not file.exists():
        return {}
    found = json.loads(file.read_text("utf-8"))
    bad = {e.id: e.answers[0].by != GOOD for e in learnt}
    seen = [(bad[name], a <= 0) for name, a in zip(found["ids"], found["A"]) if name in bad]
    left = [is_bad for is_bad, dropped in seen if dropped]
    caught = [dropped for is_bad, dropped in seen if is_bad]
    return {
        "kept": found["kept"],
        "dropped are bad": float(np.mean(left)) if left else float("nan"),
        "bad are dropped": float(np.mean(caught)) if caught else float("nan"),
    }


def _watch(scratch: str, shown: Sequence[Example], steps: int) -> Watch:
    file = str(Path(scratch) / "shown.jsonl")
    write(file, shown, "truing")
    return Watch(every=max(1, steps // LOOKS), prompts=file, count=len(shown), max_tokens=LONGEST)
