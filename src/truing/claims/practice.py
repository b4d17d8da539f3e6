"""Policies that claims about RLHF share: PPO with the settings of Bai et al., and everything that can be seen of it.

Answers of world:small are compared, and the comparisons cut in two by their prompts. One half teaches the preference
model that a policy practises for, the other half one that looks on, as the truth does. Or a preference model has learnt
from sessions, as those of other claims have. A policy is kept with its curves, for whatever is asked of it afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np

from truing.align.ppo import ppo
from truing.align.rewards import Part, as_text
from truing.claims.aligned import judge
from truing.claims.lessons import TOWN, Lesson, shuffled
from truing.claims.made import imitated, liking
from truing.claims.rl import ASKED, CROWDS, RATE, Name, recipe
from truing.claims.work import MACHINE, alone
from truing.data import read, write
from truing.engine import open_engine
from truing.engine.open import open_local
from truing.evaluate.judges import Scorer
from truing.records import Example, Sampling, fingerprint
from truing.stats.laws import agreement, spread
from truing.world.build import shipped
from truing.world.corpora import prompts
from truing.world.judge import gold
from truing.world.language import KIND
from truing.world.measure import LONGEST
from truing.world.mixtures import Mixture
from truing.world.sessions import ASKED as SESSIONS

WRITER, WRITTEN, EACH, LESSONS, SHOWN = "small", 1500, 8, 2000, 4000
BEGUN = 2  # answers of the start to each prompt
ROLLOUTS = 128  # half of what the preset has, in half of its steps
PM_RATE = 0.25  # of the rate that a size was pre-trained with
SKILLS = ("sum", "list", "code")
LANGUAGE = tuple(name for name in KIND if name not in SKILLS)
CURVES = ("kl", "kl_k3", "reward", "length", "repetition", "unique", "ref_perplexity", "perplexity")
Judged = Literal["noisy", "wordy", "coins", "helpful", "harmless", "helpful+harmless"]


def written(folder: Path, seed: int) -> list[Example]:
    """Several answers to each of some prompts, which whoever judges them shares."""
    file = folder / f"written-{fingerprint([WRITER, shipped(WRITER)['weights'], WRITTEN, EACH, seed])[:12]}.jsonl"
    with alone(file):
        if not file.exists():
            asked = prompts(TOWN, WRITTEN, seed)
            sampling = Sampling(n=EACH, max_tokens=LONGEST, seed=seed)
            drawn = open_engine(f"world:{WRITER}", MACHINE).sample([e.prompt for e in asked], sampling)
            write(file, as_text(drawn, asked), "truing")
    return list(read(file))


def half(folder: Path, judged: Judged, size: str, seed: int, which: int = 0) -> str:
    """A preference model from comparisons of answers to every second prompt. `coins`: which answer is better is a coin,
    of those that the noisy crowd has compared."""
    prints = [judged, size, shipped(size)["weights"], shipped(WRITER)["weights"], seed, WRITTEN, EACH, PM_RATE, which]

    def clear() -> list[Example]:
        pairs = [pair for e in written(folder, seed)[which::2] for pair in paired(e)]
        crowd = replace(CROWDS["wordy" if judged == "wordy" else "noisy"], seed=seed)
        found = [e for e in crowd.compare(TOWN, pairs, "overall") if e.judgements[-1].strength]
        return shuffled(found, seed) if judged == "coins" else found

    return liking(folder / f"half-{fingerprint(prints)[:12]}", size, PM_RATE, clear, seed)


def paired(example: Example) -> list[Example]:
    """Every answer beside the next one and the one after that, where they differ."""
    said = example.answers
    both = [(a, said[(n + step) % len(said)]) for n, a in enumerate(said) for step in (1, 2)]
    return [replace(example, answers=pair) for pair in both if pair[0].text != pair[1].text]


def skilled(folder: Path, size: str, seed: int) -> str:
    """A policy that has practised sums, lists and programs with an expert."""
    place = folder / f"skilled-{fingerprint([size, shipped(size)['weights'], seed, SHOWN])[:12]}"

    def shown() -> list[Example]:
        return [replace(e, answers=e.answers[:1]) for e in Mixture(noise=0.0, kinds=SKILLS)(TOWN, SHOWN, seed)]

    return imitated(place, size, 0.2, shown, seed)


@dataclass(frozen=True)
class Practice:
    """A policy, and all that it depends on."""

    size: str
    judged: Judged
    """by whom, or what for"""
    seed: int
    iterations: int
    pm: str = "small"
    """size of the preference model"""
    share: float | None = None
    """of prompts of helpful sessions, the others are of red-team sessions; none: every kind as often as it is asked"""
    watched: bool = False
    """by a preference model from the other half of the comparisons"""
    skills: bool = False
    """it begins with more practice in skills, and is asked about everything else"""

    def start(self, folder: Path) -> str:
        return skilled(folder, self.size, self.seed) if self.skills else f"world:{self.size}"

    def teacher(self, folder: Path) -> str:
        if self.judged in get_args(Name) or self.judged == "coins":
            return half(folder, self.judged, self.pm, self.seed)
        n = LESSONS * (1 + ("+" in self.judged))
        return Lesson(self.pm, self.judged, n, self.seed).model(folder)

    def asked(self) -> dict[str, list[Example]]:
        """Pools of prompts, of which no preference model has seen more than another."""
        if self.share is None:
            return {"all": prompts(TOWN, ASKED, self.seed + 1000, kinds=LANGUAGE if self.skills else None)}
        found = {}
        for name, share in (("helpful", self.share), ("harmless", 1 - self.share)):
            if share:
                pool = prompts(TOWN, ASKED, self.seed + 1000, kinds=SESSIONS[name])
                found[name] = [replace(e, meta={"wanted": name}) for e in pool]
        return found

    def done(self, folder: Path) -> tuple[str, dict[str, list[float]]]:
        """The policy and its curves; practised, unless it is there."""
        weights = [shipped(size)["weights"] for size in (self.size, self.pm, WRITER)]
        prints = [asdict(self), *weights, WRITTEN, EACH, PM_RATE, ROLLOUTS, RATE]
        place = folder / f"practised-{fingerprint(prints)[:12]}"
        with alone(place):
            if not place.exists():
                self._practise(folder, place)
        return str(place), json.loads((place / "curves.json").read_text("utf-8"))

    def _practise(self, folder: Path, place: Path) -> None:
        teacher, pools = self.teacher(folder), self.asked()
        judges = self._judges(folder, list(pools))
        with TemporaryDirectory(dir=folder, prefix=".practised-") as scratch:
            files = [f"{scratch}/{name}.jsonl" for name in pools]
            for file, pool in zip(files, pools.values()):
                write(file, pool, "truing")
            weights = [self.share, 1 - self.share] if self.share and len(files) > 1 else None
            own = {
                "data": {"path": files, "weights": weights},
                "rewards": [teacher],
                "iterations": self.iterations,
                "rollouts": ROLLOUTS,
                "optim": {"batch": 32},
            }
            how = recipe(self.start(folder), "bai2022", scratch, self.seed, own)
            done = ppo(how, list(judges.values()), [(teacher, 1.0)])
            view, model = done.view(), Path(done.model)
            curves = {name: view.series(name) for name in CURVES}
            curves |= {name: view.series(f"reward/{part.label}") for name, part in judges.items()}
            kept = {name: [round(v, 5) for _, v in series] for name, series in curves.items() if series}
            (model / "curves.json").write_text(json.dumps(kept), "utf-8")
            model.rename(place)

    def _judges(self, folder: Path, pools: Sequence[str]) -> dict[str, Part]:
        """Who teaches, for each pool by itself where there are several; then those who look on."""
        scorer = Scorer(open_local(self.teacher(folder), MACHINE))
        found = {name: Part(scorer, bounds=None, only=("wanted", name)) for name in pools}
        if self.share is None:
            found = {"train": Part(scorer, bounds=None)}
        if self.watched:
            test = open_local(half(folder, self.judged, self.pm, self.seed, 1), MACHINE)
            found["test"] = Part(Scorer(test), 0.0, bounds=None)
        return found | {"gold": judge("overall")._replace(weight=0.0)}


def climbed(folder: Path, **practice: Any) -> dict[str, Any]:
    """A policy's curves, and what there is to know about its judges where it begins: on the start's answers to the
    prompts that it practises on, two to each, every judge's mean (scores have no zero of their own) and its spread
    among the answers to one prompt, and the correlation with the one that teaches."""
    one = Practice(watched=True, **practice)
    _, curves = one.done(folder)
    asked = [e for pool in one.asked().values() for e in pool]
    sampling = Sampling(n=BEGUN, max_tokens=LONGEST, seed=one.seed)
    drawn = as_text(open_engine(one.start(folder), MACHINE).sample([e.prompt for e in asked], sampling), asked)
    scores = {"gold": [[gold(TOWN, e.prompt, a.text).overall for a in e.answers] for e in drawn]}
    for name, which in (("train", 0), ("test", 1)):
        said = open_engine(half(folder, one.judged, one.pm, one.seed, which), MACHINE).score(drawn)
        scores[name] = [[float(s.reward or 0) for s in row] for row in said]
    found: dict[str, Any] = {f"curve/{name}": curve for name, curve in curves.items()}
    for name, rows in scores.items():
        found |= {f"{name}/mean": float(np.mean(rows)), f"{name}/sigma": spread(rows)}
        found[f"{name}/agrees"] = agreement(scores["train"], rows)
    return found
