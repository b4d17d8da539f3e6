"""Two models on the same prompts, judged in both orders, about one thing at a time.

A judge that prefers what stands first is no judge. Each pair of answers is asked about twice, (A, B) and (B, A); a win
has to be won from both sides. What comes out otherwise is kept under its own name and never made into a win:

    win, lose    both orders name the same answer          tie         neither is better, in one order at least
    disagree     each order names the one that stood in the same place          unscored    nothing was said
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from truing.evaluate.arena import Referee, shares
from truing.evaluate.judges import Question
from truing.evaluate.rows import Rows
from truing.evaluate.rubric import Name, rubric
from truing.records import Example
from truing.stats.intervals import Interval, wilson

Said = Literal["win", "tie", "lose", "disagree", "unscored"]
SAID: tuple[Said, ...] = get_args(Said)
MENU = {"A": 1.0, "B": 0.0, "tie": 0.5}


def question(name: Name) -> Question:
    """Which of two answers is more of this, and of nothing else."""
    page = rubric(name)
    text = (
        f"Two answers to the same conversation, A and B, follow. Which one is more {name}, as this page has it? Look "
        "at nothing else: an answer may be better in other ways. Their order and their lengths mean nothing.\n\n"
        f"{page.text}"
    )
    return Question(f"the more {page}", text, MENU)


@dataclass(frozen=True)
class Versus:
    """What was said of each prompt, in their order, and how often the answer that stood first won where one did."""

    said: Sequence[Said]
    first: float | None

    @property
    def counts(self) -> Mapping[Said, int]:
        found = Counter(self.said)
        return {name: found[name] for name in SAID}

    def share(self, name: Said) -> Interval | None:
        """Of all prompts about which something was said."""
        scored = len(self.said) - self.counts["unscored"]
        return wilson(float(self.counts[name]), scored) if scored else None

    @property
    def ahead(self) -> Interval | None:
        """Wins among those that one of the two won."""
        decided = self.counts["win"] + self.counts["lose"]
        return wilson(float(self.counts["win"]), decided) if decided else None


def versus(ours: Sequence[Example], theirs: Sequence[Example], referee: Referee, rows: Rows) -> Versus:
    """Each with one answer to the same prompts. Answers that are the same are a tie without asking."""
    pairs = [(one.answers[0], other.answers[0], one.prompt) for one, other in zip(ours, theirs, strict=True)]
    asked = [number for number, (a, b, _) in enumerate(pairs) if a.text != b.text]
    forward = shares([Example(pairs[i][2], pairs[i][:2]) for i in asked], referee, rows)
    backward = shares([Example(pairs[i][2], pairs[i][1::-1]) for i in asked], referee, rows)
    said: list[Said] = ["tie"] * len(pairs)
    for number, ahead, behind in zip(asked, forward, backward):
        said[number] = _both(ahead, behind)
    decided = [share for share in (*forward, *backward) if share in (0.0, 1.0)]
    return Versus(said, sum(decided) / len(decided) if decided else None)


def _both(forward: float | None, backward: float | None) -> Said:
    """From the share of the answer that stood first, in each order."""
    if forward is None or backward is None:
        return "unscored"
    if forward == 0.5 or backward == 0.5:
        return "tie"
    if forward == backward:
        return "disagree"
    return "win" if forward == 1.0 else "lose"
