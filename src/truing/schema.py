"""Settings classes as a schema: plain values in, checked nested dataclasses out, mistakes in words.

A value must fit its type hint exactly, or be a text that reads as it without loss: YAML hands over `1e-4` as text, and
everything on a command line is text. Hints may be nested dataclasses (sections), unions, Literal, list, tuple, dict.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from truing.records import UserError

T = TypeVar("T")
Key = tuple[str, ...]


class Mistake(UserError):
    """A key and what is wrong with it, a sentence together; whoever knows where the key was written adds the place."""

    def __init__(self, key: Key, what: str):
        super().__init__(f"{'.'.join(key)} {what}")
        self.key, self.what = key, what


def at_least(settings: Any, least: float, *names: str) -> None:
    """For `__post_init__`: these fields, where they are not None, are no smaller than `least`."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and value < least:
            raise Mistake((name,), f"must be at least {least}, not {value}.")


def build(cls: type[T], values: Mapping[str, Any], at: Key = (), root: type | None = None) -> T:
    """An instance of `cls`; `at` is the section's place in the recipe whose class is `root`."""
    known, root = hints(cls), root or cls
    for name in values:
        if name not in known:
            own = [(*at, other) for other in known]
            raise Mistake((*at, str(name)), f"is not a known key{nearest((*at, str(name)), root, own)}")
    given = {}
    for field in (f for f in fields(cls) if f.init):  # type: ignore[arg-type]
        name, hint, default = field.name, known[field.name], default_of(field)
        if name in values:
            value = values[name]
            if value is None and section_of(hint) and NoneType not in members(hint):
                value = {}  # `optim:` with nothing under it
            if isinstance(value, Mapping) and is_dataclass(default):  # a verb may have its own defaults for a section
                value = merge(plain(default), value)
        elif default is not MISSING:
            continue
        elif section_of(hint):
            value = {}  # if something is needed in it, that is the key to name
        else:
            raise Mistake((*at, name), f"is missing: {describe(hint)} is needed.")
        given[name] = _value(hint, value, (*at, name), root)
    try:
        return cls(**given)
    except Mistake as mistake:  # from __post_init__, which does not know where its section stands
        raise Mistake((*at, *mistake.key), mistake.what) from None


def default_of(field: Field[Any]) -> Any:
    """The default of a field, or MISSING."""
    return field.default_factory() if callable(field.default_factory) else field.default


def plain(settings: Any, observations: bool = True) -> Any:
    """Dataclasses as dicts, all the way down, on request without the fields that only observe."""
    if is_dataclass(settings):
        kept = [f for f in fields(settings) if f.init and (observations or not f.metadata.get("observation"))]
        return {f.name: plain(getattr(settings, f.name), observations) for f in kept}
    if isinstance(settings, Mapping):
        return {key: plain(value, observations) for key, value in settings.items()}
    return tuple(plain(v, observations) for v in settings) if isinstance(settings, list | tuple) else settings


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, of which `above` wins key by key."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return merged


