"""What the reference model's own answer to a prompt is worth, before it is given: V(x), a small head on its states.

    V(x) = low + (high − low) · σ(w · pool(h_1 … h_n) + b)         fitted by squared error to rewards of its answers

(Baheti et al., arXiv 2305.14718.) The pool is attention with one learnt query per head over the states of the prompt,
or their mean before a hidden layer. Where rewards have no bounds there is no σ. The head is fitted to prompts that
nothing else is learnt from; a fifth of them says after which epoch it was best, and another fifth how good that is,
beside a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from truing.batch import Group
from truing.engine.local import LocalEngine
from truing.records import UserError
from truing.schema import Mistake, at_least

DROPOUT, PART = 0.1, 0.2  # a part of the prompts chooses the epoch, another one tests
BATCH = 64  # prompts


@dataclass(frozen=True)
class Value:
    """How the value of a prompt is estimated."""

    head: Literal["attention", "mlp"] = "attention"
    samples: int = 4
    """answers of the reference to each prompt, whose mean reward is learnt"""
    greedy: bool = False
    """its one likeliest answer instead: the value of that, which is higher than the mean"""
    max_tokens: int = 128
    """longest of these answers"""
    prompts: float = 0.1
    """share of the conversations that is set apart for this"""
    epochs: int = 40
    lr: float = 1e-3

    def __post_init__(self) -> None:
        at_least(self, 1, "samples", "max_tokens", "epochs")
        if not 0 < self.prompts < 1:
            raise Mistake(("prompts",), "must lie between 0 and 1.")
        if not 0 < self.lr < 1:
            raise Mistake(("lr",), "must lie between 0 and 1.")


class AttentionPool(nn.Module):
    """One learnt query attends to all states of a prompt. Nothing is said of padding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.zeros(width))
        self.project = nn.ModuleDict({name: nn.Linear(width, width) for name in ("q", "k", "v", "out")})

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        """[B, n, d], [B, n] → [B, d]."""
        batch, _, width = states.shape
        query = self.project["q"](self.query).expand(batch, 1, width)
        q, k, v = (
            x.view(batch, -1, self.heads, width // self.heads).transpose(1, 2)
            for x in (query, self.project["k"](states), self.project["v"](states))
        )
        pooled = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=inside[:, None, None, :])
        return self.project["out"](pooled.transpose(1, 2).reshape(batch, width))


