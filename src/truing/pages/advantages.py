"""What answers were worth in an offline run: how advantages are distributed, which are best and worst, what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from truing.pages.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, linear_ticks, number
from truing.pages.escape import esc
from truing.pages.figures import figure
from truing.pages.numbers import Right, table
from truing.run import RunView, duration

FILE = "advantages.json"


def advantages_section(run: RunView) -> str:
    """Nothing where nobody estimated a value."""
    file = run.folder / FILE
    found = json.loads(file.read_text("utf-8")) if file.exists() else None
    return _rewards(run) + (_worth(found) if found else "") + _ledger(run)


def _rewards(run: RunView) -> str:
    """What each judge says of the answers that are learnt from; none is hidden in the sum."""
    told: Sequence[Mapping[str, Any]] = next(
        (event["parts"] for event in run.events if event["event"] == "rewards"), []
    )
    rows = [
        [esc(p["name"]), Right(f"{p['weight']:g}"), *(Right(f"{p[k]:.3f}") for k in ("mean", "low", "high"))]
        for p in told
    ]
    head = ["judge", *map(Right, ("weight", "mean", "lowest", "highest"))]
    return f"<h2>What answers earn</h2>{table(head, rows)}" if rows else ""


def _worth(found: Mapping[str, Any]) -> str:
    note = (
        f"A = R − V: the reward of an answer minus what the model's own answer would get. {found['kept']:.1%} of "
        f"{found['answers']} answers are worth more than that; mean {found['mean']:.3f}."
    )
    sides = "".join(
        f"<details><summary>The {name} {len(found[name])}</summary>{_examples(found[name])}</details>"
        for name in ("best", "worst")
    )
    picture = f'<div class="charts">{_histogram(found)}</div>'
    return f'<h2>What answers are worth</h2><p class="note">{esc(note)}</p>{picture}{sides}'


def _histogram(found: Mapping[str, Any]) -> str:
    counts, edges = found["histogram"]["counts"], found["histogram"]["edges"]
    x, y = Axis(edges[0], edges[-1], LEFT, WIDTH - RIGHT), Axis(0, max(counts), HEIGHT - BOTTOM, TOP)
    bars = "".join(
        _bar(x((left + right) / 2), y(0), y(count), below=left + right <= 0)
        for count, left, right in zip(counts, edges, edges[1:])
        if count
    )
    ticks = "".join(
        f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{number(t)}</text>' for t in linear_ticks(x.low, x.high)
    )
    return figure("Advantages", "A → answers", "answers by advantage", bars + ticks, HEIGHT)


def _bar(x: float, foot: float, top: float, below: bool) -> str:
    return f'<line class="bar c{int(below)}" x1="{x:.1f}" x2="{x:.1f}" y1="{foot:.1f}" y2="{top:.1f}"/>'


def _examples(rows: Sequence[Mapping[str, Any]]) -> str:
    cells = [
        [
            Right(f"{r['R'] - r['V']:+.3f}"),
            Right(f"{r['R']:.3f}"),
            Right(f"{r['V']:.3f}"),
            esc(r["prompt"]),
            esc(r["answer"]),
        ]
        for r in rows
    ]
    return table([Right("A"), Right("R"), Right("V"), "prompt", "answer"], cells)


def _ledger(run: RunView) -> str:
    """Every process of a run that was resumed has its own."""
    phases: dict[str, dict[str, float]] = {}
    for event in run.events:
        for name, spent in event.get("phases", {}).items() if event["event"] == "ledger" else ():
            total = phases.setdefault(name, {})
            for key, value in spent.items():
                total[key] = total.get(key, 0) + value
    if not phases:
        return ""
    rows = [
        [
            esc(name),
            Right(duration(s.get("seconds", 0))),
            Right(f"{s.get('F', 0):,.0f}"),
            Right(f"{s.get('sampled', 0):,.0f}"),
        ]
        for name, s in phases.items()
    ]
    note = "F: forward passes of one answer behind its prompt; a backward pass is two."
    head = ["", Right("time"), Right("F"), Right("tokens sampled")]
    return f'<h2>What it cost</h2><p class="note">{note}</p>{table(head, rows)}'
