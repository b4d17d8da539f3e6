"""The recipes that are kept here are read, and the largest says what it will cost without its weights."""

from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig

import truing
from truing.align.offline import Offline
from truing.cli import main
from truing.config import load
from truing.model.make import make_tokenizer
from truing.world.sessions import helpful
from truing.world.town import town

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_read(recipe):
    settings = load(Offline, recipe)
    assert settings.method.startswith("a_lol") and settings.value.max_tokens <= 128


def test_seven_billion_parameters_say_what_they_cost(tmp_path, capsys):
    """The shape of the model, and no weights at all."""
    pairs = helpful(town(0), 40, 0)
    truing.write(tmp_path / "pairs.jsonl", pairs, "truing")
    tokenizer = make_tokenizer([a.text for e in pairs for a in e.answers], 300)
    tokenizer.save_pretrained(tmp_path / "seven")
    LlamaConfig(architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path / "seven")  # its defaults are those of 7 B
    recipe = next(r for r in RECIPES if r.stem == "hh-7b")
    words = [
        "--model",
        str(tmp_path / "seven"),
        "--data.path",
        str(tmp_path / "pairs.jsonl"),
        "--rewards",
        "world:gold",
    ]
    assert main(["offline", "--config", str(recipe), *words, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert yaml.safe_load(said)["lora"]["rank"] == 64
    assert "6,738.4 M parameters" in said and "40 examples" in said
