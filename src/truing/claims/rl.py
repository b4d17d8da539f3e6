"""Studies of learning from own answers: one arm of PPO with one seed, and everything that can be seen of it.

A crowd judges pairs of the policy's own answers, a preference model learns from that, and PPO raises its score. One
crowd wavers and is right on average (`noisy`), another one likes long answers and believes most falsehoods (`wordy`).
The truth is looked at in every iteration, on the very answers that are learnt from; nothing is learnt from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from truing.align.ingredients import Ppo
from truing.align.ppo import ppo
from truing.align.rewards import Part
from truing.claims.aligned import judge, worth
from truing.claims.lessons import TOWN
from truing.claims.made import imitated, liking
from truing.claims.work import MACHINE
from truing.config import load
from truing.data import write
from truing.engine import open_engine
from truing.engine.open import open_local
from truing.evaluate.judges import Scorer
from truing.objectives import NLL
from truing.records import Answer, Example, Sampling, fingerprint
from truing.schema import merge
from truing.stats.laws import predicted_slope
from truing.world.build import shipped
from truing.world.corpora import answered, prompts
from truing.world.crowd import Crowd, Worker
from truing.world.documents import CONTEXT
from truing.world.judge import gold
from truing.world.measure import LONGEST

Name = Literal["noisy", "wordy"]
CROWDS = {"noisy": Crowd((Worker("noisy", scale=6.0),)), "wordy": Crowd((Worker("wordy", length=2.0, blind=0.3),))}
PAIRS, ASKED, HELD, MIXED, SCRAMBLED = 4000, 1500, 300, 2000, 8000
RATE, CRITIC_RATE, WARMUP = 1e-4, 3e-4, 10  # of models this small; Zheng et al. give those of 7 B
CURVES = (
    *("reward", "reward/world:gold.overall", "kl", "kl_per_token", "length", "unfinished", "ref_perplexity"),
    *("perplexity", "composite", "repetition", "unique", "reward/p5", "reward/p50", "reward/p95"),
    *("advantage", "advantage_size", "policy/total", "critic/total", "entropy"),
)
Made = Mapping[str, Any]


def taught(folder: Path, size: str, crowd: Name, seed: int, pairs: int = PAIRS) -> str:
    """The preference model of a crowd that has seen pairs of this policy's answers."""
    name = f"liked-{fingerprint([size, shipped(size)['weights'], crowd, seed, pairs])[:12]}"
    return liking(folder / name, size, 1 / 8, lambda: compared(size, crowd, seed, pairs), seed)


