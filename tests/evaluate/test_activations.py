"""Activations of prompts are those that transformers itself gives for each prompt alone."""

import numpy as np
import pytest
import torch
from tiny import tiny, tiny_tokenizer

from truing.engine import open_engine
from truing.engine.scripted import scripted
from truing.evaluate.activations import activations, readable
from truing.records import Message, UserError
from truing.settings import Machine

ASKED = ["hi", "a longer question, with commas", "x" * 90, "and a last one ?"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "falcon"])  # with positions, windows, and as rows
def test_every_layer_at_the_last_token_and_on_average(tmp_path, name):
    tiny(name).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    engine = open_engine(str(tmp_path), Machine("fp32", 1))
    prompts = [(Message("user", text),) for text in ASKED]
    found = activations(engine, prompts)
    for i, prompt in enumerate(prompts):
        ids = torch.tensor([engine.codec.prompt_ids(prompt)])
        with torch.no_grad():
            own = torch.stack(tiny(name)(ids, output_hidden_states=True).hidden_states)[:, 0].numpy()
        assert found["last"][i] == pytest.approx(own[:, -1], abs=1e-4)
        assert found["mean"][i] == pytest.approx(own.mean(1), abs=1e-4)
    assert readable(engine, [*prompts, "x" * 600, (Message("user", "x" * 600),), "y"]) == [True] * 5 + [False] * 2
    one = activations(engine, prompts, layer=1)["mean"]
    assert np.array_equal(one, found["mean"][:, 1:2])


def test_only_weights_have_activations():
    with pytest.raises(UserError, match="local weights"):
        activations(scripted("echo"), ["hello"])
