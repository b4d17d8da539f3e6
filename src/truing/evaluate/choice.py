"""Which of the given answers does a model choose? Four ways to put a number on an answer:

    sum           ln P(a | q)                         favours short answers
    mean          ln P(a | q) / tokens                favours formulaic long ones
    information   I(a, q) = ln P(a | q) − ln P(a)     what the question adds; P(a) behind the bare assistant marker
    reward        r(q, a)                             of a preference model

(Askell et al., arXiv 2112.00861, §2.) I(a, q) is the one that counts for language models, the others are shown beside
it. An item is right if the answer with the highest number is a right one; where several share it, the right part of
them. HHH comparisons have two answers, TruthfulQA's MC1 several of which one is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from truing.engine.base import AnswerScore, Asking, require
from truing.evaluate.rows import Asker, Row
from truing.records import Example, Prompt, UserError, fingerprint
from truing.stats.intervals import Interval, mean_bootstrap

WAYS = ("sum", "mean", "information", "reward")
VERSION = 1


def choose(task: str, engine: Asking, items: Sequence[Example], rows: Asker) -> list[Row]:
    """A row for each item: what the model gives to each of its answers. Which ones are right is said by the item's
    first judgement that orders or labels them."""
    require(engine, "score")
    rights = [right_ones(item) for item in items]
    speaks = not getattr(engine, "rewards", False)  # a preference model has no P(a)

    def ask(asked: list[tuple[Example, list[bool]]]) -> list[Mapping[str, Any]]:
        scores = engine.score([item for item, _ in asked])
        without = engine.score([_unasked(item) for item, _ in asked]) if speaks else None
        return [
            {
                "task": task,
                "model": engine.name,
                "item": item.id,
                "about": dict(item.meta),
                "prompt": shown(item.prompt),
                "answers": [answer.text for answer in item.answers],
                "right": right,
                **numbers(score, without[i] if without else None),
            }
            for i, ((item, right), score) in enumerate(zip(asked, scores))
        ]

    wanted = {
        fingerprint(["choice", VERSION, task, engine.fingerprint, item.id, right]): (item, right)
        for item, right in zip(items, rights)
    }
    return rows.fetch(wanted, ask)


def numbers(scores: Sequence[AnswerScore], without: Sequence[AnswerScore] | None) -> dict[str, list[float]]:
    """way → a number for each answer; only those that this model can give."""
    if all(score.reward is not None for score in scores):
        return {"reward": [float(score.reward or 0) for score in scores]}
    logps = [float(score.logp or 0) for score in scores]
    found = {"sum": logps, "mean": [logp / max(1, score.tokens) for logp, score in zip(logps, scores)]}
    if without is not None:
        found["information"] = [logp - float(other.logp or 0) for logp, other in zip(logps, without)]
    return found


def chosen(row: Mapping[str, Any], way: str) -> float:
    """1 if the model's choice is a right answer, 0 if not; between where it cannot decide."""
    values, best = row[way], max(row[way])
    first = [right for right, value in zip(row["right"], values) if value == best]
    return sum(first) / len(first)


def accuracy(rows: Sequence[Mapping[str, Any]], way: str, seed: int = 0) -> Interval:
    """Share of items that are right. Items with one prompt are drawn together: they are not independent."""
    return mean_bootstrap([chosen(row, way) for row in rows], [row["prompt"] for row in rows], seed=seed)


def right_ones(item: Example) -> list[bool]:
    """Which answers of an item are right: those ranked first, or labelled so."""
    labels = [j.value for j in item.judgements if j.kind == "label" and len(j.value) == len(item.answers)]
    ranks = item.ranks()
    right = [bool(v) for v in labels[0]] if labels else [rank == 0 for rank in ranks] if ranks else []
    if not right or all(right) or not any(right):
        where = item.source or item.id
        raise UserError(f"{where}: of its {len(item.answers)} answers {sum(right)} are right; that is no choice.")
    return right


def _unasked(item: Example) -> Example:
    """The answers behind nothing but the marker that an assistant speaks."""
    return Example("" if isinstance(item.prompt, str) else (), item.answers)


def shown(prompt: Prompt) -> str:
    """A prompt as one text for people, rows and judges."""
    return prompt if isinstance(prompt, str) else "\n\n".join(f"{m.role}: {m.text}" for m in prompt)
