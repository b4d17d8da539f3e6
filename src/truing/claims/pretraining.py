"""Studies of preference pre-training: does it help to have learnt what sites like, before people are asked?

Every study takes a folder for what it trains and returns plain numbers. `correct` has one entry for each pair of the
test (a tie is one half), in the same order for all arms: two arms are compared pair by pair. What was pre-trained is
kept in the folder under all that it depends on, so that a sweep over n pays for it once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from truing.align.preference import Pm, pm
from truing.align.sft import Sft, sft
from truing.batch import Group
from truing.claims.sites import MACHINE, Source, coins, limits, sampled, side, site, target
from truing.data.pretraining import binarised, stated
from truing.engine import open_engine
from truing.engine.local import LocalEngine
from truing.evaluate.preference import judged_pairs
from truing.objectives import NLL
from truing.records import Answer, Example, fingerprint
from truing.run.checkpoint import write_text
from truing.settings import Data, Optim, RunSettings
from truing.world.build import SIZES, shipped
from truing.world.corpora import answered
from truing.world.documents import CONTEXT, document, written
from truing.world.judge import gold
from truing.world.town import town

Encoding = Literal["ranked", "binary"]
PRETRAIN, TUNE = Optim(lr=0.2, batch=32, warmup=0.1), Optim(lr=0.1, batch=8, epochs=2, warmup=0.1)  # see `paced`
DOCUMENTS, UNREAD = 150, 10**7  # what language loss is measured on: far behind all that a checkpoint has read
NEARLY_NONE = 1e-12  # a weight of the language loss that does nothing but keep the output layer
FILE = "pretrained.json"
ASKED, ALIKE = 600, 0.1  # questions of the detector study; answers whose worth differs by less are worth as much


def transfer(
    folder: Path,
    *,
    size: str,
    source: Source,
    encoding: Encoding,
    pairs: int,
    n: int,
    seed: int,
    subsample: int,
    lm_weight: float = 1.0,
    shuffled: bool = False,
    epochs: float = 1.0,
) -> dict[str, Any]:
    """Pre-training on `pairs` pairs of a site, fine-tuning on n of the crowd's: which held-out ones are right then?

    `text` reads the texts of all sites as a language model, as often as pairs show them; `shuffled` learns from coins;
    n = 0 asks what was pre-trained. Binary pairs show each text twice: ranked ones with two epochs are as much to read.
    """
    start = _pretrained(folder, size, source, encoding, pairs, seed, lm_weight, shuffled, epochs)
    learnt, tested = (_shaped(examples, source, encoding) for examples in target())
    correct = start.pop("correct")
    if n:
        few = Random(f"subsample {subsample}").sample(learnt, n)
        correct = tuned(folder, start["model"], few, tested, paced(TUNE, size), seed)
    found = {name: value for name, value in start.items() if name != "model"}
    return {"accuracy": float(np.mean(correct)), "correct": correct} | found | limits()


def detector(folder: Path, *, size: str, pairs: int, seed: int, lm_weight: float = 1.0) -> dict[str, Any]:
    """Does a model that learnt to prefer an expert to the model's own answers know quality, or who is speaking?

    Lists of right choices (1, 0), on questions of the test:
    own       the expert's answer, to the model's: what it was taught
    equal     the same where both are worth as much; one half is right, more is knowing the speaker
    people    the better of two answers by people
    model     the better of two answers by the model
    across    the model's answer, where a worse one by people stands beside it: low if it only knows the speaker
    """
    start = _pretrained(folder, size, "versus", "ranked", pairs, seed, lm_weight, False, 1.0)
    judge = open_engine(start["model"], MACHINE)
    asked = _asked(seed)
    drawn = {e.prompt: e.answers for e in sampled(f"world:{size}", asked, 2, seed + 500)}
    found: dict[str, list[float]] = {name: [] for name in ("own", "equal", "people", "model", "across")}
    for example in asked:
        answers = (*example.answers, *(Answer(a.text) for a in drawn[example.prompt]))
        worth = [gold(town(0), example.prompt, a.text).overall for a in answers]
        (scores,) = judge.score([replace(example, answers=answers)])
        reward = [float(s.reward or 0) for s in scores]
        if answers[0].text != answers[2].text:
            found["own"].append(_right(reward, 0, 2))
            if abs(worth[0] - worth[2]) < ALIKE:
                found["equal"].append(_right(reward, 0, 2))
        for name, i, j in (("people", 0, 1), ("model", 2, 3)):
            if abs(worth[i] - worth[j]) > ALIKE:
                found[name].append(_right(reward, i, j) if worth[i] > worth[j] else _right(reward, j, i))
        if worth[2] - worth[1] > ALIKE:
            found["across"].append(_right(reward, 2, 1))
    return found | {f"{name}_share": float(np.mean(values)) for name, values in found.items() if values}


def _right(reward: Sequence[float], better: int, worse: int) -> float:
    return float((np.sign(reward[better] - reward[worse]) + 1) / 2)


def _asked(seed: int) -> list[Example]:
    """Questions of the test, each with an expert's answer and one by somebody who is worse."""
    drawn = answered(town(0), 4 * ASKED, f"detector {seed}", 2, speakers=("expert", "liar", "careless", "reckless"))
    found = [e for e in side(drawn, "tested") if "expert" in (e.answers[0].by, e.answers[1].by)]
    return [replace(e, answers=tuple(sorted(e.answers, key=lambda a: a.by != "expert"))) for e in found]


