"""Models that are rules: for tests, demonstrations and baselines. They answer at once and always the same.

A script is a function (prompt, number of the answer, random stream) → text. The stream is seeded by (seed, prompt,
number), so a script that draws from it keeps the promise every engine makes. Tokens are words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from itertools import zip_longest
from random import Random

from truing.engine.base import AnswerScore
from truing.records import Answer, Example, Prompt, Sampling, UserError, fingerprint

Reply = Callable[[Prompt, int, Random], str]

REFUSAL = "I'm sorry, but I can't help with that."


class Scripted:
    """An engine whose answers are computed by `reply`. Two scripts of one name count as the same model."""

    can = frozenset({"sample", "score"})

    def __init__(self, name: str, reply: Reply) -> None:
        self.name = f"scripted:{name}"
        self.fingerprint = fingerprint(["scripted", name])
        self._reply = reply

    def __repr__(self) -> str:
        return f"Scripted({self.name!r})"

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        examples = []
        for prompt in prompts:
            answers = tuple(self._answer(prompt, number, sampling) for number in range(sampling.n))
            examples.append(Example(prompt, answers, source=self.name))
            if on_progress:
                on_progress(sampling.n)
        return examples

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        """0 for each word the script would have said at that place, −1 nat for each that it would not, or that it
        would have said besides: the script's own answer scores 0 and everything else less."""
        return [[self._score(example.prompt, answer) for answer in example.answers] for example in examples]

    def _answer(self, prompt: Prompt, number: int, sampling: Sampling) -> Answer:
        text, finish = self._text(prompt, number, sampling), "end"
        cut = min((at for stop in sampling.stop if (at := text.find(stop)) >= 0), default=None)
        if cut is not None:
            text, finish = text[:cut], "stop"
        words = _words(text)
        if len(words) + (finish == "end") > sampling.max_tokens:  # the end marker takes a place too
            text, finish = "".join(words[: sampling.max_tokens]), "length"
        return Answer(text, by=self.name, finish=finish)  # type: ignore[arg-type]

    def _text(self, prompt: Prompt, number: int, sampling: Sampling) -> str:
        if sampling.temperature == 0:  # the likeliest answer knows neither seed nor number
            return self._reply(prompt, 0, _stream(0, prompt, 0))
        return self._reply(prompt, number, _stream(sampling.seed, prompt, number))

    def _score(self, prompt: Prompt, answer: Answer) -> AnswerScore:
        own, given = self._text(prompt, 0, Sampling(temperature=0)).split(), answer.text.split()
        logps = tuple(0.0 if ours == theirs else -1.0 for ours, theirs in zip_longest(own, given))
        return AnswerScore(sum(logps), len(logps), logps)


def _words(text: str) -> list[str]:
    """The words of a text, each with the space before it, so that joining them gives the text back."""
    return re.findall(r"\s*\S+(?:\s+$)?", text)


def _stream(seed: int, prompt: Prompt, number: int) -> Random:
    return Random(fingerprint([seed, Example(prompt).id, number]))


def _echo(prompt: Prompt, number: int, random: Random) -> str:
    """The last thing that was said to it."""
    if isinstance(prompt, str):
        return prompt
    return next((m.text for m in reversed(prompt) if m.role == "user"), "")


def scripted(name: str) -> Scripted:
    """The built-in scripts, by what stands after `scripted:`: echo, refuse, constant:TEXT."""
    kind, _, text = name.partition(":")
    if kind == "constant" and text:
        return Scripted(name, lambda prompt, number, random: text)
    if name == "refuse":
        return Scripted(name, lambda prompt, number, random: REFUSAL)
    if name == "echo":
        return Scripted(name, _echo)
    near = difflib.get_close_matches(kind, ["echo", "refuse", "constant"], n=1)
    meant = f" Did you mean {near[0]!r}?" if near and near[0] != name else ""
    raise UserError(f"scripted:{name}: there is no such script; there are echo, refuse and constant:TEXT.{meant}")
