"""What may be wrong with an example that can be read: named, counted by `read`, dropped only where somebody asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable

from truing.data.hh import MARKER
from truing.records import Example, Message

SPEAKER_NAME = re.compile(r"(?<!\n\n)(?:Human|Assistant):")


def spoken(example: Example) -> str:
    """All texts of a conversation, turn by turn, kept apart by a zero; nothing where the prompt is plain text."""
    if isinstance(example.prompt, str):
        return ""
    turns = [turn.text for turn in example.prompt]
    for answer in example.answers:
        turns += [answer.text, *(turn.text for turn in answer.more)]
    return "\0".join(turns)


def names_a_speaker(example: Example) -> bool:
    text = spoken(example)
    return ("Human:" in text or "Assistant:" in text) and bool(SPEAKER_NAME.search(text))


def is_blank(turn: Message) -> bool:
    return isinstance(turn.content, str) and not turn.content.strip()


def one_begins_another(example: Example) -> bool:
    texts = [answer.text for answer in example.answers if not answer.more]
    return any(a != b and a.strip() and b.startswith(a) for a in texts for b in texts)


def repeats_prompt(example: Example) -> bool:
    prompt = example.prompt
    return isinstance(prompt, str) and bool(prompt) and any(a.text.startswith(prompt) for a in example.answers)


DEFECTS: dict[str, Callable[[Example], bool]] = {
    "empty answer": lambda e: any(not a.text.strip() for a in e.answers),
    "identical answers": lambda e: len({(a.text, a.more) for a in e.answers}) < len(e.answers),
    "an answer begins another": one_begins_another,
    "an answer ends with a colon (cut off)": lambda e: any(a.text.rstrip().endswith(":") for a in e.answers),
    "an answer repeats the prompt": repeats_prompt,
    "empty turn in the prompt": lambda e: isinstance(e.prompt, tuple) and any(map(is_blank, e.prompt)),
    "prompt ends with an assistant turn": lambda e: (
        isinstance(e.prompt, tuple) and bool(e.prompt) and e.prompt[-1].role == "assistant"
    ),
    "prompt without a user turn": lambda e: (
        isinstance(e.prompt, tuple) and all(turn.role != "user" for turn in e.prompt)
    ),
    "speaker marker inside a turn": lambda e: bool(MARKER.search(spoken(e))),
    "speaker name inside a turn": names_a_speaker,
}
REPEATED = "repeated example"


class Finder:
    """Names the defects of examples one after the other; it remembers them, to notice the repeated ones."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()

    def __call__(self, example: Example) -> list[str]:
        found = [name for name, has_it in DEFECTS.items() if has_it(example)]
        key = (example.prompt, tuple((answer.text, answer.more) for answer in example.answers))
        if key in self._seen:
            found.append(REPEATED)
        self._seen.add(key)
        return found
