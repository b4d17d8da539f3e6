"""Which samples of a data set would teach a trait? Projection differences from what the model would say itself, before
anything is learnt.

    ΔP_i = (ā(x_i, y_i) − ā(x_i, y'_i)) · v̂ / ‖v‖        in class gaps (see `watch.personas`)

`own` draws y'; `last` takes the state at the prompt's last token instead, which costs no answer; `raw` takes nothing
off: approximations, both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from truing.engine.local import LocalEngine
from truing.evaluate.rows import Asker, Unkept
from truing.model.text import Dropped
from truing.persona.project import Direction, difference, projections
from truing.records import Answer, Example, Prompt, Sampling, UserError, fingerprint
from truing.stats.intervals import Interval, mean_t

Way = Literal["own", "last", "raw"]


@dataclass(frozen=True)
class Screened:
    """[N] of every sample, NaN where there is none; `dropped`: why not, by how many. And of the whole set."""

    values: np.ndarray
    whole: Interval
    dropped: Counter[str]


def screen(
    engine: LocalEngine,
    examples: Sequence[Example],
    direction: Direction,
    way: Way,
    sampling: Sampling,
    rows: Asker | None = None,
) -> Screened:
    """Of the first answer of each example, and of its first turn: what the model says itself is one turn, too. `rows`
    keep what it says."""
    dropped = Counter[str]()
    given = [Example(e.prompt, (_first(e.answers[0]),)) for e in examples]
    seen = projections(engine, given, [direction], dropped)
    said = np.array([one.answers[0, 0] for one in seen])
    if way == "own":
        before, there = np.full(len(given), np.nan), np.flatnonzero(~np.isnan(said))
        own = drawn(engine, [given[n].prompt for n in there], sampling, rows or Unkept(), dropped)
        before[there] = [_mean(one.answers[:, 0]) for one in projections(engine, own, [direction], Counter())]
    else:
        before = np.array([one.last[0] for one in seen]) if way == "last" else np.zeros(len(seen))
    values = difference(said, before) / float(direction.vector.norm())
    known = values[~np.isnan(values)]
    if not len(known):
        raise UserError(f"none of {len(examples)} samples can be compared with what {engine.name} says itself.")
    return Screened(
        values, mean_t(known), dropped + Counter({"nothing said": len(values) - len(known) - dropped.total()})
    )


def _first(answer: Answer) -> Answer:
    return Answer(answer.text) if answer.more else answer


def drawn(
    engine: LocalEngine, prompts: Sequence[Prompt], sampling: Sampling, rows: Asker, dropped: Counter[str]
) -> list[Example]:
    """What the model says itself, with its tokens; nothing, where a prompt cannot be asked."""
    wanted = dict[str, Prompt]()
    keys = []
    for prompt in prompts:
        key = fingerprint(["own", engine.fingerprint, Example(prompt).id, asdict(sampling)])
        keys.append(key)
        try:
            engine.codec.prompt_ids(prompt, room=sampling.max_tokens)
            wanted[key] = prompt
        except Dropped as problem:
            dropped[problem.reason] += 1

    def ask(asked: list[Prompt]) -> list[Mapping[str, Any]]:
        return [
            {"said": [[a.text, list(a.ids or ()), a.finish] for a in e.answers]} for e in engine.sample(asked, sampling)
        ]

    found, known = dict(zip(wanted, rows.fetch(wanted, ask))), engine.codec.tokenizer_hash
    said = [found.get(key, {"said": [["", [], "end"]]})["said"] for key in keys]
    return [
        Example(p, tuple(Answer(t, ids=tuple(i) or None, tokenizer=known if i else None, finish=f) for t, i, f in row))
        for p, row in zip(prompts, said)
    ]


def bare(drawn: Sequence[Example]) -> list[Example]:
    """What was drawn, with its tokens and nothing else."""
    return [
        Example(e.prompt, tuple(Answer(a.text, ids=a.ids, tokenizer=a.tokenizer, finish=a.finish) for a in e.answers))
        for e in drawn
    ]


def _mean(values: np.ndarray) -> float:
    """Over the model's own answers; one of nothing is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
