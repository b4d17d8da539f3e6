"""What a preference model of the studies learns from, and how: a recipe that is carried out once in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Literal

from truing.align.preference import Pm, pm
from truing.claims.made import kept
from truing.claims.work import MACHINE
from truing.data import write
from truing.records import Example, UserError, fingerprint
from truing.run import Run
from truing.settings import Data, Optim, RunSettings
from truing.world.build import SIZES, shipped
from truing.world.documents import CONTEXT
from truing.world.grammar import words
from truing.world.sessions import declines, harmless, helpful, unfinished
from truing.world.tasks import FAMILIES
from truing.world.town import town

TOWN = town(0)
SETS = {"helpful": helpful, "harmless": harmless, "unfinished": unfinished, **FAMILIES}
# A fixed share of the rate that a size was pre-trained with, as in Bai et al. Of 5e-4, 1.5e-3 and 3e-3 the smallest
# world model learnt most with the second, the base one with the first: one rate for all would make a slope over sizes.
RATE = 0.2
DRAWN = 4  # comparisons for each one that is left when refusals are taken out
Control = Literal["", "shuffled", "no refusals"]


@dataclass(frozen=True)
class Lesson:
    """What a model of the world learns preferences from, and how."""

    size: str
    data: str
    """a name in SETS, or two of them: helpful+harmless"""
    n: int
    """comparisons in all"""
    seed: int
    share: float = 0.5
    """of the second of two"""
    weight: float = 1.0
    """how much a comparison of the second counts in the loss"""
    objective: Literal["ranked", "binary", "imitation", "none"] = "ranked"
    """none: the model as it is"""
    read: Literal["eoc", "end", "mean"] = "eoc"
    epochs: float = 1.0
    control: Control = ""
    """shuffled: which answer is better is a coin; no refusals: pairs of an answer and a refusal are left out, also of
    the tests"""

    def model(self, folder: Path) -> str:
        """Trained, unless it is there."""
        base = f"world:{self.size}"
        if self.objective == "none":
            return base
        place = folder / f"preference-{fingerprint([asdict(self), shipped(self.size)['weights'], RATE])[:12]}"
        return kept(place, self.seed, partial(self._train, base))

    def _train(self, base: str, run: RunSettings) -> Run:
        weights = (1.0, self.weight) if "+" in self.data and self.weight != 1 else None
        data = Data(self._files(Path(run.folder)), max_tokens=CONTEXT, loss_weights=weights)
        optim = Optim(lr=RATE * SIZES[self.size].lr, batch=32, epochs=self.epochs, warmup=0.1)
        how = {"objective": self.objective, "read": self.read, "optim": optim, "machine": MACHINE, "run": run}
        return pm(Pm(base, data, held_out=0, **how))  # type: ignore[arg-type]

    def parts(self) -> dict[str, list[Example]]:
        """What it learns from: name → comparisons."""
        names, second = self.data.split("+"), round(self.n * self.share)
        counts = [self.n - second, second] if len(names) > 1 else [self.n]
        found = {name: drawn(name, many, self.seed, self.control) for name, many in zip(names, counts) if many}
        return {name: shuffled(part, self.seed) if self.control == "shuffled" else part for name, part in found.items()}

    def _files(self, folder: Path) -> tuple[str, ...]:
        found = []
        for name, part in self.parts().items():
            found.append(str(folder / f"{name}.jsonl"))
            write(found[-1], part, "truing")
        return tuple(found)


@lru_cache(maxsize=16)
def drawn(name: str, count: int, seed: int, control: Control = "", *, held: bool = False) -> list[Example]:
    if name not in SETS:
        raise UserError(f"data: there is no '{name}'; there are {', '.join(SETS)}.")
    if control != "no refusals":
        return SETS[name](TOWN, count, seed, held=held)
    found = [e for e in SETS[name](TOWN, DRAWN * count, seed, held=held) if not declines(e)][:count]
    if len(found) < count:
        raise UserError(f"{name}: {count} comparisons without a refusal were asked for, and {len(found)} came.")
    return found


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """The same answers, and a coin says which is better."""
    rng = Random(f"shuffled {seed}")
    return [replace(e, answers=tuple(rng.sample(e.answers, len(e.answers)))) for e in examples]


def read_by(examples: Sequence[Example], best_only: bool = False) -> int:
    """Words that one pass reads: every answer behind its prompt."""
    total = 0
    for example in examples:
        asked = example.prompt if isinstance(example.prompt, str) else " ".join(m.text for m in example.prompt)
        said = [a for a, rank in zip(example.answers, example.ranks() or ()) if rank == 0 or not best_only]
        total += sum(len(words(asked)) + len(words(answer.text)) for answer in said)
    return total
