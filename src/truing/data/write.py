"""Writing: examples → a file of some format. What the format cannot say is refused, or named where it is secondary."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from truing.data.files import write_rows
from truing.data.formats import Format, named
from truing.data.rows import Row, RowError, value_of
from truing.records import Example, UserError


def write(path: str | os.PathLike[str], examples: Iterable[Example], format: str) -> int:
    """Write examples and return how many. Each row is read back: what changes the meaning is refused.

    Prompts, answers, which one is better and labels always survive. See `losses` for what only some formats keep.
    """
    target, shape = Path(path), named(format)
    try:
        return write_rows(target, (row for _, row, _ in _written(examples, shape, str(target))))
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from error


def losses(examples: Iterable[Example], format: str) -> dict[str, int]:
    """What this format would not keep of these examples: name → how many of them have it."""
    lost = Counter[str]()
    for example, _, back in _written(examples, named(format), format):
        before, after = _secondary(example), _secondary(back)
        lost.update(name for name in before if before[name] != after[name])
    return dict(lost)


def _written(examples: Iterable[Example], shape: Format, target: str) -> Iterator[tuple[Example, Row, Example]]:
    """Each example, its row, and the example that the row would be read back as."""
    number = 0
    for number, example in enumerate(examples, 1):
        try:
            row = shape.write(example)
            back = shape.read(row, lambda _: None, "")
            before, after = _meaning(example), _meaning(back)
            changed = [name for name in before if before[name] != after[name]]
            if changed:
                raise RowError(f"read back, its {' and '.join(changed)} would differ")
        except RowError as error:
            where = example.source or f"example {number}"
            raise UserError(
                f"{target}: {where} cannot be written in the {shape.title} format: {error}. Nothing was written."
            ) from error
        yield example, row, back
    if not number:
        raise UserError(f"{target}: there are no examples to write.")


def _order(example: Example) -> list[int]:
    ranks = example.ranks() or [0] * len(example.answers)
    return sorted(range(len(ranks)), key=ranks.__getitem__)


def _meaning(example: Example) -> dict[str, Any]:
    """What must survive. Formats may list the answers in another order, so all are compared best first."""
    order, labels = _order(example), value_of(example, "label")
    return {
        "prompt": example.prompt,
        "answers": [(example.answers[i].text, example.answers[i].more) for i in order],
        "preferences": sorted(example.ranks() or ()) if len(order) > 1 else [],
        "labels": labels and [labels[i] for i in order],
    }


def _secondary(example: Example) -> dict[str, Any]:
    """What may be lost, if somebody knows."""
    order, scores = _order(example), value_of(example, "scores")
    answers = [example.answers[i] for i in order]
    kept: dict[str, Any] = {
        f"answer {name}": [getattr(answer, name) for answer in answers]
        for name in ("by", "ids", "tokenizer", "logps", "finish", "reward", "meta")
    }
    kept |= {
        f"judgement {name}": sorted(str(getattr(j, name)) for j in example.judgements if getattr(j, name) is not None)
        for name in ("aspect", "by", "strength", "at")
    }
    return kept | {
        "scores": scores and [scores[i] for i in order],
        "remarks": [j.value for j in example.judgements if j.kind == "text"],
        "further judgements": len(example.judgements),
        "meta": example.meta,
    }
