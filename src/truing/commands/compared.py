"""What a comparison of methods found: the table, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from truing.commands.tables import cell
from truing.stats.intervals import Interval, mean_crossed, mean_t
from truing.stats.looks import COLLAPSED, at_same_reward, common, drop

START, FEWEST = "start", 3  # seeds, for a whisker
NOTE = (
    "intervals and sd over seeds, intervals of differences over seeds and prompts; unique … same reward: above the "
    "first arm, where both have the same reward; "
    "drawn: answers of its own that an arm learns from; F: passes while training, backward is two, drawing is none; "
    "s: seconds of training, drawing and judging included, looks not"
)
CURVES = {"reward": "reward", "unique": "share of different answers", "kl": "divergence", "length": "tokens"}
Found = Mapping[str, Sequence[Mapping[str, Any]]]


def ahead(found: Found, arm: str, other: str) -> Interval:
    """Prompt by prompt and seed by seed (the start has one): other prompts and other seeds would say something else."""
    mine, theirs = (np.array([one["values"] for one in found[name]]) for name in (arm, other))
    return mean_crossed(mine - theirs)


def stability(each: Sequence[Mapping[str, Any]], start: Mapping[str, Any]) -> dict[str, float]:
    """sd over seeds; best look − last look; share of seeds that say much less that is different."""
    means = [float(np.mean(one["values"])) for one in each]
    drops = [drop(looks) for one in each if (looks := one.get("curves", {}).get("reward"))]
    return {
        "sd": float(np.std(means, ddof=1)) if len(means) > 1 else float("nan"),
        "drop": float(np.mean(drops)) if drops else float("nan"),
        "collapsed": float(np.mean([one["unique"] < COLLAPSED * start["unique"] for one in each])),
    }


def varied(found: Found, arm: str, other: str) -> Interval | None:
    """By how much more is said that is different at the same reward; None where there is none for some seed."""
    gaps = []
    for mine, theirs in zip(found[arm], found[other]):
        sides = [one.get("curves", {}) for one in (mine, theirs)]
        if all("reward" in side and "unique" in side for side in sides):
            a, b = ((side["reward"], side["unique"]) for side in sides)
            gaps.append(at_same_reward(a, b))
    known = [gap for gap in gaps if gap is not None]
    return mean_t(known) if known and len(known) == len(found[arm]) else None


def rows(found: Found) -> tuple[list[str], dict[str, list[str]]]:
    """The table: columns, and one line for each arm; differences from the start and from the first arm."""
    start, first = found[START][0], list(found)[1]
    lines = {}
    for name, each in found.items():
        steady = stability(each, start)
        lines[name] = [
            cell(mean_t([float(np.mean(one["values"])) for one in each])),
            *(cell(ahead(found, name, other)) if name not in (START, other) else "–" for other in (START, first)),
            *(f"{steady[key]:.3f}" if np.isfinite(steady[key]) else "–" for key in ("sd", "drop")),
            f"{steady['collapsed']:.0%}",
            f"{np.mean([one['unique'] for one in each]):.3g}",
            cell(more) if name not in (START, first) and (more := varied(found, name, first)) else "–",
            f"{np.mean([one['length'] for one in each]):.3g}",
            *(f"{np.mean([one.get(key, 0) for one in each]):,.0f}" for key in ("updates", "drawn", "F", "seconds")),
        ]
    columns = ["reward", f"above {START}", f"above {first}", "sd", "best − last", "collapsed", "unique"]
    return [*columns, "… same reward", "words", "updates", "drawn", "F", "s"], lines


def pictures(found: Found) -> list[dict[str, Any]]:
    """Curves with bands over seeds, and reward beside how much is said that is different."""
    shown = []
    for key, y in CURVES.items():
        curves = [{"label": name, "points": points} for name, each in found.items() if (points := _curve(each, key))]
        shown.append({"title": y.capitalize(), "x": "updates", "y": y, "curves": curves})
    ends = [{"label": name, "points": [_end(found[name])]} for name in (*list(found)[1:], START)]
    shown.append({"title": "Reward and variety", "x": CURVES["unique"], "y": "reward", "curves": ends})
    return [picture for picture in shown if picture["curves"]]


def _curve(each: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, ...]]:
    """Means over seeds, at the steps that all of them have."""
    runs = [one.get("curves", {}).get(key, []) for one in each]
    return [(step, *_band(mean_t(values))) for step, values in common(runs)]


def _end(each: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    values = mean_t([float(np.mean(one["values"])) for one in each])
    return (float(np.mean([one["unique"] for one in each])), *_band(values))


def _band(value: Interval) -> tuple[float, float, float]:
    lone = value.n < FEWEST
    return value.estimate, value.estimate if lone else value.low, value.estimate if lone else value.high
