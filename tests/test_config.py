"""Recipes: what is accepted, what is refused and in which words, and what the hash sees."""

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from truing.config import dump, load, observation, recipe_hash
from truing.records import UserError
from truing.settings import Data, Lora, Machine, Optim, RunSettings


@dataclass(frozen=True)
class Step:
    at: int
    value: float = 1.0


@dataclass(frozen=True)
class Toy:
    """A recipe with one of everything."""

    model: str
    data: Data
    optim: Optim = field(default_factory=lambda: Optim(lr=3e-4, batch=8))
    machine: Machine = field(default_factory=Machine)
    run: RunSettings = field(default_factory=RunSettings)
    lora: Lora | None = None
    method: Literal["nll", "dpo"] = "nll"
    margins: tuple[float, ...] = ()
    plan: tuple[Step, ...] = ()
    tags: list[str] | None = None
    loud: bool = observation(False)


NEEDED = {"model": "./m", "data": {"path": "d.jsonl"}}


def error(values, **more) -> str:
    with pytest.raises(UserError) as caught:
        load(Toy, {**NEEDED, **values}, **more)
    return str(caught.value)


def test_defaults_and_types_come_out_as_declared():
    toy = load(
        Toy,
        {
            "model": "1e-4",
            "data": {"path": ["a", "b"], "weights": [1, "2e-1"]},
            "optim": {"lr": "1e-4", "steps": "1e3", "clip": 2, "betas": [0.9, 0.95]},
            "machine": {"threads": 4},
            "margins": [1, 2.5],
            "plan": [{"at": 3}, {"at": 4, "value": "5e-1"}],
            "lora": {"rank": 8},
        },
    )
    assert toy.model == "1e-4"  # text stays text, whatever it looks like
    assert toy.data == Data(path=("a", "b"), weights=(1.0, 0.2))
    assert toy.optim == Optim(lr=1e-4, batch=8, steps=1000, clip=2.0, betas=(0.9, 0.95))
    assert isinstance(toy.optim.clip, float) and isinstance(toy.optim.steps, int)
    assert toy.machine.threads == 4 and toy.lora == Lora(rank=8)
    assert toy.margins == (1.0, 2.5) and toy.plan == (Step(3), Step(4, 0.5))


def test_a_key_of_a_section_leaves_the_other_keys_as_the_verb_declares_them():
    assert load(Toy, {**NEEDED, "optim": {"steps": 5}}).optim == Optim(lr=3e-4, batch=8, steps=5)
    assert load(Toy, {**NEEDED, "optim": None}).optim == Optim(lr=3e-4, batch=8)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"optim": {"lrr": 1}}, "optim.lrr is not a known key; did you mean optim.lr?"),
        ({"batch": 4}, "batch is not a known key; did you mean optim.batch?"),
        ({"optim": {"rank": 4}}, "optim.rank is not a known key; did you mean lora.rank?"),
        ({"optin": {"lr": 1}}, "optin is not a known key; did you mean optim?"),
        ({"qqq": 1}, "qqq is not a known key."),
        ({"plan": [{"at": 1, "valu": 2}]}, "plan.valu is not a known key; did you mean plan.value?"),
        ({"optim": {"lr": "fast"}}, "optim.lr must be a number, not 'fast'."),
        ({"optim": {"lr": True}}, "optim.lr must be a number, not True."),
        ({"optim": {"lr": float("nan")}}, "optim.lr must be a number, not nan."),
        ({"optim": {"batch": 2.5}}, "optim.batch must be a whole number, not 2.5."),
        ({"optim": {"batch": None}}, "optim.batch must be a whole number, not empty."),
        ({"optim": {"steps": "inf"}}, "optim.steps must be a whole number or none, not 'inf'."),
        ({"optim": {"betas": [0.9]}}, "optim.betas must be a list of 2 (a number each), not the list [0.9]."),
        ({"optim": 3}, "optim must be a section of keys and values, not 3."),
        ({"machine": {"threads": "many"}}, "machine.threads must be a whole number or 'auto', not 'many'."),
        ({"machine": {"compile": 1}}, "machine.compile must be true or false, not 1."),
        ({"method": "ppo"}, "method must be 'nll' or 'dpo', not 'ppo'."),
        ({"model": 3}, "model must be text, not 3."),
        ({"data": {"path": "a", "limit": [1]}}, "data.limit must be a whole number or none, not the list [1]."),
        ({"data": {}}, "data.path is missing: text or a list (text each) is needed."),
        ({"optim": {"batch": 0}}, "optim.batch must be at least 1, not 0."),
        ({"data": {"path": ["a", "b"], "weights": [1]}}, "data.weights must be one number per path: 2, not 1."),
    ],
)
def test_a_mistake_is_named_with_its_key_and_what_was_expected(values, sentence):
    assert error(values) == sentence


