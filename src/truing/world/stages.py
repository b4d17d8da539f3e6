"""The stages of the demo, in the order of STAGES.

A stage is a function that takes the laboratory and returns what it found. To add one, write the function, whose first
words are what people read while it runs, and give it a row in STAGES.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import numpy as np

from truing.align.methods import Offline
from truing.align.offline import offline
from truing.align.preference import Pm, pm
from truing.data import read, write
from truing.engine import open_engine
from truing.records import Example, Judgement
from truing.settings import Data, Optim, Watch
from truing.stats.calibration import accuracy
from truing.world.corpora import CROWD, prompts
from truing.world.crowd import Crowd, Worker
from truing.world.documents import CONTEXT
from truing.world.lab import Lab
from truing.world.measure import (
    LONGEST,
    Found,
    best_of_curve,
    evaluated,
    interval,
    margins,
    ordered,
    share,
    typical,
    with_rewards,
)
from truing.world.ways import reinforce

# Ten words more are worth two thirds of everything else, and of ten falsehoods nine are believed.
WORDY = Crowd((Worker("wordy", length=4.0, blind=0.9),), seed=1)
SHUFFLES = 5  # what one preference model makes of coins is right in more or less than half: they are on average
ANSWERS = 8  # to each question that is asked to learn from


def look(lab: Lab) -> Found:
    """The base model has read conversations of good and bad speakers alike. Asked something, it answers as one of
    them."""
    engine = open_engine(lab.settings.model, lab.machine)
    return evaluated(lab.town, "base", lab.answers(engine, lab.evaluation, 1, 1)) | lab.skills(engine)


def collect(lab: Lab) -> Found:
    """The base model answers each question eight times, and of each two answers a simulated crowd says which is better.
    The workers want help, truth and no harm, but one likes long answers and one overlooks falsehoods, and all of them
    waver."""
    engine = open_engine(lab.settings.model, lab.machine)
    asked = prompts(lab.town, lab.asked, lab.settings.seed + 1)
    drawn = lab.answers(engine, asked, ANSWERS, 2)
    pairs = [replace(e, answers=e.answers[i : i + 2]) for e in drawn for i in range(0, ANSWERS, 2)]
    different = [e for e in pairs if e.answers[0].text != e.answers[1].text]
    judged = CROWD.compare(lab.town, different, "overall")
    kept = [e for e in judged if e.judgements[-1].strength]
    back = {e.prompt for e in asked[len(asked) * 9 // 10 :]}  # a question is on one side alone
    parts = {
        "comparisons": [e for e in kept if e.prompt not in back],
        "held-out": [e for e in kept if e.prompt in back],
    }
    for name, part in parts.items():
        write(lab.folder / f"{name}.jsonl", part, "truing")
    return {
        "counts": {
            "questions": len(asked),
            "pairs of answers": len(pairs),
            "same answer twice": len(pairs) - len(different),
            "no clear preference": len(judged) - len(kept),
            "to learn from": len(parts["comparisons"]),
            "kept back": len(parts["held-out"]),
        },
        "numbers": {"ceiling": CROWD.ceiling(lab.town, parts["held-out"], "overall")},
    }


def learn(lab: Lab) -> Found:
    """A preference model learns from the comparisons to score an answer as the crowd would."""
    judge = _taught(lab, "preference-model", "comparisons.jsonl")
    pairs = list(read(lab.place("held-out.jsonl")))
    gaps = margins(judge, pairs)
    lengths = [len(best.text) - len(other.text) for best, other in map(ordered, pairs)]
    return {
        "runs": ["preference-model"],
        "numbers": {
            "accuracy": share([float(gap > 0) for gap in gaps]),
            "length alone": float(np.mean([n > 0 for n in lengths])),
        },
        "gaps": [round(gap, 4) for gap in gaps],
        "counts": {"held-out comparisons": len(pairs)},
    }


def choose(lab: Lab) -> Found:
    """Nothing is trained here: the base model answers some of the questions sixteen times, and the preference model
    keeps the best answer."""
    policy = open_engine(lab.settings.model, lab.machine)
    judge = open_engine(lab.place("preference-model/model"), lab.machine)
    rated = with_rewards(judge, lab.answers(policy, lab.evaluation[: lab.questions // 3], 16, 3))
    best = [replace(e, answers=e.answers[-1:]) for e in rated]
    return evaluated(lab.town, "best of 16", best) | {
        "curve": best_of_curve(lab.town, rated),
        "base": typical(lab.town, rated),
        "cost": {"drawn": 0, "seconds": 0.0, "each": 16},
    }


def align(lab: Lab) -> Found:
    """The base model answers questions eight times each; it then learns to give those answers at once that the
    preference model likes best (negative log-likelihood on the best of eight)."""
    began = time.monotonic()
    policy = open_engine(lab.settings.model, lab.machine)
    judge = open_engine(lab.place("preference-model/model"), lab.machine)
    asked = prompts(lab.town, lab.wishes, lab.settings.seed + 2)
    rated = with_rewards(judge, lab.answers(policy, asked, ANSWERS, 4))
    best = [replace(e, answers=e.answers[-1:]) for e in rated]
    write(lab.folder / "best-of-8.jsonl", best, "truing")
    asking = time.monotonic() - began  # anew in every process; what is learnt goes on where it was
    run = offline(
        Offline(
            lab.settings.model,
            Data(lab.place("best-of-8.jsonl"), max_tokens=CONTEXT),
            method="nll",
            optim=Optim(lr=3e-4, batch=32, epochs=3, warmup=0.1),
            machine=lab.machine,
            watch=Watch(every=20, max_tokens=LONGEST),
            run=lab.run("aligned"),
        )
    )
    drawn = ANSWERS * len(asked)
    cost = {"drawn": drawn, "seconds": round(asking + run.view().seconds, 1), "each": 1}
    counts = {"questions": len(asked), "answers drawn": drawn, "learnt": len(best)}
    return lab.aligned("aligned", run) | {"counts": counts, "cost": cost}


def spoil(lab: Lab) -> Found:
    """Two faults, made on purpose. A crowd that loves long answers, and hardly looks whether they are true, judges some
    of the same pairs; the best of 256 by its preference model has a better and better score, and is it any better? And
    preference models that learn from shuffled judgements should end at one half."""
    pairs = [replace(e, judgements=()) for e in read(lab.place("comparisons.jsonl"))]
    biased = [e for e in WORDY.compare(lab.town, pairs[::2], "overall") if e.judgements[-1].strength]
    write(lab.folder / "comparisons-biased.jsonl", biased, "truing")
    policy = open_engine(lab.settings.model, lab.machine)
    asked = lab.evaluation[: lab.questions // 12]
    rated = with_rewards(_taught(lab, "biased", "comparisons-biased.jsonl"), lab.answers(policy, asked, 256, 5))
    held = list(read(lab.place("held-out.jsonl")))
    chance = [accuracy(margins(_taught_nonsense(lab, number, pairs), held)) for number in range(SHUFFLES)]
    return {
        "numbers": {"accuracy from shuffled judgements": interval(chance)},
        "curve": best_of_curve(lab.town, rated),
        "counts": {"questions": len(asked), "answers drawn": 256 * len(asked), "shuffles": SHUFFLES},
    }


def _taught_nonsense(lab: Lab, number: int, pairs: Sequence[Example]) -> Any:
    """The preference model of a tenth of the pairs, each with a coin for a judgement."""
    rng, name = Random(f"shuffled {lab.settings.seed} {number}"), f"shuffled-{number}"
    coins = [Judgement("order", rng.choice(((0, 1), (1, 0)))) for _ in pairs[number::10]]
    data = [replace(e, judgements=(coin,)) for e, coin in zip(pairs[number::10], coins)]
    write(lab.folder / f"comparisons-{name}.jsonl", data, "truing")
    return _taught(lab, name, f"comparisons-{name}.jsonl")


def _taught(lab: Lab, name: str, data: str) -> Any:
    """The preference model that comes from these comparisons."""
    run = pm(
        Pm(
            lab.settings.model,
            Data(lab.place(data), max_tokens=CONTEXT),
            held_out=0.0,  # they are kept back by the stage before
            optim=Optim(lr=5e-4, batch=32, epochs=1, warmup=0.1),
            machine=lab.machine,
            run=lab.run(name),
        )
    )
    return open_engine(run.model, lab.machine)


class Stage(NamedTuple):
    name: str
    title: str
    function: Callable[[Lab], Found]


STAGES = (
    Stage("look", "Look at the base model", look),
    Stage("collect", "Ask the crowd", collect),
    Stage("learn", "Learn what it prefers", learn),
    Stage("choose", "Choose the best of sixteen", choose),
    Stage("align", "Train the model to be like that", align),
    Stage("reinforce", "Train it on its own answers", reinforce),
    Stage("spoil", "See it go wrong", spoil),
)
