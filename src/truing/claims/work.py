"""Carrying out cells: several at once, each on one thread, because models this small gain nothing from two."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from truing.claims.base import Cell
from truing.model.probe import usable_cores
from truing.run import set_output
from truing.settings import Machine

Row = dict[str, Any]
VERSION = 1  # of what cells keep for each other: raise it when something is trained differently
MACHINE = Machine(dtype="fp32", threads=1)


def carried_out(cells: Mapping[str, Cell], folder: Path, jobs: int) -> Iterator[tuple[str, Row]]:
    """(key, row) of each cell, as they are done. Where one fails no other is begun, and those that are done count."""
    place = folder / "work" / f"v{VERSION}"
    place.mkdir(parents=True, exist_ok=True)
    jobs = min(jobs or usable_cores(), len(cells))
    if jobs < 2:
        for key, cell in cells.items():
            yield key, run_cell(cell, place)
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a worker starts
    fresh = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_follow, initargs=(os.getpid(),))
    failed: BaseException | None = None
    try:
        waiting = {pool.submit(run_cell, cell, place): key for key, cell in cells.items()}
        for one in as_completed(waiting):
            if not one.cancelled() and not (problem := one.exception()):
                yield waiting[one], one.result()
            elif not one.cancelled() and failed is None:
                failed = problem
                pool.shutdown(wait=False, cancel_futures=True)
    finally:
        pool.shutdown(cancel_futures=True)
    if failed:
        raise failed


def _follow(parent: int) -> None:
    """A worker whose command was killed has nobody to work for."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


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
