"""Studies of persona vectors: how a trait's vector is made, what it does, and what fine-tuning does to the trait.

A vector is made once for each size, trait and seed; the seed draws questions, wordings and answers. Schools teach a
trait or a narrow fault (`world.schooling`); every arm has the same texts in the same order, and is measured like the
others: traits by gold on held-out questions, skills by what is right, projections on the vectors of the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from truing.align.sft import Sft, sft
from truing.claims.lessons import TOWN
from truing.claims.made import MEMORY
from truing.claims.work import MACHINE, alone
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.rows import Unkept
from truing.model.vectors import LAST, RESPONSE, STATISTICS, Vectors, edits, family, load_vectors, save_vectors
from truing.persona.extract import difference, extract
from truing.persona.monitor import by_chance, graded, monitored, random_directions, related, shots, threshold
from truing.persona.project import Direction, projections
from truing.persona.screen import bare, screen
from truing.persona.sweep import Arm, best, grid, of_equal_norm, sweep
from truing.persona.traits import asked
from truing.records import Example, Sampling, fingerprint
from truing.run import Run
from truing.settings import Optim, RunSettings
from truing.spec import Vector
from truing.world.build import SIZES, shipped
from truing.world.characters import rules, world_trait
from truing.world.measure import LONGEST, capabilities
from truing.world.schooling import FLAWED, SCHOOLS
from truing.world.town import Town

SAID, MEASURED, REPORTED = 10, 4, 8  # answers: to each extraction question, while looking, in what is reported
TAUGHT, RATE = 600, 0.2  # answers of a school, and their learning rate as a share of pre-training's
SKILLS = 60  # held-out requests of each skill
POOL, PICKED, EPOCHS, COVERT = 1500, 200, 3, "sums"  # a pool, and what is learnt of it
TRAITS = ("hostile", "flattering", "fabricating")
BESIDE = ("impolite", "cheerful")  # a bad trait and a good one that no school teaches: only their vectors are looked at


def vectors(folder: Path, size: str, trait: str, seed: int) -> tuple[str, dict[str, Any]]:
    """The file of a trait's vectors, and how they came to be."""
    place = folder / f"vectors-{fingerprint([size, shipped(size)['weights'], trait, seed, SAID])[:12]}.safetensors"
    with alone(place):
        if not place.exists():
            engine, chosen = open_local(f"world:{size}", MACHINE), world_trait(TOWN, trait, seed)
            sampling = Sampling(n=SAID, max_tokens=LONGEST, seed=seed)
            found, left, sides = extract(engine, chosen, rules(TOWN, trait), sampling, Unkept())
            # Which side an answer is on, by a coin: what is left of the vector says nothing of the trait.
            coin = np.random.default_rng(seed)
            masks = {p: m & (coin.random(m.shape) < 0.5) for p, m in left.masks.items()}
            rest = {p: m & ~masks[p] for p, m in left.masks.items()}
            halves = [difference(engine, sides, part).rows[RESPONSE] for part in (masks, rest)]
            told = {
                "kept": left.count("pos") / left.masks["pos"].size,
                "halves": [round(float(x), 4) for x in found.halves],
                "norms": [round(float(x), 4) for x in found.norms],
                "noise": [round(float(x), 4) for x in (halves[0] - halves[1]).norm(dim=1)],
            }
            save_vectors(Vectors(trait, found.rows, family(engine.model.owner), meta=told), place)
    return str(place), dict(load_vectors(str(place)).meta)


def extracted(folder: Path, *, size: str, seed: int, traits: Sequence[str] = TRAITS) -> dict[str, Any]:
    """Of several traits: how they came to be, and cosines between their vectors, layer by layer."""
    every = {trait: vectors(folder, size, trait, seed) for trait in traits}
    rows = torch.stack([load_vectors(file).of() for file, _ in every.values()])
    units = rows / rows.norm(dim=2, keepdim=True)
    cosines = torch.einsum("ald,bld->lab", units, units)
    found: dict[str, Any] = {
        f"{trait}/{name}": value for trait, (_, told) in every.items() for name, value in told.items()
    }
    return found | {"cosines": [[[round(float(x), 4) for x in row] for row in layer] for layer in cosines]}


