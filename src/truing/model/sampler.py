"""The loop of the sampler: rows of the cache, each an answer being written, and one token for all of them per step."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from truing.model.cache import Prefix, Rows
from truing.model.draw import draw, stream_key, uniform
from truing.model.hooks import Places, Steering, decoder_blocks, over, reading
from truing.model.pack import SHARE, common
from truing.records import Sampling, UserError

PREFILL_TOKENS = 4096  # prompt tokens in one prefill, padding included
CACHE_BYTES, FEWEST = 4 << 30, 8  # of keys and values; the least number of rows, however long and wide they are
STOP_EVERY = 8  # steps between two looks for stop texts; what was drawn beyond one is cut off again


@dataclass(frozen=True, slots=True)
class Sampled:
    """One answer. `ids` as drawn, with the end marker or stop text; `values[t]` is read where token t is predicted.
    `states` [2, L + 1, d]: the mean over its tokens of what every layer said, and what they said at the prompt's last
    token; None where nobody listened, and for answers that a stop text cut."""

    ids: list[int]
    logps: list[float]
    finish: Literal["end", "stop", "length"]
    values: list[float] | None = None
    states: Tensor | None = None


class Prompt:
    """A prompt, the numbers of its answers that nobody has begun, and those that are done. `which`: the configuration
    that steers them."""

    def __init__(self, ids: tuple[int, ...], number: int, n: int, which: int = 0) -> None:
        self.ids, self.number, self.waiting, self.which = ids, number, deque(range(n)), which
        self.answers: list[Any] = [None] * n
        self.prefix: tuple[Prefix, int] | None = None


@dataclass(slots=True)
class _Row:
    """An answer being written. `begun` is the column of the prompt's last token, which predicts the first of ours."""

    prompt: Prompt
    index: int
    key: int
    begun: int

    @property
    def first(self) -> int:
        return self.begun - len(self.prompt.ids) + 1


