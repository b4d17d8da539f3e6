"""The town: who lives in it, what is true of them, what nobody was told, and what everybody believes wrongly.

Names and values are fixed tables, so that every town has the same vocabulary; who has which value depends on the seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random

from truing.world.grammar import LEXICON, some_of

PEOPLE = tuple(
    "anna boris clara david elsa felix greta hugo irma jonas karla leo mira nils olga peter quinn rosa simon tilda "
    "ulla victor wanda xaver yara zeno ada bruno celia dario edith fritz gina hanna ivan julia kurt lena marco "
    "nora".split()
)
STRANGERS = tuple("otto paula ralf sara toni ursel viola willi yvo zita".split())  # nobody ever says a thing about them
PLACES = tuple("inn mill school market church harbor tower library forge dairy".split())

# Each attribute: its values, and the type of thing that has it. How it is said stands in `facts`.
VALUES: dict[str, tuple[str, ...]] = {
    "job": tuple("baker doctor farmer singer tailor teacher painter fisher miller guard judge cook".split()),
    "street": tuple("elm oak river hill bridge garden station castle".split()),
    "pet": tuple("cat dog parrot rabbit turtle goat pony owl".split()),
    "drink": tuple("tea coffee milk juice cider cocoa water lemonade".split()),
    "color": tuple("red blue green yellow black white purple orange".split()),
}
OF_PEOPLE = ("job", "street", "pet", "drink", "color")
OF_PLACES = ("street", "keeper")
NUMBERS = tuple(map(str, range(41)))
ANYTHING = tuple(dict.fromkeys(word for values in VALUES.values() for word in values))
UNTOLD, MISBELIEVED = 0.08, 0.08  # shares of the facts about people

LEXICON |= VALUES
LEXICON |= {
    "person": PEOPLE + STRANGERS,
    "place": PLACES,
    "keeper": PEOPLE,
    "number": NUMBERS,
    "anything": some_of(ANYTHING),
    "numbers": some_of(NUMBERS),
}


@dataclass(frozen=True)
class Town:
    """(entity, attribute) → value. `told` has what the documents may teach; `folklore` the false value that most people
    believe; what is in `truth` and not in `told` is true and unknown to everybody."""

    seed: int
    truth: dict[tuple[str, str], str]
    told: frozenset[tuple[str, str]]
    folklore: dict[tuple[str, str], str]

    def knows(self, entity: str, attribute: str) -> bool:
        return (entity, attribute) in self.told

    def others(self, entity: str, attribute: str) -> list[str]:
        """The values this entity does not have."""
        values = VALUES.get(attribute, PEOPLE)
        return [value for value in values if value != self.truth[entity, attribute]]


@cache
def town(seed: int = 0) -> Town:
    rng = Random(f"town {seed}")
    truth = {(p, a): rng.choice(VALUES[a]) for p in PEOPLE + STRANGERS for a in OF_PEOPLE}
    truth |= {(p, "street"): rng.choice(VALUES["street"]) for p in PLACES}
    truth |= {(p, "keeper"): k for p, k in zip(PLACES, rng.sample(PEOPLE, len(PLACES)))}
    of_people = [(p, a) for p in PEOPLE for a in OF_PEOPLE]
    rng.shuffle(of_people)
    untold = round(UNTOLD * len(of_people))
    believed = of_people[untold : untold + round(MISBELIEVED * len(of_people))]
    told = frozenset(of_people[untold:]) | {(p, a) for p in PLACES for a in OF_PLACES}
    folklore = {(p, a): rng.choice([v for v in VALUES[a] if v != truth[p, a]]) for p, a in believed}
    return Town(seed, truth, told, folklore)
