"""The files of a run that grow line by line.

metrics.jsonl   {"step": 12, "seconds": 3.1, "loss": 0.42, …}       one row per step
events.jsonl    {"event": "resumed", "step": 10, "at": "…", …}      what happened, with the time of day
samples.jsonl   {"step": 10, "prompt": …, "answer": …, "score": …}  what the model said

A number that is not finite is written as null and named: {"loss": null, "nonfinite": {"loss": "nan"}}.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from truing.records import UserError
from truing.run.checkpoint import disk_full_is_said

METRICS, EVENTS, SAMPLES = "metrics.jsonl", "events.jsonl", "samples.jsonl"
# Events about the process, not about training: they stay when the logs are cut back to a checkpoint.
HISTORY = ("started", "resumed", "interrupted", "failed", "damaged checkpoint")


class JsonLines:
    """An append-only file of JSON objects. A line gets in whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self.size = os.fstat(self._handle).st_size

    def append(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Write one row; returns what was written."""
        written = plain_row(row)
        data = _encode(written)
        try:
            with disk_full_is_said(self.path):
                done = 0
                while done < len(data):
                    done += os.write(self._handle, data[done:])
        except BaseException:
            os.ftruncate(self._handle, self.size)
            raise
        self.size += len(data)
        return written

    def cut(self, size: int, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop what was written after the first `size` bytes, a half-written last line too; rows to `keep` stay."""
        data = self.path.read_bytes()
        size = data.rfind(b"\n", 0, size) + 1  # shorter than it was only if somebody edited it: still end at a line
        kept = (
            b"".join(_encode(row) for row in read_rows(self.path, data[size:]) if keep(row))
            if len(data) > size
            else b""
        )
        if len(data) == size:
            return
        os.ftruncate(self._handle, size)
        os.write(self._handle, kept)
        self.size = size + len(kept)

    def rows(self) -> list[dict[str, Any]]:
        return read_rows(self.path)

    def sync(self) -> None:
        with disk_full_is_said(self.path):
            os.fsync(self._handle)

    def close(self) -> None:
        os.close(self._handle)


class Logs:
    """The three logs of a run, kept in step with its checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.metrics, self.events, self.samples = (JsonLines(folder / name) for name in (METRICS, EVENTS, SAMPLES))
        self._all = (self.metrics, self.events, self.samples)

    def mark(self) -> dict[str, int]:
        """Where each log ends now, safely on the disk: a checkpoint takes it along."""
        for log in self._all:
            log.sync()
        return {log.path.name: log.size for log in self._all}

    def cut_back(self, mark: Mapping[str, int]) -> None:
        """Forget what came after the mark: it will be done again. The process's own history stays."""
        for log in self._all:
            log.cut(mark.get(log.path.name, 0), keep=lambda row: row.get("event") in HISTORY)

    def close(self) -> None:
        for log in self._all:
            log.close()


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON can hold it; numbers that are not finite become null and are named."""
    odd: dict[str, str] = {}
    result = {str(key): _plain(value, str(key), odd) for key, value in row.items()}
    if odd:
        result["nonfinite"] = odd
    return result


def _plain(value: Any, name: str, odd: dict[str, str]) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            odd[name] = str(float(value))
            return None
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}", odd) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item, f"{name}.{i}", odd) for i, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value), name, odd)
    if hasattr(value, "tolist"):  # a tensor or an array: a 0-dim one is a number
        return _plain(value.tolist(), name, odd)
    return str(value)


def _encode(row: Mapping[str, Any]) -> bytes:
    # Text stays readable in the file; half a surrogate pair, which models do produce, becomes its JSON escape.
    return (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def read_rows(path: Path, data: bytes | None = None) -> list[dict[str, Any]]:
    """The rows of a file. A last line without its end was being written when the process died, and is left out."""
    if data is None:
        data = path.read_bytes() if path.exists() else b""
    rows = []
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise UserError(f"{path} line {number}: this is not JSON. Was the file edited? Remove the line.") from None
    return rows
