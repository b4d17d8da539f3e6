"""Held-out comparisons as rows: what a model says of each pair of a better and a worse answer (see `stats.pairs`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from truing.data.split import first_turn
from truing.data.tranches import tranche, turn
from truing.engine.base import AnswerScore, Asking, require
from truing.evaluate.choice import numbers
from truing.evaluate.rows import Rows
from truing.records import Example, fingerprint
from truing.stats.text import tokens

VERSION = 1


def judged_pairs(engine: Asking, examples: Sequence[Example], at_once: int = 256) -> list[dict[str, Any]]:
    """A row for each pair. A preference model's number is its reward, a language model's the mean log-probability of a
    token; its other ways are there as well."""
    parts = (examples[start : start + at_once] for start in range(0, len(examples), at_once))
    return [row for part in parts for rows in _judged(engine, part) for row in rows]


def kept_pairs(engine: Asking, examples: Sequence[Example], rows: Rows) -> list[dict[str, Any]]:
    """The same, with a line of the file for each example: what was asked before is not asked again."""
    require(engine, "score")

    def ask(asked: list[Example]) -> list[dict[str, Any]]:
        return [{"task": "pairs", "model": engine.name, "pairs": found} for found in _judged(engine, asked)]

    keys = [fingerprint(["pairs", VERSION, engine.fingerprint, e.id, e.ranks(), tranche(e)]) for e in examples]
    wanted = dict(zip(keys, examples))
    found = dict(zip(wanted, rows.fetch(wanted, ask)))
    return [pair for key in keys for pair in found[key]["pairs"]]


def _judged(engine: Asking, examples: Sequence[Example]) -> list[list[dict[str, Any]]]:
    """For each example its pairs."""
    return [pair_rows(example, scores) for example, scores in zip(examples, engine.score(examples))]


def pair_rows(example: Example, scores: Sequence[AnswerScore]) -> list[dict[str, Any]]:
    """The pairs of an example whose answers have these scores."""
    ways, ranks = numbers(scores, None), example.ranks() or []
    way = "reward" if "reward" in ways else "mean"
    order = [(i, j) for i, better in enumerate(ranks) for j, worse in enumerate(ranks) if better < worse]
    lengths = [len(tokens(answer.text)) for answer in example.answers]
    return [
        {
            "id": example.id,
            "conversation": fingerprint(first_turn(example)),
            "tranche": tranche(example),
            "turn": turn(example),
            "score": [ways[way][i], ways[way][j]],
            "gap": ways[way][i] - ways[way][j],
            "length": [lengths[i], lengths[j]],
            "by": [example.answers[i].by, example.answers[j].by],
            **{f"gap/{name}": values[i] - values[j] for name, values in ways.items() if len(ways) > 1},
        }
        for i, j in order
    ]
