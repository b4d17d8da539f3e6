"""A run that learns from its own answers: what distance from the reference buys, and whether judges still agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from truing.pages.curves import picture
from truing.pages.escape import esc
from truing.pages.numbers import metric_names
from truing.run import RunView
from truing.stats.laws import FORMS, Law, fit_law

SHOWN = {"sqrt": "√KL", "linear": "KL", "log": "ln(1 + KL)"}
POINTS = 60
Points = list[tuple[float, float]]


def rollouts_section(run: RunView) -> str:
    """Nothing where there are no rollouts."""
    reward, kl = (dict(run.series(name)) for name in ("reward", "kl"))
    steps = sorted(reward.keys() & kl.keys())
    if not run.series("policy/ratio") or len(steps) < 2:
        return ""
    law, words = _law([kl[s] for s in steps], [reward[s] for s in steps])
    note = (
        "The reward is what the policy is trained to raise: that it rises says nothing of whether answers get better, "
        "and it stays calm while a policy collapses. Read the other judges, the length, and what leaves the reference."
    )
    return (
        f'<h2>Reward and distance</h2><p class="note">{esc(note)}</p><p>{esc(words)}</p>'
        f'<div class="claim"><div class="charts">{law}{_judges(run)}</div></div>'
    )


def _law(kl: Sequence[float], reward: Sequence[float]) -> tuple[str, str]:
    start = reward[0]
    law = fit_law(kl, reward, start)
    root = [math.sqrt(max(x, 0.0)) for x in kl]
    curves: list[dict[str, Any]] = [{"label": "iterations", "points": _dots(zip(root, reward)), "only": "dots"}]
    grid = np.linspace(0, max(root) or 1.0, POINTS)
    for name, form in law.forms.items() if law else ():
        fitted = start + form.coefficient * FORMS[name](grid**2)
        curves.append({"label": SHOWN[name], "points": _dots(zip(grid, fitted)), "only": "line"})
    figure = picture({"title": "Reward against √KL", "x": "√KL", "y": "reward", "curves": curves})
    return figure, _words(law, start)


def _words(law: Law | None, start: float) -> str:
    if law is None:
        return "The policy has not gone far enough from its reference to say how reward grows with the distance."
    root = law.forms["sqrt"]
    bends = "" if law.runs_p > 0.05 else f" The points bend away from √KL (runs test, p = {law.runs_p:.2g})."
    return (
        f"Reward ≈ {start:.3g} + {root.coefficient:.3g}·√KL over {law.n} iterations, R² = {root.r2:.3f}; by AIC the "
        f"best of √KL, KL and ln(1 + KL) is {SHOWN[law.best]}.{bends}"
    )


def _judges(run: RunView) -> str:
    """Each judge on its own scale: one that falls while the reward rises is being cheated."""
    names = ["reward", *(n for n in metric_names([run]) if n == "watch/test" or n.startswith("watch/test/"))]
    curves = []
    for name in names:
        points = run.series(name)
        if len(points) < 2:
            continue
        values = [value for _, value in points]
        start, scale = values[0], max(values) - min(values) or 1.0
        curves.append({"label": name, "points": _dots((step, (v - start) / scale) for step, v in points)})
    title = "What judges say, from where it began"
    drawn = {"title": title, "x": "updates", "y": "share of its range", "curves": curves}
    return picture(drawn) if len(curves) > 1 else ""


def _dots(points: Any) -> list[tuple[float, float, float, float]]:
    return [(float(x), float(y), float(y), float(y)) for x, y in points]
