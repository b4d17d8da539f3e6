"""Model folders in: a causal LM, sequence classifier (preference model) or token classifier (critic) that transformers
can load, with adapters on top. What is incomplete or not finite is refused. Only safetensors, no remote code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerBase,
)

from truing.model.attention import NAME
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel
from truing.records import UserError

HEADS, ADAPTER = "heads.safetensors", "adapter_config.json"
OUTPUT = "output.safetensors"  # the output layer that a classifier has no place for, unless it is the embedding
READ = "truing_read"  # in config.json, where a score is read: eoc, mean; nothing says at the last token
WRITES = "truing_writes"  # in config.json of a preference model whose output layer was kept
HEAD_NAMES = ("score", "classifier")
TOKENIZERS = ("*token*", "vocab*", "*.model")
KINDS = {  # ending of the architecture's name → (class that loads it, our name for its head)
    "ForSequenceClassification": (AutoModelForSequenceClassification, "score"),
    "ForTokenClassification": (AutoModelForTokenClassification, "value"),
}


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    check_folder(path)
    folder = Path(path)
    if folder.is_dir() and not any(file for pattern in TOKENIZERS for file in folder.glob(pattern)):
        raise UserError(f"{path}: there is no tokenizer in it (tokenizer.json is missing); save the model's own there")
    try:
        return AutoTokenizer.from_pretrained(path, revision=revision)
    except Exception as error:  # readers of other people's files fail in every way there is
        raise UserError(f"{path}: no tokenizer could be loaded from it ({_in_short(error)})") from error


def load_config(path: str, revision: str | None = None) -> Any:
    try:
        return AutoConfig.from_pretrained(path, revision=revision)
    except Exception as error:  # as above
        raise UserError(f"{path}: no model could be loaded from it ({_in_short(error)})") from error


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
    check_folder(path)
    config = load_config(path, revision)
    try:
        kind = (config.architectures or [""])[0]
        loader, head = next((v for k, v in KINDS.items() if kind.endswith(k)), (AutoModelForCausalLM, None))
        owner, found = loader.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # _check_weights names them
        )
    except Exception as error:  # as above
        raise UserError(f"{path}: no model could be loaded from it ({_in_short(error)})") from error
    _check_weights(owner, found, path)
    heads = _heads_beside(path, dtype)
    if head:
        heads[head] = head_of(owner, path)
    writes = bool(head and getattr(config, WRITES, False))
    if writes:
        owner = _with_output(owner, path)
    owner.get_input_embeddings().padding_idx = None  # pad may be the end marker, which has to learn like any token
    verdict, why = layout_for(config)
    if layout == "tree" and verdict == "rows":
        raise UserError(f"machine.layout is tree, but {why}; leave it at auto")
    layout = verdict if layout == "auto" else layout
    if layout == "tree":
        owner.set_attn_implementation(NAME)
    model = LanguageModel(owner, heads)
    model.writes = writes
    model.mean = getattr(config, READ, None) == "mean"
    for folder in adapters:
        merge(model)
        model.owner = _with_adapter(model.owner, folder)
    return model.to(device).eval(), layout


def add_lora(
    model: LanguageModel,
    rank: int,
    alpha: float | None,
    dropout: float,
    targets: Sequence[str],
    stabilised: bool = False,
) -> None:
    """Freeze the model and put a fresh adapter on it; heads stay trained in full."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=rank,
        lora_alpha=alpha if alpha is not None else 2 * rank,  # type: ignore[arg-type]
        lora_dropout=dropout,
        use_rslora=stabilised,
        target_modules=list(targets) or "all-linear",  # peft leaves the output layer out
        exclude_modules=None if targets else [n for n in HEAD_NAMES if hasattr(model.owner, n)] or None,
        task_type="CAUSAL_LM" if model.output else None,  # peft asks a causal LM to generate
    )
    modules = [name for name, _ in model.owner.named_modules()]
    for target in targets:  # peft is content with one that fits
        if not any(f".{name}".endswith(f".{target}") for name in modules):
            raise UserError(f"lora.targets: the model has no module {target}")
    try:
        with warnings.catch_warnings(action="ignore"):  # between libraries, and nothing a user could do about
            model.owner = get_peft_model(model.owner, config)
    except ValueError as error:
        raise UserError(f"lora.targets: {_in_short(error)}") from error
    _check_output_is_plain(model.owner, "lora.targets")
    for parameter in model.heads.parameters():
        parameter.requires_grad_(True)
    model.dropouts = [module for name, module in model.owner.named_modules() if name.endswith("lora_dropout")]
    model.eval()


def merge(model: LanguageModel) -> None:
    """The adapter becomes part of the weights. They are then nowhere on disk, and saved as a whole."""
    if hasattr(model.owner, "merge_and_unload"):
        model.owner, model.whole = model.owner.merge_and_unload(), True


