"""Nine published tasks that are learnt by ranking, or by telling good from bad (Askell et al., arXiv 2112.00861, §3).

`task:NAME` reads one from the hub, `task:NAME@SPLIT` another split of it, `task:NAME=FILE` rows in the same form from a
file. Rows are judged one answer at a time in most binary tasks: answers to one prompt are put together, and texts
without a prompt, which have nothing in common, are paired off, good with bad. (In the paper, too, a binary task is
learnt from pairs of a good and a bad sequence.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import cycle
from typing import Literal

from truing.data.choices import read_cloze
from truing.data.rows import Note, Row, RowError, take, take_list
from truing.records import Answer, Example, Judgement, Prompt, UserError

SPEC = re.compile(r"task:(?P<name>[^@=]*)(?:@(?P<split>[^=]+)|=(?P<file>.+))?", re.DOTALL)
SEPARATOR = "[SEP]"  # in ETHICS, between a scenario and the trait that is said to show in it
WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?")


@dataclass(frozen=True)
class Task:
    """`hub` is where it is published, `format` how its rows are read."""

    name: str
    kind: Literal["ranked", "binary"]
    hub: str | None
    split: str
    format: str
    judged: str
    caveat: str


def read_summaries(row: Row, note: Note) -> Example:
    """Two summaries of a post (or of a news article, in some splits), and the one that somebody chose."""
    info, said, choice = take(row, "info", dict), take_list(row, "summaries", dict), take(row, "choice", int)
    if len(said) != 2 or choice not in (0, 1):
        raise RowError("a comparison has two 'summaries', and a 'choice' of 0 or 1")
    if info.get("post") is not None:
        head = [f"SUBREDDIT: r/{info.get('subreddit') or ''}", f"TITLE: {info.get('title') or ''}"]
        asked = "\n".join([*head, f"POST: {take(info, 'post', str)}"])
    else:
        asked = f"TITLE: {info.get('title') or ''}\nARTICLE: {take(info, 'article', str)}"
    answers = tuple(Answer(_behind(take(one, "text", str)), by=one.get("policy")) for one in said)
    judgement = Judgement("order", (choice, 1 - choice), by=row.get("worker"))
    return Example(f"{asked}\nTL;DR:", answers, (judgement,))


def read_hellaswag(row: Row, note: Note) -> Example:
    """Four endings, one of which is how it went on."""
    endings, label = take_list(row, "endings", str), take(row, "label", str, int)
    if not str(label).isdigit() or int(label) >= len(endings):
        raise RowError("'label' does not name one of its endings (in the test split nobody says which is right)")
    others = tuple(i for i in range(len(endings)) if i != int(label))
    judgement = Judgement("order", (int(label), others))
    return Example(take(row, "ctx", str), tuple(Answer(_behind(ending)) for ending in endings), (judgement,))


def read_ethics(row: Row, note: Note) -> Example:
    """Any of the five parts: which one shows in the columns. In the commonsense part label 1 says that it is wrong."""
    if "less_pleasant" in row:
        pleasant = (Answer(take(row, "baseline", str)), Answer(take(row, "less_pleasant", str)))
        return Example("", pleasant, (Judgement("order", (0, 1)),))
    label = take(row, "label", int)
    if label not in (0, 1):
        raise RowError("'label' is neither 0 nor 1")
    if "input" in row:
        return _labelled("", take(row, "input", str), label == 0)
    scenario = take(row, "scenario", str)
    if "excuse" in row:
        return _labelled(scenario, _behind(take(row, "excuse", str)), label == 1)
    if "trait" in row or SEPARATOR in scenario:
        before, _, after = scenario.rpartition(SEPARATOR) if SEPARATOR in scenario else (scenario, "", row["trait"])
        return _labelled(before.strip(), _behind(after.strip()), label == 1)
    return _labelled("", scenario, label == 1)


def read_lambada(row: Row, note: Note) -> Example:
    """A text without its last word, and that word."""
    before, _, word = take(row, "text", str).rstrip().rpartition(" ")
    if not before.strip():
        raise RowError("'text' has fewer than two words")
    return read_cloze({"text": before, "completion": word}, note)


def read_solution(row: Row, note: Note) -> Example:
    """One solution of a programming problem, and whether it passed its tests when somebody ran them. Nothing is run
    here."""
    return _labelled(take(row, "prompt", str), take(row, "solution", str), take(row, "passed", bool))


def _labelled(prompt: str, text: str, good: bool) -> Example:
    return Example(prompt, (Answer(text),), (Judgement("label", (good,)),))


def _behind(text: str) -> str:
    """With the space that stands between it and the text before."""
    return text if text[:1].isspace() else f" {text}"


def is_ethics(row: Row) -> bool:
    """Exactly a published row: others have a label and an input, too, and mean other things by it."""
    known = {"label", "input", "scenario", "excuse", "trait", "is_short", "edited", "group_id"}
    pair = {"baseline", "less_pleasant"} <= set(row)
    return pair or (("scenario" in row or "input" in row) and "label" in row and set(row) <= known)


def not_written(example: Example) -> Row:
    raise RowError("it is the form in which others published a task, and only read; write 'truing' or 'preference'")


ETHICS = "hendrycks/ethics"
TASKS = {
    task.name: task
    for task in (
        Task("learning-to-summarise", "ranked", "openai/summarize_from_feedback:comparisons", "train",
             "summaries", "which of two summaries of a post people prefer",
             "several comparisons share a post; the validation split holds news articles as well"),
        Task("hellaswag", "ranked", "Rowan/hellaswag", "train",
             "hellaswag", "the most sensible of four endings",
             "one against each of three others: an accuracy over pairs is higher than one over questions of four"),
        Task("ethics-utilitarianism", "ranked", f"{ETHICS}:utilitarianism", "train",
             "ethics", "which of two scenarios is more pleasant",
             "pairs share scenarios; the hard test is a split of its own"),
        Task("ethics-commonsense", "binary", f"{ETHICS}:commonsense", "train",
             "ethics", "is what somebody does acceptable",
             "paired off, for texts have nothing in common; short ones and very long ones"),
        Task("ethics-justice", "binary", f"{ETHICS}:justice", "train",
             "ethics", "is the reason reasonable", "paired off; near neighbours differ in few words"),
        Task("ethics-deontology", "binary", f"{ETHICS}:deontology", "train",
             "ethics", "is the excuse, or the duty, reasonable", "answers to one scenario are one example"),
        Task("ethics-virtue", "binary", f"{ETHICS}:virtue", "train",
             "ethics", "does the trait show in the scenario", "one trait fits and the others were drawn"),
        Task("lambada", "binary", "EleutherAI/lambada_openai", "test",
             "lambada", "is it the last word of the text",
             "only right words: `truing data cloze` has a model write wrong ones; there is no train split"),
        Task("code-correctness", "binary", None, "train",
             "solutions", "does the function pass its tests",
             "the authors built their own: name a file of prompt, solution, passed; nothing is run here"),
    )
}  # fmt: skip


def resolved(source: str) -> tuple[Task | None, str]:
    """The task that a source names, if it does, and where its rows are."""
    if not source.startswith("task:"):
        return None, source
    found = SPEC.fullmatch(source)
    name = found["name"] if found else ""
    if not found or name not in TASKS:
        close = get_close_matches(name, TASKS, 1)
        hint = f"did you mean task:{close[0]}?" if close else f"there are {', '.join(TASKS)}."
        raise UserError(f"there is no task '{name}'; {hint}")
    task = TASKS[name]
    if found["file"]:
        return task, found["file"]
    if task.hub is None:
        raise UserError(f"{source} is on no hub ({task.caveat}): task:{name}=FILE.")
    return task, f"{task.hub}@{found['split'] or task.split}"


def gathered(examples: Iterable[Example]) -> list[Example]:
    """Answers that come one at a time, each called good or bad, as comparisons. What has no partner stays alone."""
    kept, alone = list[Example](), dict[Prompt, list[Example]]()
    for example in examples:
        single = len(example.answers) == 1 and example.judgements and example.judgements[0].kind == "label"
        (alone.setdefault(example.prompt, []) if single else kept).append(example)
    for prompt, some in alone.items():
        kept += [_together(some)] if prompt else map(_together, _paired_off(some))
    return kept


def _together(some: Sequence[Example]) -> Example:
    labels = tuple(bool(e.judgements[0].value[0]) for e in some)
    return replace(some[0], answers=tuple(e.answers[0] for e in some), judgements=(Judgement("label", labels),))


def _paired_off(some: Sequence[Example]) -> Iterator[Sequence[Example]]:
    """Each with one of the other kind, in their order. The fewer come round again, and stand first: a split goes by
    what stands first, and so keeps their pairs together."""
    kinds = [[e for e in some if bool(e.judgements[0].value[0]) == good] for good in (True, False)]
    fewer, more = sorted(kinds, key=len)
    return zip(cycle(fewer), more) if fewer else ((e,) for e in more)


def wrong_word(right: str, samples: Iterable[str], frequency: Mapping[str, int]) -> str | None:
    """Of the words that a model would write there the one that is like the right one in how common it is and in how it
    is written, large or small; neither must give it away. None if it writes the right one only."""
    words = [found[0] for text in samples if (found := WORD.search(text))]
    others = [word for word in dict.fromkeys(words) if word.casefold() != right.casefold()]

    def unlike(word: str) -> tuple[bool, float]:
        counts = [math.log1p(frequency.get(one.casefold(), 0)) for one in (word, right)]
        return word[0].isupper() != right[0].isupper(), abs(counts[0] - counts[1])

    return min(others, key=unlike, default=None)
