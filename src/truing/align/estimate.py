"""What a run will cost, before it is begun: `--dry-run` prints this below the recipe."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from truing.align.ingredients import Ppo
from truing.align.job import Recipe, View, read_sets
from truing.align.prompts import askable
from truing.batch import Group
from truing.engine.open import codec_for, located, place
from truing.model.load import load_config, load_tokenizer
from truing.model.probe import probe
from truing.model.text import Codec, encode_all
from truing.records import Example
from truing.run import duration
from truing.spec import ModelSpec

REACHED = 0.5  # of the speed of plain matrix products, by models too small to fill a processor
FROZEN, TRAINED = 4, 16  # bytes of a weight; with its gradient and the optimiser's two moments
SEEN = 1000  # prompts, for their mean length

Encode = Callable[[list[Example], Codec], tuple[list[Group], Counter[str]]]


def _answers(examples: list[Example], codec: Codec) -> tuple[list[Group], Counter[str]]:
    return encode_all(examples, codec, on_drop="count", allow_empty=True) if examples else ([], Counter())


def cost(settings: Recipe, view: View, *, frozen: str | None = None, encode: Encode = _answers) -> str:
    """Rows, tokens, arithmetic, time and memory of a training run. Reads the data and the tokenizer, and no weights.

    Forward and backward take 6 operations per parameter and token. A `frozen` model, a reference or a teacher, passes
    over the data once, which takes 2.
    """
    spec, optim = ModelSpec.parse(settings.model), settings.optim
    path, config = located(spec), _config(settings.model)
    codec, _ = codec_for(load_tokenizer(path, spec.revision), config, settings.data.max_tokens, path)
    examples, dropped = list[Group](), Counter[str]()
    for part in read_sets(settings.data):
        kept, unfit = view(part)
        groups, lost = encode(kept, codec)
        examples, dropped = [*examples, *groups], dropped + unfit + lost
    rows = optim.steps * optim.batch if optim.steps else round(optim.epochs * len(examples))
    epoch = sum(group.tree_tokens for group in examples)
    tokens = epoch * rows / max(1, len(examples))
    parameters = _parameters(config)
    operations = 6 * parameters * tokens + (2 * epoch * _parameters(_config(frozen)) if frozen else 0)
    lost_rows = f", {dropped.total()} dropped" if dropped else ""
    said = f"{len(examples)} examples{lost_rows}; {tokens:,.0f} tokens in {math.ceil(rows / optim.batch)} steps"
    return "\n".join([said, *_time_and_memory(settings, parameters, operations, TRAINED)])


def rollout_cost(settings: Ppo) -> str:
    """The same of learning from own answers, as long as answers may be: drawing them is a forward pass, and so are the
    reference and the critic; each pass over them is three for the policy and three for the critic."""
    spec = ModelSpec.parse(settings.model)
    path, config = located(spec), _config(settings.model)
    codec, _ = codec_for(load_tokenizer(path, spec.revision), config, settings.data.max_tokens, path)
    room, dropped = settings.sampling.max_tokens, Counter[str]()
    pools = [askable(islice(part, SEEN), codec, room, dropped) for part in read_sets(settings.data)]
    asked = sum(len(one.ids) for pool in pools for one in pool) / sum(map(len, pools))
    answers = settings.rollouts * settings.sampling.n
    tokens = settings.rollouts * asked + answers * settings.sampling.max_tokens
    apart = settings.advantage == "gae" and settings.critic.start != "shared"
    passes = 2 + 3 * settings.optim.epochs + (1 + 3 * settings.optim.epochs if apart else 0)
    parameters = _parameters(config)
    said = f"{settings.iterations * answers:,} answers, at most {tokens:,.0f} tokens in each of {settings.iterations} "
    said += f"iterations; {settings.iterations * settings.moves} steps; what judges compute comes on top"
    bytes_ = TRAINED * (1 + apart) + FROZEN * (not settings.lora.rank)
    operations = 2 * parameters * tokens * passes * settings.iterations
    return "\n".join([said, *_time_and_memory(settings, parameters, operations, bytes_)])


def _time_and_memory(settings: Recipe, parameters: int, operations: float, bytes_: int) -> list[str]:
    where = place(settings.machine)
    measured = probe(where.device).gflops
    speed = max(rate for name, rate in measured.items() if name.startswith(where.dtype)) * 1e9
    memory = parameters * (FROZEN if settings.lora.rank else bytes_)
    return [
        f"{parameters / 1e6:,.1f} M parameters, {operations:.1e} operations",
        f"about {duration(operations / speed / REACHED)} on this machine ({where.device}, {where.dtype}: "
        f"{speed / 1e9:.0f} GFLOP/s measured, half of them reached)",
        f"{memory / 2**30:.2f} GiB for weights, gradients and optimiser, and what one forward pass keeps",
    ]


def _config(model: str) -> Any:
    spec = ModelSpec.parse(model)
    return load_config(located(spec), spec.revision)


def _parameters(config: Any) -> int:
    """Without making them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
