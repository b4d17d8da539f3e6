"""Carrying out cells: several at once, each on one thread, because models this small gain nothing from two."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from truing.claims.base import Cell
from truing.run import set_output

Row = dict[str, Any]


def carried_out(cells: Mapping[str, Cell], folder: Path, jobs: int) -> Iterator[tuple[str, Row]]:
    """(key, row) of each cell, as they are done."""
    place = folder / "work"
    place.mkdir(parents=True, exist_ok=True)
    jobs = min(jobs or len(os.sched_getaffinity(0)), len(cells))
    if jobs < 2:
        for key, cell in cells.items():
            yield key, run_cell(cell, place)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a worker starts
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=fresh)
    try:
        waiting = {pool.submit(run_cell, cell, place): key for key, cell in cells.items()}
        for one in as_completed(waiting):
            yield waiting[one], one.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_cell(cell: Cell, place: Path) -> Row:
    began = time.monotonic()
    with _quiet():
        found = cell.study(place, **cell.params)
    spent = round(time.monotonic() - began, 1)
    return {"study": cell.study.__name__, "params": dict(cell.params), "seconds": spent, "found": dict(found)}


@contextmanager
def _quiet() -> Iterator[None]:
    """A cell trains several models; what they say of themselves would bury the cards."""
    before = set_output("quiet")
    try:
        yield
    finally:
        set_output(before)


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """One process at a time makes what is kept here; the others wait and find it made."""
    with open(place.with_name(f".{place.name}.lock"), "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
