"""`truing doctor`: what this machine can do, measured, and what that means for a run."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from truing.model.probe import Probe, cpu_name, probe, resolve_device, usable_cores
from truing.model.selftest import Tried, hooks
from truing.run import progress

PARTS = {  # package → what is missing without it
    "datasets": "data sets by hub name",
    "pyarrow": "parquet files",
    "tensorboard": "curves in TensorBoard",
    "gguf": "control vectors of llama.cpp",
}


@dataclass(frozen=True)
class Doctor:
    """What this machine can do, measured: the fastest dtype and thread count, optional parts, memory and disk."""

    device: str = "auto"
    """what to measure; auto takes the GPU if there is one"""
    hooks: bool = False
    """try instead which architectures can be read and steered between their blocks"""


def doctor(settings: Doctor) -> Probe | list[Tried]:
    """Measure, print, and keep the choice for later runs."""
    if settings.hooks:
        return _hooks()
    device = resolve_device(settings.device)
    result = probe(device, fresh=True)
    rows = [*_machine(), *_versions(), *_parts()]
    progress.emit("doctor", "", {**dict(rows), **asdict(result)})
    if progress._mode != "json":
        console = Console(highlight=False)
        console.print(_table(rows), "", _speed(result, device), "", sep="\n")
        console.print(f"[bold]{result.dtype} with {_count(result.threads, 'thread')}[/bold], because {result.why}.")
    return result


def _hooks() -> list[Tried]:
    """Random models of a few thousand parameters."""
    tried = list(hooks())
    progress.emit("doctor", "", {one.name: {"proven": one.proven, "said": one.said} for one in tried})
    if progress._mode != "json":
        table = Table("architecture", "hooks", "", box=None, pad_edge=False)
        for one in tried:
            word = Text("proven", "green") if one.proven else Text("refused", "red")
            table.add_row(one.name, word, Text("every block" if one.proven else one.said))
        Console(highlight=False).print(table)
    return tried


def _machine() -> list[tuple[str, str]]:
    disk = shutil.disk_usage(Path.cwd())
    limit = os.environ.get("OMP_NUM_THREADS")
    cores = _count(usable_cores(), "usable core") + (f" (OMP_NUM_THREADS is {limit})" if limit else "")
    rows = [
        ("processor", f"{cpu_name()}, {cores}"),
        ("memory", _memory()),
        ("disk here", f"{disk.free / 1e9:.0f} GB free of {disk.total / 1e9:.0f}"),
    ]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        rows.append(("GPU", f"{', '.join(names)}; {free / 1e9:.0f} GB free of {total / 1e9:.0f}"))
    else:
        rows.append(("GPU", "none"))
    return rows


def _memory() -> str:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return "unknown"
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1e6 for line in lines}
    return f"{sizes['MemAvailable']:.1f} GB free of {sizes['MemTotal']:.1f}"


def _versions() -> list[tuple[str, str]]:
    names = ("truing", "torch", "transformers", "peft", "accelerate")
    packages = [f"{name} {version(name)}" for name in names]
    return [("versions", ", ".join([f"python {platform.python_version()}", *packages]))]


def _parts() -> list[tuple[str, str]]:
    """Optional packages, and the compiler that torch.compile needs on a CPU."""
    rows = []
    for name, use in PARTS.items():
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, f"not installed: no {use} (pip install {name})"))
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))), None)
    found = f"yes, with {compiler}" if compiler else "no C++ compiler found"
    if torch.cuda.is_available() and not importlib.util.find_spec("triton"):
        found += "; no triton, so not on the GPU"
    return [*rows, ("torch.compile", found)]


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(value))
    return table


def _speed(result: Probe, device: str) -> Table:
    """GFLOP/s of a small training step by dtype and threads; the chosen one stands out."""
    cells: dict[str, dict[str, float]] = {}
    for key, value in result.gflops.items():
        dtype, threads = key.split(" x ")
        cells.setdefault(threads, {})[dtype] = value
    columns = [f"{dtype} GFLOP/s" for dtype in next(iter(cells.values()))]
    table = Table(f"{device} threads", *columns, box=None, pad_edge=False)
    for threads, row in cells.items():
        chosen = threads == str(result.threads)
        table.add_row(
            threads, *(Text(f"{v:.1f}", "bold green" if chosen and d == result.dtype else "") for d, v in row.items())
        )
    return table


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
