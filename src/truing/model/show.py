"""What the model really reads and learns: a group as coloured tokens, for a terminal."""

from __future__ import annotations

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from truing.batch import Group
from truing.model.vocab import Cutter

# Two shades each, so that one token can be told from the next.
SHADES = {
    "prompt": ("grey62", "grey42"),
    "trained on": ("green3", "dark_sea_green4"),
    "not trained on": ("yellow3", "gold3"),
}
CONTROL = "bold reverse"


def show(group: Group, tokenizer: PreTrainedTokenizerBase) -> Text:
    """Prompt and answers token by token: what is trained on and what is not, control tokens (the end marker among
    them) reversed, spaces and line ends visible. A legend comes first."""
    cut = Cutter(tokenizer)
    control = {id for id, token in tokenizer.added_tokens_decoder.items() if token.special}

    def write(ids: list[int], kinds: list[str]) -> None:
        for i, (token, kind) in enumerate(zip(ids, kinds)):
            style = SHADES[kind][i % 2]
            text.append(_visible(cut.text([token])), f"{CONTROL} {style}" if token in control else style)
        text.append("\n")

    text = Text()
    for kind, (style, _) in SHADES.items():
        text.append(kind, style).append("   ")
    text.append("control token", CONTROL).append("   · space  → tab  ↵ line end\n\n")
    text.append(f"prompt, {len(group.prompt)} tokens\n", "bold")
    write(group.prompt, ["prompt"] * len(group.prompt))
    for j, (ids, trained) in enumerate(zip(group.answers, group.trained)):
        rank = "" if group.rank is None else f", rank {group.rank[j]}"
        numbers = "".join(f", {name} {values[j]:g}" for name, values in group.per_answer.items())
        text.append(f"\nanswer {j}, {len(ids)} tokens, {sum(trained)} trained on{rank}{numbers}\n", "bold")
        write(ids, ["trained on" if t else "not trained on" for t in trained])
    return text


def _visible(piece: str) -> str:
    """A token that is part of a character shows as �; other things that would not be seen get a sign."""
    shown = piece.replace(" ", "·").replace("\t", "→").replace("\r", "␍").replace("\n", "↵\n")
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in shown) or "∅"