class Sampler:
    """Slot r of the cache, and of the tensors beside it, belongs to rows[r]; between steps no slot is empty."""

    def __init__(
        self,
        base: Any,
        sampling: Sampling,
        end_ids: Collection[int],
        decode: Callable[[list[int]], str] | None,
        value_head: nn.Module | None,
        on_progress: Callable[[int], None] | None,
        steering: Collection[Steering] = (),
        listen: bool = False,
    ) -> None:
        if sampling.stop and decode is None:
            raise TypeError("stop texts need `decode` to be found")
        self.base, self.sampling, self.decode, self.value_head = base, sampling, decode, value_head
        self.on_progress, self.steering, self.listen = on_progress, steering, listen
        self.most = sampling.max_tokens + listen  # an answer that is cut off is heard when its last token is read
        self.drawn: Tensor | None = None
        # Whether a prompt is the same under one configuration and another.
        self.alike = not any(each.prompts and each.count > 1 for each in steering)
        self.device = next(base.parameters()).device
        self.end_ids = frozenset(end_ids)
        self.ends = torch.tensor(sorted(end_ids), dtype=torch.long, device=self.device)
        self.steps = 0

    def run(self, prompts: Collection[Prompt], max_rows: int) -> None:
        # Longest first: rows of one time are of similar length, and no waiting prompt is longer than a living row.
        self.waiting = deque(sorted(prompts, key=lambda prompt: (-len(prompt.ids), prompt.ids)))
        if not self.waiting:
            return
        # What all prompts begin with goes through the model once. Each keeps a token of its own.
        begins = min(common([prompt.ids for prompt in prompts]), len(self.waiting[-1].ids) - 1)
        self.begins = begins if begins >= SHARE and len(prompts) > 1 and self.alike else 0
        start = [self.waiting[0].ids[: self.begins]]
        with self._over_prompts([0], self.begins):
            self.start = Prefix(self.base.base_model, start, self.device) if self.begins else None
        like, _ = self._prefix(self.waiting[0])
        answers, longest = self.sampling.n * len(prompts), len(self.waiting[0].ids) + self.most
        size = min(max_rows, answers, max(FEWEST, CACHE_BYTES // (longest * like.token_bytes)))
        self.cache = Rows(like, size, longest, come_and_go=size < answers)
        del like  # or its keys and values stay beside the copies
        shape = (size, self.most)
        self.token = torch.zeros(size, dtype=torch.long, device=self.device)
        self.ids = torch.zeros(shape, dtype=torch.long, device=self.device)
        self.logps = torch.zeros(shape, device=self.device)
        self.values = torch.zeros(shape if self.value_head is not None else (size, 0), device=self.device)
        self.rows: list[Any] = [None] * size
        layers = range(len(decoder_blocks(self.base)) + 1) if self.listen else range(0)
        width = self.base.config.get_text_config().hidden_size if self.listen else 0
        self.heard = torch.zeros(size, 2, len(layers), width, device=self.device)
        self._refill()
        with _last_hidden(self.base, self.value_head is not None) as hidden, reading(self.base, layers, self._hear):
            while self.rows:
                self._turn_over(self._step(hidden))

    def _hear(self, layer: int, states: Tensor) -> None:
        """Every step reads a token of every row: the prompt's last one first, then its answer's."""
        if self.drawn is not None:  # a step, and no prefill
            begins, heard = (self.drawn == 0)[:, None], self.heard[: len(self.drawn)]
            heard[:, 0, layer] += torch.where(begins, 0.0, states[:, -1].float())
            heard[:, 1, layer] = torch.where(begins, states[:, -1].float(), heard[:, 1, layer])

    def _step(self, hidden: list[Tensor]) -> list[int]:
        """One token for every row. Returns the slots of those that have finished."""
        cache, live = self.cache, len(self.rows)
        first, begun, key, which = self.places
        self.drawn = drawn = cache.end - begun
        with over(self.steering, Places(drawn[:, None], drawn[:, None] == 0, which)):
            logits = self.base(
                input_ids=self.token[:live, None],
                attention_mask=torch.arange(cache.start, cache.end + 1, device=self.device) >= first[:, None],
                position_ids=(cache.end - first)[:, None],
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        self.drawn = None
        token, logps = draw(logits, self.sampling, uniform(key, drawn))
        at = torch.arange(live, device=self.device), drawn
        self.token[:live], self.ids[at], self.logps[at] = token, token, logps
        if self.value_head is not None:
            self.values[at] = self.value_head(hidden[0][:, -1]).float()[:, 0]
        cache.end += 1
        self.steps += 1
        finished = self._ended(token, drawn) | (drawn == self.most - 1) | ~logps.isfinite()
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
            ids = ids[: self._length(slot)]
            ids = ids[:-1] if ids[-1] in self.end_ids else ids

            def stopped(count: int, ids: list[int] = ids) -> bool:
                text = self.decode(ids[:count])  # type: ignore[misc]
                return cut(text, self.sampling.stop) != text

            if stopped(len(ids)):
                kept[slot] = bisect_left(range(len(ids)), True, key=stopped)
        return kept

    def _length(self, slot: int) -> int:
        """How many tokens of the answer in it are drawn. One more may be, so that its last is read."""
        return min(self.cache.end - self.rows[slot].begun, self.sampling.max_tokens)

    def _harvest(self, slots: list[int], kept: dict[int, int]) -> None:
        for slot, ids, logps, values in zip(slots, *(x[slots].tolist() for x in (self.ids, self.logps, self.values))):
            row = self.rows[slot]
            drawn = self._length(slot)
            if not math.isfinite(logps[drawn - 1]):
                raise UserError(
                    f"The model gives logits that are not finite for token {drawn} of answer {row.index} to prompt "
                    f"{row.prompt.number}: its weights are broken or overflow in {self.base.dtype}."
                )
            ended: Literal["end", "length"] = "end" if ids[drawn - 1] in self.end_ids else "length"
            count = kept.get(slot, drawn)
            heard = self.heard[slot].clone().cpu() if self.listen and slot not in kept else None
            if heard is not None:
                heard[0] /= max(1, drawn - (ended == "end"))  # the end marker was drawn and not read
            row.prompt.answers[row.index] = Sampled(
                ids[:count], logps[:count], "stop" if slot in kept else ended, values[:count] or None, heard
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
            self.heard[slots] = 0.0
            for slot in slots:
                index = prompt.waiting.popleft()
                key = stream_key(self.sampling.seed, prompt.ids, index)
                self.rows[slot] = _Row(prompt, index, key, begun=self.cache.end)
            if not prompt.waiting:
                self.waiting.popleft()
                twin = self.waiting[0] if self.waiting and self.alike and self.waiting[0].ids == prompt.ids else prompt
                twin.prefix, prompt.prefix = prompt.prefix, None
        live = len(self.rows) - len(empty)
        source = [slot for slot in range(live, len(self.rows)) if self.rows[slot]]
        target = [slot for slot in empty if slot < live]
        if source:
            at = [torch.tensor(slots, device=self.device) for slots in (source, target)]
            self.cache.move(*at)
            for x in (self.token, self.ids, self.logps, self.values, self.heard):
                x[at[1]] = x[at[0]]
            for old, new in zip(source, target):
                self.rows[new] = self.rows[old]
        del self.rows[live:]
        self._settle()

    def _settle(self) -> None:
        """Bring `places` (first column, column begun at, key, configuration of every row) and the cache's edges up to
        date."""
        if not self.rows:
            return
        self.cache.start = min(row.first for row in self.rows)
        by = self.cache.shift()
        for row in self.rows:
            row.begun -= by
        places = [[row.first, row.begun, row.key, row.prompt.which] for row in self.rows]
        self.places = torch.tensor(places, device=self.device).T.contiguous()

    def _prefix(self, prompt: Prompt) -> tuple[Prefix, int]:
        """Keys and values of a prompt; if need be this runs the next prompts too, as many as fit a prefill."""
        if prompt.prefix is None:
            many = max(1, PREFILL_TOKENS // (len(prompt.ids) - self.begins))
            batch = [self.waiting[i] for i in range(min(many, len(self.waiting)))]
            batch = [one for n, one in enumerate(batch) if not (self.alike and n and one.ids == batch[n - 1].ids)]
            with self._over_prompts([p.which for p in batch], len(prompt.ids) - self.begins):
                prefix = Prefix(self.base.base_model, [p.ids for p in batch], self.device, self.start)
            for row, member in enumerate(batch):
                member.prefix = prefix, row
        assert prompt.prefix
        return prompt.prefix

    def _over_prompts(self, which: Sequence[int], width: int) -> AbstractContextManager[None]:
        """No answer begins there: each row of `_step` runs its prompt's last token again."""
        nowhere = torch.zeros(len(which), width, dtype=torch.long, device=self.device)
        return over(self.steering, Places(nowhere, nowhere > 0, torch.tensor(which, device=self.device)))


def cut(text: str, stop: Sequence[str]) -> str:
    """The text before the first stop text in it."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]


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
