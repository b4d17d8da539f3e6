"""`truing reproduce`: run the cells that are missing, judge every claim, write its card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from truing.claims.base import Card, Claim, Found, Profile, card
from truing.claims.show import as_markdown, as_row, brief
from truing.claims.work import carried_out
from truing.evaluate.rows import Rows
from truing.pages.claims import claims_page
from truing.records import UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.run.progress import Progress

PAPERS = ("askell2021", "bai2022", "alol", "ppomax", "persona")
WIDE = 160  # characters, where nobody says how wide the paper is
VERDICTS = {"supported": "green", "not supported": "red", "inconclusive": "yellow", "not run here": "dim"}


@dataclass(frozen=True)
class Reproduce:
    """Test the claims of a paper in the built-in world. Every claim gets a card: numbers, controls, a verdict."""

    paper: Literal["askell2021", "bai2022", "alol", "ppomax", "persona", "all"]
    profile: Literal["quick", "full"] = "quick"
    """quick: few cells, declared beforehand, minutes; full: all of them, hours; both go on where they stopped"""
    only: tuple[str, ...] = ()
    """claims by their ids, such as A1; none takes all"""
    folder: str = "runs/reproduce"
    jobs: int = 0
    """cells at once; 0: as many as there are processors"""


def claims_of(paper: str) -> list[Claim]:
    found: list[Claim] = import_module(f"truing.claims.{paper}").CLAIMS
    return found


def reproduce(settings: Reproduce) -> Path:
    """Returns the page with the cards."""
    papers = PAPERS if settings.paper == "all" else (settings.paper,)
    claims = {paper: _only(claims_of(paper), settings) for paper in papers}
    folder = Path(settings.folder)
    with Rows(folder) as rows:
        for paper in papers:
            cards = _carded(rows, folder, claims[paper], settings.profile, paper, settings.jobs)
            _show(paper, cards)
            _write(folder, paper, settings.profile, rows)
    page = folder / f"{settings.paper}-{settings.profile}.html"
    kept = [json.loads((folder / f"{paper}-{settings.profile}.json").read_text("utf-8")) for paper in papers]
    write_text(page, claims_page(kept))
    say(f"\ncards: {page}")
    return page


def _only(claims: list[Claim], settings: Reproduce) -> list[Claim]:
    known = {claim.id for paper in PAPERS for claim in claims_of(paper)}
    if unknown := [name for name in settings.only if name not in known]:
        raise UserError(f"only: there is no claim {unknown[0]}; there are {', '.join(sorted(known, key=_order))}.")
    return [claim for claim in claims if not settings.only or claim.id in settings.only]


def _order(name: str) -> tuple[str, int]:
    return name[:1], int(name[1:])


def _carded(rows: Rows, folder: Path, claims: Sequence[Claim], profile: Profile, paper: str, jobs: int) -> list[Card]:
    """Every missing cell is run once, however many claims need it."""
    wanted = {cell.key: cell for claim in claims for cell in claim.chosen(profile)}
    missing = {key: cell for key, cell in wanted.items() if key not in rows}
    bar = Progress(paper, 0, len(missing))
    try:
        for number, (key, row) in enumerate(carried_out(missing, folder, jobs), 1):
            rows.add(key, row)
            bar.show({"step": number, row["study"]: float(row["seconds"])})
    finally:
        bar.close()
    return [_card(claim, profile, rows) for claim in claims]


def _card(claim: Claim, profile: Profile, rows: Rows) -> Card:
    cells = claim.chosen(profile)
    seen = [(cell.params, rows[cell.key]["found"]) for cell in cells]
    return card(claim, Found(seen), sum(rows[cell.key]["seconds"] for cell in cells))


def _show(paper: str, cards: Sequence[Card]) -> None:
    table = Table("", "claim", "verdict", "what was found", title=f"{paper}: claims and what became of them here")
    for one in cards:
        word = f"[{VERDICTS[one.verdict]}]{one.verdict}[/]"
        count = f"{one.cells} of {len(one.claim.cells)} cells"
        table.add_row(one.claim.id, one.claim.title, f"{word}\n[dim]{count}[/dim]", brief(one))
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table)


def _write(folder: Path, paper: str, profile: Profile, rows: Rows) -> None:
    """Also the cards of claims that were not asked for this time, where all their cells are there."""
    known = [claim for claim in claims_of(paper) if all(cell.key in rows for cell in claim.chosen(profile))]
    cards = [_card(claim, profile, rows) for claim in known]
    write_text(folder / f"{paper}-{profile}.md", as_markdown(cards))
    content = {"paper": paper, "profile": profile, "cards": [as_row(one) for one in cards]}
    write_text(folder / f"{paper}-{profile}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
