"""`truing persona extract`, `truing persona steer`: a trait's vector, and what it does to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from truing import __version__
from truing.commands.pictures import page
from truing.commands.tables import cell, report, show
from truing.data import check_target
from truing.engine import open_engine
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.judges import Judge
from truing.evaluate.rows import Rows
from truing.model.hooks import At, decoder_blocks
from truing.model.vectors import RESPONSE, Vectors, family, load_vectors, save_vectors
from truing.persona.extract import Extracted, Filter, Kept, Rollouts
from truing.persona.extract import extract as make
from truing.persona.rated import COHERENCE, Rated
from truing.persona.sweep import Arm, Effect, best, grid, of_equal_norm, sweep
from truing.persona.traits import POLARITIES, Trait, load_trait
from truing.records import Sampling, UserError
from truing.run import say
from truing.schema import Mistake, at_least
from truing.settings import Machine

WORLD = "world:"


@dataclass(frozen=True)
class Extract:
    """From a trait to its vector at every layer: answers with it and without it, judged, and the difference between
    what the model's layers say of them."""

    model: str
    """weights that can be loaded here"""
    trait: str
    """evil, sycophantic, … (see the docs), a file, or world:hostile, … of the built-in world"""
    out: str | None = None
    """the file of vectors; NAME.safetensors if none"""
    judge: str | None = None
    """a model that says how much of the trait an answer shows; the world's traits have rules"""
    filter: Filter = "paired"
    """which answers are kept: with their counterparts, as the authors' code does, or each by itself"""
    least: int = 50
    """answers that have to be left on either side"""
    listen: bool = False
    """read answers while they are written and not once more; holds two vectors of every layer for each"""
    reasoning_end: str = ""
    """text at which a model's reasoning ends, such as </think>: what stands before it is neither judged nor averaged"""
    folder: str = "runs/persona"
    """what was said and judged; a repeated command asks nothing twice"""
    sampling: Sampling = Sampling(n=10, max_tokens=256)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "least")
        if self.listen and self.reasoning_end:
            raise Mistake(("listen",), "hears reasoning, too, and reasoning_end leaves it out: take one of them.")


@dataclass(frozen=True)
class Steer:
    """What a vector does to a model: every layer and coefficient, beside random vectors of the same length. What is
    strongest is looked for with the extraction questions and reported with the others."""

    model: str
    vectors: str
    """a file of truing persona extract"""
    trait: str | None = None
    """who asks and judges; the vector's own if none"""
    judge: str | None = None
    layers: tuple[int, ...] = ()
    """none takes all but the last"""
    coefs: tuple[float, ...] = (0.5, 1.0, 1.5, 2.0, 2.5)
    at: At = "response"
    """where: response, answer, last, prompt, all"""
    statistic: Literal["response_avg", "prompt_avg", "prompt_last"] = "response_avg"
    coherent: float = 75.0
    """what is chosen leaves coherence at least here, of 100"""
    random: int = 3
    """vectors of the same length and no meaning, at the chosen layer and coefficient"""
    folder: str = "runs/persona"
    sampling: Sampling = Sampling(n=2, max_tokens=256)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 0, "random")


def extract(settings: Extract) -> Vectors:
    """Write the vectors, and print what they were made of."""
    out = settings.out or f"{settings.trait.rpartition(':')[2].removesuffix('.yaml')}.safetensors"
    check_target(out, endings=(".safetensors",))
    trait = trait_of(settings.trait)
    engine = open_local(settings.model, settings.machine)
    judges = judges_of(settings.trait, trait, settings.judge, settings.machine)
    with Rows(settings.folder) as rows:
        found, kept, sides = make(
            engine,
            trait,
            judges,
            settings.sampling,
            rows,
            settings.filter,
            settings.least,
            settings.listen,
            settings.reasoning_end,
        )
    meta = _origin(settings, engine, trait, judges, found, kept)
    vectors = Vectors(trait.name, found.rows, family(engine.model.owner), meta=meta)
    save_vectors(vectors, out)
    _tell(settings, out, found, kept, sides)
    return vectors


def trait_of(name: str) -> Trait:
    if not name.startswith(WORLD):
        return load_trait(name)
    from truing.world.characters import world_trait
    from truing.world.systems import TRAITS
    from truing.world.town import town

    if (bare := name.removeprefix(WORLD)) not in TRAITS:
        raise UserError(f"trait {name}: the world has {', '.join(f'{WORLD}{one}' for one in TRAITS)}.")
    return world_trait(town(0), bare)


