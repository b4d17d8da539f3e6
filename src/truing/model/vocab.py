"""Tokenizers: exact private copies to cut text with, and the two tokens a preference model needs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase

from truing.batch import Group
from truing.records import UserError, fingerprint

EOC, PAD = "<|eoc|>", "<|pad|>"


class Cutter:
    """A tokenizer's copies for text at a `start` and text that continues other text (`within`).

    Many tokenizers put a space before whatever they are given, which is wrong for a piece that continues another. And
    a control token that is spelt out in an answer must stay letters: it would end the answer in the middle.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        if not hasattr(tokenizer, "backend_tokenizer"):
            raise UserError(
                f"{type(tokenizer).__name__} runs in Python and cannot be controlled closely enough: convert it to a "
                "fast tokenizer (a folder with tokenizer.json)."
            )
        spec = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
        bare = spec | {part: _without_prefix(spec[part]) for part in ("normalizer", "pre_tokenizer")}
        self._start, self._within = Tokenizer.from_str(json.dumps(spec)), Tokenizer.from_str(json.dumps(bare))
        self._anchor = self.start("a")
        self._anchored = len(self._start.decode(self._anchor, skip_special_tokens=False))
        ours = [token for token in spec["added_tokens"] if token["content"] not in (EOC, PAD)]
        self.hash = fingerprint([spec | {"added_tokens": ours}, tokenizer.bos_token, tokenizer.eos_token])

    def start(self, text: str) -> list[int]:
        return self._start.encode(text, add_special_tokens=False).ids

    def within(self, text: str, *, control: bool = False) -> list[int]:
        """Control tokens are ordinary letters here unless `control`."""
        self._within.encode_special_tokens = not control
        return self._within.encode(text, add_special_tokens=False).ids

    def text(self, ids: list[int]) -> str:
        """The text of tokens that continue others. Decoders swallow a space at the beginning of what they are given,
        so something is put there first."""
        return self._start.decode([*self._anchor, *ids], skip_special_tokens=False)[self._anchored :]

    def exact(self) -> bool:
        """Does text come back as it was?"""
        probe = " Ab,  ü\n\nc ."
        return self.text(self.within(probe)) == probe


def _without_prefix(part: Any) -> Any:
    """A normalizer's or pre-tokenizer's description without the space it puts before a text."""
    if isinstance(part, list):
        return [p for p in map(_without_prefix, part) if p is not None]
    if not isinstance(part, dict):
        return part
    if part.get("type") == "Prepend":
        return None
    part = {key: _without_prefix(value) for key, value in part.items()}
    if "prepend_scheme" in part:
        part["prepend_scheme"] = "never"
    if "add_prefix_space" in part:
        part["add_prefix_space"] = False
    return part


def add_eoc(tokenizer: PreTrainedTokenizerBase) -> int:
    """Gives the tokenizer the end-of-context token at which a preference score is read, and a pad token of its own.
    The model's embedding has to follow."""
    _add(tokenizer, EOC)
    add_pad(tokenizer)
    return tokenizer.get_added_vocab()[EOC]


def add_pad(tokenizer: PreTrainedTokenizerBase) -> None:
    """A pad token that ends nothing: transformers looks for a score at the last token that is not padding."""
    pad = tokenizer.pad_token
    if pad is None or pad == tokenizer.eos_token or pad in str(tokenizer.chat_template):  # where it may end a turn
        _add(tokenizer, PAD)
        tokenizer.pad_token = PAD


def _add(tokenizer: PreTrainedTokenizerBase, token: str) -> None:
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)], special_tokens=True)


def with_eoc(group: Group, eoc_id: int) -> Group:
    """The group with the end-of-context token, never trained on, behind every answer (one token longer)."""
    return replace(
        group,
        answers=[[*answer, eoc_id] for answer in group.answers],
        trained=[[*trained, False] for trained in group.trained],
    )
