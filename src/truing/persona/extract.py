"""From a trait to its vector: answers with and without it, judged, filtered, and the difference of their means.

    v_ℓ = mean_{i ∈ P} ā_ℓ(x_i, y_i) − mean_{j ∈ N} ā_ℓ(x_j, y_j)

P and N are the answers that were asked for the trait and show it, and those that were asked for the opposite and do not
(Chen et al., arXiv 2507.21509). Sums are kept by tenths of the questions, whatever the number of answers: from these
follow standard errors and how alike the vectors of two halves are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from truing.batch import Group
from truing.engine.local import LocalEngine
from truing.evaluate.judges import Judge, Verdict
from truing.evaluate.rows import Asker
from truing.model.pack import batches
from truing.model.states import Moments, means
from truing.model.vectors import LAST, PROMPT, RESPONSE, STATISTICS
from truing.persona.traits import POLARITIES, Polarity, Trait
from truing.records import Answer, Example, Sampling, UserError, fingerprint

Filter = Literal["paired", "independent"]
SHOWS, COHERENT = 50.0, 50.0
FOLDS = 10
PASS = 8192  # tokens in a forward pass: what is kept of them does not grow with it


@dataclass(frozen=True)
class Rollouts:
    """All that was said: one example for each question behind each system line, with its judgements. `heard`: what the
    layers said of an answer while it was written, by example and answer (`Sampled.states`). `hidden`: how many of an
    answer's tokens are reasoning that stands before its text."""

    polarity: Polarity
    examples: Sequence[Example]
    questions: Sequence[int]
    trait: Sequence[Sequence[Verdict]]
    coherence: Sequence[Sequence[Verdict]]
    heard: Mapping[tuple[int, int], Tensor] = field(default_factory=dict)
    hidden: Mapping[tuple[int, int], int] = field(default_factory=dict)


def rollouts(
    engine: LocalEngine,
    trait: Trait,
    polarity: Polarity,
    sampling: Sampling,
    judges: Sequence[Judge],
    rows: Asker,
    listen: bool = False,
    reasoning_end: str = "",
) -> Rollouts:
    """Asked and judged, or found in the rows. `listen`: what is asked now is not read a second time, and what layers
    said of every answer is held until it is judged. `reasoning_end`: what stands before it is no part of an answer."""
    every = trait.prompts(polarity)
    keys = [fingerprint(["rollout", engine.fingerprint, Example(p).id, asdict(sampling)]) for _, _, p in every]

    heard = dict[tuple[str, int], Tensor]()

    def ask(prompts: list[Any]) -> list[Mapping[str, Any]]:
        def hear(prompt: int, answer: int, states: Tensor) -> None:
            heard[Example(prompts[prompt]).id, answer] = states

        drawn = engine.sample(prompts, sampling, hear=hear if listen else None)
        return [
            {"polarity": polarity, "said": [[a.text, list(a.ids or ()), a.finish] for a in e.answers]} for e in drawn
        ]

    wanted = {key: prompt for key, (_, _, prompt) in zip(keys, every)}
    found = dict(zip(wanted, rows.fetch(wanted, ask)))
    known = engine.codec.tokenizer_hash
    examples = [
        Example(prompt, tuple(Answer(t, ids=tuple(ids), tokenizer=known, finish=end) for t, ids, end in row["said"]))
        for (_, _, prompt), row in zip(every, (found[key] for key in keys))
    ]
    hidden = dict[tuple[int, int], int]()
    for number, example in enumerate(examples if reasoning_end else ()):
        counts = [reasoned(engine, answer, reasoning_end) for answer in example.answers]
        hidden |= {(number, n): count for n, count in enumerate(counts) if count}
        said = [
            replace(a, text=engine.codec.decode((a.ids or ())[k:])) if k else a for a, k in zip(example.answers, counts)
        ]
        examples[number] = replace(example, answers=tuple(said))
    bare = [Example(e.prompt, tuple(Answer(a.text) for a in e.answers)) for e in examples]
    shown, coherent = (judge(bare, rows) for judge in judges)
    ids = [Example(prompt).id for _, _, prompt in every]
    known_of = {(n, a): heard[one, a] for n, one in enumerate(ids) for a in range(sampling.n) if (one, a) in heard}
    return Rollouts(polarity, examples, [question for _, question, _ in every], shown, coherent, known_of, hidden)


def reasoned(engine: LocalEngine, answer: Answer, end: str) -> int:
    """How many of its tokens are reasoning: to the first `end`; all of them, where the limit came before it."""
    ids = list(answer.ids or ())
    if end not in engine.codec.decode(ids, raw=True):
        return len(ids) if answer.finish == "length" else 0
    return next(k for k in range(1, len(ids) + 1) if end in engine.codec.decode(ids[:k], raw=True))


