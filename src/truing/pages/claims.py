"""Claim cards → one page: what a paper says, what was done here, what came out, and whether that supports it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from truing.pages.charts import BOTTOM, COLOURS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, linear_ticks, number
from truing.pages.escape import esc
from truing.pages.figures import figure
from truing.pages.numbers import Right, table
from truing.pages.page import whole_page
from truing.run import duration

WORDS = {"supported": "f2", "not supported": "f1", "inconclusive": "f4", "not run here": "f5"}
ROLES = {"effect": "", "control": "control", "context": "beside it"}
Card = Mapping[str, Any]


def claims_page(papers: Sequence[Mapping[str, Any]]) -> str:
    """`papers`: paper, profile, and cards as plain data."""
    sections = ["<h1>Claims and what became of them</h1>", _about(papers)]
    for one in papers:
        sections += [f'<h2 id="{esc(one["paper"])}">{esc(one["paper"])}, {esc(one["profile"])}</h2>', _overview(one)]
        sections += [_card(card) for card in one["cards"]]
    return whole_page("Truing: claims", sections)


def _about(papers: Sequence[Mapping[str, Any]]) -> str:
    cards = [card for one in papers for card in one["cards"]]
    counts = Counter(card["verdict"] for card in cards)
    said = ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])
    spent = duration(sum(card["seconds"] for card in cards))
    return (
        f'<p class="soft">{esc(said)}; cells took {spent}</p><p class="note">All of this happened in the built-in '
        "world, with models of 0.1 to 3 million parameters and a simulated crowd. Support here shows that a mechanism "
        "works as the paper says; no support here does not refute it. Intervals are 95 % unless a line says "
        "otherwise.</p>"
    )


def _overview(one: Mapping[str, Any]) -> str:
    rows = [
        [
            esc(c["id"]),
            f'<a href="#{_anchor(c)}">{esc(c["title"])}</a>',
            _word(c),
            f"<small>{esc(c['leaning'] and 'towards ' + c['leaning'])}</small>",
            Right(f"{c['cells']} of {c['of']}"),
        ]
        for c in one["cards"]
    ]
    return f'<div class="overview">{table(["", "claim", "verdict", "", Right("cells")], rows)}</div>'


def _word(card: Card) -> str:
    return f'<b class="{WORDS[card["verdict"]]}">{esc(card["verdict"])}</b>'


def _anchor(card: Card) -> str:
    return esc(f"claim-{card['id']}")


def _card(card: Card) -> str:
    seeds = f"{len(card['seeds'])} seed{'s' if len(card['seeds']) != 1 else ''}"
    facts = f"{card['cells']} of {card['of']} cells, {seeds}, {duration(card['seconds'])}"
    pictures = "".join(_picture(p) for p in card["pictures"])
    return (
        f'<section class="sample claim" id="{_anchor(card)}"><h3>{esc(card["id"])} · {esc(card["title"])}</h3>'
        f"<p>{_word(card)}: {esc(card['why'])}</p>"
        f'<dl><dt>The paper</dt><dd>{esc(card["says"])} <span class="note">({esc(card["mark"])})</span></dd>'
        f"<dt>The test here</dt><dd>{esc(card['test'])}</dd></dl>{_numbers(card)}"
        f'<div class="charts">{pictures}</div><p class="note">{esc(facts)}</p></section>'
    )


def _numbers(card: Card) -> str:
    rows = []
    for one in card["numbers"]:
        value = one["value"]
        if isinstance(value, Mapping):
            shown, ends = _value(value["mean"]), _ends(value)
        else:
            shown, ends = _value(value), ""
        rows.append([esc(one["label"]), Right(esc(shown)), esc(ends), f"<small>{ROLES[one['role']]}</small>"])
    return table(["", Right("value"), "interval", ""], rows) if rows else ""


def _ends(value: Mapping[str, Any]) -> str:
    return f"{_value(value['low'])} … {_value(value['high'])}" if abs(value["low"]) < 1e300 else "one value"


def _value(value: float) -> str:
    """Three decimals, as accuracies and shares want; fewer where there is more in front of the point."""
    return (f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}").replace("-", "−")


def _picture(picture: Mapping[str, Any]) -> str:
    """Curves with whiskers; sizes and counts stand on a logarithmic axis."""
    curves = [c for c in picture["curves"] if c["points"]]
    points = [p for c in curves for p in c["points"]]
    if not points:
        return ""
    xs = sorted({p[0] for p in points})
    x = _axis(xs, LEFT + 8, WIDTH - RIGHT - 12, log=xs[0] > 0 and xs[-1] / xs[0] > 8)
    y = _axis([v for p in points for v in p[1:] if abs(v) < 1e300], HEIGHT - BOTTOM, TOP, pad=0.06)
    body = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t):.1f}" y2="{y(t):.1f}"/>'
        f'<text class="tick y" x="{LEFT - 7}" y="{y(t) + 4:.1f}">{number(t)}</text>'
        for t in linear_ticks(y.low, y.high)
    ]
    ticks = xs if len(xs) < 7 else x.ticks()
    body += [f'<text class="tick x" x="{x(t):.1f}" y="{HEIGHT - 9}">{_short(t)}</text>' for t in ticks]
    body += [_curve(look, curve, x, y) for look, curve in enumerate(curves)]
    legend = "".join(f'<b class="f{i % COLOURS}">{esc(c["label"])}</b> ' for i, c in enumerate(curves))
    said = f"{picture['x']} → {picture['y']}"
    return figure(picture["title"], said, said, "".join(body), HEIGHT).replace(
        "</svg>", f'</svg><p class="note">{legend}</p>'
    )


def _curve(look: int, curve: Mapping[str, Any], x: Axis, y: Axis) -> str:
    css, path = f"c{look % COLOURS}", " ".join(f"{x(p[0]):.1f},{y(p[1]):.1f}" for p in curve["points"])
    whiskers = "".join(
        f'<line class="{css}" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{y(low):.1f}" y2="{y(high):.1f}"/>'
        f'<circle class="dot {css}" cx="{x(at):.1f}" cy="{y(mean):.1f}" r="3.5"/>'
        for at, mean, low, high in curve["points"]
        if abs(low) < 1e300
    )
    return f'<polyline class="line {css} d{look % 4}" points="{path}"/>{whiskers}'


def _axis(values: Sequence[float], start: float, end: float, pad: float = 0.0, log: bool = False) -> Axis:
    low, high = min(values), max(values)
    more = (high - low) * pad
    return Axis(low - more, high + more if high > low else low + 1, start, end, log)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g}M"
    return f"{value / 1e3:.3g}k" if value >= 1e4 else number(value)
