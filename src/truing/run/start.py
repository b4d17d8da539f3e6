"""What is settled before the first step: the folder is ours alone, and it is new or holds this very run."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from truing.records import UserError
from truing.run.checkpoint import write_text
from truing.run.view import MANIFEST, RECIPE, differing_keys

PACKAGES = ("truing", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy")


def make_folder(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w.+=-]*", name):
        raise UserError(f"{name!r} cannot be a run's name: use letters, digits and . _ - + = (it names a folder).")
    place = folder / name
    try:
        (place / "checkpoints").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place} cannot be used as a run folder: {error.strerror}.") from None
    return place


class Lock:
    """One process per folder. The lock belongs to the open file, so it dies with its process, however that dies."""

    def __init__(self, place: Path) -> None:
        self._handle = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._handle, 1000).decode(errors="replace").strip() or "another process"
            os.close(self._handle)
            raise UserError(
                f"{place} is in use by {holder}. Wait for it or end it, or give this run another name."
            ) from None
        except OSError as error:
            os.close(self._handle)
            raise UserError(f"{place} cannot be locked ({error.strerror}): put runs on a local disk.") from None
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def begin_or_check(
    place: Path, recipe_yaml: str, recipe_hash: str, about: Mapping[str, Any]
) -> tuple[dict[str, Any], bool]:
    """(manifest, whether the run was there before). Refuses to mix two different runs in one folder."""
    path = place / MANIFEST
    known = path.exists()
    if known:
        try:
            manifest = json.loads(path.read_text("utf-8"))
        except ValueError:
            raise UserError(f"{path} is not JSON. Was it edited? Remove the folder to begin anew.") from None
        if manifest.get("recipe_hash") != recipe_hash:
            raise _another_run(place, recipe_yaml, manifest, about)
    else:
        manifest = json.loads(json.dumps({**about, "recipe_hash": recipe_hash, **describe_machine()}, default=str))
    if "finished" not in manifest:
        write_text(place / RECIPE, recipe_yaml)  # keys that do not change the result may have changed
    if not known:
        write_text(path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return manifest, known


def _another_run(place: Path, recipe_yaml: str, manifest: Mapping[str, Any], about: Mapping[str, Any]) -> UserError:
    old = yaml.safe_load((place / RECIPE).read_text("utf-8")) if (place / RECIPE).exists() else {}
    new = yaml.safe_load(recipe_yaml)
    keys = differing_keys(old if isinstance(old, dict) else {}, new if isinstance(new, dict) else {})
    keys += [
        f"fingerprint of {key}" for key in differing_keys(*(m.get("fingerprints") or {} for m in (manifest, about)))
    ]
    what = f"a different recipe: {', '.join(keys)} differ{'s' if len(keys) == 1 else ''}" if keys else "another recipe"
    return UserError(f"{place} holds a run with {what}. Give this run another name, or remove the folder.")


def describe_machine() -> dict[str, Any]:
    """Versions, machine and commit. Nothing of the user's but the commit of the folder the command ran in."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    machine = {
        "host": socket.gethostname(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    return {"versions": versions, "machine": machine, "git": _git_commit()}


def _processor() -> str:
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _git_commit() -> dict[str, Any] | None:
    def git(*words: str) -> str:
        result = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None  # no git, or not in a repository