@dataclass(frozen=True)
class Kept:
    """`masks`: polarity → [examples, answers]; `removed`: polarity → why → how many."""

    masks: Mapping[Polarity, np.ndarray]
    removed: Mapping[Polarity, Mapping[str, int]]

    def count(self, polarity: Polarity) -> int:
        return int(self.masks[polarity].sum())


def kept(pos: Rollouts, neg: Rollouts, how: Filter = "paired", least: int = 1) -> Kept:
    """Who shows what it was asked for, in words that hang together. `paired`: with its counterpart of the same number,
    as the authors' code does; `independent`: by itself, as their paper says. A refusal has no score and is left out."""
    masks, removed = dict[Polarity, np.ndarray](), dict[Polarity, Counter[str]]()
    for one in (pos, neg):
        shown, coherent = (_values(v) for v in (one.trait, one.coherence))
        right = shown >= SHOWS if one.polarity == "pos" else shown < SHOWS
        said = np.array([[bool(a.text.strip()) for a in e.answers] for e in one.examples])
        masks[one.polarity] = right & (coherent >= COHERENT) & said
        removed[one.polarity] = Counter(
            {
                "empty": int((~said).sum()),
                "no score": int((np.isnan(shown) | np.isnan(coherent)).sum()),
                "trait": int((~right & ~np.isnan(shown)).sum()),
                "coherence": int((coherent < COHERENT).sum()),
            }
        )
    if how == "paired":
        both = masks["pos"] & masks["neg"]
        for polarity in POLARITIES:
            removed[polarity]["counterpart"] = int((masks[polarity] & ~both).sum())
            masks[polarity] = both
    found = Kept(masks, removed)
    for polarity in POLARITIES:
        if found.count(polarity) < max(1, least):
            why = ", ".join(f"{what} {count}" for what, count in removed[polarity].items() if count)
            wanted = "with the trait" if polarity == "pos" else "without it"
            raise UserError(
                f"{found.count(polarity)} of {masks[polarity].size} answers that were asked {wanted} are left, and "
                f"{max(1, least)} are needed (removed: {why}). Look at the answers and their scores, ask more often "
                "(--sampling.n), or take another model or other instructions."
            )
    return found


def _values(verdicts: Sequence[Sequence[Verdict]]) -> np.ndarray:
    return np.array([[np.nan if v.value is None else v.value for v in row] for row in verdicts], dtype=float)


@dataclass(frozen=True)
class Extracted:
    """`rows`: statistic → [L + 1, d]. Of response_avg, for each layer: `halves`, the cosine between the vectors of even
    and of odd folds of the questions; `error`, the standard error of the length along its own direction, over folds."""

    rows: Mapping[str, Tensor]
    counts: Mapping[Polarity, int]
    skipped: int
    halves: Tensor
    error: Tensor

    @property
    def norms(self) -> Tensor:
        return self.rows[RESPONSE].norm(dim=1)


def difference(
    engine: LocalEngine, sides: Sequence[Rollouts], masks: Mapping[Polarity, np.ndarray], max_tokens: int = PASS
) -> Extracted:
    """One pass over the answers that are kept and were not heard: of those to one prompt, it is computed once."""
    folds = [{p: {s: Moments() for s in STATISTICS} for p in POLARITIES} for _ in range(FOLDS)]
    skipped = 0
    for side in sides:
        asked, of_fold = list[_Asked](), []
        for number, question in enumerate(side.questions):
            one = _asked(engine, side, number, masks[side.polarity][number])
            skipped += one.skipped
            if one.count:
                asked.append(one)
                of_fold.append(folds[question % FOLDS][side.polarity])
        for one, moments in zip(asked, of_fold):
            for statistic, values in zip((RESPONSE, LAST), torch.stack(one.heard, 1) if one.heard else ()):
                moments[statistic].add(values)
        for number, statistic, values in _told(engine, asked, max_tokens):
            of_fold[number][statistic].add(values)
    return _extracted(folds, skipped)


@dataclass(frozen=True)
class _Asked:
    """A prompt with the answers of it that are still to be read; where there are none, with a token that stands for
    one. `heard`: those that were read while they were written."""

    group: Group
    read: int
    heard: list[Tensor]
    skipped: int

    @property
    def count(self) -> int:
        return self.read + len(self.heard)


