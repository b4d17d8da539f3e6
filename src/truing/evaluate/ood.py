"""Is this prompt like those the model is meant for? Detectors on activations of every layer, and what they are worth.

    MD, SRM     distances from a set of prompts (inside); no other prompt is seen          (see `stats.outliers`)
    exposed     a linear classifier that has also seen M of the others (outside), over several draws of those M

(Bai et al., arXiv 2204.05862, §5.) Detectors are fitted on one part of the prompts, layer and pooling are chosen on a
second one, and what is reported is measured on a third. Outside prompts are often longer, and a length is no reason to
refuse: every AUROC stands beside one among prompts of like length, and beside that of the length alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from truing.data.split import first_turn, split
from truing.data.tranches import turn
from truing.engine.base import Engine
from truing.evaluate.activations import activations, readable
from truing.evaluate.choice import shown
from truing.evaluate.detector import METHODS, Detector, distances
from truing.records import Example, UserError
from truing.stats.outliers import Normal, auroc, auroc_bootstrap, expose, fit_normal, match
from truing.stats.text import lengths

INSIDE = {"fit": 0.6, "validation": 0.2, "test": 0.2}
OUTSIDE = {"exposed": 0.45, "validation": 0.15, "test": 0.4}
VERSION = 1
FEWEST = 5  # prompts in a part, and pairs of like length
SHOWN, DRAWS, TYPICAL = (1, 3, 10, 30, 100), 5, 10  # outliers that are shown; how often they are drawn; for the layer
Found = dict[str, Any]
Place = tuple[str, int]  # pool, layer
Score = Callable[[np.ndarray], np.ndarray]  # [N, d] → [N], higher is further out


def study(
    engine: Engine, inside: Sequence[Example], outside: Sequence[Example], seed: int = 0, false_alarms: float = 0.05
) -> tuple[Found, Detector]:
    """What JSON can hold of it, and the better of the two distances as a detector, with a threshold that a share of
    `false_alarms` of the inside prompts for validation exceeds."""
    inside, outside, left_out = _usable(engine, inside, outside)
    known, others = _divided("inside", inside, INSIDE, seed), _divided("outside", outside, OUTSIDE, seed)
    bench = Bench(known(engine), others(engine), seed)
    normals = dict(_normals(bench.inside))
    scores = {(place, method): partial(distances, normals[place], method) for place in normals for method in METHODS}
    layers = [_layer(bench, place, method, score) for (place, method), score in scores.items()]
    chosen = {m: max((r for r in layers if r["method"] == m), key=lambda r: r["validation"]) for m in METHODS}
    worth = {m: bench.test(scores[_place(row), m], _place(row)) for m, row in chosen.items()}
    best = max(chosen.values(), key=lambda row: row["validation"])
    place, normal = _place(best), normals[_place(best)]
    usual = distances(normal, best["method"], bench.inside.at(place, "validation"))
    detector = Detector.of(engine, normal, best, usual, false_alarms)
    found = {
        "counts": {"inside": bench.inside.sizes(), "outside": bench.outside.sizes(), **left_out},
        "dimensions": normal.mean.size,
        "shrinkage": normal.shrinkage,
        "layers": layers,
        "chosen": {m: row | worth[m] for m, row in chosen.items()},
        "exposed": _exposed(bench, list(normals), seed),
        "length": bench.worth(*(one.lengths("test") for one in (bench.outside, bench.inside))),
        "detector": {**detector.about} | _rejected(bench, detector, place),
    }
    return found, detector


class Split(NamedTuple):
    """One kind of prompts; `of` says which of them are in a part, `states` are the activations of all."""

    prompts: Sequence[Example]
    of: Mapping[str, np.ndarray]
    states: Mapping[str, np.ndarray]

    def at(self, place: Place, part: str) -> np.ndarray:
        """[prompts of the part, d]"""
        pool, layer = place
        return self.states[pool][self.of[part], layer].astype(np.float64)

    def part(self, part: str) -> list[Example]:
        return [self.prompts[i] for i in self.of[part]]

    def lengths(self, part: str) -> np.ndarray:
        return lengths([shown(e.prompt) for e in self.part(part)])

    def sizes(self) -> dict[str, int]:
        return {part: len(members) for part, members in self.of.items()}


class Bench:
    """Both kinds of prompts, and what a score is worth on them."""

    def __init__(self, inside: Split, outside: Split, seed: int) -> None:
        self.inside, self.outside, self.seed = inside, outside, seed
        tests = [one.part("test") for one in (outside, inside)]
        self.conversations = [[first_turn(e) for e in part] for part in tests]
        sizes = ([(turn(e), int(n)) for e, n in zip(part, lengths([shown(e.prompt) for e in part]))] for part in tests)
        self.pairs = match(*sizes)

    def validation(self, score: Score, place: Place) -> float:
        return auroc(*self.scores(score, place, "validation"))

    def test(self, score: Score, place: Place) -> Found:
        return self.worth(*self.scores(score, place, "test"))

    def worth(self, outside: np.ndarray, inside: np.ndarray) -> Found:
        """AUROC of these scores of the test part: of all, and among prompts with as many turns and about as many words
        (None where fewer than `FEWEST` find a partner). Intervals draw whole conversations."""
        talks = self.conversations
        found: Found = {"test": asdict(auroc_bootstrap(outside, inside, (talks[0], talks[1]), seed=self.seed))}
        if len(self.pairs) < FEWEST:
            return {**found, "matched": None}
        out, inn = (np.array(side) for side in zip(*self.pairs))
        of = ([talks[0][i] for i in out], [talks[1][j] for j in inn])
        return {**found, "matched": asdict(auroc_bootstrap(outside[out], inside[inn], of, seed=self.seed))}

    def scores(self, score: Score, place: Place, part: str) -> tuple[np.ndarray, np.ndarray]:
        return score(self.outside.at(place, part)), score(self.inside.at(place, part))


def _usable(
    engine: Engine, inside: Sequence[Example], outside: Sequence[Example]
) -> tuple[list[Example], list[Example], dict[str, int]]:
    """Each prompt once, and how many were left out: those too long for the model, and those that are in both sets,
    which say nothing."""
    first, second = ({e.prompt: e for e in examples} for examples in (inside, outside))
    prompts = list(first | second)
    fits = dict(zip(prompts, readable(engine, prompts)))
    both = first.keys() & second.keys()
    known, others = ([one[p] for p in one if fits[p] and p not in both] for one in (first, second))
    return known, others, {"in both": len(both), "too long": sum(not fit for fit in fits.values())}


def _divided(
    name: str, examples: Sequence[Example], shares: Mapping[str, float], seed: int
) -> Callable[[Engine], Split]:
    """By conversation: none is in two parts. The model is asked when it is known that there are enough."""
    number = {example.prompt: i for i, example in enumerate(examples)}
    of = {
        part: np.array([number[e.prompt] for e in members]) for part, members in split(examples, shares, seed).items()
    }
    for part, members in of.items():
        if len(members) < FEWEST:
            raise UserError(
                f"{name}: {len(examples)} different prompts leave {len(members)} for {part}, and at least {FEWEST} are "
                "needed there; give more."
            )
    return lambda engine: Split(examples, of, activations(engine, [e.prompt for e in examples]))


def _normals(known: Split) -> Iterator[tuple[Place, Normal]]:
    """Where activations vary at all. The last token's embedding is the same for all prompts of one chat template."""
    for pool, states in known.states.items():
        for layer in range(states.shape[1]):
            vectors = known.at((pool, layer), "fit")
            if (vectors.std(0) > 1e-6 * np.abs(vectors).max()).all():
                yield (pool, layer), fit_normal(vectors)


