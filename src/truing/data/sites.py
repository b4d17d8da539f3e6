"""Data sets taken from web sites, as they are published: Stack Exchange preferences (`question`, `answers` with
`pm_score`) and SHP (`history`, `human_ref_A`, `human_ref_B`, `score_A`, `score_B`).

Both hold texts by people and what readers thought of them. `data.pretraining` makes comparisons of that.
"""

from __future__ import annotations

import html
from typing import Any

from truing.data.markup import plain_text
from truing.data.rows import Note, Row, RowError, conversation, finite, replies, take, take_list, value_of
from truing.records import Answer, Example, Judgement, Message

EXCHANGE, SHP = ("question", "answers"), ("history", "human_ref_A", "human_ref_B", "score_A", "score_B", "labels")


def is_exchange(row: Row) -> bool:
    answers = row.get("answers")
    scored = isinstance(answers, list) and any(isinstance(answer, dict) and "pm_score" in answer for answer in answers)
    return "question" in row and scored


def read_exchange(row: Row, note: Note) -> Example:
    """Texts are HTML there. `pm_score` is a label already: the logarithm of votes, an accepted answer one more."""
    answers, scores = list[Answer](), list[float]()
    for found in take_list(row, "answers", dict):
        scores.append(finite(found.get("pm_score"), "answers[].pm_score"))
        others = {name: found[name] for name in found if name not in ("text", "pm_score", "selected")}
        text = plain_text(take(found, "text", str))
        answers.append(Answer(text, meta={"accepted": bool(found.get("selected")), **others}))
    prompt = (Message("user", plain_text(take(row, "question", str))),)
    return Example(prompt, tuple(answers), (Judgement("scores", tuple(scores), aspect="pm_score"),))


def write_exchange(example: Example) -> Row:
    scores = value_of(example, "scores")
    if scores is None or None in scores:
        raise RowError("nobody scored its answers")
    answers: list[dict[str, Any]] = []
    for answer, score in zip(example.answers, scores):
        others = {name: value for name, value in answer.meta.items() if name != "accepted"}
        text = _as_html(_only_reply(answer))
        answers.append({**others, "text": text, "pm_score": score, "selected": bool(answer.meta.get("accepted"))})
    return {"question": _as_html(_only_turn(example)), "answers": answers}


def read_shp(row: Row, note: Note) -> Example:
    """`labels` is 1 where A is preferred; it cannot say otherwise than the scores."""
    scores = tuple(finite(row.get(name), name) for name in ("score_A", "score_B"))
    labelled, apart = row.get("labels") is not None, scores[0] != scores[1]
    if labelled and apart and take(row, "labels", int) != int(scores[0] > scores[1]):
        raise RowError("'labels' does not prefer the comment with the higher score")
    answers = tuple(Answer(take(row, name, str)) for name in ("human_ref_A", "human_ref_B"))
    prompt = (Message("user", take(row, "history", str)),)
    return Example(prompt, answers, (Judgement("scores", scores, aspect="popularity"),))


def write_shp(example: Example) -> Row:
    scores, answers = value_of(example, "scores"), replies(example, 2, 2)
    if scores is None or None in scores:
        raise RowError("nobody scored its answers")
    texts = {f"human_ref_{name}": _only_reply(answer) for name, answer in zip("AB", answers)}
    numbers = {f"score_{name}": score for name, score in zip("AB", scores)}
    return {"history": _only_turn(example), **texts, **numbers, "labels": int(scores[0] > scores[1])}


def _only_turn(example: Example) -> str:
    turns = conversation(example)
    if len(turns) != 1 or turns[0].role != "user" or not isinstance(turns[0].content, str):
        raise RowError("this format holds one post, and answers to it")
    return turns[0].content


def _only_reply(answer: Answer) -> str:
    if answer.more:
        raise RowError("an answer has turns after its reply")
    return answer.text


def _as_html(text: str) -> str:
    return html.escape(text, quote=False)
