"""HTML to plain text as people would type it: tags go, code stays letter by letter, in the marks of Markdown."""

from __future__ import annotations

import re
from html.parser import HTMLParser

BLOCKS = frozenset({"p", "div", "ul", "ol", "blockquote", "table", "tr", "hr", *(f"h{level}" for level in range(1, 7))})
CELLS, HIDDEN = frozenset({"td", "th"}), frozenset({"script", "style"})


def plain_text(markup: str) -> str:
    """Paragraphs with a blank line between them; `code` in backticks, blocks of it fenced; what is not HTML stays."""
    reader = _Reader()
    reader.feed(markup)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    """Pieces of text, and of code, which nothing may touch later."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.code: list[str] = []  # finished blocks; a piece of NUL and a number stands for each
        self.block: list[str] | None = None
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in HIDDEN:
            self.hidden += 1
        elif tag == "pre":
            self.block = []
        elif tag == "code" and self.block is None:
            self.pieces.append("`")
        elif tag == "br":
            self._add("\n")
        elif tag == "li":
            self.pieces.append("\n- ")
        elif tag in CELLS:
            self.pieces.append(" ")
        elif tag in BLOCKS:
            self.pieces.append("\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in HIDDEN:
            self.hidden = max(0, self.hidden - 1)
        elif tag == "pre" and self.block is not None:
            self._fence()
        elif tag == "code" and self.block is None:
            self.pieces.append("`")
        elif tag in BLOCKS:
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self._add(data)

    def text(self) -> str:
        if self.block is not None:  # never closed
            self._fence()
        text = re.sub(r"\n\s*\n", "\n\n", "".join(self.pieces)).strip()
        return re.sub(r"\x00(\d+)\x00", lambda found: self.code[int(found[1])], text)

    def _add(self, data: str) -> None:
        data = data.replace("\x00", "")
        (self.pieces if self.block is None else self.block).append(data)

    def _fence(self) -> None:
        content = "".join(self.block or []).strip("\n")
        self.pieces.append(f"\n\n\x00{len(self.code)}\x00\n\n")
        self.code.append(f"```\n{content}\n```")
        self.block = None
