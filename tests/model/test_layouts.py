"""A tree and plain rows are the same computation: numbers, gradients, and the self-test that decides between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import NAMES, WINDOW, tiny
from torch import Tensor
from transformers import (
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
)

from truing.batch import Batch, Group, Signals
from truing.model import attention, layout
from truing.model.attention import NAME, Tree, visible
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel, new_head
from truing.model.logps import Head
from truing.model.pack import batches, pack
from truing.records import UserError

VOCAB = 97
TREES = [name for name in NAMES if name != "falcon"]  # its attention is its own and takes nobody else's


def random_group(seed: int, prompt: int, answers: Sequence[int]) -> Group:
    draw = torch.Generator().manual_seed(seed)

    def ids(n: int) -> list[int]:
        return torch.randint(1, VOCAB, (n,), generator=draw).tolist()

    return Group(ids(prompt), [ids(n) for n in answers], [[True] * n for n in answers], id=f"group-{seed}")


def several_turns(seed: int) -> Group:
    """Answers in which somebody else speaks in between: those tokens are read and not learnt."""
    group = random_group(seed, 9, (14, 20, 5))
    group.trained = [
        [True] * 5 + [False] * 4 + [True] * 5,
        [False] * 2 + [True] * 6 + [False] * 9 + [True] * 3,
        [True] * 4 + [False],
    ]
    return group


# One step with everything that is hard: one to eight answers, 1 to 60 tokens, prompts of one token and far longer than
# the window of 16, several groups in one row.
HARD = [
    random_group(1, 40, (1, 12, 3, 30, 2, 60, 7, 21)),
    random_group(2, 1, (25,)),
    random_group(3, 7, (1, 1)),
    several_turns(4),
    random_group(5, 55, (2,)),
    random_group(6, 1, (40, 2, 18)),
]
ONE_TO_EIGHT = [random_group(10 + k, 5 + 3 * k, [1 + (7 * j * k) % 23 for j in range(k)]) for k in range(1, 9)]
# All begin with the same 50 tokens, and one prompt is nothing more.
PREFACED = [
    Group(random_group(9, 50, ()).prompt + g.prompt[:end], g.answers, g.trained, id=f"prefaced-{g.id}")
    for g, end in zip(HARD, (None, None, 0, None, 3, None))
]


def with_heads(name: str, lora: bool = False) -> LanguageModel:
    owner = tiny(name)
    owner.set_attn_implementation("sdpa" if name == "falcon" else NAME)
    model = LanguageModel(owner)
    for seed, head in enumerate(("score", "value")):
        model.heads[head] = new_head(model, zero=False, seed=seed)
    if lora:
        torch.manual_seed(0)
        model.owner = get_peft_model(owner, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
        for weight_name, weight in model.owner.named_parameters():
            if "lora_B" in weight_name:
                torch.nn.init.normal_(weight, std=0.2)
    return model


def weighted_sum(signals: Signals) -> Tensor:
    """Every signal enters with another weight, so that no two mistakes cancel."""
    parts = [s for s in (signals.logps, signals.entropy, signals.values, signals.scores) if s is not None]
    return sum((part * torch.linspace(0.5, 1.5, len(part))).sum() / len(part) for part in parts)


def everything(model: LanguageModel, batch: Batch) -> dict[str, Tensor]:
    """All signals, and the gradient of every weight."""
    model.zero_grad()
    signals = model(batch, ["logps", "entropy", "values", "scores", "hidden"])
    weighted_sum(signals).backward()
    found = {name: signals[name].detach() for name in ("logps", "entropy", "values", "scores", "hidden")}
    return found | {f"d {n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """Relative to the largest number of each tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.isfinite(value).all(), name
        gap = (found[name] - value).abs().max() / value.abs().max().clamp(min=1e-3)
        assert gap < tolerance, f"{name}: {gap:.1e}"


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("groups", [HARD, ONE_TO_EIGHT, PREFACED], ids=["hard", "one_to_eight", "prefaced"])
def test_tree_equals_rows_in_every_signal_and_gradient(name: str, groups: list[Group]) -> None:
    model = with_heads(name)
    tree, rows = everything(model, pack(groups, "tree")), everything(model, pack(groups, "rows"))
    assert sum(n.startswith("d ") for n in rows) > 10
    assert_same(tree, rows)


