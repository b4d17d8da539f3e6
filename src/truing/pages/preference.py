"""What a preference model knows: accuracy where it matters, whether its probabilities come true, where it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from truing.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, linear_ticks, number, shares
from truing.pages.escape import esc
from truing.pages.figures import figure, reliability
from truing.pages.numbers import Right, table
from truing.pages.page import whole_page
from truing.run import RunView
from truing.run.log import read_rows
from truing.stats import pairs
from truing.stats.calibration import calibration
from truing.stats.intervals import Interval

BARS = 24
Rows = Sequence[Mapping[str, Any]]


def preference_section(run: RunView) -> str:
    """Nothing where the run has no held-out comparisons."""
    rows = read_rows(run.folder / pairs.FILE)
    return known("What it knows", rows, "conversations that were kept back") if rows else ""


def pairs_page(found: Mapping[str, Rows], data: str) -> str:
    """Several models on the same comparisons, one after another."""
    head = f'<h1>What they know</h1><p class="soft">{esc(data)}</p>'
    return whole_page("What they know", [head, *(known(name, rows, "conversations") for name, rows in found.items())])


def known(title: str, rows: Rows, where: str) -> str:
    off = calibration(pairs.gaps(rows))
    note = (
        f"{len(rows)} pairs from {len({r['conversation'] for r in rows})} {where}. Intervals "
        "are 95 % and draw whole conversations. Beside every accuracy: what preferring the longer answer would get."
    )
    sure = (
        f"Stated probabilities are off by {off.ece:.3f} on average (ECE, bins of equally many). A perfect predictor "
        f"would show {off.floor:.3f} on so few pairs, and more than {off.floor_95:.3f} once in twenty times. "
        f"Temperature {off.temperature:.2f}: {_temper(off.temperature)}."
    )
    figures = [
        reliability("Stated and true", "probability of its choice → share that came true", pairs.gaps(rows)),
        _threshold(rows),
        *(_histogram(name, part) for name, part in pairs.by(rows, "tranche").items()),
    ]
    return (
        f'<h2>{esc(title)}</h2><p class="note">{esc(note)}</p>{_accuracies(rows)}'
        f'<p class="note">{esc(sure)}</p><div class="charts">{"".join(figures)}</div>'
    )


def _temper(temperature: float) -> str:
    if 0.85 <= temperature <= 1.15:
        return "about as sure as it may be"
    return "more sure than it may be" if temperature > 1 else "less sure than it could be"


def _accuracies(rows: Rows) -> str:
    parts: list[tuple[str, Rows]] = [("all", rows), ("answers of like length", pairs.length_matched(rows))]
    for key, words in (("tranche", "{}"), ("turn", "turn {}")):
        found = pairs.by(rows, key)
        parts += [
            (words.format(f"{v} or later" if v == pairs.MOST_TURNS else v), p)
            for v, p in found.items()
            if len(found) > 1
        ]
    body = [
        [esc(name), Right(str(len(part))), Right(_shown(pairs.accuracy(part))), Right(_shown(pairs.length_alone(part)))]
        for name, part in parts
        if part
    ]
    few = sum(len(part) < pairs.FEWEST for _, part in parts)
    note = f'<p class="note">Lines with fewer than {pairs.FEWEST} pairs say little.</p>' if few else ""
    return table(["", Right("pairs"), Right("right"), Right("longer is better")], body) + note


def _shown(value: Interval) -> str:
    ends = "" if math.isinf(value.low) else f" [{value.low:.3f}, {value.high:.3f}]"
    return f"{value.estimate:.3f}{ends}"


def _threshold(rows: Rows) -> str:
    """Accuracy where both answers are good: the place to which training on the score leads."""
    points = pairs.above(rows)
    if len(points) < 2:
        return ""
    x, y = (
        _axis([t for t, _ in points], LEFT, WIDTH - RIGHT),
        shares(value.low if math.isfinite(value.low) else value.estimate for _, value in points),
    )
    body = [*_grid(x, y)]
    for at, value in points:
        low, high = max(y.low, value.low), min(y.high, value.high)
        body.append(
            f'<line class="c0" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
            f'<circle class="dot c0" cx="{x(at):.1f}" cy="{y(value.estimate):.1f}" r="4"/>'
        )
    said = "; ".join(f"above {t:.2f}: {_shown(v)}" for t, v in points)
    note = "both scores above t (counted from their mean) → share in the right order"
    return figure("Among the best", note, said, "".join(body), HEIGHT)


def _histogram(name: object, rows: Rows) -> str:
    """Scores of better and worse answers."""
    better, worse = ([row["score"][i] for row in rows] for i in (0, 1))
    low, high = min(*better, *worse), max(*better, *worse)
    x = _axis([low, high], LEFT, WIDTH - RIGHT)
    counts = [_counts(values, x.low, x.high) for values in (better, worse)]
    y = Axis(0, max(map(max, counts)), HEIGHT - BOTTOM, TOP)
    body = [f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{number(t)}</text>' for t in x.ticks()]
    width = (x.high - x.low) / BARS
    for look, bars in enumerate(counts):
        path = " ".join(
            f"{x(x.low + i * width):.1f},{y(n):.1f} {x(x.low + (i + 1) * width):.1f},{y(n):.1f}"
            for i, n in enumerate(bars)
        )
        body.append(f'<polyline class="line c{look} d{look}" points="{path}"/>')
    body.append(f'<text class="tick" x="{LEFT + 4}" y="{TOP + 10}">better (plain) and worse (dashed) answers</text>')
    return figure(f"Scores: {name}", f"{len(rows)} pairs", f"from {low:.2f} to {high:.2f}", "".join(body), HEIGHT)


def _counts(values: Sequence[float], low: float, high: float) -> list[int]:
    bars = [0] * BARS
    for value in values:
        bars[min(BARS - 1, int((value - low) / (high - low) * BARS))] += 1
    return bars


def _axis(values: Sequence[float], start: float, end: float) -> Axis:
    low, high = min(values), max(values)
    return Axis(low, high if high > low else low + 1, start, end)


def _grid(x: Axis, y: Axis) -> list[str]:
    return [f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{number(t)}</text>' for t in x.ticks()] + [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(t) + 4:.1f}">{number(t)}</text>'
        for t in linear_ticks(y.low, y.high)
    ]
