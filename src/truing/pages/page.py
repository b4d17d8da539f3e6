"""The frame around every page: one file, whose policy allows its own style and script, by their hashes, and no more."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from string import Template

from truing.pages.escape import esc


def whole_page(title: str, sections: Iterable[str]) -> str:
    """Sections are HTML already."""
    style, script = _file("report.css"), _file("report.js")
    return Template(_file("report.html")).substitute(
        title=esc(title),
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        body="\n".join(filter(None, sections)),
    )


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
