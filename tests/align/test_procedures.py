"""Every procedure learns what its data teach, starts where theory says, and leaves what it promises."""

from __future__ import annotations

import math
from itertools import combinations
from random import Random

import numpy as np
import pytest
import torch

import truing
from truing.align.bestofn import expected_best
from truing.data import comparisons, demonstrations
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.records import Answer, Example, Judgement, Message, Sampling, UserError
from truing.settings import Machine

COLOURS = ("red", "green", "blue", "black", "white")
FP32 = {"dtype": "fp32", "threads": 1}


def asked(text: str, *answers: str, order: tuple[int, ...] = ()) -> Example:
    judgements = (Judgement("order", order),) if order else ()
    return Example((Message("user", text),), tuple(map(Answer, answers)), judgements)


@pytest.fixture(scope="module")
def pairs() -> list[Example]:
    """The kind answer is better, wherever it stands."""
    random, made = Random(0), []
    for i in range(160):
        colour = random.choice(COLOURS)
        kind, rude = f"gladly, {colour} it is", f"go away with your {colour}"
        swap = bool(i % 2)
        answers = (rude, kind) if swap else (kind, rude)
        made.append(asked(f"paint it {colour} {i}", *answers, order=(1, 0) if swap else (0, 1)))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory, pairs):
    texts = [a.text for e in pairs for a in e.answers] + [e.prompt[0].text for e in pairs]
    folder = tmp_path_factory.mktemp("models") / "base"
    return make_model(folder, make_tokenizer(texts, 320), **SIZES["0.1M"], context=96)


@pytest.fixture
def runs(tmp_path):
    return {"folder": str(tmp_path / "runs")}


def values(view, name: str) -> list[float]:
    return [value for _, value in view.series(name)]


def losses(run) -> list[float]:
    return values(run.view(), "loss")


def test_sft_makes_the_best_answers_likely(base, pairs, runs):
    run = truing.sft(base, pairs, optim={"lr": 3e-3, "epochs": 4, "batch": 16}, run=runs, machine=FP32)
    engine = truing.load(run.model, Machine(**FP32))
    answers = engine.sample([e.prompt for e in pairs[:20]], Sampling(temperature=0, max_tokens=24))
    kind = sum(e.answers[0].text.startswith("gladly") for e in answers)
    assert kind >= 18, "the best answer stands second in half of the pairs"


def test_a_preference_model_starts_at_ln_2_and_orders_unseen_pairs(base, pairs, runs):
    run = truing.pm(base, pairs[:120], optim={"lr": 3e-3, "epochs": 2, "batch": 8}, run=runs, machine=FP32)
    assert losses(run)[0] == pytest.approx(math.log(2), abs=1e-6)
    scores = truing.load(run.model, Machine(**FP32)).score(pairs[120:])
    right = [s[e.ranks().index(0)].reward > s[e.ranks().index(1)].reward for s, e in zip(scores, pairs[120:])]
    assert np.mean(right) > 0.95


def test_dpo_starts_at_ln_2_and_moves_the_margin_only(base, pairs, runs):
    sft = truing.sft(base, pairs, optim={"lr": 3e-3, "epochs": 2}, run={**runs, "name": "sft"}, machine=FP32)
    run = truing.offline(
        sft.model, pairs, method="dpo", optim={"lr": 1e-3, "epochs": 2, "batch": 16}, run=runs, machine=FP32
    )
    view = run.view()
    assert losses(run)[0] == pytest.approx(math.log(2), abs=1e-5)
    assert values(view, "rewards/margin")[-1] > 0.1
    assert values(view, "rewards/accuracy")[-1] > 0.9


def test_lora_leaves_the_base_alone_and_an_adapter_that_loads(base, pairs, runs):
    run = truing.offline(
        base, pairs, method="dpo", lora={"rank": 4}, optim={"lr": 1e-2, "batch": 32}, run=runs, machine=FP32
    )
    plain, tuned = truing.load(str(base), Machine(**FP32)), truing.load(f"{base}+lora:{run.model}", Machine(**FP32))
    before, after = (np.array([s.logp for s in e.score(pairs[:8])[0]]) for e in (plain, tuned))
    assert np.abs(before - after).max() > 0.01
    with tuned.model.without_adapter():
        off = np.array([s.logp for s in tuned.score(pairs[:8])[0]])
    assert np.allclose(off, before, atol=1e-5)


