"""Log-probabilities in chunks: the plain log-softmax in value and gradient, but never prompt × vocabulary numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tiny import tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from truing.batch import Group
from truing.model import logps as module
from truing.model.attention import NAME
from truing.model.lm import LanguageModel, new_head
from truing.model.logps import Head, log_probs
from truing.model.pack import pack

TOKENS, WIDTH, VOCAB, IDS = 23, 12, 31, 3


@dataclass
class Case:
    """An output layer with random weights. In double precision the plain way is exact to any digit we look at."""

    tokens: int = TOKENS
    bias: bool = False
    softcap: float | None = None
    scale: float = 1.0
    temperature: float = 1.0
    hidden: Tensor = field(init=False)
    weight: Tensor = field(init=False)
    bias_weight: Tensor | None = field(init=False)
    ids: Tensor = field(init=False)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(self.tokens)
        self.hidden = torch.randn(self.tokens, WIDTH, generator=draw).requires_grad_()
        self.weight = torch.randn(VOCAB, WIDTH, generator=draw).requires_grad_()
        self.bias_weight = torch.randn(VOCAB, generator=draw).requires_grad_() if self.bias else None
        self.ids = torch.randint(0, VOCAB, (self.tokens, IDS), generator=draw)
        self.ids[0] = 5  # the same id asked for several times gets its gradient several times

    def leaves(self) -> list[Tensor]:
        return [t for t in (self.hidden, self.weight, self.bias_weight) if t is not None]

    def chunked(self) -> tuple[Tensor, Tensor]:
        head = Head(self.weight, self.bias_weight, self.softcap, self.scale)
        found, entropy = log_probs(self.hidden, head, self.ids, temperature=self.temperature, entropy=True)
        assert entropy is not None
        return found, entropy

    def plain(self) -> tuple[Tensor, Tensor]:
        bias = None if self.bias_weight is None else self.bias_weight.double()
        logits = F.linear(self.hidden.double(), self.weight.double(), bias) * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        every = torch.log_softmax(logits / self.temperature, dim=1)
        return every.gather(1, self.ids), -(every.exp() * every).sum(1)


CASES = {
    "plain": Case(),
    "bias": Case(bias=True),
    "softcap": Case(softcap=4.0),
    "scale": Case(scale=0.3),
    "cold": Case(temperature=0.7),
    "hot": Case(temperature=2.0, bias=True),
    "everything": Case(bias=True, softcap=3.0, scale=1.7, temperature=0.7),
    "one_token": Case(tokens=1),
    "a_full_chunk": Case(tokens=16),
}


@pytest.mark.parametrize("keep", [0, 8 * VOCAB * 4, 2**30], ids=["recomputed", "some_kept", "kept"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_chunks_equal_the_plain_log_softmax(case: Case, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8: borders inside, a last one that is shorter, exactly full ones, less than one."""
    monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(module, "KEEP_BYTES", keep)
    pull = torch.linspace(-1, 2, case.ids.numel()).view(case.ids.shape)
    push = torch.linspace(0.5, -1.5, len(case.ids))
    results = []
    for logps, entropy in (case.chunked(), case.plain()):
        grads = torch.autograd.grad((pull * logps).sum() + (push * entropy).sum(), case.leaves())
        results.append([logps, entropy, *grads])
    for found, expected in zip(*results):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("which", ["logps", "entropy"])
def test_either_output_alone(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 8)
    case = Case(bias=True, temperature=0.7)
    at = ("logps", "entropy").index(which)
    found = torch.autograd.grad(case.chunked()[at].square().sum(), case.leaves())
    expected = torch.autograd.grad(case.plain()[at].square().sum(), case.leaves())
    for f, e in zip(found, expected):
        torch.testing.assert_close(f, e.float(), atol=2e-5, rtol=1e-4)


def test_entropy_that_nobody_asks_for() -> None:
    case = Case()
    found, entropy = log_probs(case.hidden, Head(case.weight), case.ids)
    assert entropy is None
    torch.testing.assert_close(found, case.plain()[0].float(), atol=1e-5, rtol=1e-5)


def test_only_what_is_trained_gets_a_gradient() -> None:
    """Under an adapter the output layer is frozen; a head may also learn on frozen states."""
    case = Case()
    case.weight = case.weight.detach()
    case.chunked()[0].sum().backward()
    assert case.hidden.grad is not None and case.weight.grad is None
    case = Case()
    case.hidden = case.hidden.detach()
    case.chunked()[0].sum().backward()
    assert case.hidden.grad is None and case.weight.grad is not None


