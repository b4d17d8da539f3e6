"""Small figures with intervals: who reaches what, what a choice among more costs, whether stated chances come true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from truing.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, linear_ticks, number, shares
from truing.pages.escape import esc
from truing.stats import calibration

ROW = 26


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def intervals(title: str, note: str, rows: Sequence[tuple[str, Estimate]]) -> str:
    """One row for each name: the mean as a dot on the line from 0 to 1, its interval as a bar."""
    x = Axis(0.0, 1.0, 96, WIDTH - 96)
    height = ROW * len(rows) + 26
    body = [
        f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="4" y2="{height - 20}"/>'
        f'<text class="tick x" x="{x(t):.1f}" y="{height - 5}">{number(t)}</text>'
        for t in (0, 0.25, 0.5, 0.75, 1)
    ]
    for i, (name, value) in enumerate(rows):
        y, low, high = 17 + ROW * i, max(0.0, value.low), min(1.0, value.high)
        body.append(
            f'<text class="tick y" x="86" y="{y + 4}">{esc(name)}</text>'
            f'<line class="bar c{i}" x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle class="dot c{i}" cx="{x(value.mean):.1f}" cy="{y}" r="4.5"/>'
            f'<text class="tick" x="{WIDTH - 80}" y="{y + 4}">{value.mean:.2f}</text>'
        )
    said = "; ".join(f"{name} {value}" for name, value in rows)
    return figure(title, note, said, "".join(body), height)


def against(title: str, note: str, label: str, lines: Sequence[tuple[str, Sequence[tuple[float, Estimate]]]]) -> str:
    """Lines over an axis that doubles (best of 1, 2, 4 …), each scaled to its own range and labelled at its ends."""
    xs = sorted({at for _, points in lines for at, _ in points})
    x = Axis(xs[0], xs[-1], LEFT, WIDTH - 92, log=True)
    body = [f'<text class="tick x" x="{x(at):.1f}" y="{HEIGHT - 9}">{number(at)}</text>' for at in xs]
    starts, ends = list[float](), list[float]()  # where labels stand: one that would be written over goes above
    for i, (name, points) in enumerate(lines):
        low, high = min(v.low for _, v in points), max(v.high for _, v in points)
        y = Axis(low, high if high > low else low + 1, HEIGHT - BOTTOM - 8, TOP + 8)
        path = " ".join(f"{x(at):.1f},{y(v.mean):.1f}" for at, v in points)
        body += [
            f'<line class="c{i}" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(v.low):.1f}" y2="{y(v.high):.1f}"/>'
            for at, v in points
        ]
        start, end = points[0][1].mean, points[-1][1].mean
        begin_at, end_at = _free(y(start) + 4, starts), _free(y(end) + 4, ends)
        body.append(
            f'<polyline class="line c{i} d{i}" points="{path}"/>'
            f'<text class="tick y" x="{LEFT - 6}" y="{begin_at:.1f}">{start:.2f}</text>'
            f'<text class="tick" x="{x(xs[-1]) + 8:.1f}" y="{end_at:.1f}">{end:.2f} {esc(name)}</text>'
        )
    said = "; ".join(f"{name}: " + ", ".join(f"{number(at)} → {v}" for at, v in points) for name, points in lines)
    body.append(f'<text class="tick y" x="{LEFT - 6}" y="{HEIGHT - 9}">{esc(label)}</text>')
    return figure(title, note, said, "".join(body), HEIGHT)


def _free(y: float, taken: list[float]) -> float:
    """This height for a label, or one line above it, if there is one already."""
    taken.append(y - 13 if any(abs(y - other) < 13 for other in taken) else y)
    return taken[-1]


def reliability(title: str, note: str, gaps: Sequence[float]) -> str:
    """Of the comparisons in which a model states probability p for its choice, which share came out that way?

    `gaps` are score of the preferred answer minus score of the other. Bins hold equally many; whiskers are Wilson's
    95 % intervals. On the diagonal the probabilities are true.
    """
    bins = calibration.reliability(gaps)
    x, y = Axis(0.5, 1.0, LEFT, WIDTH - RIGHT), shares(found.right.low for found in bins)
    body = [
        f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{number(t)}</text>' for t in linear_ticks(0.5, 1.0)
    ] + [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(t) + 4:.1f}">{number(t)}</text>'
        for t in linear_ticks(y.low, y.high)
    ]
    body.append(f'<line class="line d1 c5" x1="{x(0.5)}" x2="{x(1)}" y1="{y(0.5)}" y2="{y(1)}"/>')
    for found in bins:
        at, right = x(found.chance), found.right
        body.append(
            f'<line class="c0" x1="{at:.1f}" x2="{at:.1f}" y1="{y(right.low):.1f}" y2="{y(right.high):.1f}"/>'
            f'<circle class="dot c0" cx="{at:.1f}" cy="{y(right.estimate):.1f}" r="4"/>'
        )
    return figure(title, note, "stated probability against what came true", "".join(body), HEIGHT)


def figure(title: str, note: str, said: str, body: str, height: int) -> str:
    return (
        f'<figure class="chart"><figcaption><b>{esc(title)}</b><span class="note">{esc(note)}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img"><title>{esc(title)}: {esc(said)}</title>{body}</svg></figure>'
    )
