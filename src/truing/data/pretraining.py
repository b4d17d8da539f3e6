"""Preference pre-training: what sites offer, made into comparisons, and comparisons made into verdicts.

    votes      label = round(log2(1 + votes)), 1 more if the asker accepted the answer; −1 where the votes are negative
    comments   the votes themselves, one at least `ratio` times the other
    reverts    the page that was kept is better than the edit that was taken back
    versus     what people wrote is better than what a model answers to the same prompt

(Askell et al., arXiv 2112.00861, for the sites and the first rule.) Each returns pairs, better answer first, and what
was left out: questions, answers and pairs by reason. Answers that are labelled alike are never a pair.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from random import Random

from truing.data.hh import common_prefix
from truing.data.trl import word_before
from truing.data.views import comparisons
from truing.records import Answer, Example, Judgement, Message, Prompt

Pairs = tuple[list[Example], Counter[str]]
Rated = tuple[Answer, Answer, float]  # better, worse, by how much
Labels = Callable[[Example], Sequence[float | None] | None]
GOOD, BAD = " good", " bad"  # verdicts, in words that the built-in world knows, too
GONE = {"[deleted]", "[removed]", "[deleted by user]"}


def vote_label(votes: float, accepted: bool = False) -> int:
    return -1 if votes < 0 else round(math.log2(1 + votes)) + accepted


def votes(examples: Iterable[Example], cap: int = 4, seed: int = 0) -> Pairs:
    """At most `cap` pairs of answers to one question with different labels. A data set whose scores are labels already
    (aspect pm_score) is taken at its word."""
    return _labelled(examples, "votes", _vote_labels, 1.0, cap, seed)


def comments(examples: Iterable[Example], ratio: float = 2.0, cap: int = 4, seed: int = 0) -> Pairs:
    """At most `cap` pairs of comments on one post, one at least `ratio` times as popular as the other. What has less
    than one vote counts as having one, with which a comment begins."""
    return _labelled(examples, "popularity", _scores, ratio, cap, seed)


def reverts(examples: Iterable[Example]) -> Pairs:
    """Every ordered pair. What two versions of a plain text begin with alike is their context, cut at a word."""
    kept, dropped = comparisons(examples)
    return [_apart(pair) for example in kept for pair in ordered(example)], dropped


def versus(people: Iterable[Example], samples: Iterable[Example], cap: int = 4, seed: int = 0) -> Pairs:
    """At most `cap` pairs of each prompt. A sample that was cut off would be known by that alone."""
    dropped, said = Counter[str](), dict[Prompt, list[Answer]]()
    for example in samples:
        whole = [a for a in example.answers if a.finish != "length"]
        dropped["answer_cut_off"] += len(example.answers) - len(whole)
        readable = _fit(whole, [0] * len(whole), dropped)
        said.setdefault(example.prompt, []).extend(_with(a, a.text, a.more) for a, _ in readable)
    kept = list[Example]()
    for example in people:
        if not said.get(example.prompt):
            dropped["question_without_samples"] += 1
            continue
        written = [answer for answer, _ in _fit(example.answers, [0] * len(example.answers), dropped)]
        pairs = [(better, worse, 0.0) for better, worse in product(written, said[example.prompt])]
        kept += _drawn(example, pairs, "versus", cap, seed, dropped)
    return kept, +dropped


def ordered(example: Example) -> Iterator[Example]:
    """Each pair of a better and a worse answer, better first."""
    ranks = example.ranks() or []
    aspect = next((j.aspect for j in example.judgements), None)
    for i, j in product(range(len(ranks)), repeat=2):
        if ranks[i] < ranks[j]:
            yield _pair(example, example.answers[i], example.answers[j], aspect)


def binarised(examples: Iterable[Example], good: str = GOOD, bad: str = BAD) -> list[Example]:
    """Each pair A > B as two judgements that do not know of each other: r(A, good) > r(A, bad) and
    r(B, bad) > r(B, good). The verdict is the end of the answer. (Askell et al., arXiv 2112.00861; where the verdict
    stands is our choice.)"""
    found = list[Example]()
    for example in examples:
        for pair in ordered(example):
            for answer, right, wrong in zip(pair.answers, (good, bad), (bad, good)):
                found.append(_pair(pair, _saying(answer, right), _saying(answer, wrong), "verdict"))
    return found


def stated(examples: Iterable[Example], verdict: str = GOOD) -> list[Example]:
    """The verdict behind every answer: how a model that learnt verdicts is fine-tuned and asked."""
    return [replace(e, answers=tuple(_saying(a, verdict) for a in e.answers)) for e in examples]


def _labelled(examples: Iterable[Example], aspect: str, label: Labels, ratio: float, cap: int, seed: int) -> Pairs:
    kept, dropped = list[Example](), Counter[str]()
    for example in examples:
        labels = label(example)
        if labels is None:
            dropped["question_without_votes"] += 1
            continue
        pairs = list[Rated]()
        for (one, a), (other, b) in combinations(_fit(example.answers, labels, dropped), 2):
            if a == b:
                dropped["pair_tied"] += 1
            elif max(a, b) < ratio * max(min(a, b), 1) and ratio > 1:
                dropped["pair_too_close"] += 1
            else:
                pairs.append((one, other, a - b) if a > b else (other, one, b - a))
        kept += _drawn(example, pairs, aspect, cap, seed, dropped)
    return kept, +dropped


def _drawn(
    example: Example, pairs: Sequence[Rated], aspect: str, cap: int, seed: int, dropped: Counter[str]
) -> list[Example]:
    """At most `cap` of them, by a draw that other questions do not change."""
    different = [pair for pair in pairs if pair[0].text != pair[1].text]
    dropped["pair_identical"] += len(pairs) - len(different)
    dropped["pair_over_cap"] += max(0, len(different) - cap)
    drawn = Random(f"{seed} {example.id}").sample(different, min(cap, len(different)))
    return [_pair(example, better, worse, aspect, float(gap) or None) for better, worse, gap in drawn]


def _pair(example: Example, better: Answer, worse: Answer, aspect: str | None, gap: float | None = None) -> Example:
    return replace(example, answers=(better, worse), judgements=(Judgement("order", (0, 1), aspect, strength=gap),))


def _fit(
    answers: Sequence[Answer], labels: Sequence[float | None], dropped: Counter[str]
) -> list[tuple[Answer, float]]:
    """Those that somebody can read and that have a label."""
    kept = list[tuple[Answer, float]]()
    for answer, label in zip(answers, labels, strict=True):
        text = answer.text.strip()
        if not text or text in GONE:
            dropped["answer_deleted" if text else "answer_empty"] += 1
        elif label is None:
            dropped["answer_without_votes"] += 1
        else:
            kept.append((answer, label))
    return kept


def _scores(example: Example) -> Sequence[float | None] | None:
    return next((j.value for j in example.judgements if j.kind == "scores"), None)


def _vote_labels(example: Example) -> Sequence[float | None] | None:
    scores = _scores(example)
    if scores is None or any(j.kind == "scores" and j.aspect == "pm_score" for j in example.judgements):
        return scores
    chosen = next((j.value for j in example.judgements if j.kind == "label" and j.aspect == "accepted"), None)
    accepted = chosen or [a.meta.get("accepted") for a in example.answers]
    return [None if v is None else vote_label(v, bool(yes)) for v, yes in zip(scores, accepted)]


def _apart(pair: Example) -> Example:
    """The common beginning of two texts moved into the prompt. Of messages it is left where it is."""
    first, second = (answer.text for answer in pair.answers)
    cut = word_before(first, common_prefix(first, second)) if isinstance(pair.prompt, str) else 0
    if not cut:
        return pair
    answers = tuple(_with(a, a.text[cut:], a.more) for a in pair.answers)
    return replace(pair, prompt=f"{pair.prompt}{first[:cut]}", answers=answers)


def _saying(answer: Answer, verdict: str) -> Answer:
    """With the verdict at its end."""
    if not answer.more:
        return _with(answer, answer.text + verdict)
    last = answer.more[-1]
    return _with(answer, answer.text, (*answer.more[:-1], Message(last.role, last.text + verdict)))


def _with(answer: Answer, text: str, more: tuple[Message, ...] = ()) -> Answer:
    """Another text by the same author. Tokens as they were sampled, and rewards, are those of the first one."""
    return Answer(text, more, by=answer.by, meta=answer.meta)
