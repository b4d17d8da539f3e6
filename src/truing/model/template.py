"""From a conversation to text: the model's chat template, and where in its output an answer begins and ends.

A template is a program of somebody else's. What it does to an answer is found out once by rendering a known
conversation, and then checked on every row: what was rendered before a turn must still stand, letter by letter, when
the turn is added. Templates that rewrite what went before cannot be trained on as they will be used, and say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from truing.records import Message, UserError

# For models without a template of their own: the form of the HH-RLHF transcripts, each answer ended by the end token.
PLAIN = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}{{ '\\n\\nHuman: ' + message.content }}"
    "{% elif message.role == 'assistant' %}{{ '\\n\\nAssistant: ' + message.content }}{{ eos_token }}"
    "{% elif message.role == 'system' %}{{ message.content }}"
    "{% else %}{{ raise_exception('a Human/Assistant transcript has no role ' + message.role) }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\\n\\nAssistant:' }}{% endif %}"
)

ASKED, ANSWERED = "Kestrelquestion", "Kestrelanswer"  # what no template contains or changes


class Dropped(UserError):
    """An example that cannot be encoded: `reason` is one of a few names, for callers that drop and count; for others
    it is a mistake in the data."""

    def __init__(self, reason: str, detail: str):
        super().__init__(f"{detail} ({reason})")
        self.reason, self.detail = reason, detail


@dataclass(slots=True)
class Said:
    """One assistant turn as the template shows it: what it puts before the content (part of the answer: the model has
    to write it too), the content, and the text from the end marker to where the next assistant turn begins."""

    lead: str
    text: str
    then: str = ""


class Template:
    """`source` is the template, `origin` says whose. `end` is what closes an answer, "" where the template has nothing
    of the kind; `lead` is what it writes between generation prompt and content, often nothing or a space."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, source: str | None = None):
        own = tokenizer.get_chat_template() if tokenizer.chat_template else None
        self.tokenizer = tokenizer
        self.source: str = source or own or PLAIN
        self.origin = "given" if source else "the model's own" if own else "plain Human/Assistant"
        # A model that never learnt an end token goes on with the human's next turn.
        self.stop: tuple[str, ...] = ("\n\nHuman:",) if self.source == PLAIN else ()
        self.header = self.marker = ""
        self._rendered: tuple[tuple[Message, ...], str] = (), ""
        added = tokenizer.added_tokens_decoder.values()
        self._marker = re.compile("|".join(re.escape(t.content) for t in added) or r"(?!)")
        self._control = re.compile("|".join(re.escape(t.content) for t in added if t.special) or r"(?!)")
        self.lead, self.end = self._explore()

    def render(self, messages: Sequence[Message], generate: bool) -> str:
        """The template's own output, or Dropped with the template's own words."""
        for message in messages:
            if not isinstance(message.content, str) and any(p.kind == "image" for p in message.content):
                raise Dropped("has_image", "the conversation holds an image and this model reads text only")
        plain = [{"role": m.role, "content": m.text} for m in messages]
        try:
            text = self.tokenizer.apply_chat_template(
                plain, chat_template=self.source, tokenize=False, add_generation_prompt=generate
            )
        except (TemplateError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise Dropped("template_refuses", f"the chat template refuses this conversation: {error}") from None
        return str(text)

    def before(self, messages: Sequence[Message]) -> str:
        """Everything the model reads before it answers: in an empty conversation, the bare assistant marker. The latest
        is kept, because every answer to a prompt asks for it again."""
        if not messages:
            return self.marker + self.header
        if self._rendered[0] != tuple(messages):
            self._rendered = tuple(messages), self.render(messages, True)
        return self._rendered[1] + self.header

    def refuse_control(self, messages: Iterable[Message]) -> None:
        """A turn that spells out a control token would be read as the turns that it pretends to be."""
        for message in messages:
            if found := self._control.search(message.text):
                raise Dropped("control_token_in_prompt", f"a {message.role} turn holds the control token {found[0]!r}")

    def said(self, messages: Sequence[Message], turns: Sequence[Message]) -> list[Said]:
        """The assistant turns among `turns`, which follow `messages`, as they will stand in the model's context."""
        self.refuse_control(turn for turn in turns if turn.role != "assistant")
        history, found, fixed = list(messages), list[Said](), ""
        for turn in turns:
            if turn.role == "assistant":
                before = self.before(history)
                if not before.startswith(fixed):
                    raise _rewrites("an earlier turn once another follows")
                if found:
                    found[-1].then = before[len(fixed) :]
                full = self.render([*history, turn], False)
                if not full.startswith(before):
                    raise _rewrites("what stood before an answer once the answer is there")
                lead, text = self._content(full[len(before) :], turn.text)
                found.append(Said(lead, text))
                fixed = before + lead + text + self.end
            history.append(turn)
        return found

    def _content(self, rest: str, content: str) -> tuple[str, str]:
        """What `rest` shows before the content, and the content, which some templates trim."""
        for lead in (self.lead, ""):
            for text in (content, content.strip(), content.rstrip(), content.lstrip()):
                if rest.startswith(lead + text + self.end):
                    return lead, text
        raise Dropped("template_changes_answer", "the chat template does not show the answer as it is written")

    def _explore(self) -> tuple[str, str]:
        question, answer = Message("user", ASKED), Message("assistant", ANSWERED)
        try:
            bare, before = self.render([question], False), self.render([question], True)
            full = self.render([question, answer], False)
        except Dropped as problem:
            raise UserError(f"The chat template cannot show one question and its answer: {problem.detail}.") from None
        if ANSWERED not in full:
            raise UserError("The chat template leaves out what the assistant says: it cannot be trained with.")
        self.marker = before[len(bare) :] if before.startswith(bare) else ""
        shown, after = full.split(ANSWERED, 1)
        lead = shown[len(before) :] if shown.startswith(before) else ""
        if bare == before:
            # No generation prompt: who speaks is part of the prompt all the same. A space before the content belongs
            # to the answer, as most tokenizers write a word and the space before it in one token.
            self.header = lead.rstrip(" ")
            lead = lead[len(self.header) :]
        marker = self._marker.search(after)
        return lead, after[: marker.end()] if marker else ""


def _rewrites(what: str) -> Dropped:
    return Dropped(
        "template_rewrites_history", f"the chat template changes {what}: tokens learnt would not be those used"
    )