def test_backward_twice_gives_the_same_twice() -> None:
    case = Case()
    loss = case.chunked()[0].sum()
    first, second = (torch.autograd.grad(loss, case.leaves(), retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_half_precision_weights_get_full_precision_sums() -> None:
    """4000 logits of about the same size: in bfloat16 their log-sum-exp is off in the second digit."""
    draw = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, 16, generator=draw).bfloat16()
    weight = (0.1 * torch.randn(4000, 16, generator=draw)).bfloat16()
    ids = torch.arange(4)[:, None]
    found, _ = log_probs(hidden, Head(weight), ids)
    expected = F.linear(hidden, weight).double().log_softmax(1).gather(1, ids)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), atol=1e-5, rtol=0)


# ── golden numbers ────────────────────────────────────────────────────────────────────────────────────────────────


def from_logits(logits: list[list[float]], temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """All log-probabilities, the entropies, and the logits they came from: the head is the identity."""
    z = torch.tensor(logits, requires_grad=True)
    width = z.shape[1]
    every, entropy = log_probs(
        z, Head(torch.eye(width)), torch.arange(width).expand(len(z), width), temperature=temperature, entropy=True
    )
    assert entropy is not None
    return every, entropy, z


def close(found: Tensor, expected: list[Any]) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(expected), atol=1e-6, rtol=0)


def test_T6_entropy() -> None:
    every, entropy, z = from_logits([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    close(every[0].exp(), [0.665241, 0.244728, 0.090031])
    close(entropy, [0.832396, 1.098612])
    close(entropy.mean(), 0.965504)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(entropy.sum(), z)
    close(gradient, [[-0.282588, 0.140770, 0.141817], [0.0, 0.0, 0.0]])


def test_T10_log_softmax_at_two_temperatures() -> None:
    logits = [[2.0, 1.0, 0.5, -1.0]]
    close(from_logits(logits)[0], [[-0.495182, -1.495182, -1.995182, -3.495182]])
    close(from_logits(logits, 0.7)[0], [[-0.315346, -1.743918, -2.458203, -4.601061]])


# ── in a model ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["qwen2", "phi", "gpt2", "llama"])  # tied, with a bias, tied, apart
def test_gradients_of_a_model_equal_those_through_its_own_logits(name: str) -> None:
    """A tied matrix collects its gradient from both ends."""
    ids = torch.randint(1, 97, (30,), generator=torch.Generator().manual_seed(1)).tolist()
    own = tiny(name)
    logits = own(torch.tensor([ids])).logits[0, 9:-1]
    (-logits.log_softmax(-1).gather(1, torch.tensor(ids[10:])[:, None]).sum()).backward()
    ours = tiny(name)
    ours.set_attn_implementation(NAME)
    batch = pack([Group(ids[:10], [ids[10:]], [[True] * 20])], "tree")
    (-LanguageModel(ours)(batch)["logps"].sum()).backward()
    for (n, found), (_, expected) in zip(ours.named_parameters(), own.named_parameters()):
        assert found.grad is not None and expected.grad is not None, n
        scale = expected.grad.abs().max()
        torch.testing.assert_close(found.grad / scale, expected.grad / scale, atol=1e-5, rtol=0, msg=n)


class Largest(TorchDispatchMode):
    """The longest side of any tensor with the vocabulary as its other side that came into being."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.vocab, self.rows = vocab, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor) and self.vocab in tensor.shape:
                self.rows = max(self.rows, tensor.numel() // self.vocab)
        return out


def largest(prompt: int, answer: int, vocab: int, needs: list[str]) -> int:
    owner = tiny("llama", vocab=vocab)
    owner.set_attn_implementation(NAME)
    model = LanguageModel(owner)
    model.heads["score"] = new_head(model)
    batch = pack([Group([1] * prompt, [[2] * answer] * 2, [[True] * answer] * 2)], "tree")
    with Largest(vocab) as seen:
        signals = model(batch, needs)
        sum(signals[name].sum() for name in needs).backward()
    return seen.rows


WIDTH_OF_LLAMA = 48  # the gradient of the output layer is there in any case


@pytest.mark.parametrize("needs", [["logps"], ["logps", "entropy"], ["scores"]], ids="+".join)
def test_no_logits_at_prompt_positions(needs: list[str]) -> None:
    """Two answers of 40 tokens have 80 rows of logits, behind a prompt of 400 tokens as behind one of 50."""
    rows = WIDTH_OF_LLAMA if needs == ["scores"] else 80
    assert largest(400, 40, 1009, needs) == largest(50, 40, 1009, needs) == rows


def test_long_answers_are_taken_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 64)
    assert largest(10, 300, 1009, ["logps", "entropy"]) == 64


def test_what_is_kept_for_the_backward_pass_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 8)
    monkeypatch.setattr(module, "KEEP_BYTES", 2 * 8 * VOCAB * 4)
    saved: list[int] = []

    def pack_hook(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel() if tensor.shape[-1:] == (VOCAB,) else 0)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack_hook, lambda t: t):
        Case(tokens=50).chunked()
    assert sum(saved) == 2 * 8 * VOCAB
