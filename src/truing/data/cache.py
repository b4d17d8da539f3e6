"""A cache of what a frozen model says about fixed text: computed once, found again by content.

Reference log-probs, values and rewards of fixed data are constants. They are kept for each example on its own, under a
key that says everything they depend on (model fingerprint, template, quantity), so that another order, a subset or a
longer file finds what is there and only the rest is computed. Chunks are stored as they are done: a pass that was
killed goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from truing.data.files import replaced
from truing.records import UserError, fingerprint

Arrays = Mapping[str, np.ndarray]


class Cache:
    """Arrays by example id, under one key. `hits` and `misses` count what was asked for.

    Example: `Cache(folder, {"model": model.fingerprint, "what": "logps"}).fetch(ids, compute)`.
    """

    def __init__(self, folder: str | Path, key: Mapping[str, Any]) -> None:
        self.folder = Path(folder) / fingerprint(dict(key))
        self.hits = self.misses = 0
        self._file_of: dict[str, Path] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            self._file_of |= dict.fromkeys(_ids(file), file)

    def fetch(
        self, ids: Sequence[str], compute: Callable[[list[int]], Sequence[Arrays]], chunk: int = 1024
    ) -> list[Arrays]:
        """One set of named arrays for each id. `compute` gets the positions of those that are not here yet."""
        missing = list({id: position for position, id in enumerate(ids) if id not in self._file_of}.values())
        self.misses += len(missing)
        self.hits += len(ids) - len(missing)
        for start in range(0, len(missing), chunk):
            positions = missing[start : start + chunk]
            self._store([ids[p] for p in positions], compute(positions))
        wanted = set(ids)
        found: dict[str, Arrays] = {}
        for file in {self._file_of[id] for id in wanted}:
            found |= {id: arrays for id, arrays in _load(file).items() if id in wanted}
        return [found[id] for id in ids]

    def _store(self, ids: list[str], computed: Sequence[Arrays]) -> None:
        if len(computed) != len(ids):
            raise ValueError(f"{len(ids)} results were asked for and {len(computed)} came")
        tensors = {}
        for name in computed[0]:
            parts = [np.asarray(arrays[name]) for arrays in computed]
            tensors[name] = np.concatenate(parts)
            tensors[f"{name}:lengths"] = np.array([len(part) for part in parts], dtype=np.int64)
        file = self.folder / f"{fingerprint(ids)}.safetensors"
        with replaced(file) as draft:
            save_file(tensors, draft, metadata={"ids": json.dumps(ids)})
        self._file_of |= dict.fromkeys(ids, file)


def sweep(folder: Path) -> None:
    """Remove what a process that was killed was writing. For a folder that nobody shares."""
    for draft in folder.rglob(".*.writing"):
        draft.unlink()


def _ids(file: Path) -> list[str]:
    try:
        with safe_open(file, "np") as opened:
            return json.loads(opened.metadata()["ids"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} is damaged ({error}). Delete it: what it held is computed again.") from error


def _load(file: Path) -> dict[str, Arrays]:
    """The arrays of a file, those of one name concatenated, cut apart again."""
    tensors = load_file(file)
    pieces = {
        name: np.split(array, np.cumsum(tensors[f"{name}:lengths"])[:-1])
        for name, array in tensors.items()
        if not name.endswith(":lengths")
    }
    return {id: {name: piece[i] for name, piece in pieces.items()} for i, id in enumerate(_ids(file))}
