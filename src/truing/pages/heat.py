"""A table whose numbers are also shades: where in a grid something is strongest.

A heat-map is {title, x, y, columns, rows, cells} and perhaps {chosen: (row, column), note}: cells row by row from 0 to
100, or None where there is nothing; what was chosen has a frame, and the note says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.pages.charts import LEFT, RIGHT, WIDTH
from truing.pages.escape import esc
from truing.pages.figures import figure

CELL, HEAD = 26, 22  # pixels
DARKEST = 0.5  # a number has to be read on it, in both themes


def heat(picture: Mapping[str, Any]) -> str:
    columns, rows = picture["columns"], picture["rows"]
    wide = (WIDTH - LEFT - RIGHT) / len(columns)
    body = []
    for number, (name, cells) in enumerate(zip(rows, picture["cells"])):
        y = CELL * number
        body.append(f'<text class="tick y" x="{LEFT - 7}" y="{y + 17}">{esc(name)}</text>')
        for n, value in enumerate(cells):
            framed = " chosen" if picture.get("chosen") == (number, n) else ""
            body.append("" if value is None else _cell(LEFT + wide * n, y, wide, value, framed))
    below = CELL * len(rows) + HEAD - 7
    body += [
        f'<text class="tick x" x="{LEFT + wide * (n + 0.5):.1f}" y="{below}">{esc(name)}</text>'
        for n, name in enumerate(columns)
    ]
    said = f"{picture['y']} by {picture['x']}"
    drawn = figure(picture["title"], said, said, "".join(body), CELL * len(rows) + HEAD)
    return drawn.replace("</svg>", f'</svg><p class="note">{esc(picture.get("note", ""))}</p>')


def _cell(x: float, y: float, wide: float, value: float, framed: str) -> str:
    shade = DARKEST * min(max(value / 100, 0), 1)
    return (
        f'<rect class="heat{framed}" x="{x + 1:.1f}" y="{y + 1}" width="{wide - 2:.1f}" height="{CELL - 2}" '
        f'fill-opacity="{shade:.2f}"/>'
        f'<text class="heat" x="{x + wide / 2:.1f}" y="{y + 17}">{value:.0f}</text>'
    )
