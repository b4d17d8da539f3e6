"""Studies of what a policy does with requests that pull two ways, with a skill that nobody asked about, and of choosing
among many answers instead of practising.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from truing.align.bestofn import expected_best, selection
from truing.align.rewards import as_text
from truing.claims.lessons import TOWN, drawn
from truing.claims.practice import SKILLS, WRITER, Judged, Practice, half
from truing.claims.prompting import HARM_BELOW, TALKS, spec
from truing.claims.rl import HELD
from truing.claims.work import MACHINE
from truing.engine import open_engine
from truing.engine.base import Asking
from truing.records import Example, Sampling
from truing.stats.laws import percentile_of
from truing.world.corpora import HARMLESS, prompts
from truing.world.judge import gold, read
from truing.world.language import request_in
from truing.world.measure import LONGEST
from truing.world.sessions import ASKED as SESSIONS
from truing.world.sessions import DECLINES

REFUSED, POOL, CHOSEN_FROM = 4, 256, 64  # answers to a request that sounds harmful; answers and prompts of a pool
SCORED = 500  # comparisons of each kind that a policy's scores are laid beside
TRIES, TEMPERATURES, SUMS = 16, (0.6, 1.0), 40
Who = Literal["start", "practised", "prompted"]


def pulled(
    folder: Path, *, arm: str, size: str, seed: int, iterations: int, judged: Judged | None, share: float
) -> dict[str, Any]:
    """What a policy that practised for this, on so many helpful prompts, does for whom; `judged` none: the start. And
    where its scores lie among those of what its preference model has learnt from, while it practised and at the end.
    Lists have one entry for each held-out prompt."""
    one = Practice(size, judged or "helpful", seed, iterations, share=share)
    model, curves = one.done(folder) if judged else (f"world:{size}", {})
    found: dict[str, Any] = _behaviour(open_engine(model, MACHINE), seed)
    if judged != "helpful+harmless":
        return found
    teacher = open_engine(one.teacher(folder), MACHINE)
    for name in ("helpful", "harmless"):
        data = [float(s.reward or 0) for row in teacher.score(drawn(name, SCORED, seed, held=True)) for s in row]
        found[f"curve/{name}"] = [round(percentile_of(value, data), 2) for value in curves[name]]
        asked = prompts(TOWN, HELD, seed, held=True, kinds=SESSIONS[name])
        for who, policy in (("before", one.start(folder)), ("after", model)):
            said = teacher.score(as_text(_said(open_engine(policy, MACHINE), asked, seed, 1), asked))
            found[f"{name}/{who}"] = percentile_of(float(np.mean([row[0].reward for row in said])), data)
    return found


def _said(engine: Asking, asked: Sequence[Example], seed: int, n: int, temperature: float = 1.0) -> list[Example]:
    sampling = Sampling(n=n, max_tokens=LONGEST, temperature=temperature, seed=seed)
    return engine.sample([e.prompt for e in asked], sampling)


def _behaviour(engine: Asking, seed: int) -> dict[str, Any]:
    """Harm that is done where it is asked for; help and refusals where there is no harm in it, and where it only sounds
    as if there were."""
    pools = {
        "harmful": prompts(TOWN, 10 * HELD, seed, held=True, kinds=("harm",)),
        "borderline": prompts(TOWN, 10 * HELD, seed, held=True, kinds=("borderline",)),
        "benign": prompts(TOWN, HELD, seed, held=True, kinds=HARMLESS),
    }
    found: dict[str, Any] = {}
    for name, asked in pools.items():
        said = _said(engine, asked, seed, 1 if name == "benign" else REFUSED)
        worth = [[gold(TOWN, e.prompt, a.text) for a in e.answers] for e in said]
        forms = [[set(read(TOWN, e.prompt, a.text).forms) for a in e.answers] for e in said]
        found[f"{name}/harm"] = [float(np.mean([v.harmless < HARM_BELOW for v in row])) for row in worth]
        found[f"{name}/helpful"] = [float(np.mean([v.helpful for v in row])) for row in worth]
        found[f"{name}/refused"] = [float(np.mean([bool(f & DECLINES) for f in row])) for row in forms]
    return found


def able(folder: Path, *, size: str, seed: int, iterations: int, who: Who) -> dict[str, Any]:
    """Sums, lists and programs by a policy that has practised them and then language alone. Of `TRIES` answers to each,
    at each of two temperatures: the chance that one of k of them is right."""
    one = Practice(size, "noisy", seed, iterations, skills=True)
    model = one.done(folder)[0] if who == "practised" else one.start(folder)
    if who == "prompted":
        model += "+prompt:" + spec(folder, size, "good", TALKS, seed).partition("+prompt:")[2]
    engine = open_engine(model, MACHINE)
    asked = [e for kind in SKILLS for e in prompts(TOWN, SUMS, seed, held=True, kinds=(kind,))]
    asked = [e for e in asked if (r := request_in(TOWN, e.prompt)) and r.nature == "task"]
    found: dict[str, Any] = {"asked": len(asked)}
    for temperature in TEMPERATURES:
        right = [
            [float(read(TOWN, e.prompt, a.text).verdict.solved == 1) for a in e.answers]
            for e in _said(engine, asked, seed, TRIES, temperature)
        ]
        for k in (1, 4, TRIES):
            found[f"{temperature:g}/{k}"] = [round(expected_best(row, k), 5) for row in right]
    said = _said(engine, prompts(TOWN, HELD, seed, held=True), seed, 1)
    return found | {"gold": [round(gold(TOWN, e.prompt, e.answers[0].text).overall, 4) for e in said]}


def pooled(folder: Path, *, size: str, seed: int) -> dict[str, Any]:
    """The best of k by the preference models of two crowds, from one pool of answers: what it is worth to the one that
    chooses, to one from other comparisons of the same crowd, and in truth. Lists go over k = 1, 2, 4 …"""
    asked = prompts(TOWN, CHOSEN_FROM, seed, held=True)
    pool = as_text(_said(open_engine(f"world:{WRITER}", MACHINE), asked, seed, POOL), asked)
    worth = np.array([[gold(TOWN, e.prompt, a.text).overall for a in e.answers] for e in pool])
    ks = [2**i for i in range(POOL.bit_length())]
    found: dict[str, Any] = {"k": ks}
    crowd: Judged
    for crowd in ("noisy", "wordy"):
        engines = [open_engine(half(folder, crowd, size, seed, which), MACHINE) for which in (0, 1)]
        train, test = (np.array([[s.reward for s in row] for row in engine.score(pool)]) for engine in engines)
        chosen = partial(_chosen, train, ks)
        found |= {f"{crowd}/train": chosen(train), f"{crowd}/test": chosen(test), f"{crowd}/gold": chosen(worth)}
    return found


def _chosen(by: np.ndarray, ks: Sequence[int], values: np.ndarray) -> list[float]:
    """k → what the best of k by one score is worth by another."""
    return [float(np.mean([selection(row, k) @ value for row, value in zip(by, values)])) for k in ks]
