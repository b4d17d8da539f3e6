"""`truing doctor --hooks`: architectures prove themselves, or say why not."""

import json

import pytest

from truing.cli import main
from truing.model.selftest import ARCHITECTURES, hooks


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