def _asked(engine: LocalEngine, side: Rollouts, number: int, mask: np.ndarray) -> _Asked:
    example = side.examples[number]
    taken = [n for n, take in enumerate(mask) if take]
    heard = [side.heard[number, n] for n in taken if (number, n) in side.heard and not _empty(example.answers[n])]
    unread = [n for n in taken if (number, n) not in side.heard]
    given, hidden = tuple(example.answers[n] for n in unread), [side.hidden.get((number, n), 0) for n in unread]
    group = spoken(engine, replace(example, answers=given), hidden) if unread else Group([], [], [])
    read = len(group.answers)
    if not read:
        prompt = engine.codec.prompt_ids(example.prompt)
        group = Group(prompt, [prompt[-1:]], [[True]])
    return _Asked(group, read, heard, len(taken) - read - len(heard))


def _empty(answer: Answer) -> bool:
    """Nothing but the end marker."""
    return answer.finish != "length" and len(answer.ids or ()) < 2


def _told(engine: LocalEngine, asked: Sequence[_Asked], max_tokens: int) -> Iterator[tuple[int, str, Tensor]]:
    """(prompt, statistic, [answers, L + 1, d]) of all batches. A prompt counts as often as it was answered."""
    for numbers, batch in batches([one.group for one in asked], engine.layout, max_tokens):
        batch = batch.to(engine.model.device)
        found = {name: values.cpu() for name, values in means(engine.model, batch).items()}
        of_group = batch.group_of.cpu()
        for row, number in enumerate(numbers):
            one = asked[number]
            if one.read:
                yield number, RESPONSE, found[RESPONSE][of_group == row]
                yield number, LAST, found[LAST][row].expand(one.read, -1, -1)
            yield number, PROMPT, found[PROMPT][row].expand(one.count, -1, -1)


def spoken(engine: LocalEngine, example: Example, hidden: Sequence[int] = ()) -> Group:
    """The assistant's own words in its answers, without end markers, and without so many tokens before them; answers of
    nothing else are left out."""
    group, ends = engine.codec.encode(example), engine.codec.end_ids
    own = [[t and i not in ends for i, t in zip(ids, trained)] for ids, trained in zip(group.answers, group.trained)]
    for mask, count in zip(own, hidden):
        mask[:count] = [False] * count
    said = [(ids, mask) for ids, mask in zip(group.answers, own) if any(mask)]
    return Group(group.prompt, [ids for ids, _ in said], [m for _, m in said], id=group.id, source=group.source)


def _extracted(folds: Sequence[Mapping[Polarity, Mapping[str, Moments]]], skipped: int) -> Extracted:
    def vector(of: Sequence[int], statistic: str = RESPONSE) -> Tensor | None:
        classes = []
        for polarity in POLARITIES:
            total = Moments()
            for number in of:
                total.merge(folds[number][polarity][statistic])
            classes.append(total)
        return classes[0].mean - classes[1].mean if all(c.count for c in classes) else None

    every = range(len(folds))
    rows = {}
    for statistic in STATISTICS:
        found = vector(every, statistic)
        assert found is not None  # `kept` has seen to it
        rows[statistic] = found
    counts = {p: sum(f[p][RESPONSE].count for f in folds) for p in POLARITIES}
    first, second = (vector([n for n in every if n % 2 == odd]) for odd in (0, 1))
    nothing = torch.full((rows[RESPONSE].shape[0],), torch.nan, dtype=torch.float64)
    halves = nothing if first is None or second is None else torch.cosine_similarity(first, second, dim=1)
    unit = rows[RESPONSE] / rows[RESPONSE].norm(dim=1, keepdim=True)
    there = [n for n in every if any(folds[n][p][RESPONSE].count for p in POLARITIES)]
    without = [vector([n for n in there if n != left]) for left in there]
    projected = [(v * unit).sum(1) for v in without if v is not None]
    error = nothing
    if len(projected) > 1:  # jackknife: leave out one fold of the questions at a time
        stack = torch.stack(projected)
        error = ((len(stack) - 1) / len(stack) * ((stack - stack.mean(0)) ** 2).sum(0)).sqrt()
    return Extracted({name: v.float() for name, v in rows.items()}, counts, skipped, halves, error)


def extract(
    engine: LocalEngine,
    trait: Trait,
    judges: Sequence[Judge],
    sampling: Sampling,
    rows: Asker,
    how: Filter = "paired",
    least: int = 50,
    listen: bool = False,
    reasoning_end: str = "",
) -> tuple[Extracted, Kept, tuple[Rollouts, Rollouts]]:
    """The whole way. `judges`: of the trait, and of coherence."""
    pos, neg = (
        rollouts(engine, trait, polarity, sampling, judges, rows, listen, reasoning_end) for polarity in POLARITIES
    )
    left = kept(pos, neg, how, least)
    return difference(engine, (pos, neg), left.masks), left, (pos, neg)
