"""The metrics of runs as numbers: tiles at the top of a report, tables below, and which direction is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from truing.pages.charts import number
from truing.pages.escape import esc
from truing.run import RunView

NOT_CURVES = ("step", "seconds", "rows", "tokens")
ERROR = "error"  # of what the rest of a metric's name says: watch/test_error, watch/persona/evil/error
LOWER = ("loss", "nll", "perplexity", "ppl", "error", "ece")
HIGHER = ("acc", "accuracy", "reward", "score", "margin", "win")
ROLLED = ("reward", "watch/test", "kl", "length")
MOST_TILES = 4


class Right(str):
    """The HTML of a table cell that holds a number: it is set to the right."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""

    def cells(tag: str, row: Sequence[str]) -> str:
        css = (' class="n"' if isinstance(cell, Right) else "" for cell in row)
        return "".join(f"<{tag}{look}>{cell}</{tag}>" for look, cell in zip(css, row))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells("th", heads)}</tr></thead><tbody>{body}</tbody></table></div>'


def metric_names(runs: Iterable[RunView]) -> list[str]:
    """All metrics, the loss first, the others as they were logged."""
    names = dict.fromkeys(name for run in runs for name in run.metrics if run.series(name))
    return sorted((name for name in names if name not in NOT_CURVES), key=lambda name: name != "loss")


def error_of(metric: str) -> str:
    """Whose standard error it is; nothing where it is none."""
    return (
        metric.removesuffix(ERROR)[:-1]
        if metric.startswith("watch/") and metric.endswith((f"_{ERROR}", f"/{ERROR}"))
        else ""
    )


def best(metric: str) -> Callable[[Iterable[Any]], Any] | None:
    """min or max where the name of a metric says which is better, else None."""
    words = metric.replace("/", "_").split("_")
    if error_of(metric):
        return None
    return min if any(w in LOWER for w in words) else max if any(w in HIGHER for w in words) else None


def settled(series: Sequence[tuple[int, float]]) -> float:
    """The mean over the last tenth: one step's value is mostly noise."""
    tail = series[-max(1, len(series) // 10) :]
    return sum(value for _, value in tail) / len(tail)


def tiles(run: RunView) -> str:
    """The metrics that can be good or bad, in large. Of learning from own answers the reward says little: those beside
    it say at what price it came."""
    rolled = bool(run.series("policy/ratio"))
    cells = []
    for name in ROLLED if rolled else metric_names([run]):
        series, better = run.series(name), best(name)
        if (better or rolled) and len(series) > 1:
            mean = f", mean of the last {len(series) // 10}" if len(series) >= 30 else ""
            more = f"<small>from {number(series[0][1])}{_best(series, better)}</small>"
            cells.append(f'<div class="tile"><dt>{esc(name)}{mean}</dt><dd>{number(settled(series))}{more}</dd></div>')
    return f'<dl class="tiles">{"".join(cells[:MOST_TILES])}</dl>' if cells else ""


def _best(series: Sequence[tuple[int, float]], better: Callable[[Iterable[Any]], Any] | None) -> str:
    if not better:
        return ""
    value, step = better((value, step) for step, value in series)
    return f", best {number(value)} at step {step}"


def numbers_section(runs: Sequence[RunView], names: Sequence[str]) -> str:
    """Every metric: beginning, end and extremes of one run, or beginnings and ends of several beside each other."""
    metrics = metric_names(runs)
    if not metrics:
        return '<p class="soft">No metrics yet.</p>'
    if len(runs) == 1:
        heads, rows = ["first", "last", "settled", "lowest", "highest"], [_extremes(runs[0], m) for m in metrics]
        note = "Settled: the mean over the last tenth."
    else:
        heads, rows = [esc(name) for name in names], [_side_by_side(runs, m) for m in metrics]
        note = "First value → mean over the last tenth. Bold: the better one, where the metric's name says which is."
    body = ([esc(metric), *map(Right, cells)] for metric, cells in zip(metrics, rows))
    return f'<h2>Numbers</h2><p class="note">{note}</p>{table(["metric", *map(Right, heads)], body)}'


def _extremes(run: RunView, metric: str) -> list[str]:
    series = run.series(metric)
    low, high = (choose(series, key=lambda point: point[1]) for choose in (min, max))
    ends = [number(value) for value in (series[0][1], series[-1][1], settled(series))]
    return ends + [f"{number(value)} <small>step {step}</small>" for step, value in (low, high)]


def _side_by_side(runs: Sequence[RunView], metric: str) -> list[str]:
    every, better = [run.series(metric) for run in runs], best(metric)
    ends = [settled(series) for series in every if series]
    top = better(ends) if better and len(ends) > 1 else None
    cells = []
    for series in every:
        if series:
            end = number(settled(series))
            end = f"<b>{end}</b>" if settled(series) == top else end
            cells.append(f"<small>{number(series[0][1])} →</small> {end}")
        else:
            cells.append("–")
    return cells
