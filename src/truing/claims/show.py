"""A card in a few words for the terminal, and as plain data for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from truing.claims.base import MARKS, Card, Number
from truing.stats.intervals import Interval

HELD: dict[bool | None, str] = {True: "✓", False: "✗", None: "?"}


def brief(card: Card) -> str:
    """Why the verdict is what it is, and the numbers that count."""
    return "\n".join(_said(card))


def _said(card: Card) -> list[str]:
    held = "; ".join(f"{HELD[holds]} {words}" for words, holds in card.conditions.items())
    numbers = [f"{n.label}: {value_in_words(n)}" for n in card.numbers if n.role != "context"]
    return [card.why, *([held] if held else []), *numbers]


def value_in_words(number: Number) -> str:
    if isinstance(number.value, Interval):
        v = number.value
        return f"{v.estimate:.3g} " + ("(one run)" if math.isinf(v.low) else f"[{v.low:.3g}, {v.high:.3g}]")
    return f"{number.value:.3g}"


def as_markdown(cards: Sequence[Card]) -> str:
    """A table to keep: what was found, the effects and their controls."""
    lines = ["| | claim | verdict | what was found | cells |", "|---|---|---|---|---|"]
    for card in cards:
        verdict = card.verdict + (f", towards {card.leaning}" if card.leaning else "")
        said = "<br>".join(_said(card))
        cells = f"{card.cells} of {len(card.claim.cells)}"
        lines.append(f"| {card.claim.id} | {card.claim.title} | {verdict} | {said} | {cells} |")
    return "\n".join(lines) + "\n"


def as_row(card: Card) -> dict[str, Any]:
    claim = card.claim
    return {
        "id": claim.id,
        "title": claim.title,
        "says": claim.says,
        "mark": MARKS[claim.mark],
        "test": claim.test,
        "verdict": card.verdict,
        "why": card.why,
        "conditions": [{"words": words, "holds": holds} for words, holds in card.conditions.items()],
        "leaning": card.leaning,
        "cells": card.cells,
        "of": len(claim.cells),
        "seeds": list(card.seeds),
        "seconds": round(card.seconds, 1),
        "numbers": [_number(number) for number in card.numbers],
        "pictures": [asdict(picture) for picture in card.pictures],
    }


def _number(number: Number) -> dict[str, Any]:
    value = number.value
    if isinstance(value, Interval):
        low, high = (None if math.isinf(end) else end for end in (value.low, value.high))  # JSON has no infinity
        return {"label": number.label, "role": number.role, "value": {"mean": value.estimate, "low": low, "high": high}}
    return {"label": number.label, "role": number.role, "value": value}
