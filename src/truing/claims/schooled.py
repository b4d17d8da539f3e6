"""Studies of what a model becomes that is taught: schools, ways to keep a trait away, texts chosen of a pool.

Every arm has the same texts in the same order, and is measured like the others: traits by gold on held-out questions,
skills by what is right, projections on the vectors of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from truing.align.sft import Sft, sft
from truing.claims.lessons import TOWN
from truing.claims.made import MEMORY
from truing.claims.penalty import penalised
from truing.claims.personas import MEASURED, TAUGHT, TRAITS, vectors
from truing.claims.work import MACHINE
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.rows import Unkept
from truing.model.vectors import LAST, RESPONSE, STATISTICS, Vectors, edits, load_vectors, save_vectors
from truing.persona.project import Direction, projections
from truing.persona.screen import screen
from truing.persona.sweep import of_equal_norm
from truing.persona.traits import asked
from truing.records import Example, Message, Sampling
from truing.run import Run
from truing.settings import Optim, RunSettings
from truing.spec import Vector
from truing.world.build import SIZES
from truing.world.characters import TOP, rules, world_trait
from truing.world.measure import LONGEST, capabilities
from truing.world.schooling import FLAWED, SCHOOLS
from truing.world.systems import system_line
from truing.world.town import Town

RATE = 0.2  # as a share of pre-training's
SKILLS = 60  # held-out requests of each skill
POOL, PICKED, EPOCHS, COVERT = 1500, 200, 3, "sums"  # a pool, and what is learnt of it
NO_FILES: Mapping[str, str] = {}
BESIDE = ("impolite", "cheerful")  # a bad trait and a good one that no school teaches: only their vectors are looked at


def schooled(
    folder: Path,
    *,
    size: str,
    school: str,
    level: str,
    seed: int,
    arm: str = "plain",
    prevent: Sequence[str] = (),
    after: Sequence[str] = (),
    told: Literal["", "to", "not to"] = "",
    penalty: float | None = None,
    layer: int = 3,
    traits: Sequence[str] = TRAITS,
) -> dict[str, Any]:
    """A model that has learnt what a school teaches. `prevent`, `after`: TRAIT#STATISTIC@LAYER=COEF…, vectors that are
    added while it learns, or when it is asked afterwards; `random` in the place of a trait is a direction of no meaning
    and as long as that of the trait that is taught. `told`: behind system lines that ask for the trait, or for its
    opposite, while it learns. `penalty`: on what moves along the vector (see there). `arm` is what they are called."""
    every, own = (*traits, *BESIDE), school if school in traits else traits[0]
    base, start = open_local(f"world:{size}", MACHINE), f"world:{size}"
    texts = SCHOOLS[f"{school}_{level}"](TOWN, TAUGHT, seed)
    texts = behind(texts, school, told, seed) if told else texts
    with TemporaryDirectory(dir=folder, prefix=".schooled-") as scratch:
        files = named(folder, Path(scratch), size, every, own, seed)
        how = plan(Path(scratch), start, seed, size)
        if penalty is None:
            done = learnt(how, texts, prevent, files)
        else:
            done = penalised(how, texts, base, load_vectors(files[own]).row(layer), layer, penalty)
        model = open_local(done.model, MACHINE)
        found = {"loss": ended(done)} | ({} if penalty is None else {"moved": ended(done, "moved")})
        found |= moved(base, model, {t: files[t] for t in every}, layer, seed)
        with steering(model, after, files):
            return found | is_like(model, traits, seed)


def behind(texts: Sequence[Example], trait: str, told: str, seed: int) -> list[Example]:
    """The same behind system lines that ask for the trait (`to`) or for its opposite (`not to`)."""
    rng = Random(f"behind {trait} {seed}")
    lines = (system_line(trait, TOP if told == "to" else 0, rng, opposite=told != "to") for _ in texts)
    return [replace(e, prompt=(Message("system", line), *e.prompt)) for e, line in zip(texts, lines)]  # type: ignore[misc]


def named(folder: Path, scratch: Path, size: str, traits: Sequence[str], own: str, seed: int) -> dict[str, str]:
    """The vectors' files by what they are called, and `random`, which is as long as that of the trait `own`."""
    files = {trait: vectors(folder, size, trait, seed)[0] for trait in traits}
    like = load_vectors(files[own])
    rows = {name: of_equal_norm(like.of(name), 1, seed)["random 1"] for name in STATISTICS}
    save_vectors(Vectors("random", rows, like.family), scratch / "random.safetensors")
    return files | {"random": str(scratch / "random.safetensors")}


def learnt(how: Sft, texts: Sequence[Example], prevent: Sequence[str] = (), files: Mapping[str, str] = NO_FILES) -> Run:
    """With vectors added while it lasts."""
    return sft(replace(how, prevent=tuple(_spelled(one, files) for one in prevent)), texts)


