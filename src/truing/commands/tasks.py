"""`truing data tasks|cloze`: the nine tasks of ranking and of right and wrong, and wrong last words for one of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console
from rich.table import Table

from truing.data import check_target, read, write
from truing.data.tasks import TASKS, WORD, wrong_word
from truing.engine import open_engine, require
from truing.records import Answer, Example, Judgement, Sampling, UserError
from truing.run import say
from truing.schema import at_least
from truing.settings import Machine
from truing.world.tasks import BINARY, RANKED

LONGEST = 6  # tokens in which a word must show


@dataclass(frozen=True)
class Tasks:
    """List the published tasks, read as task:NAME, and their kin in the built-in world (`truing world corpus`)."""


@dataclass(frozen=True)
class Cloze:
    """Have a model write last words, and keep a wrong one beside each right one: pairs for `truing pm`."""

    model: str
    """who writes the wrong words; a strong one makes the task hard"""
    out: str
    """the file to write"""
    path: str = "task:lambada"
    """texts: rows with a `text`, whose last word is the right one"""
    n: int = 16
    """how often a word is drawn; the one that is most like the right one in how common it is is taken"""
    limit: int | None = None
    """use only the first so many texts"""
    seed: int = 0
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        at_least(self, 1, "n", "limit")


def tasks(settings: Tasks) -> None:
    """Print them."""
    table = Table("", "learnt by", "what is judged", box=None)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for task in TASKS.values():
        table.add_row(
            f"task:{task.name}", task.kind, f"{task.judged}\n[dim]{task.hub or 'a file'}; {task.caveat}[/dim]"
        )
    for kind, families in (("ranked", RANKED), ("binary", BINARY)):
        for name, function in families.items():
            table.add_row(f"world corpus {name}", kind, " ".join((function.__doc__ or "").split()))
    Console().print(table)


def cloze(settings: Cloze) -> list[Example]:
    """Draw, choose, write, and say how far a rule that knows only how common words are would come."""
    check_target(settings.out, settings.path)
    texts = read(settings.path, format="lambada", limit=settings.limit)
    engine = open_engine(settings.model, settings.machine)
    require(engine, "sample")
    say(f"{settings.path}: {len(texts)} texts")
    sampling = Sampling(n=settings.n, max_tokens=LONGEST, seed=settings.seed)
    drawn = engine.sample([example.prompt for example in texts], sampling)
    common = Counter(word.casefold() for e in texts for word in WORD.findall(f"{e.prompt}{e.answers[0].text}"))
    found = [pair for text, said in zip(texts, drawn) if (pair := _pair(text, said.answers, common))]
    if not found:
        raise UserError(f"{settings.model} wrote no word but the right ones: nothing was written.")
    write(settings.out, found, "cloze")
    counts = [[common[a.text.strip().casefold()] for a in e.answers] for e in found]
    commoner = sum((right > wrong) + (right == wrong) / 2 for right, wrong in counts) / len(found)
    say(
        f"{settings.out}: {len(found)} pairs; {len(texts) - len(found)} texts without a wrong word left out. "
        f"The more common word is the right one in {commoner:.1%}."
    )
    return found


def _pair(text: Example, said: Sequence[Answer], common: Counter[str]) -> Example | None:
    right = text.answers[0]
    word = wrong_word(right.text.strip(), [answer.text for answer in said], common)
    if word is None:
        return None
    answers = (right, replace(right, text=f" {word}"))
    return replace(text, answers=answers, judgements=(Judgement("label", (True, False)),))
