"""Formats from elsewhere: ShareGPT, Alpaca, PRO's ranked lists, scored answers."""

from __future__ import annotations

import re

from truing.data.rows import (
    Note,
    Row,
    RowError,
    best_first,
    conversation,
    in_order,
    numbers,
    read_answer,
    read_dialogue,
    read_prompt,
    replies,
    take,
    take_list,
    value_of,
    write_answer,
    write_dialogue,
    write_prompt,
)
from truing.records import Answer, Example, Judgement, Message

# ShareGPT: who speaks. The first name of a role is the one that is written.
SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
    "tool": "tool",
    "user": "user",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "observation": "tool",
    "function_response": "tool",
}
SPEAKER_OF = {role: speaker for speaker, role in reversed(SPEAKERS.items())}


def read_sharegpt(row: Row, note: Note) -> Example:
    turns = []
    for turn in take(row, "conversations", list):
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            raise RowError("'conversations' holds a turn that is not an object with the texts 'from' and 'value'")
        speaker = take(turn, "from", str)
        if speaker not in SPEAKERS:
            raise RowError(f"'conversations' has a turn from {speaker!r}, not from {', '.join(SPEAKERS)}")
        for name in turn:
            if name not in ("from", "value") and turn[name] is not None:
                note(f"message key '{name}' left out")
        turns.append(Message(SPEAKERS[speaker], turn["value"]))
    return read_dialogue(tuple(turns), "conversations", note)


def write_sharegpt(example: Example) -> Row:
    turns = write_dialogue(example)
    if not all(isinstance(turn.content, str) and turn.role in SPEAKER_OF for turn in turns):
        raise RowError("its conversation has images or unknown roles, which ShareGPT cannot hold")
    return {"conversations": [{"from": SPEAKER_OF[turn.role], "value": turn.content} for turn in turns]}


def read_alpaca(row: Row, note: Note) -> Example:
    """The instruction and, a blank line below it, the input are what the user says."""
    said = take(row, "instruction", str)
    if row.get("input") not in (None, ""):
        said += "\n\n" + take(row, "input", str)
    return Example((Message("user", said),), (Answer(take(row, "output", str)),))


def write_alpaca(example: Example) -> Row:
    (answer,) = replies(example, 1, 1)
    turns = conversation(example)
    if len(turns) != 1 or answer.more or turns[0].role != "user" or not isinstance(turns[0].content, str):
        raise RowError("Alpaca holds one user turn of text and one reply")
    return {"instruction": turns[0].content, "input": "", "output": answer.text}


PRO_MARKER = re.compile(r"<\|(prompter|assistant)\|>")
PRO_ROLE = {"prompter": "user", "assistant": "assistant"}
PRO_SPEAKER = {role: f"<|{speaker}|>" for speaker, role in PRO_ROLE.items()}


def read_pro(row: Row, note: Note) -> Example:
    """`suffix` lists the answers best first; `reward` is what a reward model thought, which need not agree."""
    prefixes, answers = take_list(row, "prefix", list), take_list(row, "suffix", str)
    if not prefixes or any(prefix != prefixes[0] for prefix in prefixes) or len(prefixes) != len(answers):
        raise RowError("'prefix' must hold the same conversation once for every item of 'suffix'")
    before, *pieces = PRO_MARKER.split("".join(take_list({"prefix[]": prefixes[0]}, "prefix[]", str)))
    turns = [Message(PRO_ROLE[speaker], said) for speaker, said in zip(pieces[::2], pieces[1::2])]
    if before or not turns or turns[-1] != Message("assistant", ""):
        raise RowError("'prefix' must begin with <|prompter|> and end with an open <|assistant|>")
    judgements = in_order(len(answers))
    if row.get("reward") is not None:
        judgements += (Judgement("scores", numbers(row, "reward", len(answers))),)
    return Example(tuple(turns[:-1]), tuple(map(Answer, answers)), judgements)


def write_pro(example: Example) -> Row:
    turns, answers = conversation(example), best_first(example) if len(example.answers) > 1 else example.answers
    if any(answer.more for answer in answers):
        raise RowError("a ranked answer has turns after its reply")
    if not all(isinstance(turn.content, str) and turn.role in PRO_SPEAKER for turn in turns):
        raise RowError("its prompt has turns of other roles than user and assistant, or images")
    prefix = [f"{PRO_SPEAKER[turn.role]}{turn.content}" for turn in turns] + [PRO_SPEAKER["assistant"]]
    row: dict[str, object] = {"prefix": [prefix] * len(answers), "suffix": [answer.text for answer in answers]}
    scores = value_of(example, "scores")
    if scores is not None:
        score_of = {id(answer): score for answer, score in zip(example.answers, scores)}
        row["reward"] = [score_of[id(answer)] for answer in answers]
    return row


def is_scored(row: Row) -> bool:
    """Not Truing's own rows, whose answers are objects."""
    answers = row.get("answers")
    return isinstance(answers, list) and ("scores" in row or any(isinstance(answer, str) for answer in answers))


def read_scored(row: Row, note: Note) -> Example:
    prompt, given = read_prompt(row, note), take(row, "answers", list)
    answers = tuple(read_answer({"answers[]": answer}, "answers[]", prompt, note) for answer in given)
    return Example(prompt, answers, (Judgement("scores", numbers(row, "scores", len(answers))),))


def write_scored(example: Example) -> Row:
    scores = value_of(example, "scores")
    if scores is None:
        raise RowError("nobody scored its answers")
    return {
        "prompt": write_prompt(example.prompt),
        "answers": [write_answer(answer, example.prompt) for answer in example.answers],
        "scores": list(scores),
    }
