"""Which architectures hooks stand in: each is made small, with random weights, and has to prove itself or refuse."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from truing.model.attention import NAME
from truing.model.lm import LanguageModel, compile_layers
from truing.model.proof import prove
from truing.records import UserError

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": SMALL,
    "qwen2": SMALL,
    "qwen3": SMALL | {"head_dim": 8},
    "mistral": SMALL,
    "gemma": SMALL | {"head_dim": 8},
    "gemma2": SMALL | {"head_dim": 8},
    "gemma3_text": SMALL | {"head_dim": 8},
    "gpt2": {"vocab_size": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64},
    "gpt_neox": SMALL,
    "phi": SMALL,
    "phi3": SMALL,
    "olmo2": SMALL,
    "falcon": SMALL | {"alibi": False},
    "mixtral": SMALL | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": SMALL | EXPERTS | {"shared_expert_intermediate_size": 24},
    "gpt_oss": SMALL | EXPERTS | {"num_local_experts": 4, "head_dim": 8},
    "mamba": {"vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 3, "state_size": 4},
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}


class Tried(NamedTuple):
    """`proven`: or refused, and why."""

    name: str
    proven: bool
    said: str


def hooks(compiled: bool = True) -> Iterator[Tried]:
    """One architecture after the other; then adapters, a model that sees images, and compiled blocks."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of architectures that transformers finds old
        torch.manual_seed(0)
        for name, sizes in ARCHITECTURES.items():
            yield _tried(name, lambda name=name, sizes=sizes: _made(name, sizes))  # type: ignore[misc]
        yield _tried("llama with LoRA", _adapted)
        yield _tried("llava (images and text)", _seeing)
        if compiled:
            yield _tried("llama, compiled", _compiled)


def _tried(name: str, make: Any) -> Tried:
    try:
        model = make()
        return Tried(name, True, prove(model, range(1, model.config.get_text_config().num_hidden_layers + 1)))
    except UserError as refusal:
        return Tried(name, False, str(refusal))
    except Exception as error:  # whatever an architecture does, it is not steered then
        return Tried(name, False, f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")


def _made(name: str, sizes: dict[str, Any]) -> Any:
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes)).float().eval()


def _adapted() -> Any:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(_made("llama", SMALL), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    return model.eval()


def _seeing() -> Any:
    text = AutoConfig.for_model("llama", **SMALL)
    vision = AutoConfig.for_model("clip_vision_model", **VISION, image_size=16, patch_size=8)
    config = AutoConfig.for_model("llava", text_config=text, vision_config=vision, image_token_index=95)
    return AutoModelForImageTextToText.from_config(config).float().eval()


def _compiled() -> Any:
    model = _made("llama", SMALL)
    model.set_attn_implementation(NAME)
    compile_layers(LanguageModel(model))
    return model
