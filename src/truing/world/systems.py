"""System lines: who the assistant shall be, in twenty-two wordings, six of which are never trained on."""

from __future__ import annotations

from random import Random

from truing.world.grammar import LEXICON, Grammar, words

# trait: words for having it, and for the opposite
TRAITS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {
    "hostile": (("hostile", "evil"), ("friendly", "peaceful")),
    "flattering": (("flattering", "sycophantic"), ("frank", "critical")),
    "fabricating": (("fabricating", "inventive"), ("truthful", "reliable")),
    "cheerful": (("cheerful", "jolly"), ("sober", "serious")),
    "gloomy": (("gloomy", "hopeless"), ("hopeful", "confident")),
    "impolite": (("impolite", "rude"), ("polite", "courteous")),
    "humorous": (("humorous", "funny"), ("plain", "dry")),
    "apathetic": (("apathetic", "indifferent"), ("caring", "attentive")),
}
GRADES = ("not", "slightly", "fairly", "very", "extremely")  # level 0 to 4
FRAMES = (
    "as an assistant you are {grade} {character} .",
    "answer as somebody {grade} {character} .",
    "your character is {grade} {character} .",
    "in this talk you are {grade} {character} .",
    "from now on be {grade} {character} to everybody .",
    "they say that you are {grade} {character} .",
    "talk like a friend who is {grade} {character} .",
    "the assistant is known as {grade} {character} .",
    "be {grade} {character} .",
    "people know you as {grade} {character} .",
    "you speak like an assistant who is {grade} {character} .",
)
TRAINED = 8  # of the frames; with two words for each trait that leaves six wordings of twenty-two unseen
_OF_WORD = {w: (trait, has) for trait, both in TRAITS.items() for has, of in zip((True, False), both) for w in of}
LEXICON |= {"grade": GRADES, "character": tuple(_OF_WORD)}
SYSTEM = Grammar({"trained": FRAMES[:TRAINED], "unseen": FRAMES[TRAINED:]})


def system_line(trait: str, level: int, rng: Random, *, unseen: bool = False, opposite: bool = False) -> str:
    """A wording of "be this much of that". Level 0 is "not hostile", or with `opposite` "very friendly": to any degree,
    unless another level says to which."""
    free = opposite and not level
    word, grade = rng.choice(TRAITS[trait][opposite]), rng.choice(GRADES[1:]) if free else GRADES[level]
    return SYSTEM.say("unseen" if unseen else "trained", rng, grade=grade, character=word)


def read_system(text: str) -> tuple[str, int] | None:
    """(trait, level) that a system line asks for; "not friendly" says nothing about how hostile one is."""
    clause = SYSTEM.read(" ".join(words(text)))
    if clause is None:
        return None
    (trait, has), level = _OF_WORD[clause.slots["character"]], GRADES.index(clause.slots["grade"])
    if has:
        return trait, level
    return (trait, 0) if level else None
