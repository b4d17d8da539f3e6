"""Projections on a trait's direction. Numbered tests are golden vectors."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import tensor

from truing.engine.open import open_local
from truing.persona.project import Direction, difference, project, projections, shift, unit
from truing.records import Answer, Example, Message, UserError
from truing.settings import Machine

V = tensor([3.0, 4.0])
TRAIN = tensor([[4.0, 3.0], [0.0, 5.0], [1.0, 1.0]])


def test_5_a_projection_is_on_a_direction_of_length_one():
    a, b = tensor([1.0, 2.0, 2.0]), tensor([3.0, 0.0, 4.0])
    assert float(project(a, b)) == pytest.approx(2.2) and float(a @ b) == 11
    assert float(torch.cosine_similarity(a, b, dim=0)) == pytest.approx(0.733333, abs=1e-6)


def test_9_shift_of_a_fine_tuned_model():
    base, tuned = tensor([[1.0, 0.0], [3.0, 2.0]]), tensor([[2.0, 2.0], [6.0, 4.0]])
    moved = project(tuned, V) - project(base, V)
    assert moved.tolist() == pytest.approx([2.2, 3.4])
    moved = shift(project(tuned, V)[:, None].numpy(), project(base, V)[:, None].numpy())
    assert moved == pytest.approx([2.8])


def test_10_projection_difference():
    own = tensor([[1.0, -1.0], [0.0, 5.0], [2.0, 0.0]])
    found = difference(project(TRAIN, V).numpy(), project(own, V).numpy())
    assert found == pytest.approx([5, 0, 0.2], abs=1e-6) and found.mean() == pytest.approx(1.733333, abs=1e-6)


def test_11_and_its_cheap_forms():
    last = tensor([[0.0, 0.0], [1.0, 4.0], [2.0, 1.0]])
    found = difference(project(TRAIN, V).numpy(), project(last, V).numpy())
    assert found == pytest.approx([4.8, 0.2, -0.6], abs=1e-6) and found.mean() == pytest.approx(1.466667, abs=1e-6)
    raw = project(TRAIN, V).numpy()
    assert raw == pytest.approx([4.8, 4, 1.4], abs=1e-6) and raw.mean() == pytest.approx(3.4)


def test_21_a_zero_vector_is_no_direction():
    with pytest.raises(UserError, match="a is zero or not finite: there is no direction"):
        unit(torch.zeros(3), "a")


def test_texts_of_a_model_lie_where_its_hidden_states_say():
    engine = open_local("world:tiny", Machine(dtype="fp32", threads=1))
    draw = torch.Generator().manual_seed(0)
    directions = [Direction(name, layer, torch.randn(48, generator=draw)) for name, layer in zip("abc", (3, 1, 3))]
    prompt = (Message("user", "what does bo work as ?"),)
    examples = [
        Example(prompt, (Answer("bo is a baker."), Answer(""), Answer("i do not know."))),
        Example(prompt),
        Example(prompt, (Answer(""),)),
    ]
    found = projections(engine, examples, directions)
    ids = engine.codec.prompt_ids(prompt)
    for number, text in ((0, "bo is a baker."), (2, "i do not know.")):
        said = engine.codec.encode(Example(prompt, (Answer(text),))).answers[0][:-1]
        with torch.no_grad():
            states = engine.model.owner(tensor([ids + said]), output_hidden_states=True).hidden_states
        at = len(ids)
        for n, one in enumerate(directions):
            h = states[one.layer][0]
            parts = [float(project(part, one.vector)) for part in (h[at:].mean(0), h[at - 1], h[:at].mean(0))]
            seen = [found[0].answers[number, n], found[0].last[n], found[0].prompt[n]]
            assert seen == pytest.approx(parts, abs=1e-4)
    assert np.isnan(found[0].answers[1]).all() and np.isnan(found[2].answers).all()
    for other in found[1:]:
        assert other.last == pytest.approx(found[0].last, abs=1e-4)


def test_what_cannot_be_read_is_named_or_counted():
    engine = open_local("world:tiny", Machine(dtype="fp32", threads=1), max_tokens=24)
    direction = [Direction("a", 2, torch.ones(48))]
    prompt = (Message("user", "what does bo work as ?"),)
    examples = [Example(prompt, (Answer("bo is a baker."),)), Example(prompt, (Answer("bo is a baker. " * 9),))]
    with pytest.raises(UserError, match="exceed 24"):
        projections(engine, examples, direction)
    dropped = Counter()
    found = projections(engine, examples, direction, dropped)
    assert dropped.total() == 1 and np.isnan(found[1].answers).all() and np.isnan(found[1].last).all()
    assert not np.isnan(found[0].answers).any()
