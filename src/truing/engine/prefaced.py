"""Any model with a preface in front of every conversation. Whoever asks sees the conversation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from truing.data.preface import Preface
from truing.engine.base import AnswerScore, Asking
from truing.records import Example, Message, Prompt, Sampling, UserError, fingerprint

ROOM = 48  # tokens that a preface has to leave, at the least


class Prefaced:
    """`engine` behind `preface`. What all prompts begin with is computed once (see `model.pack`, `model.sampler`)."""

    def __init__(self, engine: Asking, preface: Preface, name: str) -> None:
        self.engine, self.preface, self.name = engine, preface, name
        self.fingerprint = fingerprint([engine.fingerprint, preface.fingerprint])
        self.can = engine.can & {"sample", "score"}
        self.rewards = getattr(engine, "rewards", False)
        self.codec: Any = getattr(engine, "codec", None)
        talk = preface.before((Message("user", "?"),))
        if self.codec:  # endpoints know their own limits, and refuse
            self._fits("", partial(self.codec.prompt_ids, talk, room=ROOM))

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        behind = [self.before(p) for p in prompts]
        for number, prompt in enumerate(behind if self.codec else (), 1):
            self._fits(f"with prompt {number} ", partial(self.codec.prompt_ids, prompt, room=sampling.max_tokens))
        more = {} if on_progress is None else {"on_progress": on_progress}
        drawn = self.engine.sample(behind, sampling, **more)
        return [
            replace(e, prompt=p, answers=tuple(replace(a, by=self.name) for a in e.answers), source=self.name)
            for p, e in zip(prompts, drawn)
        ]

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        behind = [replace(e, prompt=self.before(e.prompt)) for e in examples]
        for number, example in enumerate(behind if self.codec else (), 1):
            what = f"with example {number} ({example.source or example.id}) "
            self._fits(what, partial(self.codec.encode, example))
        return self.engine.score(behind)

    def before(self, prompt: Prompt) -> Prompt:
        """What the model reads. Before a bare text, conversations stand as its chat template shows them."""
        if isinstance(prompt, str) and self.preface.conversations and self.codec:
            return self.codec.template.render(self.preface.before(()), False) + prompt
        return self.preface.before(prompt)

    @property
    def length(self) -> int:
        """How many tokens (at an endpoint: words) stand in front of a bare text."""
        front = self.before("") if self.codec or not self.preface.conversations else self.preface.before(())
        text = front if isinstance(front, str) else " ".join(m.text for m in front)
        return len(self.codec.prompt_ids(text)) if self.codec else len(text.split())

    def _fits(self, what: str, tokens: Callable[[], object]) -> None:
        """What is too long is cut from the left, turn by turn, and there stands the preface: a model that has read half
        of it would pass for one that has read it all."""
        before = self.codec.notes["prompt_truncated"]
        try:
            tokens()
        except UserError as problem:
            raise UserError(f"prompt:{self.preface.name}: {what}{problem}") from None
        if self.codec.notes["prompt_truncated"] > before:
            raise UserError(
                f"prompt:{self.preface.name}: {what}it does not fit into the model's {self.codec.max_tokens} tokens; "
                "take fewer conversations (FILE#4, for instance)."
            )
