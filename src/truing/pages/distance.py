"""What distance from the reference buys: reward against √KL, with three fits, the slope foreseen, and best of n."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from truing.pages.charts import Mark, number
from truing.pages.curves import Point, dots
from truing.pages.numbers import Right, table
from truing.run import RunView
from truing.stats.laws import CLOSE, FORMS, Law, fit_law, share_of

SHOWN = {"sqrt": "√KL", "linear": "KL", "log": "ln(1 + KL)"}
GRID, ALIKE = 60, 2
STILL = 1e-4  # nats: a policy that has not moved, up to rounding
Picture = dict[str, Any]


class Chosen(NamedTuple):
    """The best of k answers of the policy that the run began with, chosen by the preference model that it learnt from:
    (k, KL at most, reward, its low, its high)."""

    file: str
    points: Sequence[tuple[int, float, float, float, float]]


class Distance(NamedTuple):
    """A run's reward over its distance; both by iteration. `start`: the mean of the first `still` of them, before
    anything has moved."""

    steps: list[int]
    kl: list[float]
    reward: list[float]
    start: float
    still: int

    @property
    def root(self) -> list[float]:
        return roots(self.kl)


class Window(NamedTuple):
    """The iterations that are fitted: those before `until` (an iteration), where `why` diverges."""

    until: int | None = None
    why: str = ""


def roots(kl: Sequence[float]) -> list[float]:
    """An estimate of KL from samples may lie below 0."""
    return [math.sqrt(max(nats, 0.0)) for nats in kl]


def still(kl: Sequence[float]) -> int:
    """How many values belong to the start: the first, and those after it until the policy moves."""
    return next((n for n, nats in enumerate(kl) if n and abs(nats) > STILL), len(kl))


def distance(run: RunView) -> Distance:
    reward, kl = (dict(run.series(name)) for name in ("reward", "kl"))
    steps = sorted(reward.keys() & kl.keys())
    nats, scores = [kl[s] for s in steps], [reward[s] for s in steps]
    count = still(nats)
    return Distance(steps, nats, scores, float(np.mean(scores[:count])) if steps else math.nan, count)


def fitted(run: Distance, window: Window) -> tuple[Law | None, Window]:
    """The law, and the window it stands on: all iterations where there are too few before the divergence."""
    until = None if window.until is None else sum(step < window.until for step in run.steps)
    law = fit_law(run.kl, run.reward, run.start, until, run.still)
    if law is None and until is not None:
        window = Window(None, f"too few of them lie before iteration {window.until}, where {window.why} diverges")
        law = fit_law(run.kl, run.reward, run.start, weight=run.still)
    return law, window


def law_picture(run: Distance, law: Law | None, window: Window, slope: float | None, chosen: Chosen | None) -> Picture:
    curves: list[Picture] = [{"label": "iterations", "points": dots(zip(run.root, run.reward)), "only": "dots"}]
    best: list[Point] = [(math.sqrt(nats), mean, a, b) for _, nats, mean, a, b in chosen.points] if chosen else []
    if chosen:
        curves.append({"label": f"best of {', '.join(str(k) for k, *_ in chosen.points)}", "points": best})
    seen = [*run.reward, *(mean for _, mean, *_ in best)]
    low, high = min(seen), max(seen)
    room = 0.1 * (high - low)
    grid = np.linspace(0, max([*run.root, *(at for at, *_ in best)]) or 1.0, GRID)

    def line(label: str, values: np.ndarray) -> Picture:
        """Where it leaves what was seen it says nothing, and would squeeze the rest."""
        inside = (values >= low - room) & (values <= high + room)
        return {"label": label, "points": dots(zip(grid[inside], values[inside])), "only": "line"}

    for name, form in law.forms.items() if law else ():
        curves.append(line(f"fit in {SHOWN[name]}", form.start + form.coefficient * FORMS[name](grid**2)))
    if slope:
        curves.append(line("foreseen", run.start + slope * grid))
    marks = []
    if window.until is not None and (after := [r for s, r in zip(run.steps, run.root) if s >= window.until]):
        marks = [Mark(after[0], 0, f"the fits end: {window.why} diverges")]
    return {"title": "Reward against √KL", "x": "√KL", "y": "reward", "curves": curves, "marks": marks}


def law_table(law: Law, slope: float | None) -> str:
    rows = []
    for name, form in law.forms.items():
        said = f"reward ≈ start + a·{SHOWN[name]}" + (" (lowest AIC)" if name == law.best else "")
        cells = f"{form.coefficient:.3g} ± {form.error:.2g}", f"{form.start:.3g}", f"{form.r2:.3f}", f"{form.aic:.1f}"
        rows.append([said, *map(Right, cells)])
    foreseen = [["foreseen: √2·σ for √KL", Right(f"{slope:.3g}"), *[Right("–")] * 3]] if slope else []
    return table(["", *map(Right, ("a", "start", "R²", "AIC"))], [*rows, *foreseen])


def law_words(run: Distance, law: Law | None, window: Window) -> str:
    if law is None and np.allclose(run.reward, run.start, rtol=1e-9, atol=1e-12):
        return "The reward did not move: there is nothing to say of how it grows with the distance."
    if law is None:
        return "The policy has not gone far enough from its reference to say how reward grows with the distance."
    before = f", before iteration {window.until}, where {window.why} diverges" if window.until is not None else ""
    before += f"; {window.why}" if window.why and window.until is None else ""
    lowest = law.forms[law.best].aic
    near = [SHOWN[name] for name, form in law.forms.items() if name != law.best and form.aic - lowest < ALIKE]
    alike = f" {' and '.join(near)} fits about as well: its AIC is within {ALIKE} of the lowest." if near else ""
    bends = "" if law.runs_p > 0.05 else f" The points bend away from √KL (runs test, p = {law.runs_p:.2g})."
    counts = f"which counts as the {run.still} it is of" if run.still > 1 else "which counts as one"
    return (
        f"Fitted to the {law.n} of {len(run.steps)} iterations with KL of at least {CLOSE:g}{before}; and to the mean "
        f"at the start, {run.start:.3g} at KL 0, {counts}. ± is a standard error, for that of the start, too."
        f"{alike}{bends}"
    )


def slope_words(found: Mapping[str, Any] | None, law: Law | None) -> str:
    """The slope that the spread of the start's answers foretells, beside the one that was found."""
    if found is None:
        return "The spread of the start's answers was not measured, so no slope is foreseen; truing ppo measures it."
    sigma = found["sigma"]
    said = (
        f"Foreseen: √2·σ = {math.sqrt(2) * sigma:.3g}, with σ = {sigma:.3g} the standard deviation of the reward among "
        f"the start's answers to one prompt ({found['answers']} answers to {found['prompts']} prompts). It is what the "
        "reference tilted by exp(β·reward) gains if scores are normal: no policy gains more at that distance."
    )
    if law is None or not sigma:
        return said
    share = share_of(law.forms["sqrt"], math.sqrt(2) * sigma, found["answers"] - found["prompts"])
    meaning = "that it is as foreseen cannot be excluded"
    if share.high < 1:
        meaning = "the rest of the distance bought no reward, or the scores above the mean lie closer than normal ones"
    elif share.low > 1:
        meaning = "good answers lie further apart than normal scores would"
    return (
        f"{said} The slope found is {share.estimate:.2f} of that ({share.low:.2f} to {share.high:.2f}, 95 %: slope and "
        f"σ are both measured): {meaning}."
    )


def chosen_words(run: Distance, chosen: Chosen) -> str:
    """What choosing buys at its distance, and what training did there."""
    k, nats, gained, *_ = chosen.points[-1]
    first, low, high = chosen.points[0][2:]
    said = f"Best of {k} ({chosen.file}): {number(round(gained, 3))} at KL of at most {nats:.2f}."
    reached = [n for n, value in enumerate(run.reward) if value >= gained]
    if reached:
        n = reached[0]
        said += f" Training first gets as much at iteration {run.steps[n]}, at KL {run.kl[n]:.2f}."
    else:
        said += " Training never gets as much."
    if chosen.points[0][0] == 1 and not low - (high - low) <= run.start <= high + (high - low):
        said += (
            f" But one answer gets {first:.3g} there and {run.start:.3g} at the start of the run: the prompts, or how "
            "answers are drawn, are not the same."
        )
    return said
