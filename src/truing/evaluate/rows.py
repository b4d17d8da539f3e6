"""What an evaluation found: one line per question and model, in a file that only grows.

A row's key is a hash of everything its content depends on: the task and its version, the item, the model's fingerprint,
how it was asked. So a repeated command asks only what is missing, a killed one goes on, another model adds its rows
beside the first one's, and every number of a report can be computed again from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from truing.records import UserError
from truing.run.log import JsonLines
from truing.run.start import Lock

ROWS = "rows.jsonl"
Row = dict[str, Any]
T = TypeVar("T")


class Asker(Protocol):
    """What judges need of rows."""

    def fetch(
        self, wanted: Mapping[str, T], ask: Callable[[list[T]], Sequence[Mapping[str, Any]]], at_once: int = 256
    ) -> list[Row]: ...


class Unkept:
    """Asks, and keeps nothing: for those who keep what was said elsewhere."""

    def fetch(
        self, wanted: Mapping[str, T], ask: Callable[[list[T]], Sequence[Mapping[str, Any]]], at_once: int = 256
    ) -> list[Row]:
        every = list(wanted.values())
        return [dict(row) for i in range(0, len(every), at_once) for row in ask(every[i : i + at_once])]


class Rows:
    """The rows of a folder, held by one process at a time."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(folder)
        self._log = JsonLines(folder / ROWS)
        self._log.cut(self._log.size, keep=lambda _: False)  # a line that was being written when a process died
        try:
            self._found = {row["key"]: row for row in self._log.rows()}
        except (KeyError, TypeError):
            self.close()
            raise UserError(f"{folder / ROWS}: a row has no key. Was the file edited? Remove the line.") from None
        except UserError:
            self.close()
            raise

    def fetch(
        self, wanted: Mapping[str, T], ask: Callable[[list[T]], Sequence[Mapping[str, Any]]], at_once: int = 256
    ) -> list[Row]:
        """One row for each key, in order. `ask` gets those that are not here yet, so many at once, and what it says is
        on the disk before it is asked again."""
        missing = [key for key in wanted if key not in self._found]
        for start in range(0, len(missing), at_once):
            keys = missing[start : start + at_once]
            said = ask([wanted[key] for key in keys])
            for key, row in zip(keys, said, strict=True):
                self.add(key, row)
        return [self._found[key] for key in wanted]

    def add(self, key: str, row: Mapping[str, Any]) -> None:
        """On the disk when this returns."""
        self._found[key] = self._log.append({"key": key, **row})

    def __getitem__(self, key: str) -> Row:
        return self._found[key]

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __len__(self) -> int:
        return len(self._found)

    def close(self) -> None:
        self._log.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
