"""What every row format shares: fields with checked types, messages, answers, and the error that names a bad row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from truing.records import Answer, Example, Judgement, Message, Part, Prompt

Row = Mapping[str, Any]
# Says something about a row that its example can no longer show ("ends on a user turn: left out"). Counted by name.
Note = Callable[[str], None]

ROLES = ("system", "user", "assistant", "tool")
KINDS: dict[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class RowError(Exception):
    """Why one row cannot be read or written. Rows dropped for one reason are counted under it, so it quotes no text."""


def kind(value: Any) -> str:
    return KINDS.get(type(value), f"a {type(value).__name__}")


def take(row: Row, key: str, *types: type) -> Any:
    """row[key], which must be there and of one of these types."""
    value = row.get(key)
    if value is None:
        raise RowError(f"'{key}' is missing" if key not in row else f"'{key}' is null")
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        wanted = " or ".join(KINDS[t] for t in types)
        raise RowError(f"'{key}' is {kind(value)}, not {wanted}")
    return value


def take_list(row: Row, key: str, *types: type) -> list[Any]:
    """row[key], a list whose items are all of these types."""
    values = take(row, key, list)
    for value in values:
        take({f"{key}[]": value}, f"{key}[]", *types)
    return values


def finite(value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowError(f"'{key}' holds something that is not a finite number")
    return float(value)


def numbers(row: Row, key: str, count: int) -> tuple[float | None, ...]:
    """One number, or null, for each of `count` answers."""
    values = take(row, key, list)
    if len(values) != count:
        raise RowError(f"'{key}' has not as many items as there are answers")
    return tuple(None if value is None else finite(value, key) for value in values)


def read_messages(value: list[Any], key: str, note: Note) -> tuple[Message, ...]:
    turns = []
    for turn in value:
        if not isinstance(turn, dict):
            raise RowError(f"'{key}' holds a turn that is {kind(turn)}, not an object with role and content")
        role, content = turn.get("role"), turn.get("content")
        if role not in ROLES:
            raise RowError(f"'{key}' has a turn whose role is {role!r}, not {', '.join(ROLES[:-1])} or {ROLES[-1]}")
        if content is None and turn.get("tool_calls"):
            raise RowError(f"'{key}' has a turn of tool calls without text, which cannot be trained on here")
        if isinstance(content, list):
            content = tuple(_read_part(part, key) for part in content)
        elif not isinstance(content, str):
            raise RowError(f"'{key}' has a turn whose content is {kind(content)}, not text or a list of parts")
        for name in turn:
            if name not in ("role", "content") and turn[name] is not None:
                note(f"message key '{name}' left out")
        turns.append(Message(role, content))
    return tuple(turns)


def write_messages(turns: Sequence[Message]) -> list[dict[str, Any]]:
    return [
        {"role": m.role, "content": m.content if isinstance(m.content, str) else [_write_part(p) for p in m.content]}
        for m in turns
    ]


def _read_part(part: Any, key: str) -> Part:
    if isinstance(part, dict) and part.get("type") in ("text", "image"):
        value = part.get(part["type"])
        if isinstance(value, str):
            return Part(part["type"], value)
    raise RowError(f"'{key}' has a part that is not {{type: text, text: …}} or {{type: image, image: path}}")


def _write_part(part: Part) -> dict[str, str]:
    return {"type": part.kind, part.kind: part.value}


def read_prompt(row: Row, note: Note, key: str = "prompt") -> Prompt:
    value = take(row, key, str, list)
    return value if isinstance(value, str) else read_messages(value, key, note)


def write_prompt(prompt: Prompt) -> str | list[dict[str, Any]]:
    return prompt if isinstance(prompt, str) else write_messages(prompt)


def read_answer(row: Row, key: str, prompt: Prompt, note: Note) -> Answer:
    """A reply is text, or after a conversation also messages that begin with the assistant's."""
    value = take(row, key, str, list)
    if isinstance(value, str):
        return Answer(value)
    if isinstance(prompt, str):
        raise RowError(f"'prompt' is text but '{key}' is messages: both must be the one or the other")
    return answer_of(read_messages(value, key, note), key, note)


def answer_of(turns: Sequence[Message], key: str, note: Note) -> Answer:
    """The turns from the first reply on. Whatever follows the last reply teaches nothing: left out, and counted."""
    if not turns or turns[0].role != "assistant":
        raise RowError(f"'{key}' does not begin with an assistant turn: it must hold the reply alone")
    end = len(turns)
    while turns[end - 1].role != "assistant":
        end -= 1
    if end < len(turns):
        note("ends on a turn that is not the assistant's (left out)")
    if not isinstance(turns[0].content, str) and any(part.kind == "image" for part in turns[0].content):
        raise RowError(f"'{key}' has an image inside the reply")
    return Answer(turns[0].text, more=tuple(turns[1:end]))


def write_answer(answer: Answer, prompt: Prompt) -> str | list[dict[str, Any]]:
    if isinstance(prompt, tuple):
        return write_messages([Message("assistant", answer.text), *answer.more])
    if answer.more:
        raise RowError("the turns after the first reply need a prompt made of messages")
    return answer.text


def read_dialogue(turns: tuple[Message, ...], key: str, note: Note) -> Example:
    """A whole conversation: what comes before the first reply is the prompt, everything from there on is learnt."""
    first = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), None)
    if first is None:
        note("conversation without an assistant turn (only a prompt)")
        return Example(turns)
    return Example(turns[:first], (answer_of(turns[first:], key, note),))


def write_dialogue(example: Example) -> tuple[Message, ...]:
    prompt, answers = conversation(example), replies(example, 0, 1)
    if any(turn.role == "assistant" for turn in prompt):
        raise RowError(
            "its prompt holds replies, which would be learnt with the answer here (not in prompt-completion)"
        )
    return prompt + tuple(turn for a in answers for turn in (Message("assistant", a.text), *a.more))


def conversation(example: Example) -> tuple[Message, ...]:
    if isinstance(example.prompt, str):
        raise RowError("its prompt is plain text, and this format holds conversations")
    return example.prompt


def replies(example: Example, least: int, most: int) -> tuple[Answer, ...]:
    if not least <= len(example.answers) <= most:
        wanted = str(most) if least == most else f"at most {most}"
        raise RowError(f"it has {len(example.answers)} answers, and this format holds {wanted}")
    return example.answers


def best_first(example: Example) -> tuple[Answer, ...]:
    """All answers in their order, for formats where the place says which is better: it must be strict."""
    ranks = example.ranks()
    if ranks is None:
        raise RowError("nobody said which of its answers is better")
    if len(set(ranks)) < len(ranks):
        raise RowError("some of its answers are tied, which this format cannot say")
    return tuple(answer for _, answer in sorted(zip(ranks, example.answers), key=lambda pair: pair[0]))


def value_of(example: Example, judgement: str) -> Any:
    """The value of the first judgement of this kind, or None."""
    return next((j.value for j in example.judgements if j.kind == judgement), None)


def in_order(count: int) -> tuple[Judgement, ...]:
    """Listed best first. (One answer alone is in no order.)"""
    return (Judgement("order", tuple(range(count))),) if count > 1 else ()
