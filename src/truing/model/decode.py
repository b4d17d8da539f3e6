"""The sampler: n answers to each prompt, with the log-probability (and value) of every token drawn.

Each distinct prompt goes through the model once; its keys and values are copied to the rows of its n answers. Rows that
finish leave at once and waiting answers take their place. A token is drawn by inverting the cumulative distribution at
a uniform number that is a hash of (seed, prompt, number of the answer, number of the token): a sample does not know its
neighbours, and neither batch size nor order changes it (up to rounding, so in fp32).

`logps` are log softmax(logits / T) at the temperature T of sampling, before top-k and top-p cut anything off: what
teacher forcing at the same temperature gives. Greedy sampling (T = 0) records them at T = 1.
"""

from __future__ import annotations

import hashlib
import math
import struct
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from truing.model.cache import Prefix, Rows
from truing.records import Sampling, UserError

Stop = Callable[[Sequence[int]], int | None]

PREFILL_TOKENS = 4096  # prompt tokens of one prefill, padding included
STOP_EVERY = 8  # steps between two looks for stop texts: what was drawn past one is cut off, and cost little


@dataclass(frozen=True, slots=True)
class Sampled:
    """One answer. `ids` as drawn, end marker included; `values[t]` is read where token t is predicted."""

    ids: list[int]
    logps: list[float]
    finish: Literal["end", "stop", "length"]
    values: list[float] | None = None


@dataclass(slots=True, eq=False)
class _Prompt:
    ids: tuple[int, ...]
    number: int
    answers: list[Any]
    pending: deque[int]
    prefix: Prefix | None = None
    prefix_row: int = 0


@dataclass(slots=True)
class _Row:
    prompt: _Prompt
    index: int
    key: int
    begun: int
    """column of the prompt's last token, from which the answer's first token is predicted"""
    keep: int | None = None


