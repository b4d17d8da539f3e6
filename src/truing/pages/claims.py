"""Claim cards → one page: what a paper says, what was done here, what came out, and whether that supports it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from truing.pages.curves import picture
from truing.pages.escape import esc
from truing.pages.numbers import Right, table
from truing.pages.page import whole_page
from truing.run import duration

WORDS = {"supported": "f2", "not supported": "f1", "inconclusive": "f4", "not run here": "f5"}
ROLES = {"effect": "", "control": "control", "context": "beside it"}
MARKS = {True: '<b class="f2">✓</b>', False: '<b class="f1">✗</b>', None: '<b class="f4">?</b>'}
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
            f"{_word(c)} <small>{esc(c['leaning'] and 'towards ' + c['leaning'])}</small>",
            Right(_held(c)),
            Right(f"{c['cells']} of {c['of']}"),
        ]
        for c in one["cards"]
    ]
    return f'<div class="overview">{table(["", "claim", "verdict", Right("held"), Right("cells")], rows)}</div>'


def _held(card: Card) -> str:
    conditions = card["conditions"]
    return f"{sum(one['holds'] is True for one in conditions)} of {len(conditions)}" if conditions else ""


def _word(card: Card) -> str:
    return f'<b class="{WORDS[card["verdict"]]}">{esc(card["verdict"])}</b>'


def _anchor(card: Card) -> str:
    return esc(f"claim-{card['id']}")


def _card(card: Card) -> str:
    seeds = f"{len(card['seeds'])} seed{'s' if len(card['seeds']) != 1 else ''}"
    facts = f"{card['cells']} of {card['of']} cells, {seeds}, {duration(card['seconds'])}"
    pictures = "".join(picture(p) for p in card["pictures"])
    return (
        f'<section class="sample claim" id="{_anchor(card)}"><h3>{esc(card["id"])} · {esc(card["title"])}</h3>'
        f"<p>{_word(card)}: {esc(card['why'])}</p>{_conditions(card)}"
        f'<dl><dt>The paper</dt><dd>{esc(card["says"])} <span class="note">({esc(card["mark"])})</span></dd>'
        f"<dt>The test here</dt><dd>{esc(card['test'])}</dd></dl>{_numbers(card)}"
        f'<div class="charts">{pictures}</div><p class="note">{esc(facts)}</p></section>'
    )


def _conditions(card: Card) -> str:
    held = (f"<li>{MARKS[one['holds']]} {esc(one['words'])}</li>" for one in card["conditions"])
    return f'<ul class="conditions">{"".join(held)}</ul>'


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
    return f"{_value(value['low'])} … {_value(value['high'])}" if value["low"] is not None else "one value"


def _value(value: float) -> str:
    """Three decimals, as accuracies and shares want; fewer where there is more in front of the point."""
    return (f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}").replace("-", "−")
