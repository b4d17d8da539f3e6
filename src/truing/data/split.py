"""Honest splits: every conversation with the same first human turn lands in the same part.

Rows of preference data repeat their conversations (each turn was compared on its own): a split by rows puts one half of
a conversation into training and the other into the test.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate

from truing.data.hh import first_human_turn
from truing.records import Example, Part, UserError


def first_turn(example: Example) -> str:
    """What the human said first, without regard to case and spaces; of a plain text, all of it."""
    if isinstance(example.prompt, str):
        text = first_human_turn(example.prompt)
    else:
        text = next((_plain(turn.content) for turn in example.prompt if turn.role == "user"), "")
    if not text and example.answers:  # language modelling has no prompt: the text itself
        text = example.answers[0].text
    return " ".join(text.casefold().split())


def _plain(content: str | tuple[Part, ...]) -> str:
    return content if isinstance(content, str) else " ".join(part.value for part in content)


def split(examples: Iterable[Example], parts: Mapping[str, float], seed: int = 0) -> dict[str, list[Example]]:
    """Divide by a hash of the first human turn, e.g. {"train": 0.9, "test": 0.1}; the order within a part stays.

    A share is a probability for each conversation, so that a part does not change when other data comes or goes.
    """
    shares = list(parts.values())
    if not parts or min(shares) <= 0 or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise UserError(f"the parts of a split must be above 0 and add up to 1, not {dict(parts)}.")
    bounds, names = list(accumulate(shares))[:-1], list(parts)
    divided: dict[str, list[Example]] = {name: [] for name in names}
    for example in examples:
        digest = hashlib.sha256(f"{seed}\n{first_turn(example)}".encode("utf-8", "surrogatepass")).digest()
        divided[names[bisect_right(bounds, int.from_bytes(digest[:8], "big") / 2**64)]].append(example)
    return divided
