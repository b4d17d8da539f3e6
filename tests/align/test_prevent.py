"""Vectors that are added while a model learns, and are gone from what is left."""

import pytest
import torch

from truing import api
from truing.data import write
from truing.engine import open_engine
from truing.engine.open import open_local
from truing.model.hooks import Edit
from truing.model.vectors import RESPONSE, Vectors, family, save_vectors
from truing.objectives import NLL
from truing.records import Sampling, UserError
from truing.settings import Machine
from truing.world.corpora import answered, prompts
from truing.world.crowd import Crowd, Worker
from truing.world.town import town

TOWN = town(0)
COMMON = {
    "model": "world:tiny",
    "machine": {"dtype": "fp32", "threads": 1},
    "optim": {"lr": 1e-3, "batch": 8, "steps": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prevent")
    engine = open_local("world:tiny", Machine(dtype="fp32", threads=1))
    rows = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    save_vectors(Vectors("odd", {RESPONSE: rows}, family(engine.model.owner)), folder / "odd.safetensors")
    write(folder / "texts.jsonl", answered(TOWN, 64, 0, 1), "truing")
    crowd = Crowd((Worker("careful", scale=8),))
    write(folder / "pairs.jsonl", crowd.compare(TOWN, answered(TOWN, 64, 0, 2), "overall"), "truing")
    write(folder / "prompts.jsonl", prompts(TOWN, 32, 0), "truing")
    return folder


def settings(folder, data, *, prevent="odd.safetensors@2=1.5", **more):
    run = {"folder": str(folder / "runs"), "save_every": 0}
    chosen = {"prevent": [str(folder / prevent)] if prevent else []}
    return {**COMMON, "data": {"path": str(folder / data), "max_tokens": 192}, "run": run, **chosen, **more}


def test_the_first_loss_is_that_of_the_steered_model_and_what_is_left_is_not_steered(folder):
    still = {**COMMON["optim"], "lr": 0.0}
    run = api.sft(**settings(folder, "texts.jsonl", optim=still, watch={"every": 1, "count": 4}))
    plain = api.sft(**settings(folder, "texts.jsonl", prevent="", optim=still))
    first = run.view().series("loss")[0][1]
    assert first > plain.view().series("loss")[0][1] + 0.05
    assert run.view().series("watch/kl") and all(abs(kl) < 1e-5 for _, kl in run.view().series("watch/kl"))
    asked = [e.prompt for e in prompts(TOWN, 8, 1)]
    sampling = Sampling(max_tokens=12, seed=0)
    machine = Machine(dtype="fp32", threads=1)
    said, before = (open_engine(name, machine).sample(asked, sampling) for name in (run.model, "world:tiny"))
    assert [e.answers[0].text for e in said] == [e.answers[0].text for e in before]
    told = [event["message"] for event in run.view().events if event["event"] == "prevent"]
    assert len(told) == 1 and "hooked and proven: layer 2 = what block 1 hands on" in told[0]


@pytest.mark.parametrize("method", ["dpo", "a_lol", "kto"])
def test_what_a_policy_is_held_to_is_held_there_too(folder, method):
    """ln 2, ratio 1 and KL 0 at the first step are asserted by the procedure itself."""
    rewards = {"rewards": ["world:gold"]} if method == "a_lol" else {}
    done = api.offline(**settings(folder, "pairs.jsonl", method=method, **rewards))
    assert done.finished


def test_answers_are_drawn_and_learnt_from_under_the_same_vector(folder):
    """The first gap between sampler and learner is asserted by the procedure itself."""
    how = {"rewards": ["world:gold"], "critic": {"start": "policy", "pretrain": 1}, "iterations": 2, "rollouts": 8}
    how |= {"sampling": {"max_tokens": 12}, "optim": {"lr": 1e-4, "batch": 8}}
    run = api.ppo(**settings(folder, "prompts.jsonl", **how))
    assert run.finished and abs(run.view().series("kl")[0][1]) < 1e-4


def test_runs_with_other_vectors_are_other_runs(folder):
    names = {
        api.sft(**settings(folder, "texts.jsonl", prevent=prevent)).folder.name
        for prevent in ("", "odd.safetensors@2=1.5", "odd.safetensors@2=-1.5", "odd.safetensors@1=1.5")
    }
    assert len(names) == 4


@pytest.mark.parametrize(
    ("prevent", "said"),
    [
        ("none.safetensors@1=1", "there is no such file of vectors"),
        ("odd.safetensors@7=1", "layer 7 is not among 1 to 4"),
    ],
)
def test_what_cannot_be_added_is_refused_before_anything_is_learnt(folder, prevent, said):
    with pytest.raises(UserError, match=said):
        api.sft(**settings(folder, "texts.jsonl", prevent=prevent))


def test_gradients_flow_through_what_is_added():
    engine = open_local("world:tiny", Machine(dtype="fp32", threads=1))
    groups, _ = engine.encode(answered(TOWN, 4, 3, 1))
    work = engine.work(groups, (NLL, 1.0))
    vector = torch.randn(48, generator=torch.Generator().manual_seed(0))
    with engine.model.steered([[Edit(2, vector, 0.5, at="all")]]):
        engine.forward_backward(work)
    first = engine.model.base.get_input_embeddings().weight.grad
    assert first is not None and first.abs().sum() > 0


def test_a_model_that_is_steered_already_is_refused_before_anything_is_asked(folder):
    named = f"world:tiny+vec:{folder}/odd.safetensors@2=1"
    for prevent in ("", "odd.safetensors@2=1.5"):
        with pytest.raises(UserError, match=r"Train the model without \+vec:"):
            api.sft(**settings(folder, "texts.jsonl", prevent=prevent) | {"model": named})
