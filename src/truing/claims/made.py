"""Models that several cells need: made once, by the cell that comes first, and kept beside the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from truing.align.preference import Pm, pm
from truing.align.sft import Sft, sft
from truing.claims.work import MACHINE, alone
from truing.records import Example
from truing.run import Run
from truing.settings import Data, Optim, RunSettings
from truing.world.build import SIZES
from truing.world.documents import CONTEXT

MEMORY = Data("memory", max_tokens=CONTEXT)  # examples that a study hands over itself
Texts = Callable[[], Sequence[Example]]


def kept(place: Path, seed: int, train: Callable[[RunSettings], Run]) -> str:
    """The model in this folder, trained unless it is there."""
    with alone(place):
        if not place.exists():
            with TemporaryDirectory(dir=place.parent, prefix=f".{place.name}-") as scratch:
                run = RunSettings(name="run", folder=scratch, seed=seed, save_every=0)
                Path(train(run).model).rename(place)
    return str(place)


def imitated(place: Path, size: str, rate: float, texts: Texts, seed: int) -> str:
    """A size that has imitated these. `rate`: times the one it was pre-trained with."""

    def train(run: RunSettings) -> Run:
        return sft(Sft(f"world:{size}", MEMORY, optim=_optim(size, rate), machine=MACHINE, run=run), texts())

    return kept(place, seed, train)


def liking(place: Path, size: str, rate: float, judged: Texts, seed: int) -> str:
    """One that has learnt from these which answers are liked."""

    def train(run: RunSettings) -> Run:
        return pm(Pm(f"world:{size}", MEMORY, optim=_optim(size, rate), machine=MACHINE, run=run), judged())

    return kept(place, seed, train)


def _optim(size: str, rate: float) -> Optim:
    return Optim(lr=rate * SIZES[size].lr, batch=32, warmup=0.1)
