"""What a run spends on what: seconds, answers through the model forward and backward, tokens sampled.

A forward pass of one answer behind its prompt is 1 F, the backward pass 2 F: imitation costs 3 F an answer.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from truing.engine.local import LocalEngine
from truing.run import Run

BACKWARD = 2  # F


class Ledger:
    """Kept in a run's checkpoints: what was done after the last one, and has to be done again, is not counted twice."""

    def __init__(self, *engines: LocalEngine) -> None:
        self.engines = engines
        self.phases: dict[str, Counter[str]] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase inside another one is taken out of it."""
        began, before = time.monotonic(), self._passed()
        inner = self._total()
        try:
            yield
        finally:
            spent = self._passed()
            spent.subtract(before)
            spent["seconds"] = time.monotonic() - began  # type: ignore[assignment]
            nested = self._total()
            nested.subtract(inner)
            spent.subtract(nested)
            self.phases.setdefault(name, Counter()).update(spent)

    def state(self) -> dict[str, dict[str, float]]:
        return {name: dict(spent) for name, spent in self.phases.items()}

    def load_state(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self.phases = {name: Counter(spent) for name, spent in state.items()}  # type: ignore[arg-type]

    def close(self, run: Run) -> None:
        told = {
            name: {key: round(value, 3) for key, value in spent.items() if value}
            | {"F": spent["forward"] + BACKWARD * spent["backward"]}
            for name, spent in self.phases.items()
        }
        run.event("ledger", phases=told)

    @staticmethod
    def read(run: Run) -> dict[str, dict[str, float]]:
        """What a run that is finished has spent in each phase."""
        return dict(next(event["phases"] for event in run.view().events if event["event"] == "ledger"))

    def _passed(self) -> Counter[str]:
        found = Counter[str]()
        for engine in self.engines:
            found.update(engine.passed)
        return found

    def _total(self) -> Counter[str]:
        found = Counter[str]()
        for spent in self.phases.values():
            found.update(spent)
        return found
