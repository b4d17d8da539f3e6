"""The dataset types of TRL, each plain (strings) or conversational (lists of messages)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from truing.data.hh import common_prefix
from truing.data.rows import (
    Note,
    Row,
    RowError,
    answer_of,
    best_first,
    in_order,
    read_answer,
    read_dialogue,
    read_messages,
    read_prompt,
    replies,
    take,
    take_list,
    value_of,
    write_answer,
    write_dialogue,
    write_messages,
    write_prompt,
)
from truing.records import Answer, Example, Judgement, Message


def has(*columns: str) -> Callable[[Row], bool]:
    return lambda row: all(column in row for column in columns)


def read_prompt_only(row: Row, note: Note) -> Example:
    return Example(read_prompt(row, note))


def write_prompt_only(example: Example) -> Row:
    replies(example, 0, 0)
    return {"prompt": write_prompt(example.prompt)}


def read_completion(row: Row, note: Note) -> Example:
    prompt = read_prompt(row, note)
    return Example(prompt, (read_answer(row, "completion", prompt, note),))


def write_completion(example: Example) -> Row:
    (answer,) = replies(example, 1, 1)
    return {"prompt": write_prompt(example.prompt), "completion": write_answer(answer, example.prompt)}


def read_text(row: Row, note: Note) -> Example:
    """Language modelling: no prompt, everything is learnt."""
    return Example("", (Answer(take(row, "text", str)),))


def write_text(example: Example) -> Row:
    (answer,) = replies(example, 1, 1)
    if example.prompt != "":
        raise RowError("it has a prompt, and language-modelling text has none")
    return {"text": write_answer(answer, "")}


def read_conversation(row: Row, note: Note) -> Example:
    return read_dialogue(read_messages(take(row, "messages", list), "messages", note), "messages", note)


def write_conversation(example: Example) -> Row:
    return {"messages": write_messages(write_dialogue(example))}


def read_preference(row: Row, note: Note) -> Example:
    prompt = read_prompt(row, note)
    return Example(prompt, tuple(read_answer(row, key, prompt, note) for key in ("chosen", "rejected")), in_order(2))


def write_preference(example: Example) -> Row:
    replies(example, 2, 2)
    chosen, rejected = (write_answer(answer, example.prompt) for answer in best_first(example))
    return {"prompt": write_prompt(example.prompt), "chosen": chosen, "rejected": rejected}


def is_preference(row: Row) -> bool:
    """One of the two columns is enough: where the other is missing, that is what must be said."""
    return "chosen" in row or "rejected" in row


def prompt_is_implicit(row: Row) -> bool:
    """Also where a text `prompt` only repeats the first message of two whole conversations."""
    chosen = row.get("chosen")
    repeated = isinstance(row.get("prompt"), str) and isinstance(chosen, list)
    return has("chosen", "rejected")(row) and ("prompt" not in row or repeated)


def read_implicit(row: Row, note: Note) -> Example:
    chosen, rejected = (take(row, key, str, list) for key in ("chosen", "rejected"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        cut = word_before(chosen, common_prefix(chosen, rejected))
        return Example(chosen[:cut], (Answer(chosen[cut:]), Answer(rejected[cut:])), in_order(2))
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise RowError("of 'chosen' and 'rejected' one is text and one is messages")
    better, worse = read_messages(chosen, "chosen", note), read_messages(rejected, "rejected", note)
    cut = last_shared_reply(better, worse)
    answers = answer_of(better[cut:], "chosen", note), answer_of(worse[cut:], "rejected", note)
    return Example(better[:cut], answers, in_order(2))


def write_implicit(example: Example) -> Row:
    row = dict(write_preference(example))
    prompt = row.pop("prompt")
    return {key: prompt + answer for key, answer in row.items()}


def word_before(text: str, shared: int) -> int:
    """Where the prompt ends that two plain texts share: before the last space, so that no word is cut in two."""
    while shared and not text[shared - 1].isspace():
        shared -= 1
    while shared and text[shared - 1].isspace():
        shared -= 1
    return shared


def last_shared_reply(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """The last turn at which both conversations, the same until there, begin a reply."""
    shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected)) if a != b), min(len(chosen), len(rejected)))
    for cut in range(min(shared, len(chosen) - 1, len(rejected) - 1), -1, -1):
        begins = cut == 0 or chosen[cut - 1].role != "assistant"
        if begins and chosen[cut].role == rejected[cut].role == "assistant":
            return cut
    raise RowError("'chosen' and 'rejected' do not begin with the same conversation")


def read_unpaired(row: Row, note: Note) -> Example:
    example = read_completion(row, note)
    return Example(example.prompt, example.answers, (Judgement("label", (take(row, "label", bool),)),))


def write_unpaired(example: Example) -> Row:
    row = write_completion(example)
    label = value_of(example, "label")
    if label is None or label[0] is None:
        raise RowError("nobody labelled its answer as good or bad")
    return {**row, "label": label[0]}


def read_stepwise(row: Row, note: Note) -> Example:
    """Steps are read as one answer, a line each; the steps and their labels stay in the answer's meta."""
    steps, labels = take_list(row, "completions", str), take_list(row, "labels", bool)
    if len(steps) != len(labels):
        raise RowError("'labels' has not as many items as 'completions'")
    return Example(read_prompt(row, note), (Answer("\n".join(steps), meta={"steps": steps, "labels": labels}),))


def write_stepwise(example: Example) -> Row:
    (answer,) = replies(example, 1, 1)
    if not {"steps", "labels"} <= set(answer.meta):
        raise RowError("its answer is not divided into labelled steps")
    return {
        "prompt": write_prompt(example.prompt),
        "completions": answer.meta["steps"],
        "labels": answer.meta["labels"],
    }
