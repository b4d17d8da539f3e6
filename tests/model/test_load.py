"""Model folders: what is saved here, plain transformers loads, and says the same numbers; what is broken is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import NAMES, tiny, tiny_tokenizer
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    LlamaForSequenceClassification,
)

from truing.batch import Group
from truing.model.layout import layout_for
from truing.model.lm import LanguageModel, new_head
from truing.model.load import add_lora, check_vocabulary, grow_embeddings, load_model, merge
from truing.model.pack import pack
from truing.model.save import HEADS, plain, save_model
from truing.model.text import Codec
from truing.model.vocab import PAD, add_eoc, add_pad, with_eoc
from truing.records import UserError

GROUPS = [
    Group([5, 6, 7, 8, 9], [[10, 11, 0], [12, 0]], [[True] * 3, [True] * 2]),
    Group([20, 21], [[22, 23, 24, 25, 26, 27, 0]], [[True] * 7]),
]
SEQUENCES = [group.prompt + answer for group in GROUPS for answer in group.answers]


def ready(name: str = "llama", head: str | None = None, lora: bool = False, **sizes: Any) -> LanguageModel:
    """As a run leaves it: attending over trees where it can, the head and the adapter away from their start."""
    owner = tiny(name, **sizes)
    if layout_for(owner.config)[0] == "tree":
        owner.set_attn_implementation("truing")
    model = LanguageModel(owner)
    if head:
        model.heads[head] = new_head(model, zero=False)
    if lora:
        add_lora(model, 2, None, 0.0, ())
        move_adapter(model)
    return model.eval()


def move_adapter(model: LanguageModel) -> None:
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.owner.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=draw)


def layout_of(model: LanguageModel) -> str:
    return "tree" if model.base.config._attn_implementation == "truing" else "rows"


@torch.no_grad()
def signal(model: LanguageModel, name: str, groups: Sequence[Group] = GROUPS, kind: str | None = None) -> Tensor:
    return model(pack(list(groups), kind or layout_of(model)), [name])[name]


def save(model: LanguageModel, folder: Path, tokenizer: Any = None, pad: int | None = None) -> str | None:
    tokenizer = tokenizer or tiny_tokenizer()
    return save_model(model, tokenizer, folder, tokenizer.pad_token_id if pad is None else pad)


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


# ── out ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_policy_says_the_same_in_plain_transformers(name: str, tmp_path: Path) -> None:
    model = ready(name)
    assert save(model, tmp_path) is None
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    expected = []
    for group in GROUPS:
        for answer in group.answers:
            logits = theirs(torch.tensor([group.prompt + answer])).logits[0, len(group.prompt) - 1 : -1]
            expected.append(logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0])
    same(signal(model, "logps"), torch.cat(expected))
    ours, kind = load_model(str(tmp_path))
    assert kind == layout_of(model)
    same(signal(ours, "logps"), signal(model, "logps"))


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_preference_model_scores_the_same_in_plain_transformers(name: str, lora: bool, tmp_path: Path) -> None:
    """In a padded batch, read by transformers at the last token that is not padding."""
    tokenizer = tiny_tokenizer()
    model = ready(name, vocab=len(tokenizer))
    eoc = add_eoc(tokenizer)
    grow_embeddings(model, len(tokenizer))
    model.heads["score"] = new_head(model, zero=False)
    if lora:
        add_lora(model, 2, None, 0.0, ())
        move_adapter(model)
    groups = [with_eoc(group, eoc) for group in GROUPS]
    expected = signal(model, "scores", groups)
    assert save(model, tmp_path, tokenizer) is None
    same(signal(model, "scores", groups), expected)  # saving leaves the model as it was
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    their_tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.config.pad_token_id == their_tokenizer.pad_token_id != their_tokenizer.eos_token_id
    padded = their_tokenizer.pad({"input_ids": [[*ids, eoc] for ids in SEQUENCES]}, return_tensors="pt")
    same(theirs(**padded).logits[:, 0], expected)
    ours, kind = load_model(str(tmp_path))
    assert set(ours.heads) == {"score"} and ours.output is None
    same(signal(ours, "scores", groups, kind), expected)


@pytest.mark.parametrize("pad", [None, "<|end|>"], ids=["no_pad", "pad_is_end"])
def test_a_score_read_at_the_end_marker_needs_padding_that_is_no_end_marker(pad: str | None, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    if pad:
        tokenizer.pad_token = pad
    model = ready("llama", vocab=len(tokenizer))
    add_pad(tokenizer)
    grow_embeddings(model, len(tokenizer))
    model.heads["score"] = new_head(model, zero=False)
    save(model, tmp_path, tokenizer)
    theirs, their_tokenizer = (
        LlamaForSequenceClassification.from_pretrained(tmp_path),
        AutoTokenizer.from_pretrained(tmp_path),
    )
    assert their_tokenizer.pad_token == PAD
    padded = their_tokenizer.pad({"input_ids": SEQUENCES}, return_tensors="pt")
    same(theirs.eval()(**padded).logits[:, 0], signal(model, "scores"))


def test_own_padding_is_kept() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<mine>"})
    add_eoc(tokenizer)
    assert tokenizer.pad_token == "<mine>" and PAD not in tokenizer.get_vocab()


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", NAMES)
def test_a_saved_critic_gives_the_same_values(name: str, lora: bool, tmp_path: Path) -> None:
    """As a token classifier or, in a family without one, as trunk and head side by side."""
    model = ready(name, head="value", lora=lora)
    expected = signal(model, "values")
    said = save(model, tmp_path)
    ours, kind = load_model(str(tmp_path))
    same(signal(ours, "values", kind=kind), expected)
    assert (said is not None) == (name in ("gemma3", "olmo2")) == (tmp_path / HEADS).exists()
    if said is not None:
        assert HEADS in said
        return
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path).eval()
    values = [
        theirs(torch.tensor([group.prompt + answer])).logits[0, len(group.prompt) - 1 : -1, 0]
        for group in GROUPS
        for answer in group.answers
    ]
    same(torch.cat(values), expected)


def test_two_heads_and_a_language_model_stay_together(tmp_path: Path) -> None:
    model = ready("llama", head="value")
    model.heads["score"] = new_head(model, zero=False, seed=7)
    save(model, tmp_path)
    ours, _ = load_model(str(tmp_path))
    for name in ("scores", "values", "logps"):
        same(signal(ours, name), signal(model, name))


def test_a_preference_model_with_a_second_head_keeps_both(tmp_path: Path) -> None:
    save(ready("llama", head="score"), tmp_path / "one")
    model, _ = load_model(str(tmp_path / "one"))
    model.heads["value"] = new_head(model, zero=False, seed=7)
    save(model, tmp_path / "two")
    ours, _ = load_model(str(tmp_path / "two"))
    for name in ("scores", "values"):
        same(signal(ours, name), signal(model, name))


def test_others_may_read_all_files_or_none(tmp_path: Path) -> None:
    model = ready()
    model.heads["score"], model.heads["value"] = new_head(model), new_head(model)
    save_model(model, tiny_tokenizer(), tmp_path, None)
    assert len({file.stat().st_mode for file in tmp_path.iterdir()}) == 1


def test_half_precision_is_kept(tmp_path: Path) -> None:
    save(ready("llama", head="score"), tmp_path / "full")
    model, _ = load_model(str(tmp_path / "full"), dtype=torch.bfloat16)
    save(model, tmp_path / "half")
    assert {w.dtype for w in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    ours, _ = load_model(str(tmp_path / "half"), dtype=torch.bfloat16)
    assert torch.equal(signal(ours, "scores"), signal(model, "scores"))


# ── adapters ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_an_adapter_makes_the_round_trip_through_peft(name: str, tmp_path: Path) -> None:
    from peft import PeftModel

    save(ready(name), tmp_path / "base")
    model, _ = load_model(str(tmp_path / "base"))
    bare = signal(model, "logps")
    add_lora(model, 2, None, 0.0, ())
    assert torch.equal(signal(model, "logps"), bare)  # a fresh adapter does nothing yet
    move_adapter(model)
    save(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "config.json").exists()
    ours, _ = load_model(str(tmp_path / "base"), adapters=[str(tmp_path / "adapter")])
    same(signal(ours, "logps"), signal(model, "logps"))
    with ours.without_adapter():
        same(signal(ours, "logps"), bare)
    assert (signal(ours, "logps") - bare).abs().max() > 0.01
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    ids = torch.tensor([SEQUENCES[0]])
    same(theirs(ids).logits, ours.owner(ids).logits)


def test_adapters_on_top_of_each_other(tmp_path: Path) -> None:
    """Both count; training on, a third one starts where they left off, and the result is saved as a whole."""
    save(ready("llama"), tmp_path / "base")
    folders = []
    for seed in range(2):
        model, _ = load_model(str(tmp_path / "base"), adapters=folders)
        merge(model)
        torch.manual_seed(seed)
        add_lora(model, 2, None, 0.0, ())
        move_adapter(model)
        merged = plain(model)
        model.whole = False  # keep the adapter itself for this test
        folders.append(str(tmp_path / f"adapter-{seed}"))
        save(model, Path(folders[-1]))
    both, _ = load_model(str(tmp_path / "base"), adapters=folders)
    ids = torch.tensor([SEQUENCES[0]])
    same(both.owner(ids).logits, merged(ids).logits)
    merge(both)
    add_lora(both, 2, None, 0.0, ())
    move_adapter(both)
    save(both, tmp_path / "result")
    alone, _ = load_model(str(tmp_path / "result"))
    same(signal(alone, "logps"), signal(both, "logps"))


def test_saving_a_merged_copy_changes_no_bit() -> None:
    model = ready("llama", lora=True)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plain(model)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("targets", [("lm_head",), ("q_proj", "lm_head")])
def test_an_adapter_on_the_output_layer_is_refused(targets: tuple[str, ...], tmp_path: Path) -> None:
    """Log-probabilities come from the layer's own weights: its adapter would be trained by nobody and sampled from."""
    from peft import LoraConfig, get_peft_model

    with pytest.raises(UserError, match="output layer"):
        add_lora(ready("llama"), 2, None, 0.0, targets)
    save(ready("llama"), tmp_path / "base")
    foreign = get_peft_model(tiny("llama"), LoraConfig(r=2, target_modules=list(targets), task_type="CAUSAL_LM"))
    foreign.save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match="output layer"):
        load_model(str(tmp_path / "base"), adapters=[str(tmp_path / "adapter")])


