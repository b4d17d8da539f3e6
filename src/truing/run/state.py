"""The things a run carries from one process to the next: what `keep` and `attach` were given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol, TypeVar

from truing.records import UserError

STATE = "state.json"


class Stateful(Protocol):
    """Small state that JSON can hold (keys are strings; a tuple comes back as a list)."""

    def state(self) -> dict[str, Any]: ...
    def load_state(self, state: dict[str, Any], /) -> None: ...


class Savable(Protocol):
    """State that needs files of its own."""

    def save(self, folder: Path, /) -> None: ...
    def load(self, folder: Path, /) -> None: ...


Kept = TypeVar("Kept", bound=Stateful)
Attached = TypeVar("Attached", bound=Savable)


class State:
    """Things by name. With a checkpoint, each gets its state back at the moment it is named."""

    def __init__(self, checkpoint: Path | None) -> None:
        self.checkpoint = checkpoint
        self._kept: dict[str, Stateful] = {}
        self._attached: dict[str, Savable] = {}
        self._saved: dict[str, Any] = {"kept": {}, "attached": []}
        if checkpoint:
            self._saved = json.loads((checkpoint / STATE).read_text("utf-8"))

    def keep(self, name: str, thing: Kept) -> Kept:
        self._kept[name] = thing
        if self.checkpoint:
            self._expect(name, "kept")
            thing.load_state(self._saved["kept"][name])
        return thing

    def attach(self, name: str, thing: Attached) -> Attached:
        self._attached[name] = thing
        if self.checkpoint:
            self._expect(name, "attached")
            thing.load(self.checkpoint / name)
        return thing

    def write(self, folder: Path) -> None:
        for name, thing in self._attached.items():
            (folder / name).mkdir()
            thing.save(folder / name)
        kept = {name: thing.state() for name, thing in self._kept.items()}
        (folder / STATE).write_text(json.dumps({"kept": kept, "attached": list(self._attached)}), "utf-8")

    def check_nothing_is_lost(self) -> None:
        """What is in the checkpoint but was not asked for would be missing from the next one."""
        lost = [n for n in (*self._saved["kept"], *self._saved["attached"]) if n not in self._kept | self._attached]
        if lost:
            raise UserError(f"{self.checkpoint} also holds {', '.join(lost)}, which this version would lose.")

    def _expect(self, name: str, part: str) -> None:
        if name not in self._saved[part]:
            raise UserError(f"{self.checkpoint} has no {name!r}: another version of the program wrote it.")
