"""Recipes: YAML ↔ nested frozen dataclasses.

A recipe is the settings of a verb. It comes from a file, from the command line, or from both (the command line wins);
either way every value passes the same check (`schema`), so that a mistake reads the same wherever it was made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml

from truing.records import UserError, fingerprint
from truing.schema import Key, Mistake, build, describe_value, merge, plain

T = TypeVar("T")


def observation(default: Any) -> Any:
    """A field that says how a run is watched or where it computes, not what it learns: it is left out of the hash."""
    return dataclasses.field(default=default, metadata={"observation": True})


def load(cls: type[T], source: Mapping[str, Any] | str | Path, overrides: Mapping[str, Any] | None = None) -> T:
    """An instance of `cls` from a mapping or a YAML file, with `overrides` (nested as a recipe is) on top."""
    file = None if isinstance(source, Mapping) else Path(source)
    values = source if isinstance(source, Mapping) else read_yaml(source)
    try:
        given = merge(values, overrides or {})
        below = getattr(cls, "below", None)  # what the recipe itself asks to stand on: a preset
        return build(cls, merge(below(given), given) if below else given)
    except Mistake as mistake:
        if overrides and _holds(overrides, mistake.key):
            raise UserError(f"--{mistake}") from None
        line = _line_of(file, mistake.key) if file else None
        place = f"{file} line {line}: " if line else f"{file}: " if file else ""
        raise UserError(f"{place}{mistake}") from None


def dump(settings: Any) -> str:
    """The recipe as YAML; `load` reads it back to an equal object."""
    return yaml.dump(plain(settings), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def recipe_hash(settings: Any, extra: Any = ()) -> str:
    """A hash of everything that decides the result: the recipe without observations, and `extra` (data fingerprints…).

    The same work has the same hash under another name, with another logging cadence or on another machine.
    """
    return fingerprint([plain(settings, observations=False), extra])


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; a mistake in its syntax is named with its line."""
    try:
        values = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such recipe file.") from None
    except IsADirectoryError:
        raise UserError(f"{path}: this is a folder; a recipe is a YAML file.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8 (byte {error.start}).") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UserError(f"{path}{f' line {mark.line + 1}' if mark else ''}: not valid YAML: {reason}.") from None
    if values is not None and not isinstance(values, dict):
        raise UserError(f"{path}: a recipe holds keys and values, not {describe_value(values)}.")
    return values or {}


class _Loader(yaml.SafeLoader):
    """YAML takes the last of two equal keys without a word; here that is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"'{key.value}' is given twice", problem_mark=key.start_mark)
            if key.tag != "tag:yaml.org,2002:merge":  # several `<<: *anchor` are fine
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Sections as blocks, lists of plain values on one line."""


def _represent_tuple(dumper: yaml.SafeDumper, values: tuple[Any, ...]) -> yaml.Node:
    flat = not any(isinstance(v, Mapping | tuple) for v in values)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flat)


_Dumper.add_representer(tuple, _represent_tuple)


def _line_of(path: Path, key: Key) -> int | None:
    """Where a key stands in the file or, if it is missing there, the section that should hold it."""
    node, line = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader), None
    for part in key:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((k.start_mark.line + 1, v) for k, v in pairs if k.value == part), None)
        if found is None:
            break
        line, node = found
    return line


def _holds(values: Any, key: Key) -> bool:
    for part in key:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return True
