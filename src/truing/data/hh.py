r"""HH-RLHF: two transcripts of one conversation, `chosen` and `rejected`, told apart from their text alone.

A speaker's turn begins with a blank line and 'Human:' or 'Assistant:'. Real files hold more such markers than turns:
a model that imitates the human, two replies in a row, a marker inside the last reply. Two rules read them all:

- a marker opens a turn only where the speaker changes; any other stays in the text, so every conversation alternates;
- the prompt is the longest common prefix of both texts, cut back to the last reply that begins inside it.

Every byte survives. One space after a marker belongs to the marker; a second one belongs to the turn; and where it is
missing, the turn's number is kept in `meta["unspaced"]` (of the example for the prompt, of the answer for its turns).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from truing.data.rows import Note, Row, RowError, answer_of, best_first, conversation, in_order, replies, take
from truing.records import Answer, Example, Message

MARKER = re.compile(r"\n\n(Human|Assistant):")
ROLE = {"Human": "user", "Assistant": "assistant"}
SPEAKER = {role: speaker for speaker, role in ROLE.items()}


@dataclass(slots=True)
class Turn:
    role: str
    start: int  # of the marker
    begin: int  # of the text behind it
    end: int


def detect(row: Row) -> bool:
    texts = row.get("chosen"), row.get("rejected")
    return "prompt" not in row and all(isinstance(t, str) and t.lstrip().startswith("Human:") for t in texts)


def read(row: Row, note: Note) -> Example:
    chosen, rejected = take(row, "chosen", str), take(row, "rejected", str)
    if not chosen.startswith("\n\nHuman:"):
        raise RowError("'chosen' does not begin with a blank line and 'Human:'")
    turns = find_turns(chosen)
    shared = common_prefix(chosen, rejected)
    cut = max((i for i, turn in enumerate(turns) if turn.role == "assistant" and turn.begin <= shared), default=None)
    if cut is None:
        raise RowError("'chosen' and 'rejected' do not begin with the same conversation")
    prompt, unspaced = messages(chosen, turns[:cut])
    answers = (
        read_reply(chosen, turns[cut:], "chosen", note),
        read_reply(rejected, find_turns(rejected, turns[cut].start), "rejected", note),
    )
    return Example(prompt, answers, in_order(2), meta={"unspaced": unspaced} if unspaced else {})


def write(example: Example) -> Row:
    prompt = transcript(conversation(example), example.meta.get("unspaced", ()))
    replies(example, 2, 2)
    chosen, rejected = (transcript(*reply_turns(answer)) for answer in best_first(example))
    return {"chosen": prompt + chosen, "rejected": prompt + rejected}


def find_turns(text: str, start: int = 0) -> list[Turn]:
    turns: list[Turn] = []
    role = ""
    for marker in MARKER.finditer(text, start):
        if ROLE[marker[1]] != role:
            role = ROLE[marker[1]]
            if turns:
                turns[-1].end = marker.start()
            turns.append(Turn(role, marker.start(), marker.end(), len(text)))
    return turns


def messages(text: str, turns: Sequence[Turn]) -> tuple[tuple[Message, ...], list[int]]:
    """The turns without the space behind their markers, and the numbers of those that had none."""
    said, unspaced = [], []
    for number, turn in enumerate(turns):
        space = text.startswith(" ", turn.begin, turn.end)
        said.append(Message(turn.role, text[turn.begin + space : turn.end]))
        if not space:
            unspaced.append(number)
    return tuple(said), unspaced


def read_reply(text: str, turns: Sequence[Turn], key: str, note: Note) -> Answer:
    said, unspaced = messages(text, turns)
    answer = answer_of(said, key, note)
    return Answer(answer.text, answer.more, meta={"unspaced": unspaced}) if unspaced else answer


def reply_turns(answer: Answer) -> tuple[tuple[Message, ...], Collection[int]]:
    return (Message("assistant", answer.text), *answer.more), answer.meta.get("unspaced", ())


def transcript(turns: Sequence[Message], unspaced: Collection[int] = ()) -> str:
    pieces = []
    for number, turn in enumerate(turns):
        if turn.role not in SPEAKER or not isinstance(turn.content, str):
            raise RowError(f"its prompt or answer has {turn.role} turns or images, and transcripts hold neither")
        pieces += ["\n\n", SPEAKER[turn.role], ":" if number in unspaced else ": ", turn.content]
    return "".join(pieces)


def common_prefix(a: str, b: str) -> int:
    """Length of the longest common prefix, by bisection: comparing slices is far quicker than comparing characters."""
    same, different = 0, min(len(a), len(b)) + 1
    while different - same > 1:
        middle = (same + different) // 2
        if a.startswith(b[same:middle], same):
            same = middle
        else:
            different = middle
    return same


def first_human_turn(text: str) -> str:
    """Of a transcript: what the human said first. Of any other text: all of it."""
    return MARKER.split(text, maxsplit=2)[2] if text.startswith("\n\nHuman:") else text
