"""What both sides of the bench share: the command line, the meter of time and memory, and the JSON that comes out."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Task = Literal["sft", "pm", "dpo", "a_lol_seq", "sample"]


@dataclass(frozen=True)
class Job:
    """One measurement. Both sides take these flags and write their result to `out`."""

    task: Task
    model: Path
    data: Path
    """rows in the order in which they are used, WARMUP steps first"""
    out: Path
    steps: int
    """timed steps; the warm-up comes on top"""
    batch: int = 8
    """rows a step: examples, pairs or prompts"""
    settings: Literal["default", "best"] = "default"
    dtype: Literal["fp32", "bf16"] = "fp32"
    threads: int = 2
    lr: float = 1e-4
    off: str = ""
    """a lever of ours to switch off"""


# Training is AdamW with these numbers on both sides, at a constant rate, without accumulation or dropout.
ADAMW: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
CLIP = 1.0
BETA = 0.1  # of DPO


@dataclass
class Meter:
    """When each step ended, and the highest resident memory above what was there with the bare model loaded (Linux)."""

    marks: list[float] = field(default_factory=list)
    floor: int = 0

    def start(self) -> None:
        """Call when the model has just been loaded and everything imported."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
        self.floor = _status("VmRSS")

    def mark(self) -> None:
        self.marks.append(time.perf_counter())

    @property
    def peak_mib(self) -> float:
        return (_status("VmHWM") - self.floor) / 1024


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def finish(
    job: Job,
    meter: Meter,
    *,
    settings: dict[str, Any],
    rows: int,
    losses: Sequence[float] = (),
    once_s: float = 0.0,
    **more: Any,
) -> None:
    """Write the result. `rows` were timed between the first and the last mark; `once_s` is what they cost beforehand
    (a reference pass), already reduced to their share."""
    seconds = meter.marks[-1] - meter.marks[0]
    result = {
        "job": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(job).items()},
        "settings": settings,
        "rows": rows,
        "seconds": seconds,
        "once_s": once_s,
        "rows_per_s": rows / (seconds + once_s),
        "peak_mib": meter.peak_mib,
        "losses": list(losses),
        **more,
    }
    partial = job.out.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1), encoding="utf-8")
    os.replace(partial, job.out)
