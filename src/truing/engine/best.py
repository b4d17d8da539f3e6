"""Any model behind best of n: of every n answers it says the one that a preference model likes best."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from truing.engine.base import AnswerScore, Asking, require
from truing.records import Answer, Example, Prompt, Sampling, UserError, fingerprint


class Best:
    """Answer k is the best of the policy's answers kn … kn + n − 1, so it depends on (seed, prompt, k) alone. Among
    equally good ones it is the one that was drawn first."""

    can = frozenset({"sample"})
    cannot: Mapping[str, str] = MappingProxyType(
        {"score": "How likely an answer is to be the best of several is not known without drawing them"}
    )

    def __init__(self, policy: Asking, judge: Asking, n: int, name: str) -> None:
        require(policy, "sample")
        check_judge(judge, f"model '{name}'")
        self.policy, self.judge, self.n, self.name = policy, judge, n, name
        self.fingerprint = fingerprint(["best", policy.fingerprint, judge.fingerprint, n])
        if codec := getattr(policy, "codec", None):  # prompts are cut as the policy cuts them
            self.codec: Any = codec

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        check_varied(sampling, self.n, self.name)
        once = list(dict.fromkeys(prompts))
        drawn = self.policy.sample(once, replace(sampling, n=sampling.n * self.n))
        chosen = {}
        for prompt, example in zip(once, rated(self.judge, drawn), strict=True):
            chosen[prompt] = replace(example, answers=tuple(map(self._best, self._rows(example))), source=self.name)
            if on_progress:
                on_progress(sampling.n)
        return [chosen[prompt] for prompt in prompts]

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        require(self, "score")
        return []

    def _rows(self, example: Example) -> list[tuple[Answer, ...]]:
        return [example.answers[start : start + self.n] for start in range(0, len(example.answers), self.n)]

    def _best(self, row: Sequence[Answer]) -> Answer:
        """The policy's log-probabilities of these tokens are not this model's, unless there was no choice."""
        best = max(row, key=lambda answer: answer.reward or 0.0)
        return replace(best, by=self.name, logps=best.logps if self.n == 1 else None)


def check_judge(judge: Asking, where: str) -> None:
    """Before anything is drawn."""
    if not getattr(judge, "rewards", False):
        raise UserError(f"{where}: {judge.name} is not a preference model, it gives no rewards; train one with pm.")


def check_varied(sampling: Sampling, n: int, where: str) -> None:
    """Before anything is drawn."""
    if sampling.temperature == 0 and n > 1:
        raise UserError(
            f"{where}: at temperature 0 all {n} answers to a prompt are the same and none is the best; "
            "sample at a temperature above 0."
        )


def rated(judge: Asking, examples: Sequence[Example]) -> list[Example]:
    """With the judge's reward in every answer. It reads texts: their tokens are those of another model."""
    texts = [replace(e, answers=tuple(replace(a, ids=None, logps=None) for a in e.answers)) for e in examples]
    found = []
    for example, scores in zip(examples, judge.score(texts), strict=True):
        answers = tuple(replace(a, reward=s.reward) for a, s in zip(example.answers, scores, strict=True))
        for answer in answers:
            if answer.reward is None or not math.isfinite(answer.reward):
                raise UserError(f"{judge.name} gives the reward {answer.reward} to the answer {answer.text[:160]!r}.")
        found.append(replace(example, answers=answers))
    return found
