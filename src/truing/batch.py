"""The tensor types: Group (a prompt and its answers as tokens), Batch (groups packed for one forward pass), Signals.

Nothing padded leaves here: per-token quantities are flat vectors over the *trained answer tokens* of the batch, in
order (group by group, answer by answer, token by token), and sums per answer or per group are index additions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor

from truing.records import UserError

Unit = Literal["token", "answer", "group"]


@dataclass(slots=True)
class Group:
    """One prompt and its k answers as token ids. Tokenised once; never decoded and encoded again.

    `trained[j]` marks the tokens of answer j that are learnt (False for the other side's turns inside it).
    `per_answer[name]` is a list of k numbers; `per_token[name]` a list of k tensors over the trained tokens of each
    answer (first axis). `rank` orders the answers, 0 = best, ties equal; None where nobody ordered them.
    """

    prompt: list[int]
    answers: list[list[int]]
    trained: list[list[bool]]
    rank: list[int] | None = None
    per_answer: dict[str, list[float]] = field(default_factory=dict)
    per_token: dict[str, list[Tensor]] = field(default_factory=dict)
    per_group: dict[str, float] = field(default_factory=dict)
    id: str = ""
    source: str = ""
    """file and line, for people"""

    @property
    def tree_tokens(self) -> int:
        return len(self.prompt) + sum(map(len, self.answers))


@dataclass(slots=True)
class Batch:
    """Groups laid out for one forward pass.

    tokens, positions  [rows, length]; `tree` is one row without padding, `rows` one right-padded row per answer
    spans              tree: for each group (start, end of prompt, ends of answers…) in the row;
                       rows: (end of prompt, end) of each row
    shared             tree: how many tokens in front of the first group every group sees
    temperature        of the distribution whose log-probabilities are meant
    source             [N] flat index (row * length + column) of the position that predicts trained token n
    own                [N] flat index of the token itself, where it is read and no longer predicted
    target             [N] the token id itself
    answer_of          [N] which answer token n belongs to
    end                [A] flat index of the last token of each answer, where a preference score is read
    group_of           [A] which group an answer belongs to
    rank               [A] 0 = best within its group; -1 where there is no order
    per_*              numbers handed through from the groups: per_token [N, …], per_answer [A], per_group [G]
    """

    layout: Literal["tree", "rows"]
    tokens: Tensor
    positions: Tensor
    spans: list[tuple[int, ...]]
    source: Tensor
    own: Tensor
    target: Tensor
    answer_of: Tensor
    end: Tensor
    group_of: Tensor
    rank: Tensor
    groups: int
    ids: list[str]
    shared: int = 0
    temperature: float = 1.0
    per_token: dict[str, Tensor] = field(default_factory=dict)
    per_answer: dict[str, Tensor] = field(default_factory=dict)
    per_group: dict[str, Tensor] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        return self.end.shape[0]

    def count(self, unit: Unit) -> int:
        """How many units this batch holds: what the engine divides by, summed over the whole step."""
        return {"token": self.target.shape[0], "answer": self.answers, "group": self.groups}[unit]

    def per_answer_sum(self, values: Tensor) -> Tensor:
        """[N] → [A]: Σ_t over the trained tokens of each answer."""
        return values.new_zeros(self.answers).index_add(0, self.answer_of, values)

    def per_group_sum(self, values: Tensor) -> Tensor:
        """[A] → [G]."""
        return values.new_zeros(self.groups).index_add(0, self.group_of, values)

    def lengths(self) -> Tensor:
        """[A] number of trained tokens of each answer."""
        return torch.bincount(self.answer_of, minlength=self.answers)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """All (better, worse) answer indices [P], [P] within a group; ties and unranked answers make no pair."""
        same = self.group_of[:, None] == self.group_of[None, :]
        ranked = (self.rank[:, None] >= 0) & (self.rank[None, :] >= 0)
        better, worse = (same & ranked & (self.rank[:, None] < self.rank[None, :])).nonzero(as_tuple=True)
        return better, worse

    def to(self, device: torch.device | str) -> Batch:
        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device, non_blocking=True)
            if isinstance(value, dict):
                return {k: move(v) for k, v in value.items()}
            return value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass(slots=True)
class Signals:
    """What one forward pass hands to an objective, fp32. Only what the objective `needs` is filled in.

    logps     [N]     log π(token) of each trained token
    entropy   [N]     of the distribution that token was drawn from
    values    [N]     value head at the position *before* each trained token
    scores    [A]     preference head at the end of each answer
    logps_at  [N, K]  log π at the ids in batch.per_token["ids_at"]
    dist      [N, V]  all log-probabilities; only for small vocabularies and exact checks
    hidden    [N, d]  last hidden state at the position before each trained token
    """

    logps: Tensor | None = None
    entropy: Tensor | None = None
    values: Tensor | None = None
    scores: Tensor | None = None
    logps_at: Tensor | None = None
    dist: Tensor | None = None
    hidden: Tensor | None = None

    def __getitem__(self, name: str) -> Tensor:
        """A signal the reader cannot do without."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise ValueError(f"the forward pass was not asked for {name!r}: an objective lists it in `needs`")
        return value


# name → (sum, count), detached: means are taken at log time over everything that was added up.
Metrics = dict[str, tuple[Tensor, Tensor | int]]


def tally(values: Tensor) -> tuple[Tensor, int]:
    """One metric, from the values it is the mean of."""
    return values.detach().sum(), values.numel()


@dataclass(frozen=True, slots=True)
class Objective:
    """A pure function from signals to one loss per unit. The engine divides the sum by the step's global unit count.

    `needs` names the signals of the forward pass, `reads` the numbers of the data (per token, answer or group).
    """

    name: str
    unit: Unit
    needs: frozenset[str]
    function: Callable[[Signals, Batch], tuple[Tensor, Metrics]]
    reads: frozenset[str] = frozenset()

    def __call__(self, signals: Signals, batch: Batch) -> tuple[Tensor, Metrics]:
        missing = self.reads - batch.per_token.keys() - batch.per_answer.keys() - batch.per_group.keys()
        if missing:
            raise UserError(f"objective {self.name} reads {', '.join(sorted(missing))}, which the data do not carry.")
        return self.function(signals, batch)