def steered(
    folder: Path,
    *,
    size: str,
    trait: str,
    seed: int,
    statistic: str,
    at: str,
    coefs: Sequence[float],
    random: int = 10,
) -> dict[str, Any]:
    """The strongest configuration that leaves coherence at 75, found with the extraction questions; then, with the
    others, all coefficients at its layer, negative ones too, random vectors as long, and other traits' vectors made as
    long."""
    engine, chosen = open_local(f"world:{size}", MACHINE), world_trait(TOWN, trait, seed)
    rows = load_vectors(vectors(folder, size, trait, seed)[0]).of(statistic)
    layers = range(1, len(rows) - 1)
    looking = Sampling(n=MEASURED, max_tokens=LONGEST, seed=seed)
    judges = rules(TOWN, trait)
    tried = sweep(engine, {trait: rows}, grid(trait, layers, coefs, at), chosen.extraction, looking, judges, Unkept())  # type: ignore[arg-type]
    top = best(tried).arm
    others = {
        name: load_vectors(vectors(folder, size, name, seed)[0]).of(statistic) for name in TRAITS if name != trait
    }
    same = {f"other {n}": v / v.norm(dim=1, keepdim=True) * rows.norm(dim=1, keepdim=True) for n, v in others.items()}
    table = {trait: rows, **of_equal_norm(rows, random, seed), **same}
    arms = [Arm(trait, top.layer, c, top.at) for c in sorted({0.0, *coefs, *(-c for c in coefs)})]
    arms += [Arm(name, top.layer, top.coef, top.at) for name in table if name != trait]
    reported = Sampling(n=REPORTED, max_tokens=LONGEST, seed=seed + 1)
    told = sweep(engine, table, arms, chosen.evaluation, reported, judges, Unkept())
    found: dict[str, Any] = {"layer": top.layer, "coef": top.coef}
    for one in told:
        name = f"{one.arm.coef:g}" if one.arm.name == trait else one.arm.name
        found |= {f"{what}/{name}": v.estimate for what in ("trait", "coherence") if (v := getattr(one, what))}
    tried_at = {f"tried/{o.arm.layer}/{o.arm.coef:g}": [v.estimate for v in (o.trait, o.coherence) if v] for o in tried}
    return found | tried_at


def told(folder: Path, *, size: str, trait: str, seed: int, layer: int) -> dict[str, Any]:
    """Projections at the prompt's last token and the trait that follows: graded system lines, and exchanges that show
    it; by the mean vector of answers and by that of the prompt's last token, beside random directions."""
    engine, chosen = open_local(f"world:{size}", MACHINE), world_trait(TOWN, trait, seed)
    rows = load_vectors(vectors(folder, size, trait, seed)[0])
    directions = [Direction(name, layer, rows.row(layer, name)) for name in (RESPONSE, LAST)]
    every = [*directions, *random_directions(layer, rows.of().shape[1], seed=seed)]
    sampling, (judge, _) = Sampling(n=MEASURED, max_tokens=LONGEST, seed=seed), rules(TOWN, trait)
    longest = max(len(engine.codec.prompt_ids(asked(q))) for q in chosen.evaluation)
    shown = _showing(engine, trait, seed)
    found: dict[str, Any] = {}
    for kind, contexts in (
        ("system", graded(chosen)),
        ("shots", shots(engine, shown, range(0, 21, 2), LONGEST, longest)),
    ):
        points = monitored(engine, every, contexts, chosen.evaluation, sampling, judge, Unkept())
        for number, name in enumerate((RESPONSE, LAST)):
            one = related(points, number, seed)
            found |= {f"{kind}/{name}/{part}": getattr(one, part) for part in ("within", "between", "p")}
            found |= {f"{kind}/{name}/r": one.pooled.estimate, f"{kind}/{name}/low": one.pooled.low}
        found |= {f"{kind}/chance": by_chance(points, 2), f"{kind}/contexts": len(contexts)}
        if kind == "system":
            limit = threshold(points, 1)
            found |= {"found": limit.found, "false": limit.false} if limit else {}
    return found


