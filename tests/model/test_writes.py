"""A preference model that was trained to write, too: both of its heads come back from one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import NAMES, tiny, tiny_tokenizer
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from truing.batch import Group
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel, new_head
from truing.model.load import OUTPUT, add_lora, load_model
from truing.model.pack import pack
from truing.model.save import save_model
from truing.records import UserError

GROUPS = [
    Group([5, 6, 7, 8, 9], [[10, 11, 0], [12, 0]], [[True] * 3, [True] * 2]),
    Group([20, 21], [[22, 23, 24, 25, 26, 27, 0]], [[True] * 7]),
]


def judge(name: str, **sizes: Any) -> LanguageModel:
    owner = tiny(name, **sizes)
    if layout_for(owner.config)[0] == "tree":
        owner.set_attn_implementation("truing")
    model = LanguageModel(owner, {})
    model.heads["score"], model.writes = new_head(model, zero=False), True
    return model.eval()


@torch.no_grad()
def signals(model: LanguageModel) -> tuple[Tensor, Tensor]:
    layout = "tree" if model.base.config._attn_implementation == "truing" else "rows"
    found = model(pack(GROUPS, layout), ["scores", "logps"])
    return found["scores"], found["logps"]


def same(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_log_probabilities_come_back(name: str, tmp_path: Path) -> None:
    model = judge(name)
    save_model(model, tiny_tokenizer(), tmp_path, 96)
    ours, _ = load_model(str(tmp_path))
    same(signals(ours), signals(model))
    AutoModelForSequenceClassification.from_pretrained(tmp_path)  # for everybody else it is a classifier
    assert (tmp_path / OUTPUT).exists() == (not model.base.config.tie_word_embeddings)


def test_an_adapter_is_merged_and_the_output_stays(tmp_path: Path) -> None:
    model = judge("llama")
    add_lora(model, 2, None, 0.0, ())
    with torch.no_grad():
        for name, weight in model.owner.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.05)
    expected = signals(model)
    save_model(model, tiny_tokenizer(), tmp_path, 96)
    same(signals(load_model(str(tmp_path))[0]), expected)


def test_one_that_went_on_without_writing_gives_scores_alone(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    save_model(judge("llama"), tiny_tokenizer(), tmp_path / "first", 96)
    second, _ = load_model(str(tmp_path / "first"))
    second.writes = False
    save_model(second, tiny_tokenizer(), tmp_path / "second", 96)
    third, _ = load_model(str(tmp_path / "second"))
    assert third.output is None and not (tmp_path / "second" / OUTPUT).exists()


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_an_output_that_is_the_embedding_stays_it(name: str, tmp_path: Path) -> None:
    """One gradient step must move both or neither."""
    save_model(judge(name), tiny_tokenizer(), tmp_path, 96)
    ours, _ = load_model(str(tmp_path))
    is_tied = ours.output.weight is ours.base.get_input_embeddings().weight
    assert is_tied == (name == "qwen2")
    assert ours.output.weight.requires_grad


def test_a_missing_output_layer_is_named(tmp_path: Path) -> None:
    save_model(judge("llama"), tiny_tokenizer(), tmp_path, 96)
    (tmp_path / OUTPUT).unlink()
    with pytest.raises(UserError, match=r"its output layer is missing \(output\.safetensors\)"):
        load_model(str(tmp_path))
