"""Persona vectors as files, and models that are steered with them by their name."""

from pathlib import Path

import pytest
import torch

import truing
from truing.engine import open_engine
from truing.engine.open import model_fingerprint, open_local
from truing.model.hooks import Edit
from truing.model.vectors import LAST, RESPONSE, Vectors, edits, family, increments, load_vectors, save_vectors
from truing.records import Answer, Example, Sampling, UserError
from truing.settings import Machine, Optim
from truing.spec import ModelSpec, Vector

MACHINE = Machine(dtype="fp32", threads=1)
ASKED = [(truing.Message("user", "what does bo work as ?"),), (truing.Message("user", "add 2 and 3 ."),)]


@pytest.fixture(scope="module")
def engine():
    return open_local("world:tiny", MACHINE)


@pytest.fixture(scope="module")
def file(engine, tmp_path_factory):
    rows = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    path = tmp_path_factory.mktemp("vectors") / "odd.safetensors"
    save_vectors(Vectors("odd", {RESPONSE: rows, LAST: -rows}, family(engine.model.owner), meta={"seed": 0}), path)
    return str(path)


def test_a_file_of_vectors_is_read_back_as_it_was(file):
    found = load_vectors(file)
    assert found.trait == "odd" and found.layers == 4 and found.meta == {"seed": 0}
    assert torch.equal(found.row(3), -found.row(3, LAST)) and found.family["width"] == 48


def test_a_model_that_is_named_with_a_vector_is_steered(engine, file):
    sampling = Sampling(max_tokens=8, seed=1)
    named = open_engine(f"world:tiny+vec:{file}@2=3", MACHINE)
    said = [e.answers[0].text for e in named.sample(ASKED, sampling)]
    plain = [e.answers[0].text for e in engine.sample(ASKED, sampling)]
    with engine.model.steered([[Edit(2, load_vectors(file).row(2), 3.0)]]):
        assert [e.answers[0].text for e in engine.sample(ASKED, sampling)] == said != plain
    twice = open_engine(f"world:tiny+vec:{file}@2=1+vec:{file}@2=2", MACHINE)
    assert [e.answers[0].text for e in twice.sample(ASKED, sampling)] == said
    given = [Example(prompt, (Answer("bo is a baker ."),)) for prompt in ASKED]
    assert named.score(given)[0][0].logp != engine.score(given)[0][0].logp


def test_other_places_ways_and_bands_are_named_behind_it(engine, file):
    vectors = load_vectors(file)

    def named(text):
        return edits(Vector.parse(f"{file}{text}"), engine.model.owner)

    assert [(e.at, e.how, e.coef) for e in named("@2=3")] == [("response", "add", 3.0)]
    assert [(e.at, e.how) for e in named("@2=0,all,ablate")] == [("all", "ablate")]
    assert torch.equal(named("#prompt_last@2=1,last")[0].vector, vectors.row(2, LAST))
    assert [(e.at, e.first) for e in named("@2=1,first8")] == [("response", 8)]
    band = named("@1-4=0.5")
    assert [e.layer for e in band] == [1, 2, 3, 4]
    torch.testing.assert_close(vectors.of()[0] + sum(e.vector for e in band), vectors.row(4))
    assert [e.how for e in named("@1-2=0,ablate")] == ["ablate"] * 2
    assert torch.equal(named("@1-2=0,ablate")[1].vector, vectors.row(2))
    for text, said in (("@2=1,nowhere", "'nowhere' is no place"), ("@3-2=1", "a band of layers is FIRST-LAST")):
        with pytest.raises(UserError, match=said):
            named(text)


def test_12_increments_add_up_to_the_vectors():
    rows = torch.tensor([[1.0, 0], [1, 2], [3, 2], [2, 5]])
    steps = increments(Vectors("x", {RESPONSE: rows}), [1, 2, 3])
    assert [u.tolist() for u in steps] == [[0, 2], [2, 0], [-1, 3]]
    assert (rows[0] + torch.stack(steps).cumsum(0)).tolist() == rows[1:].tolist() and sum(steps).tolist() == [1, 5]


def test_what_steers_is_part_of_the_fingerprint(file, tmp_path):
    specs = ["world:tiny", f"world:tiny+vec:{file}@2=3", f"world:tiny+vec:{file}@2=-3", f"world:tiny+vec:{file}@1=3"]
    assert len({model_fingerprint(ModelSpec.parse(spec)) for spec in specs}) == 4
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(Path(file).read_bytes())
    same = [model_fingerprint(ModelSpec.parse(f"world:tiny+vec:{name}@2=3")) for name in (file, copy)]
    assert same[0] == same[1]


def test_a_steered_model_is_not_trained(file):
    steered = open_local(f"world:tiny+vec:{file}@2=3", MACHINE)
    with pytest.raises(UserError, match=r"saved without it\. Train the model without \+vec"):
        steered.prepare(Optim(), 3)


def test_tensors_of_the_authors_are_read_and_their_last_row_is_not_steered_with(tmp_path):
    torch.save(torch.randn(5, 48), tmp_path / "evil_prompt_avg_diff.pt")
    found = load_vectors(str(tmp_path / "evil_prompt_avg_diff.pt"))
    assert found.trait == "evil" and list(found.rows) == ["prompt_avg"]
    assert found.row(3, "prompt_avg").shape == (48,)
    with pytest.raises(UserError, match="row 4 was read behind the final norm"):
        found.row(4, "prompt_avg")


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    torch.save(Vectors("x", {RESPONSE: torch.zeros(2, 3)}), tmp_path / "evil.pt")
    with pytest.raises(UserError, match="no tensor could be read from it"):
        load_vectors(str(tmp_path / "evil.pt"))


def test_vectors_of_another_model_are_refused(file):
    with pytest.raises(UserError, match=r"made for a model with width 48, and this one has width 80: extract its own"):
        open_local(f"world:small+vec:{file}@2=3", MACHINE)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{file}@9=1", "layer 9 is not among 1 to 4"),
        ("{file}@0=1", "layer 0 is not among 1 to 4"),
        ("no/where.safetensors@1=1", "there is no such file of vectors"),
    ],
)
def test_a_vector_that_cannot_be_used_is_named(file, spec, said):
    with pytest.raises(UserError, match=said):
        open_local(f"world:tiny+vec:{spec.format(file=file)}", MACHINE)


def test_a_file_of_other_tensors_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2, 3)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="these are no persona vectors"):
        load_vectors(str(tmp_path / "model.safetensors"))
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UserError, match="these are no persona vectors"):
        load_vectors(str(tmp_path / "text.safetensors"))
