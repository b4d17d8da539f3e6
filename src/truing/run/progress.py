"""What a run shows while it goes: a bar on a terminal, sparse lines elsewhere, JSON lines for programs, or nothing.

Progress goes to stderr, so that what a command prints as its result can be piped; JSON lines are a result.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from truing.records import UserError

if TYPE_CHECKING:
    from rich.console import Console

Mode = Literal["rich", "json", "quiet"]
_mode: Mode = "rich"


def set_output(mode: Mode) -> Mode:
    """rich: for people. json: one object per event and per row of metrics on stdout. quiet: only errors. Returns what
    it was before."""
    if mode not in get_args(Mode):
        raise ValueError(f"output must be one of {', '.join(get_args(Mode))}, not {mode!r}")
    global _mode
    before, _mode = _mode, mode
    return before


def say(text: str) -> None:
    """One line for people. Model text may be in it: control characters (terminal escapes) are taken out."""
    if _mode == "rich":
        _console().print(re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text), markup=False, soft_wrap=True)


def emit(kind: str, run: str, row: Mapping[str, Any]) -> None:
    """One JSON object for programs."""
    if _mode == "json":
        print(json.dumps({"type": kind, "run": run, **row}), file=sys.stdout, flush=True)


class Progress:
    """Follows one loop from step `start` to `total`."""

    def __init__(self, name: str, start: int, total: int) -> None:
        self.name, self.start, self.step, self.total = name, start, start, total
        self._began = self._said_at = time.monotonic()
        self._said_step = start
        self._bar = _bar(name, start, total) if _mode == "rich" and _console().is_terminal else None

    def show(self, row: Mapping[str, Any]) -> None:
        """The newest row of metrics."""
        self.step = row["step"]
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self.step, numbers=newest(row))
        elif _mode == "rich" and self._due():
            self._said_at, self._said_step = time.monotonic(), self.step
            say(f"{self.name}  step {self.step}/{self.total}  {newest(row)}  {self._time_left()}".rstrip())

    def close(self) -> None:
        if self._bar:
            self._bar.stop()

    def _due(self) -> bool:
        """The first row, the last one, every tenth of the way if that takes a second, and after half a minute."""
        done, silent = self.step - self._said_step, time.monotonic() - self._said_at
        tenth = done >= self.total / 10 and silent > 1
        return self.step in (self.start + 1, self.total) or tenth or (done > 0 and silent > 30)

    def _time_left(self) -> str:
        """Not from the very first steps, which warm up or wait for the first of many answers."""
        done, left, passed = self.step - self.start, self.total - self.step, time.monotonic() - self._began
        if done <= 0 or left <= 0 or (done < self.total / 100 and passed < 10):
            return ""
        return f"{duration(passed / done * left)} left"


def newest(row: Mapping[str, Any], most: int = 5) -> str:
    """The loss and a few more numbers of a row, in the order in which they were logged."""
    names = [name for name in row if name not in ("step", "seconds", "rows", "nonfinite")]
    names.sort(key=lambda name: name != "loss")
    odd = row.get("nonfinite", {})
    return "  ".join(
        f"{name} {odd.get(name, '-') if row[name] is None else format(row[name], '.4g')}" for name in names[:most]
    )


def duration(seconds: float) -> str:
    """9.3 s, 4:07 min, 2:03:59 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _bar(name: str, start: int, total: int) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[numbers]}", markup=False),
    )
    bar = Bar(*columns, console=_console())
    bar.add_task(name, completed=start, total=total, numbers="")
    bar.start()
    return bar


class Tracker:
    """Metrics as TensorBoard files. They are a view of metrics.jsonl: written anew from it when a run continues."""

    def __init__(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        try:
            from tensorboard.summary import Writer
        except ImportError:
            raise UserError("TensorBoard is not installed: pip install 'truing[track]', or switch it off.") from None
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = Writer(str(folder))
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()
