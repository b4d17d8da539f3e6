"""Studies of a model that learns nothing: how a trait's vector is made, what it does, and what it tells.

A vector is made once for each size, trait and seed; the seed draws questions, wordings and answers. What a model
becomes that is taught is studied in `claims.schooled`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from truing.claims.lessons import TOWN
from truing.claims.work import MACHINE, alone
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.rows import Unkept
from truing.model.vectors import LAST, RESPONSE, Vectors, family, load_vectors, save_vectors
from truing.persona.extract import difference, extract
from truing.persona.monitor import by_chance, graded, monitored, random_directions, related, shots, threshold
from truing.persona.project import Direction, projections
from truing.persona.screen import bare
from truing.persona.sweep import Arm, best, grid, of_equal_norm, sweep
from truing.persona.traits import asked
from truing.records import Sampling, fingerprint
from truing.world.build import shipped
from truing.world.characters import rules, world_trait
from truing.world.measure import LONGEST
from truing.world.schooling import SCHOOLS

SAID, MEASURED, REPORTED = 10, 4, 8  # answers: to each extraction question, while looking, in what is reported
TAUGHT = 600  # texts of a school
TRAITS = ("hostile", "flattering", "fabricating")


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
