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
from tempfile import TemporaryDirectory
from typing import Any, Literal

from truing.align.ingredients import Ppo
from truing.align.ppo import ppo
from truing.align.preference import Pm, pm
from truing.align.rewards import Part
from truing.claims.aligned import judge, worth
from truing.claims.lessons import TOWN
from truing.claims.work import MACHINE, alone
from truing.config import load
from truing.engine import open_engine
from truing.engine.open import open_local
from truing.evaluate.judges import Scorer
from truing.records import Example, Sampling, fingerprint
from truing.schema import merge
from truing.settings import Data, Optim, RunSettings
from truing.stats.laws import predicted_slope
from truing.world.build import shipped
from truing.world.corpora import prompts
from truing.world.crowd import Crowd, Worker
from truing.world.documents import CONTEXT
from truing.world.measure import LONGEST

Name = Literal["noisy", "wordy"]
CROWDS = {"noisy": Crowd((Worker("noisy", scale=6.0),)), "wordy": Crowd((Worker("wordy", length=2.0, blind=0.3),))}
PAIRS, ASKED, HELD = 4000, 1500, 300
RATE, CRITIC_RATE, WARMUP = 1e-4, 3e-4, 10  # of models this small; Zheng et al. give those of 7 B
CURVES = (
    *("reward", "reward/world:gold.overall", "kl", "kl_per_token", "length", "unfinished", "ref_perplexity"),
    *("perplexity", "composite", "repetition", "unique", "reward/p5", "reward/p50", "reward/p95"),
    *("advantage", "advantage_size", "policy/total", "critic/total"),
)
Made = Mapping[str, Any]


def taught(folder: Path, size: str, crowd: Name, seed: int) -> str:
    """The preference model of a crowd that has seen pairs of this policy's answers."""
    name = f"liked-{fingerprint([size, shipped(size)['weights'], crowd, seed, PAIRS])[:12]}"
    place = folder / name
    with alone(place):
        if not place.exists():
            asked = prompts(TOWN, PAIRS // 4, seed)
            sampling = Sampling(n=8, max_tokens=LONGEST, seed=seed)
            drawn = open_engine(f"world:{size}", MACHINE).sample([e.prompt for e in asked], sampling)
            texts = [replace(e, answers=tuple(replace(a, ids=None, logps=None) for a in e.answers)) for e in drawn]
            pairs = [replace(e, answers=e.answers[i : i + 2]) for e in texts for i in range(0, 8, 2)]
            judged = replace(CROWDS[crowd], seed=seed).compare(TOWN, [e for e in pairs if _differ(e)], "overall")
            with TemporaryDirectory(dir=folder, prefix=".liked-") as scratch:
                optim = Optim(lr=5e-4, batch=32, warmup=0.1)
                run = RunSettings(name="run", folder=scratch, seed=seed, save_every=0)
                settings = Pm(f"world:{size}", _data(), optim=optim, machine=MACHINE, run=run)
                Path(pm(settings, [e for e in judged if e.judgements[-1].strength]).model).rename(place)
    return str(place)


def _differ(pair: Example) -> bool:
    return pair.answers[0].text != pair.answers[1].text


def rolled(
    folder: Path, *, arm: str, preset: str, seed: int, size: str = "small", crowd: Name = "wordy", **settings: Any
) -> dict[str, Any]:
    """`settings`: keys of the recipe with their values, "kl.coefficient" and so on, on top of the preset; `arm` is
    what they are called."""
    model = taught(folder, size, crowd, seed)
    asked = prompts(TOWN, ASKED, seed)
    with TemporaryDirectory(dir=folder, prefix=".rolled-") as scratch:
        recipe = {
            "model": f"world:{size}",
            "data": {"path": "memory", "max_tokens": CONTEXT},
            "rewards": [model, "world:gold*0"],
            "preset": preset,
            "critic": {"lr": CRITIC_RATE},
            "optim": {"lr": RATE, "warmup": WARMUP, "schedule": "constant"},
            "sampling": {"max_tokens": LONGEST},
            "run": {"name": "run", "folder": scratch, "seed": seed, "save_every": 0},
        }
        how = replace(load(Ppo, reduce(merge, map(_nested, settings.items()), recipe)), machine=MACHINE)
        judges = [Part(Scorer(open_local(model, MACHINE)), bounds=None), judge("overall")._replace(weight=0.0)]
        done = ppo(how, judges, [(model, 1.0)], (), asked)
        view = done.view()
        curves = {name: [round(value, 5) for _, value in view.series(name)] for name in CURVES}
        held = prompts(TOWN, HELD, seed, held=True)
        return worth(done.model, seed, held) | {f"curve/{name}": curve for name, curve in curves.items() if curve}


def _nested(setting: tuple[str, Any]) -> dict[str, Any]:
    key, value = setting
    return reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), value)  # type: ignore[return-value]


def _data() -> Data:
    return Data("memory", max_tokens=CONTEXT)


def started(folder: Path, *, seed: int, size: str = "small", crowd: Name = "wordy") -> dict[str, Any]:
    """Where all arms begin: the truth about the policy, and how well its preference model knows it."""
    held = prompts(TOWN, HELD, seed, held=True)
    sampling = Sampling(n=4, max_tokens=LONGEST, seed=seed + 1)
    drawn = open_engine(f"world:{size}", MACHINE).sample([e.prompt for e in held], sampling)
    scores = open_engine(taught(folder, size, crowd, seed), MACHINE).score(drawn)
    slope = predicted_slope([[float(s.reward or 0) for s in row] for row in scores])
    return worth(f"world:{size}", seed, held) | {"slope": slope}
