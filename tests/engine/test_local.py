"""The local engine: a step is the same however it is cut, nothing moves by accident, and going on is going on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny, tiny_tokenizer
from torch import Tensor, nn

from truing.batch import Group, Objective, Signals, tally
from truing.engine.local import LocalEngine, attach
from truing.engine.optim import Optimiser, multiplier
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel, new_head
from truing.model.load import add_lora, load_model
from truing.model.pack import pack
from truing.model.text import Codec
from truing.objectives import BINARY, NLL, clipped_policy, clipped_value, dpo, entropy, ranked, weighted
from truing.records import Answer, Example, Sampling, UserError
from truing.settings import Optim

MIXED = [
    (40, (3, 50)),
    (2, (1, 1, 9)),
    (9, (30, 2)),
    (1, (5, 4)),
    (60, (1, 12)),
    (5, (7, 8, 1)),
    (3, (2, 40)),
    (17, (6, 6)),
]


def groups() -> list[Group]:
    """Eight prompts with two or three ranked answers of very unequal lengths, and every number an objective reads."""
    draw = torch.Generator().manual_seed(5)
    made = []
    for number, (prompt, answers) in enumerate(MIXED):
        ids = [torch.randint(1, 97, (n,), generator=draw).tolist() for n in (prompt, *answers)]
        trained = [[True] * n for n in answers]
        trained[0][: answers[0] // 3] = [False] * (answers[0] // 3)
        group = Group(ids[0], ids[1:], trained, rank=list(range(len(answers))), id=f"row-{number}")
        group.per_answer = {
            "reward": torch.rand(len(answers), generator=draw).tolist(),
            "label": [float(j % 2 == 0) for j in range(len(answers))],
        }
        for name in ("ref_logps", "old_logps"):
            group.per_token[name] = [-3 * torch.rand(sum(t), generator=draw) - 1 for t in trained]
        for name in ("advantage", "returns", "old_values"):
            group.per_token[name] = [torch.randn(sum(t), generator=draw) for t in trained]
        made.append(group)
    return made


def engine(
    name: str = "llama", *, head: str | None = None, dtype: torch.dtype = torch.float32, lora: float | None = None
) -> LocalEngine:
    """`lora` is the dropout of an adapter."""
    owner = tiny(name)
    layout, _ = layout_for(owner.config)
    if layout == "tree":
        owner.set_attn_implementation("truing")
    model = LanguageModel(owner)
    if head:
        model.heads[head] = new_head(model, zero=False)
    model.to(dtype)
    if lora is not None:
        torch.manual_seed(1)
        add_lora(model, 2, None, lora, ())
    return LocalEngine(model, Codec(tiny_tokenizer(), max_tokens=512), name="tiny", fingerprint="tiny", layout=layout)


def weights_of(made: LocalEngine) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in made.model.named_parameters()}


def gradients(made: LocalEngine, work: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    made.model.zero_grad()
    metrics = made.forward_backward(work)
    return {n: p.grad.clone() for n, p in made.model.named_parameters() if p.grad is not None}, metrics


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() and found
    for name, value in expected.items():
        assert torch.isfinite(value).all(), name
        gap = (found[name] - value).abs().max() / value.abs().max().clamp(min=1e-3)
        assert gap < 2e-5, f"{name}: {gap:.1e}"


# ── a step, however it is cut ─────────────────────────────────────────────────────────────────────────────────────

UNITS = {
    "token": (NLL, None),
    "token_policy": (clipped_policy(), None),
    "token_values": (clipped_value(), "value"),
    "token_entropy": (entropy(), None),
    "answer": (weighted("wbc"), None),
    "answer_scores": (BINARY, "score"),
    "group": (dpo(0.1), None),
    "group_scores": (ranked(lm_weight=0.3), "score"),
}


@pytest.mark.parametrize("layout", ["tree", "rows"])
@pytest.mark.parametrize("unit", UNITS)
def test_one_batch_of_eight_is_eight_batches_of_one(unit: str, layout: str) -> None:
    objective, head = UNITS[unit]
    made = engine(head=head)
    made.layout = layout
    found = []
    for micro_tokens, passes in ((10**6, {1}), (250, {2, 3, 4, 5, 6, 7}), (1, {8})):
        made.micro_tokens = micro_tokens
        work = made.work(groups(), (objective, 1.0))
        assert len(work) in passes
        found.append(gradients(made, work))
    for grads, metrics in found[1:]:
        same(grads, found[0][0])
        same(metrics, found[0][1])


def test_order_within_a_step_does_not_matter() -> None:
    made = engine()
    found = [gradients(made, made.work(rows, (dpo(0.1), 1.0))) for rows in (groups(), groups()[::-1])]
    same(found[1][0], found[0][0])


def test_each_objective_is_divided_by_its_own_count() -> None:
    """A policy loss with an entropy bonus over samples, and a pretraining mix over texts of another length."""
    made = engine()
    rows = groups()
    samples, texts = rows[:5], [Group([1], [[7] * 90], [[True] * 90], id="text")]
    policy, bonus = clipped_policy(), entropy()
    expected: dict[str, Tensor] = {}
    for part, objective, weight in ((samples, policy, 1.0), (samples, bonus, 0.01), (texts, NLL, 0.7)):
        grads, _ = gradients(made, [(pack(part), objective, 1.0)])
        for name, grad in grads.items():
            expected[name] = expected.get(name, torch.zeros_like(grad)) + weight * grad
    made.micro_tokens = 100
    work = made.work(samples, (policy, 1.0), (bonus, 0.01)) + made.work(texts, (NLL, 0.7))
    same(gradients(made, work)[0], expected)


def test_objectives_on_one_batch_share_a_forward_pass() -> None:
    made = engine()
    made.micro_tokens = 100
    calls: list[int] = []
    made.model.register_forward_hook(lambda *_: calls.append(1))
    work = made.work(groups(), (clipped_policy(), 1.0), (entropy(), 0.01))
    made.forward_backward(work)
    assert len(work) == 2 * len(calls) > 2


def test_metrics_are_means_over_the_step() -> None:
    """Not means of means of unequal batches."""
    made = engine()
    made.micro_tokens = 1
    logps = torch.cat([t for row in made.signals(groups(), ["logps"])["logps"] for t in row])
    metrics = made.forward_backward(made.work(groups(), (NLL, 2.0)))
    torch.testing.assert_close(metrics["nll"], -logps.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(metrics["loss"], -2 * logps.mean(), atol=1e-5, rtol=1e-5)


def test_a_metric_of_nothing_is_left_out() -> None:
    made = engine(head="score")
    rows = groups()
    for row in rows:
        row.per_answer["label"] = [0.0] * len(row.answers)
    metrics = made.forward_backward(made.work(rows, (BINARY, 1.0)))
    assert "score/bad" in metrics and "score/good" not in metrics


def test_untrained_tokens_are_no_units() -> None:
    rows = groups()
    assert sum(len(a) for row in rows for a in row.answers) > pack(rows).count("token")
    counts = [pack(rows).count(unit) for unit in ("token", "answer", "group")]
    assert counts == [sum(sum(t) for row in rows for t in row.trained), sum(len(a) for _, a in MIXED), 8]


# ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_signals_come_back_in_the_order_of_the_groups(layout: str) -> None:
    """Rows are sorted by length for the passes; whoever asks must not notice."""
    made = engine(head="score")
    made.layout, made.micro_tokens = layout, 120
    found = made.signals(groups(), ["logps", "scores", "entropy"])
    for number, group in enumerate(groups()):
        alone = made.signals([group], ["logps", "scores", "entropy"])
        for name, ((*answers,),) in alone.items():
            for j, expected in enumerate(answers):
                torch.testing.assert_close(found[name][number][j], expected, atol=1e-5, rtol=1e-5)


def test_attached_numbers_reach_the_objective() -> None:
    """Reference = the model itself: the implicit rewards are zero and the loss is ln 2, whatever the cut."""
    made = engine()
    rows = groups()
    attach(rows, "ref_logps", made.signals(rows, ["logps"])["logps"])
    made.micro_tokens = 100
    metrics = made.forward_backward(made.work(rows, (dpo(0.1), 1.0)))
    torch.testing.assert_close(metrics["loss"], torch.tensor(2.0).log(), atol=1e-5, rtol=0)


def test_score_adds_up_what_the_model_says() -> None:
    made = engine()
    ((one, two),) = made.score([Example("Hello", (Answer(" you"), Answer("")))])
    own = tiny("llama")
    ids = made.codec.prompt_ids("Hello")
    for answer, text in ((one, " you"), (two, "")):
        tail = [*made.codec.tokenizer(text)["input_ids"], 0]
        logits = own(torch.tensor([ids + tail])).logits[0, len(ids) - 1 : -1].detach()
        expected = logits.log_softmax(-1).gather(1, torch.tensor(tail)[:, None])[:, 0]
        assert answer.tokens == len(tail) and answer.logp == pytest.approx(float(expected.sum()), abs=1e-4)
        assert answer.logps == pytest.approx(expected.tolist(), abs=1e-4)


# ── what must not move ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("micro_tokens", [1, 10**6])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("objective", [weighted("wbc"), dpo(0.1), clipped_policy()], ids=lambda o: o.name)
def test_a_loss_that_is_not_finite_names_its_rows_and_moves_nothing(
    objective: Objective, bad: float, micro_tokens: int
) -> None:
    made = engine()
    made.prepare(Optim(lr=0.1, micro_tokens=micro_tokens), 10)
    made.forward_backward(made.work(groups(), (objective, 1.0)))
    made.step()
    before = weights_of(made)
    rows = groups()
    rows[2].per_answer["reward"][1] = rows[5].per_answer["reward"][0] = bad
    for number, answer in ((2, 1), (5, 0)):
        for name in ("ref_logps", "advantage"):
            rows[number].per_token[name][answer][0] = bad
    made.forward_backward(made.work(rows, (objective, 1.0)))
    with pytest.raises(UserError) as caught:
        made.step()
    assert "row-2" in str(caught.value) and "row-5" in str(caught.value)
    assert not any(f"row-{n}" in str(caught.value) for n in (0, 1, 3, 4, 6, 7))
    assert all(torch.equal(p, before[n]) for n, p in made.model.named_parameters())


def test_an_infinite_loss_with_a_finite_gradient_is_found() -> None:
    """−ln σ(−∞) = ∞ has slope 1: the norm of the gradient alone would not show that a reference is broken."""
    made = engine()
    made.prepare(Optim(), 10)
    rows = groups()
    rows[5].per_token["ref_logps"][0][0] = float("inf")
    made.forward_backward(made.work(rows, (dpo(0.1), 1.0)))
    assert torch.isfinite(made.optimiser.grad_norm())
    with pytest.raises(UserError, match="row-5"):
        made.step()


def test_a_gradient_that_overflows_is_not_blamed_on_a_row() -> None:
    made = engine()
    made.prepare(Optim(), 10)

    def steep(signals: Signals, batch: Any) -> Any:
        """√ at 0: finite itself, infinitely steep."""
        losses = (signals["logps"] * 0).sqrt()
        return losses, {"x": tally(losses)}

    made.forward_backward(made.work(groups(), (Objective("steep", "token", frozenset({"logps"}), steep), 1.0)))
    with pytest.raises(UserError, match="gradient") as caught:
        made.step()
    assert "row-" not in str(caught.value)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_dropout_of_the_configuration_is_off(name: str, tmp_path: Path) -> None:
    """A policy whose dropout is on is not the one that was sampled from: the ratio would not start at 1."""
    owner = tiny(name)
    for key in ("resid_pdrop", "embd_pdrop", "attn_pdrop", "hidden_dropout", "attention_dropout"):
        if hasattr(owner.config, key):
            setattr(owner.config, key, 0.3)
    owner.save_pretrained(tmp_path)
    model, layout = load_model(str(tmp_path))
    assert any(isinstance(m, nn.Dropout) and m.p == 0.3 for m in model.modules())
    codec = Codec(tiny_tokenizer(), max_tokens=512)
    made = LocalEngine(model, codec, name="x", fingerprint="x", layout=layout)
    losses = [made.forward_backward(made.work(groups(), (NLL, 1.0)))["loss"] for _ in range(2)]
    made.sample(["Hello"], Sampling(max_tokens=3))
    losses.append(made.forward_backward(made.work(groups(), (NLL, 1.0)))["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_dropout_of_an_adapter_is_on_in_steps_alone() -> None:
    """Also after somebody sampled between two steps; and never in reference log-probabilities or scores."""
    made = engine(lora=0.5)
    made.prepare(Optim(lr=0.05), 10)
    made.forward_backward(made.work(groups(), (NLL, 1.0)))
    made.step()  # now the adapter says something

    def loss() -> Tensor:
        return made.forward_backward(made.work(groups(), (NLL, 1.0)))["loss"]

    def logps() -> Tensor:
        return made.signals(groups(), ["logps"])["logps"][0][0]

    assert loss() != loss() and torch.equal(logps(), logps())
    made.sample(["Hello"], Sampling(max_tokens=3))
    assert loss() != loss() and torch.equal(logps(), logps())


def test_only_the_adapter_and_heads_move_under_an_adapter() -> None:
    made = engine(lora=0.0, head="score")
    made.prepare(Optim(lr=0.05), 10)
    before = weights_of(made)
    for _ in range(2):
        made.forward_backward(made.work(groups(), (ranked(), 1.0)))
        made.step()
    moved = {n for n, p in made.model.named_parameters() if not torch.equal(p, before[n])}
    assert all("lora_" in n or n.startswith("heads.") for n in moved) and "heads.score.weight" in moved
    assert len([n for n in moved if "lora_B" in n]) == len([n for n in before if "lora_B" in n])


# ── the optimiser ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_T10_schedule() -> None:
    """The warm-up of the code of Zheng et al., with W = 100."""
    expected = {0: 0.1, 5: 0.1, 10: 0.1, 50: 0.5, 99: 0.99, 100: 1.0, 400: 0.5, 1000: 0.316228}
    for step, value in expected.items():
        assert multiplier(step, 10_000, 100, "inverse_sqrt") == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant", "inverse_sqrt"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 10.0])
def test_schedules_rise_then_fall_and_every_step_counts(schedule: str, warmup: float) -> None:
    rates = [multiplier(step, 100, warmup, schedule) for step in range(100)]
    top = 10 if warmup else 0
    assert all(0 < rate <= 1 for rate in rates)  # a step with rate 0 is a batch thrown away
    assert rates[top] == pytest.approx(1.0)
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)


def test_schedule_in_closed_form() -> None:
    assert multiplier(50, 100, 0, "cosine") == pytest.approx(0.5)
    assert multiplier(25, 100, 0, "linear") == pytest.approx(0.75)
    assert multiplier(60, 110, 10, "linear") == pytest.approx(0.5)
    assert [multiplier(s, 100, 4, "constant") for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


class Two(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(2, 2, dtype=dtype))
        self.vector = nn.Parameter(torch.ones(2, dtype=dtype))

    def pull(self, size: float = 1.0) -> None:
        for weight in self.parameters():
            weight.grad = torch.full_like(weight, size)


def test_only_matrices_decay() -> None:
    model = Two()
    optimiser = Optimiser(model, Optim(lr=0.1, weight_decay=0.5, schedule="constant"), 10)
    model.pull(0.0)
    optimiser.step(optimiser.grad_norm())
    torch.testing.assert_close(model.matrix.data, torch.full((2, 2), 0.95))
    torch.testing.assert_close(model.vector.data, torch.ones(2))


def test_half_precision_weights_collect_small_steps() -> None:
    """1 − 0.0001 is 1 in bfloat16: without a master copy a hundred such steps would be none."""
    model = Two(torch.bfloat16)
    optimiser = Optimiser(model, Optim(lr=1e-4, schedule="constant"), 100)
    for _ in range(100):
        model.pull()
        optimiser.step(optimiser.grad_norm())
    assert torch.equal(model.matrix.data, torch.full((2, 2), 0.99).bfloat16())
    optimiser.unfold(model)
    torch.testing.assert_close(model.matrix.data, torch.full((2, 2), 0.99), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("clip", "expected"), [(1.0, 0.5), (4.0, 1.0), (0.0, 1.0)])
def test_engines_can_be_clipped_together(clip: float, expected: float) -> None:
    """Adam forgets the size of a gradient, but its first moment shows what it was given: (1 − β₁) g."""
    model = Two()
    optimiser = Optimiser(model, Optim(clip=clip), 10)
    model.pull()
    own = optimiser.grad_norm()
    assert float(own) == pytest.approx(6**0.5)
    optimiser.step(torch.tensor(2.0))  # as if found over several engines
    moments = optimiser.adam.state[model.matrix]["exp_avg"]
    torch.testing.assert_close(moments, torch.full((2, 2), 0.1 * expected), atol=1e-6, rtol=0)
    assert model.matrix.grad is None


def test_a_shared_norm_is_what_the_engine_clips_by() -> None:
    made = engine()
    made.prepare(Optim(lr=0.01, clip=1.0), 10)
    made.forward_backward(made.work(groups(), (NLL, 1.0)))
    gradient = made.model.base.lm_head.weight.grad.clone()
    said = made.step(torch.tensor(1e4))
    assert said["grad_norm"] == 1e4
    state = made.optimiser.adam.state[made.model.base.lm_head.weight]
    torch.testing.assert_close(state["exp_avg"], 0.1 * gradient / 1e4, atol=1e-9, rtol=1e-4)


def step(made: LocalEngine) -> Tensor:
    metrics = made.forward_backward(made.work(groups(), (NLL, 1.0)))
    made.step()
    return metrics["loss"]


RESUMED: dict[str, Callable[[], LocalEngine]] = {
    "fp32": engine,
    "tied": lambda: engine("qwen2"),
    "bf16": lambda: engine(dtype=torch.bfloat16),
    "adapter_with_dropout": lambda: engine(lora=0.3, head="score"),
}


@pytest.mark.parametrize("kind", RESUMED)
def test_load_goes_on_bit_by_bit(kind: str, tmp_path: Path) -> None:
    optim = Optim(lr=0.02, warmup=2, weight_decay=0.1)
    whole, resumed = RESUMED[kind](), RESUMED[kind]()
    torch.manual_seed(0)
    whole.prepare(optim, 6)
    for _ in range(3):
        step(whole)
    whole.save(tmp_path)
    losses = [step(whole) for _ in range(3)]
    torch.manual_seed(99)
    resumed.prepare(optim, 6)
    resumed.load(tmp_path)
    assert [step(resumed) for _ in range(3)] == losses
    after = weights_of(resumed)
    assert all(torch.equal(p, after[n]) for n, p in whole.model.named_parameters())
    assert losses[-1] < losses[0]


def test_what_is_saved_is_what_moves(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    made = engine(lora=0.0)
    made.prepare(Optim(), 6)
    step(made)
    made.save(tmp_path)
    kept = {name.split("/", 1)[1] for name in load_file(tmp_path / "optimiser.safetensors")}
    assert kept == {n for n, p in made.model.named_parameters() if p.requires_grad} and all("lora_" in n for n in kept)


def test_export_of_half_precision_training_is_what_was_learnt(tmp_path: Path) -> None:
    """The fp32 masters, not their rounded copies."""
    made = engine(dtype=torch.bfloat16)
    made.prepare(Optim(lr=1e-3), 4)
    for _ in range(4):
        step(made)
    masters = {n: m.clone() for n, m in made.optimiser.masters.items()}
    made.export(tmp_path)
    model, _ = load_model(str(tmp_path))
    for name, weight in model.named_parameters():
        assert torch.equal(weight, masters[name]), name
    assert any(not torch.equal(m, m.bfloat16().float()) for m in masters.values())


def test_objectives_that_miss_their_numbers_say_so() -> None:
    made = engine()
    rows = [replace(row, per_token={}) for row in groups()]
    with pytest.raises(UserError, match="dpo reads ref_logps"):
        made.forward_backward(made.work(rows, (dpo(0.1), 1.0)))
