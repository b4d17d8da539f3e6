"""Tokenizers as they come: a step of SFT, of a preference model and of DPO, a sample and a score run with each of them,
or one sentence says why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import END, tiny, tiny_tokenizer
from tokenizers import AddedToken, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
)

import truing
from truing.model.vocab import EOC
from truing.records import Answer, Example, Judgement, Message, Sampling, UserError
from truing.settings import Machine

FP32 = {"dtype": "fp32", "threads": 1}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TALK = [
    Example((Message("user", f"Say {word}."),), (Answer(word), Answer("no")), (Judgement("order", (0, 1)),))
    for word in ("yes", "hello", "a long word", "?!")
]
RAW = [Example(f"Q: {i}\nA:", (Answer(f" {i + 1}"), Answer(" none")), (Judgement("order", (0, 1)),)) for i in range(4)]


def plain() -> PreTrainedTokenizerFast:
    """No pad token, no template, no BOS."""
    return tiny_tokenizer()


def pad_is_end() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = END
    return tokenizer


def own_pad() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<pad>"})
    return tokenizer


def bos() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    single = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = single
    return tokenizer


def bos_is_end() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = tokenizer.pad_token = END
    return tokenizer


def template() -> PreTrainedTokenizerFast:
    """Added control tokens of a template; turns do not end with the end-of-text token."""
    tokenizer = tiny_tokenizer()
    tokens = [AddedToken(t, special=True, normalized=False) for t in ("<|im_start|>", "<|im_end|>")]
    tokenizer.add_tokens(tokens, special_tokens=True)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def template_pads_with_its_end() -> PreTrainedTokenizerFast:
    tokenizer = template()
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    return tokenizer


def template_pads_with_its_end_and_has_another_eos() -> PreTrainedTokenizerFast:
    tokenizer = template()
    tokenizer.pad_token = "<|im_end|>"
    return tokenizer


def added_words() -> PreTrainedTokenizerFast:
    tokenizer = pad_is_end()
    tokenizer.add_tokens(["hello", "word"])
    return tokenizer


def left_side() -> PreTrainedTokenizerFast:
    tokenizer = pad_is_end()
    tokenizer.padding_side = tokenizer.truncation_side = "left"
    tokenizer.model_max_length = 8
    return tokenizer


SHAPES: list[Callable[[], PreTrainedTokenizerFast]] = [
    *(plain, pad_is_end, own_pad, bos, bos_is_end, template, template_pads_with_its_end),
    *(template_pads_with_its_end_and_has_another_eos, added_words, left_side),
]


def folder(tokenizer: PreTrainedTokenizerFast, path: Path, vocab: int | None = None) -> str:
    model = tiny("llama", vocab=vocab or len(tokenizer))
    if vocab is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("examples", [TALK, RAW], ids=["talk", "raw"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_every_verb_runs(shape: Callable[[], PreTrainedTokenizerFast], examples: list[Example], tmp_path: Path) -> None:
    base = folder(shape(), tmp_path / "base")
    common = {"optim": {"lr": 1e-3, "batch": 2}, "run": {"folder": str(tmp_path / "runs")}, "machine": FP32}
    sft = truing.sft(base, examples, **common)
    policy = truing.load(sft.model, Machine(**FP32))
    (drawn, _) = policy.sample([examples[0].prompt] * 2, Sampling(n=2, max_tokens=6))
    again = policy.score([drawn])[0]
    for answer, score in zip(drawn.answers, again):
        assert answer.ids and score.logps == pytest.approx(answer.logps, abs=1e-4)
    truing.offline(sft.model, examples, method="dpo", **common)  # refuses itself unless it starts at ln 2
    judge = truing.pm(base, examples, **common)  # the same
    assert all(
        torch.isfinite(torch.tensor(s.reward))
        for row in truing.load(judge.model, Machine(**FP32)).score(examples)
        for s in row
    )


@pytest.mark.parametrize("read", ["eoc", "end"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_an_exported_preference_model_scores_the_same_in_plain_transformers(
    shape: Callable[[], PreTrainedTokenizerFast], read: str, tmp_path: Path
) -> None:
    """A padded batch of whole conversations, by the exported tokenizer and configuration alone."""
    base = folder(shape(), tmp_path / "base")
    run = truing.pm(
        base, TALK, read=read, optim={"lr": 1e-2, "batch": 2}, run={"folder": str(tmp_path / "runs")}, machine=FP32
    )
    engine = truing.load(run.model, Machine(**FP32))
    expected = [score.reward for row in engine.score(TALK) for score in row]
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    theirs = AutoModelForSequenceClassification.from_pretrained(run.model).eval()
    groups, _ = engine.encode(TALK)
    ids = [group.prompt + answer for group in groups for answer in group.answers]
    assert ({i[-1] for i in ids} == {tokenizer.convert_tokens_to_ids(EOC)}) == (read == "eoc")
    with torch.no_grad():
        scores = theirs(**tokenizer.pad({"input_ids": ids}, return_tensors="pt")).logits[:, 0]
    assert scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) > 4


def test_tokens_without_an_embedding_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["hello"])
    base = folder(tokenizer, tmp_path / "base", vocab=97)
    with pytest.raises(UserError, match="none for hello"):
        truing.sft(base, TALK, run={"folder": str(tmp_path / "runs")}, machine=FP32)


def test_a_pad_token_beyond_the_embedding_is_harmless(tmp_path: Path) -> None:
    """Often added to a tokenizer alone; nothing here ever pads with it."""
    base = folder(own_pad(), tmp_path / "base", vocab=97)
    run = truing.sft(base, TALK, run={"folder": str(tmp_path / "runs")}, machine=FP32)
    assert truing.load(run.model, Machine(**FP32)).sample(["Hello"], Sampling(max_tokens=3))


def test_embeddings_larger_than_the_tokenizer_are_kept(tmp_path: Path) -> None:
    """As in most released models; what is drawn from the empty rows has no text, and nothing breaks."""
    base = folder(pad_is_end(), tmp_path / "base", vocab=128)
    run = truing.pm(base, TALK, run={"folder": str(tmp_path / "runs")}, machine=FP32)
    engine = truing.load(run.model, Machine(**FP32))
    assert engine.model.base.get_input_embeddings().weight.shape[0] == 128
    drawn = truing.load(base, Machine(**FP32)).sample(["Hello"], Sampling(n=4, max_tokens=20))
    assert all(isinstance(answer.text, str) for answer in drawn[0].answers)


def test_no_end_token_at_all_is_said(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    base = folder(tokenizer, tmp_path / "base")
    with pytest.raises(UserError, match="where an answer ends"):
        truing.sft(base, TALK, run={"folder": str(tmp_path / "runs")}, machine=FP32)


@pytest.mark.parametrize("limit", [40, 64])
def test_a_preference_model_of_learned_positions_uses_all_of_them_and_no_more(limit: int, tmp_path: Path) -> None:
    """The end-of-context token needs a position too."""
    tokenizer = tiny_tokenizer()
    model = tiny("gpt2", vocab=len(tokenizer))
    model.transformer.wpe = torch.nn.Embedding(limit, 48)
    model.config.n_positions = limit
    model.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    answers = (Answer("x" * (limit - 11)), Answer("y"))
    examples = [Example("0123456789" * 5, answers, (Judgement("order", (0, 1)),))] * 2
    run = truing.pm(str(tmp_path / "base"), examples, run={"folder": str(tmp_path / "runs")}, machine=FP32)
    groups, _ = truing.load(run.model, Machine(**FP32)).encode(examples)
    assert max(len(g.prompt) + max(map(len, g.answers)) for g in groups) == limit


def test_longrope_stays_within_its_original_length(tmp_path: Path) -> None:
    """One longer sequence would change the rotary positions, and so the numbers, of all others in its batch."""
    tokenizer = tiny_tokenizer()
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 6, "long_factor": [3.0] * 6}
    sizes = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4}
    limits = {"max_position_embeddings": 512, "original_max_position_embeddings": 128}
    tokens = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": 0}
    config = Phi3Config(vocab_size=len(tokenizer), rope_parameters=rope, **sizes, **limits, **tokens)
    Phi3ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = truing.load(str(tmp_path), Machine(**FP32))
    short, long = Example("Hi", (Answer("there"),)), Example("x" * 200, (Answer("y" * 20),))
    alone, beside = engine.score([short])[0][0], engine.score([short, long])[0][0]
    assert beside.logps == pytest.approx(alone.logps, abs=1e-5)
