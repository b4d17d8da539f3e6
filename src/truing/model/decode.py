"""The sampler: n answers to each prompt, with the log-probability (and the value) of every token drawn.

Each distinct prompt goes through the model once; its keys and values are copied to the rows of its n answers. A row
that finishes leaves at once and a waiting answer takes its place. A sample depends on (seed, prompt, its number among
the n) and on nothing else: not on its neighbours, the batch size or the order of prompts (up to rounding, so in fp32).
A prompt that is asked twice is answered once.

`logps` are log softmax(logits / T) at the temperature T of sampling, before top-k and top-p cut anything off: what
teacher forcing at the same temperature gives. Greedy sampling (T = 0) records them at T = 1.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from truing.model.cache import Prefix, Rows
from truing.model.draw import draw, stream_key, uniform
from truing.records import Sampling, UserError

PREFILL_TOKENS = 4096  # prompt tokens in one prefill, padding included
STOP_EVERY = 8  # steps between two looks for stop texts; what was drawn beyond one is cut off again


@dataclass(frozen=True, slots=True)
class Sampled:
    """One answer. `ids` as drawn, with the end marker or stop text; `values[t]` is read where token t is predicted."""

    ids: list[int]
    logps: list[float]
    finish: Literal["end", "stop", "length"]
    values: list[float] | None = None


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_ids: Collection[int],
    decode: Callable[[list[int]], str] | None = None,
    value_head: nn.Module | None = None,
    max_rows: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Sampled]]:
    """For each prompt its n answers.

    `model` is a causal LM of transformers, possibly wrapped by peft. `decode` turns ids into text, where there are stop
    texts to look for. At most `max_rows` answers are written at a time. `on_progress` hears how many have just finished.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    asked = {tuple(ids): _Prompt(tuple(ids), number, sampling.n) for number, ids in reversed([*enumerate(prompts)])}
    _check(base, sampling, asked.values())
    sampler = _Sampler(base, sampling, end_ids, decode, value_head, on_progress)
    was_training = base.training
    base.eval()
    try:
        sampler.run(asked.values(), max_rows)
    finally:
        base.train(was_training)
    return [asked[tuple(ids)].answers for ids in prompts]


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop text in it."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]


class _Prompt:
    """A prompt, the numbers of its answers that nobody has begun, and those that are done."""

    def __init__(self, ids: tuple[int, ...], number: int, n: int) -> None:
        self.ids, self.number, self.waiting = ids, number, deque(range(n))
        self.answers: list[Any] = [None] * n
        self.prefix: tuple[Prefix, int] | None = None


@dataclass(slots=True)
class _Row:
    """An answer being written. `begun` is the column of the prompt's last token, which predicts the first of ours."""

    prompt: _Prompt
    index: int
    key: int
    begun: int

    @property
    def first(self) -> int:
        return self.begun - len(self.prompt.ids) + 1


