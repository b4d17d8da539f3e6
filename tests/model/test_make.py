"""Models made from scratch: deterministic, of the promised size, ordinary folders, and able to learn."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from truing.model.make import SIZES, make_model, make_tokenizer
from truing.records import UserError

TEXTS = [
    f"The {a} {b} asks the {c} a question." for a in ("red", "old") for b in ("cat", "dog") for c in ("sun", "sea")
]


def test_tokenizer_is_the_same_every_time_and_loses_no_byte() -> None:
    tokenizer, again = make_tokenizer(TEXTS, 300), make_tokenizer(iter(TEXTS), 300)
    assert tokenizer.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()
    odd = " two  spaces,\n\n\ttab é ✓ 🙂 ' n't \r\n"
    assert tokenizer.decode(tokenizer(odd)["input_ids"]) == odd
    assert len(tokenizer) <= 300 and len(tokenizer("question")["input_ids"]) < len("question")


def test_saved_tokenizer_keeps_pad_end_and_roles_apart(tmp_path: Path) -> None:
    make_model(tmp_path / "m", make_tokenizer(TEXTS, 300), **SIZES["0.1M"])
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    chat = [{"role": r, "content": r} for r in ("system", "user", "assistant")]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text)["input_ids"]
    assert text == "<|system|>system<|end|><|user|>user<|end|><|assistant|>assistant<|end|><|assistant|>"
    assert ids.count(tokenizer.eos_token_id) == 3 and ids[-1] == tokenizer.convert_tokens_to_ids("<|assistant|>")
    assert tokenizer.pad_token_id not in (tokenizer.eos_token_id, None)
    assert make_tokenizer(TEXTS, 300, chat=False).chat_template is None


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_what_they_are_called(size: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m", make_tokenizer(TEXTS, 300), **SIZES[size], vocab=512)
    model = AutoModelForCausalLM.from_pretrained(folder)
    embedding = model.get_input_embeddings().weight
    assert embedding.shape[0] == 512
    body = model.num_parameters() - embedding.numel()  # the output matrix is the embedding
    assert body == pytest.approx(float(size.removesuffix("M")) * 1e6, rel=0.07)


def test_seed_decides_the_weights_and_the_global_random_state_is_left_alone(tmp_path: Path) -> None:
    tokenizer, state = make_tokenizer(TEXTS, 300), torch.get_rng_state()
    seeds = {"a": 5, "b": 5, "c": 6}
    weights = {
        name: (make_model(tmp_path / name, tokenizer, **SIZES["0.1M"], seed=seed) / "model.safetensors").read_bytes()
        for name, seed in seeds.items()
    }
    assert weights["a"] == weights["b"] != weights["c"]
    assert torch.equal(state, torch.get_rng_state())


def test_untrained_model_is_nearly_uniform_and_learns_quickly(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(TEXTS, 300)
    folder = make_model(tmp_path / "m", tokenizer, hidden=48, layers=3, heads=4, kv_heads=2, context=64, tie=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    random = torch.randint(len(tokenizer), (8, 64), generator=torch.Generator().manual_seed(0))
    uniform = math.log(len(tokenizer))
    assert abs(model(input_ids=random, labels=random).loss.item() - uniform) < 0.3
    ids = torch.tensor([tokenizer(text)["input_ids"][:8] for text in TEXTS])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):
        loss = model(input_ids=ids, labels=ids).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.5


def test_what_cannot_be_made_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(TEXTS, 300)
    with pytest.raises(UserError, match="too small"):
        make_tokenizer(TEXTS, 200)
    with pytest.raises(UserError, match="do not fit"):
        make_model(tmp_path / "m", tokenizer, hidden=50, layers=1, heads=4)
    with pytest.raises(UserError, match="no room"):
        make_model(tmp_path / "m", tokenizer, **SIZES["0.1M"], vocab=100)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        make_model(tmp_path / "m", tokenizer, **SIZES["0.1M"])
    assert [f.name for f in tmp_path.rglob("*")] == ["m", "mine.txt"]
