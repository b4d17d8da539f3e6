"""A token is predicted by the position before it: checked on the packed form that every objective is fed from."""

from __future__ import annotations

import pytest

from truing.batch import Group
from truing.model.pack import pack

END = 9


def group(prompt: list[int], *answers: list[int]) -> Group:
    return Group(prompt, list(answers), [[True] * len(answer) for answer in answers])


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_G12_alignment(layout: str) -> None:
    """Prompt at 0–2, answer at 3–5: its log-probabilities come from positions 2, 3, 4, end marker included."""
    batch = pack([group([1, 2, 3], [4, 5, END])], layout)
    assert batch.source.tolist() == [2, 3, 4]
    assert batch.target.tolist() == [4, 5, END]
    assert batch.end.tolist() == [5]


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_G12_alignment_does_not_depend_on_what_stands_before(layout: str) -> None:
    """Behind another group, and as second answer, an answer keeps its positions and what predicts it."""
    batch = pack([group([7] * 8, [6, 6]), group([1, 2, 3], [8, END], [4, 5, END])], layout)
    mine = batch.answer_of == 2
    assert batch.target[mine].tolist() == [4, 5, END]
    assert batch.positions.flatten()[batch.source[mine]].tolist() == [2, 3, 4]
    assert batch.tokens.flatten()[batch.source[mine]].tolist() == [3, 4, 5]
    assert batch.tokens.flatten()[batch.end].tolist() == [6, END, END]
