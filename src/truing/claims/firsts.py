"""The first of two stages of learning: what sites like, before people are asked. Kept in a folder, made once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from truing.align.preference import Pm, pm
from truing.align.sft import Sft, sft
from truing.batch import Group
from truing.claims.made import MEMORY
from truing.claims.sites import Source, coins, site, target
from truing.claims.work import MACHINE, alone
from truing.data.pretraining import binarised, stated
from truing.engine import open_engine
from truing.engine.local import LocalEngine
from truing.evaluate.preference import judged_pairs
from truing.objectives import NLL
from truing.records import Example, fingerprint
from truing.run.checkpoint import write_text
from truing.settings import Optim, RunSettings
from truing.world.build import SIZES, shipped
from truing.world.documents import document, written
from truing.world.town import town

Encoding = Literal["ranked", "binary"]
PRETRAIN = Optim(lr=0.2, batch=32, warmup=0.1)  # see `paced`
DOCUMENTS, UNREAD = 150, 10**7  # what language loss is measured on: far behind all that a checkpoint has read
NEARLY_NONE = 1e-12  # a weight of the language loss that does nothing but keep the output layer
FILE = "pretrained.json"


@dataclass(frozen=True)
class First:
    """What a model of the world learns from, before it is fine-tuned."""

    size: str
    source: Source
    encoding: Encoding
    pairs: int
    seed: int
    lm_weight: float = 1.0
    shuffled: bool = False
    """learn from coins"""
    epochs: float = 1.0

    @property
    def base(self) -> str:
        return f"world:{self.size}"

    @property
    def judges(self) -> bool:
        """Has anybody told it what is preferred?"""
        return self.source not in ("none", "text")

    def model(self, folder: Path) -> str:
        return str(self._made(folder).parent / "model") if self.source != "none" else self.base

    def found(self, folder: Path) -> dict[str, Any]:
        """What it knows of the target without having seen any of it, and what it lost as a language model."""
        if self.source == "none":
            return {"pairs": 0} | self._looked_at(self.base)
        kept: dict[str, Any] = json.loads(self._made(folder).read_text("utf-8"))
        return kept

    def shaped(self, examples: Sequence[Example]) -> list[Example]:
        """Pairs as a model that learnt so is asked about them."""
        return stated(examples) if self.encoding == "binary" and self.judges else list(examples)

    def _made(self, folder: Path) -> Path:
        """The file beside the model."""
        known = [asdict(self), shipped(self.size)["weights"], self._optim.lr, self._optim.batch]
        file = folder / f"pretrained-{self.source}-{fingerprint(known)[:12]}" / FILE
        with alone(file.parent):
            if not file.exists():
                count = self._train(file.parent)
                looked = self._looked_at(str(file.parent / "model"))
                write_text(file, json.dumps({"pairs": count} | looked))
        return file

    @property
    def _optim(self) -> Optim:
        return replace(paced(PRETRAIN, self.size), epochs=self.epochs)

    def _train(self, place: Path) -> int:
        run = RunSettings(name=place.name, folder=str(place.parent), seed=self.seed, save_every=0)
        examples = site(self.source, self.pairs, self.seed, self.base)
        if self.source == "text":
            texts = [replace(e, answers=(a,), judgements=()) for e in examples for a in e.answers]
            optim = replace(self._optim, batch=2 * self._optim.batch)
            sft(Sft(self.base, MEMORY, optim=optim, machine=MACHINE, run=run), texts)
        else:
            examples = coins(examples, self.seed) if self.shuffled else examples
            learnt = binarised(examples) if self.encoding == "binary" else examples
            how = {"lm_weight": self.lm_weight or NEARLY_NONE, "optim": self._optim, "machine": MACHINE, "run": run}
            pm(Pm(self.base, MEMORY, held_out=0, **how), learnt)  # type: ignore[arg-type]
        return len(examples)

    def _looked_at(self, model: str) -> dict[str, Any]:
        before, after = language_loss(self.base), language_loss(model)
        tested = target()[1]
        correct = right_on(model, self.shaped(tested)) if self.judges else [0.5] * len(tested)
        zero_shot = float(np.mean(correct))
        return {"correct": correct, "zero_shot": zero_shot, "language_before": before, "language_after": after}


def right_on(model: str, pairs: Sequence[Example]) -> list[float]:
    rows = judged_pairs(open_engine(model, MACHINE), pairs)
    return [float((np.sign(row["gap"]) + 1) / 2) for row in rows]


def paced(optim: Optim, size: str) -> Optim:
    """The rate is a share of the one that a size learnt to write with."""
    return replace(optim, lr=optim.lr * SIZES[size].lr)


@cache
def language_loss(model: str) -> float:
    """Per token of documents that no checkpoint has read. (A model's folder is never trained in again.)"""
    engine = open_engine(model, MACHINE)
    assert isinstance(engine, LocalEngine)
    known, groups = engine.codec.tokenizer.get_vocab(), []
    for number in range(UNREAD, UNREAD + DOCUMENTS):
        ids = [known[word] for word in written(document(town(0), 0, number)).split()]
        groups.append(Group(ids[:1], [ids[1:]], [[True] * (len(ids) - 1)]))
    return float(engine.measure(groups, NLL)["loss"])