def keys(cls: type, at: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every settable key of a settings class with its hint: (("optim", "lr"), float), …"""
    for name, hint in hints(cls).items():
        section = section_of(hint)
        if section is None:
            yield (*at, name), hint
        else:
            yield from keys(section, (*at, name))


def hints(cls: type) -> dict[str, Any]:
    known = get_type_hints(cls, include_extras=True)
    return {f.name: known[f.name] for f in fields(cls) if f.init}


def members(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a union; any other hint alone. Annotations are taken off."""
    if get_origin(hint) is Annotated:
        return members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(m for h in get_args(hint) for m in members(h))
    return (hint,)


def section_of(hint: Any) -> type | None:
    """The dataclass behind a hint such as `Optim` or `Optim | None`, if it is a section and not a value."""
    return next((h for h in members(hint) if _is_section(h)), None)


def is_sequence(hint: Any) -> bool:
    return (get_origin(hint) or hint) in (tuple, list)


def nearest(key: Key, root: type, own: Sequence[Key] = (), dashes: str = "") -> str:
    """`; did you mean optim.lr?`: the key of that name in another section, else the one that is spelt most alike."""
    known = [".".join(path) for path in own]
    for path, _ in keys(root):
        known += [".".join(path[: depth + 1]) for depth in range(len(path))]
    same_name = [name for name in known if name.rpartition(".")[2] == key[-1]]
    by_name = {name.rpartition(".")[2]: name for name in known}
    alike = get_close_matches(".".join(key), known, 1, 0.6)
    close = same_name or alike or [by_name[n] for n in get_close_matches(key[-1], list(by_name), 1, 0.6)]
    return f"; did you mean {dashes}{close[0]}?" if close else "."


def describe(hint: Any) -> str:
    """A hint in words: `a whole number or 'auto'`."""
    alternatives = members(hint)
    words = [w for member in alternatives if member is not NoneType for w in _describe_one(member)]
    words = list(dict.fromkeys(words)) + (["none"] if NoneType in alternatives else [])
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def describe_value(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, Mapping):
        return "a section"
    return f"the list {list(value)!r}" if isinstance(value, list | tuple) else repr(value)


# ── one value ────────────────────────────────────────────────────────────────────────────────────────────────────────

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", Any: "a value"}
_Fit = tuple[bool, Any]  # does the value fit, and what it becomes


def _value(hint: Any, value: Any, key: Key, root: type) -> Any:
    for exact in (True, False):
        for alternative in members(hint):
            fits, result = _fit(alternative, value, key, root, exact)
            if fits:
                return result
    raise Mistake(key, f"must be {describe(hint)}, not {describe_value(value)}.")


def _fit(hint: Any, value: Any, key: Key, root: type, exact: bool) -> _Fit:
    if hint is Any:
        return True, value
    if hint is NoneType:
        return value is None, None
    if get_origin(hint) is Literal:
        return any(c == value and type(c) is type(value) for c in get_args(hint)), value
    if hint in (int, float, bool):
        return _fit_number(hint, value, exact)
    if is_sequence(hint):
        return _fit_sequence(hint, value, key, root)
    if get_origin(hint) is dict:
        inner, good = get_args(hint)[1], isinstance(value, Mapping)
        return good, {str(k): _value(inner, v, (*key, str(k)), root) for k, v in value.items()} if good else None
    if _is_section(hint) and not isinstance(value, hint):
        return (True, build(hint, value, key, root)) if isinstance(value, Mapping) else (False, None)
    return isinstance(value, hint), value


def _fit_sequence(hint: Any, value: Any, key: Key, root: type) -> _Fit:
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if not isinstance(value, list | tuple):
        return False, None
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            return False, None
    else:
        inner = (inner[0] if inner else Any,) * len(value)
    return True, kind(_value(h, v, key, root) for h, v in zip(inner, value, strict=True))


def _fit_number(hint: type, value: Any, exact: bool) -> _Fit:
    if exact or type(value) is hint:
        return type(value) is hint and value == value, value  # NaN is never meant
    if hint is bool:
        word = value.lower() if isinstance(value, str) else ""
        return word in ("true", "false"), word == "true"
    if type(value) not in (int, float, str):  # a bool is an int to Python, not to a reader
        return False, None
    try:
        number = hint(value)
    except (ValueError, OverflowError):
        try:
            number = hint(float(value))  # "1e3" steps
        except (ValueError, OverflowError):
            return False, None
    return number == (float(value) if isinstance(value, str) else value), number


def _is_section(hint: Any) -> bool:
    return is_dataclass(hint) and isinstance(hint, type)


def _describe_one(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [repr(choice) for choice in get_args(hint)]
    if is_sequence(hint):
        inner = get_args(hint) or (Any,)
        count = len(inner) if get_origin(hint) is tuple and inner[-1] is not Ellipsis else None
        return [f"a list of {count} ({describe(inner[0])} each)" if count else f"a list ({describe(inner[0])} each)"]
    if _is_section(hint) or get_origin(hint) is dict:
        return ["a section of keys and values"]
    return [_WORDS.get(hint, getattr(hint, "__name__", str(hint)))]