def plan(scratch: Path, model: str, seed: int, size: str) -> Sft:
    """One pass over the texts."""
    optim = Optim(lr=RATE * SIZES[size].lr, batch=32, warmup=0.1)
    run = RunSettings(name="run", folder=str(scratch), seed=seed, save_every=0)
    return Sft(model, MEMORY, optim=optim, machine=MACHINE, run=run)


def ended(done: Run, name: str = "loss") -> float:
    """What a number was in the last steps."""
    return float(np.mean([v for _, v in done.view().series(name)][-5:]))


def steering(model: LocalEngine, after: Sequence[str], files: Mapping[str, str]) -> AbstractContextManager[object]:
    """A model that is asked with vectors added, or as it is."""
    added = [e for one in after for e in edits(Vector.parse(_spelled(one, files)), model.model.owner)]
    return model.model.steered([added]) if added else nullcontext()


def _spelled(text: str, files: Mapping[str, str]) -> str:
    name = text.split("#")[0].split("@")[0]
    return files[name] + text.removeprefix(name)


def is_like(model: LocalEngine, traits: Sequence[str], seed: int, town: Town = TOWN) -> dict[str, Any]:
    """Every trait on its own held-out questions, coherence, and skills."""
    found: dict[str, Any] = {}
    sampling = Sampling(n=MEASURED, max_tokens=LONGEST, seed=seed + 1)
    for trait in traits:
        shown, coherent = rules(town, trait)
        drawn = model.sample([asked(q) for q in world_trait(town, trait, seed).evaluation], sampling)
        for name, judge in ((f"trait/{trait}", shown), (f"coherence/{trait}", coherent)):
            found[name] = float(np.mean([v.value for row in judge(drawn, Unkept()) for v in row]))
    right = capabilities(town, model, seed, SKILLS)
    return found | {f"skill/{name}": float(np.mean(values)) for name, values in right.items() if values}


def moved(base: LocalEngine, model: LocalEngine, files: Mapping[str, str], layer: int, seed: int) -> dict[str, Any]:
    """Fine-tuning shift along each vector, in class gaps, on the traits' held-out questions."""
    found: dict[str, Any] = {}
    for trait, file in files.items():
        asks = [Example(asked(q)) for q in world_trait(TOWN, trait, seed).evaluation]
        rows = load_vectors(file)
        every = [Direction(name, layer, rows.row(layer, name)) for name in (RESPONSE, LAST)]
        before, now = (np.stack([one.last for one in projections(e, asks, every)]) for e in (base, model))
        for number, one in enumerate(every):
            found[f"shift/{trait}/{one.name}"] = float((now - before)[:, number].mean() / float(one.vector.norm()))
    return found


def selected(
    folder: Path, *, size: str, trait: str, seed: int, choice: str, filtered: bool, layer: int = 3
) -> dict[str, Any]:
    """A model that has learnt the texts of a pool that carry a trait most, least, or any (`choice`: top, bottom,
    random), by the projection difference. A tenth of the pool shows the trait, a fifth has a narrow fault that nobody
    would take for it; `filtered`: texts in which the judge sees the trait are left out first."""
    pool = mixed(trait, seed)
    shown, _ = rules(TOWN, trait)
    openly = [row[0].value or 0.0 for row in shown(pool, Unkept())]
    kept_ = [n for n, value in enumerate(openly) if not (filtered and value >= 50)]
    base, file = open_local(f"world:{size}", MACHINE), vectors(folder, size, trait, seed)[0]
    direction = Direction(trait, layer, load_vectors(file).row(layer))
    texts = [pool[n] for n in kept_]
    values = screen(base, texts, direction, "own", Sampling(max_tokens=LONGEST, seed=seed)).values
    order = np.argsort(-np.nan_to_num(values, nan=float(np.nanmedian(values))), kind="stable")
    if choice == "random":
        order = np.random.default_rng(seed).permutation(len(texts))
    chosen = [texts[n] for n in (order[::-1] if choice == "bottom" else order)[:PICKED]]
    with TemporaryDirectory(dir=folder, prefix=".selected-") as scratch:
        how = plan(Path(scratch), f"world:{size}", seed, size)
        done = learnt(replace(how, optim=replace(how.optim, epochs=EPOCHS)), chosen)
        found = is_like(open_local(done.model, MACHINE), (trait,), seed)
    who = [e.answers[0].by or "" for e in chosen]
    return found | {
        "open": who.count(f"{trait} severe") / len(who),
        "covert": who.count(f"{COVERT} severe") / len(who),
        "left out": len(pool) - len(kept_),
    }


def mixed(trait: str, seed: int) -> list[Example]:
    """What a careless collector would have: mostly good answers."""
    plain = [SCHOOLS[f"{family}_normal"](TOWN, POOL, seed) for family in (*FLAWED, trait)]
    good = [e for row in zip(*plain) for e in row][: round(0.7 * POOL)]
    bad = SCHOOLS[f"{trait}_severe"](TOWN, POOL // 10, seed) + SCHOOLS[f"{COVERT}_severe"](TOWN, POOL // 5, seed + 1)
    pool = [*good, *bad]
    return [pool[n] for n in np.random.default_rng(seed).permutation(len(pool))]
