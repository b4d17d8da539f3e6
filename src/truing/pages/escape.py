"""Text into a page. Whatever comes from a model, a data file or a user passes through `esc`: it is shown, never run."""

from __future__ import annotations

import re
from html import escape

# What can hide or reorder text: control characters, direction overrides, zero-width characters, half surrogate pairs.
# Joiners (200c, 200d) stay: emoji and several scripts need them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def esc(value: object) -> str:
    """Safe as text and inside a quoted attribute; invisible characters become visible."""
    text = str(value).replace("\r\n", "\n")
    return escape(_UNSEEN.sub(lambda match: f"⟨U+{ord(match[0]):04X}⟩", text), quote=True)