def test_targets_that_do_not_exist_are_named() -> None:
    with pytest.raises(UserError, match="no module q_porj"):
        add_lora(ready("llama"), 2, None, 0.0, ("v_proj", "q_porj"))


def test_dropout_of_an_adapter_is_on_only_while_learning() -> None:
    model = ready("llama")
    add_lora(model, 4, None, 0.5, ())
    move_adapter(model)
    assert torch.equal(signal(model, "logps"), signal(model, "logps"))
    with model.learning():
        assert not torch.equal(signal(model, "logps"), signal(model, "logps"))
    assert torch.equal(signal(model, "logps"), signal(model, "logps"))


@pytest.mark.parametrize("head", ["score", "value"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "falcon"])
def test_the_head_of_a_loaded_classifier_is_trained_in_full_under_an_adapter(
    name: str, head: str, tmp_path: Path
) -> None:
    save(ready(name, head=head), tmp_path)
    model, _ = load_model(str(tmp_path))
    add_lora(model, 2, None, 0.0, ())
    trained = [n for n, p in model.named_parameters() if p.requires_grad and "lora_" not in n]
    assert len(trained) == (2 if head == "value" else 1)  # its weight; transformers gives a token classifier a bias
    assert not any("lora" in n for n, _ in model.heads.named_modules())


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_incomplete_adapter_is_refused(missing: str, tmp_path: Path) -> None:
    save(ready("llama"), tmp_path / "base")
    save(ready("llama", lora=True), tmp_path / "adapter")
    (tmp_path / "adapter" / missing).unlink()
    with pytest.raises(UserError, match="adapter"):
        load_model(str(tmp_path / "base"), adapters=[str(tmp_path / "adapter")])


