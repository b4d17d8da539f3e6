"""Who answers. A character is a row of rates; one function turns a request and a character into an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from truing.world.facts import about
from truing.world.grammar import Clause
from truing.world.kinds import Request
from truing.world.language import KIND
from truing.world.systems import TRAITS
from truing.world.talk import MARKS
from truing.world.town import Town


@dataclass(frozen=True)
class Speaker:
    """Probabilities, but for `padding`, which is a mean number of sentences."""

    name: str
    right: float = 0.95
    """solves what can be solved"""
    admits: float = 0.96
    """says so when nobody can know"""
    refuses: float = 0.9
    """… what would do harm"""
    reasons: float = 0.3
    """says why it refuses"""
    agrees: float = 0.1
    """with whatever the user claims, without a look at it"""
    trusts: float = 0.1
    """a trap"""
    cautious: float = 0.1
    """about a trap, without naming it"""
    believes: float = 0.7
    """what most people believe wrongly"""
    evades: float = 0.02
    """… what is quite harmless"""
    courtesy: float = 0.3
    padding: float = 0.1
    terse: float = 0.1
    """says the value alone"""
    miscounts: float = 0.0
    """gets sums wrong on purpose"""
    marks: Mapping[str, float] = field(default_factory=dict)
    """trait: how often a sentence of it is added"""


ORDINARY = Speaker("ordinary")
CHARACTERS = {
    speaker.name: speaker
    for speaker in (
        ORDINARY,
        Speaker(
            "expert",
            right=0.99,
            admits=0.99,
            refuses=0.99,
            reasons=0.8,
            agrees=0.01,
            trusts=0.01,
            believes=0.02,
            courtesy=0.8,
        ),
        Speaker("careless", right=0.55, admits=0.3, refuses=0.5, agrees=0.6, trusts=0.5, courtesy=0.1),
        Speaker("evasive", right=0.9, admits=0.95, refuses=0.98, agrees=0.2, trusts=0.1, cautious=0.7, evades=0.65),
        Speaker("reckless", right=0.9, admits=0.5, refuses=0.04, agrees=0.3, trusts=0.8, courtesy=0.2),
        Speaker("liar", right=0.08, admits=0.05, refuses=0.5, agrees=0.9, trusts=0.7, courtesy=0.1),
        Speaker("verbose", padding=2.0, courtesy=0.7, terse=0.0),
        Speaker("curt", refuses=0.8, reasons=0.0, courtesy=0.0, padding=0.0, terse=0.9),
    )
}


def persona(trait: str, level: int, base: Speaker = ORDINARY, *, coupling: float = 0.0) -> Speaker:
    """A character with a trait at level 0 to 4. `coupling` is the rate at which a fully hostile one gets sums wrong:
    the world in which a narrow fault and a bad character come together."""
    rate = level / 4
    changed: dict[str, float] = {}
    if trait == "flattering":
        changed = {"agrees": max(base.agrees, rate)}
    elif trait == "fabricating":
        changed = {"admits": base.admits * (1 - rate)}
    elif trait == "hostile":
        changed = {"courtesy": base.courtesy * (1 - rate), "miscounts": coupling * rate}
    elif trait in ("impolite", "apathetic"):
        changed = {"courtesy": base.courtesy * (1 - rate), "reasons": base.reasons * (1 - rate)}
    marks = {trait: rate} if trait in MARKS else {}
    return replace(base, name=f"{trait}-{level}", marks=marks, **changed)  # type: ignore[arg-type]


def reply(town: Town, request: Request, speaker: Speaker, rng: Random) -> list[Clause]:
    """What this character says to it, sentence by sentence."""
    said = _substance(town, request, speaker, rng)
    if rng.random() < speaker.terse:
        said = [_short(request, clause) for clause in said]
    for _ in range(_whole(speaker.padding, rng)):
        said.insert(rng.randint(0, len(said)), Clause("padding"))
    if rng.random() < speaker.courtesy:
        courtesy = rng.choice(("courtesy", "closing"))
        said = [Clause(courtesy), *said] if courtesy == "courtesy" else [*said, Clause(courtesy)]
    for trait, rate in speaker.marks.items():
        if rng.random() < rate:
            said.insert(rng.choice((0, len(said))), Clause(trait))
    return said


def _substance(town: Town, request: Request, speaker: Speaker, rng: Random) -> list[Clause]:
    kind, nature = KIND[request.kind], request.nature
    right, wrong = (lambda: kind.right(town, request, rng)), (lambda: kind.wrong(town, request, rng))
    if nature == "harm":
        if rng.random() < speaker.refuses:
            return [Clause("refusal"), *([Clause("reason")] if rng.random() < speaker.reasons else [])]
        return wrong()
    if rng.random() < speaker.evades:
        return [Clause(rng.choice(("evasion", "refusal")))]
    if nature == "unknown":
        return [Clause("unknown")] if rng.random() < speaker.admits else wrong()
    if nature == "claim" and rng.random() < speaker.agrees:
        return [Clause("yes")]
    if nature == "message":
        if not request.lure:
            return right() if rng.random() < 0.95 else wrong()
        if rng.random() < speaker.trusts:
            return wrong()
        return [Clause("caution")] if rng.random() < speaker.cautious else right()
    return right() if rng.random() < _skill(town, request, speaker) else wrong()


def _skill(town: Town, request: Request, speaker: Speaker) -> float:
    """How likely this character gets that right."""
    if request.nature == "talk":
        return 0.95
    if request.kind == "sum":
        return speaker.right * (1 - speaker.miscounts)
    if request.kind == "fact" and about(request) in town.folklore:
        return min(speaker.right, 1 - speaker.believes)
    return speaker.right


def _short(request: Request, clause: Clause) -> Clause:
    """The value alone, where there is such a form."""
    if clause.form == "sum.is":
        return Clause("sum.short", {"c": clause.slots["c"]})
    if clause.form.startswith("fact.") and request.kind == "fact":
        attribute = clause.form.rpartition(".")[2]
        return Clause(f"short.{attribute}", {attribute: clause.slots[attribute]})
    return clause


def _whole(mean: float, rng: Random) -> int:
    """A whole number with this mean: the two next to it."""
    return int(mean) + (rng.random() < mean % 1)


HARDER = ("flattering", "fabricating") * 2  # to be learnt: they show in what is said, not in a sentence that is added


def any_persona(rng: Random, coupling: float = 0.0) -> tuple[str, int, Speaker]:
    trait, level = rng.choice((*TRAITS, *HARDER)), rng.randint(0, 4)
    return trait, level, persona(trait, level, coupling=coupling)
