"""Ways to use a preference model, beside each other: what each gains in reward and in truth, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from truing.pages.curves import dots, picture
from truing.pages.escape import esc
from truing.pages.numbers import Right, table

Found = Mapping[str, Any]
COST = {"drawn": "answers drawn to learn", "seconds": "seconds to learn", "each": "answers drawn for each question"}
SCORES = ("reward", "gold")


def ways_section(stages: Sequence[Found], run: str) -> str:
    """Nothing before the stage that has compared them. `run`: the folder of PPO-max."""
    found = {stage["stage"]: stage for stage in stages}
    if "reinforce" not in found:
        return ""
    ways, course = found["reinforce"]["ways"], found["reinforce"]["course"]
    rows = [
        [
            f"<b>{esc(way['who'])}</b>",
            *(Right(_number(way["cost"][name])) for name in COST),
            *(Right(signed(way[name])) for name in SCORES),
        ]
        for way in ways
    ]
    heads = ["", *map(Right, (*COST.values(), *(f"{name} gained" for name in SCORES)))]
    figures = _figures(found["choose"]["curve"], ways, course)
    return (
        f'<h2>Three ways to use a preference model</h2><p class="note">{esc(_about(ways))}</p>'
        f"{table(heads, rows)}"
        f'<p class="note">{esc(_follows(ways, course))} Iteration by iteration: truing report {esc(run)}</p>'
        f'<div class="claim"><div class="charts">{figures}</div></div>'
    )


def _about(ways: Sequence[Found]) -> str:
    return (
        "By one preference model the best of sixteen answers is chosen, or the best of eight is imitated "
        f"({ways[1]['who']}), or what it likes becomes likelier ({ways[2]['who']}). Gains are over the mean of the "
        f"base model's answers to the same {ways[0]['gold']['n']} held-out questions, with 95 % intervals. "
        f"A reward higher by 1 means: preferred in {100 / (1 + math.exp(-1)):.0f} % of comparisons, if the preference "
        "model is right. Each model was trained once: the intervals know nothing of what another seed would do."
    )


def _follows(ways: Sequence[Found], course: Sequence[Found]) -> str:
    """Who gains most of what, and whether the truth went on rising as the reward did."""
    most = {name: max(ways, key=lambda way: way[name]["mean"])["who"] for name in SCORES}
    top, end = max(course, key=lambda point: point["gold"]), course[-1]
    return (
        f"Most reward: {most['reward']}; most gold: {most['gold']}. The line is {ways[-1]['who']} on the questions "
        f"that it learns from, part by part of its course: gold was highest with {top['gold']:+.2f} at a reward of "
        f"{top['reward']:+.2f}, and in the end {end['gold']:+.2f} at {end['reward']:+.2f}."
    )


def _figures(curve: Sequence[Found], ways: Sequence[Found], course: Sequence[Found]) -> str:
    """Gold against reward, and against answers drawn. The colours are those of the models above."""
    best = [_point(p["reward gained"]["mean"], p["gold gained"]) for p in curve]
    most = ", ".join(str(p["k"]) for p in curve[1:])
    follows: list[dict[str, Any]] = [
        {"label": "base", "points": best[:1]},
        {"label": f"best of {most}", "points": best[1:]},
        *({"label": way["who"], "points": [_point(way["reward"]["mean"], way["gold"])]} for way in ways[1:]),
        _line((p["reward"], p["gold"]) for p in course),
    ]
    costs = [
        {"label": "base", "points": dots([(0, 0)])},
        *({"label": way["who"], "points": [_point(way["cost"]["drawn"], way["gold"])]} for way in ways),
        _line((p["drawn"], p["gold"]) for p in course),
    ]
    return "".join(
        picture({"title": title, "x": x, "y": "gold gained", "curves": curves})
        for title, x, curves in (
            ("Does the truth follow?", "reward gained", follows),
            ("At what cost?", "answers drawn to learn", costs),
        )
    )


def _line(points: Iterable[tuple[float, float]]) -> dict[str, Any]:
    return {"label": "PPO-max while it learns", "points": dots(points), "only": "line"}


def _point(x: float, gold: Found) -> tuple[float, float, float, float]:
    return x, gold["mean"], gold["low"], gold["high"]


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def signed(found: Found) -> str:
    return "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**found)