class _Sampler:
    """Slot r of the cache, and of the tensors beside it, belongs to rows[r]; between steps no slot is empty."""

    def __init__(
        self,
        base: Any,
        sampling: Sampling,
        end_ids: Collection[int],
        decode: Callable[[list[int]], str] | None,
        value_head: nn.Module | None,
        on_progress: Callable[[int], None] | None,
    ) -> None:
        if sampling.stop and decode is None:
            raise TypeError("stop texts need `decode` to be found")
        self.base, self.sampling, self.decode, self.value_head = base, sampling, decode, value_head
        self.on_progress = on_progress
        self.device = next(base.parameters()).device
        self.end_ids = frozenset(end_ids)
        self.ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=self.device)
        self.steps = 0

    def run(self, prompts: Collection[_Prompt], max_rows: int) -> None:
        # Longest first: rows of one time are of similar length, and no waiting prompt is longer than a living row.
        self.waiting = deque(sorted(prompts, key=lambda prompt: -len(prompt.ids)))
        if not self.waiting:
            return
        size = min(max_rows, self.sampling.n * len(prompts))
        like, _ = self._prefix(self.waiting[0])
        self.cache = Rows(like, size, len(self.waiting[0].ids) + self.sampling.max_tokens)
        shape = (size, self.sampling.max_tokens)
        self.token = torch.zeros(size, dtype=torch.long, device=self.device)
        self.ids = torch.zeros(shape, dtype=torch.long, device=self.device)
        self.logps = torch.zeros(shape, device=self.device)
        self.values = torch.zeros(shape if self.value_head is not None else (size, 0), device=self.device)
        self.rows: list[Any] = [None] * size
        self._refill()
        with _last_hidden(self.base, self.value_head is not None) as hidden:
            while self.rows:
                self._turn_over(self._step(hidden))

    def _step(self, hidden: list[Tensor]) -> list[int]:
        """One token for every row. Returns the slots of those that have finished."""
        cache, live = self.cache, len(self.rows)
        first, begun, key = self.places
        logits = self.base(
            input_ids=self.token[:live, None],
            attention_mask=torch.arange(cache.start, cache.end + 1, device=self.device) >= first[:, None],
            position_ids=(cache.end - first)[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        drawn = cache.end - begun
        token, logps = draw(logits, self.sampling, uniform(key, drawn))
        at = torch.arange(live, device=self.device), drawn
        self.token[:live], self.ids[at], self.logps[at] = token, token, logps
        if self.value_head is not None:
            self.values[at] = self.value_head(hidden[0][:, -1]).float()[:, 0]
        cache.end += 1
        self.steps += 1
        finished = self._ended(token, drawn) | (drawn == self.sampling.max_tokens - 1) | ~logps.isfinite()
        return finished.nonzero()[:, 0].tolist()

    def _ended(self, token: Tensor, drawn: Tensor) -> Tensor:
        return torch.isin(token, self.ends)

    def _turn_over(self, finished: list[int]) -> None:
        """Answers that have ended leave, waiting ones take their slots."""
        look = bool(self.sampling.stop) and self.steps % STOP_EVERY == 0
        if look or (finished and self.sampling.stop):
            kept = self._stops(range(len(self.rows)) if look else finished)
            finished = sorted({*finished, *kept})
        else:
            kept = {}
        if finished:
            self._harvest(finished, kept)
            self._refill()
        elif self.cache.end == self.cache.width:
            self._settle()

    def _stops(self, slots: Sequence[int]) -> dict[int, int]:
        """The slots whose answers contain a stop text, and how many tokens it takes to contain it."""
        assert self.decode
        kept = {}
        for slot, ids in zip(slots, self.ids[list(slots)].tolist()):
            ids = ids[: self.cache.end - self.rows[slot].begun]
            ids = ids[:-1] if ids[-1] in self.end_ids else ids

            def stopped(count: int, ids: list[int] = ids) -> bool:
                text = self.decode(ids[:count])  # type: ignore[misc]
                return cut(text, self.sampling.stop) != text

            if stopped(len(ids)):
                kept[slot] = bisect_left(range(len(ids)), True, key=stopped)
        return kept

    def _harvest(self, slots: list[int], kept: dict[int, int]) -> None:
        for slot, ids, logps, values in zip(slots, *(x[slots].tolist() for x in (self.ids, self.logps, self.values))):
            row = self.rows[slot]
            drawn = self.cache.end - row.begun
            if not math.isfinite(logps[drawn - 1]):
                raise UserError(
                    f"The model gives logits that are not finite for token {drawn} of answer {row.index} to prompt "
                    f"{row.prompt.number}: its weights are broken or overflow in {self.base.dtype}."
                )
            ended: Literal["end", "length"] = "end" if ids[drawn - 1] in self.end_ids else "length"
            count = kept.get(slot, drawn)
            row.prompt.answers[row.index] = Sampled(
                ids[:count], logps[:count], "stop" if slot in kept else ended, values[:count] or None
            )
            self.rows[slot] = None
        if self.on_progress:
            self.on_progress(len(slots))

    def _refill(self) -> None:
        """Fill the empty slots with waiting answers; close those that stay empty with rows from the back."""
        empty = deque(slot for slot, row in enumerate(self.rows) if row is None)
        if self.waiting and len(empty) == len(self.rows):
            self.cache.start = self.cache.end = len(self.waiting[0].ids) - 1
        while empty and self.waiting:
            prompt = self.waiting[0]
            slots = [empty.popleft() for _ in range(min(len(empty), len(prompt.waiting)))]
            # Each row runs the prompt's last token itself, which predicts its first: a row starts like it goes on.
            self.cache.place(slots, *self._prefix(prompt), len(prompt.ids) - 1)
            self.token[slots] = prompt.ids[-1]
            for slot in slots:
                index = prompt.waiting.popleft()
                key = stream_key(self.sampling.seed, prompt.ids, index)
                self.rows[slot] = _Row(prompt, index, key, begun=self.cache.end)
            if not prompt.waiting:
                self.waiting.popleft().prefix = None
        live = len(self.rows) - len(empty)
        source = [slot for slot in range(live, len(self.rows)) if self.rows[slot]]
        target = [slot for slot in empty if slot < live]
        if source:
            at = [torch.tensor(slots, device=self.device) for slots in (source, target)]
            self.cache.move(*at)
            for x in (self.token, self.ids, self.logps, self.values):
                x[at[1]] = x[at[0]]
            for old, new in zip(source, target):
                self.rows[new] = self.rows[old]
        del self.rows[live:]
        self._settle()

    def _settle(self) -> None:
        """Bring `places` (first column, column begun at, key of every row) and the cache's edges up to date."""
        if not self.rows:
            return
        self.cache.start = min(row.first for row in self.rows)
        by = self.cache.shift()
        for row in self.rows:
            row.begun -= by
        places = [[row.first, row.begun, row.key] for row in self.rows]
        self.places = torch.tensor(places, device=self.device).T.contiguous()

    def _prefix(self, prompt: _Prompt) -> tuple[Prefix, int]:
        """Keys and values of a prompt; if need be this runs the next prompts too, as many as fit a prefill."""
        if prompt.prefix is None:
            many = max(1, PREFILL_TOKENS // len(prompt.ids))
            batch = [self.waiting[i] for i in range(min(many, len(self.waiting)))]
            prefix = Prefix(self.base.base_model, [p.ids for p in batch], self.device)
            for row, member in enumerate(batch):
                member.prefix = prefix, row
        assert prompt.prefix
        return prompt.prefix


def _check(base: Any, sampling: Sampling, prompts: Collection[_Prompt]) -> None:
    if sampling.n < 1 or sampling.max_tokens < 1:
        raise UserError(f"n={sampling.n} and max_tokens={sampling.max_tokens} must be at least 1.")
    if sampling.temperature < 0 or not 0 < sampling.top_p <= 1 or sampling.top_k < 0:
        raise UserError(
            f"temperature={sampling.temperature}, top_p={sampling.top_p}, top_k={sampling.top_k}: temperature and "
            "top_k must not be negative, top_p lies above 0 and at most at 1."
        )
    if "" in sampling.stop:
        raise UserError("An empty stop text would end every answer before it begins: remove it from `stop`.")
    room = getattr(base.config.get_text_config(), "max_position_embeddings", None) or math.inf
    for prompt in prompts:
        if not prompt.ids:
            raise UserError(f"Prompt {prompt.number} is empty: a model needs at least one token to go on from.")
        if len(prompt.ids) + sampling.max_tokens > room:
            raise UserError(
                f"Prompt {prompt.number} has {len(prompt.ids)} tokens; with max_tokens={sampling.max_tokens} that is "
                f"more than the {room} positions of the model. Shorten the prompt or lower max_tokens."
            )


@contextmanager
def _last_hidden(base: Any, wanted: bool) -> Iterator[list[Tensor]]:
    """A list that holds what went into the output head in the latest forward pass."""
    hidden: list[Tensor] = []

    def keep(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        hidden[:] = inputs[:1]

    hook = base.get_output_embeddings().register_forward_pre_hook(keep) if wanted else None
    try:
        yield hidden
    finally:
        if hook:
            hook.remove()
