"""Every offline method on a small model of another architecture: it runs, goes on after an interruption to the same
weights, and has its line in one comparison."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny, tiny_tokenizer

import truing
from truing.align.methods import METHODS
from truing.cli import main
from truing.data import write
from truing.run import set_output
from truing.run.run import Run
from truing.world.sessions import helpful
from truing.world.town import town

CHAT = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
SETTINGS = {
    "rewards": ("lexical:tfidf", "lexical:distinct*0.5"),
    "answers": "all",
    "value": {"prompts": 0.5, "epochs": 2, "samples": 2, "max_tokens": 8},
    "optim": {"lr": 1e-3, "batch": 4, "steps": 5},
    "machine": {"dtype": "fp32", "threads": 1},
}


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    folder, tokenizer = tmp_path_factory.mktemp("qwen"), tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder)
    tiny("qwen3").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def pairs():
    return helpful(town(0), 40, 0)


@pytest.fixture(autouse=True)
def _quiet():
    before = set_output("quiet")
    yield
    set_output(before)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_run_ends_with_the_weights_of_one_that_was_not(method, qwen, pairs, tmp_path, monkeypatch):
    def trained(name):
        run = {"folder": str(tmp_path), "name": name, "save_every": 2}
        return truing.offline(str(qwen), pairs, method=method, cache=str(tmp_path / "cache"), run=run, **SETTINGS)

    whole, log = trained("whole"), Run.log

    def interrupted(self, step, *metrics):
        if step == 4:
            raise KeyboardInterrupt
        log(self, step, *metrics)

    monkeypatch.setattr(Run, "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained("parted")
    monkeypatch.setattr(Run, "log", log)
    parted = trained("parted")
    assert [e["step"] for e in parted.view().events if e["event"] == "resumed"] == [2]
    weights = [load_file(run.folder / "model" / "model.safetensors") for run in (whole, parted)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert whole.view().series("loss") == parted.view().series("loss")
    told = [
        [e["phases"]["training"]["F"] for e in run.view().events if e["event"] == "ledger"] for run in (whole, parted)
    ]
    assert told[0] == told[1] and len(told[0]) == 1 and told[0][0] > 0  # of both processes, nothing twice


def test_all_of_them_stand_in_one_table(qwen, pairs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("pairs.jsonl", pairs, "truing")
    words = f"compare --model {qwen} --data.path pairs.jsonl --rewards world:gold --prompts pairs.jsonl --seeds 2"
    words += " --answers all --optim.steps 2 --optim.batch 4 --sampling.max_tokens 8 --machine.threads 1 --json"
    words += " --value.prompts 0.5 --value.epochs 1 --value.max_tokens 8 --machine.dtype fp32"
    assert main([*words.split(), "--arms", *METHODS]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) >= {"start", *METHODS} and all(len(found[method]) == 2 for method in METHODS)
    assert {one["updates"] for method in METHODS for one in found[method]} == {2}
    Path("same.py").write_text("def same(prompts, completions, **columns):\n    return [0.0] * len(completions)\n")
    worthless = ["--rewards", "call:same.py:same", "--run.name", "other", "--arms", "nll", "a_lol"]
    assert main([*words.replace("--rewards world:gold", "").split(), *worthless]) == 2
    assert "a_lol, seed 0: nothing is left to learn from" in capsys.readouterr().err