def test_a_mistake_in_a_file_is_named_with_its_line(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("model: ./m\ndata:\n  path: d\noptim:\n  steps: 3\n  lr: quick\n")
    with pytest.raises(UserError, match=r"r\.yaml line 6: optim\.lr must be a number, not 'quick'\.$"):
        load(Toy, file)
    file.write_text("model: ./m\ndata:\n  limit: 3\n")
    with pytest.raises(UserError, match=r"r\.yaml line 2: data\.path is missing"):
        load(Toy, file)
    file.write_text("optim: {}\n")
    with pytest.raises(UserError, match=r"r\.yaml: model is missing"):
        load(Toy, file)


def test_a_mistake_on_the_command_line_is_not_blamed_on_the_file(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("model: ./m\ndata: {path: d}\noptim: {lr: 1.0, steps: 3}\n")
    toy = load(Toy, file, {"optim": {"lr": "2e-5"}})
    assert toy.optim == Optim(lr=2e-5, batch=8, steps=3)
    with pytest.raises(UserError, match=r"^--optim\.lr must be a number, not 'x'\.$"):
        load(Toy, file, {"optim": {"lr": "x"}})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"model: ./m\noptim: {lr: 1\ndata: 3\n", r"line 3: not valid YAML"),
        (b"model: a\nmodel: b\n", r"line 2: not valid YAML: 'model' is given twice"),
        (b"- a\n- b\n", r"a recipe holds keys and values, not the list"),
        (b"model: \xff\n", r"not a text file in UTF-8 \(byte 7\)"),
        (b"model: \x00\n", r"not valid YAML"),
        (b"model: !!python/object:os.system {}\n", r"line 1: not valid YAML"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, sentence):
    (tmp_path / "r.yaml").write_bytes(text)
    with pytest.raises(UserError, match=sentence):
        load(Toy, tmp_path / "r.yaml")


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match="no such recipe file"):
        load(Toy, tmp_path / "none.yaml")
    with pytest.raises(UserError, match="this is a folder"):
        load(Toy, tmp_path)


def test_what_is_dumped_is_loaded_as_the_same(tmp_path):
    toy = Toy(
        model="no",  # YAML would read it as false
        data=Data(path=("a: b", "ü"), weights=(1e-30, 2.0)),
        optim=Optim(lr=1e-5, eps=1e-08, steps=None),
        lora=Lora(rank=4, targets=("q_proj",)),
        plan=(Step(1), Step(2, 0.1)),
        tags=["1e-4", "null", ""],
    )
    (tmp_path / "r.yaml").write_text(dump(toy))
    assert load(Toy, tmp_path / "r.yaml") == toy
    assert load(Toy, tmp_path / "r.yaml", {"lora": None}).lora is None


def test_the_hash_sees_what_is_learnt_and_not_how_it_is_watched():
    toy = load(Toy, NEEDED)
    same = replace(toy, loud=True, run=RunSettings(name="x", log_every=7), machine=Machine(dtype="bf16", threads=1))
    assert recipe_hash(same) == recipe_hash(toy)
    for other in (
        replace(toy, optim=replace(toy.optim, lr=1e-3)),
        replace(toy, run=RunSettings(seed=1)),
        replace(toy, plan=(Step(1),)),
        replace(toy, lora=Lora()),
    ):
        assert recipe_hash(other) != recipe_hash(toy)
    assert recipe_hash(toy, {"data": "a"}) != recipe_hash(toy, {"data": "b"})
    assert recipe_hash(load(Toy, {**NEEDED, "tags": ["a"]})) == recipe_hash(replace(toy, tags=["a"]))
