"""Cells, cards and verdicts; and that every claim of a paper is complete before anything runs."""

import json
from importlib import import_module
from pathlib import Path

import pytest

from truing.claims import run
from truing.claims.base import Cell, Claim, Found, Number, Outcome, Picture, card, grid
from truing.claims.judging import average, curve, difference, mean
from truing.claims.run import PAPERS, Reproduce, claims_of, reproduce
from truing.evaluate.rows import ROWS
from truing.records import UserError, fingerprint

CALLS = []


def study(folder: Path, *, size: str, seed: int) -> dict:
    """Notes that it ran, and finds something."""
    assert folder.is_dir()
    CALLS.append((size, seed))
    return {"right": [1.0, 0.0, float(seed > 0)], "size": len(size)}


def judge(found: Found) -> Outcome:
    value = average(found, mean("right"), size="tiny")
    return Outcome({"much": value.estimate > 0.3}, "so it is", [Number("right", value)], [Picture("a", "x", "y", [])])


CLAIM = Claim(
    "X1", "It works", "It does.", "verified", "Above 0.3.",
    grid(study, lambda p: p["seed"] == 0, size=("tiny", "base"), seed=(0, 1, 2)), judge, seeds=3,
)  # fmt: skip
OTHER = Claim("X2", "It works again", "It does.", "unsure", "Above 0.3.", CLAIM.cells[:3], judge, seeds=3)


@pytest.fixture
def paper(monkeypatch):
    CALLS.clear()
    monkeypatch.setattr(run, "claims_of", lambda _: [CLAIM, OTHER])
    monkeypatch.setattr(run, "PAPERS", ("askell2021",))


def cards(folder, profile):
    return json.loads((folder / f"askell2021-{profile}.json").read_text())["cards"]


def test_quick_runs_its_cells_once_and_full_runs_the_rest(paper, tmp_path):
    reproduce(Reproduce("askell2021", folder=str(tmp_path), jobs=1))
    assert CALLS == [("tiny", 0), ("base", 0)]
    first, second = cards(tmp_path, "quick")
    assert (first["cells"], first["of"], first["verdict"]) == (2, 6, "inconclusive")
    assert first["why"].startswith("1 of 3 seeds (it would be support)")
    assert (second["cells"], second["of"]) == (1, 3)

    page = reproduce(Reproduce("askell2021", profile="full", folder=str(tmp_path), jobs=1))
    assert len(CALLS) == len(set(CALLS)) == 6
    assert [c["verdict"] for c in cards(tmp_path, "full")] == ["supported", "supported"]
    assert "It works again" in page.read_text()
    assert second["conditions"] == [{"words": "much", "holds": True}] and "✓</b> much" in page.read_text()
    assert "✓ much" in (tmp_path / "askell2021-full.md").read_text()


def test_a_killed_command_goes_on_where_it_was(paper, tmp_path, monkeypatch):
    claim = CLAIM

    def dies(folder, *, size, seed):
        if (size, seed) == ("base", 1):
            raise KeyboardInterrupt
        return study(folder, size=size, seed=seed)

    dies.__name__, dies.__module__ = study.__name__, study.__module__
    broken = [Cell(dies, cell.params, cell.quick) for cell in claim.cells]
    monkeypatch.setattr(run, "claims_of", lambda _: [Claim(**{**vars(claim), "cells": broken})])
    with pytest.raises(KeyboardInterrupt):
        reproduce(Reproduce("askell2021", profile="full", folder=str(tmp_path), jobs=1))
    assert len(CALLS) == 4
    monkeypatch.setattr(run, "claims_of", lambda _: [claim])
    reproduce(Reproduce("askell2021", profile="full", folder=str(tmp_path), jobs=1))
    assert len(CALLS) == 6
    assert len((tmp_path / ROWS).read_text().splitlines()) == 6


def test_cards_of_other_claims_stay(paper, tmp_path):
    reproduce(Reproduce("askell2021", folder=str(tmp_path), jobs=1))
    reproduce(Reproduce("askell2021", only=("X2",), folder=str(tmp_path), jobs=1))
    assert [c["id"] for c in cards(tmp_path, "quick")] == ["X1", "X2"]


