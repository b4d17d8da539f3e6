"""How much of a text stands in others already: copies, and runs of words.

    overlap(x) = max over the other texts y of |grams(x) ∩ grams(y)| / |grams(x)|

Grams are runs of three words, without regard to case and punctuation; a text of fewer words is one gram. 1 says that
all of x stands in one other text, piece by piece; what several texts hold together does not add up.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from truing.stats.text import ngrams, tokens

GRAM = 3
Words = tuple[object, ...]


def words(text: str) -> Words:
    return tuple(tokens(re.sub(r"[^\w\s]", " ", text.casefold())))


class Known:
    """Texts to which others are held."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.copies = Counter[Words]()
        self.holders: dict[Words, list[int]] = defaultdict(list)
        self.count = 0
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        said = words(text)
        self.copies[said] += 1
        for gram in _grams(said):
            self.holders[gram].append(self.count)
        self.count += 1

    def __contains__(self, text: str) -> bool:
        return words(text) in self.copies

    def overlap(self, text: str, but: int | None = None) -> float:
        """With the text that holds most of it; `but` leaves out the one with that number."""
        grams = _grams(words(text))
        held = Counter(holder for gram in grams for holder in self.holders.get(gram, ()) if holder != but)
        return max(held.values(), default=0) / len(grams)


def among(texts: Sequence[str]) -> list[float]:
    """The overlap of each text with the others."""
    known = Known(texts)
    return [known.overlap(text, but=number) for number, text in enumerate(texts)]


def quantiles(overlaps: Sequence[float]) -> dict[str, float]:
    return {
        "median": float(np.median(overlaps)),
        "p90": float(np.quantile(overlaps, 0.9)),
        "max": float(np.max(overlaps)),
    }


def _grams(said: Words) -> set[Words]:
    return set(ngrams(said, GRAM)) or {said}
