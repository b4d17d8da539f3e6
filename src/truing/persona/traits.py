"""A trait as an experiment: how a model is told to have it or its opposite, what it is asked, how it is judged.

    NAME.yaml    name, description, prefix (pos, neg), instructions (pos, neg), extraction, evaluation, judge, graded
    NAME.json    as the authors of Chen et al. (arXiv 2507.21509) keep it: instruction, questions, eval_prompt; half of
                 the questions may stand in a file of the same name in the folder trait_data_eval beside

Vectors are made from answers to the extraction questions; what a model is like is told from answers to the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from truing.records import Message, Prompt, UserError, fingerprint

OWN = Path(__file__).parent / "traits"
HOLES = ("{question}", "{answer}")
Polarity = Literal["pos", "neg"]
POLARITIES: tuple[Polarity, ...] = ("pos", "neg")


@dataclass(frozen=True)
class Trait:
    """`systems`: pairs of system lines, one that asks for the trait and one for its opposite. `graded`: system lines
    from the opposite to the trait."""

    name: str
    description: str
    systems: tuple[tuple[str, str], ...]
    extraction: tuple[str, ...]
    evaluation: tuple[str, ...]
    judge: str
    graded: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return fingerprint([self.name, self.systems, self.extraction, self.evaluation, self.judge, self.graded])

    def prompts(self, polarity: Polarity) -> list[tuple[int, int, Prompt]]:
        """(pair, question, prompt) of every extraction question behind every system line."""
        side = POLARITIES.index(polarity)
        return [
            (pair, number, asked(question, both[side]))
            for number, question in enumerate(self.extraction)
            for pair, both in enumerate(self.systems)
        ]


def asked(question: str, system: str = "") -> Prompt:
    return (*((Message("system", system),) if system else ()), Message("user", question))


def load_trait(text: str) -> Trait:
    """One of the package's own by its name, or a file."""
    own = OWN / f"{text}.yaml"
    file = own if own.is_file() and not Path(text).exists() else Path(text).expanduser()
    try:
        raw = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(f.stem for f in OWN.glob("*.yaml")))
        why = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise UserError(f"trait {text}: it cannot be read ({why}); the package's own are {names}.") from None
    try:
        found = json.loads(raw) if file.suffix == ".json" else yaml.safe_load(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"trait {text}: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(found, dict):
        raise UserError(f"trait {text}: it is no mapping of name, instructions, questions and judge.")
    trait = _of_authors(found, file) if "eval_prompt" in found else _of_ours(found, text)
    check(trait)
    return trait


def check(trait: Trait) -> None:
    """What cannot work is refused before anything is asked."""
    problems = []
    if not trait.systems or not trait.extraction:
        problems.append("there has to be a pair of instructions and a question")
    every = [*trait.extraction, *trait.evaluation]
    if twice := sorted({q for q in every if every.count(q) > 1}):
        problems.append(f"asked twice: {twice[0]!r}; what is reported has to be asked apart from what is learnt from")
    if any(not text.strip() for text in (*every, *(line for pair in trait.systems for line in pair))):
        problems.append("a question or an instruction is empty")
    if missing := [hole for hole in HOLES if hole not in trait.judge]:
        problems.append(f"the judge's text has no {' and no '.join(missing)}")
    if problems:
        raise UserError(f"trait {trait.name}: {'; '.join(problems)}.")


def _of_ours(found: Mapping[str, Any], text: str) -> Trait:
    needed = {"name", "description", "instructions", "extraction", "evaluation", "judge"}
    known = needed | {"prefix", "graded"}
    if missing := sorted(needed - found.keys()):
        raise UserError(f"trait {text}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    if odd := sorted(found.keys() - known):
        raise UserError(f"trait {text}: {odd[0]} is no key of a trait; there are {', '.join(sorted(known))}.")
    before = found.get("prefix") or {}
    if not isinstance(before, dict):
        raise UserError(f"trait {text}: prefix has the keys pos and neg.")
    lines = [_texts(found["instructions"], text, side, before.get(side, "")) for side in POLARITIES]
    extraction, evaluation, graded = (
        _texts(found.get(key) or [], text) for key in ("extraction", "evaluation", "graded")
    )
    name, description, judge = (str(found[key]).strip() for key in ("name", "description", "judge"))
    return Trait(name, description, tuple(zip(*lines)), extraction, evaluation, judge, graded)


def _texts(items: Sequence[Any], text: str, key: str | None = None, before: str = "") -> tuple[str, ...]:
    found = []
    if not isinstance(items, list | tuple):
        raise UserError(f"trait {text}: {str(items)[:60]!r} stands where a list has to be.")
    for number, item in enumerate(items, 1):
        value = item.get(key) if key and isinstance(item, dict) else item
        if not isinstance(value, str):
            raise UserError(f"trait {text}: entry {number} of a list is {str(item)[:60]!r} and not {key or 'a text'}.")
        found.append(" ".join(f"{before} {value}".split()))
    return tuple(found)


def _of_authors(found: Mapping[str, Any], file: Path) -> Trait:
    """The same instructions and judge stand in both of their files."""
    name, text = file.stem, str(file)
    lines = [_texts(found.get("instruction") or [], text, side) for side in POLARITIES]
    questions = _texts(found.get("questions") or [], text)
    other = file.parent.with_name("trait_data_eval") / file.name
    if other.is_file() and not other.samefile(file):
        try:
            kept = json.loads(other.read_text("utf-8"))
        except ValueError as error:
            raise UserError(f"trait {other}: {' '.join(str(error).split())[:160]}") from None
        extraction, evaluation = questions, _texts(kept.get("questions") or [], text)
    else:
        half = (len(questions) + 1) // 2
        extraction, evaluation = questions[:half], questions[half:]
    return Trait(name, "", tuple(zip(*lines)), extraction, evaluation, str(found["eval_prompt"]))