def _pretrained(
    folder: Path,
    size: str,
    source: Source,
    encoding: Encoding,
    pairs: int,
    seed: int,
    lm_weight: float,
    shuffled: bool,
    epochs: float,
) -> dict[str, Any]:
    """The model after the first stage, what it knows of the target without having seen any of it, and what it lost as a
    language model. From the folder, where it is there."""
    base = f"world:{size}"
    if source == "none":
        return {"model": base, "pairs": 0} | _looked_at(base, base, source, encoding)
    key = [size, shipped(size)["weights"], source, encoding, pairs, seed, lm_weight, shuffled, epochs]
    optim = replace(paced(PRETRAIN, size), epochs=epochs)
    name = f"pretrained-{source}-{fingerprint([*key, optim.lr, optim.batch])[:12]}"
    model, file = str(folder / name / "model"), folder / name / FILE
    if file.exists():
        return {**json.loads(file.read_text("utf-8")), "model": model}
    examples = site(source, pairs, seed, base)
    run = RunSettings(name=name, folder=str(folder), seed=seed, save_every=0)
    if source == "text":
        texts = [replace(e, answers=(a,), judgements=()) for e in examples for a in e.answers]
        sft(Sft(base, memory(), optim=replace(optim, batch=2 * optim.batch), machine=MACHINE, run=run), texts)
    else:
        examples = coins(examples, seed) if shuffled else examples
        learnt = binarised(examples) if encoding == "binary" else examples
        weight = lm_weight or NEARLY_NONE
        pm(Pm(base, memory(), lm_weight=weight, held_out=0, optim=optim, machine=MACHINE, run=run), learnt)
    found = {"pairs": len(examples)} | _looked_at(model, base, source, encoding)
    write_text(file, json.dumps(found))
    return {**found, "model": model}


def _looked_at(model: str, base: str, source: Source, encoding: Encoding) -> dict[str, Any]:
    before, after = language_loss(base), language_loss(model)
    correct = [0.5] * len(target()[1])  # nobody told it what is preferred
    if source not in ("none", "text"):
        correct = right_on(model, _shaped(target()[1], source, encoding))
    zero_shot = float(np.mean(correct))
    return {"correct": correct, "zero_shot": zero_shot, "language_before": before, "language_after": after}


def _shaped(examples: Sequence[Example], source: Source, encoding: Encoding) -> list[Example]:
    """Pairs as a model that was pre-trained so is asked about them."""
    return stated(examples) if encoding == "binary" and source not in ("none", "text") else list(examples)


def tuned(
    folder: Path, model: str, learnt: Sequence[Example], tested: Sequence[Example], optim: Optim, seed: int
) -> list[float]:
    """What a model gets right after one more stage, of which nothing is kept."""
    with TemporaryDirectory(dir=folder, prefix="tuned-") as scratch:
        settings = RunSettings(name="tuned", folder=scratch, seed=seed, save_every=0)
        run = pm(Pm(model, memory(), held_out=0, optim=optim, machine=MACHINE, run=settings), learnt)
        return right_on(run.model, tested)


def right_on(model: str, pairs: Sequence[Example]) -> list[float]:
    rows = judged_pairs(open_engine(model, MACHINE), pairs)
    return [float((np.sign(row["gap"]) + 1) / 2) for row in rows]


def paced(optim: Optim, size: str) -> Optim:
    """The rate is a share of the one that a size learnt to write with."""
    return replace(optim, lr=optim.lr * SIZES[size].lr)


def memory() -> Data:
    return Data("memory", max_tokens=CONTEXT)


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
