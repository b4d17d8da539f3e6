"""What does an intervention (a preface, a training) cost in things that have nothing to do with it? Texts to complete,
outside any dialogue: the completion a model writes by itself, the one it would choose, and how likely the right one is.

    match     the likeliest continuation begins with the right completion
    choice    the right completion is likelier than the others that the item names (where it names some)
    logp      ln P(right completion | text)

    tax = measure(first model) − measure(other), item by item              (Askell et al., arXiv 2112.00861, §2)

below 0 it is a bonus. A preface takes room and attention whatever it says: only what it costs beyond a *neutral* text
of the same length is the price of what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from truing.engine.base import Asking, require
from truing.evaluate.choice import chosen, numbers, right_ones
from truing.evaluate.rows import Asker, Row
from truing.records import Example, Sampling, fingerprint
from truing.stats.intervals import Interval, mean_bootstrap

VERSION = 1
MEASURES = ("match", "choice", "logp")
PER_WORD = 4  # tokens, where the model's own are not known


def complete(engine: Asking, items: Sequence[Example], rows: Asker) -> list[Row]:
    """A row for each item: an example whose prompt is the text and whose first answers are completions, the right one
    labelled. Greedy continuations, and scores where the model can give them."""
    require(engine, "sample")
    likeliest = Sampling(max_tokens=_longest(engine, items) + 1, temperature=0.0)

    def ask(asked: list[Example]) -> list[Mapping[str, Any]]:
        drawn = engine.sample([item.prompt for item in asked], likeliest)
        scores = engine.score(asked) if "score" in engine.can else [None] * len(asked)
        return [
            {
                "task": "tax",
                "model": engine.name,
                "item": item.id,
                "about": dict(item.meta),
                "prompt": item.prompt,
                "answers": [answer.text for answer in item.answers],
                "right": _right(item),
                "said": said.answers[0].text,
                **(numbers(score, None) if score else {}),
            }
            for item, said, score in zip(asked, drawn, scores)
        ]

    keys = [fingerprint(["tax", VERSION, engine.fingerprint, i.id, _right(i), likeliest.max_tokens]) for i in items]
    wanted = dict(zip(keys, items))
    found = dict(zip(wanted, rows.fetch(wanted, ask)))
    return [found[key] for key in keys]


def _longest(engine: Asking, items: Sequence[Example]) -> int:
    """Tokens of the longest completion."""
    codec: Any = getattr(engine, "codec", None)
    texts = [answer.text for item in items for answer in item.answers]
    return max(len(codec.cut.within(text)) if codec else PER_WORD * len(text.split()) for text in texts)


def _right(item: Example) -> list[bool]:
    return right_ones(item) if len(item.answers) > 1 else [True]


def values(row: Mapping[str, Any]) -> dict[str, float]:
    """measure → its value for one item; those that there are."""
    at = row["right"].index(True)
    wanted, said = (" ".join(text.split()) for text in (row["answers"][at], row["said"]))
    found = {"match": float(bool(re.match(re.escape(wanted) + r"(?!\w)", said)))}
    if "sum" in row:
        found["logp"] = row["sum"][at]
        if len(row["right"]) > 1:
            found["choice"] = chosen(row, "sum")
    return found


def measured(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Interval]:
    return {name: mean_bootstrap(each, _texts(rows), seed=seed) for name, each in columns(rows).items()}


def tax(first: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Interval]:
    """measure → what the other model loses against the first, over the same items."""
    before, after = columns(first), columns(other)
    return {
        name: mean_bootstrap(before[name] - after[name], _texts(first), seed=seed) for name in before if name in after
    }


def columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """measure → [items]; a measure that some item lacks is left out."""
    each = [values(row) for row in rows]
    return {name: np.array([v[name] for v in each]) for name in MEASURES if all(name in v for v in each)}


def _texts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [row["prompt"] for row in rows]
