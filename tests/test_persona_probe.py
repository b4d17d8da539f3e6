"""Traits as probes: numbers at every look, in class gaps."""

import numpy as np
import pytest
import torch

from truing import api
from truing.data import write
from truing.engine.open import open_local
from truing.model.vectors import LAST, RESPONSE, Vectors, family, save_vectors
from truing.persona.project import Direction, projections
from truing.records import Answer, Example, UserError
from truing.settings import Machine
from truing.watch.personas import Personas, files
from truing.world.corpora import answered, prompts
from truing.world.town import town

TOWN = town(0)
MACHINE = Machine(dtype="fp32", threads=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("traits")
    engine = open_local("world:tiny", MACHINE)
    for seed, name in enumerate(("odd", "even")):
        rows = torch.randn(5, 48, generator=torch.Generator().manual_seed(seed))
        vectors = Vectors(
            name, {RESPONSE: rows, LAST: rows}, family(engine.model.owner), meta={"layer": 3} if seed else {}
        )
        save_vectors(vectors, folder / f"{name}.safetensors")
    write(folder / "texts.jsonl", answered(TOWN, 64, 0, 1), "truing")
    return folder


def test_a_unit_is_the_distance_from_answers_without_the_trait_to_those_with_it(folder):
    engine = open_local("world:tiny", MACHINE)
    drawn = [
        Example(e.prompt, (Answer(text),)) for e, text in zip(prompts(TOWN, 40, 0), ("i do not know.", "", "yes."))
    ]
    probe = Personas([f"persona:{folder}/odd.safetensors@2"], engine)
    found = probe(drawn)
    (direction,) = probe.directions
    raw = np.concatenate([one.answers[:, 0] for one in projections(engine, drawn, [direction])])
    said = raw[~np.isnan(raw)] / float(direction.vector.norm())
    assert len(said) == 2 and found["persona/odd"] == pytest.approx(said.mean())
    assert found["persona/odd/error"] == pytest.approx(abs(said[0] - said[1]) / 2)
    double = Direction("odd", 2, 2 * direction.vector)
    probe.directions[:] = [double]
    assert probe(drawn)["persona/odd"] == pytest.approx(found["persona/odd"] / 2)


def test_a_pattern_names_several_and_layers_are_found(folder):
    both = Personas([f"persona:{folder}/*.safetensors"], open_local("world:tiny", MACHINE))
    assert [(one.name, one.layer) for one in both.directions] == [("even", 2), ("odd", 2)]
    assert files(f"persona:{folder}/odd.safetensors@4") == [(f"{folder}/odd.safetensors", 4)]


def test_any_run_carries_them_and_its_log_tells_them(folder):
    watch = {"every": 1, "count": 4, "max_tokens": 12, "probes": ["kl", f"persona:{folder}/*.safetensors@2"]}
    run = api.sft(
        model="world:tiny",
        data={"path": str(folder / "texts.jsonl"), "max_tokens": 192},
        optim={"lr": 1e-3, "batch": 8, "steps": 2},
        machine={"dtype": "fp32", "threads": 1},
        run={"folder": str(folder / "runs")},
        watch=watch,
    )
    for name in ("odd", "even", "odd/prompt", "odd/error"):
        assert len(run.view().series(f"watch/persona/{name}")) == 2


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ("persona:none.safetensors@1", "persona:none.safetensors@1: there is no such file of vectors"),
        ("personas", "there is no probe 'personas'"),
    ],
)
def test_a_probe_that_means_nothing_is_refused_at_once(folder, probe, said):
    with pytest.raises(UserError, match=said):
        api.sft(model="world:tiny", data={"path": str(folder / "texts.jsonl")}, watch={"every": 1, "probes": [probe]})


def test_two_vectors_of_one_name_are_refused(folder):
    engine = open_local("world:tiny", MACHINE)
    with pytest.raises(UserError, match="two vectors are of odd"):
        Personas([f"persona:{folder}/odd.safetensors@1", f"persona:{folder}/odd.safetensors@2"], engine)