def compared(size: str, crowd: Name, seed: int, count: int, *, held: bool = False) -> list[Example]:
    """At most so many pairs of the policy's answers, four to a prompt, with the crowd's choices where it has one."""
    asked = prompts(TOWN, count // 4, seed, held=held)
    sampling = Sampling(n=8, max_tokens=LONGEST, seed=seed)
    drawn = open_engine(f"world:{size}", MACHINE).sample([e.prompt for e in asked], sampling)
    texts = [replace(e, answers=tuple(replace(a, ids=None, logps=None) for a in e.answers)) for e in drawn]
    pairs = [replace(e, answers=e.answers[i : i + 2]) for e in texts for i in range(0, 8, 2)]
    differ = [e for e in pairs if e.answers[0].text != e.answers[1].text]
    judged = replace(CROWDS[crowd], seed=seed).compare(TOWN, differ, "overall")
    return [e for e in judged if e.judgements[-1].strength]


def scrambled(folder: Path, size: str, seed: int) -> str:
    """A policy that has not been fine-tuned to answer: it has imitated answers with their words in any order."""
    place = folder / f"scrambled-{fingerprint([size, shipped(size)['weights'], seed, SCRAMBLED])[:12]}"

    def texts() -> list[Example]:
        rng = Random(f"scrambled {seed}")
        return [replace(e, answers=(_in_any_order(e.answers[0], rng),)) for e in answered(TOWN, SCRAMBLED, seed, 1)]

    return imitated(place, size, 1.0, texts, seed)


def _in_any_order(answer: Answer, rng: Random) -> Answer:
    said = answer.text.split()
    return replace(answer, text=" ".join(rng.sample(said, len(said))))


def rolled(
    folder: Path,
    *,
    arm: str,
    preset: str,
    seed: int,
    size: str = "small",
    crowd: Name = "wordy",
    pairs: int = PAIRS,
    begin: Literal["tuned", "scrambled"] = "tuned",
    mix: float = 0.0,
    **settings: Any,
) -> dict[str, Any]:
    """`settings`: keys of the recipe with their values, "kl.coefficient" and so on, on top of the preset; `arm` is
    what they are called. `pairs`: what the preference model has learnt from; `mix`: weight of texts as the policy was
    pre-trained on."""
    model = taught(folder, size, crowd, seed, pairs)
    asked = prompts(TOWN, ASKED, seed)
    start = f"world:{size}" if begin == "tuned" else scrambled(folder, size, seed)
    with TemporaryDirectory(dir=folder, prefix=".rolled-") as scratch:
        own: Made = {"data": {"path": "memory"}, "rewards": [model, "world:gold*0"], "optim": {"schedule": "constant"}}
        if mix:
            write(texts := f"{scratch}/texts.jsonl", answered(TOWN, MIXED, seed, 1), "truing")
            own = {**own, "mix": {"path": texts, "weight": mix}}
        how = recipe(start, preset, scratch, seed, own, *map(_nested, settings.items()))
        judges = [Part(Scorer(open_local(model, MACHINE)), bounds=None), judge("overall")._replace(weight=0.0)]
        done = ppo(how, judges, [(model, 1.0)], (), asked)
        view = done.view()
        curves = {name: [round(value, 5) for _, value in view.series(name)] for name in CURVES}
        found = worth(done.model, seed, prompts(TOWN, HELD, seed, held=True)) | {"nll": forgot(done.model, seed)}
        return found | {f"curve/{name}": curve for name, curve in curves.items() if curve}


def recipe(start: str, preset: str, scratch: str, seed: int, *more: Made) -> Ppo:
    """What all arms have in common, and what is their own."""
    common: Made = {
        "model": start,
        "data": {"max_tokens": CONTEXT},
        "preset": preset,
        "critic": {"lr": CRITIC_RATE},
        "optim": {"lr": RATE, "warmup": WARMUP},
        "sampling": {"max_tokens": LONGEST},
        "run": {"name": "run", "folder": scratch, "seed": seed, "save_every": 0},
    }
    return replace(load(Ppo, reduce(merge, more, common)), machine=MACHINE)


def forgot(model: str, seed: int) -> float:
    """Loss on texts as the policy was pre-trained on: nats per token."""
    engine = open_local(model, MACHINE)
    texts, _ = engine.encode(answered(TOWN, HELD, f"{seed} held", 1), allow_empty=False)
    return float(engine.measure(texts, NLL)["loss"])


def _nested(setting: tuple[str, Any]) -> dict[str, Any]:
    key, value = setting
    return reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), value)  # type: ignore[return-value]


def started(
    folder: Path, *, seed: int, size: str = "small", crowd: Name = "wordy", pairs: int = PAIRS
) -> dict[str, Any]:
    """Where all arms begin: the truth about the policy, and how well its preference model knows it."""
    held = prompts(TOWN, HELD, seed, held=True)
    sampling = Sampling(n=4, max_tokens=LONGEST, seed=seed + 1)
    drawn = open_engine(f"world:{size}", MACHINE).sample([e.prompt for e in held], sampling)
    scores = open_engine(taught(folder, size, crowd, seed, pairs), MACHINE).score(drawn)
    slope = predicted_slope([[float(s.reward or 0) for s in row] for row in scores])
    found = worth(f"world:{size}", seed, held) | {"slope": slope, "nll": forgot(f"world:{size}", seed)}
    return found | agreement(folder, size, crowd, seed, pairs)


def agreement(folder: Path, size: str, crowd: Name, seed: int, pairs: int) -> dict[str, float]:
    """How often the preference model is right about pairs to held-out prompts: by the crowd's choices (`right`), and by
    gold, of those that differ in it (`true`)."""
    judged = compared(size, crowd, seed, PAIRS // 4, held=True)
    scores = open_engine(taught(folder, size, crowd, seed, pairs), MACHINE).score(judged)
    first = [float(a.reward or 0) > float(b.reward or 0) for a, b in scores]
    chosen = [e.judgements[-1].value[0] == 0 for e in judged]
    worths = [[gold(TOWN, e.prompt, a.text).overall for a in e.answers] for e in judged]
    known = [one == (a > b) for one, (a, b) in zip(first, worths) if a != b]
    return {"right": float(np.mean([a == b for a, b in zip(first, chosen)])), "true": float(np.mean(known))}
