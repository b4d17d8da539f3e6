"""The shipped checkpoints pass the gates, and are what the seed gives."""

import json
from pathlib import Path

import pytest

import truing.world
from truing.engine import open_engine
from truing.settings import Machine
from truing.world.build import CARD, SIZES, corpus_hash, weights_hash
from truing.world.gates import of_model, of_world
from truing.world.town import town

CHECKPOINTS = Path(truing.world.__path__[0]) / "checkpoints"


def failed(gates):
    return [(gate.name, gate.value, gate.bound) for gate in gates if not gate.passed]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_the_world_is_fit(seed):
    assert failed(of_world(town(seed), seed)) == []


@pytest.mark.slow
def test_the_base_model_is_fit():
    assert failed(of_model(town(0), open_engine("world:base", Machine(dtype="fp32")), 0)) == []


@pytest.mark.parametrize("size", sorted(folder.name for folder in CHECKPOINTS.iterdir()))
def test_shipped_checkpoints_are_those_of_the_seed(size):
    folder = CHECKPOINTS / size
    card = json.loads((folder / CARD).read_text())
    assert card["corpus"] == corpus_hash(card["seed"], card["coupling"])
    assert card["weights"] == weights_hash(folder)
    assert (card["size"], card["steps"]) == (size, SIZES[size].steps)


def test_the_checkpoints_fit_into_the_package():
    assert sum(file.stat().st_size for file in CHECKPOINTS.rglob("*") if file.is_file()) < 12e6