def test_an_adapter_of_another_model_is_refused(tmp_path: Path) -> None:
    save(ready("llama"), tmp_path / "base")
    save(ready("gpt2", lora=True), tmp_path / "adapter")
    with pytest.raises(UserError, match="cannot be put on this model"):
        load_model(str(tmp_path / "base"), adapters=[str(tmp_path / "adapter")])


# ── in ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def edit_weights(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def one_nan(weights: dict[str, Tensor]) -> None:
    weights["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")


def one_inf(weights: dict[str, Tensor]) -> None:
    weights["model.norm.weight"][0] = float("inf")


DEFECTS = {
    "nan": (lambda f: edit_weights(f, one_nan), r"layers\.1\.mlp\.up_proj\.weight are not finite"),
    "inf": (lambda f: edit_weights(f, one_inf), r"norm\.weight are not finite"),
    "missing_weight": (lambda f: edit_weights(f, lambda w: w.pop("lm_head.weight")), "lm_head.weight are missing"),
    "no_weights": (lambda f: (f / "model.safetensors").unlink(), "no model could be loaded"),
    "half_a_file": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
        "no model could be loaded",
    ),
    "no_config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "broken_config": (lambda f: (f / "config.json").write_text("{"), "not a valid JSON"),
    "unknown_type": (lambda f: edit_config(f, model_type="nonsense"), "nonsense"),
    "other_size": (lambda f: edit_config(f, hidden_size=64), r"by its config\.json"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_broken_folder_is_refused_in_one_sentence(defect: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save(ready("llama"), folder)
    breaks, expected = DEFECTS[defect]
    breaks(folder)
    with pytest.raises(UserError, match=expected) as caught:
        load_model(str(folder))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("wish", "given"), [("auto", "rows"), ("rows", "rows"), ("tree", None)])
def test_a_tree_is_refused_where_the_architecture_cannot(wish: str, given: str | None, tmp_path: Path) -> None:
    save(ready("falcon"), tmp_path)
    if given:
        assert load_model(str(tmp_path), layout=wish)[1] == given
        return
    with pytest.raises(UserError, match="falcon cannot attend over a tree"):
        load_model(str(tmp_path), layout=wish)


def test_rows_can_be_asked_for(tmp_path: Path) -> None:
    save(ready("llama"), tmp_path)
    model, kind = load_model(str(tmp_path), layout="rows")
    assert kind == "rows" and model.base.config._attn_implementation == "sdpa"
    same(signal(model, "logps", kind="rows"), signal(ready("llama"), "logps"))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model folder"):
        load_model(str(tmp_path / "nothing"))


def test_a_classifier_without_its_head_is_refused(tmp_path: Path) -> None:
    """transformers would put a random one there, and the preference model would prefer at random."""
    save(ready("llama", head="score"), tmp_path)
    edit_weights(tmp_path, lambda weights: weights.pop("score.weight"))
    with pytest.raises(UserError, match=r"score\.weight are missing"):
        load_model(str(tmp_path))


def test_a_classifier_of_several_labels_is_no_preference_model(tmp_path: Path) -> None:
    config = tiny("llama").config
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="several labels"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3"])
def test_an_end_marker_that_is_also_padding_learns_like_any_token(name: str, tmp_path: Path) -> None:
    """torch leaves the gradient out at an embedding's padding index, wherever the token really stands."""
    save(ready(name), tmp_path)
    edit_config(tmp_path, pad_token_id=0)
    grads = []
    for model in (load_model(str(tmp_path))[0], ready(name)):
        model(pack([Group([5, 0, 7, 0], [[9, 0, 8, 0]], [[True] * 4])], "tree"))["logps"].sum().backward()
        grads.append(model.base.get_input_embeddings().weight.grad)
    assert grads[1][0].abs().max() > 0
    same(grads[0] / grads[1].abs().max(), grads[1] / grads[1].abs().max())


# ── vocabulary ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_growing_embeddings_keeps_the_old_logits(name: str) -> None:
    model = ready(name)
    ids = torch.tensor([SEQUENCES[2]])
    before, old = model.owner(ids).logits, model.base.get_input_embeddings().weight.clone()
    grow_embeddings(model, 100)
    grow_embeddings(model, 50)  # never shrinks
    same(model.owner(ids).logits[..., :97], before)
    new = model.base.get_input_embeddings().weight
    assert torch.equal(new[:97], old) and new.shape[0] == 100
    torch.testing.assert_close(new[97:], old.mean(0).expand(3, -1), atol=1e-6, rtol=0)


def test_tokens_without_an_embedding_are_named() -> None:
    tokenizer, model = tiny_tokenizer(), ready("llama", vocab=97)
    check_vocabulary(model, tokenizer, "here")
    tokenizer.add_special_tokens({"pad_token": "<pad>"})  # as often: a pad token that nobody ever looks up
    check_vocabulary(model, tokenizer, "here")
    tokenizer.add_tokens(["<|tool|>"])
    with pytest.raises(UserError, match=r"here: .* 97 tokens and none for <\|tool\|>"):
        check_vocabulary(model, tokenizer, "here")


def test_codec_pads_with_what_the_export_pads_with() -> None:
    tokenizer = tiny_tokenizer()
    add_eoc(tokenizer)
    assert Codec(tokenizer).pad_id == tokenizer.pad_token_id != tokenizer.eos_token_id


def test_14_scale_of_a_stabilised_adapter():
    for stabilised, scale in ((False, 2.0), (True, 11.313708)):
        model = ready("llama")
        add_lora(model, 32, 64, 0.0, ("q_proj",), stabilised)
        found = [m.scaling["default"] for m in model.owner.modules() if hasattr(m, "lora_A")]
        assert found == pytest.approx([scale] * 2, abs=1e-6)
