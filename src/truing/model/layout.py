"""Which layout an architecture can be trusted with: decided by trying, not by a list of names.

A shrunken copy of the configuration (each kind of layer, heads as they are but few, a window of 16 where there is one,
random weights) computes the same groups as a tree and as rows. Only if the numbers agree is the tree used.
"""

from __future__ import annotations

import copy
import logging
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from truing.batch import Group
from truing.model.attention import NAME
from truing.model.lm import LanguageModel
from truing.model.pack import pack
from truing.records import UserError

LOGGER = logging.getLogger(__name__)
TOLERANCE = 1e-4  # a wrong mask is off by 0.1 and more, rounding by 1e-6
VOCABULARY = 96
HEADS, WINDOW = 4, 16
_SMALL = {
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "ffn_hidden_size": 96,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "vocab_size": VOCABULARY,
}
_verdicts: dict[str, tuple[str, str]] = {}


def layout_for(config: PretrainedConfig) -> tuple[str, str]:
    """("tree" or "rows", why) for this architecture. That a prompt will be computed for each answer is said once."""
    config = config.get_text_config()
    key = config.to_json_string()
    if key not in _verdicts:
        _verdicts[key] = _try(config)
        if _verdicts[key][0] == "rows":
            LOGGER.warning("%s; its prompts are computed again for every answer (layout rows)", _verdicts[key][1])
    return _verdicts[key]


def _try(config: PretrainedConfig) -> tuple[str, str]:
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    name, random = config.model_type, torch.Generator().manual_seed(0)
    groups = [_group(random, prompt, answers) for prompt, answers in ((40, (12, 3, 30)), (7, (25,)), (1, (2, 19)))]
    shared = [Group(groups[0].prompt + g.prompt, g.answers, g.trained) for g in groups[1:]]
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            try:
                model = _random_model(shrink(config), random)
            except Exception as error:
                return "rows", f"{name}: no small copy of it could be made to try trees with ({_what(error)})"
            rows = _rows_logps(model, groups + shared)
            try:
                model.set_attn_implementation(NAME)
                trees = [LanguageModel(model)(pack(part, "tree"))["logps"] for part in (groups, shared)]
            except Exception as error:  # whatever the reason, this architecture is not for trees
                return "rows", f"{name} cannot attend over a tree ({_what(error)})"
    finally:
        transformers_logging.set_verbosity(level)
    gap = float((torch.cat(trees) - rows).abs().max().nan_to_num(float("inf")))
    if gap > TOLERANCE:
        return "rows", f"{name}: tree and rows differ by {gap:.1e} in the self-test"
    return "tree", f"{name}: tree equals rows within {gap:.0e} in the self-test"


def shrink(config: PretrainedConfig) -> PretrainedConfig:
    """The same architecture, small: every kind of layer it has, but only one or two of each. Heads keep their size:
    rotary positions and much else are made for it."""
    small = copy.deepcopy(config)
    heads = getattr(config, "num_attention_heads", None) or HEADS
    hidden = HEADS * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    kinds = list(dict.fromkeys(getattr(config, "layer_types", None) or []))
    layers = max(2, len(kinds))
    changes: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": layers, "tie_word_embeddings": False}
    changes |= {n: v for n, v in _SMALL.items() if isinstance(getattr(config, n, None), int)}
    if getattr(config, "num_key_value_heads", None) == heads:
        changes["num_key_value_heads"] = HEADS
    if kinds:
        changes["layer_types"] = (kinds * 2)[:layers]
    changes |= {n: WINDOW for n in ("sliding_window", "attention_chunk_size") if getattr(config, n, None)}
    changes |= dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"))
    for name, value in changes.items():
        with suppress(AttributeError):  # some attributes follow from others
            setattr(small, name, value)
    return small


def _random_model(config: PretrainedConfig, random: torch.Generator) -> PreTrainedModel:
    model = AutoModelForCausalLM.from_config(config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:  # the usual tiny initialisation would hide a wrong mask behind near-uniform outputs
            nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5, generator=random)
    return model


def _rows_logps(model: PreTrainedModel, groups: list[Group]) -> Tensor:
    """As plain rows, which must be what transformers itself says, one sequence at a time."""
    try:
        own = torch.cat([_own_logps(model, g.prompt, answer) for g in groups for answer in g.answers])
        rows = LanguageModel(model)(pack(groups, "rows"))["logps"]
        if torch.allclose(rows, own, atol=TOLERANCE):
            return rows
        why = f"log-probabilities differ from the model's own by {(rows - own).abs().max():.1e}"
    except Exception as error:
        why = _what(error)
    raise UserError(f"the architecture {model.config.model_type} is not understood and cannot be used yet: {why}")


def _what(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _own_logps(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> Tensor:
    """What transformers itself says, one sequence at a time."""
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def _group(random: torch.Generator, prompt: int, answers: tuple[int, ...]) -> Group:
    def ids(n: int) -> list[int]:
        return torch.randint(1, VOCABULARY, (n,), generator=random).tolist()

    return Group(ids(prompt), [ids(n) for n in answers], [[True] * n for n in answers])