def _showing(engine: LocalEngine, trait: str, seed: int) -> list[tuple[str, str]]:
    """Questions and answers in which somebody has the trait."""
    texts = SCHOOLS[f"{trait}_severe"](TOWN, 40, seed)
    return [(e.prompt[-1].text, e.answers[0].text) for e in texts if not isinstance(e.prompt, str)]


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
    layer: int = 3,
    traits: Sequence[str] = TRAITS,
) -> dict[str, Any]:
    """A model that has learnt what a school teaches. `prevent`, `after`: TRAIT#STATISTIC@LAYER=COEF…, vectors that are
    added while it learns, or when it is asked afterwards; `random` in the place of a trait is a direction of no meaning
    and as long as that of the trait that is taught. `arm` is what they are called."""
    with TemporaryDirectory(dir=folder, prefix=".schooled-") as scratch:
        every, own = (*traits, *BESIDE), school if school in traits else traits[0]
        files = named(folder, Path(scratch), size, every, own, seed)
        texts, base = SCHOOLS[f"{school}_{level}"](TOWN, TAUGHT, seed), open_local(f"world:{size}", MACHINE)
        done = learnt(Path(scratch), f"world:{size}", texts, prevent, files, seed, size)
        model = open_local(done.model, MACHINE)
        found = {"loss": ended(done)} | moved(base, model, {t: files[t] for t in every}, layer, seed)
        with steering(model, after, files):
            return found | is_like(model, traits, seed)


def named(folder: Path, scratch: Path, size: str, traits: Sequence[str], own: str, seed: int) -> dict[str, str]:
    """The vectors' files by what they are called, and `random`, which is as long as that of the trait `own`."""
    files = {trait: vectors(folder, size, trait, seed)[0] for trait in traits}
    like = load_vectors(files[own])
    rows = {name: of_equal_norm(like.of(name), 1, seed)["random 1"] for name in STATISTICS}
    save_vectors(Vectors("random", rows, like.family), scratch / "random.safetensors")
    return files | {"random": str(scratch / "random.safetensors")}


def learnt(
    scratch: Path,
    model: str,
    texts: Sequence[Example],
    prevent: Sequence[str],
    files: Mapping[str, str],
    seed: int,
    size: str,
) -> Run:
    """One pass over these, with vectors added while it lasts."""
    optim = Optim(lr=RATE * SIZES[size].lr, batch=32, warmup=0.1)
    run = RunSettings(name="run", folder=str(scratch), seed=seed, save_every=0)
    added = tuple(_spelled(one, files) for one in prevent)
    return sft(Sft(model, MEMORY, optim=optim, prevent=added, machine=MACHINE, run=run), texts)


def ended(done: Run) -> float:
    """The loss at the end."""
    return float(np.mean([v for _, v in done.view().series("loss")][-5:]))


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


def carried(
    folder: Path, *, size: str, school: str, level: str, seed: int, layer: int = 3, traits: Sequence[str] = TRAITS
) -> dict[str, Any]:
    """ΔP of a school's texts along each vector, in class gaps, before anything is learnt: less the model's own answers,
    less its prompts' last states, and as they are; of the whole, and of every text."""
    engine, texts = open_local(f"world:{size}", MACHINE), SCHOOLS[f"{school}_{level}"](TOWN, TAUGHT, seed)
    files = [vectors(folder, size, trait, seed)[0] for trait in traits]
    directions = [Direction(trait, layer, load_vectors(file).row(layer)) for trait, file in zip(traits, files)]
    drawn = engine.sample([e.prompt for e in texts], Sampling(max_tokens=LONGEST, seed=seed))
    seen, own = (projections(engine, one, directions) for one in (texts, bare(drawn)))
    said = np.stack([one.answers[0] for one in seen])
    before = {"own": np.stack([one.answers[0] for one in own]), "last": np.stack([one.last for one in seen])}
    found: dict[str, Any] = {}
    for number, one in enumerate(directions):
        for way in ("own", "last", "raw"):
            less = before[way][:, number] if way in before else 0.0
            values = (said[:, number] - less) / float(one.vector.norm())
            found[f"{one.name}/{way}"] = float(np.nanmean(values))
            found[f"{one.name}/{way}/each"] = [None if np.isnan(v) else round(float(v), 4) for v in values]
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
        optim = Optim(lr=RATE * SIZES[size].lr, batch=32, warmup=0.1, epochs=EPOCHS)
        run = RunSettings(name="run", folder=scratch, seed=seed, save_every=0)
        done = sft(Sft(f"world:{size}", MEMORY, optim=optim, machine=MACHINE, run=run), chosen)
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
