"""Folders that survive a kill: a checkpoint is whole, with the hash of every byte, or it is not there.

A checkpoint is filled under a temporary name, every file is synced to the disk, `manifest.json` with sizes and hashes
is written last, and one rename makes it appear. Whatever a kill leaves behind is recognised and never loaded.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from truing.records import UserError

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def save_checkpoint(folder: Path, step: int, fill: Callable[[Path], None]) -> Path:
    """Let `fill` write files into `folder/step-N`, which appears complete or not at all (an older one is replaced)."""
    place, draft = folder / f"step-{step}", folder / f".writing-step-{step}"
    try:
        with disk_full_is_said(place):
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            fill(draft)
            files = {name: _sealed(draft / name) for name in _files(draft)}
            write_text(draft / MANIFEST, json.dumps({"step": step, "files": files}, indent=1))
            for inner in (path for path in draft.rglob("*") if path.is_dir()):
                sync(inner)
            if place.exists():
                shutil.rmtree(place)
            os.rename(draft, place)
            sync(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return place


def newest_checkpoint(folder: Path, warn: Callable[[str], None]) -> tuple[int, Path | None]:
    """(step, folder) of the newest whole checkpoint, or (0, None). Damaged ones are named and passed over."""
    for leftover in folder.glob(".writing-step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for step in sorted(checkpoint_steps(folder), reverse=True):
        place = folder / f"step-{step}"
        if (damage := find_damage(place)) is None:
            return step, place
        warn(f"{place} is not used: {damage}. Falling back to the checkpoint before it.")
    return 0, None


def find_damage(place: Path) -> str | None:
    """What is wrong with a checkpoint, or None when every file is there with the bytes that were written."""
    try:
        files = json.loads((place / MANIFEST).read_text("utf-8"))["files"]
    except FileNotFoundError:
        return f"{MANIFEST} is missing, so it was never finished"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is not readable"
    for name, seal in files.items():
        path = place / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != seal["bytes"] or _sha256(path) != seal["sha256"]:
            return f"{name} has changed since it was written"
    return None


def prune_checkpoints(folder: Path, upto: int, keep: int) -> None:
    """Keep the newest `keep` checkpoints up to step `upto`. (Later ones were found damaged: they do not count.)"""
    for step in sorted(s for s in checkpoint_steps(folder) if s <= upto)[:-keep]:
        shutil.rmtree(folder / f"step-{step}", ignore_errors=True)


def checkpoint_steps(folder: Path) -> list[int]:
    names = (path.name.removeprefix("step-") for path in folder.glob("step-*"))
    return [int(name) for name in names if name.isdecimal()]


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file as a whole: a reader or a kill sees the old content or the new, nothing between."""
    draft = path.with_name(f".{path.name}.writing")
    try:
        with disk_full_is_said(path):
            with open(draft, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
            sync(path.parent)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Force a file, or the names in a folder, onto the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def disk_full_is_said(path: Path) -> Iterator[None]:
    """One sentence for a full disk, however it comes: safetensors wraps the error, numpy forgets its number."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        number, said = getattr(error, "errno", None), str(error)
        why = next((os.strerror(code) for code in FULL if code == number or os.strerror(code) in said), "")
        if not why and _free(path) >= 4096:
            raise
        raise UserError(
            f"{path}: the disk is full{f' ({why.lower()})' * bool(why)}, so this was not written "
            "(what was saved before is whole). "
            "Free some space and repeat the command: it continues from the last checkpoint."
        ) from error


def _free(path: Path) -> int:
    place = next(folder for folder in path.absolute().parents if folder.exists())
    return shutil.disk_usage(place).free


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _sealed(path: Path) -> dict[str, object]:
    sync(path)
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
