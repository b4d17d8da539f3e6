"""Reading a run folder back: for the report, for comparisons, and for people at a Python prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from truing.records import UserError
from truing.run.log import EVENTS, METRICS, SAMPLES, read_rows

RECIPE, MANIFEST = "recipe.yaml", "manifest.json"


@dataclass(frozen=True)
class RunView:
    """What a run folder holds, read and nothing more: the same while it runs, after a kill, and when it is finished."""

    folder: Path
    recipe: dict[str, Any]
    manifest: dict[str, Any]
    metrics: dict[str, list[float | None]]
    """columns of equal length, `step` and `seconds` among them; None where a step has no such number"""
    events: list[dict[str, Any]] = field(repr=False)
    samples: list[dict[str, Any]] = field(repr=False)
    nonfinite: list[tuple[int, str, str]]
    """(step, metric, what it was) of every number that was not finite"""

    @property
    def name(self) -> str:
        return self.manifest.get("name", self.folder.name)

    @property
    def finished(self) -> bool:
        return "finished" in self.manifest

    @property
    def steps(self) -> int:
        """The last step with metrics."""
        return max((int(step) for step in self.metrics["step"] if step is not None), default=0)

    @property
    def seconds(self) -> float:
        """Time spent, without the pauses between a kill and the next start."""
        return max((seconds for seconds in self.metrics["seconds"] if seconds is not None), default=0.0)

    @property
    def rows_per_second(self) -> float | None:
        """Sum of the metric `rows` over time, from the first logged step to the last (loading a model is not speed)."""
        points = [
            (seconds, rows)
            for seconds, rows in zip(self.metrics["seconds"], self.metrics.get("rows", []))
            if rows is not None and seconds is not None
        ]
        if len(points) < 2 or points[-1][0] <= points[0][0]:
            return None
        return sum(rows for _, rows in points[1:]) / (points[-1][0] - points[0][0])

    def series(self, metric: str) -> list[tuple[int, float]]:
        """(step, value) wherever the metric has a value."""
        return [
            (int(step), float(value))
            for step, value in zip(self.metrics["step"], self.metrics.get(metric, []))
            if step is not None and value is not None
        ]


def read_run(folder: str | Path) -> RunView:
    """Read a run folder."""
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} is not a run folder: it has no {MANIFEST}.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
        recipe = yaml.safe_load((folder / RECIPE).read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder} cannot be read as a run: {' '.join(str(error).split())}") from None
    rows = read_rows(folder / METRICS)
    names = dict.fromkeys(["step", "seconds", *(name for row in rows for name in row if name != "nonfinite")])
    return RunView(
        folder=folder,
        recipe=recipe if isinstance(recipe, dict) else {},
        manifest=manifest,
        metrics={name: [row.get(name) for row in rows] for name in names},
        events=read_rows(folder / EVENTS),
        samples=read_rows(folder / SAMPLES),
        nonfinite=[(row["step"], name, what) for row in rows for name, what in row.get("nonfinite", {}).items()],
    )


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} → {"a.b": 1}: the keys of a recipe as they are written on a command line."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {name: item for key in value for name, item in flatten(value[key], f"{prefix}.{key}".lstrip(".")).items()}


def differing_keys(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """The dotted keys in which two nested mappings differ, sorted."""
    a, b = flatten(left), flatten(right)
    absent = object()
    return sorted(key for key in a | b if a.get(key, absent) != b.get(key, absent))
