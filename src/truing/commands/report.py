"""`truing report`: run folders → one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from truing.pages.distance import Chosen
from truing.pages.report import render
from truing.records import UserError
from truing.run import read_run
from truing.run.checkpoint import write_text


@dataclass(frozen=True)
class Report:
    """One HTML page about a run, or about several beside each other. It needs no network and no other file."""

    runs: tuple[str, ...]
    """run folders, or names of runs; behind one of `truing ppo`, the curve of a `truing bestofn` (OUT.curve.json)"""
    out: str | None = None
    """the file to write; none takes report.html in the run's folder, or here for several"""
    folder: str = "runs"
    """where runs are looked for by name"""


def report(settings: Report) -> Path:
    """Write the page and return where it is."""
    files = [name for name in settings.runs if Path(name).is_file()]
    places = [find_run(name, settings.folder) for name in settings.runs if name not in files]
    if not places:
        raise UserError(f"which run? Give folders or names.{_known(settings.folder)}")
    if files and len(files) + len(places) > 2:
        raise UserError(f"{files[0]} is a curve of best of n: it is drawn into the report of one run.")
    return write_report(*places, out=settings.out, chosen=_chosen(places[0], files[0]) if files else None)


def write_report(*places: str | Path, out: str | Path | None = None, chosen: Chosen | None = None) -> Path:
    """Write one page about these run folders; procedures call this when they end."""
    target = Path(out) if out else Path(places[0]) / "report.html" if len(places) == 1 else Path("report.html")
    page = render([read_run(place) for place in places], chosen)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_text(target, page)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror}.") from None
    return target


def _chosen(place: Path, file: str) -> Chosen:
    from truing.commands.chosen import chosen_for  # it knows the judges, and with them everything that computes

    return chosen_for(read_run(place), file)


def find_run(name: str, folder: str | Path = "runs") -> Path:
    """A run by its folder, or by its name in the folder of runs."""
    for place in (Path(name), Path(folder) / name):
        if (place / "manifest.json").is_file():
            return place
    raise UserError(f"there is no run {name!r}, neither as a folder nor in {folder}/.{_known(folder, name)}")


def _known(folder: str | Path, name: str = "") -> str:
    names = sorted(path.parent.name for path in Path(folder).glob("*/manifest.json"))
    near = get_close_matches(name, names, n=3) or names[:8]
    return f" Runs there: {', '.join(near)}." if near else ""
