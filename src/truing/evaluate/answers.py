"""What models say to prompts, as rows: whoever counts, compares or judges answers again does not draw them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from truing.engine.base import Asking, require
from truing.evaluate.choice import shown
from truing.evaluate.rows import Rows
from truing.records import Answer, Example, Sampling, fingerprint

VERSION = 1


def answers(engine: Asking, prompts: Sequence[Example], sampling: Sampling, rows: Rows) -> list[Example]:
    """Each prompt with `sampling.n` answers, in order."""
    require(engine, "sample")

    def ask(asked: list[Example]) -> list[Mapping[str, Any]]:
        drawn = engine.sample([e.prompt for e in asked], sampling)
        return [
            {
                "task": "answers",
                "model": engine.name,
                "prompt": shown(e.prompt),
                "answers": [a.text for a in e.answers],
                "finish": [a.finish for a in e.answers],
            }
            for e in drawn
        ]

    how = [engine.fingerprint, asdict(sampling)]
    keys = [fingerprint(["answers", VERSION, how, Example(e.prompt).id]) for e in prompts]
    wanted = dict(zip(keys, prompts))
    found = dict(zip(wanted, rows.fetch(wanted, ask)))
    return [replace(e, answers=_answers(found[key], engine.name), judgements=()) for key, e in zip(keys, prompts)]


def _answers(row: Mapping[str, Any], by: str) -> tuple[Answer, ...]:
    return tuple(Answer(text, by=by, finish=finish) for text, finish in zip(row["answers"], row["finish"]))