def _layer(bench: Bench, place: Place, method: str, score: Score) -> Found:
    test = auroc(*bench.scores(score, place, "test"))
    about = {"pool": place[0], "layer": place[1], "method": method}
    return {**about, "validation": bench.validation(score, place), "test": test}


def _exposed(bench: Bench, places: Sequence[Place], seed: int) -> Found:
    """Shown M outside prompts, and what that is worth. The layer is chosen by one draw of ten, on validation."""
    random, pool = np.random.default_rng(seed), len(bench.outside.of["exposed"])

    def shown_to(place: Place, few: np.ndarray) -> Score:
        return expose(bench.inside.at(place, "fit"), bench.outside.at(place, "exposed")[few]).logit

    few = random.choice(pool, min(TYPICAL, pool), replace=False)
    values = {place: bench.validation(shown_to(place, few), place) for place in places}
    place = max(places, key=lambda p: values[p])
    rows = []
    for count in (m for m in SHOWN if m <= pool):
        drawn = [random.choice(pool, count, replace=False) for _ in range(DRAWS)]
        rows.append({"shown": count} | _over_draws([bench.test(shown_to(place, few), place) for few in drawn]))
    return {"pool": place[0], "layer": place[1], "validation": values[place], "rows": rows}


def _over_draws(found: Sequence[Found]) -> Found:
    """The mean over draws and their standard deviation; the interval is that of one draw, on average."""
    sd = float(np.std([one["test"]["estimate"] for one in found], ddof=1))
    return {"sd": sd} | {name: _mean([one[name] for one in found if one[name]]) for name in ("test", "matched")}


def _mean(intervals: Sequence[Found]) -> Found | None:
    ends = {name: float(np.mean([one[name] for one in intervals])) for name in ("estimate", "low", "high") if intervals}
    return {**intervals[0], **ends} if intervals else None


def _rejected(bench: Bench, detector: Detector, place: Place) -> Found:
    """The share of the test part above the threshold."""
    sides = {"inside": bench.inside, "outside": bench.outside}
    far = {name: detector.distances(one.at(place, "test")) > detector.threshold for name, one in sides.items()}
    return {f"{name} rejected": float(hits.mean()) for name, hits in far.items()}


def _place(row: Mapping[str, Any]) -> Place:
    return row["pool"], row["layer"]
