"""Tests with given answers, as they are published: HHH (`input`, `targets`), TruthfulQA (`question`, `mc1_targets`),
BIG-bench (`input`, `target_scores`), and texts to complete (`text`, `completion`, `others`). Read into examples whose
answers are labelled right or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from truing.data.hh import MARKER, find_turns, messages
from truing.data.rows import Note, Row, RowError, take, take_list
from truing.records import Answer, Example, Judgement, Message, Prompt

TARGETS = ("targets", "mc1_targets", "target_scores")
COLUMNS = ("input", "question", *TARGETS)


def is_choice(row: Row) -> bool:
    return ("input" in row or "question" in row) and any(isinstance(row.get(name), dict) for name in TARGETS)


def read_choice(row: Row, note: Note) -> Example:
    name = next(name for name in TARGETS if isinstance(row.get(name), dict))
    targets: dict[str, Any] = row[name]
    if name == "target_scores":
        choices, labels = list(targets), list(targets.values())
    else:
        choices, labels = take_list(targets, "choices", str), take_list(targets, "labels", int, float, bool)
    if not choices or len(choices) != len(labels):
        raise RowError(f"'{name}' has not a label for each of its choices")
    asked = take(row, "question" if "question" in row else "input", str)
    right = Judgement("label", tuple(label > 0 for label in labels))
    return Example(_prompt(asked), tuple(Answer(choice) for choice in choices), (right,))


def write_choice(example: Example) -> Row:
    labels: Sequence[bool] | None = next((j.value for j in example.judgements if j.kind == "label"), None)
    if labels is None or any(label is None for label in labels):
        raise RowError("nobody said which of its answers are right")
    if isinstance(example.prompt, str) or len(example.prompt) != 1 or any(a.more for a in example.answers):
        raise RowError("a test item holds one question of the user's, and answers of one turn")
    targets = {"choices": [a.text for a in example.answers], "labels": [int(label) for label in labels]}
    return {"input": example.prompt[0].text, "targets": targets}


def _prompt(asked: str) -> Prompt:
    """One turn of the user's, or the transcript of a conversation."""
    if not MARKER.match(asked):
        return (Message("user", asked),)
    turns, _ = messages(asked, find_turns(asked))
    return turns[:-1] if turns[-1].role == "assistant" and not turns[-1].text.strip() else turns


def is_cloze(row: Row) -> bool:
    return "text" in row and "completion" in row and "prompt" not in row


def read_cloze(row: Row, note: Note) -> Example:
    """A space between text and completion belongs to the completion: models write a word and the space before it in
    one token. Where none is written, one is meant, unless the text ends in a line of its own. Nobody ends a completion:
    the text would go on."""
    text, right = take(row, "text", str), take(row, "completion", str)
    completions = [right, *(take_list(row, "others", str) if "others" in row else ())]
    if not all(completion.strip() for completion in completions):
        raise RowError("a completion is empty")
    space = "" if text.endswith("\n") else " "
    text = text if text.endswith("\n") else text.rstrip()
    answers = tuple(Answer(space + completion.strip(), finish="length") for completion in completions)
    return Example(text, answers, (Judgement("label", tuple(i == 0 for i in range(len(answers)))),))


def write_cloze(example: Example) -> Row:
    labels = next((j.value for j in example.judgements if j.kind == "label"), None)
    if not isinstance(example.prompt, str) or not labels or labels.count(True) != 1:
        raise RowError("a text to complete is a bare text with one right completion")
    right = [a.text.strip() for a, label in zip(example.answers, labels) if label]
    others = [a.text.strip() for a, label in zip(example.answers, labels) if not label]
    return {"text": example.prompt, "completion": right[0]} | ({"others": others} if others else {})
