"""In which order rows are trained on: shuffled, mixed by weight, and exactly resumable at any moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from truing.records import UserError


class Order:
    """An endless order over one or several datasets; `next(k)` gives the next k (dataset, row), across epoch borders.

    Without weights all rows are one pool, and every row comes exactly once an epoch. With weights each dataset is
    shuffled by itself, and the next row comes from whichever is furthest behind its share, so that every stretch of
    the order holds the mixture. Either way the future depends only on the seed and on how many rows each pool has
    given: these few numbers are the whole state.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None = None, seed: int = 0) -> None:
        if not sizes or min(sizes) < 1:
            raise UserError(f"every dataset of a mixture needs at least one row; they have {list(sizes)}.")
        if weights is not None and (len(weights) != len(sizes) or not min(weights) > 0):
            raise UserError(f"a mixture needs one weight above 0 for each dataset, not {list(weights)}.")
        self.sizes, self.seed = list(sizes), seed
        self.weights = None if weights is None else [float(w / sum(weights)) for w in weights]
        self._pools = [sum(sizes)] if weights is None else self.sizes
        self._shares = np.array(self.weights or [1.0])
        self._starts = np.cumsum([0, *self.sizes])
        self._drawn = np.zeros(len(self._pools), dtype=np.int64)
        self._shuffled: dict[int, tuple[int, np.ndarray]] = {}

    def next(self, k: int) -> list[tuple[int, int]]:
        return [self._draw() for _ in range(k)]

    def state(self) -> dict[str, Any]:
        """Small, and JSON can hold it."""
        return self._identity() | {"drawn": self._drawn.tolist()}

    def load_state(self, state: dict[str, Any]) -> None:
        for key, value in self._identity().items():
            if state[key] != value:
                raise UserError(
                    f"the order cannot continue: its {key} were {state[key]} and are now {value}. "
                    "Give it the data and the settings with which it began, or start anew."
                )
        self._drawn = np.array(state["drawn"], dtype=np.int64)

    def _identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "sizes": self.sizes, "weights": self.weights}

    def _draw(self) -> tuple[int, int]:
        pool = int(np.argmax(self._shares * (self._drawn.sum() + 1) - self._drawn))
        epoch, place = divmod(int(self._drawn[pool]), self._pools[pool])
        self._drawn[pool] += 1
        row = int(self._permutation(pool, epoch)[place])
        if self.weights is not None:
            return pool, row
        dataset = int(np.searchsorted(self._starts, row, side="right")) - 1
        return dataset, row - int(self._starts[dataset])

    def _permutation(self, pool: int, epoch: int) -> np.ndarray:
        if self._shuffled.get(pool, (None,))[0] != epoch:
            shuffled = np.random.default_rng([self.seed, pool, epoch]).permutation(self._pools[pool])
            self._shuffled[pool] = epoch, shuffled
        return self._shuffled[pool][1]


class Draws:
    """An endless order in which a row comes as often as its weight says, with replacement: the k-th draw depends on the
    seed and on k alone."""

    BLOCK = 4096

    def __init__(self, weights: Sequence[Sequence[float]], seed: int = 0) -> None:
        flat = np.concatenate([np.asarray(w, dtype=np.float64) for w in weights])
        if not flat.size or not np.isfinite(flat).all() or flat.min() < 0 or flat.sum() <= 0:
            raise UserError("rows can be drawn by weights that are finite, at least 0, and not all 0.")
        self.sizes, self.seed = [len(w) for w in weights], seed
        self._starts = np.cumsum([0, *self.sizes])
        self._ends = np.cumsum(flat / flat.sum())
        self._drawn = 0
        self._block: tuple[int, np.ndarray] = (-1, np.zeros(0, dtype=np.int64))

    def next(self, k: int) -> list[tuple[int, int]]:
        return [self._draw() for _ in range(k)]

    def state(self) -> dict[str, Any]:
        return {"seed": self.seed, "sizes": self.sizes, "drawn": self._drawn}

    def load_state(self, state: dict[str, Any]) -> None:
        if (state["seed"], state["sizes"]) != (self.seed, self.sizes):
            raise UserError("the order cannot continue: give it the data and the settings with which it began.")
        self._drawn = state["drawn"]

    def _draw(self) -> tuple[int, int]:
        number, place = divmod(self._drawn, self.BLOCK)
        if self._block[0] != number:
            points = np.random.default_rng([self.seed, number]).random(self.BLOCK)
            self._block = number, np.searchsorted(self._ends, points, side="right").clip(max=len(self._ends) - 1)
        self._drawn += 1
        row = int(self._block[1][place])
        dataset = int(np.searchsorted(self._starts, row, side="right")) - 1
        return dataset, row - int(self._starts[dataset])
