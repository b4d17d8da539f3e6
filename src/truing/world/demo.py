"""`truing demo`: the whole laboratory on the built-in world, stage by stage, with plain words on the way.

A stage is a function that takes the laboratory and returns what it found; what it found is a file in the demo's folder,
written as a whole when the stage is done. A repeated command reads the files that are there and goes on. To add a
stage, write the function and give it a row in STAGES.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from truing.align.offline import Offline, offline
from truing.align.preference import Pm, pm
from truing.config import recipe_hash
from truing.data import read, write
from truing.engine import open_engine
from truing.engine.base import Asking
from truing.records import Answer, Example, Judgement, Sampling, UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.run.progress import Progress
from truing.settings import Data, Machine, Optim, RunSettings, Watch
from truing.stats.calibration import accuracy
from truing.world.corpora import CROWD, prompts
from truing.world.crowd import Crowd, Worker
from truing.world.documents import CONTEXT
from truing.world.measure import (
    LONGEST,
    Found,
    best_of_curve,
    capabilities,
    evaluated,
    in_words,
    interval,
    margins,
    ordered,
    share,
    with_rewards,
)
from truing.world.town import town

# Ten words more are worth two thirds of everything else, and of ten falsehoods nine are believed.
WORDY = Crowd((Worker("wordy", length=4.0, blind=0.9),), seed=1)
SHUFFLES = 5  # what one preference model makes of coins is right in more or less than half: they are on average
ANSWERS = 8  # to each question that is asked to learn from


@dataclass(frozen=True)
class Demo:
    """The laboratory on the built-in world: a base model, a crowd, a preference model, an aligned model, the truth."""

    model: str = "world:base"
    """the model that is aligned; it has to speak the language of the world"""
    folder: str = "runs/demo"
    """where everything goes; the report is report.html in it"""
    quick: bool = False
    """a tenth of the work, to see that all of it runs"""
    seed: int = 0


class Lab:
    """What stages share: settings, sizes, the town, and the results so far."""

    def __init__(self, settings: Demo, machine: Machine) -> None:
        self.settings, self.machine, self.town = settings, machine, town(0)
        self.folder = Path(settings.folder)
        self.found: dict[str, dict[str, Any]] = {}
        few = 10 if settings.quick else 1
        self.questions, self.asked, self.wishes = 1500 // few, 3500 // few, 2500 // few
        self.evaluation = prompts(self.town, self.questions, settings.seed, held=True)

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def answers(self, engine: Asking, prompts: Sequence[Example], n: int, seed: int) -> list[Example]:
        """`n` answers to each prompt, as text: token ids are those of this engine's tokenizer."""
        bar, done = Progress("answers", 0, n * len(prompts)), 0

        def on_progress(count: int) -> None:
            nonlocal done
            done += count
            bar.show({"step": done})

        sampling = Sampling(n=n, max_tokens=LONGEST, seed=self.settings.seed + seed)
        try:
            drawn = engine.sample([example.prompt for example in prompts], sampling, on_progress)
        finally:
            bar.close()
        return [replace(e, answers=tuple(Answer(a.text, by=a.by) for a in e.answers)) for e in drawn]

    def skills(self, engine: Asking) -> Found:
        """What it can do when it gives its likeliest answer."""
        found = capabilities(self.town, engine, self.settings.seed, self.questions // 10)
        return {"skills": {skill: share([float(r) for r in right]) for skill, right in found.items() if right}}

    def run(self, name: str) -> RunSettings:
        return RunSettings(name=name, folder=str(self.folder), seed=self.settings.seed, save_every=100)


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
    """Nothing is trained here: the base model answers sixteen times, and the preference model keeps the best answer."""
    policy = open_engine(lab.settings.model, lab.machine)
    judge = open_engine(lab.place("preference-model/model"), lab.machine)
    rated = with_rewards(judge, lab.answers(policy, lab.evaluation, 16, 3))
    best = [replace(e, answers=e.answers[-1:]) for e in rated]
    return evaluated(lab.town, "best of 16", best) | {"curve": best_of_curve(lab.town, rated)}


def align(lab: Lab) -> Found:
    """The base model answers questions eight times each; it then learns to give those answers at once that the
    preference model likes best (negative log-likelihood on the best of eight)."""
    policy = open_engine(lab.settings.model, lab.machine)
    judge = open_engine(lab.place("preference-model/model"), lab.machine)
    asked = prompts(lab.town, lab.wishes, lab.settings.seed + 2)
    rated = with_rewards(judge, lab.answers(policy, asked, ANSWERS, 4))
    best = [replace(e, answers=e.answers[-1:]) for e in rated]
    write(lab.folder / "best-of-8.jsonl", best, "truing")
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
    engine = open_engine(run.model, lab.machine)
    counts = {"questions": len(asked), "answers drawn": ANSWERS * len(asked), "learnt": len(best)}
    answers = with_rewards(judge, lab.answers(engine, lab.evaluation, 1, 1))
    return evaluated(lab.town, "aligned", answers) | lab.skills(engine) | {"runs": ["aligned"], "counts": counts}


def spoil(lab: Lab) -> Found:
    """Two faults, made on purpose. A crowd that loves long answers, and hardly looks whether they are true, judges some
    of the same pairs; the best of 256 by its preference model has a better and better score, and is it any better? And
    preference models that learn from shuffled judgements should end at one half."""
    pairs = [replace(e, judgements=()) for e in read(lab.place("comparisons.jsonl"))]
    biased = [e for e in WORDY.compare(lab.town, pairs[::4], "overall") if e.judgements[-1].strength]
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
    Stage("spoil", "See it go wrong", spoil),
)


def demo(settings: Demo) -> Path:
    """Run the stages that are not done yet; returns the folder."""
    lab = Lab(settings, Machine(dtype="fp32"))
    lab.folder.mkdir(parents=True, exist_ok=True)
    _check_same(lab)
    for number, stage in enumerate(STAGES, 1):
        file = lab.folder / f"{number}-{stage.name}.json"
        words = " ".join((stage.function.__doc__ or "").split())
        if not file.exists():
            say(f"\n{number}. {stage.title}\n   {words}")
            began = time.monotonic()
            found = stage.function(lab)
            about = {"stage": stage.name, "title": stage.title, "words": words}
            write_text(file, json.dumps({**about, **found, "seconds": round(time.monotonic() - began, 1)}, indent=1))
            say(in_words(found))
        lab.found[stage.name] = json.loads(file.read_text("utf-8"))
    return lab.folder


def _check_same(lab: Lab) -> None:
    """A folder belongs to one set of settings."""
    file, identity = lab.folder / "demo.json", recipe_hash(replace(lab.settings, folder=""))
    if not file.exists():
        write_text(file, json.dumps({"identity": identity, **asdict(lab.settings)}, indent=1))
    elif json.loads(file.read_text("utf-8"))["identity"] != identity:
        raise UserError(f"{lab.folder} holds a demo with other settings: remove it, or choose another --folder.")
