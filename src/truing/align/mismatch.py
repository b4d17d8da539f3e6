"""KTO's reference point: how far the policy has gone from the reference on answers to other prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from truing.batch import Group
from truing.data import Cache
from truing.engine.local import LocalEngine
from truing.records import fingerprint


def _others(groups: Sequence[Group]) -> list[Group]:
    """For each group one that answers another prompt: half of the data further on, so that each is taken about once."""
    if len({tuple(g.prompt) for g in groups}) < 2:
        return list(groups)
    every, half = len(groups), len(groups) // 2
    ahead = ((group, (groups[(i + half + k) % every] for k in range(every))) for i, group in enumerate(groups))
    return [next(other for other in others if other.prompt != group.prompt) for group, others in ahead]


def _mixed(group: Group, other: Group, longest: int) -> Group:
    """One's prompt with the other's answers, as far as they fit."""
    room = max(1, longest - len(group.prompt))
    answers, trained = [a[:room] for a in other.answers], [t[:room] for t in other.trained]
    return Group(group.prompt, answers, trained, id=f"{group.id}+{other.id}")


class Mismatch:
    """Each prompt with the answers of another one. The pairing is fixed, so the reference's numbers are constants
    of the data; the policy's are asked at every step, of the whole batch, before any of it is learnt."""

    def __init__(self, engine: LocalEngine, groups: Sequence[Group], folder: Path) -> None:
        self.engine = engine
        for group in groups:
            group.per_answer["label"] = [float(rank == 0) for rank in group.rank or ()]  # good ones rank first
        mixed = [_mixed(g, o, engine.codec.max_tokens) for g, o in zip(groups, _others(groups))]
        self.of = {g.id: m for g, m in zip(groups, mixed)}
        cache = Cache(folder, {"model": engine.fingerprint, "codec": engine.codec.hash, "what": "mismatched"})

        def ask(positions: list[int]) -> list[dict]:
            return [{"sums": s.numpy()} for s in self._sums([mixed[p] for p in positions])]

        keys = [fingerprint([m.prompt, m.answers, m.trained]) for m in mixed]
        self.reference = {m.id: float(f["sums"].sum()) for m, f in zip(mixed, cache.fetch(keys, ask))}

    def measure(self, batch: Sequence[Group]) -> float:
        """max(0, mean of ln π − ln π_ref), written beside every answer of the batch."""
        mixed = [self.of[g.id] for g in batch]
        gone = [float(s.sum()) - self.reference[m.id] for s, m in zip(self._sums(mixed), mixed)]
        answers = sum(len(m.answers) for m in mixed)
        point = max(0.0, sum(gone) / answers)
        for group in batch:
            group.per_answer["reference_point"] = [point] * len(group.answers)
        return point

    def _sums(self, groups: Sequence[Group]) -> list[torch.Tensor]:
        """[answers] ln π of each, for each group."""
        return [torch.stack([t.sum() for t in row]) for row in self.engine.signals(groups, ["logps"])["logps"]]
