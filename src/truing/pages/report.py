"""Run folders → one HTML file that works offline, with scripts off, on a phone and on paper.

A pure function: the same folders give the same bytes. The page fetches nothing and its policy forbids it to; the one
small script only answers the pointer. What models, data and users wrote is escaped wherever it appears.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import yaml

from truing.pages.advantages import advantages_section
from truing.pages.charts import Line, Mark, chart, number, swatch
from truing.pages.distance import Chosen
from truing.pages.escape import esc
from truing.pages.numbers import ERROR, Right, error_of, metric_names, numbers_section, table, tiles
from truing.pages.page import whole_page
from truing.pages.preference import preference_section
from truing.pages.rollouts import rollouts_section
from truing.pages.samples import samples_section
from truing.run import RunView, differing_keys, duration, flatten

MOST_EVENTS, MOST_MARKS = 40, 6
ALARMS = ("alarm", "rollback", "stopped", "failed")


def render(runs: Sequence[RunView], chosen: Chosen | None = None) -> str:
    """The page for one run, or for several beside each other. `chosen`: what best of n buys where the one began."""
    names = _labels(runs)
    sections = [
        _head(runs, names),
        *(_warnings(run, name) for run, name in zip(runs, names)),
        tiles(runs[0]) if len(runs) == 1 else _overview(runs, names),
        preference_section(runs[0]) if len(runs) == 1 else "",
        rollouts_section(runs[0], _marks(runs, names), chosen) if len(runs) == 1 else "",
        advantages_section(runs[0]) if len(runs) == 1 else "",
        curves(runs, names),
        _differences(runs, names),
        numbers_section(runs, names),
        samples_section(runs, names),
        *(_history(run, f" in {name}" if len(runs) > 1 else "") for run, name in zip(runs, names)),
        "<h2>How it was made</h2>",
        *(sources(run, f" of {name}" if len(runs) > 1 else "") for run, name in zip(runs, names)),
    ]
    return whole_page(" · ".join(names), sections)


def _labels(runs: Sequence[RunView]) -> list[str]:
    """Names, told apart by their folders where they are equal."""
    names = [run.name for run in runs]
    return [str(run.folder) if names.count(name) > 1 else name for run, name in zip(runs, names)]


def _head(runs: Sequence[RunView], names: Sequence[str]) -> str:
    if len(runs) > 1:
        return f'<h1>{len(runs)} runs compared</h1><p class="soft">{esc(" · ".join(names))}</p>'
    run = runs[0]
    about = " · ".join(filter(None, (_about(run, key) for key in ("verb", "model", "data"))))
    facts = [_state(run), f"{run.steps} steps", duration(run.seconds)]
    facts += [f"{_speed(run)} rows/s"] if run.rows_per_second else []
    return f'<h1>{esc(names[0])}</h1><p class="soft">{esc(about)}</p><p>{esc(" · ".join(facts))}</p>'


def _overview(runs: Sequence[RunView], names: Sequence[str]) -> str:
    rows = []
    for look, (run, name) in enumerate(zip(runs, names)):
        about = [esc(_about(run, key)) for key in ("verb", "model", "data")]
        facts = map(Right, (str(run.steps), duration(run.seconds), _speed(run)))
        rows.append([swatch(look) + esc(name), *about, esc(_state(run)), *facts])
    return table(["run", "verb", "model", "data", "state", *map(Right, ("steps", "time", "rows/s"))], rows)


def _state(run: RunView) -> str:
    if run.finished:
        reason = run.manifest["finished"].get("stopped")
        return f"stopped: {reason}" if reason else "finished"
    last = run.events[-1]["event"] if run.events else ""
    return last if last in ("interrupted", "failed") else "not finished"


def _speed(run: RunView) -> str:
    return number(round(run.rows_per_second, 1)) if run.rows_per_second else "–"


def _about(run: RunView, key: str) -> str:
    """What the manifest says about the run's verb, model or data, or else its recipe."""
    value = run.manifest.get(key) or run.recipe.get(key) or ""
    if isinstance(value, dict):
        value = value.get("path") or value.get("name") or ", ".join(f"{k} {v}" for k, v in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _warnings(run: RunView, name: str) -> str:
    lines = []
    for metric in dict.fromkeys(metric for _, metric, _ in run.nonfinite):
        found = [(step, what) for step, other, what in run.nonfinite if other == metric]
        steps = f"{len(found)} steps, first at step {found[0][0]}" if len(found) > 1 else f"step {found[0][0]}"
        lines.append(f"{metric} was {found[0][1]} ({steps}): such values are missing from the curves.")
    heard = [_happened(event) for event in run.events if event["event"] == "alarm"]
    lines += [f"{_listed(heard)}. The charts mark it."] if heard else []
    return "".join(f'<p class="warn"><b>{esc(name)}</b>: {esc(line)}</p>' for line in lines)


def curves(runs: Sequence[RunView], names: Sequence[str]) -> str:
    """A chart for every metric that moves; `watch/kl` stands under the heading `watch`."""

    def moves(metric: str) -> bool:
        return any(len({value for _, value in run.series(metric)}) > 1 for run in runs)

    def group(metric: str) -> str:
        return "/".join(metric.split("/")[:-1][:2])

    def line(metric: str, run: RunView, look: int, name: str) -> Line:
        errors = dict(run.series(f"{metric}_{ERROR}") or run.series(f"{metric}/{ERROR}"))
        return Line(name, look, run.series(metric), errors)

    metrics = sorted((m for m in metric_names(runs) if moves(m) and not error_of(m)), key=group)
    if not metrics:
        return ""
    marks, several = _marks(runs, names), len(runs) > 1
    note = "Bold: a moving mean over the faint values of each step."
    note += f" Dotted upright: {esc(_listed([mark.text for mark in marks]))}." if marks else ""
    note += " Point at a chart, or use ← and →, to read all of them at one step."
    parts = [f'<h2>Curves</h2><p class="note">{note}</p>', _legend(names) if several else ""]
    for title, members in groupby(metrics, key=group):
        lines = {m: [line(m, run, look, n) for look, (run, n) in enumerate(zip(runs, names))] for m in members}
        drawn = "".join(chart(metric, lines[metric], marks) for metric in lines)
        parts.append(f"<h3>{esc(title)}</h3>" if title else "")
        parts.append(f'<div class="charts{" several" if several else ""}">{drawn}</div>')
    return "".join(parts)


def _marks(runs: Sequence[RunView], names: Sequence[str]) -> list[Mark]:
    return [
        Mark(event["step"], look, (f"{name}, " if len(runs) > 1 else "") + _brief(event))
        for look, (run, name) in enumerate(zip(runs, names))
        for event in run.events
        if event["event"] in ALARMS
    ]


def _brief(event: dict[str, Any]) -> str:
    return ", ".join(
        [f"step {event['step']}: {event['event']}", *(str(event[k]) for k in ("name", "reason") if k in event)]
    )


def _happened(event: dict[str, Any]) -> str:
    return f"step {event['step']}: {_describe(event)}"


def _listed(texts: Sequence[str]) -> str:
    left = len(texts) - MOST_MARKS
    return "; ".join(texts[:MOST_MARKS]) + (f"; and {left} more, see what happened" if left > 0 else "")


def _legend(names: Sequence[str]) -> str:
    entries = "".join(f"<span>{swatch(look)}{esc(name)}</span>" for look, name in enumerate(names))
    return f'<div class="legend">{entries}</div>'


def _differences(runs: Sequence[RunView], names: Sequence[str]) -> str:
    keys = sorted({key for run in runs[1:] for key in differing_keys(runs[0].recipe, run.recipe)})
    if not keys:
        return ""
    recipes = [flatten(run.recipe) for run in runs]
    rows = ([esc(key), *(esc(recipe.get(key, "–")) for recipe in recipes)] for key in keys)
    return f"<h2>Where the recipes differ</h2>{table(['key', *map(esc, names)], rows)}"


def _history(run: RunView, whose: str) -> str:
    if not run.events:
        return ""
    shown = run.events[-MOST_EVENTS:]
    rows = ([Right(esc(e.get("step", ""))), esc(e.get("at", "")), esc(e["event"]), esc(_describe(e))] for e in shown)
    left = len(run.events) - len(shown)
    note = f'<p class="note">{left} earlier events are in events.jsonl.</p>' if left else ""
    return f"<h2>What happened{esc(whose)}</h2>{note}{table([Right('step'), 'when', 'what', ''], rows)}"


def _describe(event: dict[str, Any]) -> str:
    """The fields of an event in words."""
    if "message" in event:
        return str(event["message"])
    return ", ".join(f"{k}: {v}" for k, v in event.items() if k not in ("event", "step", "at", "seconds"))


def sources(run: RunView, whose: str) -> str:
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True, width=120)
    manifest = json.dumps(run.manifest, indent=2, ensure_ascii=False)
    return "".join(
        f"<details><summary>{title}{esc(whose)}</summary><pre>{esc(text)}</pre></details>"
        for title, text in (("Recipe", recipe), ("Manifest", manifest))
    )
