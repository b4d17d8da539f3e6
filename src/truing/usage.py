"""The help pages: all verbs at a glance, and one verb's options with their defaults and meanings.

The meaning of an option is the string under its field, where it is declared.
"""

from __future__ import annotations

import ast
import inspect
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from truing.arguments import needed
from truing.schema import Key, default_of, hints, members, section_of

COMMON = (
    ("--config FILE", "a recipe in YAML; options on the command line win over it"),
    ("--dry-run", "print the whole recipe and what it will cost, and stop"),
    ("--json", "events and metrics as one JSON object per line"),
    ("--help", "this page"),
)
DEFAULT_WIDTH = 11


def show_verbs(lines: Mapping[str, str], version: str) -> None:
    """`truing --help`."""
    print(f"truing {version}: make a language model helpful, honest and harmless, and prove it.\n")
    print("truing VERB [--config FILE.yaml] [--section.key value …]\n")
    width = max(map(len, lines))
    for verb, line in lines.items():
        print(f"  {verb:{width}}  {line}")
    print("\n'truing VERB --help' shows what a verb can be told.")


def show_options(verb: str, line: str, cls: type) -> None:
    """`truing VERB --help`: option, default, meaning; what has to be given stands in the usage line."""
    width = min(shutil.get_terminal_size().columns, 120)
    unnamed = [f"{name.upper()}{' …' if many else ''}" for name, many in needed(cls, {})]
    named = [f"{_option(at, f)} …" for at, _, own in _sections(cls, ()) for f, d in own if at and d is MISSING]
    usage = " ".join([f"truing {verb}", *unnamed, *named, "[--config FILE.yaml] [--section.key value …]"])
    print(textwrap.fill(usage, width, subsequent_indent="    ", break_on_hyphens=False) + "\n")
    print(textwrap.fill(_first_paragraph(cls) or f"{line[0].upper()}{line[1:]}.", width))
    sections = [(at, section, [(_option(at, f), f, d) for f, d in own]) for at, section, own in _sections(cls, ())]
    options = [option for _, _, own in sections for option, _, _ in own]
    indent = 2 + max(map(len, [*options, *(option for option, _ in COMMON)]))
    for at, section, own in sections:
        print("\n" + textwrap.fill(f"{'.'.join(at)}: {_first_paragraph(section)}", width) if at else "")
        for option, field, default in own:
            _print_row(width, indent, option, _in_words(default), _meaning(section, field, default))
    print("\nany verb")
    for option, text in COMMON:
        _print_row(width, indent, option, "", text)


def _print_row(width: int, indent: int, option: str, default: str, meaning: str) -> None:
    """Three columns; a default too long for its column pushes the meaning to the next line."""
    head = f"{option:{indent}}{default:<{DEFAULT_WIDTH}}"
    lines = textwrap.wrap(meaning, max(width - indent - DEFAULT_WIDTH, 20)) or [""]
    if len(head) > indent + DEFAULT_WIDTH and meaning:
        lines.insert(0, "")
    print("\n".join([(head + lines[0]).rstrip(), *(" " * (indent + DEFAULT_WIDTH) + line for line in lines[1:])]))


def _sections(cls: type, at: Key, defaults: Any = MISSING) -> Iterator[tuple[Key, type, list[tuple[Field[Any], Any]]]]:
    """Each section with its place and the fields that are values, with their defaults; outer sections first."""
    known = hints(cls)
    own_defaults = defaults is MISSING or defaults is None
    pairs = [(f, default_of(f) if own_defaults else getattr(defaults, f.name)) for f in fields(cls) if f.init]
    own = [(f, default) for f, default in pairs if not section_of(known[f.name])]
    if own:
        yield at, cls, own
    for field, default in pairs:
        if section := section_of(known[field.name]):
            yield from _sections(section, (*at, field.name), default)


def _option(at: Key, field: Field[Any]) -> str:
    return f"--{'.'.join((*at, field.name))}"


def _in_words(value: Any) -> str:
    if value is MISSING:
        return "needed"
    if isinstance(value, tuple | list):
        value = " ".join(map(str, value)) or None
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _meaning(cls: type, field: Field[Any], default: Any) -> str:
    """What is written under the field, and the choices where there are only some."""
    text = _field_docs(cls).get(field.name, "")
    options = [c for hint in members(hints(cls)[field.name]) if get_origin(hint) is Literal for c in get_args(hint)]
    others = ", ".join(str(option) for option in options if option != default)
    return f"{text} (or {others})".lstrip() if others else text


def _field_docs(cls: type) -> dict[str, str]:
    """The string under each field: Python drops it, so the source is read."""
    docs: dict[str, str] = {}
    for owner in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            if isinstance(field, ast.AnnAssign) and is_text and isinstance(field.target, ast.Name):
                docs[field.target.id] = inspect.cleandoc(text.value.value)
    return docs


def _first_paragraph(cls: type) -> str:
    text = inspect.cleandoc(cls.__doc__ or "")
    return "" if text.startswith(f"{cls.__name__}(") else " ".join(text.split("\n\n")[0].split())
