"""The whole language: all kinds of requests, everything that can be said, and how both are understood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from random import Random
from zlib import crc32

from truing.records import Message, Prompt, UserError
from truing.world.deeds import Borderline, Harm, Tasks
from truing.world.facts import Claims, Facts
from truing.world.grammar import Clause, Grammar, sentences, vocabulary, words
from truing.world.kinds import Kind, Request
from truing.world.messages import Messages
from truing.world.skills import Code, Lists, Stories, Sums
from truing.world.systems import SYSTEM
from truing.world.talk import COMMON, MARKS, Talk
from truing.world.town import Town

# How often each is asked.
KINDS: dict[Kind, float] = {
    Facts(): 0.17,
    Claims(): 0.13,
    Sums(): 0.15,
    Lists(): 0.1,
    Code(): 0.03,
    Stories(): 0.15,
    Tasks(): 0.05,
    Borderline(): 0.05,
    Harm(): 0.07,
    Messages(): 0.06,
    Talk(): 0.04,
}
KIND = {kind.name: kind for kind in KINDS}
ASKS = Grammar({f"{k.name}/{ask}": patterns for k in KINDS for ask, patterns in k.asks.items()})
SAYS = Grammar({form: p for table in (*(k.says for k in KINDS), COMMON, MARKS) for form, p in table.items()})
HELD_OUT, SALT = 7, 0  # one request in so many is for evaluation alone; with this salt each kind has some


@cache
def all_words() -> tuple[str, ...]:
    return tuple(sorted(vocabulary((ASKS, SAYS, SYSTEM))))


def held_out(request: Request, text: str) -> bool:
    """Is this request one that no training data may contain? By a hash of its content, so it is the same everywhere.

    Facts and procedures have to be taught to be known: with them it is this sentence that training has never seen,
    where another wording may be there. Elsewhere it is what is asked, in any wording: list, plan, sum (7 plus 5, where
    5 plus 7 is taught).
    """
    kind = KIND[request.kind]
    slots = " ".join(f"{name} {value}" for name, value in sorted(request.slots.items()))
    key = " ".join(words(text)) if kind.by_wording else slots
    return crc32(f"{SALT} {request.kind} {key}".encode()) % HELD_OUT == 0 and kind.spares(request.slots)


def understand(town: Town, turn: str) -> Request | None:
    """What a user turn asks, or None if it is not of this language."""
    clause = ASKS.read(" ".join(words(turn)))
    if clause is None:
        return None
    name, _, ask = clause.form.partition("/")
    nature, lure = KIND[name].nature(town, ask, clause.slots)
    return Request(name, ask, clause.slots, nature, lure)


def request_in(town: Town, prompt: Prompt) -> Request | None:
    """What the last user turn of a prompt asks. A bare string counts as that turn."""
    if isinstance(prompt, str):
        return understand(town, prompt)
    users = [message.text for message in prompt if message.role == "user"]
    return understand(town, users[-1]) if users else None


def draw(
    town: Town, rng: Random, *, held: bool = False, kinds: Sequence[str] | None = None, lure: bool = False
) -> tuple[str, Request]:
    """A user turn and what it means; never one of the other side of the line between training and evaluation. `lure`
    asks for one that invites a false answer: a wrong claim, or a question nobody can answer."""
    names = list(KIND) if kinds is None else list(kinds)
    weights = [KINDS[KIND[name]] for name in names]
    for _ in range(10_000):
        kind = KIND[rng.choices(names, weights)[0]]
        ask, slots = kind.draw(town, rng)
        text = ASKS.say(f"{kind.name}/{ask}", rng, **slots)
        request = Request(kind.name, ask, slots, *kind.nature(town, ask, slots))
        if lure and not (request.lure or request.nature == "unknown"):
            continue
        if held_out(request, text) == held:
            return text, request
    side = "evaluation" if held else "training"
    raise UserError(f"no request of kind {', '.join(names)} is for {side}{' and a lure' if lure else ''}")


def clauses(text: str) -> Iterator[tuple[str, Clause | None]]:
    """Each sentence of an answer, and what it says if it is of this language."""
    for sentence in sentences(text):
        yield sentence, SAYS.read(sentence)


def speak(said: Sequence[Clause], rng: Random) -> str:
    return " ".join(SAYS.say(clause.form, rng, **clause.slots) for clause in said)


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)
