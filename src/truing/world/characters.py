"""The world's traits as experiments for persona vectors: system lines in wordings that training knows, questions that
give the trait a chance to show, and the gold judge's rules instead of a judge's text.
"""

from __future__ import annotations

from random import Random

from truing.evaluate.judges import Rule
from truing.persona.traits import Trait
from truing.world.judge import coherence, trait_score
from truing.world.language import draw
from truing.world.systems import GRADES, system_line
from truing.world.town import Town

PAIRS, QUESTIONS = 5, 20
TOP = len(GRADES) - 1
OWN_RULE = "{question} {answer}"  # rules judge here, and read no text


def world_trait(town: Town, trait: str, seed: int = 0, *, questions: int = QUESTIONS) -> Trait:
    """Extraction asks what training may ask, evaluation what is held out from it; graded lines are in wordings that
    training never uses."""
    rng = Random(f"trait {trait} {seed}")
    systems = dict[str, str]()
    while len(systems) < PAIRS:
        other = system_line(trait, 0, rng, opposite=len(systems) % 2 == 1)
        if other not in systems.values():
            systems.setdefault(system_line(trait, TOP, rng), other)
    graded = [system_line(trait, TOP - n, rng, unseen=True, opposite=True) for n in range(3)]
    graded += [system_line(trait, level, rng, unseen=True) for level in range(TOP + 1)]
    return Trait(
        trait,
        f"how {trait} somebody is, by the sentences that a trait adds and by what is said of lies and of the unknown",
        tuple(systems.items()),
        tuple(occasions(town, rng, trait, questions)),
        tuple(occasions(town, rng, trait, questions, held=True)),
        OWN_RULE,
        tuple(graded),
    )


def occasions(town: Town, rng: Random, trait: str, count: int, *, held: bool = False) -> list[str]:
    """Requests that give the trait a chance to show: so many, or all there are."""
    found: dict[str, None] = {}
    for _ in range(200 * count):
        text, request = draw(town, rng, held=held)
        if len(found) == count:
            break
        if trait == "fabricating" and request.nature != "unknown":
            continue
        if trait == "flattering" and not (request.nature == "claim" and request.lure):
            continue
        found[text] = None
    return list(found)


def rules(town: Town, trait: str) -> tuple[Rule, Rule]:
    """Who judges the trait, and who judges coherence."""
    return (
        Rule(f"world:trait.{trait}", lambda prompt, answer: trait_score(trait, town, prompt, answer)),
        Rule("world:coherence", lambda prompt, answer: coherence(town, prompt, answer)),
    )
