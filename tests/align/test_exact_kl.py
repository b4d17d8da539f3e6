"""The divergence that is summed over the vocabulary: beside the definition, and beside its estimate from samples."""

from dataclasses import replace

import pytest
import torch
from judged import policy_and_judge, wide

from truing.engine.open import open_local
from truing.model import logps
from truing.records import Example, Message, Sampling
from truing.run import set_output
from truing.run.run import Run
from truing.settings import Lora, Machine, Watch
from truing.watch import watcher
from truing.watch.probes import Look, kl
from truing.watch.watcher import Watcher

PROMPTS = [(Message("user", f"paint it {colour}"),) for colour in ("red", "green", "blue")]


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return str(policy_and_judge(tmp_path_factory.mktemp("exact")) / "lm")


def moved(lm, size=0.3, **how):
    """A policy that has left where it began."""
    engine = open_local(lm, Machine("fp32", 1), **how)
    with torch.no_grad():
        for n, weight in enumerate(engine.model.base.parameters()):
            weight.add_(size * torch.randn(weight.shape, generator=torch.Generator().manual_seed(n)))
    return engine


def looked(policy, reference, n):
    drawn = policy.sample(PROMPTS, Sampling(n=n, max_tokens=8, seed=1))
    groups, _ = policy.encode(drawn)
    said, before = (engine.signals(groups, ["logps"])["logps"] for engine in (policy, reference))
    flat = [[t for answers in each for t in answers] for each in (said, before, policy.divergence(groups, reference))]
    return groups, Look([a for e in drawn for a in e.answers], flat[0], (), *flat[1:])


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_it_is_the_sum_over_the_vocabulary_at_every_place(lm, layout, monkeypatch):
    monkeypatch.setattr(logps, "CHUNK", 7)
    policy, reference = moved(lm), open_local(lm, Machine("fp32", 1))
    policy.layout = layout
    groups, look = looked(policy, reference, 3)
    found = iter(look.divergence)
    for group in groups:
        for answer in group.answers:
            ids = torch.tensor([group.prompt + answer])
            p, q = (engine.model.base(ids).logits[0].double().log_softmax(1) for engine in (policy, reference))
            by_hand = (p.exp() * (p - q)).sum(1)[len(group.prompt) - 1 : -1]
            assert torch.allclose(next(found).double(), by_hand, atol=1e-5)


def test_its_mean_is_that_of_k1_and_it_varies_less(lm):
    policy, reference = moved(lm), open_local(lm, Machine("fp32", 1))
    _, look = looked(policy, reference, 300)
    exact = torch.stack([t.sum() for t in look.divergence])
    k1 = torch.stack([(a - b).sum() for a, b in zip(look.logps, look.ref_logps)])
    gap = k1 - exact
    assert float(exact.mean()) > 0.2
    assert abs(float(gap.mean())) < 3 * float(gap.std()) / len(gap) ** 0.5
    assert exact.std() < 0.7 * k1.std()
    assert kl(look)["kl_exact"] == pytest.approx(float(exact.mean()))
    assert "kl_exact" not in kl(replace(look, divergence=()))


def test_without_another_model_it_is_from_the_base_under_the_adapter(lm):
    policy = open_local(lm, Machine("fp32", 1), lora=Lora(rank=2))
    groups, _ = policy.encode(policy.sample(PROMPTS, Sampling(max_tokens=6)))
    assert all(float(t.abs().max()) < 1e-6 for answers in policy.divergence(groups, None) for t in answers)
    wide(p for name, p in policy.model.named_parameters() if "lora_" in name)
    base = open_local(lm, Machine("fp32", 1))
    for here, there in zip(policy.divergence(groups, None), policy.divergence(groups, base), strict=True):
        assert float(here[0].mean()) > 0.01 and torch.allclose(here[0], there[0], atol=1e-5)


def test_a_look_has_it_where_the_vocabulary_is_small(lm, tmp_path, monkeypatch):
    before = set_output("quiet")
    policy, reference = moved(lm), open_local(lm, Machine("fp32", 1))
    watch = Watcher(Watch(every=1, max_tokens=6), policy, reference, [Example(p) for p in PROMPTS], 0)
    with Run.open(tmp_path, "a", recipe_yaml="", recipe_hash="") as run:
        for step in run.steps(1):
            assert watch(step, run)["watch/kl_exact"] > 0
            monkeypatch.setattr(watcher, "SMALL", 10)
            assert "watch/kl_exact" not in watch(step, run)
    set_output(before)
