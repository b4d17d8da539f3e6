"""Tiny, randomly initialised models of real architectures, and a character tokenizer. Made here, nothing downloaded.

The weights are drawn much wider than any sensible initialisation: the next-token distribution is far from uniform and
depends on every token that may be seen, so that a wrong mask, position or cache shows in the numbers at once.
"""

from __future__ import annotations

import string
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    FalconConfig,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
)

END = "<|end|>"
END_ID = 0
CHARACTERS = "\n" + " " + string.ascii_letters + string.digits + string.punctuation
WINDOW = 16

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": END_ID,
    "pad_token_id": None,
}
GROUPED: dict[str, Any] = {**SIZES, "num_key_value_heads": 2}
EXPERTS: dict[str, Any] = {**GROUPED, "num_experts_per_tok": 2}
GEMMA_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]


def _config(name: str, vocab: int) -> PreTrainedConfig:
    match name:
        case "llama":
            return LlamaConfig(vocab_size=vocab, **GROUPED)
        case "qwen2":
            return Qwen2Config(vocab_size=vocab, **GROUPED, tie_word_embeddings=True)
        case "qwen3":
            return Qwen3Config(vocab_size=vocab, **GROUPED, head_dim=16)
        case "gemma3":
            sizes = {**GROUPED, "num_hidden_layers": len(GEMMA_LAYERS), "num_key_value_heads": 1}
            own = {"head_dim": 16, "query_pre_attn_scalar": 16, "layer_types": GEMMA_LAYERS}
            return Gemma3TextConfig(vocab_size=vocab, **sizes, **own, sliding_window=WINDOW)
        case "mistral":
            return MistralConfig(vocab_size=vocab, **GROUPED, sliding_window=None)
        case "mistral_window":
            return MistralConfig(vocab_size=vocab, **GROUPED, sliding_window=WINDOW)
        case "phi":
            return PhiConfig(vocab_size=vocab, **SIZES)
        case "gpt2":
            own = {"n_embd": 48, "n_inner": 80, "n_layer": 2, "n_head": 4, "n_positions": 512}
            own |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
            return GPT2Config(vocab_size=vocab, **own, bos_token_id=None, eos_token_id=END_ID)
        case "gpt_neox":
            return GPTNeoXConfig(vocab_size=vocab, **SIZES)
        case "falcon":
            own = {"ffn_hidden_size": 80, "multi_query": True, "parallel_attn": True, "alibi": False}
            return FalconConfig(vocab_size=vocab, **{k: v for k, v in SIZES.items() if k != "intermediate_size"}, **own)
        case "mixtral":
            return MixtralConfig(vocab_size=vocab, **EXPERTS, num_local_experts=4, sliding_window=None)
        case "qwen2_moe":
            own = {"num_experts": 4, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
            return Qwen2MoeConfig(vocab_size=vocab, **EXPERTS, **own)
        case "olmo2":
            return Olmo2Config(vocab_size=vocab, **GROUPED)
    raise KeyError(name)


NAMES = (
    *("llama", "qwen2", "qwen3", "gemma3", "mistral", "mistral_window", "phi"),
    *("gpt2", "gpt_neox", "falcon", "mixtral", "qwen2_moe", "olmo2"),
)


def tiny(name: str, vocab: int = 97, seed: int = 0) -> PreTrainedModel:
    """A model in evaluation mode, fp32, the same on every call. `NAMES` lists what there is."""
    model = AutoModelForCausalLM.from_config(_config(name, vocab), dtype=torch.float32)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.dim() > 1:
                parameter.copy_(0.25 * noise)
            else:
                parameter.add_(0.1 * noise)
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per character, 97 in all: the end marker (id 0), newline, and printable ASCII. No chat template."""
    vocab = {END: END_ID} | {c: i for i, c in enumerate(CHARACTERS, start=1)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False)
