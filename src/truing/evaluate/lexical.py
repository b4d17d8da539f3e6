"""What can be said of an answer by looking at its words alone, in [0, 1]: cheap parts of a reward.

tfidf       mean tf-idf of its words that are in the corpus (rows of unit length); below five of them it is cut to
            a tenth for each: rare words inform, and one rare word is not enough (Baheti et al., arXiv 2305.14718)
length      words / 100, at most 1
distinct    different words / words
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from truing.evaluate.judges import Verdict
from truing.evaluate.rows import Asker
from truing.records import Example, Prompt, fingerprint

ENOUGH, LONG = 5, 100  # words that inform; words of a long answer
_WORD = re.compile(r"\w\w+")


def words(text: str) -> list[str]:
    return text.split()


def length(prompt: Prompt, answer: str) -> float:
    return min(1.0, len(words(answer)) / LONG)


def distinct(prompt: Prompt, answer: str) -> float:
    said = words(answer)
    return len(set(said)) / len(said) if said else 0.0


@dataclass(frozen=True)
class TfIdf:
    """How informative an answer is, by the words of a corpus: ln((1 + documents) / (1 + documents with it)) + 1."""

    weights: dict[str, float]
    name: str = "lexical:tfidf"

    @classmethod
    def of(cls, texts: Iterable[str]) -> TfIdf:
        documents = [set(_terms(text)) for text in texts]
        counts = Counter(word for document in documents for word in document)
        return cls({w: math.log((1 + len(documents)) / (1 + n)) + 1 for w, n in sorted(counts.items())})

    @property
    def fingerprint(self) -> str:
        return fingerprint(["tfidf", self.weights])

    def __call__(self, examples: Sequence[Example], rows: Asker) -> list[list[Verdict]]:
        return [[Verdict(self.value(a.text)) for a in e.answers] for e in examples]

    def value(self, text: str) -> float:
        found = Counter(word for word in _terms(text) if word in self.weights)
        if not found:
            return 0.0
        row = [count * self.weights[word] for word, count in found.items()]
        mean = sum(row) / math.hypot(*row) / len(row)
        return mean * (len(row) / 10 if len(row) < ENOUGH else 1.0)


def _terms(text: str) -> list[str]:
    return _WORD.findall(text.lower())
