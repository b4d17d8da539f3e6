"""`truing rubric`: what the evaluations mean by their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from rich.markdown import Markdown

from truing.commands.tables import paper, report
from truing.evaluate.rubric import NAMES, rubric


@dataclass(frozen=True)
class Show:
    """What helpful, honest and harmless mean here; models that judge in words read the same pages."""

    page: Literal["helpful", "honest", "harmless", "all"]


def show(settings: Show) -> dict[str, Any]:
    pages = [rubric(name) for name in NAMES if settings.page in (name, "all")]
    for page in pages:
        paper().print(Markdown(page.text), f"\n({page})\n")
    found: dict[str, Any] = {page.name: page._asdict() for page in pages}
    report("rubric", found)
    return found
