"""From a command line to a part of a recipe.

`--section.key value` sets a key; what a verb cannot do without may be given without its name. Words stay text here:
`config.load` checks and converts them as it does with a file, so that both make the same mistakes in the same words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any

from truing.records import UserError
from truing.schema import default_of, describe, hints, is_sequence, keys, members, nearest, section_of


def parse(cls: type, argv: Sequence[str]) -> dict[str, Any]:
    """The keys that a command line sets, nested as a recipe is."""
    known = {".".join(key): hint for key, hint in keys(cls)}
    words, unnamed = deque(argv), []
    values: dict[str, Any] = {}
    while words:
        word = words.popleft()
        if not _is_option(word):
            unnamed.append(word)
            continue
        if not word.startswith("--"):
            raise UserError(f"'{word}': options are written in full, with two dashes.")
        name, equals, text = word[2:].partition("=")
        name, negated = _option(name.replace("-", "_"), known, cls)
        if name in values:
            raise UserError(f"--{name} is given twice.")
        taken = [text] if equals else ["false"] if negated else _take(known[name], words)
        values[name] = _shape(name, known[name], taken)
    for name, taken in _name(unnamed, needed(cls, values)):
        values[name] = _shape(name, known[name], taken)
    return _nest(values)


def _is_option(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-")[:1].isalpha()


def _option(name: str, known: dict[str, Any], cls: type) -> tuple[str, bool]:
    """The key that an option names, and whether it is switched off by a `no_` in front of its last part."""
    if name in known:
        return name, False
    section, dot, last = name.rpartition(".")
    positive = section + dot + last.removeprefix("no_")
    if positive in known and bool in members(known[positive]):
        return positive, True
    if any(key.startswith(f"{name}.") for key in known):
        example = next(key for key in known if key.startswith(f"{name}."))
        raise UserError(f"--{name} is a section; set its keys, as in --{example}.")
    raise UserError(f"--{name} is not a known key{nearest(tuple(name.split('.')), cls, dashes='--')}")


def _take(hint: Any, words: deque[str]) -> list[str]:
    """The words that belong to an option: as many as follow for a list, one for a value, perhaps one for a switch."""
    switch, many = bool in members(hint), any(map(is_sequence, members(hint)))
    if switch:
        return [words.popleft()] if words and words[0].lower() in ("true", "false") else ["true"]
    taken: list[str] = []
    while words and not _is_option(words[0]) and (many or not taken):
        taken.append(words.popleft())
    return taken


def _shape(name: str, hint: Any, words: list[str]) -> Any:
    alternatives = members(hint)
    if len(words) == 1 and NoneType in alternatives and words[0].lower() in ("none", "null"):
        return None
    if any(map(is_sequence, alternatives)) and not (len(words) == 1 and str in alternatives):
        return words
    if not words:
        raise UserError(f"--{name} needs {describe(hint)} after it.")
    return words[0]


def needed(cls: type, values: dict[str, Any]) -> list[tuple[str, bool]]:
    """The values (not sections) without default that no option gave, and whether each takes several words."""
    required = {f.name for f in fields(cls) if f.init and default_of(f) is MISSING}
    missing = {name: hint for name, hint in hints(cls).items() if name in required and name not in values}
    return [(name, any(map(is_sequence, members(hint)))) for name, hint in missing.items() if not section_of(hint)]


def _name(words: list[str], missing: list[tuple[str, bool]]) -> Iterator[tuple[str, list[str]]]:
    for name, many in missing:
        taken, words = (words, []) if many else (words[:1], words[1:])
        if taken:
            yield name, taken
    if words:
        raise UserError(f"'{words[0]}' belongs to no option.")


def _nest(values: dict[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return nested
