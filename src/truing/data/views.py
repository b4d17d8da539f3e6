"""Views of one record: what a procedure that wants demonstrations, or comparisons, takes from an example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from truing.records import Example, Judgement


def demonstrations(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Each prompt with its best answer alone: the first of the highest rank, or the only one. Several answers that
    nobody ordered, and an answer that was labelled bad, are nothing to imitate: dropped by name."""
    kept, dropped = [], Counter[str]()
    for example in examples:
        ranks = example.ranks()
        labels = next((j.value for j in example.judgements if j.kind == "label"), None)
        good = [i for i in range(len(example.answers)) if not labels or labels[i] is not False]
        if not example.answers:
            dropped["no_answer"] += 1
        elif not good:
            dropped["labelled_bad"] += 1
        elif ranks is None and len(good) > 1:
            dropped["not_ordered"] += 1
        else:
            best = min(good, key=lambda i: ranks[i] if ranks else i)
            kept.append(replace(example, answers=(example.answers[best],), judgements=()))
    return kept, dropped


def comparisons(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Examples in which at least one answer is ranked above another. Answers that are all the same text say nothing,
    whatever their order: they would only force a loss of ln 2."""
    kept, dropped = [], Counter[str]()
    for example in examples:
        ranks = example.ranks()
        if ranks is None or len(set(ranks)) < 2:
            dropped["not_ordered" if ranks is None else "all_tied"] += 1
        elif len({(answer.text, answer.more) for answer in example.answers}) < 2:
            dropped["identical_answers"] += 1
        else:
            kept.append(example)
    return kept, dropped


def labelled(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Examples every answer of which was called good or bad; one alone is enough."""
    kept, dropped = [], Counter[str]()
    for example in examples:
        labels = next((j.value for j in example.judgements if j.kind == "label"), None)
        if labels is None or len(labels) != len(example.answers) or any(v is None for v in labels):
            dropped["not_labelled"] += 1
        else:
            kept.append(example)
    return kept, dropped


def apart(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Each answer on its own, the worse ones too."""
    kept = [replace(e, answers=(answer,), judgements=()) for e in examples for answer in e.answers]
    return kept, Counter()


def called(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Each answer on its own, called good or bad: as it was labelled, or as the best and the worst of a comparison are.
    Answers in between are dropped."""
    kept, dropped = [], Counter[str]()
    for example in examples:
        labels = next((j.value for j in example.judgements if j.kind == "label"), None)
        ranks = example.ranks()
        if labels is None and (ranks is None or len(set(ranks)) < 2):
            dropped["not_labelled"] += 1
            continue
        sides = labels or [{min(ranks or ()): True, max(ranks or ()): False}.get(rank) for rank in ranks or ()]
        for answer, good in zip(example.answers, sides):
            if good is None:
                dropped["in_between"] += 1
            else:
                kept.append(replace(example, answers=(answer,), judgements=(Judgement("label", (bool(good),)),)))
    return kept, dropped
