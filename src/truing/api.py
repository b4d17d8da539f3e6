"""Everything the command line does, one import away: `import truing; run = truing.offline(model, pairs)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from os import PathLike, fspath
from typing import Any

from truing.cli import VERBS, conclude
from truing.config import load as load_settings
from truing.data import read, write
from truing.engine import open_engine as load
from truing.records import Answer, Example, Judgement, Message, Sampling, UserError
from truing.run import Run

__all__ = [
    "Answer",
    "Example",
    "Judgement",
    "Message",
    "Sampling",
    "UserError",
    "bestofn",
    "distill",
    "load",
    "offline",
    "pm",
    "ppo",
    "read",
    "sft",
    "write",
]

Model = str | PathLike[str]
Source = str | PathLike[str] | Sequence[Example] | Mapping[str, Any]
"""a file or hub name; examples; or the whole section: {"path": …, "max_tokens": …}, or "examples" instead of "path" """


def sft(model: Model, data: Source, **keys: Any) -> Run:
    """Supervised fine-tuning; see `truing sft --help`. Sections are mappings: `optim={"lr": 1e-4}`."""
    return _train("sft", model, data, keys)


def pm(model: Model, data: Source, **keys: Any) -> Run:
    """A preference model; see `truing pm --help`."""
    return _train("pm", model, data, keys)


def distill(model: Model, teacher: Model, data: Source, **keys: Any) -> Run:
    """Distillation of a preface; see `truing distill --help`."""
    return _train("distill", model, data, {"teacher": fspath(teacher), **keys})


def offline(model: Model, data: Source, **keys: Any) -> Run:
    """Alignment on fixed data; see `truing offline --help`."""
    return _train("offline", model, data, keys)


def ppo(model: Model, data: Source, **keys: Any) -> Run:
    """Learning from judged answers of its own; see `truing ppo --help`."""
    return _train("ppo", model, data, keys)


def bestofn(model: Model, judge: Model, data: str | PathLike[str], **keys: Any) -> list[Example]:
    """Best of n; see `truing bestofn --help`."""
    settings, function = _verb("bestofn")
    return function(load_settings(settings, _plain({"model": model, "judge": judge, "data": {"path": data}, **keys})))


def _train(verb: str, model: Model, data: Source, keys: Mapping[str, Any]) -> Run:
    section: dict[str, Any] = dict(data) if isinstance(data, Mapping) else {}
    if isinstance(data, str | PathLike):
        section["path"] = data
    elif not isinstance(data, Mapping):
        section["examples"] = data
    examples = section.pop("examples", None)
    if examples is not None:
        section["path"] = "(examples)"
    settings, function = _verb(verb)
    return conclude(function(load_settings(settings, _plain({"model": model, **keys, "data": section})), examples))


def _verb(name: str) -> tuple[Any, Any]:
    """Settings class and function of a verb."""

    def find(where: str) -> Any:
        module, attribute = where.split(":")
        return getattr(import_module(module), attribute)

    return find(VERBS[name].settings), find(VERBS[name].function)


def _plain(values: Any) -> Any:
    """Paths as text, as they are in a recipe."""
    if isinstance(values, Mapping):
        return {key: _plain(value) for key, value in values.items()}
    return fspath(values) if isinstance(values, PathLike) else values
