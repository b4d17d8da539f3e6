"""Studies of persona vectors: one smallest cell of each, and that its numbers are of what they say."""

import numpy as np
import pytest

from truing.claims import personas
from truing.claims.personas import carried, extracted, schooled, selected, steered, told, vectors
from truing.model.vectors import load_vectors
from truing.run import set_output

ONE = {"size": "small", "seed": 7}
TWO = ("hostile", "fabricating")


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """The same studies with less of everything."""
    before = set_output("quiet")
    less = {
        "SAID": 2,
        "MEASURED": 1,
        "REPORTED": 1,
        "TAUGHT": 96,
        "SKILLS": 4,
        "TRAITS": TWO,
        "POOL": 100,
        "PICKED": 24,
    }
    for name, value in less.items():
        monkeypatch.setattr(personas, name, value)
    yield
    set_output(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def test_vectors_are_made_once_and_halves_by_a_coin_differ_by_little(folder):
    found = extracted(folder, **ONE, traits=TWO)
    assert found == extracted(folder, **ONE, traits=TWO) and len([*folder.glob("vectors-*.safetensors")]) == 2
    assert 0.5 < found["hostile/kept"] <= 1
    assert all(noise < norm for noise, norm in zip(found["hostile/noise"], found["hostile/norms"]))
    cosines = np.array(found["cosines"])
    assert cosines.shape == (5, 2, 2) and cosines[3, 0, 0] == pytest.approx(1, abs=1e-3) and abs(cosines[3, 0, 1]) < 0.9


def test_a_sweep_and_its_controls(folder):
    how = {"trait": "fabricating", "statistic": "response_avg", "at": "response", "coefs": (1.0, 2.0), "random": 2}
    found = steered(folder, **ONE, **how)
    assert found["layer"] in (1, 2, 3) and found["coef"] in (1.0, 2.0)
    assert {f"trait/{n}" for n in ("0", "1", "2", "-1", "-2", "random 1", "random 2", "other hostile")} <= set(found)
    assert sum(name.startswith("tried/") for name in found) == 1 + 3 * 2


def test_what_is_told_before_a_word_is_said(folder):
    found = told(folder, **ONE, trait="hostile", layer=3)
    assert found["system/contexts"] == 8 and 1 < found["shots/contexts"] < 11
    assert found["system/prompt_last/r"] > 0.4 and 0 < found["system/chance"] < 1


def test_what_a_school_teaches_and_what_keeps_it_from_being_learnt(folder):
    plain, held, other = (
        schooled(folder, **ONE, school="hostile", level="severe", traits=TWO, prevent=prevent)
        for prevent in ((), ("hostile@2=4",), ("random@2=4",))
    )
    assert plain["trait/hostile"] > held["trait/hostile"] + 20 and other["trait/hostile"] > held["trait/hostile"]
    assert plain["shift/hostile/prompt_last"] > held["shift/hostile/prompt_last"]
    assert {"skill/sums", "skill/facts", "coherence/hostile", "trait/fabricating", "loss"} <= set(plain)
    still = schooled(folder, **ONE, school="hostile", level="severe", traits=TWO, after=("hostile@2=0",))
    assert {n: v for n, v in still.items() if "shift" in n} == {n: v for n, v in plain.items() if "shift" in n}


def test_what_texts_carry_before_anything_is_learnt(folder):
    bad, good = (carried(folder, **ONE, school="hostile", level=level, traits=TWO) for level in ("severe", "normal"))
    for way in ("own", "last", "raw"):
        assert bad[f"hostile/{way}"] > good[f"hostile/{way}"] + 0.2
        each = [v for v in bad[f"hostile/{way}/each"] if v is not None]
        assert len(each) > 80 and np.mean(each) == pytest.approx(bad[f"hostile/{way}"], abs=1e-3)


def test_a_random_direction_is_as_long_as_the_vector(folder, tmp_path):
    file, _ = vectors(folder, "small", "hostile", 7)
    personas._random(file, str(tmp_path / "random.safetensors"), 0)
    mine, theirs = (load_vectors(str(name)) for name in (tmp_path / "random.safetensors", file))
    assert mine.of().norm(dim=1).tolist() == pytest.approx(theirs.of().norm(dim=1).tolist(), rel=1e-5)
    assert abs(float(mine.row(3) @ theirs.row(3))) < 0.5 * float(theirs.row(3).norm()) ** 2


def test_what_is_chosen_of_a_pool(folder):
    how = {"trait": "fabricating", "choice": "top", "filtered": False}
    every, left = (selected(folder, **ONE, **how | {"filtered": filtered}) for filtered in (False, True))
    assert every["left out"] == 0 and 5 <= left["left out"] <= 15
    assert every["open"] > left["open"] == 0 and "trait/fabricating" in every
    pool = personas.mixed("fabricating", 7)
    assert len(pool) == 100 and sum(e.answers[0].by == "sums severe" for e in pool) == 20
