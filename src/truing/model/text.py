"""The only place where text becomes tokens.

Prompt and answer are tokenised apart and joined as ids, so that the boundary is exact by construction and every answer
to a prompt follows the very same tokens. What does not fit is dropped by name; only prompts are ever shortened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from truing.batch import Group
from truing.model.show import show
from truing.model.template import ASKED, Dropped, Said, Template
from truing.model.vocab import Cutter, add_eoc, with_eoc
from truing.records import Answer, Example, Message, Prompt, UserError, fingerprint

__all__ = ["Codec", "Dropped", "add_eoc", "encode_all", "show", "with_eoc"]


SOMETHING = (Message("user", ASKED),)  # an answer behind nothing is shown as it is behind a question


class Codec:
    """Prompts and examples to tokens, tokens back to answers, for one tokenizer and its chat template.

    max_tokens        longest prompt with one answer
    template          a chat template to use instead of the model's own
    hash              of everything that decides which tokens come out; `tokenizer_hash` of the tokenizer alone,
                      which is what `Answer.tokenizer` holds
    end, end_ids      the tokens that close an answer, in order; the single tokens at which a sampler stops
    notes             how often something was adapted without dropping the row: prompt_truncated, answer_trimmed,
                      last_turns_unused
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, max_tokens: int = 1024, template: str | None = None):
        self.tokenizer, self.max_tokens = tokenizer, max_tokens
        self.template, self.cut = Template(tokenizer, template), Cutter(tokenizer)
        eos, bos = tokenizer.eos_token_id, tokenizer.bos_token_id
        if eos is None and not self.template.end:
            raise UserError(
                "Nothing says where an answer ends: the tokenizer has no end-of-text token and the chat template no "
                "end marker. Set tokenizer.eos_token and save the tokenizer again."
            )
        self.end: tuple[int, ...] = tuple(self.cut.within(self.template.end, control=True)) or (eos,)
        self._end_token = str(tokenizer.convert_ids_to_tokens(self.end[-1]))
        self.raw_end: tuple[int, ...] = self.end[-1:] if eos is None else (eos,)
        self.end_ids: frozenset[int] = frozenset(self.end[-1:] + self.raw_end)
        self.pad_id: int = self.end[-1] if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.bos_id: int | None = bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None
        # An answer to an empty prompt needs something that predicts its first token.
        self._nothing: list[int] = [self.raw_end[0] if bos is None else bos]
        self.tokenizer_hash = self.cut.hash
        self.hash = fingerprint([self.tokenizer_hash, self.bos_id, self.template.source, max_tokens])
        self.notes: Counter[str] = Counter()

    def describe(self) -> str:
        """One line for people and manifests."""
        names = self.tokenizer.convert_ids_to_tokens
        return (
            f"template: {self.template.origin}; an answer ends with {' '.join(names(list(self.end)))}; "
            f"BOS: {'none' if self.bos_id is None else names(self.bos_id)}; at most {self.max_tokens} tokens"
            + ("" if self.cut.exact() else "; the tokenizer does not give every text back unchanged")
        )

    def prompt_ids(self, prompt: Prompt, *, room: int = 0) -> list[int]:
        """The prompt's tokens, shortened from the left where `room` tokens for an answer would not fit behind it:
        a raw string at any token, a conversation between turns, keeping a system line and a user's turn in front."""
        limit = self.max_tokens - room
        if isinstance(prompt, str):
            return self._shortened(self._with_bos(self.cut.start(prompt)), limit)
        self.template.refuse_control(prompt)
        for i, kept in enumerate(_suffixes(prompt)):
            try:
                ids = self._with_bos(self.cut.start(self.template.before(kept)))
            except Dropped:
                if i == 0:
                    raise
                continue  # some templates want the turns of the original beginning
            if len(ids) <= limit:
                self._note("prompt_truncated", i > 0)
                return ids or self._nothing
        raise Dropped("prompt_too_long", f"its last turn and {room} tokens of answer exceed {self.max_tokens} tokens")

    def encode(self, example: Example, *, allow_empty: bool = True) -> Group:
        """An example as tokens, or Dropped. An empty answer is its end marker alone: a legitimate choice among two,
        nothing to learn from as a demonstration (`allow_empty=False`)."""
        if not example.answers:
            raise Dropped("no_answer", "the example has no answer")
        encoded = [self._answer(example.prompt, answer, allow_empty) for answer in example.answers]
        longest = max(len(ids) for ids, _ in encoded)
        if longest >= self.max_tokens:
            raise Dropped("answer_too_long", f"an answer of {longest} tokens and its prompt exceed {self.max_tokens}")
        group = Group(
            prompt=self.prompt_ids(example.prompt, room=longest),
            answers=[ids for ids, _ in encoded],
            trained=[trained for _, trained in encoded],
            rank=example.ranks(),
            id=example.id,
            source=example.source or "",
        )
        _carry_numbers(example, group)
        return group

    def transcript(self, messages: Sequence[Message], before: Sequence[Message] = ()) -> Group:
        """A conversation of which every token is learnt, those of the user too, behind the turns of `before`. Its own
        tokens are the same whatever stands before it: that is checked, letter by letter."""
        self.template.refuse_control(messages)
        text, prefix = (self._without_bos(self.template.render(part, False)) for part in (messages, before or messages))
        if before and self._without_bos(self.template.render([*before, *messages], False)) != prefix + text:
            raise Dropped("template_depends", "the chat template shows a conversation differently behind another one")
        ids = self.cut.start(text)
        ids = ids[1:] if ids[:1] == [self.bos_id] else ids
        context = self._with_bos(self.cut.start(prefix)) if before else []
        context = context or ([] if self.bos_id is None else [self.bos_id]) or self._nothing
        if len(context) + len(ids) > self.max_tokens:
            raise Dropped("too_long", f"{len(context)} tokens before it and {len(ids)} exceed {self.max_tokens}")
        return Group(context, [ids], [[True] * len(ids)], id=fingerprint(ids))

    def decode(self, ids: Sequence[int], *, raw: bool = False) -> str:
        """The text of an answer: without its end marker and, unless its prompt was a raw string, without what the
        template itself puts before an answer."""
        ids = list(ids)
        if not raw and tuple(ids[-len(self.end) :]) == self.end:
            ids = ids[: -len(self.end)]
        elif ids and ids[-1] in self.end_ids:
            ids = ids[:-1]
        text = self.cut.text(ids)
        return text if raw else text.removeprefix(self.template.lead)

    def _answer(self, prompt: Prompt, answer: Answer, allow_empty: bool) -> tuple[list[int], list[bool]]:
        turns = [Message("assistant", answer.text), *answer.more]
        spoken = [turn.text for turn in turns if turn.role == "assistant"]
        if not allow_empty and not "".join(spoken).strip():
            raise Dropped("empty_answer", "the answer is empty")
        if answer.ids is not None:
            return self._as_sampled(answer)
        if isinstance(prompt, str):
            if answer.more:
                raise Dropped("turns_after_raw_prompt", "a raw string prompt cannot be followed by several turns")
            said, end = [Said("", answer.text)], self.raw_end
        else:
            said, end = self.template.said(prompt or SOMETHING, turns), self.end
        self._note("answer_trimmed", [turn.text for turn in said] != spoken)
        self._note("last_turns_unused", turns[-1].role != "assistant")
        ids, trained = list[int](), list[bool]()
        for turn in said:
            ids += self._spoken(turn) + list(end)
            trained += [True] * (len(ids) - len(trained))
            if turn.then:  # read behind the end marker, as it is when this conversation is a prompt
                ids += self.cut.start(self._end_token + turn.then)[1:]
                trained += [False] * (len(ids) - len(trained))
        if answer.finish == "length":  # nobody ended it there
            ids, trained = ids[: -len(end)], trained[: -len(end)]
        if not ids:
            raise Dropped("empty_answer", "the answer was cut off before its first token")
        return ids, trained

    def _spoken(self, turn: Said) -> list[int]:
        """Spaces before the content are read with it, as words are; only the template may write control tokens."""
        lead = turn.lead.rstrip(" ")
        return self.cut.within(lead, control=True) + self.cut.within(turn.lead[len(lead) :] + turn.text)

    def _as_sampled(self, answer: Answer) -> tuple[list[int], list[bool]]:
        ids = list(answer.ids or ())
        if answer.tokenizer != self.tokenizer_hash:
            raise UserError(
                f"An answer brings token ids of tokenizer {answer.tokenizer or 'unknown'}, this model's is "
                f"{self.tokenizer_hash}: use the model it was sampled from, or remove 'ids' to have its text tokenised."
            )
        if answer.more:
            raise UserError("An answer with token ids cannot have further turns: remove 'ids' or 'more'.")
        if answer.logps is not None and len(answer.logps) != len(ids):
            raise UserError(f"An answer brings {len(ids)} token ids but {len(answer.logps)} log-probabilities.")
        if not ids:
            raise Dropped("empty_answer", "the answer has no token ids")
        return ids, [True] * len(ids)

    def _with_bos(self, ids: list[int]) -> list[int]:
        """BOS exactly once, whether the template or the tokenizer adds it."""
        return ids if self.bos_id is None or ids[:1] == [self.bos_id] else [self.bos_id, *ids]

    def _without_bos(self, text: str) -> str:
        return text.removeprefix(str(self.tokenizer.bos_token)) if self.bos_id is not None else text

    def _shortened(self, ids: list[int], limit: int) -> list[int]:
        bos = ids[:1] if self.bos_id is not None else []
        room = limit - len(bos)
        if room < 1 and len(ids) > limit:
            raise Dropped("prompt_too_long", f"the answer leaves no token of {self.max_tokens} for the prompt")
        self._note("prompt_truncated", len(ids) > limit)
        return bos + ids[len(bos) :][-room:] or self._nothing

    def _note(self, name: str, happened: bool) -> None:
        if happened:
            self.notes[name] += 1


