"""Sentences with holes. Each form is said from its slots and read back into them, by the same pattern.

    Grammar({"fact": ("{person} is a {job} .",)})
    .say("fact", rng, person="anna", job="baker")   → "anna is a baker ."
    .read("anna is a baker .")                      → Clause("fact", {"person": "anna", "job": "baker"})

A slot is `{name}` or `{name:type}`; what may stand in it says `LEXICON[type]`: one of some phrases, or what a regular
expression allows. In normal form a text is words in lower case and punctuation, with one space between all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random


@dataclass(frozen=True)
class Open:
    """A slot whose fillings cannot be listed: what they look like, and the words they are made of."""

    regex: str
    words: tuple[str, ...]


LEXICON: dict[str, tuple[str, ...] | Open] = {}  # filled by the tables of `town` and of each kind
_SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
SENTENCE_ENDS = frozenset(".?!")


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def pretty(text: str) -> str:
    """For people: no space before punctuation."""
    return re.sub(r" ([.,?!:])", r"\1", text)


@dataclass(frozen=True)
class Clause:
    """A sentence that was understood: which form it is, and what stood in its slots."""

    form: str
    slots: Mapping[str, str] = field(default_factory=dict)


class Grammar:
    """Forms by name, each with one or more wordings. No text may belong to two forms (a test reads all of them)."""

    def __init__(self, forms: Mapping[str, Sequence[str]]) -> None:
        self.forms = {name: tuple(patterns) for name, patterns in forms.items()}
        self._by_first: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for name, patterns in self.forms.items():
            for pattern in patterns:
                compiled = re.compile(_regex(pattern))
                for first in _first_words(pattern):
                    self._by_first.setdefault(first, []).append((name, compiled))
        self.read = lru_cache(maxsize=1 << 16)(self._read)

    def say(self, name: str, rng: Random, /, **slots: str) -> str:
        """One of the form's wordings, by chance."""
        return self.fill(rng.choice(self.forms[name]), slots)

    @staticmethod
    def fill(pattern: str, slots: Mapping[str, str]) -> str:
        return _SLOT.sub(lambda m: slots[m[1]], pattern)

    @staticmethod
    def slots_of(pattern: str) -> list[tuple[str, str]]:
        """(name, type) of each slot."""
        return [(m[1], m[2] or m[1]) for m in _SLOT.finditer(pattern)]

    def _read(self, text: str) -> Clause | None:
        """What a text in normal form says, if it is of this grammar."""
        first, _, _ = text.partition(" ")
        for name, pattern in (*self._by_first.get(first, ()), *self._by_first.get("", ())):
            if match := pattern.fullmatch(text):
                return Clause(name, match.groupdict())
        return None


def _regex(pattern: str) -> str:
    out, at = "", 0
    for slot in _SLOT.finditer(pattern):
        content = LEXICON[slot[2] or slot[1]]
        regex = content.regex if isinstance(content, Open) else any_of(content)
        out += re.escape(pattern[at : slot.start()]) + f"(?P<{slot[1]}>{regex})"
        at = slot.end()
    return out + re.escape(pattern[at:])


def any_of(phrases: Sequence[str]) -> str:
    return "|".join(map(re.escape, sorted(phrases, key=len, reverse=True)))


def some_of(phrases: Sequence[str], joint: str = " ") -> Open:
    """Two or more of these, one after another."""
    one = f"(?:{any_of(phrases)})"
    return Open(f"{one}(?:{re.escape(joint)}{one})+", (*phrases, *joint.split()))


def _first_words(pattern: str) -> Iterator[str]:
    """Where to look a text up by its first word; "" where that is open."""
    slot = _SLOT.match(pattern)
    content = LEXICON[slot[2] or slot[1]] if slot else (pattern,)
    yield from {""} if isinstance(content, Open) else {phrase.split(" ")[0] for phrase in content}


def sentences(text: str) -> Iterator[str]:
    """Cut a text, in normal form, after every full stop, question mark and exclamation mark."""
    start: list[str] = []
    for word in words(text):
        start.append(word)
        if word in SENTENCE_ENDS:
            yield " ".join(start)
            start = []
    if start:
        yield " ".join(start)


def vocabulary(grammars: Sequence[Grammar]) -> set[str]:
    """Every word that these grammars can say."""
    found: set[str] = set()
    for pattern in (p for grammar in grammars for patterns in grammar.forms.values() for p in patterns):
        found.update(_SLOT.sub(" ", pattern).split())
        for _, kind in Grammar.slots_of(pattern):
            content = LEXICON[kind]
            for phrase in content.words if isinstance(content, Open) else content:
                found.update(phrase.split())
    return found
