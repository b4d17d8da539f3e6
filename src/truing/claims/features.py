"""What a trait's vector is made of: features of a sparse autoencoder, trained on what the model says everywhere.

Features never saw the trait's name. The five that point the vector's way most are asked two things, beside five that
point elsewhere: do they tell answers with the trait from those without, and do they bring it about?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from truing.claims.lessons import TOWN
from truing.claims.personas import MEASURED, REPORTED, TRAITS, vectors
from truing.claims.work import MACHINE
from truing.engine.local import LocalEngine
from truing.engine.open import open_local
from truing.evaluate.rows import Unkept
from truing.model.hooks import At
from truing.model.vectors import load_vectors
from truing.persona.sae import Sae, ranked, rebuilt, token_states, train
from truing.persona.sweep import Arm, Effect, best, sweep
from truing.records import Answer, Example, Sampling, UserError
from truing.stats.outliers import auroc
from truing.world.characters import rules, world_trait
from truing.world.documents import documents
from truing.world.measure import LONGEST
from truing.world.schooling import SCHOOLS

READ, HELD, FEATURES, AT_ONCE, STEPS = 6000, 3000, 1024, 16, 2000  # documents, states that are kept for testing, …
TOP, SHOWN, LIVES = 5, 120, 0.002  # features of a trait, answers, and of how many tokens one has to say something


def featured(
    folder: Path, *, size: str, seed: int, layer: int, statistic: str, at: At, coefs: Sequence[float]
) -> dict[str, Any]:
    """Of every trait: cosines, what the features tell, what they do at their best coefficient, and what is left of the
    vector without them."""
    engine = open_local(f"world:{size}", MACHINE)
    states = token_states(engine, engine.encode(_read(seed))[0], layer)
    sae = train(states[:-HELD], FEATURES, AT_ONCE, steps=STEPS, seed=seed)
    held = states[-HELD:]
    lives = (sae.encode(held) > 0).float().mean(0)
    found: dict[str, Any] = {"unexplained": sae.unexplained(held), "alive": float((lives > LIVES).float().mean())}
    for trait in TRAITS:
        vector = load_vectors(vectors(folder, size, trait, seed)[0]).of(statistic)
        order = ranked(sae, vector[layer])
        own = [one.feature for one in order[:TOP]]
        rest = [n for n in (lives > LIVES).nonzero().flatten().tolist() if n not in own]
        chance = np.random.default_rng(seed).choice(rest, TOP, replace=False).tolist()
        told = _told(engine, sae, trait, layer, seed)
        done = _done(engine, sae, vector[layer], trait, Place(layer, at, coefs), (own, chance), seed)
        found |= {f"{trait}/{name}": value for name, value in done.items()}
        found[f"{trait}/cosine"] = [round(one.cosine, 4) for one in order[:TOP]]
        found[f"{trait}/told"] = [round(told[n], 4) for n in own]
        found[f"{trait}/told by chance"] = [round(told[n], 4) for n in chance]
        found[f"{trait}/left"] = rebuilt(sae, vector[layer], own)[1]
    return found


def _read(seed: int) -> list[Example]:
    """What everybody says to what: the last answer of conversations that the model was pre-trained with."""
    read = islice(documents(TOWN, seed), READ)
    return [Example(d[:-1], (Answer(d[-1].text),)) for d in read if not isinstance(d, str) and len(d) > 1]


def _told(engine: LocalEngine, sae: Sae, trait: str, layer: int, seed: int) -> list[float]:
    """[features] AUROC of the largest activation in an answer: answers with the trait above those without."""

    def largest(level: str) -> Tensor:
        groups, _ = engine.encode(SCHOOLS[f"{trait}_{level}"](TOWN, SHOWN, seed + 1))
        return torch.stack([sae.encode(token_states(engine, [group], layer)).amax(0) for group in groups])

    shown, plain = largest("severe").numpy(), largest("normal").numpy()
    return [auroc(shown[:, n], plain[:, n]) for n in range(shown.shape[1])]


@dataclass(frozen=True)
class Place:
    """Where and how much of a feature's direction is added: times the vector's length."""

    layer: int
    at: At
    coefs: Sequence[float]


def _done(
    engine: LocalEngine,
    sae: Sae,
    vector: Tensor,
    trait: str,
    place: Place,
    features: tuple[Sequence[int], Sequence[int]],
    seed: int,
) -> dict[str, float]:
    """The trait as it is, and with the feature and coefficient that did most on the extraction questions: of those that
    point the vector's way, of those by chance, and with the vector itself."""
    chosen, judges = world_trait(TOWN, trait, seed), rules(TOWN, trait)
    every = {f"feature {n}": sae.direction(n) for side in features for n in side} | {"vector": vector}
    table = {name: _alone(one / one.norm() * vector.norm(), place.layer) for name, one in every.items()}
    groups = {"own": features[0], "chance": features[1]}
    names = {side: [f"feature {n}" for n in numbers] for side, numbers in groups.items()} | {"vector": ["vector"]}

    def asked(arms: Sequence[Arm], questions: Sequence[str], n: int, seed: int) -> list[Effect]:
        return sweep(engine, table, arms, questions, Sampling(n=n, max_tokens=LONGEST, seed=seed), judges, Unkept())

    tried = asked(
        [Arm(name, place.layer, coef, place.at) for name in table for coef in place.coefs],
        chosen.extraction,
        MEASURED,
        seed,
    )
    still = Arm("vector", 0, 0.0, place.at)
    top = {side: _best([one for one in tried if one.arm.name in of]) or still for side, of in names.items()}
    told = asked([still, *top.values()], chosen.evaluation, REPORTED, seed + 1)
    found = {"as it is": told[0].trait.estimate if told[0].trait else 0.0}
    for side, one in zip(top, told[1:]):
        found |= {side: one.trait.estimate if one.trait else 0.0, f"{side}/coef": one.arm.coef}
        found |= {f"{side}/coherence": one.coherence.estimate if one.coherence else 0.0}
    return found | {"steers": float(names["own"].index(top["own"].name)) if top["own"].coef else -1.0}


def _best(effects: Sequence[Effect]) -> Arm | None:
    try:
        return best(effects).arm
    except UserError:  # all of them break the language
        return None


def _alone(direction: Tensor, layer: int) -> Tensor:
    """A direction at one layer, as a table of all of them up to it."""
    rows = torch.zeros(layer + 1, len(direction))
    rows[layer] = direction
    return rows
