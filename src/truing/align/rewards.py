"""What an answer earns: any number of named judges with weights, range-checked, each kept by content.

    R(x, y) = Σ_i w_i · f_i(x, y)

A judge's numbers are constants of the data: they are found again under the judge's fingerprint, whoever asks, and a
judge that has changed is another one. A judge that fails is shown with the answer at which it failed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from truing.data import Cache
from truing.evaluate.judges import Judge
from truing.evaluate.rows import Unkept
from truing.records import Answer, Example, UserError, fingerprint

SHOWN = 160  # characters of an answer in a message


def as_text(drawn: Sequence[Example], asked: Sequence[Example]) -> list[Example]:
    """What a model has just said, for judges: without token ids, which are those of its own tokenizer, and with the
    columns of the examples whose prompts were asked."""
    return [
        replace(e, answers=tuple(replace(a, ids=None, logps=None) for a in e.answers), meta=known.meta)
        for e, known in zip(drawn, asked, strict=True)
    ]


class Part(NamedTuple):
    """One judge. `bounds`: what its values may be, None for any finite number; `squash` takes σ of them first; `only`:
    the column and the value of the examples that it is asked about."""

    judge: Judge
    weight: float = 1.0
    bounds: tuple[float, float] | None = (0.0, 1.0)
    squash: bool = False
    only: tuple[str, str] | None = None

    @property
    def label(self) -> str:
        return self.judge.name + (f" if {'='.join(self.only)}" if self.only else "")

    def judges(self, example: Example) -> bool:
        return self.only is None or str(example.meta.get(self.only[0])) == self.only[1]


class Column(NamedTuple):
    """What a part says over a data set: for a table."""

    name: str
    weight: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Rewards:
    parts: Sequence[Part]
    folder: Path | None = None
    """where values are kept; several runs may share it. None: of answers that nobody will give again"""
    asked: Counter[str] = field(default_factory=Counter, compare=False)
    """how many examples a judge was asked about, and about how many it was known what it says"""

    @property
    def fingerprint(self) -> str:
        return fingerprint(
            [[p.judge.fingerprint, p.weight, p.squash, *([p.only] if p.only else [])] for p in self.parts]
        )

    @property
    def labels(self) -> list[str]:
        """One for each part: a judge that is named twice is told apart by its number."""
        every = [part.label for part in self.parts]
        return [name if every.count(name) == 1 else f"{name} ({n})" for n, name in enumerate(every, 1)]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of the sum, where all parts have bounds."""
        ends = [p.bounds for p in self.parts]
        if None in ends:
            return None
        sides = [sorted((p.weight * b[0], p.weight * b[1])) for p, b in zip(self.parts, ends) if b]
        return sum(s[0] for s in sides), sum(s[1] for s in sides)

    def of(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """[answers, parts] of each example, unweighted; NaN where a judge is not asked."""
        columns = [self._part(part, examples) for part in self.parts]
        return [np.stack(values, axis=1) for values in zip(*columns)]

    def total(self, values: np.ndarray) -> np.ndarray:
        """[answers] the weighted sum. A judge that is not asked adds nothing."""
        return np.asarray(np.nan_to_num(values) @ np.array([part.weight for part in self.parts]))

    def counted(self, values: np.ndarray) -> np.ndarray:
        """The same, but NaN where no judge that has a weight is asked: for means and spreads."""
        counts = [part.weight != 0 for part in self.parts]
        return np.where(np.isnan(values[:, counts]).all(axis=1), np.nan, self.total(values))

    def own(self, drawn: Sequence[Example]) -> np.ndarray:
        """[answers, parts] of the model's own answers, which are asked about once and not kept."""
        return np.concatenate(replace(self, folder=None).of(as_text(drawn, drawn)))

    def means(self, values: np.ndarray, what: str = "reward") -> dict[str, float]:
        """[answers, parts] → of the sum and, where there are several, of every judge: over what it is asked about."""
        columns = dict(zip((f"{what}/{name}" for name in self.labels), values.T)) if len(self.parts) > 1 else {}
        every = {what: self.counted(values), **columns}
        return {name: float(np.nanmean(column)) for name, column in every.items() if not np.isnan(column).all()}

    def table(self, values: Sequence[np.ndarray]) -> list[Column]:
        every = np.concatenate(values)
        return [
            Column(name, p.weight, float(np.nanmean(v)), float(np.nanmin(v)), float(np.nanmax(v)))
            for name, p, v in zip(self.labels, self.parts, every.T)
        ]

    def _part(self, part: Part, examples: Sequence[Example]) -> list[np.ndarray]:
        """What is kept is what the judge said; bounds are looked at every time."""
        chosen = [n for n, example in enumerate(examples) if part.judges(example)]
        said = [np.full(len(example.answers), np.nan) for example in examples]
        for n, value in zip(chosen, self._said(part.judge, [examples[n] for n in chosen]) if chosen else ()):
            said[n] = expit(value) if part.squash else value
            for answer, v in zip(examples[n].answers, said[n]):
                if part.bounds and not part.bounds[0] <= v <= part.bounds[1]:
                    low, high = part.bounds
                    raise _problem(part.judge, answer, f"gives {v:g}, outside of [{low:g}, {high:g}]")
        return said

    def _said(self, judge: Judge, examples: Sequence[Example]) -> list[np.ndarray]:
        if self.folder is None:
            return [np.array(values, dtype=np.float64) for values in _asked(judge, examples)]
        cache = Cache(self.folder, {"what": "reward", "judge": judge.fingerprint})

        def ask(positions: list[int]) -> list[dict[str, np.ndarray]]:
            return [{"value": np.array(v)} for v in _asked(judge, [examples[p] for p in positions])]

        found = cache.fetch([fingerprint([e.id, dict(e.meta)]) for e in examples], ask)
        self.asked.update(new=cache.misses, known=cache.hits)
        return [np.asarray(one["value"], dtype=np.float64) for one in found]


def check_asked(key: str, parts: Sequence[Part], examples: Sequence[Example], least: int = 1) -> None:
    """A condition that no prompt meets is a mistake."""
    for part in parts:
        count = sum(part.judges(example) for example in examples)
        if not count:
            raise UserError(f"{key}: {part.label} judges nothing: no prompt has that value in that column.")
        if count < least:
            raise UserError(f"{key}: {part.label} judges {count} of {len(examples)} prompts, and {least} are needed.")


def followed(tests: Sequence[Part]) -> list[Part]:
    """Judges have units of their own, which do not add up: the first that has a weight keeps it, the others are told
    beside it."""
    first = next((n for n, part in enumerate(tests) if part.weight), None)
    return [part if n == first else part._replace(weight=0.0) for n, part in enumerate(tests)]


def _asked(judge: Judge, examples: Sequence[Example]) -> list[list[float]]:
    try:
        verdicts = judge(examples, Unkept())
    except UserError:
        raise
    except Exception as error:
        raise _problem(judge, _culprit(judge, examples), f"failed with {type(error).__name__}: {error}") from error
    for example, row in zip(examples, verdicts, strict=True):
        for answer, verdict in zip(example.answers, row, strict=True):
            if verdict.value is None or not math.isfinite(verdict.value):
                said = "says nothing" if verdict.value is None else f"gives {verdict.value}"
                raise _problem(judge, answer, said)
    return [[float(v.value or 0.0) for v in row] for row in verdicts]


def _culprit(judge: Judge, examples: Sequence[Example]) -> Answer | None:
    """The first answer at which a judge fails when it is asked about it alone."""
    for example in examples:
        for answer in example.answers:
            try:
                judge([replace(example, answers=(answer,), judgements=())], Unkept())
            except Exception:
                return answer
    return None


def _problem(judge: Judge, answer: Answer | None, what: str) -> UserError:
    where = "" if answer is None else f" at the answer {answer.text[:SHOWN]!r}"
    return UserError(f"reward {judge.name} {what}{where}.")
