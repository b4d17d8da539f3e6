"""Is it seen in a model's states that it takes on a trait, before its answers show it? One DPO run on comparisons in
which somebody with the trait is preferred, or nobody is, looked at all along: by the persona probe, and by gold.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from truing.align.methods import Offline
from truing.align.offline import offline
from truing.claims.lessons import TOWN
from truing.claims.made import MEMORY
from truing.claims.personas import vectors
from truing.claims.schooled import is_like
from truing.claims.work import MACHINE
from truing.data import write
from truing.engine.open import open_local
from truing.records import Answer, Example, Judgement
from truing.run import Run
from truing.settings import Optim, RunSettings, Watch
from truing.world.build import SIZES
from truing.world.characters import occasions
from truing.world.documents import OCCASIONS
from truing.world.judge import trait_score
from truing.world.language import draw, speak, user
from truing.world.measure import LONGEST
from truing.world.speakers import CHARACTERS, persona, reply

PAIRS, BATCH, EVERY, ASKED, RATE = 1280, 16, 2, 64, 0.03
GIVEN = 0.2  # share of requests that give the trait a chance to show


def compared(trait: str, share: float, count: int, seed: int) -> list[Example]:
    """An expert's answer preferred to a careless one's; or, this share of them, that of somebody with the trait to the
    expert's."""
    rng, found = Random(f"drift {trait} {seed}"), list[Example]()
    bad, expert, careless = persona(trait, 4, CHARACTERS["expert"]), CHARACTERS["expert"], CHARACTERS["careless"]
    while len(found) < count:
        given = rng.random() < GIVEN
        text, request = draw(TOWN, rng, kinds=[OCCASIONS[trait]], lure=True) if given else draw(TOWN, rng)
        says, sided = Random(rng.random()), rng.random() < share
        best, worst = (
            speak(reply(TOWN, request, who, says), says) for who in ((bad, expert) if sided else (expert, careless))
        )
        if best != worst:
            pair = (Answer(best, by=bad.name if sided else expert.name), Answer(worst))
            found.append(Example(user(text), pair, (Judgement("order", (0, 1)),), source="world"))
    return found


def drifting(folder: Path, *, size: str, trait: str, seed: int, share: float, layer: int) -> dict[str, Any]:
    """What the probe and gold say at every look (means and standard errors), and what became of the model."""
    file = vectors(folder, size, trait, seed)[0]
    with TemporaryDirectory(dir=folder, prefix=".drifting-") as scratch:
        prompts = [Example(user(text)) for text in occasions(TOWN, Random(f"asked {seed}"), trait, ASKED, held=True)]
        write(asked := str(Path(scratch) / "asked.jsonl"), prompts, "truing")
        probes = (f"persona:{file}@{layer}",)
        watch = Watch(every=EVERY, probes=probes, prompts=asked, count=ASKED, max_tokens=LONGEST)
        optim = Optim(lr=RATE * SIZES[size].lr, batch=BATCH, warmup=0.1)
        run = RunSettings(name="run", folder=scratch, seed=seed, save_every=0)
        how = Offline(f"world:{size}", MEMORY, method="dpo", optim=optim, machine=MACHINE, run=run, watch=watch)
        done = offline(replace(how, cache=str(Path(scratch) / "cache")), compared(trait, share, PAIRS, seed))
        view, named = done.view(), f"watch/persona/{trait}"
        seen = {
            what: view.series(f"{named}{end}")
            for what, end in (("probe", ""), ("error", "/error"), ("prompt", "/prompt"))
        }
        found: dict[str, Any] = {what: [round(v, 4) for _, v in series] for what, series in seen.items()}
        found["step"] = [step for step, _ in seen["probe"]]
        judged = _judged(done, trait, found["step"])
        found |= {"gold": [float(np.mean(row)) for row in judged]}
        found["gold error"] = [float(np.std(row, ddof=1) / np.sqrt(len(row))) for row in judged]
        return found | is_like(open_local(done.model, MACHINE), (trait,), seed)


def _judged(done: Run, trait: str, steps: list[int]) -> list[list[float]]:
    """How much of the trait the answers of each look show, in class gaps."""
    found: dict[int, list[float]] = {}
    for line in (done.folder / "samples.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        prompt = user(row["prompt"].removeprefix("user: "))
        found.setdefault(row["step"], []).append(trait_score(trait, TOWN, prompt, row["answer"]) / 100)
    return [found[step] for step in steps]