@pytest.mark.parametrize("name", TREES)
def test_a_group_of_many_answers_in_several_attention_calls(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their trunk, and what is before it, is then somewhere else in the row."""
    monkeypatch.setattr(attention, "TOGETHER", 30)
    model, batch = with_heads(name), pack(PREFACED, "tree")
    assert len(attention.pieces(batch.spans, batch.shared)) == 1 + 5 + 1 + 1 + 2 + 1 + 2
    assert_same(everything(model, batch), everything(model, pack(PREFACED, "rows")))


@pytest.mark.parametrize("name", NAMES)
def test_rows_equal_one_sequence_at_a_time_by_transformers(name: str) -> None:
    """Padding beside very unequal rows, longer than the window, leaves no trace; the head is understood."""
    model = with_heads(name)
    logps = model(pack(HARD, "rows")).logps
    own = tiny(name)
    expected = []
    for group in HARD:
        for answer, trained in zip(group.answers, group.trained):
            logits = own(torch.tensor([group.prompt + answer])).logits[0, len(group.prompt) - 1 : -1]
            all_logps = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
            expected.append(all_logps[torch.tensor(trained)])
    torch.testing.assert_close(logps, torch.cat(expected), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "mixtral"])
def test_tree_equals_rows_under_an_adapter_on_and_off(name: str) -> None:
    model = with_heads(name, lora=True)
    tree, rows = everything(model, pack(HARD, "tree")), everything(model, pack(HARD, "rows"))
    assert any("lora_B" in n for n in rows)
    assert_same(tree, rows)
    with model.without_adapter():
        off = everything(model, pack(HARD, "tree"))
        assert_same({"logps": off["logps"]}, {"logps": everything(model, pack(HARD, "rows"))["logps"]})
        assert_same({"logps": off["logps"]}, {"logps": everything(with_heads(name), pack(HARD, "tree"))["logps"]})
    assert (off["logps"] - tree["logps"]).abs().max() > 0.01


@pytest.mark.parametrize("name", ["llama", "mistral_window"])
def test_answers_do_not_know_their_neighbours(name: str) -> None:
    """The same answer alone, beside others, and in a row with other groups."""
    model = with_heads(name)
    together = pack(HARD, "tree")
    logps = model(together).logps
    answer = 0
    for group in HARD:
        for j in range(len(group.answers)):
            alone = Group(group.prompt, [group.answers[j]], [group.trained[j]])
            found = model(pack([alone], "tree")).logps
            torch.testing.assert_close(found, logps[together.answer_of == answer], atol=2e-5, rtol=1e-5)
            answer += 1


def test_what_all_prompts_begin_with_is_computed_once() -> None:
    batch = pack(PREFACED, "tree")
    assert batch.shared == 49  # one prompt is nothing more than those 50 tokens, and keeps its last one
    assert batch.tokens.shape[1] == sum(g.tree_tokens for g in PREFACED) - 49 * (len(PREFACED) - 1)
    assert pack(PREFACED[:1], "tree").shared == 0
    assert pack([*PREFACED, HARD[1]], "tree").shared == 0
    room = 49 + sum(g.tree_tokens - 49 for g in PREFACED)  # fits only because the beginning is counted once
    assert len(list(batches(PREFACED, "tree", room))) == 1
    assert len(list(batches(PREFACED, "tree", room - 1))) == 2


@pytest.mark.parametrize("kind", ["tree", "rows"])
def test_tokens_of_others_are_read_and_not_learnt(kind: str) -> None:
    model = with_heads("mistral_window")
    group = several_turns(4)
    batch = pack([group], kind)
    assert batch.lengths().tolist() == [10, 9, 4]
    before = model(batch).logps
    changed = several_turns(4)
    changed.answers[0][6] = changed.answers[0][6] % 90 + 3  # inside the untrained turn of answer 0
    after = model(pack([changed], kind)).logps
    torch.testing.assert_close(after[:5], before[:5], atol=1e-6, rtol=0)  # what came before it
    assert (after[5:10] - before[5:10]).abs().min() > 1e-4  # what follows has read it
    torch.testing.assert_close(after[10:], before[10:], atol=1e-6, rtol=0)  # the other answers have not


@pytest.mark.parametrize("kind", ["tree", "rows"])
def test_source_and_end_point_where_they_should(kind: str) -> None:
    """Token n stands right behind its source, in position, and is what the group says."""
    batch = pack(HARD, kind)
    tokens, positions = batch.tokens.flatten(), batch.positions.flatten()
    answers = [(g, j) for g in HARD for j in range(len(g.answers))]
    for a, (group, j) in enumerate(answers):
        mine = (batch.answer_of == a).nonzero().flatten()
        sequence = group.prompt + group.answers[j]
        at = [len(group.prompt) + t for t, learnt in enumerate(group.trained[j]) if learnt]
        assert batch.target[mine].tolist() == [sequence[i] for i in at]
        assert positions[batch.source[mine]].tolist() == [i - 1 for i in at]
        assert tokens[batch.source[mine]].tolist() == [sequence[i - 1] for i in at]
        assert positions[batch.end[a]] == len(sequence) - 1 and tokens[batch.end[a]] == sequence[-1]
    if kind == "tree":
        assert batch.tokens.shape == (1, sum(g.tree_tokens for g in HARD))


@pytest.mark.parametrize("kind", ["tree", "rows"])
@pytest.mark.parametrize("limit", [1, 100, 10_000])
def test_batches_hold_every_group_once_within_the_limit(kind: str, limit: int) -> None:
    found = list(batches(HARD, kind, limit))
    assert sorted(n for numbers, _ in found for n in numbers) == list(range(len(HARD)))
    for numbers, batch in found:
        assert batch.ids == [HARD[n].id for n in numbers]
        assert batch.tokens.numel() <= limit or len(numbers) == 1


# ── the self-test ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fresh_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "_verdicts", {})


@pytest.mark.parametrize("name", NAMES)
def test_verdict_of_each_architecture(name: str, fresh_verdicts: None) -> None:
    verdict, why = layout_for(tiny(name).config)
    assert verdict == ("rows" if name == "falcon" else "tree")
    assert name.split("_window")[0] in why and ("cannot attend over a tree" in why) == (name == "falcon")


def leaking(span: Sequence[int], positions: Tensor, window: int | None) -> Tensor:
    """Answers see earlier answers."""
    n = len(positions)
    return torch.ones(n, n, dtype=torch.bool).tril()


def without_window(span: Sequence[int], positions: Tensor, window: int | None) -> Tensor:
    return visible(span, positions, None)


def window_in_places(span: Sequence[int], positions: Tensor, window: int | None) -> Tensor:
    """Counted along the row, where the answers stand one behind the other."""
    places = torch.arange(len(positions))
    allowed = visible(span, positions, None)
    return allowed if window is None else allowed & (places[:, None] - places[None, :] < window)


def blind_to_the_prompts_end(span: Sequence[int], positions: Tensor, window: int | None) -> Tensor:
    """An off-by-one at the branching point: the last token of the prompt is hidden from the answers."""
    allowed = visible(span, positions, window).clone()
    prompt = span[1] - span[0]
    allowed[prompt:, prompt - 1] = False
    return allowed


WINDOWED, ANY = ("gemma3", "mistral_window"), ("llama", "gpt2", "mixtral", "gemma3", "mistral_window")
WRONG = (
    [(leaking, name) for name in ANY]
    + [(blind_to_the_prompts_end, name) for name in ANY]
    + [(mask, name) for mask in (without_window, window_in_places) for name in WINDOWED]
)


@pytest.mark.parametrize(("wrong", "name"), WRONG)
def test_a_wrong_mask_is_caught(
    wrong: Callable[..., Tensor], name: str, monkeypatch: pytest.MonkeyPatch, fresh_verdicts: None
) -> None:
    monkeypatch.setattr(attention, "visible", wrong)
    verdict, why = layout_for(tiny(name).config)
    assert verdict == "rows" and "differ" in why


# Configurations in the size in which they are released: the copy has to be a small one of the same kind.
FACTORS = {"short_factor": [1.1] * 48, "long_factor": [1.5] * 48, "original_max_position_embeddings": 4096}
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
RELEASED = {
    "llama3": LlamaConfig(rope_parameters={"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}),
    "phi3": Phi3Config(sliding_window=2047, rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, **FACTORS}),
    "qwen2": Qwen2Config(use_sliding_window=True, sliding_window=4096, max_window_layers=20),
    "gemma3": Gemma3TextConfig(),
}


@pytest.mark.parametrize("config", RELEASED.values(), ids=RELEASED)
def test_verdict_of_released_sizes(config: PreTrainedConfig, fresh_verdicts: None) -> None:
    verdict, why = layout_for(config)
    assert verdict == "tree", why
    kinds = set(getattr(config, "layer_types", None) or [])
    assert kinds <= set(getattr(layout.shrink(config), "layer_types", None) or [])


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (Gemma2Config(attn_logit_softcapping=50.0), "softcap"),  # left out, it would be off by little and silently
        (GptOssConfig(num_hidden_layers=2), "s_aux"),
        (Lfm2Config(layer_types=["conv", "full_attention"] * 8, num_hidden_layers=16), "differ"),  # runs along the row
        (tiny("falcon").config, "knows no tree"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_a_tree_cannot_do_is_done_in_rows_and_said_once(
    config: PreTrainedConfig, why: str, fresh_verdicts: None, caplog: pytest.LogCaptureFixture
) -> None:
    verdict, said = layout_for(config)
    assert layout_for(config) == (verdict, said)
    assert verdict == "rows" and why in said
    assert [record.message for record in caplog.records if record.name.startswith("truing")] == [
        f"{said}; its prompts are computed again for every answer (layout rows)"
    ]


def test_an_output_layer_that_is_not_understood_is_refused(
    monkeypatch: pytest.MonkeyPatch, fresh_verdicts: None
) -> None:
    """Cohere scales its logits. A head that did not know would train another model than the one it was given."""
    monkeypatch.setattr("truing.model.lm.Head", lambda weight, bias, cap, scale: Head(weight, bias, cap))
    with pytest.raises(UserError, match="cohere is not understood"):
        layout_for(CohereConfig(hidden_size=64, num_attention_heads=4, logit_scale=0.25))


def test_verdict_is_worked_out_once(monkeypatch: pytest.MonkeyPatch, fresh_verdicts: None) -> None:
    first = layout_for(tiny("llama").config)
    monkeypatch.setattr(attention, "visible", leaking)
    assert layout_for(tiny("llama").config) == first
    assert layout_for(tiny("llama", vocab=50).config)[0] == "rows"  # another configuration is tried anew


def test_a_tree_needs_an_attention_that_knows_trees() -> None:
    owner = tiny("llama")
    owner.set_attn_implementation("sdpa")
    with pytest.raises(RuntimeError, match="knows no tree"):
        LanguageModel(owner)(pack(HARD, "tree"))


def test_window_counts_positions() -> None:
    """Prompt 20, answers 3 and 5: the first token of either sees the last 15 of the prompt and itself."""
    span, positions = (0, 20, 23, 28), torch.tensor([*range(20), *range(20, 23), *range(20, 25)])
    allowed = visible(span, positions, WINDOW)
    for first in (20, 23):
        assert allowed[first].nonzero().flatten().tolist() == [*range(5, 20), first]
    assert allowed[27].nonzero().flatten().tolist() == [*range(9, 20), *range(23, 28)]


@pytest.mark.parametrize("lengths", [[40] * 6, [40, 39, 31, 30, 29, 8, 7], [300, 290, 20], [5]])
def test_short_groups_go_together_and_every_token_has_one_place(lengths: list[int]) -> None:
    spans, at = [], 0
    for length in lengths:
        spans.append((at, at + length // 2, at + length))
        at += length
    tree = Tree(spans, torch.cat([torch.arange(n) for n in lengths]))
    assert torch.equal(tree.padded[tree.place], torch.arange(at))
    sizes = [[p.span[-1] - p.span[0] for p in call.pieces] for call in tree.calls]
    assert sorted(n for call in sizes for n in call) == sorted(lengths)
    assert all(min(call) >= 0.75 * max(call) for call in sizes)
    assert all(len(call) == 1 for call in sizes if max(call) > 256)
    assert tree.ordered or len(set(lengths)) > 1, "nothing is moved where all are of one length"
