"""Any model with a preface in front of every conversation. Whoever asks sees the conversation alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
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
        codec: Any = getattr(engine, "codec", None)
        if codec is not None:
            self._check_room(codec)

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        more = {} if on_progress is None else {"on_progress": on_progress}
        drawn = self.engine.sample([self.preface.before(p) for p in prompts], sampling, **more)
        return [
            replace(e, prompt=p, answers=tuple(replace(a, by=self.name) for a in e.answers), source=self.name)
            for p, e in zip(prompts, drawn)
        ]

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        return self.engine.score([replace(e, prompt=self.preface.before(e.prompt)) for e in examples])

    def _check_room(self, codec: Any) -> None:
        """A preface that does not fit would be cut without a word, turn by turn."""
        talk = self.preface.before((Message("user", "?"),))
        before = codec.notes["prompt_truncated"]
        try:
            codec.prompt_ids(talk, room=ROOM)
        except UserError as problem:
            raise UserError(f"prompt:{self.preface.name}: {problem}") from None
        if codec.notes["prompt_truncated"] > before:
            raise UserError(
                f"prompt:{self.preface.name}: it does not fit into the model's {codec.max_tokens} tokens; "
                "take fewer conversations (FILE#4, for instance)."
            )
