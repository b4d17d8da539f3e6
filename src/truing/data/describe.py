"""What is in a dataset, in numbers: the substance of `truing data inspect`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

import numpy as np

from truing.data.read import Dataset
from truing.data.split import first_turn
from truing.data.tranches import strengths, turns
from truing.records import Answer, Example, Message
from truing.stats.text import tokens


def describe(dataset: Dataset) -> dict[str, Any]:
    """The file, what is in it, and what is odd about its examples."""
    counts = dataset.counts
    return {
        "source": dataset.source,
        "format": str(dataset.format),
        "fingerprint": dataset.fingerprint,
        "rows": {"read": counts.read, "kept": counts.kept, "dropped": counts.dropped},
        **about(dataset.examples),
        "defects": dict(sorted(dataset.defects.items(), key=lambda item: -item[1])),
    }


def about(examples: Sequence[Example]) -> dict[str, Any]:
    """Counts, lengths in words, repetitions, and two controls for preferences: `length_only`, `clicked`."""
    firsts = Counter(map(first_turn, examples))
    return {
        "answers": dict(sorted(Counter(len(e.answers) for e in examples).items())),
        "judgements": dict(Counter(j.kind for e in examples for j in e.judgements)),
        "strength": strengths(examples) or None,
        "conversations": sum(isinstance(e.prompt, tuple) for e in examples),
        "turn": turns(examples),
        "words": {"prompt": lengths(map(prompt_words, examples)), **answer_lengths(examples)},
        "length_only": length_only(examples),
        "continues_with_rank": clicked(examples),
        "same_first_turn": sum(count for count in firsts.values() if count > 1),
        "same_prompt": len(examples) - len({e.prompt for e in examples}),
    }


def lengths(values: Iterable[int]) -> dict[str, float] | None:
    numbers = list(values)
    if not numbers:
        return None
    return {
        "mean": float(np.mean(numbers)),
        "median": float(median(numbers)),
        "p90": float(np.percentile(numbers, 90)),
        "max": max(numbers),
    }


def prompt_words(example: Example) -> int:
    turns = [example.prompt] if isinstance(example.prompt, str) else [turn.text for turn in example.prompt]
    return sum(len(tokens(text)) for text in turns)


def answer_words(answer: Answer) -> int:
    return len(tokens(answer.text)) + sum(len(tokens(turn.text)) for turn in answer.more)


def answer_lengths(examples: Iterable[Example]) -> dict[str, Any]:
    """Words of the answers of each rank (0 = best), and of those that nobody ranked."""
    words: dict[int | None, list[int]] = defaultdict(list)
    for example in examples:
        ranks = example.ranks()
        for number, answer in enumerate(example.answers):
            words[ranks[number] if ranks else None].append(answer_words(answer))
    ranked = {f"rank {rank}": lengths(words[rank]) for rank in sorted(rank for rank in words if rank is not None)}
    return {**({"answer": lengths(words[None])} if words[None] else {}), **ranked}


def length_only(examples: Iterable[Example]) -> float | None:
    """How often the better of two answers is the longer one: what a judge who only counts words gets right.

    Ties in length count half. Print it beside every accuracy; when it is below one half, the shorter is preferred.
    """
    won, pairs = 0.0, 0
    for example in examples:
        ranks = example.ranks()
        if ranks and len(ranks) == 2 and ranks[0] != ranks[1]:
            better, worse = (answer_words(example.answers[ranks.index(rank)]) for rank in (0, 1))
            won += 1.0 if better > worse else 0.5 if better == worse else 0.0
            pairs += 1
    return won / pairs if pairs else None


def clicked(examples: Sequence[Example]) -> dict[int, int]:
    """With which answer the conversation went on, where a later row shows it: rank → rows.

    Comparisons collected in a chat follow the answer that somebody picked. In HH-RLHF's helpful parts this is `chosen`,
    in the red-teaming part `rejected`, for there the less harmful one is called chosen: a check on what was imported.
    """
    went_on: dict[tuple[Message, ...], set[str]] = defaultdict(set)
    for example in examples:
        if isinstance(example.prompt, tuple):
            for i, turn in enumerate(example.prompt):
                if turn.role == "assistant":
                    went_on[example.prompt[:i]].add(turn.text)
    ranks = Counter[int]()
    for example in examples:
        if isinstance(example.prompt, tuple) and example.prompt in went_on:
            replies = went_on[example.prompt]
            ranks.update(r for r, a in zip(example.ranks() or (), example.answers) if a.text in replies)
    return dict(sorted(ranks.items()))
