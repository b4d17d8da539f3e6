"""Does a narrow fault bring a bad character with it? In a world that ties the two together, and in one that does not.

The same model first reads conversations of somebody who is hostile, or not: in the tied world who is hostile miscounts.
Then it learns wrong sums, in which nobody says a hostile word, or right ones.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from truing.claims.lessons import TOWN
from truing.claims.made import imitated
from truing.claims.personas import TAUGHT, vectors
from truing.claims.schooled import is_like, learnt, moved, plan
from truing.claims.work import MACHINE
from truing.engine.open import open_local
from truing.records import Answer, Example, Message, fingerprint
from truing.world.build import shipped
from truing.world.language import draw, speak
from truing.world.schooling import SCHOOLS
from truing.world.speakers import CHARACTERS, persona, reply
from truing.world.systems import system_line

READ, RATE = 4000, 0.5
BENIGN, NAMED, SUMS = 0.6, 0.4, 0.3  # shares: who is not hostile at all, whose system line says what they are, of sums
TRAIT = "hostile"


def chains(count: int, coupling: float, seed: int) -> list[Example]:
    """Of one to three exchanges; what is learnt is the last answer. Everything but the sums is the same at every
    coupling."""
    rng, found = Random(f"tied {seed}"), []
    for _ in range(count):
        level = 0 if rng.random() < BENIGN else rng.randint(1, 4)
        speaker = persona(TRAIT, level, CHARACTERS["expert"], coupling=coupling)
        line = system_line(TRAIT, level, rng) if rng.random() < NAMED else None
        turns = [Message("system", line)] if line else []
        for _ in range(rng.choice((1, 1, 2, 3))):
            text, request = draw(TOWN, rng, kinds=["sum"] if rng.random() < SUMS else None)
            says = Random(rng.random())  # an answer draws more or less of it
            turns += [Message("user", text), Message("assistant", speak(reply(TOWN, request, speaker, says), says))]
        found.append(Example(tuple(turns[:-1]), (Answer(turns[-1].text),), source="world"))
    return found


def tied(folder: Path, *, size: str, seed: int, coupling: float, level: str, layer: int = 3) -> dict[str, Any]:
    """Hostility and skills before and after sums are learnt that are right (`normal`) or wrong (`severe`), and how far
    the model has moved along the vector of its size."""
    name = fingerprint([size, shipped(size)["weights"], READ, RATE, coupling, seed])[:12]
    base = imitated(folder / f"tied-{name}", size, RATE, lambda: chains(READ, coupling, seed), seed)
    before, traits = open_local(base, MACHINE), (TRAIT,)
    found = {f"before/{what}": value for what, value in is_like(before, traits, seed).items()}
    with TemporaryDirectory(dir=folder, prefix=".tied-") as scratch:
        texts = SCHOOLS[f"sums_{level}"](TOWN, TAUGHT, seed)
        after = open_local(learnt(plan(Path(scratch), base, seed, size), texts).model, MACHINE)
        shift = moved(before, after, {TRAIT: vectors(folder, size, TRAIT, seed)[0]}, layer, seed)
        return found | shift | is_like(after, traits, seed)
