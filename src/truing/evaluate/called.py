"""A Python function as a judge, with the signature that reward functions have in TRL:

    def reward(prompts, completions, **columns) -> list[float]

For conversations both are lists of messages ({"role": …, "content": …}), for bare text they are strings; columns are
what else the data have, one value for each completion. None says that nothing can be said.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from truing.evaluate.judges import Verdict
from truing.evaluate.rows import Asker
from truing.records import Example, UserError, fingerprint


@dataclass(frozen=True)
class Called:
    """`source` is the text of the function's module: what it calls there is part of what it says."""

    name: str
    function: Callable[..., Sequence[float | None]]
    source: str

    @classmethod
    def load(cls, where: str) -> Called:
        """MODULE:FUNCTION or FILE.py:FUNCTION."""
        place, _, name = where.rpartition(":")
        if not place or not name:
            raise UserError(f"{where}: name a Python function as MODULE:FUNCTION or FILE.py:FUNCTION.")
        module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
        function = getattr(module, name, None)
        if not callable(function):
            raise UserError(f"{where}: there is no function '{name}' in {place}.")
        return cls(f"call:{where}", function, _text(module))

    @property
    def fingerprint(self) -> str:
        return fingerprint(["called", self.name, self.source])

    def __call__(self, examples: Sequence[Example], rows: Asker) -> list[list[Verdict]]:
        flat = [(e, a.text) for e in examples for a in e.answers]
        said = list(self.function(**_arguments(flat)))
        if len(said) != len(flat):
            raise UserError(f"{self.name} gave {len(said)} values for {len(flat)} answers.")
        values = iter(said)
        return [[_verdict(next(values)) for _ in e.answers] for e in examples]


def _verdict(value: float | None) -> Verdict:
    return Verdict(None if value is None else float(value))


def _arguments(flat: Sequence[tuple[Example, str]]) -> dict[str, Any]:
    prompts: list[Any] = []
    completions: list[Any] = []
    for example, text in flat:
        if isinstance(example.prompt, str):
            prompts.append(example.prompt)
            completions.append(text)
        else:
            prompts.append([{"role": m.role, "content": m.text} for m in example.prompt])
            completions.append([{"role": "assistant", "content": text}])
    names = sorted({name for example, _ in flat for name in example.meta} - {"prompts", "completions"})
    columns: Mapping[str, Any] = {name: [example.meta.get(name) for example, _ in flat] for name in names}
    return {"prompts": prompts, "completions": completions, **columns}


def _from_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path}: there is no such Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{path} cannot be run: {type(error).__name__}: {error}.") from error
    return module


def _from_name(name: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except Exception as error:
        raise UserError(f"{name} cannot be imported: {type(error).__name__}: {error}.") from None


def _text(module: Any) -> str:
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return str(getattr(module, "__version__", module.__name__))
