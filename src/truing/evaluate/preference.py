"""Held-out comparisons as rows: what a model says of each pair of a better and a worse answer (see `stats.pairs`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from truing.data.split import first_turn
from truing.engine.base import Asking
from truing.evaluate.choice import numbers
from truing.records import Example, fingerprint


def judged_pairs(engine: Asking, examples: Sequence[Example], at_once: int = 256) -> list[dict[str, Any]]:
    """A row for each pair. A preference model's number is its reward, a language model's the mean log-probability of a
    token; its other ways are there as well."""
    rows: list[dict[str, Any]] = []
    for start in range(0, len(examples), at_once):
        part = examples[start : start + at_once]
        for example, scores in zip(part, engine.score(part)):
            ways = numbers(scores, None)
            rows += _pairs(example, ways, "reward" if "reward" in ways else "mean")
    return rows


def _pairs(example: Example, ways: dict[str, list[float]], way: str) -> list[dict[str, Any]]:
    ranks = example.ranks() or []
    order = [(i, j) for i, better in enumerate(ranks) for j, worse in enumerate(ranks) if better < worse]
    lengths = [len(answer.text.split()) for answer in example.answers]
    return [
        {
            "id": example.id,
            "conversation": fingerprint(first_turn(example)),
            "tranche": tranche(example),
            "turn": turn(example),
            "score": [ways[way][i], ways[way][j]],
            "gap": ways[way][i] - ways[way][j],
            "length": [lengths[i], lengths[j]],
            **{f"gap/{name}": values[i] - values[j] for name, values in ways.items() if len(ways) > 1},
        }
        for i, j in order
    ]


def tranche(example: Example) -> str:
    """Which part of the data it is from: said by the data, or else what was asked of those who judged."""
    aspects = (j.aspect for j in example.judgements if j.aspect)
    return str(example.meta.get("tranche") or next(aspects, "all"))


def turn(example: Example) -> int:
    """How often the human has spoken."""
    if isinstance(example.prompt, str):
        return 1
    return max(1, sum(message.role == "user" for message in example.prompt))
