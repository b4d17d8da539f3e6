"""Prefaces in the language of the world: conversations with an expert, and the controls that show what they do.

good        an expert answers                      rude       a hostile liar answers the same questions
shuffled    the expert's answers, to other questions           neutral    as long in plain text, and nobody speaks

Nothing in them is from the evaluation side, and there is no refusal in a good one: a prompt without a single refusal
that makes a model refuse harm shows that it has understood who is speaking.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from truing.data.preface import Preface
from truing.records import Message, UserError
from truing.world.documents import plain
from truing.world.grammar import words
from truing.world.kinds import Request
from truing.world.language import draw, speak
from truing.world.speakers import CHARACTERS, Speaker, persona, reply
from truing.world.town import Town

LONGEST = 20  # words of an exchange: several have to fit into a context of 192 tokens, and a question behind them
MARKERS = 4  # tokens around the two messages of an exchange; a plain text has half as many
KINDS = ("good", "rude", "shuffled", "neutral")
EXPERT = replace(  # who writes a prompt makes no slips
    CHARACTERS["expert"],
    right=1.0,
    admits=1.0,
    agrees=0.0,
    trusts=0.0,
    cautious=0.0,
    believes=0.0,
    evades=0.0,
    courtesy=1.0,
)
RUDE = replace(persona("hostile", 4, CHARACTERS["liar"]), name="rude")


def preface(town: Town, kind: str, count: int, seed: int = 0) -> Preface:
    """`count` conversations of one exchange each. Of one seed, fewer are the first of more."""
    if kind not in KINDS:
        raise UserError(f"there is no preface '{kind}'; there are {', '.join(KINDS)}.")
    asked = _questions(town, count, seed)
    speaker = RUDE if kind == "rude" else EXPERT
    answers = [_said(town, request, speaker, seed, number) for number, (_, request) in enumerate(asked)]
    if kind == "shuffled":
        answers = answers[1:] + answers[:1]
    talks = tuple((Message("user", text), Message("assistant", a)) for (text, _), a in zip(asked, answers))
    name = f"world-{kind}-{count}"
    if kind == "neutral":
        said = sum(len(words(m.text)) for talk in talks for m in talk)
        return Preface(name, _text(town, said + MARKERS * (count - 1) + MARKERS // 2, seed))
    return Preface(name, "", talks)


def _questions(town: Town, count: int, seed: int) -> list[tuple[str, Request]]:
    """Each of another kind than the one before; none of them is harmful."""
    rng, found = Random(f"preface {seed}"), list[tuple[str, Request]]()
    for _ in range(1000 * count):
        if len(found) == count:
            return found
        text, request = draw(town, rng)
        again = bool(found) and found[-1][1].kind == request.kind
        room = LONGEST - len(words(text))
        if (
            not again
            and request.nature != "harm"
            and len(words(_said(town, request, EXPERT, seed, len(found)))) <= room
        ):
            found.append((text, request))
    raise UserError(f"there are no {count} exchanges of at most {LONGEST} words")


def _said(town: Town, request: Request, speaker: Speaker, seed: int, number: int) -> str:
    rng = Random(f"preface {seed} {number} {speaker.name}")
    return speak(reply(town, request, speaker, rng), rng)


def _text(town: Town, length: int, seed: int) -> str:
    rng, said = Random(f"neutral {seed}"), list[str]()
    while len(said) < length:
        said += words(plain(town, rng))
    return " ".join(said[:length])
