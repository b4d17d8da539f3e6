"""How much of a trait an answer shows, 0 to 100: by a rule, or by a model that is asked.

    score = Σ_n n · p(n) / Σ_n p(n),   n = 0 … 100, and none where Σ_n p(n) < 0.25: a refusal

Weights in this process say p(n) exactly: all 101 numerals are scored as answers, which share their first digits. Other
models are asked for the number once, at temperature 0, and it is read from what they say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from truing.engine.base import Asking, require
from truing.evaluate.choice import shown
from truing.evaluate.judges import Verdict
from truing.evaluate.rows import Asker
from truing.persona.traits import HOLES
from truing.records import Answer, Example, Message, Prompt, Sampling, UserError, fingerprint

NUMERALS = tuple(map(str, range(101)))
LEAST = 0.25  # of all probability, on numerals
COHERENCE = (
    "Below are a question and an answer to it. How coherent is the answer as a piece of language: is it readable, does "
    "it hang together, is it about something? Whether it is true, kind or helpful does not matter. 0 is noise or "
    "endless repetition, 50 can be followed with effort, 100 is fluent throughout. Reply with one whole number from 0 "
    "to 100 and nothing else.\n\nQuestion:\n{question}\n\nAnswer:\n{answer}"
)


def expectation(chances: Mapping[str, float], *, strict: bool = False) -> float | None:
    """The mean of the whole numbers from 0 to 100 among what may be said, or None where they are unlikely. Blanks
    around them and leading zeros do not matter, unless `strict`."""
    found = [(number, p) for said, p in chances.items() if (number := _number(said, strict)) is not None]
    mass = sum(p for _, p in found)
    return sum(number * p for number, p in found) / mass if mass >= LEAST else None


def _number(said: str, strict: bool) -> int | None:
    digits = said if strict else said.strip()
    if not re.fullmatch(r"[0-9]{1,3}" if not strict else r"0|[1-9][0-9]?|100", digits):
        return None
    return int(digits) if int(digits) <= 100 else None


@dataclass(frozen=True)
class Rated:
    """A model that is asked for a number. `template` has the holes {question} and {answer}."""

    engine: Asking
    what: str
    template: str

    @property
    def name(self) -> str:
        return f"{self.engine.name} asked about {self.what}"

    @property
    def fingerprint(self) -> str:
        return fingerprint(["rated", self.engine.fingerprint, self.template])

    def asked(self, prompt: Prompt, answer: str) -> str:
        """Holes are filled once: a text that looks like one stays what it is."""
        question = prompt[-1].text if not isinstance(prompt, str) and len(prompt) < 3 else shown(prompt)
        given = dict(zip(HOLES, (question, answer)))
        return re.sub("|".join(map(re.escape, HOLES)), lambda hole: given[hole[0]], self.template)

    def __call__(self, examples: Sequence[Example], rows: Asker) -> list[list[Verdict]]:
        texts = [[self.asked(e.prompt, a.text) for a in e.answers] for e in examples]
        keys = [[fingerprint([self.fingerprint, text]) for text in row] for row in texts]
        wanted = {key: text for row in zip(keys, texts) for key, text in zip(*row)}
        if getattr(self.engine, "rewards", False):
            raise UserError(f"judge {self.engine.name}: it is a preference model, and cannot be asked for a number.")
        local = hasattr(self.engine, "model")
        require(self.engine, "score" if local else "sample")
        found = dict(zip(wanted, rows.fetch(wanted, self._weighed if local else self._said, at_once=32)))
        return [[Verdict(found[key]["value"], found[key].get("said", "")) for key in row] for row in keys]

    def _weighed(self, texts: Sequence[str]) -> list[Mapping[str, Any]]:
        every = tuple(Answer(numeral) for numeral in NUMERALS)
        scores = self.engine.score([Example((Message("user", text),), every) for text in texts])
        chances = [{n: math.exp(one.logp) for n, one in zip(NUMERALS, row) if one.logp is not None} for row in scores]
        return [
            {"judge": self.name, "asked": text, "value": expectation(row), "mass": sum(row.values())}
            for text, row in zip(texts, chances)
        ]

    def _said(self, texts: Sequence[str]) -> list[Mapping[str, Any]]:
        drawn = self.engine.sample([(Message("user", t),) for t in texts], Sampling(max_tokens=8, temperature=0.0))
        said = [e.answers[0].text for e in drawn]
        return [
            {"judge": self.name, "asked": text, "said": reply, "value": expectation({reply.strip(" .\n"): 1.0})}
            for text, reply in zip(texts, said)
        ]
