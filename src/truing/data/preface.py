"""What stands before every conversation with a model, unseen by the one who talks to it: `+prompt:FILE`.

    a text file (.txt, .md)      one system line
    a YAML file                  `preamble`, a system line; `conversations`, each with `turns` of user and assistant
    hhh                          the package's own fourteen conversations with a helpful, honest, harmless assistant

`FILE#4` takes the preamble and the first four conversations, `FILE#0` the preamble alone: how much does each part do?
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from truing.records import Message, Prompt, UserError, fingerprint
from truing.run.checkpoint import write_text

OWN = Path(__file__).parent / "prompts"


@dataclass(frozen=True)
class Preface:
    """`conversations` of two or more turns each, after an optional system line."""

    name: str
    preamble: str
    conversations: tuple[tuple[Message, ...], ...] = ()

    @property
    def fingerprint(self) -> str:
        return fingerprint([self.preamble, [[[m.role, m.text] for m in c] for c in self.conversations]])

    def before(self, prompt: Prompt) -> Prompt:
        """The prompt as the model reads it. A system line of its own is added to the preamble: there is one place for
        system lines, and it is the first."""
        if isinstance(prompt, str):
            if self.conversations:
                raise UserError(
                    f"prompt:{self.name}: conversations cannot stand before a bare text; give the prompt as messages."
                )
            return f"{self.preamble}\n\n{prompt}"
        own = [m for m in prompt if m.role == "system"]
        system = "\n\n".join(text for text in (self.preamble, *(m.text for m in own)) if text)
        turns = [m for c in self.conversations for m in c] + [m for m in prompt if m.role != "system"]
        return (*([Message("system", system)] if system else ()), *turns)

    def holds(self, prompts: Iterable[Prompt]) -> list[str]:
        """User turns of these prompts that the preface holds as well: it has seen that part of the test."""
        mine = {_plain(m.text) for c in self.conversations for m in c if m.role == "user"}
        asked = (m.text for p in prompts for m in ([Message("user", p)] if isinstance(p, str) else p))
        return sorted({text for text in asked if _plain(text) in mine})


def load_preface(text: str) -> Preface:
    """From FILE, FILE#k or the name of one of the package's own."""
    path, mark, count = text.rpartition("#")
    if not mark or not count.isascii() or not count.isdigit():
        path, count = text, ""
    own = OWN / f"{path}.yaml"
    file = own if own.is_file() and not Path(path).exists() else Path(path).expanduser()
    try:
        raw = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(f.stem for f in OWN.glob("*.yaml")))
        why = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise UserError(f"prompt:{text}: {path} cannot be read ({why}); the package's own are {names}.") from None
    if file.suffix not in (".yaml", ".yml"):
        if count:
            raise UserError(f"prompt:{text}: #{count} counts conversations, and a text file has none.")
        if not raw.strip():
            raise UserError(f"prompt:{text}: the file is empty.")
        return Preface(text, raw.strip())
    preamble, conversations = _parsed(raw, text)
    if count and int(count) > len(conversations):
        raise UserError(f"prompt:{text}: there are only {len(conversations)} conversations in it.")
    return Preface(text, preamble, conversations[: int(count)] if count else conversations)


def write_preface(preface: Preface, file: str | Path) -> None:
    """As a YAML file that `load_preface` reads."""
    turns = [{"turns": [{m.role: m.text} for m in c]} for c in preface.conversations]
    content = {"preamble": preface.preamble, "conversations": turns}
    write_text(Path(file), yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110))


def _parsed(raw: str, name: str) -> tuple[str, tuple[tuple[Message, ...], ...]]:
    try:
        content = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UserError(f"prompt:{name}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not {"preamble", "conversations"} & content.keys():
        raise UserError(f"prompt:{name}: it has neither a preamble nor conversations.")
    found = []
    for number, one in enumerate(content.get("conversations") or [], 1):
        turns = one.get("turns") if isinstance(one, dict) else None
        where = f"prompt:{name}: conversation {number}"
        messages = tuple(_turn(turn, where) for turn in turns or [])
        roles = [m.role for m in messages]
        if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
            raise UserError(f"{where}: turns go user, assistant, user, assistant, and end with the assistant.")
        found.append(messages)
    return str(content.get("preamble") or "").strip(), tuple(found)


def _turn(turn: Any, where: str) -> Message:
    if not isinstance(turn, dict) or len(turn) != 1 or not isinstance(text := next(iter(turn.values())), str):
        raise UserError(f"{where}: a turn is one line 'user: text' or 'assistant: text', not {str(turn)[:60]!r}.")
    return Message(str(next(iter(turn))), text.strip())


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
