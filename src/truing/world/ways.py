"""Ways to use a preference model: the demo's stage that learns from own answers, and all of them beside each other.

The same base model, the same preference model, the same held-out questions; gold says what came of it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from truing.align.ingredients import OPTIM, Critic, Ppo
from truing.align.ppo import ppo
from truing.align.rewards import Part
from truing.data import write
from truing.engine import open_engine
from truing.evaluate.judges import Rule, Scorer
from truing.records import Sampling
from truing.run import Run
from truing.settings import Data
from truing.world.corpora import prompts
from truing.world.documents import CONTEXT
from truing.world.judge import gold
from truing.world.lab import Lab
from truing.world.measure import LONGEST, SCORES, Found, interval

ITERATIONS, PRETRAIN, ROLLOUTS = 60, 10, 64
RATE, CRITIC_RATE = 1e-4, 3e-4  # of a model this small; those of PPO-max are for 7 B
POINTS = 10  # of the course: means of as many iterations each
CURVES = ("reward", "reward/gold")


def reinforce(lab: Lab) -> Found:
    """The same preference model, used in a third way: the base model answers, and what is scored better than expected
    becomes likelier (proximal policy optimisation, with the choices of PPO-max). Then all ways beside each other: what
    does each gain by the preference model, what in truth, and what did it cost?"""
    run = _learnt(lab)
    drawn = ITERATIONS // lab.few * ROLLOUTS
    found = lab.aligned("PPO-max", run)
    found |= {
        "cost": {"drawn": drawn, "seconds": round(run.view().seconds, 1), "each": 1},
        "counts": {"answers drawn": drawn},
        "course": _course(run, PRETRAIN // lab.few),
    }
    ways = [lab.found["choose"], lab.found["align"], found]
    return found | {"ways": [{"who": way["who"], **_gained(lab, way), "cost": way["cost"]} for way in ways]}


def _learnt(lab: Lab) -> Run:
    """Gold looks on, on the very answers that are learnt from; nothing is learnt from it."""
    questions, model = lab.folder / "questions.jsonl", lab.place("preference-model/model")
    write(questions, prompts(lab.town, lab.wishes, lab.settings.seed + 2), "truing")  # those of the stage before
    how = Ppo(
        lab.settings.model,
        Data(str(questions), max_tokens=CONTEXT),
        rewards=(model, "world:gold*0"),
        iterations=ITERATIONS // lab.few,
        rollouts=ROLLOUTS,
        critic=Critic(lr=CRITIC_RATE, pretrain=PRETRAIN // lab.few),
        sampling=Sampling(max_tokens=LONGEST),
        optim=replace(OPTIM, lr=RATE, batch=ROLLOUTS // 4, warmup=10),
        machine=lab.machine,
        run=lab.run("ppo-max"),
    )
    truth = Rule("gold", lambda prompt, answer: gold(lab.town, prompt, answer).overall)
    return ppo(how, [Part(Scorer(open_engine(model, lab.machine)), bounds=None), Part(truth, 0.0)], [(model, 1.0)])


def _course(run: Run, alone: int) -> list[dict[str, float]]:
    """Reward and gold while it learns, against the iterations in which the critic learns alone, and the answers drawn
    until then."""
    series = np.array([[value for _, value in run.view().series(name)] for name in CURVES])
    gain = series[:, alone:] - series[:, :alone].mean(1, keepdims=True)
    spans = np.array_split(np.arange(gain.shape[1]), min(POINTS, gain.shape[1]))
    points = [{"drawn": ROLLOUTS * alone, **dict.fromkeys(SCORES, 0.0)}]
    for span in spans:
        mean = gain[:, span].mean(1).round(4).tolist()
        points.append({"drawn": int(ROLLOUTS * (alone + span[-1] + 1)), **dict(zip(SCORES, mean))})
    return points


def _gained(lab: Lab, way: Found) -> Found:
    """Against the mean of the base model's answers to the same question; over the questions that all were asked."""
    base = np.array(lab.found["choose"]["base"])
    rows = way["answers"][: len(base)]
    own = [(r["reward"], gold(lab.town, e.prompt, r["answer"]).overall) for r, e in zip(rows, lab.evaluation)]
    return {name: interval(gain) for name, gain in zip(SCORES, (np.array(own) - base).T)}
