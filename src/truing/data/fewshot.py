"""Prompts shown to a model that shall write another one of the same kind (Bai et al., arXiv 2204.05862, §2).

A language model continues a numbered list. A chat model is shown a conversation in which it has been asked for one
after the other, and has written them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from truing.records import Example, Message, Prompt

HEAD = "Messages that people wrote to an assistant:"
FIRST = "Write a message that somebody could send to an assistant. Say nothing else."
NEXT = "Another one, from somebody else, about something else."


def opening(example: Example) -> str:
    """What is shown of an example: its prompt, of a conversation the first turn of the user."""
    if isinstance(example.prompt, str):
        return example.prompt.strip()
    return next((turn.text.strip() for turn in example.prompt if turn.role == "user"), "")


def drawn(texts: Sequence[str], count: int, seed: int, number: int) -> list[int]:
    """Which texts are shown the `number`th time: a function of seed and number alone."""
    return Random(f"shown {seed} {number}").sample(range(len(texts)), count)


def as_list(texts: Sequence[str]) -> Prompt:
    """Blank lines stand between the texts, and in none of them."""
    shown = (re.sub(r"\n\s*\n", "\n", text) for text in texts)
    items = [f"{number}. {text}" for number, text in enumerate(shown, 1)]
    return "\n\n".join([HEAD, *items, f"{len(items) + 1}."])


def list_ends(count: int) -> tuple[str, ...]:
    """Where the text after `count` others is over."""
    return ("\n\n", f"\n{count + 2}.")


def as_chat(texts: Sequence[str]) -> Prompt:
    turns = [Message("user", FIRST)]
    for text in texts:
        turns += [Message("assistant", text), Message("user", NEXT)]
    return tuple(turns)
