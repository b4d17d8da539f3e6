"""Sampling speed against `generate` of transformers: n answers a prompt, lengths spread evenly, batch sizes searched.

    python bench/sampling.py [--prompts 24] [--vocab 4096] [--threads 2]

Both sides run the same model in the same dtype on the same prompts. How long an answer gets is decided by its first
token, through one table that both sides read, so that lengths are spread over the same range whatever is drawn. What
is counted are the tokens of answers; what a side computes beyond their ends is its own affair.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, StoppingCriteria, StoppingCriteriaList

from truing.model.decode import generate
from truing.model.sampler import Sampler
from truing.records import Sampling

Prompts = Sequence[Sequence[int]]


def ours(model: Any, prompts: Prompts, n: int, lengths: Tensor, rows: int) -> int:
    """Answer tokens made. The table of lengths takes the place of end markers."""

    def ended(sampler: Sampler, token: Tensor, drawn: Tensor) -> Tensor:
        return drawn + 1 >= lengths[sampler.ids[: len(token), 0]]

    with mock.patch.object(Sampler, "_ended", ended):
        settings = Sampling(n=n, max_tokens=int(lengths.max()))
        answered = generate(model, prompts, settings, end_ids=(), max_rows=rows)
    return sum(len(answer.ids) for answers in answered for answer in answers)


def theirs(model: Any, prompts: Prompts, n: int, lengths: Tensor, rows: int) -> int:
    """Prompts sorted by length and padded on the left, n return sequences each."""

    class Ended(StoppingCriteria):
        def __call__(self, input_ids: Tensor, scores: Tensor, **kwargs: Any) -> Tensor:
            return input_ids.shape[1] - width >= lengths[input_ids[:, width]]

    total, ordered = 0, sorted(prompts, key=len)
    for start in range(0, len(ordered), max(1, rows // n)):
        batch = ordered[start : start + max(1, rows // n)]
        width = max(map(len, batch))
        pad = [width - len(ids) for ids in batch]
        drawn = model.generate(
            input_ids=torch.tensor([[0] * p + list(ids) for p, ids in zip(pad, batch)], device=model.device),
            attention_mask=torch.tensor([[0] * p + [1] * (width - p) for p in pad], device=model.device),
            num_return_sequences=n,
            do_sample=True,
            top_k=0,
            max_new_tokens=int(lengths.max()),
            stopping_criteria=StoppingCriteriaList([Ended()]),
            eos_token_id=None,
            pad_token_id=0,
        )
        total += int(lengths[drawn[:, width]].sum())
    return total


def without_sharing(model: Any, prompts: Prompts, n: int, lengths: Tensor, rows: int) -> int:
    """Ours, but each answer pays for its prompt: a different first token makes the n copies distinct prompts."""
    vocabulary = model.config.vocab_size
    copies = [[(ids[0] + i) % vocabulary, *ids[1:]] for ids in prompts for i in range(n)]
    return ours(model, copies, 1, lengths, rows)


def without_leaving(model: Any, prompts: Prompts, n: int, lengths: Tensor, rows: int) -> int:
    """Ours, but every row stays until the longest is done; only the tokens of answers count."""
    made = ours(model, prompts, n, torch.full_like(lengths, int(lengths.max())), rows)
    return round(made * float(lengths.float().mean()) / int(lengths.max()))


def measure(
    model: Any,
    prompts: Prompts,
    n: int = 8,
    shortest: int = 8,
    longest: int = 128,
    rows: Sequence[int] = (32, 64, 96, 128),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Answer tokens per second of each side at each batch size, and the ratio of the best ones."""
    spread = torch.Generator().manual_seed(0)
    lengths = torch.randint(shortest, longest + 1, (model.config.vocab_size,), generator=spread).to(model.device)

    def speed(side: Callable[..., int], size: int) -> float:
        begin = clock()
        return side(model, prompts, n, lengths, size) / (clock() - begin)

    for side in (ours, theirs):
        side(model, prompts[:1], n, lengths, n)  # warm
    result: dict[str, Any] = {side.__name__: {size: speed(side, size) for size in rows} for side in (ours, theirs)}
    best = {side: max(result[side].values()) for side in ("ours", "theirs")}
    at = max(result["ours"], key=result["ours"].get)
    levers = {side.__name__: speed(side, at) for side in (without_sharing, without_leaving)}
    return {**result, **levers, "best": best, "ratio": best["ours"] / best["theirs"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 8, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=args.vocab, **sizes)).eval()
    chance = random.Random(0)
    prompts = [[chance.randrange(1, args.vocab) for _ in range(chance.randint(100, 200))] for _ in range(args.prompts)]
    # Processor time, not wall time, when threads are fewer than cores: a busy machine then tells the same ratio.
    clock = time.process_time if args.threads == 1 else time.perf_counter
    print(json.dumps(measure(model, prompts, clock=clock), indent=2))


if __name__ == "__main__":
    main()
