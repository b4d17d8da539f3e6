"""Groups → Batches: where every token stands, and which position predicts it.

`tree`: all groups one after another in a single row without any padding. A group is its prompt followed by its k
answers as branches: positions restart at the prompt's end, and attention (see `attention`) lets a branch see the
prompt and itself. The prompt is computed once for all its answers; what all prompts of a row begin with (a preface of
examples, say) stands in front of the first group and is computed once for all of them.
`rows`: one right-padded row per answer, the prompt repeated. Slow and plain; every architecture can do it, and the
two must give the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, takewhile

import torch
from torch import Tensor

from truing.batch import Batch, Group
from truing.records import UserError

SHARE = 32  # tokens: below that, masks cost more than they save


def pack(groups: Sequence[Group], layout: str = "tree") -> Batch:
    """Lay groups out for one forward pass."""
    if not groups:
        raise ValueError("a batch needs at least one group")
    for group in groups:
        _check(group)
    shared = shared_start(groups) if layout == "tree" else 0
    tokens, positions, spans, starts = _tree(groups, shared) if layout == "tree" else _rows(groups)
    source, own, end, counts = list[int](), list[int](), [], []
    answers = [(group, j) for group in groups for j in range(len(group.answers))]
    for (group, j), (predicts, start) in zip(answers, starts):
        trained = group.trained[j]
        before = [predicts, *range(start, start + len(trained))]  # what predicts each token; the last one stands behind
        source += compress(before, trained)
        own += compress(before[1:], trained)
        end.append(before[-1])
        counts.append(sum(trained))
    return Batch(
        layout="tree" if layout == "tree" else "rows",
        tokens=tokens,
        positions=positions,
        spans=spans,
        shared=shared,
        source=torch.tensor(source),
        own=torch.tensor(own),
        target=torch.tensor([t for g, j in answers for t in compress(g.answers[j], g.trained[j])]),
        answer_of=torch.repeat_interleave(torch.tensor(counts)),
        end=torch.tensor(end),
        group_of=torch.tensor([n for n, g in enumerate(groups) for _ in g.answers]),
        rank=torch.tensor([r for g in groups for r in (g.rank or [-1] * len(g.answers))]),
        groups=len(groups),
        ids=[g.source or g.id for g in groups],
        per_token={k: torch.cat([t for g in groups for t in g.per_token[k]]) for k in _names(groups, "per_token")},
        per_answer={
            k: torch.tensor([x for g in groups for x in g.per_answer[k]]) for k in _names(groups, "per_answer")
        },
        per_group={k: torch.tensor([g.per_group[k] for g in groups]) for k in _names(groups, "per_group")},
    )


def batches(groups: Sequence[Group], layout: str, max_tokens: int) -> Iterator[tuple[list[int], Batch]]:
    """Cut one step into forward passes of at most `max_tokens` (a single larger group goes alone).

    Yields the group numbers with each batch. A tree has no padding, so order is kept; rows are sorted by length first.
    """

    if layout == "rows":
        lengths = [_longest(group) for group in groups]
        cuts = _cut_rows(sorted(range(len(groups)), key=lengths.__getitem__), groups, lengths, max_tokens)
    else:
        cuts = _cut_tree(groups, max_tokens)
    for numbers in cuts:
        yield numbers, pack([groups[n] for n in numbers], layout)


def _cut_tree(groups: Sequence[Group], max_tokens: int) -> Iterator[list[int]]:
    shared = shared_start(groups)
    waiting, size = list[int](), shared
    for i, group in enumerate(groups):
        own = group.tree_tokens - shared
        if waiting and size + own > max_tokens:
            yield waiting
            waiting, size = [], shared
        waiting.append(i)
        size += own
    if waiting:
        yield waiting


def _cut_rows(
    order: Sequence[int], groups: Sequence[Group], lengths: list[int], max_tokens: int
) -> Iterator[list[int]]:
    """`order`: shortest first, so that the last one says how wide all are."""
    waiting, rows = list[int](), 0
    for i in order:
        more = rows + len(groups[i].answers)
        if waiting and more * lengths[i] > max_tokens:
            yield waiting
            waiting, more = [], len(groups[i].answers)
        waiting.append(i)
        rows = more
    if waiting:
        yield waiting


def shared_start(groups: Sequence[Group]) -> int:
    """How many tokens all prompts begin with; 0 where it is not worth it. Each keeps its last token for itself: what is
    done where an answer begins is done to one group."""
    prompts = [g.prompt for g in groups]
    count = min(common(prompts), min(map(len, prompts)) - 1) if len(groups) > 1 else 0
    return count if count >= SHARE else 0


def common(sequences: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    first, last = min(map(list, sequences)), max(map(list, sequences))  # what these two share, all share
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last)))


def _longest(group: Group) -> int:
    return len(group.prompt) + max(map(len, group.answers))


def _tree(groups: Sequence[Group], shared: int) -> tuple[Tensor, Tensor, list[tuple[int, ...]], list[tuple[int, int]]]:
    tokens: list[int] = groups[0].prompt[:shared]
    positions: list[int] = list(range(shared))
    spans, starts = [], []
    for group in groups:
        offset, length = len(tokens), len(group.prompt)
        own = group.prompt[shared:]
        edges = list(accumulate(map(len, [own, *group.answers]), initial=offset))
        starts += [(edges[1] - 1, start) for start in edges[1:-1]]  # the prompt's last token predicts
        tokens += own
        positions += range(shared, length)
        for answer in group.answers:
            tokens += answer
            positions += range(length, length + len(answer))
        spans.append(tuple(edges))
    return torch.tensor([tokens]), torch.tensor([positions]), spans, starts


def _rows(groups: Sequence[Group]) -> tuple[Tensor, Tensor, list[tuple[int, ...]], list[tuple[int, int]]]:
    rows = [(len(g.prompt), g.prompt + answer) for g in groups for answer in g.answers]
    width = max(len(row) for _, row in rows)
    # The fill is any valid id: what stands there is masked, and masks come from lengths.
    tokens = torch.tensor([row + [0] * (width - len(row)) for _, row in rows])
    positions = torch.arange(width).expand(len(rows), width).contiguous()
    spans: list[tuple[int, ...]] = [(length, len(row)) for length, row in rows]
    starts = [(n * width + length - 1, n * width + length) for n, (length, _) in enumerate(rows)]
    return tokens, positions, spans, starts


def _check(group: Group) -> None:
    for j, (ids, trained) in enumerate(zip(group.answers, group.trained, strict=True)):
        if len(ids) != len(trained):
            raise ValueError(f"group {group.id}: answer {j} has {len(ids)} tokens but a mask of {len(trained)}")
        if not any(trained):
            raise UserError(f"example {group.id}: answer {j} has no trained token (empty loss mask)")
        if not group.prompt and trained[0]:
            raise UserError(
                f"example {group.id}: the first token of answer {j} has nothing before it to predict it from"
            )
    counts = [sum(trained) for trained in group.trained]
    for name, tensors in group.per_token.items():
        if [len(t) for t in tensors] != counts:
            raise ValueError(f"group {group.id}: {name} has {[len(t) for t in tensors]} numbers for {counts} tokens")


def _names(groups: Sequence[Group], kind: str) -> list[str]:
    """Names that every group has; one that only some have is a mistake upstream."""
    names = set(getattr(groups[0], kind))
    for group in groups:
        if set(getattr(group, kind)) != names:
            raise ValueError(
                f"group {group.id}: {kind} has {sorted(getattr(group, kind))}, others have {sorted(names)}"
            )
    return sorted(names)
