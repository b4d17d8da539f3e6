"""`truing doctor --hooks`: architectures prove themselves, or say why not."""

import json

import pytest
import torch
from tiny import tiny

from truing.batch import Group
from truing.cli import main
from truing.model.attention import NAME
from truing.model.hooks import Edit
from truing.model.lm import LanguageModel, compile_layers
from truing.model.pack import pack
from truing.model.selftest import ARCHITECTURES, hooks
from truing.model.states import means


def test_every_architecture_is_proven_or_refused_with_a_reason():
    found = {one.name: one for one in hooks(compiled=False)}
    assert set(found) == {*ARCHITECTURES, "llama with LoRA", "llava (images and text)"}
    refused = {name for name, one in found.items() if not one.proven}
    assert refused == {"mamba"}, {name: found[name].said for name in refused}
    assert found["mamba"].said == "MambaForCausalLM: what its blocks hand on is not what its hidden states are."


@pytest.mark.slow
def test_the_doctor_tells_them_and_compiled_blocks_are_steered_too(capsys):
    assert main(["doctor", "--hooks", "--json"]) == 0
    (line,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert line["llama, compiled"]["proven"] and line["gemma2"]["proven"] and not line["mamba"]["proven"]


@pytest.mark.slow
def test_a_model_that_was_compiled_before_is_steered_and_read_like_one_that_was_not():
    batch = pack([Group([5, 6, 7], [[8, 9], [10]], [[True, True], [True]])], "tree")
    edits = [Edit(1, torch.randn(48, generator=torch.Generator().manual_seed(0)))]
    found = []
    for compiled in (False, True):
        owner = tiny("llama")
        owner.set_attn_implementation(NAME)
        model = LanguageModel(owner)
        if compiled:
            compile_layers(model)
        plain = model(batch).logps
        with model.steered([edits]):
            found.append((plain, model(batch).logps, means(model, batch)["response_avg"], model(batch).logps))
        assert (found[-1][0] - found[-1][1]).abs().max() > 0.05
    for eager, other in zip(*found):
        torch.testing.assert_close(eager, other, atol=1e-4, rtol=1e-4)
