"""Lines with whiskers over a size, a count or a layer.

A picture is {title, x, y, curves} and perhaps {marks}, a curve {label, points} and perhaps {only: line or dots}, a
point (x, mean, low, high), a mark an upright that the legend explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from truing.pages.charts import (
    BOTTOM,
    COLOURS,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    linear_ticks,
    look_of,
    marked,
    number,
    swatch,
    upright,
)
from truing.pages.escape import esc
from truing.pages.figures import figure
from truing.pages.heat import heat
from truing.pages.numbers import Right, table
from truing.pages.page import whole_page

TICK = 34  # pixels that a number below an axis takes
LINEAR = ("updates", "iteration", "√KL")  # axes; others are logarithmic where they span much
Point = tuple[float, float, float, float]
Cells = tuple[Sequence[str], Mapping[str, Sequence[str]]]


def curves_page(title: str, about: str, pictures: Iterable[Mapping[str, Any]], cells: Cells | None = None) -> str:
    """What an evaluation found, to look at. `cells`: columns, and rows by name; an interval stands below its number."""
    drawn = "".join(heat(one) if "cells" in one else picture(one) for one in pictures)
    body = f'<div class="claim"><div class="charts">{drawn}</div></div>'
    head = [f"<h1>{esc(title)}</h1>", f'<p class="soft">{esc(about)}</p>']
    return whole_page(f"Truing: {title}", [*head, _table(*cells) if cells else "", body])


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [[esc(name), *(Right(_stacked(value)) for value in values)] for name, values in rows.items()]
    return table(["", *(Right(esc(column)) for column in columns)], lines)


def _stacked(value: str) -> str:
    number, _, interval = value.partition("\n")
    return esc(number) + (f'<br><span class="note">{esc(interval)}</span>' if interval else "")


def picture(picture: Mapping[str, Any]) -> str:
    """Curves with whiskers; sizes and counts stand on a logarithmic axis, updates and distances do not."""
    curves = [c for c in picture["curves"] if c["points"]]
    points = [p for c in curves for p in c["points"]]
    if not points:
        return ""
    xs = sorted({p[0] for p in points})
    log = picture["x"] not in LINEAR and xs[0] > 0 and xs[-1] / xs[0] > 8
    x = _axis(xs, LEFT + 8, WIDTH - RIGHT - 12, log=log)
    y = _axis([v for p in points for v in p[1:] if abs(v) < 1e300], HEIGHT - BOTTOM, TOP, pad=0.06)
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(t) + 4:.1f}">{number(t)}</text>'
        for t in linear_ticks(y.low, y.high)
    ]
    apart = all(x(b) - x(a) > TICK for a, b in pairwise(xs))
    ticks = xs if len(xs) < 7 and apart else x.ticks()
    body += [f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{_short(t)}</text>' for t in ticks]
    marks = [mark for mark in picture.get("marks", ()) if x.low <= mark.step <= x.high]
    body += [upright(x(mark.step), mark) for mark in marks]
    body += [_curve(look, curve, x, y) for look, curve in enumerate(curves)]
    lone = len(curves) > 1 and all(len(c["points"]) == 1 for c in curves)
    if lone:
        body += [_number(look, curve["points"][0], x, y) for look, curve in enumerate(curves)]
    legend = "".join(_entry(look, c["label"], lone, len(curves) > COLOURS) for look, c in enumerate(curves))
    legend += "".join(f"<span>{marked(mark.look)}{esc(mark.text)}</span> " for mark in marks)
    said = f"{picture['x']} → {picture['y']}"
    return figure(picture["title"], said, said, "".join(body), HEIGHT).replace(
        "</svg>", f'</svg><p class="note">{legend}</p>'
    )


def dots(points: Iterable[tuple[float, float]]) -> list[Point]:
    """Points without whiskers."""
    return [(float(x), float(y), float(y), float(y)) for x, y in points]


def _curve(look: int, curve: Mapping[str, Any], x: Axis, y: Axis) -> str:
    css, path = f"c{look % COLOURS}", " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in curve["points"])
    line = f'<polyline class="line {look_of(look)}" points="{path}"/>'
    if curve.get("only") == "line":
        return line
    whiskers = "".join(
        f'<line class="{css}" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        f'<circle class="dot {css}" cx="{x(at):.1f}" cy="{y(mean):.1f}" r="3.5"/>'
        for at, mean, low, high in curve["points"]
        if abs(low) < 1e300
    )
    return whiskers if curve.get("only") == "dots" else line + whiskers


def _number(look: int, point: Sequence[float], x: Axis, y: Axis) -> str:
    return f'<text class="tick f{look % COLOURS}" x="{x(point[0]) + 5:.1f}" y="{y(point[1]) - 4:.1f}">{look + 1}</text>'


def _entry(look: int, label: str, numbered: bool, many: bool) -> str:
    """Of the legend: by colour where that tells all apart, else with the dash, or the number of its one point."""
    before = f"{look + 1} " if numbered else swatch(look) if many else ""
    return f'<span class="entry">{before}<b class="f{look % COLOURS}">{esc(label)}</b></span> '


def _axis(values: Sequence[float], start: float, end: float, pad: float = 0.0, log: bool = False) -> Axis:
    low, high = min(values), max(values)
    more = (high - low) * pad
    return Axis(low - more, high + more if high > low else low + 1, start, end, log)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if value >= 1e4 else number(value)