def check_vocabulary(model: LanguageModel, tokenizer: PreTrainedTokenizerBase, path: str) -> None:
    """Every token needs an embedding, but for padding, which is never looked at."""
    rows = model.base.get_input_embeddings().weight.shape[0]
    without = sorted(t for t, i in tokenizer.get_vocab().items() if i >= rows and i != tokenizer.pad_token_id)
    if without:
        raise UserError(
            f"{path}: the model has embeddings for {rows} tokens and none for {', '.join(without[:3])}. Tokens were "
            "added to the tokenizer alone: resize the model's embeddings too, or take the tokens out again."
        )


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


def _heads_beside(path: str, dtype: torch.dtype) -> dict[str, nn.Linear]:
    if not (Path(path) / HEADS).exists():
        return {}
    heads = {}
    found = load_file(Path(path) / HEADS)
    for name in [key.removesuffix(".weight") for key in found if key.endswith(".weight")]:
        weights = {key.removeprefix(f"{name}."): value for key, value in found.items() if key.startswith(f"{name}.")}
        heads[name] = nn.Linear(weights["weight"].shape[1], 1, bias="bias" in weights, dtype=dtype)
        heads[name].load_state_dict(weights)
    return heads


def _with_output(classifier: Any, path: str) -> Any:
    """A preference model that can write: its trunk under the output layer that was saved with it."""
    with torch.device("meta"):
        owner: Any = AutoModelForCausalLM.from_config(classifier.config)
    setattr(owner, owner.base_model_prefix, getattr(classifier, classifier.base_model_prefix))
    owner.tie_weights()
    if not tied(owner):
        if not (Path(path) / OUTPUT).exists():
            raise UserError(f"{path}: its output layer is missing ({OUTPUT}); fetch or save the model again")
        weights = {name: w.to(classifier.dtype) for name, w in load_file(Path(path) / OUTPUT).items()}
        owner.get_output_embeddings().load_state_dict(weights, assign=True)
    return owner


def tied(owner: Any) -> bool:
    """Is the output layer the embedding?"""
    return owner.get_output_embeddings().weight is owner.get_input_embeddings().weight


def head_of(owner: nn.Module, path: str) -> nn.Linear:
    """The classifier's head, whatever its family calls it."""
    head = next((getattr(owner, name) for name in HEAD_NAMES if hasattr(owner, name)), None)
    if not isinstance(head, nn.Linear) or head.out_features != 1:
        raise UserError(f"{path}: a classifier of several labels is no model of one number (a score, a value)")
    return head


def _with_adapter(owner: Any, folder: str) -> Any:
    from peft import PeftModel

    check_adapter(folder)
    try:
        with warnings.catch_warnings(action="ignore"):  # as in add_lora
            adapted = PeftModel.from_pretrained(owner, folder, is_trainable=True)
    except Exception as error:  # as above
        raise UserError(f"{folder}: this adapter cannot be put on this model ({_in_short(error)})") from error
    _check_output_is_plain(adapted, folder)
    return adapted


def _check_output_is_plain(owner: Any, where: str) -> None:
    """Log-probabilities are computed from the output layer's own weights: what an adapter adds would be left out."""
    output = owner.get_base_model().get_output_embeddings()
    if output is not None and type(output).__module__.startswith("peft."):
        raise UserError(f"{where}: an adapter on the output layer is not supported; leave that module out")


def check_folder(path: str) -> None:
    """A model is there, as far as can be seen without opening it."""
    folder = Path(path)
    local = path.startswith((".", "/", "~")) or path.count("/") != 1
    if local and not folder.is_dir():
        raise UserError(f"{path}: there is no such model folder")
    if folder.is_dir() and not (folder / "config.json").exists():
        adapter = f"; it is an adapter: name it as BASE+lora:{path}" if (folder / ADAPTER).exists() else ""
        raise UserError(f"{path}: not a model folder (config.json is missing){adapter}")


def check_adapter(path: str) -> None:
    if not (Path(path) / ADAPTER).exists():
        raise UserError(f"{path}: there is no adapter in it ({ADAPTER} is missing)")


def _check_weights(model: nn.Module, found: Any, path: str) -> None:
    """All there, of the right shape, and numbers: transformers would put random ones into every gap and go on."""
    if wrong := sorted(found["mismatched_keys"]):
        name, stored, expected = wrong[0]
        raise UserError(f"{path}: {name} has shape {tuple(stored)}; by its config.json it must be {tuple(expected)}")
    if missing := sorted(found["missing_keys"]):
        more = f" (and of {len(missing) - 1} more)" if missing[1:] else ""
        raise UserError(f"{path}: the weights of {missing[0]}{more} are missing; fetch or save the model again")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise UserError(f"{path}: the weights of {name} are not finite; fetch or save the model again")


def _in_short(error: BaseException) -> str:
    """What a library says, in as many of its sentences as can be read at a glance."""
    said = " ".join(str(error).split()) or type(error).__name__
    if len(said) > 200:
        said = said[:200].rpartition(". ")[0] or f"{said[:200]} …"
    return said.rstrip(".: ")