def test_an_unknown_claim_is_named(paper, tmp_path):
    with pytest.raises(UserError, match="there is no claim X9"):
        reproduce(Reproduce("askell2021", only=("X9",), folder=str(tmp_path), jobs=1))
    assert not (tmp_path / ROWS).exists()


def test_a_cell_is_another_one_when_anything_that_decides_it_is():
    cell = Cell(study, {"size": "tiny", "seed": 0})
    assert cell.key == Cell(study, {"seed": 0, "size": "tiny"}, quick=True).key
    others = [{"size": "tiny", "seed": 1}, {"size": "base", "seed": 0}]
    assert len({cell.key, *(Cell(study, p).key for p in others)}) == 3
    before = cell.key
    study.version = 2
    try:
        assert Cell(study, cell.params).key != before
    finally:
        del study.version


def test_too_few_seeds_are_inconclusive_whatever_they_show():
    found = Found([({"size": "tiny", "seed": 0}, {"right": [1.0, 1.0]})])
    assert card(CLAIM, found, 0.0).verdict == "inconclusive"
    assert card(CLAIM, Found([]), 0.0).verdict == "not run here"
    three = Found([({"size": "tiny", "seed": s}, {"right": [0.0, s / 10]}) for s in range(3)])
    assert card(CLAIM, three, 0.0).verdict == "not supported"


@pytest.mark.parametrize(
    ("parts", "holds"),
    [((True, True), True), ((True, None), None), ((None, False), False), ((True, False), False), ((), None)],
)
def test_one_condition_that_fails_decides_and_one_unknown_leaves_it_open(parts, holds):
    assert Outcome(dict(zip("ab", parts)), "").holds is holds


def test_differences_pair_seeds_and_one_seed_pairs_items():
    rows = [({"arm": arm, "seed": s}, {"right": [s, s + shift]}) for arm, shift in (("a", 2), ("b", 1)) for s in (0, 1)]
    both = difference(Found(rows), mean("right"), {"arm": "a"}, {"arm": "b"})
    assert (both.estimate, both.n) == (0.5, 2)
    one = difference(Found([r for r in rows if r[0]["seed"] == 0]), mean("right"), {"arm": "a"}, {"arm": "b"})
    assert (one.estimate, one.n) == (0.5, 2)  # two items
    assert one.low < 0.5 < one.high
    assert difference(Found(rows), mean("right"), {"arm": "a"}, {"arm": "c"}) is None
    with pytest.raises(ValueError, match="several cells of seed 0"):
        average(Found(rows), mean("right"))


def test_a_lone_run_has_no_whiskers():
    value = average(Found([({"seed": 0}, {"share": 0.4})]), mean("share"))
    assert curve("c", [(1, value), (2, None)]).points == [(1.0, 0.4, 0.4, 0.4)]


@pytest.mark.parametrize("paper_name", PAPERS)
def test_every_claim_says_all_it_has_to(paper_name):
    claims = claims_of(paper_name)
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert all((claim.title, claim.says, claim.test)), claim.id
        if not claim.cells:
            assert card(claim, Found([]), 0.0).verdict == "not run here" and claim.judge(Found([])).why
            continue
        assert claim.chosen("quick"), f"{claim.id}: nothing of it is in the quick profile"
        keys = [cell.key for cell in claim.cells]
        assert len(set(keys)) == len(keys), f"{claim.id}: a cell is there twice"
        assert {cell.key for cell in claim.chosen("quick")} <= set(keys)
        seeds = {cell.params["seed"] for cell in claim.cells}
        assert len(seeds) >= claim.seeds, f"{claim.id}: full has {len(seeds)} of {claim.seeds} seeds"
        fingerprint([dict(cell.params) for cell in claim.cells])


def test_papers_are_modules():
    assert all(import_module(f"truing.claims.{name}").__doc__ for name in PAPERS)
