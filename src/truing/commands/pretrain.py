"""`truing data pretrain`: what sites offer as comparisons, for preference pre-training, and comparisons as verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, Literal

from truing.commands.data import opened
from truing.commands.evaluate import items
from truing.commands.tables import report, show
from truing.data import check_target, comparisons, pretraining, read, write
from truing.data.describe import length_only
from truing.data.pretraining import BAD, GOOD, Pairs, binarised, ordered, stated
from truing.records import Example, UserError
from truing.run import say
from truing.schema import Mistake, at_least

SHOWN, WIDTH = 3, 90  # examples on the card; characters of a text


@dataclass(frozen=True)
class Pretrain:
    """Write comparisons made of votes, popularity, reverted edits or human authorship, ranked or as verdicts."""

    data: str
    """file or hub name; or world:threads, world:comments, world:reverts, …"""
    out: str
    """the file to write: .jsonl, .jsonl.gz or .parquet"""
    rule: Literal["votes", "comments", "reverts", "versus", "pairs"] = "votes"
    """votes: by the logarithm of the votes; comments: by the votes, with a ratio; reverts: what was kept is better than
    what was taken back; versus: what people wrote is better than `samples`; pairs: comparisons as they are"""
    encoding: Literal["ranked", "binary", "stated"] = "ranked"
    """ranked: pairs; binary: each pair as two verdicts; stated: the good verdict behind all answers, which is what a
    model that learnt verdicts is fine-tuned with and asked"""
    samples: str | None = None
    """versus: a file of a model's answers to the same prompts, as `truing sample` writes it"""
    cap: int = 4
    """at most so many pairs of one question"""
    ratio: float = 2.0
    """comments: how many times as popular the better one must be"""
    verdicts: tuple[str, str] = (GOOD, BAD)
    """what stands at the end of a good and of a bad answer"""
    count: int = 1000
    """how many questions, where the world makes them"""
    seed: int = 0
    """of the world's questions, and of which pairs are drawn"""
    format: str = "auto"
    """name of the format to read; auto detects it from the first row and says so"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a row that cannot be read stops the verb, or is dropped and counted"""
    limit: int | None = None
    """read only the first so many rows"""

    def __post_init__(self) -> None:
        at_least(self, 1, "cap", "ratio", "count", "limit")
        if (self.rule == "versus") != bool(self.samples):
            raise Mistake(("samples",), "is needed by rule versus, and by no other.")
        if len(set(self.verdicts)) < 2 or not all(verdict.strip() for verdict in self.verdicts):
            raise Mistake(("verdicts",), "must be two different words.")


def pretrain(settings: Pretrain) -> dict[str, Any]:
    """Build, write, and print the card of what was built."""
    check_target(settings.out, settings.data, settings.samples)
    questions = _questions(settings)
    pairs, dropped = _compared(settings, questions)
    if not pairs:
        reasons = ", ".join(f"{reason} {n}" for reason, n in dropped.items()) or "no question"
        raise UserError(f"{settings.data}: rule {settings.rule} finds nothing to compare in it ({reasons}).")
    examples = _encoded(settings, pairs)
    found = {
        "questions": len(questions),
        "pairs": sum(1 for example in pairs for _ in ordered(example)),
        "dropped": dict(dropped),
        "longer is better": length_only(pairs),
        "examples written": write(settings.out, examples, "truing"),
        "first examples": [_brief(example) for example in examples[:SHOWN]],
    }
    report("pretrain", found)
    _show(settings, found)
    return found


def _questions(settings: Pretrain) -> Sequence[Example]:
    if settings.data.startswith("world:"):
        return items(settings.data, settings.count, settings.seed)
    return opened(settings, settings.data, settings.limit)


def _compared(settings: Pretrain, questions: Sequence[Example]) -> Pairs:
    cap, seed = settings.cap, settings.seed
    if settings.rule == "votes":
        return pretraining.votes(questions, cap, seed)
    if settings.rule == "comments":
        return pretraining.comments(questions, settings.ratio, cap, seed)
    if settings.rule == "versus":
        return pretraining.versus(questions, read(str(settings.samples)), cap, seed)
    return pretraining.reverts(questions) if settings.rule == "reverts" else comparisons(questions)


def _encoded(settings: Pretrain, pairs: list[Example]) -> list[Example]:
    if settings.encoding == "binary":
        return binarised(pairs, *settings.verdicts)
    return stated(pairs, settings.verdicts[0]) if settings.encoding == "stated" else pairs


def _brief(example: Example) -> str:
    """The prompt's end, and its answers in their order."""
    said = example.prompt if isinstance(example.prompt, str) else example.prompt[-1].text
    texts = [answer.more[-1].text if answer.more else answer.text for answer in example.answers]
    asked, *answers = (shorten(text[::-1], WIDTH, placeholder=" …")[::-1] for text in (said, *texts))
    return f"{asked}  →  {'  >  '.join(answers)}"


def _show(settings: Pretrain, found: dict[str, Any]) -> None:
    rows = {name: [str(found[name])] for name in ("questions", "pairs", "examples written")}
    rows |= {f"dropped: {reason.replace('_', ' ')}": [str(n)] for reason, n in found["dropped"].items()}
    if found["longer is better"] is not None:
        rows["the longer is better"] = [f"{found['longer is better']:.3f}"]
    show(f"{settings.data}, rule {settings.rule}, {settings.encoding}", [""], rows)
    for line in found["first examples"]:
        say(line)
    say(f"written: {settings.out}")
