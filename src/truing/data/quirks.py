"""What is odd about comparisons that people collected, counted: where in a row it is, and what to do about it.

Every count can be held against somebody else's of the same file, which makes the table a self-test of the import.
Nothing is mended and nothing is left out here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from truing.data.defects import DEFECTS, SPEAKER_NAME
from truing.data.hh import MARKER, common_prefix
from truing.records import Answer, Example

ALIKE = 10  # characters
CURLY = re.compile("[“”‘’]")


class Quirk(NamedTuple):
    """`reply` is looked for in every answer, `row` in an example as a whole."""

    do: str
    reply: Callable[[Answer], bool] | None = None
    row: Callable[[Example], bool] | None = None


def _prompt(example: Example) -> list[tuple[str, str]]:
    return [] if isinstance(example.prompt, str) else [(turn.role, turn.text) for turn in example.prompt]


def _twice(example: Example) -> bool:
    """A marker that opened no turn: the same speaker had the word already."""
    return any(role == "assistant" and MARKER.search(text) for role, text in _prompt(example))


def _alike(example: Example) -> bool:
    texts = [answer.text.lstrip() for answer in example.answers]
    return len(texts) == 2 and common_prefix(*texts) >= ALIKE


def _somewhere(pattern: re.Pattern[str]) -> Callable[[Example], bool]:
    return lambda e: any(pattern.search(text) for _, text in _prompt(e))


QUIRKS: dict[str, Quirk] = {
    "marker inside a reply": Quirk("part of the reply; bad to imitate", reply=lambda a: bool(MARKER.search(a.text))),
    "two replies in a row before it": Quirk("read as one turn", row=_twice),
    "speaker name inside a reply": Quirk("bad to imitate", reply=lambda a: bool(SPEAKER_NAME.search(a.text))),
    "speaker name in the prompt": Quirk("part of the text", row=_somewhere(SPEAKER_NAME)),
    "empty reply": Quirk("a choice to a preference model; not to imitate", reply=lambda a: not a.text.strip()),
    "reply ends with a colon": Quirk("was cut off; not to imitate", reply=lambda a: a.text.rstrip().endswith(":")),
    "identical replies": Quirk("left out: loss ln 2, whatever is learnt", row=DEFECTS["identical answers"]),
    "one reply begins the other": Quirk("why scores are read behind the end", row=DEFECTS["an answer begins another"]),
    f"replies begin with the same {ALIKE} characters": Quirk("the prompt still ends before them", row=_alike),
    "two spaces in a row in the prompt": Quirk("kept as they are", row=_somewhere(re.compile("  "))),
    "curly quotes in the prompt": Quirk("kept as they are", row=_somewhere(CURLY)),
}


def quirks(examples: Iterable[Example]) -> dict[str, dict[str, int]]:
    """quirk → how many rows have it; of those in a reply, also how many better and how many worse ones."""
    found = {name: {"rows": 0} | ({"better": 0, "worse": 0} if q.reply else {}) for name, q in QUIRKS.items()}
    for example in examples:
        ranks: Sequence[int | None] = example.ranks() or [None] * len(example.answers)
        for name, quirk in QUIRKS.items():
            count = found[name]
            if quirk.row:
                count["rows"] += quirk.row(example)
            elif quirk.reply:
                having = [rank for rank, answer in zip(ranks, example.answers) if quirk.reply(answer)]
                count["rows"] += bool(having)
                count["better"] += having.count(0)
                count["worse"] += sum(rank is not None and rank > 0 for rank in having)
    return found


def direction(went_on: Mapping[int, int]) -> str:
    """What it says of the labels with which reply conversations went on (`describe.clicked`): rank → rows."""
    better, worse = went_on.get(0, 0), sum(count for rank, count in went_on.items() if rank)
    if not better + worse:
        return "no conversation goes on in another row"
    share = f"{better} of {better + worse} go on with the better reply"
    if not worse:
        return f"{share}: who chose it followed it"
    if not better:
        return f"{share}: red-teaming, where the worse is followed, or the labels are the wrong way round"
    return f"{share}: conversations of both kinds, or models that took turns"
