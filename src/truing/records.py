"""The one record everything is made of: a prompt, k answers to it, and judgements about them.

A demonstration has one answer, a comparison two, a ranking n; a rollout is n samples with rewards, an item of a
multiple-choice test n options with one right. Pairs, rankings, labels and scores are *views* of the same record.
No torch here: these types travel through files, caches and web pages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal


class UserError(Exception):
    """A mistake of the user's, in one sentence: what was wrong, where, and what to do. Shown without a traceback."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message that mixes text and images: `value` is the text, or the image's path."""

    kind: Literal["text", "image"]
    value: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str | tuple[Part, ...]

    @property
    def text(self) -> str:
        return (
            self.content
            if isinstance(self.content, str)
            else "".join(p.value for p in self.content if p.kind == "text")
        )


# A conversation goes through the model's chat template; a plain string is given to the model as it is.
Prompt = str | tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a prompt.

    `more` holds the turns after the first reply where a conversation is trained on as a whole (user, assistant, …).
    `ids` are the tokens as they were sampled, end marker included, valid only for the tokenizer with hash `tokenizer`;
    with them the text is never tokenised again. `logps` are the sampler's log-probabilities of those tokens.
    """

    text: str
    more: tuple[Message, ...] = ()
    by: str | None = None
    ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    logps: tuple[float, ...] | None = None
    finish: Literal["end", "stop", "length"] | None = None
    reward: float | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What somebody said about the answers of one example.

    kind    value
    order   answer numbers, best first: (1, 0) says answer 1 is better; tied ones share a tuple: ((2,), (0, 1))
    scores  one number (or None) per answer, more is better
    label   one bool (or None) per answer
    text    a remark
    """

    kind: Literal["order", "scores", "label", "text"]
    value: Any
    aspect: str | None = None
    by: str | None = None
    strength: float | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt, its answers, judgements about them. `meta` keeps columns that no format knows, for rewards to read."""

    prompt: Prompt
    answers: tuple[Answer, ...] = ()
    judgements: tuple[Judgement, ...] = ()
    source: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        """Hash of prompt and answers, not of judgements: the question stays the same when somebody judges it again."""
        return fingerprint([_plain(self.prompt), [[a.text, _plain(a.more)] for a in self.answers]])

    def ranks(self) -> list[int] | None:
        """Rank of each answer (0 = best, ties equal) by the first judgement that orders all answers, or None. Labels
        order, too: good ones before bad ones."""
        for judgement in self.judgements:
            if judgement.kind == "order":
                tiers = [tier if isinstance(tier, Sequence) else (tier,) for tier in judgement.value]
                rank_of = {answer: rank for rank, tier in enumerate(tiers) for answer in tier}
            elif judgement.kind == "label" and all(v is not None for v in judgement.value):
                rank_of = {answer: int(not good) for answer, good in enumerate(judgement.value)}
            elif judgement.kind == "scores" and all(v is not None for v in judgement.value):
                levels = sorted(set(judgement.value), reverse=True)
                rank_of = {answer: levels.index(v) for answer, v in enumerate(judgement.value)}
            else:
                continue
            if len(rank_of) == len(self.answers):
                return [rank_of[i] for i in range(len(self.answers))]
        return None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn. A sample depends on (seed, prompt, its number among the n) and on nothing else."""

    n: int = 1
    """answers per prompt"""
    max_tokens: int = 128
    """longest answer, end marker included"""
    temperature: float = 1.0
    """0 takes the likeliest token"""
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps the whole vocabulary"""
    stop: tuple[str, ...] = ()
    """texts at which an answer ends (and which are cut off)"""
    seed: int = 0


def fingerprint(value: Any) -> str:
    """A short, stable hash of anything JSON can hold."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _plain(prompt: Prompt) -> Any:
    if isinstance(prompt, str):
        return prompt
    return [
        [m.role, m.content if isinstance(m.content, str) else [[p.kind, p.value] for p in m.content]] for m in prompt
    ]
