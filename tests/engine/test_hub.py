"""Hub models, without a hub: a cache folder as the hub's own library writes it, and no network."""

import json
import os
import subprocess
import sys

import pytest
from tiny import tiny, tiny_tokenizer

COMMITS = ("1" * 40, "2" * 40)
ASK = """
import json, sys
from truing.engine.open import model_fingerprint
from truing.engine import open_engine
from truing.records import Sampling
from truing.settings import Machine
from truing.spec import ModelSpec
spec = sys.argv[1]
engine = open_engine(spec, Machine(dtype="fp32", threads=1))
text = engine.sample(["abc"], Sampling(max_tokens=8))[0].answers[0].text
print(json.dumps([model_fingerprint(ModelSpec.parse(spec)), text]))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Two commits of org/tiny; `main` is at the second."""
    home = tmp_path_factory.mktemp("hub")
    repo = home / "models--org--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMITS[1])
    for seed, commit in enumerate(COMMITS):
        folder = repo / "snapshots" / commit
        tokenizer = tiny_tokenizer()
        tiny("llama", len(tokenizer), seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return home


def ask(cache, spec):
    done = subprocess.run(
        [sys.executable, "-c", ASK, spec],
        env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_hub_model_is_named_by_its_commit(cache):
    newest, pinned, old = (
        ask(cache, spec) for spec in ("org/tiny", f"org/tiny@{COMMITS[1]}", f"org/tiny@{COMMITS[0]}")
    )
    assert newest == pinned
    assert newest[0] != old[0]
    assert newest[1] != old[1]
