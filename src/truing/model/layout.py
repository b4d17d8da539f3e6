"""Which layout an architecture can be trusted with: decided by trying, not by a list of names.

A shrunken copy of the configuration (two layers, a window of 16 where there is one, random weights) computes the same
groups as a tree and as rows. Only if the numbers agree is the tree used.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from truing.batch import Group
from truing.model.attention import NAME
from truing.model.lm import LanguageModel
from truing.model.pack import pack
from truing.records import UserError

TOLERANCE = 1e-4  # a wrong mask is off by 0.1 and more, rounding by 1e-6
VOCABULARY = 96
_SMALL = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "ffn_hidden_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 256,
    "vocab_size": VOCABULARY,
}
_verdicts: dict[str, tuple[str, str]] = {}


def layout_for(config: PretrainedConfig) -> tuple[str, str]:
    """("tree" or "rows", why) for this architecture."""
    config = config.get_text_config()
    key = config.to_json_string()
    if key not in _verdicts:
        _verdicts[key] = _try(config)
    return _verdicts[key]


def _try(config: PretrainedConfig) -> tuple[str, str]:
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]):
            gap = tree_gap(shrink(config))
    except UserError:
        raise
    except Exception as error:  # any failure means that this architecture is not for trees, whatever the reason
        return "rows", f"{config.model_type} cannot attend over a tree ({type(error).__name__})"
    finally:
        transformers_logging.set_verbosity(level)
    if gap > TOLERANCE:
        return "rows", f"{config.model_type}: tree and rows differ by {gap:.1e} in the self-test"
    return "tree", f"{config.model_type}: tree equals rows within {gap:.0e} in the self-test"


def shrink(config: PretrainedConfig) -> PretrainedConfig:
    """The same architecture, small: every kind of layer it has, but only one or two of each."""
    small = copy.deepcopy(config)
    for name, value in _SMALL.items():
        if isinstance(getattr(small, name, None), int):
            setattr(small, name, value)
    if getattr(config, "num_key_value_heads", None) == getattr(config, "num_attention_heads", 0):
        small.num_key_value_heads = _SMALL["num_attention_heads"]
    kinds = list(dict.fromkeys(getattr(config, "layer_types", None) or []))
    small.num_hidden_layers = max(2, len(kinds))
    if kinds:
        small.layer_types = (kinds * 2)[: small.num_hidden_layers]
    if getattr(small, "sliding_window", None):
        small.sliding_window = 16
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(small, name, None)
    small.tie_word_embeddings = False
    return small


def tree_gap(config: PretrainedConfig) -> float:
    """Largest difference of any log-probability between tree, rows and the model's own logits, on random weights."""
    model = AutoModelForCausalLM.from_config(config).float().eval()
    random = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.dim() > 1:  # the usual tiny initialisation would hide a wrong mask behind near-uniform outputs
            nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5, generator=random)
    groups = [_group(random, prompt, answers) for prompt, answers in ((40, (12, 3, 30)), (7, (25,)), (1, (2, 19)))]
    with torch.no_grad():
        rows = LanguageModel(model)(pack(groups, "rows")).logps
        own = torch.cat([_own_logps(model, g.prompt, answer) for g in groups for answer in g.answers])
        if not torch.allclose(rows, own, atol=TOLERANCE):
            raise UserError(
                f"the output layer of {config.model_type} is not understood: log-probabilities differ from the "
                f"model's own by {(rows - own).abs().max():.1e}; this architecture cannot be used yet"
            )
        model.set_attn_implementation(NAME)
        tree = LanguageModel(model)(pack(groups, "tree")).logps
    return float((tree - rows).abs().max().nan_to_num(float("inf")))


def _own_logps(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> Tensor:
    """What transformers itself says, one sequence at a time."""
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def _group(random: torch.Generator, prompt: int, answers: tuple[int, ...]) -> Group:
    def ids(n: int) -> list[int]:
        return torch.randint(1, VOCABULARY, (n,), generator=random).tolist()

    return Group(ids(prompt), [ids(n) for n in answers], [[True] * n for n in answers])