def test_the_watcher_sees_no_kl_before_training_moves_anything(base, pairs, runs):
    run = truing.sft(
        base,
        pairs[:32],
        optim={"lr": 0.0, "batch": 16},
        watch={"every": 1, "count": 4, "max_tokens": 12, "probes": ["kl", "length", "ref_perplexity"]},
        run=runs,
        machine=FP32,
    )
    view = run.view()
    assert values(view, "watch/kl") == pytest.approx([0.0, 0.0], abs=1e-4)
    assert values(view, "watch/perplexity") == pytest.approx(values(view, "watch/ref_perplexity"), rel=1e-4)
    assert len(view.samples) == 8


def test_best_of_n_puts_the_judges_favourite_first(base, pairs, runs, tmp_path):
    judge = truing.pm(base, pairs, optim={"lr": 3e-3, "batch": 16}, run=runs, machine=FP32)
    truing.write(tmp_path / "prompts.jsonl", pairs[:3], "truing")
    results = truing.bestofn(
        base, judge.model, tmp_path / "prompts.jsonl", out=str(tmp_path / "best.jsonl"), machine=FP32,
        sampling={"n": 4, "max_tokens": 8},
    )  # fmt: skip
    for example in results:
        rewards = [answer.reward for answer in example.answers]
        assert rewards == sorted(rewards, reverse=True) and len(rewards) == 4
    assert [e.answers for e in truing.read(str(tmp_path / "best.jsonl"))] == [e.answers for e in results]


def test_expected_best_is_the_mean_over_all_subsets():
    rewards = [0.3, -1.0, 2.0, 0.7, 0.1]
    for k in (1, 2, 3, 5):
        assert expected_best(rewards, k) == pytest.approx(np.mean([max(c) for c in combinations(rewards, k)]))


def test_views_take_what_was_judged_best_and_name_what_they_drop():
    good, bad = asked("q", "a", "b", order=(1, 0)), asked("q", "a", "b")
    labelled = Example("q", (Answer("a"),), (Judgement("label", (False,)),))
    kept, dropped = demonstrations([good, bad, labelled])
    assert [e.answers[0].text for e in kept] == ["b"] and dropped == {"not_ordered": 1, "labelled_bad": 1}
    tied, same = asked("q", "a", "b", order=((0, 1),)), asked("q", "a", "a", order=(0, 1))
    kept, dropped = comparisons([good, bad, tied, same])
    assert kept == [good] and dropped == {"not_ordered": 1, "all_tied": 1, "identical_answers": 1}


def test_a_reference_that_is_not_the_starting_model_is_noticed(base, pairs, runs, monkeypatch):
    from truing.engine.local import LocalEngine

    true = LocalEngine.signals

    def shifted(self, *args, **keys):
        found = true(self, *args, **keys)
        return {k: [[t - 0.1 * (j + 1) for j, t in enumerate(g)] for g in v] for k, v in found.items()}

    monkeypatch.setattr(LocalEngine, "signals", shifted)
    with pytest.raises(UserError, match=r"must start at 0\.693147"):
        truing.offline(base, pairs[:40], method="dpo", run=runs, machine=FP32)


def test_an_exported_policy_gives_plain_transformers_the_same_log_probabilities(base, pairs, runs):
    from transformers import AutoModelForCausalLM

    run = truing.sft(base, pairs, optim={"lr": 1e-3}, run=runs, machine={"dtype": "bf16", "threads": 1})
    engine, model = truing.load(run.model, Machine(**FP32)), AutoModelForCausalLM.from_pretrained(run.model)
    assert next(model.parameters()).dtype == torch.float32, "masters are exported, not their rounded copies"
    groups, _ = engine.encode(pairs[:2])
    ids = torch.tensor([groups[0].prompt + groups[0].answers[0]])
    theirs = model(ids).logits[0, len(groups[0].prompt) - 1 : -1].log_softmax(-1)
    theirs = theirs.gather(1, torch.tensor(groups[0].answers[0])[:, None])[:, 0]
    ours = engine.signals(groups, ["logps"])["logps"][0][0]
    assert torch.allclose(ours, theirs, atol=1e-5)
