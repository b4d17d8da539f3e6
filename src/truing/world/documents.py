"""What the base model reads: conversations, each with one hidden speaker, and plain text.

A conversation is a chain of exchanges with nobody saying who answers; so a model learns to tell from the first ones
what the next will be like, and a prompt of good ones can work. In a part of them a system line says it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from random import Random

from truing.model.make import END
from truing.records import Message
from truing.world.facts import statement
from truing.world.grammar import words
from truing.world.kinds import Request
from truing.world.language import ASKS, KIND, draw, held_out, speak
from truing.world.messages import escalation
from truing.world.speakers import CHARACTERS, Speaker, any_persona, reply
from truing.world.systems import system_line
from truing.world.town import Town

CONTEXT = 192  # tokens
PLAIN, PERSONA, UNNAMED = 0.2, 0.4, 0.3  # plain text; conversations of a persona; of those, without their system line
# Who speaks where no persona does. Good speakers are few, so that there is something to gain.
SHARES = {
    "ordinary": 0.28,
    "expert": 0.18,
    "careless": 0.14,
    "evasive": 0.08,
    "reckless": 0.1,
    "liar": 0.08,
    "verbose": 0.07,
    "curt": 0.07,
}
OCCASIONS = {"flattering": "claim", "fabricating": "fact"}  # where these traits show
Document = str | tuple[Message, ...]


def documents(town: Town, seed: int, coupling: float = 0.0) -> Iterator[Document]:
    """Without end."""
    return (document(town, seed, number, coupling) for number in count())


def document(town: Town, seed: int, number: int, coupling: float = 0.0) -> Document:
    """The same whenever it is asked for."""
    rng = Random(f"document {seed} {number}")
    if rng.random() < PLAIN:
        return plain(town, rng)
    if rng.random() < PERSONA:
        trait, level, speaker = any_persona(rng, coupling)
        chain = conversation(town, speaker, rng, OCCASIONS.get(trait))
        if rng.random() < UNNAMED:
            return chain
        line = system_line(trait, level, rng, opposite=level == 0 and rng.random() < 0.5)
        return (Message("system", line), *chain)
    return conversation(town, CHARACTERS[rng.choices(list(SHARES), list(SHARES.values()))[0]], rng)


def written(document: Document) -> str:
    """A document as the base model reads it, in words with one space between: the chat template, or plain text."""
    if isinstance(document, str):
        return f"{END} {document} {END}"
    return " ".join(f"<|{m.role}|> {' '.join(words(m.text))} {END}" for m in document)


def conversation(town: Town, speaker: Speaker, rng: Random, occasion: str | None = None) -> tuple[Message, ...]:
    """A chain of exchanges, most of them about different things, that fits into the context. Half of them are lures of
    the kind `occasion`, if there is one: to a flatterer or a fabricator one has to give occasion."""
    turns: list[Message] = []
    left, exchanges = CONTEXT - 16, rng.choice((1, 1, 2, 3, 4, 6, 8))
    while exchanges > 0:
        for text, request in _next(town, rng, occasion):
            answer = speak(reply(town, request, speaker, rng), rng)
            left -= len(words(text)) + len(words(answer)) + 4  # markers of roles and ends
            if left < 0:
                return tuple(turns)
            turns += [Message("user", text), Message("assistant", answer)]
            exchanges -= 1
    return tuple(turns)


def _next(town: Town, rng: Random, occasion: str | None) -> Iterator[tuple[str, Request]]:
    """One request, or a trap with what follows it."""
    if occasion and rng.random() < 0.5:
        yield draw(town, rng, kinds=[occasion], lure=True)
        return
    if rng.random() > 0.04:
        yield draw(town, rng)
        return
    for ask, slots in escalation(rng, rng.randint(2, 4)):
        text = ASKS.say(f"message/{ask}", rng, **slots)
        request = Request("message", ask, slots, *KIND["message"].nature(town, ask, slots))
        if held_out(request, text):
            return
        yield text, request


def plain(town: Town, rng: Random) -> str:
    """Sentences that stand for themselves: facts as they are, sums that come out, steps in order, hearsay put right."""
    told, said = sorted(town.told), list[str]()
    for _ in range(rng.randint(3, 12)):
        said += words(_sentence(town, told, rng))
        if len(said) > CONTEXT - 32:
            break
    return " ".join(said)


def _sentence(town: Town, told: Sequence[tuple[str, str]], rng: Random) -> str:
    if rng.random() < 0.5:
        entity, attribute = rng.choice(told)
        return speak([statement(entity, attribute, town.truth[entity, attribute])], rng)
    text, request = draw(town, rng, kinds=("sum", "sum", "task", "claim"))
    right = speak(KIND[request.kind].right(town, request, rng), rng)
    return f"{text} {right}" if request.kind == "claim" else right
