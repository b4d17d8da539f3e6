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
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn

from truing.model.hooks import Steering
from truing.model.sampler import Prompt, Sampled, Sampler, cut
from truing.records import Sampling, UserError

__all__ = ["Sampled", "cut", "generate"]


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    end_ids: Collection[int],
    decode: Callable[[list[int]], str] | None = None,
    value_head: nn.Module | None = None,
    max_rows: int = 128,
    on_progress: Callable[[int], None] | None = None,
    steering: Collection[Steering] = (),
    which: Sequence[int] | None = None,
    listen: bool = False,
) -> list[list[Sampled]]:
    """For each prompt its n answers.

    `model` is a causal LM of transformers, possibly wrapped by peft. `decode` turns ids into text, where there are stop
    texts to look for. At most `max_rows` answers are written at a time, fewer where the cache would grow too large;
    `on_progress` hears how many have just ended. `which` configuration of `steering` each prompt is answered under.
    `listen` keeps what the layers say while answers are written (`Sampled.states`).
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    named = [(tuple(ids), one) for ids, one in zip(prompts, which or [0] * len(prompts), strict=True)]
    asked = {name: Prompt(name[0], number, sampling.n, name[1]) for number, name in enumerate(named)}
    _check(base, sampling, asked.values())
    sampler = Sampler(base, sampling, end_ids, decode, value_head, on_progress, steering, listen)
    was_training = base.training
    base.eval()
    try:
        sampler.run(asked.values(), max_rows)
    finally:
        base.train(was_training)
    return [asked[name].answers for name in named]


def _check(base: Any, sampling: Sampling, prompts: Collection[Prompt]) -> None:
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
