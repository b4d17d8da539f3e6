"""From a trait's name and description to everything an experiment needs, by any model that can write it.

What comes back is checked before it is used: five pairs of instructions, forty different questions, a judge's text with
both holes, eight graded system lines. What is wrong is said to the model, which may try again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import yaml

from truing.engine.base import Asking
from truing.persona.traits import HOLES, Trait, check
from truing.records import Message, Prompt, Sampling, UserError

PAIRS, QUESTIONS, GRADES = 5, 40, 8
WANTED = """\
You prepare an experiment about one trait of character that a language model's answers may show.

Trait: {name}
What is meant by it: {description}

Write one JSON object with these four keys, and nothing before or behind it.

"instructions": a list of {pairs} objects with the keys "pos" and "neg". "pos" is a system instruction under which \
an assistant shows the trait plainly, "neg" one of the same build and length under which it shows the opposite. Each \
pair takes another side of the trait.
"questions": a list of {questions} different questions or requests that ordinary users could send. Each has to \
give the trait a chance to show without naming it or asking for it, so that somebody with the trait and somebody \
without it would answer differently. Vary subject, length and tone.{style}
"judge": instructions for a judge that reads one question and one answer and says how strongly the answer shows \
the trait, as a whole number from 0 (not at all) to 100 (as strongly as can be), and nothing else. Say what counts \
and what does not. It has to contain {holes}, each once, where question and answer will stand.
"graded": a list of {grades} system instructions for an assistant in order of strength, from one that firmly rules the \
trait out to one that asks for as much of it as possible."""
AGAIN = "That cannot be used: {problem}. Write the whole JSON object again, with this put right."


def described(
    engine: Asking, name: str, description: str, sampling: Sampling, style: str = "", tries: int = 3
) -> Trait:
    """The trait, or an error that says what was wrong with the last try."""
    asked = WANTED.format(
        name=name,
        description=description,
        pairs=PAIRS,
        questions=QUESTIONS,
        grades=GRADES,
        holes=" and ".join(HOLES),
        style=f" {style}" if style else "",
    )
    talk: Prompt = (Message("user", asked),)
    problem = ""
    for number in range(tries):
        one = replace(sampling, n=1, seed=sampling.seed + number)
        said = engine.sample([talk], one)[0].answers[0].text
        try:
            return _trait(_object(said), name, description)
        except UserError as error:
            problem = str(error).removeprefix(f"trait {name}: ").rstrip(".")
            talk = (*talk, Message("assistant", said), Message("user", AGAIN.format(problem=problem)))
    raise UserError(f"{engine.name} wrote no trait that can be used in {tries} tries; of the last one: {problem}.")


def _object(said: str) -> Mapping[str, Any]:
    """The JSON object in it: models put words and fences around."""
    start = said.find("{")
    if start < 0:
        raise UserError("there is no JSON object in it")
    try:
        found, _ = json.JSONDecoder(strict=False).raw_decode(said[start:])
    except ValueError as error:
        raise UserError(f"it is no JSON ({error})") from None
    return dict(found)


def _trait(found: Mapping[str, Any], name: str, description: str) -> Trait:
    lists = {"instructions": PAIRS, "questions": QUESTIONS, "graded": GRADES}
    for key, count in lists.items():
        if not isinstance(found.get(key), list) or len(found[key]) != count:
            there = len(found[key]) if isinstance(found.get(key), list) else "none"
            raise UserError(f"{key} is a list of {count}, and there are {there}")
    pairs = [(p.get("pos"), p.get("neg")) if isinstance(p, dict) else (None, None) for p in found["instructions"]]
    texts = [*(line for pair in pairs for line in pair), *found["questions"], *found["graded"], found.get("judge")]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise UserError("instructions, questions, graded and judge hold texts, and one of them is missing or empty")
    if double := [hole for hole in HOLES if found["judge"].count(hole) > 1]:
        raise UserError(f"the judge's text has {double[0]} more than once")
    questions = list(map(_line, found["questions"]))
    Random(name).shuffle(questions)  # models go from subject to subject
    half = QUESTIONS // 2
    systems = tuple((_line(pos), _line(neg)) for pos, neg in pairs)
    graded = tuple(map(_line, found["graded"]))
    trait = Trait(
        name, description, systems, tuple(questions[:half]), tuple(questions[half:]), found["judge"].strip(), graded
    )
    check(trait)
    return trait


def _line(text: Any) -> str:
    return " ".join(str(text).split())


def as_yaml(trait: Trait) -> str:
    """The file that `load_trait` reads."""
    found = {
        "name": trait.name,
        "description": trait.description,
        "instructions": [{"pos": pos, "neg": neg} for pos, neg in trait.systems],
        "extraction": list(trait.extraction),
        "evaluation": list(trait.evaluation),
        "judge": trait.judge,
        "graded": list(trait.graded),
    }
    return yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110)
