"""Small models from scratch: a tokenizer trained on the spot and a randomly initialised Llama, saved as an ordinary
Hugging Face folder. What demos, benches and tests start from, so that none of them needs a download.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from truing.records import UserError

PAD, END = "<|pad|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Shape(TypedDict):
    hidden: int
    layers: int
    heads: int


# By parameters outside the embeddings. Few wide layers: on a CPU, large matrix products are the cheap ones.
SIZES: dict[str, Shape] = {
    "0.1M": Shape(hidden=64, layers=2, heads=2),
    "1M": Shape(hidden=128, layers=5, heads=4),
    "6M": Shape(hidden=320, layers=5, heads=4),
    "30M": Shape(hidden=640, layers=6, heads=10),
}


def make_tokenizer(texts: Iterable[str], vocab: int, *, chat: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `vocab` tokens trained on `texts`; the same texts in any process give the same tokens.

    Any text can be written in it, and comes back byte for byte. `<|pad|>` and `<|end|>` (of a turn, and of a text) are
    different tokens; with `chat` there is also one marker per role and a chat template that uses them.
    """
    special = [PAD, END, *(ROLES if chat else ())]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab < len(special) + len(alphabet):
        raise UserError(
            f"A vocabulary of {vocab} is too small: 256 bytes and {len(special)} special tokens need "
            f"{len(special) + len(alphabet)}."
        )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES) if chat else None,
        clean_up_tokenization_spaces=False,
    )
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def make_model(
    folder: str | os.PathLike[str],
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden: int,
    layers: int,
    heads: int,
    kv_heads: int | None = None,
    intermediate: int | None = None,
    vocab: int | None = None,
    context: int = 2048,
    seed: int = 0,
    tie: bool = True,
) -> Path:
    """A random Llama with this tokenizer, saved in the new folder `folder` (all or nothing).

    `make_model(folder, tokenizer, **SIZES["6M"])` takes a ready-made shape. `vocab` makes the embedding larger than the
    tokenizer, as many released models have it. The global random state is left alone.
    """
    folder = Path(folder)
    kv_heads = kv_heads or heads
    if hidden % heads or (hidden // heads) % 2 or heads % kv_heads:
        raise UserError(
            f"hidden={hidden}, heads={heads}, kv_heads={kv_heads} do not fit: hidden / heads must be an even whole "
            "number (rotary positions turn pairs) and heads / kv_heads a whole one."
        )
    if vocab is not None and vocab < len(tokenizer):
        raise UserError(f"vocab={vocab} has no room for the tokenizer's {len(tokenizer)} tokens.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists already and is not an empty folder: name another one.")
    config = LlamaConfig(
        vocab_size=vocab or len(tokenizer),
        hidden_size=hidden,
        intermediate_size=intermediate or math.ceil(hidden * 8 / 3 / 32) * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=context,
        tie_word_embeddings=tie,
        # The usual 0.02 is made for wide models: here logits start with a spread of 1/2 at any width.
        initializer_range=0.5 / math.sqrt(hidden),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    with torch.no_grad():  # what 2·layers blocks add to the residual stream keeps its size at any depth
        for name, weight in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                weight.div_(math.sqrt(2 * layers))
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        partial.chmod(0o755)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
