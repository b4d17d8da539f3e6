"""The curve of a `truing bestofn`, for a run that began as the same policy and learnt from the same judge's score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from truing.commands.arms import SQUASHED
from truing.commands.bestofn import CURVE
from truing.commands.offline import weighted
from truing.pages.distance import Chosen
from truing.records import UserError
from truing.run import RunView

SAMPLER = ("temperature", "top_p", "top_k")


def chosen_for(run: RunView, file: str) -> Chosen:
    """Its points, in the rewards of this run."""
    found = _read(file)
    prints = run.manifest.get("fingerprints", {})
    if run.manifest.get("verb") != "ppo":
        raise UserError(
            f"{file} is a curve of best of n, and {run.name} is no run of truing ppo: it has no such figure."
        )
    if prints["model"] != found["prints"]["model"]:
        raise UserError(
            f"{file}: {found['model']} is not the policy that {run.name} began with ({run.recipe['model']})."
        )
    named = [(weighted(text.partition(" if ")[0])[1], text) for text in run.recipe["rewards"]]
    learnt = [(*one, judge) for one, judge in zip(named, prints["judges"], strict=True) if one[0]]
    same = [judge for *_, judge in learnt] == [f"reward:{found['prints']['judge']}"]
    if not same or " if " in learnt[0][1] or learnt[0][1].startswith(SQUASHED):
        raise UserError(
            f"{file} was chosen by {found['judge']}, and {run.name} learnt from {' + '.join(run.recipe['rewards'])}: "
            "only a run that learnt from this preference model's score alone, for every prompt and in the same "
            "precision, has rewards to compare."
        )
    for key in SAMPLER:
        if found["sampling"][key] != run.recipe["sampling"][key]:
            ours, theirs = found["sampling"][key], run.recipe["sampling"][key]
            raise UserError(f"{file}: sampling.{key} is {ours} there and {theirs} in {run.name}: not the same policy.")
    weight = learnt[0][0]
    return Chosen(Path(file).name, [_point(row, weight) for row in found["curve"]])


def _point(row: dict[str, Any], weight: float) -> tuple[int, float, float, float, float]:
    mean = row["reward"]["mean"]
    ends = sorted(weight * (mean if end is None else end) for end in (row["reward"]["low"], row["reward"]["high"]))
    return row["k"], row["kl"], weight * mean, ends[0], ends[1]


def _read(file: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(file).read_text("utf-8"))
        if {"curve", "prints", "sampling", "model", "judge"} <= found.keys():
            return dict(found)
    except (OSError, ValueError, AttributeError):
        pass
    raise UserError(f"{file} is no curve of truing bestofn: it leaves one as OUT{CURVE} beside the answers.")
