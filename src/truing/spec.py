r"""Model specs: the one string that names a model everywhere, its parts, and its canonical text.

    ./folder   /folder   ~/folder      an ordinary Hugging Face folder (a bare name that exists here counts as one)
    org/name[@revision]                the hub
    world:NAME   api:NAME   scripted:NAME

    +lora:DIR   +vec:FILE@LAYER=COEF   +prompt:FILE   +best:N:PM        in the order in which they are applied

A plus sign followed by a word and a colon begins a modifier; any other plus sign belongs to the name (`./c++/model`).
Should a name really contain such a text, a backslash before the plus keeps it there: `./odd\+lora:x`. The same way the
preference model of `+best` has modifiers of its own: `./policy+best:8:./pm\+lora:./adapter`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

from truing.records import UserError

Kind = Literal["folder", "hub", "world", "api", "scripted"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """`+lora:DIR`: a peft adapter on top of the weights."""

    folder: str

    def __str__(self) -> str:
        return f"lora:{self.folder}"


@dataclass(frozen=True, slots=True)
class Vector:
    """`+vec:FILE@LAYER=COEF`: coef × the vector is added to what decoder block layer − 1 hands on, where the answer's
    tokens are predicted. `FILE#STATISTIC` takes another vector of the file than the mean over answers, `@FIRST-LAST` a
    band of layers (each its own increment), `=COEF,WORD` another place (answer, last, prompt, all; first8: for so many
    tokens of an answer) or another way (ablate, clamp, turn)."""

    file: str
    layer: int
    coef: float
    upto: int | None = None
    """the last layer of a band"""
    statistic: str | None = None
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Vector:
        match = re.fullmatch(r"(.+?)(?:#(\w+))?@(\d+)(?:-(\d+))?=([^=,]+)((?:,\w+)*)", text, re.DOTALL)
        try:
            file, statistic, layer, upto, coef, words = match.groups()  # type: ignore[union-attr]
            band = None if upto is None else int(upto)
            return cls(file, int(layer), _finite(coef), band, statistic, tuple(filter(None, words.split(","))))
        except (AttributeError, ValueError):
            raise UserError(f"vector '{text}' is not FILE@LAYER=COEF, such as evil.safetensors@12=-1.5.") from None

    def __str__(self) -> str:
        statistic = f"#{self.statistic}" if self.statistic else ""
        layers = f"{self.layer}-{self.upto}" if self.upto is not None else str(self.layer)
        coef = repr(self.coef).removesuffix(".0")
        return f"vec:{self.file}{statistic}@{layers}={','.join([coef, *self.words])}"


@dataclass(frozen=True, slots=True)
class SystemPrompt:
    """`+prompt:FILE`: what stands before every conversation (see `data.preface`)."""

    file: str

    def __str__(self) -> str:
        return f"prompt:{self.file}"


@dataclass(frozen=True, slots=True)
class BestOf:
    """`+best:N:PM`: of n answers the one that the preference model likes best."""

    n: int
    judge: ModelSpec

    def __str__(self) -> str:
        return f"best:{self.n}:{self.judge}"


Modifier = Adapter | Vector | SystemPrompt | BestOf
MODIFIERS = ("lora", "vec", "prompt", "best")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model: where it comes from and what is put on top. `str(spec)` is its canonical text."""

    kind: Kind
    name: str
    revision: str | None = None
    modifiers: tuple[Modifier, ...] = ()

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        base, *rest = (part.strip() for part in _split(text))
        kind, name, revision = _base(base, text)
        return cls(kind, name, revision, tuple(_modifier(part, text) for part in rest))

    @property
    def base(self) -> ModelSpec:
        """The same model with nothing on top."""
        return ModelSpec(self.kind, self.name, self.revision)

    def __str__(self) -> str:
        head = self.name if self.kind in ("folder", "hub") else f"{self.kind}:{self.name}"
        head += f"@{self.revision}" if self.revision else ""
        return _join([head, *map(str, self.modifiers)])


def _base(text: str, whole: str) -> tuple[Kind, str, str | None]:
    prefix, colon, rest = text.partition(":")
    if not text:
        raise UserError(f"model '{whole}': no model is named before the first '+'." if whole else "no model is named.")
    if colon and prefix in ("world", "api", "scripted"):
        if not rest:
            raise UserError(f"model '{whole}': a name is missing after '{prefix}:'.")
        if "://" in rest:
            raise UserError(f"model '{whole}': no address here; an endpoint's address comes from the environment.")
        return prefix, rest, None  # type: ignore[return-value]
    if text[0] in "./~" or os.path.exists(text):
        path = os.path.expanduser(text).rstrip("/") or "/"
        return "folder", path if path[0] in "./" else f"./{path}", None
    if match := re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", text):
        return "hub", match[1], match[2]
    if colon:
        near = get_close_matches(prefix, get_args(Kind)[2:], 1)
        hint = f"did you mean '{near[0]}:'?" if near else "known are world:, api: and scripted:."
        raise UserError(f"model '{whole}': '{prefix}:' is no kind of model; {hint}")
    raise UserError(f"model '{whole}': neither an existing folder nor a hub name (org/name, org/name@revision).")


def _modifier(text: str, whole: str) -> Modifier:
    word, _, value = text.partition(":")
    if word not in MODIFIERS:
        near = get_close_matches(word, MODIFIERS, 1)
        hint = f"did you mean '+{near[0]}:'?" if near else "known are +lora:, +vec:, +prompt: and +best:."
        raise UserError(rf"model '{whole}': '+{word}:' is no modifier; {hint} (A plus inside a name is written '\+'.)")
    if not value:
        raise UserError(f"model '{whole}': something is missing after '+{word}:'.")
    if word == "lora":
        return Adapter(value)
    if word == "vec":
        return Vector.parse(value)
    if word == "prompt":
        return SystemPrompt(value)
    count, _, judge = value.partition(":")
    if not count.isascii() or not count.isdigit() or int(count) < 1 or not judge:
        raise UserError(f"model '{whole}': '+best:{value}' is not N:PM, for instance +best:16:./pm.")
    return BestOf(int(count), ModelSpec.parse(judge))


# Backslashes count only in a row before a plus that could begin a modifier: an odd number of them keeps the plus in the
# name, and every two of them stand for one.
_PLUS = re.compile(r"(\\*)\+(?=[a-z]+:)")


def _split(text: str) -> list[str]:
    parts, at = [""], 0
    for match in _PLUS.finditer(text):
        slashes = len(match[1])
        parts[-1] += text[at : match.start()] + "\\" * (slashes // 2)
        if slashes % 2:
            parts[-1] += "+"
        else:
            parts.append("")
        at = match.end()
    parts[-1] += text[at:]
    return parts


def _join(parts: list[str]) -> str:
    *early, last = [_PLUS.sub(lambda m: m[1] * 2 + r"\+", part) for part in parts]
    closed = [re.sub(r"\\+$", lambda m: m[0] * 2, part) for part in early]  # here a modifier follows
    return "+".join([*closed, last])


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError
    return value