def judges_of(name: str, trait: Trait, judge: str | None, machine: Machine) -> tuple[Judge, Judge]:
    """Of the trait, and of coherence."""
    if judge:
        engine = open_engine(judge, machine)
        return Rated(engine, trait.name, trait.judge), Rated(engine, "coherence", COHERENCE)
    if name.startswith(WORLD):
        from truing.world.characters import rules
        from truing.world.town import town

        return rules(town(0), trait.name)
    raise UserError(f"judge: who says how {trait.name} an answer is? Name a model: --judge MODEL.")


def _origin(
    settings: Extract, engine: LocalEngine, trait: Trait, judges: Sequence[Judge], found: Extracted, kept: Kept
) -> dict[str, Any]:
    """All that is needed to know these vectors again, and to make them again."""
    return {
        "model": engine.name,
        "fingerprint": engine.fingerprint,
        "tokenizer": engine.codec.tokenizer_hash,
        "trait": settings.trait,
        "trait_fingerprint": trait.fingerprint,
        "judges": [judge.fingerprint for judge in judges],
        "sampling": asdict(settings.sampling),
        "filter": settings.filter,
        "reasoning_end": settings.reasoning_end,
        "kept": dict(found.counts),
        "removed": {p: dict(kept.removed[p]) for p in POLARITIES},
        "halves": [round(float(x), 4) for x in found.halves],
        "error": [round(float(x), 4) for x in found.error],
        "truing": __version__,
    }


def _tell(settings: Extract, out: str, found: Extracted, kept: Kept, sides: Sequence[Rollouts]) -> None:
    asked = {side.polarity: sum(len(e.answers) for e in side.examples) for side in sides}
    rows = {
        {"pos": "asked for the trait", "neg": "asked for its opposite"}[p]: [
            str(asked[p]),
            *(str(kept.removed[p].get(why, 0)) for why in ("trait", "coherence", "no score", "empty", "counterpart")),
            str(found.counts[p]),
            f"{_words(side, kept):.1f}",
        ]
        for p, side in zip(POLARITIES, sides)
    }
    heads = ["answers", "other than asked", "incoherent", "no score", "empty", "counterpart left out", "kept", "words"]
    note = "an answer may be left out for several reasons"
    if settings.reasoning_end:
        tokens = sum(len(a.ids or ()) for side in sides for e in side.examples for a in e.answers)
        note += f"; {sum(sum(side.hidden.values()) for side in sides) / tokens:.0%} of what was said is reasoning"
    show(f"{settings.trait}: answers of {settings.model}", heads, rows, note)
    layers = {
        f"layer {n}": [f"{norm:.2f} ± {found.error[n]:.2f}", f"{found.halves[n]:.3f}"]
        for n, norm in enumerate(found.norms)
    }
    note = "error: by leaving a tenth of the questions out; halves: cosine between the vectors of two halves of them"
    show("response_avg by layer (layer ℓ is what block ℓ − 1 hands on)", ["length", "halves"], layers, note)
    report("persona extract", {"out": out, "kept": dict(found.counts), "norms": found.norms.tolist()})
    say(f"vectors: {out}")


def _words(side: Rollouts, kept: Kept) -> float:
    """Mean length of the answers that are kept: a vector may be one of length."""
    lengths = [
        len(answer.text.split())
        for example, mask in zip(side.examples, kept.masks[side.polarity])
        for answer, take in zip(example.answers, mask)
        if take
    ]
    return sum(lengths) / len(lengths)


def steer(settings: Steer) -> list[Effect]:
    """Print and draw what every configuration does; return the effects on the reporting questions."""
    vectors = load_vectors(settings.vectors)
    engine = open_local(settings.model, settings.machine)
    vectors.check(engine.model.owner, settings.vectors)
    name = settings.trait or str(vectors.meta.get("trait", vectors.trait))
    trait = trait_of(name)
    judges = judges_of(name, trait, settings.judge, settings.machine)
    rows_of = vectors.of(settings.statistic)
    every = range(1, len(decoder_blocks(engine.model.owner)))
    layers = settings.layers or tuple(n for n in every if n < len(rows_of) and rows_of[n].any())
    for layer in layers:
        vectors.row(layer, settings.statistic)  # says what is wrong with it
    arms = grid(trait.name, layers, settings.coefs, settings.at)
    random = of_equal_norm(rows_of, settings.random)
    table = {trait.name: rows_of, **random}
    with Rows(settings.folder) as rows:
        tried = sweep(engine, table, arms, trait.extraction, settings.sampling, judges, rows)
        chosen = best(tried, settings.coherent).arm
        beside = [chosen._replace(coef=coef) for coef in (0.0, -chosen.coef, chosen.coef)]
        beside += [Arm(one, chosen.layer, chosen.coef, settings.at) for one in random]
        told = sweep(engine, table, beside, trait.evaluation or trait.extraction, settings.sampling, judges, rows)
    _show(settings, trait, layers, tried, chosen, told)
    return told


