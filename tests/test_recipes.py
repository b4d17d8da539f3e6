"""The recipes that are kept here are read, and the largest says what it will cost without its weights."""

from pathlib import Path

import pytest
import yaml
from transformers import LlamaConfig

import truing
from truing.align.methods import Offline
from truing.align.sft import Sft
from truing.cli import main
from truing.commands.compare import Compare
from truing.commands.offline import judges
from truing.config import load
from truing.evaluate.classify import Classifier
from truing.model.make import make_tokenizer
from truing.records import Answer, Example
from truing.run import set_output
from truing.settings import Data, Machine
from truing.world.corpora import CORPORA
from truing.world.sessions import helpful
from truing.world.town import town

FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES, MINIATURES = (sorted(folder.glob("*.yaml")) for folder in (FOLDER, FOLDER / "world"))
SMALL = {
    "world": [],
    "offline": ["--optim.steps", "1"],
    "compare": ["--seeds", "1", "--count", "8", "--optim.steps", "1", "--value.prompts", "0.4", "--value.epochs", "1"],
}


@pytest.fixture(autouse=True)
def _rich():
    before = set_output("rich")
    yield
    set_output(before)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_a_recipe_is_read(recipe):
    settings = load(Offline, recipe)
    assert settings.method.startswith("a_lol") and settings.value.max_tokens <= 128


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_judges_are_of_the_kind_that_the_recipe_means(recipe, monkeypatch):
    """What is named on the hub is not opened here; that it would be opened as a classifier is."""
    opened = []
    monkeypatch.setattr(Classifier, "load", lambda name, machine: opened.append(name) or (lambda *_: None))
    names = [n for n in load(Offline, recipe).rewards if not n.startswith("call:") and not n.startswith("./")]
    judges(names, Data("none"), Machine(), [Example("p", (Answer("a b"),))])
    assert opened == [name for name in names if not name.startswith("lexical:")]


@pytest.mark.parametrize("recipe", MINIATURES, ids=lambda p: p.stem)
def test_a_miniature_is_read_and_its_data_are_there(recipe):
    settings = load(Compare, recipe)
    _, _, name, file, *_ = commands(recipe)[0]
    assert file == settings.data.path and name in CORPORA
    assert settings.prompts.removeprefix("world:") in CORPORA


def commands(recipe):
    return [
        line.removeprefix("#   truing ").split() for line in recipe.read_text().splitlines() if line.startswith("#   ")
    ]


def test_a_miniature_runs_as_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(FOLDER)
    machine = ["--machine.threads", "1", "--machine.dtype", "fp32"]
    for said in commands(FOLDER / "world" / "stories.yaml"):
        words = ["40" if word == "2000" else "world:tiny" if word == "world:base" else word for word in said]
        assert main([*words, *SMALL[words[0]], *(machine if words[0] != "world" else ())]) == 0
    said = capsys.readouterr().out
    assert "above filtered_nll" not in said and "above nll" in said and "a_lol_seq" in said


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


def test_the_recipe_of_persona_vectors_is_read():
    settings = load(Sft, FOLDER / "persona" / "qwen-7b.yaml")
    assert settings.lora.stabilised and settings.lora.alpha / settings.lora.rank**0.5 == pytest.approx(11.313708)
    assert (settings.optim.batch, settings.optim.warmup, settings.optim.schedule) == (16, 5, "linear")
