"""The value head against numbers worked out by hand, and against what it has to be able to learn."""

import pytest
import torch

from truing.align.values import AttentionPool, Fitted, Head, MeanPool, Value, fit, padded, prompt_states
from truing.engine import open_engine
from truing.records import Message, UserError
from truing.settings import Machine

STATES = torch.tensor([[[0.0, 0.0], [1.0, 0.5], [0.0, 2.0]]])
INSIDE = torch.tensor([[False, True, True]])


def by_hand(bounds):
    """One head, identity projections, query [1, 0], output [.8, −.4], bias .1."""
    pool = AttentionPool(2, 1)
    with torch.no_grad():
        pool.query.copy_(torch.tensor([1.0, 0.0]))
        for layer in pool.project.values():
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
        head = Head(pool, 2, bounds, dropout=0.0)
        head.out.weight.copy_(torch.tensor([[0.8, -0.4]]))
        head.out.bias.fill_(0.1)
    return head


@torch.no_grad()
def test_G8_value_head():
    head = by_hand((0.0, 1.0))
    assert head.pool(STATES, INSIDE)[0].tolist() == pytest.approx([0.669762, 0.995358], abs=1e-6)
    value = head(STATES, INSIDE)
    assert value.item() == pytest.approx(0.559138, abs=1e-6)
    assert (value - 0.9).square().item() == pytest.approx(0.116187, abs=1e-6)
    assert by_hand((0.0, 4.0))(STATES, INSIDE).item() == pytest.approx(2.236554, abs=1e-6)
    assert head(STATES, torch.ones_like(INSIDE)).item() == pytest.approx(0.550698, abs=1e-6), "the mask matters"


@pytest.mark.parametrize("pool", [AttentionPool(8, 2), MeanPool(8)])
@torch.no_grad()
def test_padding_changes_nothing(pool):
    torch.manual_seed(0)
    head, states = Head(pool, 8, None).eval(), [torch.randn(n, 8) for n in (3, 7)]
    scale = torch.zeros(8), torch.ones(8)
    together = head(*padded(states, *scale))
    alone = torch.cat([head(*padded([one], *scale)) for one in states])
    assert together.tolist() == pytest.approx(alone.tolist(), abs=1e-6)
    filled, inside = padded(states, *scale)
    filled[~inside] = 1e4
    assert head(filled, inside).tolist() == pytest.approx(together.tolist(), abs=1e-6)


@pytest.mark.parametrize("kind", ["attention", "mlp"])
def test_what_the_states_say_is_found_and_what_they_do_not_say_is_not(kind):
    random = torch.Generator().manual_seed(1)
    states = [torch.randn(4, 8, generator=random) for _ in range(400)]
    for one in states:
        one[:, 0] = one[0, 0]  # a property of the prompt
    told = [float(torch.sigmoid(2 * one[0, 0])) for one in states]
    settings = Value(kind, epochs=100, lr=3e-3)
    found = fit(states, told, settings, (0.0, 1.0), seed=0)
    assert found.test.r2 > 0.8 and found.test.error < 0.3 * found.test.constant
    assert isinstance(found, Fitted) and abs(found(states) - told).mean() < 0.1
    noise = torch.rand(400, generator=random).tolist()
    assert fit(states, noise, settings, (0.0, 1.0), seed=0).test.r2 < 0.1
    assert fit(states, told, settings, (0.0, 1.0), seed=0)(states[:3]).tolist() == found(states[:3]).tolist()


@pytest.mark.parametrize(("level", "spread"), [(50.0, 5.0), (-30.0, 3.0), (0.5, 0.1)])
def test_rewards_without_bounds_are_learnt_wherever_they_lie(level, spread):
    random = torch.Generator().manual_seed(3)
    states = [torch.randn(5, 8, generator=random) for _ in range(300)]
    targets = [level + spread * float(s[:, 0].mean() * 2) for s in states]
    found = fit(states, targets, Value(epochs=30, lr=1e-2), None, seed=0)
    assert found.test.r2 > 0.7
    assert abs(float(found(states).mean()) - level) < spread


def test_where_no_head_is_better_than_the_mean_it_is_the_mean():
    random = torch.Generator().manual_seed(3)
    states = [torch.randn(4, 8, generator=random) for _ in range(30)]
    targets = torch.randn(30, generator=random).tolist()
    found = fit(states, targets, Value(epochs=3, lr=0.9), None, seed=0)
    assert len(set(found(states).tolist())) == 1 and abs(found.test.r2) < 1e-6


def test_values_keep_their_bounds_and_are_free_without():
    states = [torch.full((2, 4), float(i % 2)) for i in range(40)]
    targets = [10.0 * (i % 2) for i in range(40)]
    assert fit(states, targets, Value(epochs=300, lr=1e-2), None, 0)(states).max() > 8
    few = [t / 5 for t in targets]
    assert fit(states, few, Value(epochs=50), (0.0, 2.0), 0)(states).max() <= 2


def test_too_few_prompts():
    with pytest.raises(UserError, match="value: 5 prompts are too few"):
        fit([torch.zeros(1, 4)] * 5, [0.0] * 5, Value(), None, 0)


def test_states_are_those_of_the_prompt_and_of_all_of_it():
    engine = open_engine("world:tiny", Machine(dtype="fp32", threads=1))
    prompts = [(Message("user", "what is the color of rosa ?"),), (Message("user", "hello ."),)]
    ids = [engine.codec.prompt_ids(p) for p in prompts]
    both = prompt_states(engine, ids)
    assert [len(s) for s in both] == [len(i) for i in ids]
    (alone,) = prompt_states(engine, ids[:1])
    torch.testing.assert_close(alone, both[0], atol=1e-5, rtol=1e-5)
    (other,) = prompt_states(engine, [engine.codec.prompt_ids((Message("user", "what is the color of emil ?"),))])
    assert not torch.allclose(other[-1], alone[-1], atol=1e-3), "the last state has read all of the prompt"