def _suffixes(prompt: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The conversation, then with ever fewer of its oldest turns."""
    yield prompt
    system = prompt[:1] if prompt and prompt[0].role == "system" else ()
    body = prompt[len(system) :]
    starts = range(1, len(body))
    for start in [i for i in starts if body[i].role == "user"] or starts:
        yield system + body[start:]


def _carry_numbers(example: Example, group: Group) -> None:
    """Rewards, margin and the sampler's log-probabilities travel with the tokens."""
    rewards = [answer.reward for answer in example.answers]
    scores = [j.value for j in example.judgements if j.kind == "scores" and len(j.value) == len(rewards)]
    for values in (rewards, *scores):
        if all(value is not None for value in values):
            group.per_answer["reward"] = [float(value) for value in values]
            break
    if example.meta.get("margin") is not None:
        group.per_group["margin"] = float(example.meta["margin"])
    if all(answer.ids is not None and answer.logps is not None for answer in example.answers):
        group.per_token["old_logps"] = [torch.tensor(answer.logps) for answer in example.answers]


def encode_all(
    examples: Iterable[Example],
    codec: Codec,
    *,
    on_drop: Literal["count", "stop"] = "count",
    allow_empty: bool = True,
) -> tuple[list[Group], Counter[str]]:
    """All examples as tokens, and how many were dropped for which reason; none left is an error."""
    groups, dropped, detail = list[Group](), Counter[str](), ""
    for number, example in enumerate(examples, start=1):
        try:
            groups.append(codec.encode(example, allow_empty=allow_empty))
        except UserError as problem:
            where = f"Example {number} ({example.source or example.id})"
            if on_drop == "stop" or not isinstance(problem, Dropped):
                raise UserError(f"{where}: {problem}") from None
            dropped[problem.reason] += 1
            detail = detail or f"{where}: {problem.detail}"
    if dropped and not groups:
        counts = ", ".join(f"{reason} {n}" for reason, n in dropped.most_common())
        raise UserError(f"No example is left to work with ({counts}). The first one, {detail}.")
    return groups, dropped
