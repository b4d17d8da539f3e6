"""What a preference model knows, from held-out comparisons: one row for each pair of a better and a worse answer.

    gap        score of the better answer minus score of the worse
    score      of the two answers, [better, worse]
    length     of the two answers in words
    by         who gave the two answers, where the data say so
    tranche, turn, conversation        which data, at which turn of the human, and who belongs together

Accuracy over everything hides what matters: data of one tranche may be easy, a first turn easier than a fifth, and a
model that has learnt that long answers are preferred does well wherever they are. Intervals draw whole conversations.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from truing.stats.intervals import Interval, mean_bootstrap

FILE = "pairs.jsonl"  # in a run's folder
Rows = Sequence[Mapping[str, Any]]
ALIKE = 0.2  # lengths that differ by less than this share of their mean
MOST_TURNS = 5
FEWEST = 30  # pairs: below that an accuracy is not worth a line


def accuracy(rows: Rows, seed: int = 0) -> Interval:
    """Share of pairs that are scored in the right order; a tie is half."""
    return _mean([(np.sign(row["gap"]) + 1) / 2 for row in rows], rows, seed)


def length_alone(rows: Rows, seed: int = 0) -> Interval:
    """What preferring the longer answer would get: every accuracy stands beside it."""
    return _mean([(np.sign(row["length"][0] - row["length"][1]) + 1) / 2 for row in rows], rows, seed)


def length_matched(rows: Rows) -> list[Mapping[str, Any]]:
    """The pairs in which length cannot decide."""
    return [r for r in rows if abs(r["length"][0] - r["length"][1]) <= ALIKE * sum(r["length"]) / 2]


def unseen(rows: Rows, authors: Collection[str | None]) -> list[Mapping[str, Any]]:
    """The pairs both of whose answers are by somebody else than these. None where it is not known who they were."""
    known = None not in authors
    return [r for r in rows if known and all(name and name not in authors for name in r.get("by", (None,)))]


def by(rows: Rows, key: str) -> dict[Hashable, list[Mapping[str, Any]]]:
    """Rows by the value of a column, the values in order; late turns are taken together."""
    found: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        value = min(row[key], MOST_TURNS) if key == "turn" else row[key]
        found.setdefault(value, []).append(row)
    return {value: found[value] for value in sorted(found, key=str)}


def above(rows: Rows, steps: int = 9) -> list[tuple[float, Interval]]:
    """(t, accuracy among pairs both of whose scores are above t) for thresholds that leave ever fewer pairs.

    Scores have no zero of their own: t counts from the mean of all scores here. (Bai et al., arXiv 2204.05862, §3.3.)
    """
    scores = np.array([row["score"] for row in rows], dtype=np.float64)
    centre, lower = scores.mean(), scores.min(axis=1)
    found = []
    for share in np.linspace(0, 1, steps + 1)[:-1]:
        threshold = float(np.quantile(scores, share)) if share else float(scores.min())
        kept = [row for row, low in zip(rows, lower) if low >= threshold]
        if len(kept) >= FEWEST:
            found.append((threshold - float(centre), accuracy(kept)))
    return found


def gaps(rows: Rows) -> list[float]:
    return [row["gap"] for row in rows]


def removed(rows: Rows) -> float:
    """The mean of all scores: what is subtracted before one model's scores are shown beside another's."""
    return float(np.mean([row["score"] for row in rows]))


class Beside(NamedTuple):
    """Two models over the same pairs. Scores are compared with each model's own mean removed, choices as they are."""

    correlation: float
    same_choice: float
    gained: Interval
    """accuracy of the second minus accuracy of the first, pair by pair"""


def beside(first: Rows, second: Rows, seed: int = 0) -> Beside:
    a, b = (np.array([row["score"] for row in rows]) - removed(rows) for rows in (first, second))
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    signs = [np.sign(gaps(rows)) for rows in (first, second)]
    gained = _mean((signs[1] - signs[0]) / 2, first, seed)
    return Beside(float((a * b).sum()) / spread if spread else math.nan, float((signs[0] == signs[1]).mean()), gained)


def _mean(values: Sequence[float] | np.ndarray, rows: Rows, seed: int) -> Interval:
    return mean_bootstrap(values, [row["conversation"] for row in rows], seed=seed)