class MeanPool(nn.Module):
    """The mean of a prompt's states, and a hidden layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(width, width), nn.ReLU())

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        mean = (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
        return self.layer(mean)


class Head(nn.Module):
    """`scale`: mean and spread of what it learns, where that has no bounds."""

    def __init__(
        self,
        pool: nn.Module,
        width: int,
        bounds: tuple[float, float] | None,
        dropout: float = DROPOUT,
        scale: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.pool, self.out, self.drop = pool, nn.Linear(width, 1), nn.Dropout(dropout)
        self.bounds, self.scale = bounds, scale

    def forward(self, states: Tensor, inside: Tensor) -> Tensor:
        raw = self.out(self.drop(self.pool(self.drop(states), inside))).squeeze(-1)
        if self.bounds is None:
            return self.scale[0] + self.scale[1] * raw
        low, high = self.bounds
        return low + (high - low) * raw.sigmoid()


class Tested(NamedTuple):
    """The squared error on prompts that a head has not seen, beside that of a constant: the mean of those that it
    has."""

    error: float = 0.0
    constant: float = 0.0

    @property
    def r2(self) -> float:
        """Below 0 where the constant is better."""
        return 1 - self.error / self.constant if self.constant else 0.0


@dataclass(frozen=True)
class Fitted:
    """A head, or a constant where none is better than that."""

    head: Head | float
    mean: Tensor
    spread: Tensor
    test: Tested = field(default_factory=Tested)

    @torch.no_grad()
    def __call__(self, states: Sequence[Tensor]) -> np.ndarray:
        if isinstance(self.head, float):
            return np.full(len(states), self.head)
        self.head.eval()
        parts = [states[i : i + BATCH] for i in range(0, len(states), BATCH)]
        found = [self.head(*padded(part, self.mean, self.spread)) for part in parts]
        return torch.cat(found).double().numpy() if found else np.zeros(0)


def prompt_states(engine: LocalEngine, prompts: Sequence[list[int]]) -> list[Tensor]:
    """[n, d] the last hidden states of the tokens of each prompt, on the CPU. A prompt is read as an answer to nothing,
    with one more token behind it, because states are those before a token."""
    groups = []
    for number, ids in enumerate(prompts):
        groups.append(Group(ids[:1], [[*ids[1:], ids[-1]]], [[True] * len(ids)], id=str(number)))
    return [answers[0].float().cpu() for answers in engine.signals(groups, ["hidden"])["hidden"]]


def padded(states: Sequence[Tensor], mean: Tensor, spread: Tensor) -> tuple[Tensor, Tensor]:
    """Standardised states [B, n, d], and which of them are there."""
    lengths = torch.tensor([len(s) for s in states])
    inside = torch.arange(int(lengths.max())) < lengths[:, None]
    filled = nn.utils.rnn.pad_sequence([(s - mean) / spread for s in states], batch_first=True)
    return filled, inside


def fit(
    states: Sequence[Tensor], targets: Sequence[float], settings: Value, bounds: tuple[float, float] | None, seed: int
) -> Fitted:
    """The head of the epoch that was best on one part, and its error on another. Where the mean is better on the one,
    it is the mean."""
    count, width = len(states), states[0].shape[1] if states else 0
    part = round(PART * count)
    if part < 2:
        raise UserError(f"value: {count} prompts are too few to estimate it; set more apart with value.prompts.")
    random = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=random).tolist()
    tested, chosen, known = order[:part], order[part : 2 * part], order[2 * part :]
    y = torch.tensor(targets, dtype=torch.float32)
    every = torch.cat([states[i] for i in known])
    mean, spread = every.mean(0), every.std(0).clamp(min=1e-6)
    level, width_of = float(y[known].mean()), float(y[known].std().clamp(min=1e-6))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = _new(settings, width, bounds, (level, width_of))
        found = _train(head, states, y, known, chosen, settings, (mean, spread), random)
    fitted = Fitted(head if found else level, mean, spread)
    error = float(np.mean((fitted([states[i] for i in tested]) - y[tested].numpy()) ** 2))
    constant = float(((y[tested] - level) ** 2).mean())
    return replace(fitted, test=Tested(error, constant))


def _new(settings: Value, width: int, bounds: tuple[float, float] | None, scale: tuple[float, float]) -> Head:
    heads = next(h for h in (8, 4, 2, 1) if width % h == 0)
    pool = AttentionPool(width, heads) if settings.head == "attention" else MeanPool(width)
    return Head(pool, width, bounds, scale=scale)


def _train(
    head: Head,
    states: Sequence[Tensor],
    y: Tensor,
    known: list[int],
    chosen: list[int],
    settings: Value,
    scale: tuple[Tensor, Tensor],
    random: torch.Generator,
) -> bool:
    """Leaves the head as it was after its best epoch. Whether any was better than the mean of what it learns from."""
    optimiser = torch.optim.AdamW(head.parameters(), lr=settings.lr)
    best: dict[str, Tensor] = {}
    least = float(((y[chosen] - y[known].mean()) ** 2).mean())
    held = padded([states[i] for i in chosen], *scale)
    for _ in range(settings.epochs):
        head.train()
        shuffled = [known[i] for i in torch.randperm(len(known), generator=random).tolist()]
        for start in range(0, len(shuffled), BATCH):
            part = shuffled[start : start + BATCH]
            loss = ((head(*padded([states[i] for i in part], *scale)) - y[part]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        head.eval()
        with torch.no_grad():
            error = float(((head(*held) - y[chosen]) ** 2).mean())
        if error < least:
            least, best = error, {name: value.clone() for name, value in head.state_dict().items()}
    if best:
        head.load_state_dict(best)
    return bool(best)