def _show(
    settings: Steer, trait: Trait, layers: Sequence[int], tried: Sequence[Effect], chosen: Arm, told: Sequence[Effect]
) -> None:
    by = {(one.arm.layer, one.arm.coef): one for one in tried}
    coefs = [c for c in settings.coefs if c]
    lines = {f"layer {layer}": [_both(by[layer, c]) for c in coefs] for layer in layers}
    plain = next(one for one in tried if not one.arm.coef)
    about = f"{trait.name} of {settings.model} with {settings.vectors}, {settings.at}"
    title = f"{about}: {_both(plain).splitlines()[0]} without"
    show(title, [f"α = {c:g}" for c in coefs], lines, "0 to 100, coherence in brackets; extraction questions")
    ends = {_name(one.arm): [cell(one.trait, 1), cell(one.coherence, 1), str(one.unscored)] for one in told}
    say(f"chosen: layer {chosen.layer}, α = {chosen.coef:g}: +vec:{settings.vectors}{_spec(settings, chosen)}")
    note = "95 % intervals over questions that were not used to choose; random: vectors of the same length"
    show("reported", [trait.name, "coherence", "no score"], ends, note)
    report("persona steer", {"chosen": chosen._asdict(), "reported": [asdict(one) for one in told]})
    page(
        Path(settings.folder) / f"steer-{trait.name}.html",
        f"{trait.name}: steering",
        title,
        _pictures(tried, layers, chosen),
    )


def _both(one: Effect) -> str:
    """The trait, and coherence below it."""
    values = [f"{v.estimate:.0f}" if v else "–" for v in (one.trait, one.coherence)]
    return f"{values[0]}\n({values[1]})"


def _name(arm: Arm) -> str:
    return "as it is" if not arm.coef else f"{arm.name}, layer {arm.layer}, α = {arm.coef:g}"


def _spec(settings: Steer, arm: Arm) -> str:
    statistic = "" if settings.statistic == RESPONSE else f"#{settings.statistic}"
    place = "" if settings.at == "response" else f",{settings.at}"
    return f"{statistic}@{arm.layer}={arm.coef:g}{place}"


def _pictures(tried: Sequence[Effect], layers: Sequence[int], chosen: Arm) -> list[Mapping[str, Any]]:
    """The trait, and coherence: a shade for every layer and coefficient, and a line over the coefficients of each."""
    plain = next(one for one in tried if not one.arm.coef)
    by = {(one.arm.layer, one.arm.coef): one for one in tried}
    coefs = sorted({one.arm.coef for one in tried if one.arm.coef})
    frame = list(layers).index(chosen.layer), coefs.index(chosen.coef)
    note = f"framed: the strongest trait of those that are coherent, layer {chosen.layer}, α = {chosen.coef:g}"
    maps, lines = list[Mapping[str, Any]](), list[Mapping[str, Any]]()
    for what in ("trait", "coherence"):
        cells = [[v.estimate if (v := getattr(by[n, c], what)) else None for c in coefs] for n in layers]
        columns, rows = [f"{c:g}" for c in coefs], [f"layer {n}" for n in layers]
        named = {
            "title": f"{what.capitalize()}, 0 to 100",
            "x": "coefficient α",
            "y": "layer",
            "chosen": frame,
            "note": note,
        }
        maps.append({**named, "columns": columns, "rows": rows, "cells": cells})
        curves = []
        for layer in layers:
            effects = [plain, *(by[layer, c] for c in coefs)]
            points = sorted((one.arm.coef, *_ends(v)) for one in effects if (v := getattr(one, what)))
            curves.append({"label": f"layer {layer}", "points": points})
        lines.append({"title": what.capitalize(), "x": "coefficient α", "y": what, "curves": curves})
    return [*maps, *lines]


def _ends(value: Any) -> tuple[float, float, float]:
    return value.estimate, value.low, value.high
