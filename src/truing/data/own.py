"""Truing's own rows: the whole example, nothing left out. What is empty or None is not written."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

from truing.data.rows import (
    Note,
    Row,
    RowError,
    finite,
    numbers,
    read_messages,
    read_prompt,
    take,
    take_list,
    write_messages,
    write_prompt,
)
from truing.records import Answer, Example, Judgement

ANSWER_KEYS = frozenset(get_type_hints(Answer))
JUDGEMENT_KEYS = frozenset(get_type_hints(Judgement))
KINDS = get_args(get_type_hints(Judgement)["kind"])
FINISHES = ("end", "stop", "length")


def read(row: Row, note: Note) -> Example:
    """`id` is not read: it follows from prompt and answers."""
    answers = tuple(_read_answer(answer, note) for answer in take_list(row, "answers", dict))
    return Example(
        read_prompt(row, note),
        answers,
        tuple(_read_judgement(judgement, len(answers)) for judgement in _maybe(row, "judgements", list) or ()),
        _maybe(row, "source", str),
        _maybe(row, "meta", dict) or {},
    )


def write(example: Example) -> Row:
    judgements = [_present(j, value=_lists(j.value)) for j in example.judgements]
    row: dict[str, Any] = {
        "id": example.id,
        "prompt": write_prompt(example.prompt),
        "answers": list(map(_write_answer, example.answers)),
    }
    if judgements:
        row["judgements"] = judgements
    if example.source is not None:
        row["source"] = example.source
    if example.meta:
        row["meta"] = dict(example.meta)
    return row


def _read_answer(row: Row, note: Note) -> Answer:
    _only(row, ANSWER_KEYS, "an answer")
    ids, logps, finish = _maybe(row, "ids", list), _maybe(row, "logps", list), _maybe(row, "finish", str)
    if ids is not None and not all(type(token) is int for token in ids):
        raise RowError("'ids' holds something that is not a token number")
    if logps is not None and len(logps) != len(ids or ()):
        raise RowError("'logps' has not as many items as 'ids'")
    if finish not in (None, *FINISHES):
        raise RowError(f"'finish' is not one of {', '.join(FINISHES)}")
    return Answer(
        text=take(row, "text", str),
        more=read_messages(_maybe(row, "more", list) or [], "more", note),
        by=_maybe(row, "by", str),
        ids=None if ids is None else tuple(ids),
        tokenizer=_maybe(row, "tokenizer", str),
        logps=None if logps is None else tuple(finite(value, "logps") for value in logps),
        finish=finish,  # type: ignore[arg-type]  # checked above
        reward=None if row.get("reward") is None else finite(row["reward"], "reward"),
        meta=_maybe(row, "meta", dict) or {},
    )


def _write_answer(answer: Answer) -> dict[str, Any]:
    return _present(
        answer,
        more=write_messages(answer.more) or None,
        ids=_lists(answer.ids),
        logps=_lists(answer.logps),
        meta=dict(answer.meta) or None,
    )


def _read_judgement(row: Any, answers: int) -> Judgement:
    take({"judgements[]": row}, "judgements[]", dict)
    _only(row, JUDGEMENT_KEYS, "a judgement")
    kind = take(row, "kind", str)
    if kind not in KINDS:
        raise RowError(f"the kind of a judgement is not one of {', '.join(KINDS)}")
    return Judgement(
        kind=kind,  # type: ignore[arg-type]  # checked above
        value=_read_value(row, kind, answers),
        aspect=_maybe(row, "aspect", str),
        by=_maybe(row, "by", str),
        strength=None if row.get("strength") is None else finite(row["strength"], "strength"),
        at=_maybe(row, "at", str),
    )


def _read_value(row: Row, kind: str, answers: int) -> Any:
    if kind == "text":
        return take(row, "value", str)
    if kind == "scores":
        return numbers(row, "value", answers)
    value = take(row, "value", list)
    if kind == "label":
        if len(value) != answers or not all(item is None or isinstance(item, bool) for item in value):
            raise RowError("a label judgement needs true, false or null for every answer")
        return tuple(value)
    tiers = [tier if isinstance(tier, list) else [tier] for tier in value]
    named = [answer for tier in tiers for answer in tier]
    if not all(type(n) is int and 0 <= n < answers for n in named) or len(set(named)) < len(named):
        raise RowError("an order judgement must name answers by number, from 0, none twice")
    return tuple(tuple(tier) if isinstance(tier, list) else tier for tier in value)


def _maybe(row: Row, key: str, *types: type) -> Any:
    return None if row.get(key) is None else take(row, key, *types)


def _only(row: Row, known: frozenset[str], what: str) -> None:
    for key in row:
        if key not in known:
            raise RowError(f"{what} has the unknown key '{key}'")


def _present(record: Answer | Judgement, **plain: Any) -> dict[str, Any]:
    """A record's fields in order, with some of them already made plain, without those that are None."""
    values = {name: plain[name] if name in plain else getattr(record, name) for name in record.__dataclass_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _lists(value: Any) -> Any:
    """Tuples within tuples → lists within lists, as JSON reads them back."""
    return [_lists(item) for item in value] if isinstance(value, tuple | list) else value
