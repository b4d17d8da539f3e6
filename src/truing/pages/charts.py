"""Line charts as inline SVG: several runs in one picture, readable ticks, and the values for whoever points at them.

No library draws here, so that a report is one file that opens anywhere, prints, and follows light and dark.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

from truing.pages.escape import esc

Points = list[tuple[int, float]]
WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 26
COLOURS = 6
MOST_POINTS, MOST_WHISKERS = 300, 60


@dataclass(frozen=True)
class Line:
    """One run's values of one metric. `look` is the run's number: it decides colour and dashes. `errors`: standard
    errors by step, drawn as intervals where there is room."""

    label: str
    look: int
    points: Points
    errors: Mapping[int, float] = field(default_factory=dict)

    def ends(self, point: tuple[int, float]) -> tuple[float, float]:
        """The 95 % interval of a point, or the point."""
        step, value = point
        reach = 1.96 * self.errors.get(step, 0.0)
        return value - reach, value + reach


@dataclass(frozen=True)
class Mark:
    """Something that happened to a run at a step, or wherever else on the axis below."""

    step: float
    look: int
    text: str


@dataclass(frozen=True)
class Axis:
    """From values to a place between two pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        return _log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def chart(title: str, lines: Sequence[Line], marks: Sequence[Mark] = ()) -> str:
    """A figure with a line for each run and a dotted upright for each mark."""
    lines = [line for line in lines if line.points]
    log = "lr" not in re.split(r"[/_]", title) and _spans_decades([v for line in lines for _, v in line.points])
    lines = [replace(line, points=thin(line.points)) for line in lines]
    lines = [replace(line, errors={}) if log or len(line.points) > MOST_WHISKERS else line for line in lines]
    x, y = _axes(lines, log)
    body = [_grid(x, y)]
    body += [upright(x(mark.step), mark) for mark in marks if x.low <= mark.step <= x.high]
    body += [_draw(line, x, y) for line in lines]
    data = json.dumps([[line.label, line.look % COLOURS, _pixels(line.points, x, y)] for line in lines])
    last = "; ".join(f"{line.label} {number(line.points[-1][1])} at step {line.points[-1][0]}" for line in lines)
    scale = ' <span class="scale">log scale</span>' if y.log else ""
    return (
        f'<figure class="chart" tabindex="0" data-lines="{esc(data)}"><figcaption><b>{esc(title)}</b>{scale}'
        f'<output></output></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{esc(title)}: {esc(last)}</title>{''.join(body)}"
        f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/></svg></figure>'
    )


def number(value: float | None) -> str:
    """Four digits at most: 0.0312, 12.5, 1.2e-05, 48000."""
    if value is None:
        return "–"
    if value and not 1e-3 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def shares(lows: Iterable[float]) -> Axis:
    """An upright axis of shares: from 0.4, or from as low as a whisker reaches, to 1."""
    return Axis(min(0.4, math.floor(10 * min(lows)) / 10), 1.0, HEIGHT - BOTTOM, TOP)


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten within [low, high]."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    within = (1, 3) if len(decades) < 5 else (1,)
    ticks = [m * 10.0**d for d in decades[:: max(1, len(decades) // 5)] for m in within]
    return [tick for tick in ticks if low <= tick <= high]


def thin(points: Points) -> Points:
    """At most MOST_POINTS: each is the mean of its neighbours, at the step of the last of them."""
    size = math.ceil(len(points) / MOST_POINTS)
    if size < 2:
        return points
    chunks = (points[i : i + size] for i in range(0, len(points), size))
    return [(chunk[-1][0], sum(value for _, value in chunk) / len(chunk)) for chunk in chunks]


def smooth(points: Points) -> Points | None:
    """A centred moving mean if the line goes up and down so much that its course is hard to see, else None."""
    values = [value for _, value in points]
    spread = max(values) - min(values)
    if len(values) < 40 or sum(abs(b - a) for a, b in pairwise(values)) < 5 * spread:
        return None
    half = len(values) // 24
    sums = [0.0, *accumulate(values)]
    spans = ((max(i - half, 0), min(i + half + 1, len(values))) for i in range(len(values)))
    return [(step, (sums[end] - sums[start]) / (end - start)) for (step, _), (start, end) in zip(points, spans)]


def _spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) >= 100


def _axes(lines: Sequence[Line], log: bool) -> tuple[Axis, Axis]:
    steps = [step for line in lines for step, _ in line.points]
    values = [value for line in lines for point in line.points for value in line.ends(point)]
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    x = Axis(first, last if last > first else first + 1, LEFT, WIDTH - RIGHT)
    if log:
        low, high = low / 1.15, high * 1.15
    elif high == low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    else:
        pad = (high - low) * 0.06
        low = 0.0 if 0 <= low < 0.4 * high else low - pad  # show the zero when it is near
        high += pad
    return x, Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def _grid(x: Axis, y: Axis) -> str:
    rows = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(v) + 3.5:.1f}">{number(v)}</text>'
        for v in y.ticks()
    ]
    columns = [
        f'<text class="tick x" x="{x(v):.1f}" y="{HEIGHT - BOTTOM + 17}">{number(v)}</text>'
        for v in linear_ticks(x.low, x.high, 5)
        if v == int(v)
    ]
    name = f'<text class="tick y" x="{LEFT - 7}" y="{HEIGHT - BOTTOM + 17}">step</text>'
    return "".join([*rows, *columns, name])


def _draw(line: Line, x: Axis, y: Axis) -> str:
    if len(line.points) == 1:
        step, value = line.points[0]
        return f'<circle class="dot c{line.look % COLOURS}" cx="{x(step):.1f}" cy="{y(value):.1f}" r="3.5"/>'
    calm = smooth(line.points)
    raw = _path(line.points, x, y, f"line {'raw ' if calm else ''}{look_of(line.look)}")
    css = f"whisker c{line.look % COLOURS}"
    whiskers = (
        f'<line class="{css}" x1="{x(p[0]):.1f}" x2="{x(p[0]):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        for p in line.points
        for low, high in [line.ends(p)]
        if high > low
    )
    return "".join(whiskers) + raw + (_path(calm, x, y, f"line {look_of(line.look)}") if calm else "")


def swatch(look: int) -> str:
    """What a line looks like, for a legend."""
    line = f'<line class="line {look_of(look)}" x1="0" x2="28" y1="5" y2="5"/>'
    return f'<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true">{line}</svg>'


def marked(look: int) -> str:
    """What an upright looks like, for a legend."""
    line = f'<line class="mark c{look % COLOURS}" x1="14" x2="14" y1="0" y2="10"/>'
    return f'<svg class="swatch" viewBox="0 0 28 10" aria-hidden="true">{line}</svg>'


def look_of(look: int) -> str:
    """A colour and a dash: 24 that differ."""
    return f"c{look % COLOURS} d{(look + look // 12) % 4}"


def _path(points: Points, x: Axis, y: Axis, css: str) -> str:
    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)
    return f'<polyline class="{css}" points="{path}"/>'


def upright(at: float, mark: Mark) -> str:
    place = f'x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
    return f'<line class="mark c{mark.look % COLOURS}" {place}><title>{esc(mark.text)}</title></line>'


def _pixels(points: Points, x: Callable[[float], float], y: Callable[[float], float]) -> list[list[float]]:
    """What the script needs to answer a pointer: step, value and where they are."""
    return [[step, float(f"{value:.5g}"), round(x(step), 1), round(y(value), 1)] for step, value in points]
