"""Model folders in and out.

In: any causal LM, sequence classifier (preference model) or token classifier (critic) that transformers can load.
Out: the same three kinds, so that plain transformers loads them without Truing and gives the same numbers. An adapter
is saved as peft saves it. Where transformers has no class for a head, trunk and head stand side by side in the folder
(`heads.safetensors`). Only safetensors, no remote code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from truing.model.attention import NAME
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel
from truing.records import UserError

HEADS = "heads.safetensors"
KINDS = {  # ending of the architecture's name → (class that loads it, our name for its head)
    "ForSequenceClassification": (AutoModelForSequenceClassification, "score"),
    "ForTokenClassification": (AutoModelForTokenClassification, "value"),
}


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    _check_folder(path)
    try:
        return AutoTokenizer.from_pretrained(path, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: no tokenizer could be loaded from it ({_first_line(error)})") from error


def load_model(
    path: str,
    *,
    revision: str | None = None,
    adapters: Sequence[str] = (),
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    layout: str = "auto",
) -> tuple[LanguageModel, str]:
    """The model with the heads it was saved with, in eval mode, and the layout it is packed in."""
    _check_folder(path)
    try:
        config = AutoConfig.from_pretrained(path, revision=revision)
        kind = (config.architectures or [""])[0]
        loader, head = next((v for k, v in KINDS.items() if kind.endswith(k)), (AutoModelForCausalLM, None))
        owner = loader.from_pretrained(path, revision=revision, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path}: no model could be loaded from it ({_first_line(error)})") from error
    _check_finite(owner, path)
    layout, _ = layout_for(config) if layout == "auto" else (layout, "")
    if layout == "tree":
        owner.set_attn_implementation(NAME)
    heads: dict[str, nn.Linear] = {head: owner.score} if head else _heads_beside(path, dtype)
    for folder in adapters:
        owner = _with_adapter(owner, folder)
    return LanguageModel(owner.to(device), heads).to(device).eval(), layout


def add_lora(model: LanguageModel, rank: int, alpha: float | None, dropout: float, targets: Sequence[str]) -> None:
    """Freeze the model and put a fresh adapter on it; heads stay trained in full."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha if alpha is not None else 2 * rank,  # type: ignore[arg-type]
        lora_dropout=dropout,
        target_modules=list(targets) or "all-linear",  # peft leaves the output layer out
        exclude_modules=["score"] if not targets and hasattr(model.owner, "score") else None,
        task_type="CAUSAL_LM",
    )
    try:
        model.owner = get_peft_model(model.owner, config)
    except ValueError as error:
        raise UserError(f"lora.targets: {_first_line(error)}") from error
    for parameter in model.heads.parameters():
        parameter.requires_grad_(True)
    for name, module in model.owner.named_modules():
        if name.endswith("lora_dropout"):  # the only dropout there is: everything else stays in eval mode
            module.train(dropout > 0)


def grow_embeddings(model: LanguageModel, tokens: int) -> None:
    """Room for added tokens; a new token starts as the mean of all others."""
    embeddings = model.base.get_input_embeddings().weight
    known = embeddings.shape[0]
    if tokens <= known:
        return
    mean = embeddings.detach().float().mean(0)
    model.base.resize_token_embeddings(tokens, mean_resizing=False)
    with torch.no_grad():
        model.base.get_input_embeddings().weight[known:] = mean.to(embeddings.dtype)


def save_model(
    model: LanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path, pad_id: int | None
) -> str | None:
    """What the model is decides what is written: a policy or its adapter, a preference model, a critic.

    Returns a sentence where plain transformers cannot load all of it.
    """
    heads, note = dict(model.heads), None
    if len(heads) == 1:
        name, head = next(iter(heads.items()))
        saved = _classifier(model, name, head, pad_id)
        if saved is not None:
            saved.save_pretrained(folder)
            heads = {}
        else:
            note = f"transformers has no class for a {model.base.config.model_type} with a {name} head: see {HEADS}"
    if heads or not model.heads:
        model.owner.save_pretrained(folder)
    if heads:
        save_file({f"{name}.{k}": v for name, h in heads.items() for k, v in h.state_dict().items()}, folder / HEADS)
    tokenizer.save_pretrained(folder)
    return note


def _heads_beside(path: str, dtype: torch.dtype) -> dict[str, nn.Linear]:
    if not (Path(path) / HEADS).exists():
        return {}
    heads = {}
    for key, weight in load_file(Path(path) / HEADS).items():
        name = key.removesuffix(".weight")
        heads[name] = nn.Linear(weight.shape[1], 1, bias=False, dtype=dtype)
        heads[name].weight.data.copy_(weight)
    return heads


def _classifier(model: LanguageModel, name: str, head: nn.Linear, pad_id: int | None) -> PreTrainedModel | None:
    """The trunk under transformers' own class for this head, if there is one. Adapters are merged into a copy."""
    loader = next(loader for loader, known in KINDS.values() if known == name)
    config = type(model.base.config).from_dict(model.base.config.to_dict())
    config.num_labels, config.pad_token_id = 1, pad_id
    try:
        with torch.device("meta"):
            saved = loader.from_config(config)
        target = saved.score
    except (ValueError, AttributeError):
        return None
    saved.to_empty(device="cpu")
    weights = _merged_trunk(model)
    _fill(getattr(saved, saved.base_model_prefix), weights)
    with torch.no_grad():
        target.weight.copy_(head.weight)
        if target.bias is not None:
            target.bias.zero_()
            if head.bias is not None:
                target.bias.copy_(head.bias)
    return saved.to(next(iter(weights.values())).dtype)


def _merged_trunk(model: LanguageModel) -> dict[str, torch.Tensor]:
    if not hasattr(model.owner, "merge_adapter"):
        return {k: v.detach().cpu() for k, v in model.trunk.state_dict().items()}
    model.owner.merge_adapter()
    try:
        state = {k: v.detach().cpu().clone() for k, v in model.trunk.state_dict().items()}
    finally:
        model.owner.unmerge_adapter()
    return {k.replace(".base_layer.", "."): v for k, v in state.items() if ".lora_" not in k}


def _fill(trunk: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    missing, unexpected = trunk.load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"trunks do not match: missing {missing[:3]}, unexpected {unexpected[:3]}")


def _with_adapter(owner: Any, folder: str) -> Any:
    from peft import PeftModel

    if not (Path(folder) / "adapter_config.json").exists():
        raise UserError(f"{folder}: no adapter there (adapter_config.json is missing)")
    return PeftModel.from_pretrained(owner, folder, is_trainable=True)


def _check_folder(path: str) -> None:
    local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if local and not Path(path).is_dir():
        raise UserError(f"{path}: no such model folder")
    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        raise UserError(f"{path}: not a model folder (config.json is missing)")


def _check_finite(model: nn.Module, path: str) -> None:
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{path}: the weights of {name} are not finite")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
