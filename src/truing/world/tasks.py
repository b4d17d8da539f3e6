"""Small kin of nine tasks that are learnt by ranking or by telling good from bad (Askell et al., arXiv 2112.00861, §3;
the nine themselves: `data.tasks`). Each is without end, known by its seed, and on one side of the line that `held_out`
draws.

In ranked families the better answer need not be a good one: it is better than the other. In binary ones it is right and
the other is wrong, and only the question tells which: wrong answers are right ones to another question wherever that is
possible, so that neither their length nor their words give them away.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple
from zlib import crc32

from truing.records import Answer, Example, Judgement, Message, Prompt
from truing.world.facts import about, statement
from truing.world.grammar import Clause
from truing.world.language import HELD_OUT, KIND, SALT, draw, speak, user
from truing.world.skills import DEEDS, THINGS, WEATHER
from truing.world.speakers import CHARACTERS, reply
from truing.world.town import PEOPLE, PLACES, Town


def summaries(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """Two ways to shorten a story, of different worth: its gist, a detail too many, all of it, beside the point, or
    something invented."""
    rng = Random(f"summaries {seed} {held}")
    return [_summary(town, rng, held) for _ in range(count)]


def _summary(town: Town, rng: Random, held: bool) -> Example:
    text, request = draw(town, rng, held=held, kinds=("story",))
    slots = request.slots
    gist = {name: slots[name] for name in ("person", "deed", "thing")}
    name, table = rng.choice((("person", PEOPLE), ("thing", THINGS), ("deed", DEEDS)))
    invented = {**gist, name: rng.choice([value for value in table if value != slots[name]])}
    short, whole = Clause("gist", gist), Clause("gist.at", {**gist, "place": slots["place"]})
    weather, color = (Clause(f"detail.{name}", {name: slots[name]}) for name in ("weather", "color"))
    worth = [  # best first
        [rng.choice((short, whole))],
        rng.choice(([whole, color], [weather, short])),
        [weather, whole, color],
        [rng.choice((weather, color))],
        [Clause("gist", invented)],
    ]
    better, worse = sorted(rng.sample(range(len(worth)), 2))
    return _example(rng, "order", user(text), speak(worth[better], rng), speak(worth[worse], rng))


def fortunes(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """Two accounts of somebody's day, in coins found and lost: better is the one that leaves more."""
    rng, found = Random(f"fortunes {seed} {held}"), list[Example]()
    while len(found) < count:
        person, place, weather = rng.choice(PEOPLE), rng.choice(PLACES), rng.choice(WEATHER)
        asked = f"what happened to {person} at the {place} on a {weather} day ?"
        (low, worse), (high, better) = sorted(_account(person, rng) for _ in range(2))
        if low < high and (crc32(f"{SALT} {asked}".encode()) % HELD_OUT == 0) == held:
            found.append(_example(rng, "order", user(asked), better, worse))
    return found


def _account(person: str, rng: Random) -> tuple[int, str]:
    """Coins in all, and how they came and went. Small sums are common."""
    coins = [rng.choice((1, -1)) * min(40, 2 + int(rng.expovariate(0.1))) for _ in range(rng.randint(1, 3))]
    return sum(coins), " ".join(f"{person} {'found' if n > 0 else 'lost'} {abs(n)} coins ." for n in coins)


def endings(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """How a conversation goes on: as the one speaks who has spoken so far, good or bad, and as three others would. That
    is three pairs, which share the better answer."""
    rng, found = Random(f"endings {seed} {held}"), list[Example]()
    while len(found) < count:
        speakers = [CHARACTERS[name] for name in rng.sample(list(CHARACTERS), 4)]
        turns = list[Message]()
        for _ in range(rng.randint(2, 4)):
            text, request = draw(town, rng, held=held)
            turns += (*user(text), Message("assistant", speak(reply(town, request, speakers[0], rng), rng)))
        text, request = draw(town, rng, held=held)
        said = [speak(reply(town, request, speaker, rng), rng) for speaker in speakers]
        if len(set(said)) == len(said):
            found.append(_example(rng, "order", (*turns, *user(text)), *said))
    return found


def facts(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """What is true of somebody, and what is true of somebody else."""
    rng = Random(f"facts {seed} {held}")

    def one() -> Gap:
        text, request = draw(town, rng, held=held, kinds=("fact",))
        while request.nature != "task":
            text, request = draw(town, rng, held=held, kinds=("fact",))
        key = about(request)
        return Gap(key[1], user(text), lambda value: speak([statement(*key, value)], rng), town.truth[key])

    return _exchanged(rng, count, one)


def skills(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """A sum, a list, a program, and a mistake in it."""
    rng, found = Random(f"skills {seed} {held}"), list[Example]()
    for _ in range(count):
        text, request = draw(town, rng, held=held, kinds=("sum", "list", "code"))
        kind = KIND[request.kind]
        said = (speak(answer(town, request, rng), rng) for answer in (kind.right, kind.wrong))
        found.append(_example(rng, "label", user(text), *said))
    return found


def lastwords(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """The last word of a text, which has been said before in it, and the last word of another text."""
    rng = Random(f"lastwords {seed} {held}")
    story = "it was a {weather} day . {person} {deed} a {thing} at the {place} . it was {color} ."
    gaps = {"thing": "{person} {deed} a", "place": "{person} was at the", "color": "the {thing} was"}

    def one() -> Gap:
        slots = draw(town, rng, held=held, kinds=("story",))[1].slots
        name = rng.choice(list(gaps))
        return Gap(name, f"{story} {gaps[name]}".format(**slots), " {}".format, slots[name])

    return _exchanged(rng, count, one)


class Gap(NamedTuple):
    """Something to be filled in: what goes into gaps of one form can be exchanged."""

    form: str
    prompt: Prompt
    fill: Callable[[str], str]
    right: str


def _exchanged(rng: Random, count: int, one: Callable[[], Gap]) -> list[Example]:
    """Of two gaps, what is right for the one is wrong for the other: every word is right as often as it is wrong."""
    found, waiting = list[Example](), dict[str, Gap]()
    while len(found) < count:
        gap = one()
        other = waiting.pop(gap.form, gap)
        if other.right == gap.right:
            waiting[gap.form] = gap
            continue
        for mine, its in ((gap, other), (other, gap)):
            found.append(_example(rng, "label", mine.prompt, mine.fill(mine.right), mine.fill(its.right)))
    return found[:count]


def _example(rng: Random, kind: Literal["order", "label"], prompt: Prompt, *said: str) -> Example:
    """The best answer comes first here, and anywhere in the example."""
    order = rng.sample(range(len(said)), len(said))
    best = order.index(0)
    others = tuple(place for place in range(len(said)) if place != best)
    value = (best, others) if kind == "order" else tuple(place == best for place in range(len(said)))
    return Example(prompt, tuple(Answer(said[i]) for i in order), (Judgement(kind, value),), "world")


Family = Callable[..., list[Example]]
RANKED: dict[str, Family] = {function.__name__: function for function in (summaries, fortunes, endings)}
BINARY: dict[str, Family] = {function.__name__: function for function in (facts, skills, lastwords)}
FAMILIES = RANKED | BINARY
