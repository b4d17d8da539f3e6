"""Studies of preference pre-training: does it help to have learnt what sites like, before people are asked?

Every study takes a folder for what it trains and returns plain numbers. `correct` has one entry for each pair of the
test (a tie is one half), in the same order for all arms: two arms are compared pair by pair. What was pre-trained is
kept in the folder under all that it depends on, so that a sweep over n pays for it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from truing.align.preference import Pm, pm
from truing.claims.firsts import Encoding, First, paced, right_on
from truing.claims.made import MEMORY
from truing.claims.sites import Source, limits, sampled, side, target
from truing.claims.work import MACHINE
from truing.engine import open_engine
from truing.records import Answer, Example
from truing.settings import Optim, RunSettings
from truing.world.corpora import answered
from truing.world.judge import gold
from truing.world.town import town

TUNE = Optim(lr=0.1, batch=8, epochs=2, warmup=0.1)  # see `paced`
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
    first = First(size, source, encoding, pairs, seed, lm_weight, shuffled, epochs)
    found = first.found(folder)
    learnt, tested = map(first.shaped, target())
    correct = found.pop("correct")
    if n:
        few = Random(f"subsample {subsample}").sample(learnt, n)
        correct = tuned(folder, first.model(folder), few, tested, paced(TUNE, size), seed)
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
    judge = open_engine(First(size, "versus", "ranked", pairs, seed, lm_weight).model(folder), MACHINE)
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


def tuned(
    folder: Path, model: str, learnt: Sequence[Example], tested: Sequence[Example], optim: Optim, seed: int
) -> list[float]:
    """What a model gets right after one more stage, of which nothing is kept."""
    with TemporaryDirectory(dir=folder, prefix="tuned-") as scratch:
        settings = RunSettings(name="tuned", folder=scratch, seed=seed, save_every=0)
        run = pm(Pm(model, MEMORY, held_out=0, optim=optim, machine=MACHINE, run=settings), learnt)
        return right_on(run.model, tested)
