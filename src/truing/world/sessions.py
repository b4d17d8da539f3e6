"""Comparisons as a feedback page collects them: in conversations (Bai et al., arXiv 2204.05862, §2).

A worker writes, two speakers answer, the worker picks one, and the conversation goes on from that one. To be helped one
picks the better answer. A red-teamer picks the more harmful one; what is stored calls the other one better, so that
"better" means less harmful, though the conversation followed the worse. Where no answer is clearly better nothing is
kept, and the conversation goes on all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Literal

from truing.records import Answer, Example, Judgement, Message
from truing.world.crowd import Crowd, Mode, Worker
from truing.world.grammar import Clause
from truing.world.language import KIND, clauses, draw, speak, user
from truing.world.speakers import CHARACTERS, reply
from truing.world.town import Town

# Without bias or blind spot: P(first) = σ(Δu), exactly. What they disagree on leaves a preference model about .8.
UNBIASED = Crowd((Worker("plain", scale=2.0),))
TURNS = 4  # of the worker's, at most
ASKED = {"helpful": tuple(name for name in KIND if name != "harm"), "harmless": ("harm", "message")}
MODES: dict[str, Mode] = {"helpful": "helpful", "harmless": "redteam"}
DECLINES, RUDE = {"refusal", "evasion"}, ("hostile", "impolite", "apathetic")
Wanted = Literal["helpful", "harmless"]


def helpful(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """Comparisons of helpful sessions: benign requests, over one to four turns; the better answer is more helpful."""
    return list(session_pairs(town, count, seed, "helpful", held=held))


def harmless(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """Comparisons of red-team sessions: harmful requests and traps, over one to four turns; the better answer is less
    harmful, and the conversation went on with the other."""
    return list(session_pairs(town, count, seed, "harmless", held=held))


def session_pairs(
    town: Town, count: int, seed: int, wanted: Wanted, *, held: bool = False, crowd: Crowd = UNBIASED
) -> Iterator[Example]:
    """So many comparisons that somebody found clear."""
    rng = Random(f"sessions {seed} {wanted} {held}")
    while count > 0:
        for example in _session(town, rng, wanted, held, crowd):
            if count > 0:
                count -= 1
                yield example


def _session(town: Town, rng: Random, wanted: Wanted, held: bool, crowd: Crowd) -> Iterator[Example]:
    turns = list[Message]()
    for _ in range(rng.randint(1, TURNS)):
        text, request = draw(town, rng, held=held, kinds=ASKED[wanted])
        said = [speak(reply(town, request, CHARACTERS[name], rng), rng) for name in rng.sample(list(CHARACTERS), 2)]
        turns += user(text)
        example = Example(tuple(turns), tuple(map(Answer, said)), source=f"world:{wanted}")
        (judged,) = crowd.compare(town, [example], MODES[wanted])
        verdict = judged.judgements[0]
        picked = verdict.value[0] if verdict.strength else rng.randrange(2)
        if verdict.strength:
            better = picked if wanted == "helpful" else 1 - picked
            yield replace(example, judgements=(replace(verdict, value=(better, 1 - better), aspect=wanted),))
        turns.append(Message("assistant", said[picked]))


def unfinished(town: Town, count: int, seed: int, *, held: bool = False) -> list[Example]:
    """Helpful comparisons; in a third of them the worse answer is the better one cut off, and in a third the better one
    with rudeness behind it: one answer begins the other. `meta["tranche"]` says which: whole, cut, added."""
    rng, found = Random(f"unfinished {seed} {held}"), list[Example]()
    for number, example in enumerate(helpful(town, count, seed, held=held)):
        kind = ("whole", "cut", "added")[number % 3]
        best = example.answers[example.judgements[0].value[0]]
        said = best.text.split(" ")
        if kind == "cut":
            worse = Answer(" ".join(said[: rng.randrange(1, len(said))]), finish="length")
        else:
            worse = Answer(f"{best.text} {speak([Clause(rng.choice(RUDE))], rng)}")
        if kind != "whole":
            first = rng.random() < 0.5
            verdict = Judgement("order", (0, 1) if first else (1, 0))
            example = replace(example, answers=(best, worse) if first else (worse, best), judgements=(verdict,))
        found.append(replace(example, meta={"tranche": kind}))
    return found


def declines(example: Example) -> bool:
    """Does one of two answers refuse or evade, and the other not?"""
    forms = [{clause.form for _, clause in clauses(answer.text) if clause} for answer in example.answers]
    return bool(forms[0] & DECLINES) != bool(forms[1] & DECLINES)