def stop_at(texts: Sequence[str], decode: Callable[[Sequence[int]], str]) -> Stop | None:
    """Where an answer ends that contains one of these texts: after the token that completes it."""

    def find(ids: Sequence[int]) -> int | None:
        def hit(count: int) -> bool:
            text = decode(ids[:count])
            return any(stop in text for stop in texts)

        return bisect_left(range(len(ids)), True, key=hit) if hit(len(ids)) else None

    return find if texts else None


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_ids: Collection[int],
    stop: Stop | None = None,
    value_head: nn.Module | None = None,
    max_rows: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Sampled]]:
    """For each prompt its n answers. `on_progress` hears how many have just been finished."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    asked: dict[tuple[int, ...], _Prompt] = {}
    for number, ids in enumerate(prompts):
        new = _Prompt(tuple(ids), number, [None] * sampling.n, deque(range(sampling.n)))
        asked.setdefault(new.ids, new)
    _check_room(base, asked.values(), sampling.max_tokens)
    was_training = base.training
    base.eval()
    try:
        _Sampler(base, sampling, end_ids, stop, value_head, max_rows, on_progress).run(asked.values())
    finally:
        base.train(was_training)
    return [asked[tuple(ids)].answers for ids in prompts]


def _check_room(base: Any, prompts: Collection[_Prompt], max_tokens: int) -> None:
    room = getattr(base.config.get_text_config(), "max_position_embeddings", None)
    for prompt in prompts:
        if not prompt.ids:
            raise UserError(f"Prompt {prompt.number} is empty: a model needs at least one token to continue.")
        if room is not None and len(prompt.ids) + max_tokens > room:
            raise UserError(
                f"Prompt {prompt.number} has {len(prompt.ids)} tokens and max_tokens is {max_tokens}, but the model "
                f"has only {room} positions: shorten the prompt or lower max_tokens."
            )


class _Sampler:
    """Up to `size` answers being written. Slot r of the cache belongs to rows[r]; living rows are kept in front."""

    def __init__(
        self,
        base: Any,
        sampling: Sampling,
        end_ids: Collection[int],
        stop: Stop | None,
        value_head: nn.Module | None,
        max_rows: int,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        self.base, self.sampling, self.stop, self.value_head = base, sampling, stop, value_head
        self.size, self.on_progress = max_rows, on_progress or (lambda finished: None)
        self.device = next(base.parameters()).device
        self.ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=self.device)
        self.end_ids = frozenset(end_ids)
        self.steps = 0

    def run(self, prompts: Collection[_Prompt]) -> None:
        # Longest first: rows of similar length share the pool, and no later prompt can be longer than a living row.
        self.waiting = deque(sorted(prompts, key=lambda p: -len(p.ids)))
        if not self.waiting:
            return
        self.size = min(self.size, sum(len(p.pending) for p in self.waiting))
        longest = len(self.waiting[0].ids) + self.sampling.max_tokens
        self._prefill()
        assert self.waiting[0].prefix
        self.cache = Rows(self.waiting[0].prefix, self.size, longest)
        self.cache.end = len(self.waiting[0].ids) - 1
        shape = (self.size, self.sampling.max_tokens)
        self.ids = torch.zeros(shape, dtype=torch.long, device=self.device)
        self.logps, self.values = torch.zeros(2, *shape, device=self.device)
        self.token = torch.zeros(self.size, dtype=torch.long, device=self.device)
        self.rows: list[_Row | None] = [None] * self.size
        self._turn_over([])
        with _last_hidden(self.base, self.value_head) as hidden:
            while self.rows:
                self._step(hidden)

    def _prefill(self) -> None:
        """Run the next prompts through the model, as many as fit a prefill."""
        batch: list[_Prompt] = []
        for prompt in self.waiting:
            if batch and (len(batch) + 1) * len(batch[0].ids) > PREFILL_TOKENS:
                break
            batch.append(prompt)
        prefix = Prefix(self.base.base_model, [p.ids for p in batch], self.device)
        for row, prompt in enumerate(batch):
            prompt.prefix, prompt.prefix_row = prefix, row

    def _step(self, hidden: list[Tensor]) -> None:
        """One token for every living row."""
        cache, live = self.cache, len(self.rows)
        first, begun, key = self.state
        columns = torch.arange(cache.start, cache.end + 1, device=self.device)
        drawn = cache.end - begun
        logits = self.base(
            input_ids=self.token[:live, None],
            attention_mask=columns >= first[:, None],
            position_ids=(cache.end - first)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        token, logp = draw(logits, self.sampling, uniform(key, drawn))
        self.token[:live] = token
        at = (torch.arange(live, device=self.device), drawn)
        self.ids[at], self.logps[at] = token, logp
        if self.value_head is not None:
            self.values[at] = self.value_head(hidden[0][:, -1]).float()[:, 0]
        cache.end += 1
        done = self._ended(token, drawn) | (drawn == self.sampling.max_tokens - 1) | ~logp.isfinite()
        finished = done.nonzero()[:, 0].tolist()
        self.steps += 1
        if finished or cache.end == cache.width or (self.stop and self.steps % STOP_EVERY == 0):
            self._turn_over(finished)

    def _ended(self, token, drawn):
        return torch.isin(token, self.ends)

    def _turn_over(self, finished: list[int]) -> None:
        """Finished rows leave, waiting answers take their slots, the slots still empty are closed from the back."""
        self._harvest(finished, True)
        if self.stop and self.steps % STOP_EVERY == 0:
            self._harvest([r for r, row in enumerate(self.rows) if row])
        if sum(r is not None for r in self.rows) <= REFILL * self.size:
            if self.waiting: self.rows += [None]*(self.size-len(self.rows))
            self._fill([r for r, row in enumerate(self.rows) if row is None])
        self._close()
        if self.rows:
            self.cache.start = min(row.begun - len(row.prompt.ids) + 1 for row in self.rows if row)
            by = self.cache.shift()
            for row in self.rows:
                row.begun -= by
            state = [[r.begun - len(r.prompt.ids) + 1, r.begun, r.key] for r in self.rows]
            self.state = torch.tensor(state, device=self.device).T.contiguous()

    def _harvest(self, slots: list[int], finished=False) -> None:
        if not slots:
            return
        at = torch.tensor(slots, device=self.device)
        columns = [self.ids[at].tolist(), self.logps[at].tolist(), self.values[at].tolist()]
        ended = 0
        for slot, ids, logps, values in zip(slots, *columns):
            row = self.rows[slot]
            count = self.cache.end - row.begun
            ids = ids[:count]
            is_end = ids[-1] in self.end_ids
            full = is_end or count == self.sampling.max_tokens
            kept = self.stop(ids[: count - is_end]) if self.stop else None
            if kept is None and not full and not finished:
                if not all(map(math.isfinite, logps[:count])):
                    raise UserError(f"Prompt {row.prompt.number} got logits that are not finite")
                continue
            finish = "stop" if kept is not None else "end" if is_end else "length"
            count = count if kept is None else kept
            row.prompt.answers[row.index] = Sampled(ids[:count], logps[:count], finish, values[:count] if self.value_head is not None else None)
            self.rows[slot] = None
            ended += 1
        if ended:
            self.on_progress(ended)

    def _fill(self, holes: list[int]) -> None:
        if len(holes) == len(self.rows) and self.waiting:
            self.cache.start = self.cache.end = len(self.waiting[0].ids) - 1
        while holes and self.waiting:
            prompt = self.waiting[0]
            if prompt.prefix is None:
                self._prefill()
            slots = holes[: len(prompt.pending)]
            holes = holes[len(slots) :]
            self.cache.place(slots, prompt.prefix, prompt.prefix_row, len(prompt.ids) - 1)
            self.token[slots] = prompt.ids[-1]
            for slot in slots:
                index = prompt.pending.popleft()
                self.rows[slot] = _Row(prompt, index, stream(self.sampling.seed, prompt.ids, index), self.cache.end)
            if not prompt.pending:
                self.waiting.popleft().prefix = None

    def _close(self) -> None:
        live = sum(row is not None for row in self.rows)
        target = [r for r, row in enumerate(self.rows[:live]) if row is None]
        source = [r for r, row in enumerate(self.rows) if row is not None and r >= live]
        if source:
            s, t = torch.tensor(source, device=self.device), torch.tensor(target, device=self.device)
            self.cache.move(s, t)
            for x in (self.token, self.ids, self.logps, self.values):
                x[t] = x[s]
            for a, b in zip(source, target):
                self.rows[b] = self.rows[a]
        del self.rows[live:]


@contextmanager
def _last_hidden(base: Any, wanted: Any) -> Iterator[list[Tensor]]:
    hidden: list[Tensor] = []
    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden[:] = inputs[:1]
    hook = base.get_output_embeddings().register_forward_pre_hook(keep) if wanted is not None else None
    try:
        yield hidden
    finally:
        if hook:
            hook.remove()


def stream(seed: int, prompt: Sequence[int], index: int) -> int:
    data = struct.pack(f"<qq{len(prompt)}q", seed, index, *prompt)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little", signed=True)


def _signed(x): return x - (1 << 64) if x >= 1 << 63 else x
GOLD, MIX1, MIX2 = map(_signed, (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def uniform(key: Tensor, step: Tensor) -> Tensor:
    def shifted(x: Tensor, by: int) -> Tensor:
        return (x >> by) & ((1 << (64 - by)) - 1)
    x = key + (step + 1) * GOLD
    x = (x ^ shifted(x, 30)) * MIX1
    x = (x ^ shifted(x, 27)) * MIX2
    return shifted(x ^ shifted(x, 31), 41) * 2.0**-23


def draw(logits: Tensor, sampling: Sampling, uniform: Tensor) -> tuple[Tensor, Tensor]:
    scaled = logits.float()
    if sampling.temperature not in (0.0, 1.0):
        scaled = scaled / sampling.temperature
    peak, likeliest = scaled.max(dim=1, keepdim=True)
    shifted = scaled - peak
    weights = shifted.exp()
    total = weights.sum(1, keepdim=True)
    token = likeliest
    if sampling.temperature > 0:
        truncate(weights, sampling)
        heap = weights.cumsum(1)
        token = torch.searchsorted(heap, uniform[:, None] * heap[:, -1:], right=True).clamp_(max=heap.shape[1] - 1)
        token = torch.where(weights.gather(1, token) > 0, token, likeliest)
    return token[:, 0], (shifted.gather(1, token) - total.log())[:, 0]


def truncate(weights: Tensor, sampling: Sampling) -> None:
    if 0 < sampling.top_k < weights.shape[1]:
        weights.masked_fill_(weights < weights.topk(sampling.top_k).values[:, -1:], 0.0)
    if sampling.top_p < 1.0:
        ordered = weights.sort(dim=1, descending=True).values
        before = ordered.cumsum(1) - ordered
        count = (before < sampling.top_p * ordered.sum(1, keepdim=True)).sum(1, keepdim=True)
        weights.masked_fill_(weights < ordered.gather(1, count - 1), 0.0)
