"""Model folders out: a causal LM, a sequence classifier (preference model) or a token classifier (critic), such that
plain transformers loads it without Truing and gives the same numbers. An adapter is saved as peft saves it. Where
transformers has no class for a head, trunk and head stand side by side in the folder (`heads.safetensors`). A
preference model that was trained to write as well keeps its output layer: in `output.safetensors`, unless that is the
embedding.
"""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from truing.model.lm import LanguageModel
from truing.model.load import HEADS, KINDS, OUTPUT, READ, WRITES, head_of, tied
from truing.model.vocab import EOC


def save_model(
    model: LanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path, pad_id: int | None
) -> str | None:
    """What the model is decides what is written: a policy or its adapter, a preference model, a critic.

    Returns a sentence where plain transformers cannot load all of it.
    """
    heads: dict[str, Any] = dict(model.heads)
    note = None
    if len(heads) == 1:
        name, head = next(iter(heads.items()))
        saved = _classifier(plain(model), name, head, pad_id)
        if saved is not None:
            if model.mean:
                setattr(saved.config, READ, "mean")
                note = "transformers reads a score at the last token: these are a mean, and only Truing gives them"
            elif name == "score" and EOC in tokenizer.get_added_vocab():
                setattr(saved.config, READ, "eoc")
            _keep_output(model, saved, folder)
            saved.save_pretrained(folder)
            heads = {}
        else:
            note = f"transformers has no class for a {model.base.config.model_type} with a {name} head: see {HEADS}"
    if heads or not model.heads:  # an adapter alone, unless there is more than what it was put on
        (plain(model) if heads or model.whole else model.owner).save_pretrained(folder)
    if heads:
        save_file({f"{name}.{k}": v for name, h in heads.items() for k, v in h.state_dict().items()}, folder / HEADS)
    tokenizer.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):  # written for their owner alone: give them what the other files have
        shutil.copymode(folder / "tokenizer_config.json", file)
    return note


def _keep_output(model: LanguageModel, saved: PreTrainedModel, folder: Path) -> None:
    """A classifier has no place for the layer that gives probabilities of tokens."""
    if model.writes or hasattr(saved.config, WRITES):  # what it goes on from may have been able to
        setattr(saved.config, WRITES, model.writes)
    if model.writes and not tied(model.base):
        state = model.base.get_output_embeddings().state_dict()
        save_file({name: weight.contiguous() for name, weight in state.items()}, folder / OUTPUT)


def plain(model: LanguageModel) -> PreTrainedModel:
    """The transformers model; an adapter is merged into a copy."""
    if not hasattr(model.owner, "merge_and_unload"):
        return model.owner
    return copy.deepcopy(model.owner).merge_and_unload()


def _classifier(source: Any, name: str, head: nn.Linear, pad_id: int | None) -> PreTrainedModel | None:
    """The trunk under transformers' own class for this head, if there is one."""
    loader = next(loader for loader, known in KINDS.values() if known == name)
    config: Any = type(source.config).from_dict(source.config.to_dict())
    config.num_labels, config.pad_token_id = 1, pad_id
    try:
        with torch.device("meta"):
            saved = loader.from_config(config)
    except ValueError:
        return None
    saved.to_empty(device="cpu")
    weights = getattr(source, source.base_model_prefix).state_dict()
    missing, unexpected = getattr(saved, saved.base_model_prefix).load_state_dict(weights, strict=False)
    if missing or unexpected:
        raise RuntimeError(f"trunks do not match: missing {missing[:3]}, unexpected {unexpected[:3]}")
    target = head_of(saved, config.model_type)
    with torch.no_grad():
        target.weight.copy_(head.weight)
        if target.bias is not None:
            target.bias.zero_()
            if head.bias is not None:
                target.bias.copy_(head.bias)
    return saved.to(next(iter(weights.values())).dtype)
