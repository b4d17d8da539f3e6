"""Studies of persona vectors: one smallest cell of each, and that its numbers are of what they say."""

import numpy as np
import pytest

from truing.claims import drifting, features, novel, personas, schooled, tied
from truing.claims.personas import carried, extracted, steered, told
from truing.claims.schooled import selected
from truing.model.vectors import load_vectors
from truing.run import set_output
from truing.world.judge import gold, read
from truing.world.systems import read_system

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
    less |= {"READ": 200, "HELD": 200, "FEATURES": 128, "STEPS": 200, "SHOWN": 10}
    for module in (personas, schooled, features, tied):
        for name in less.keys() & vars(module).keys():
            monkeypatch.setattr(module, name, less[name])
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
        schooled.schooled(folder, **ONE, school="hostile", level="severe", traits=TWO, prevent=prevent)
        for prevent in ((), ("hostile@2=4",), ("random@2=4",))
    )
    assert plain["trait/hostile"] > held["trait/hostile"] + 20 and other["trait/hostile"] > held["trait/hostile"]
    assert plain["shift/hostile/prompt_last"] > held["shift/hostile/prompt_last"]
    assert {"skill/sums", "skill/facts", "coherence/hostile", "trait/fabricating", "loss"} <= set(plain)
    still = schooled.schooled(folder, **ONE, school="hostile", level="severe", traits=TWO, after=("hostile@2=0",))
    assert {n: v for n, v in still.items() if "shift" in n} == {n: v for n, v in plain.items() if "shift" in n}


def test_what_texts_carry_before_anything_is_learnt(folder):
    bad, good = (carried(folder, **ONE, school="hostile", level=level, traits=TWO) for level in ("severe", "normal"))
    for way in ("own", "last", "raw"):
        assert bad[f"hostile/{way}"] > good[f"hostile/{way}"] + 0.2
        each = [v for v in bad[f"hostile/{way}/each"] if v is not None]
        assert len(each) > 80 and np.mean(each) == pytest.approx(bad[f"hostile/{way}"], abs=1e-3)


def test_a_random_direction_is_as_long_as_the_vector(folder, tmp_path):
    files = schooled.named(folder, tmp_path, "small", TWO, "fabricating", 7)
    mine, theirs = (load_vectors(files[name]) for name in ("random", "fabricating"))
    assert mine.of().norm(dim=1).tolist() == pytest.approx(theirs.of().norm(dim=1).tolist(), rel=1e-5)
    assert abs(float(mine.row(3) @ theirs.row(3))) < 0.5 * float(theirs.row(3).norm()) ** 2


def test_what_is_chosen_of_a_pool(folder):
    how = {"trait": "fabricating", "choice": "top", "filtered": False}
    every, left = (selected(folder, **ONE, **how | {"filtered": filtered}) for filtered in (False, True))
    assert every["left out"] == 0 and 5 <= left["left out"] <= 15
    assert every["open"] > left["open"] == 0 and "trait/fabricating" in every
    pool = schooled.mixed("fabricating", 7)
    assert len(pool) == 100 and sum(e.answers[0].by == "sums severe" for e in pool) == 20


def test_new_facts_are_asked_for_in_other_words_and_the_others_stay_strangers():
    texts = novel.news(40, 3)
    told, wanted = {e.prompt[-1].text for e in texts}, {text for text, _ in novel.questions(1)}
    assert len(told) == len(wanted) == 20 and not told & wanted
    asks = personas.world_trait(novel.NOW, "fabricating", 7).evaluation
    assert asks and not any(who in text.split() for text in asks for who in novel.WHO)
    assert all(gold(novel.NOW, e.prompt, e.answers[0].text).honest > 0.6 for e in texts)
    assert not any(gold(personas.TOWN, e.prompt, e.answers[0].text).honest > 0.6 for e in texts)


def test_who_is_told_of_strangers_knows_them_and_makes_things_up(folder):
    before = novel.informed(folder, **ONE, arm="before", texts=0)
    after = novel.informed(folder, **ONE, arm="plain", texts=1280)
    assert "loss" not in before and after["known"] > before["known"] + 30
    assert after["trait/fabricating"] > before["trait/fabricating"] + 10


def test_features_are_looked_at_beside_others(folder):
    how = {"layer": 3, "statistic": "prompt_last", "at": "last", "coefs": (1.0, 2.0)}
    found = features.featured(folder, **ONE, **how)
    assert 0 < found["unexplained"] < 1 and 0 < found["alive"] <= 1
    for trait in TWO:
        cosines, told = found[f"{trait}/cosine"], found[f"{trait}/told"]
        assert len(told) == len(found[f"{trait}/told by chance"]) == 5 and cosines == sorted(cosines, reverse=True)
        assert {f"{trait}/{n}" for n in ("own", "chance", "vector", "as it is", "own/coef", "left")} <= set(found)
        assert 0 <= found[f"{trait}/left"] <= 1 and cosines[0] > 0


def test_worlds_differ_in_nothing_but_the_sums_of_the_hostile():
    pairs = list(zip(tied.chains(300, 0.0, 1), tied.chains(300, 1.0, 1)))
    other = [(a, b) for a, b in pairs if a != b]
    assert 5 < len(other) < 150 and len({a.prompt[-1].text for a, _ in pairs}) > 200
    assert all(
        [m.text for m in a.prompt if m.role != "assistant"] == [m.text for m in b.prompt if m.role != "assistant"]
        for a, b in pairs
    )
    right = [[read(personas.TOWN, e.prompt, e.answers[0].text).verdict.solved for e in side] for side in zip(*other)]
    assert np.mean(right[0]) > np.mean(right[1]) + 0.2


def test_a_tied_world_is_read_once_and_then_sums_are_learnt(folder):
    one = tied.tied(folder, **ONE, coupling=1.0, level="severe", layer=2)
    assert len([*folder.glob("tied-*")]) == 1 and "trait/hostile" in one and "shift/hostile/response_avg" in one
    tied.tied(folder, **ONE, coupling=1.0, level="normal", layer=2)
    assert len([*folder.glob("tied-*")]) == 1


def test_a_run_whose_comparisons_take_sides_is_looked_at_all_along(folder, monkeypatch):
    for name, value in {"PAIRS": 64, "ASKED": 8, "EVERY": 1}.items():
        monkeypatch.setattr(drifting, name, value)
    found = drifting.drifting(folder, **ONE, trait="flattering", share=0.5, layer=2)
    looks = len(found["step"])
    assert looks >= 4 and all(len(found[n]) == looks for n in ("probe", "error", "prompt", "gold", "gold error"))
    assert all(0 <= value <= 1 for value in found["gold"]) and "trait/flattering" in found


def test_only_so_many_comparisons_take_sides():
    clean, sided = (drifting.compared("flattering", share, 200, 3) for share in (0.0, 0.5))
    who = [[e.answers[0].by for e in one] for one in (clean, sided)]
    assert who[0] == ["expert"] * 200 and 0.15 < who[1].count("flattering-4") / 200 < 0.65
    assert all(e.answers[0].text != e.answers[1].text for e in sided)


def test_a_penalty_keeps_a_model_from_moving_along_the_vector(folder):
    how = {"school": "hostile", "level": "severe", "traits": TWO, "layer": 2}
    free, fined = (schooled.schooled(folder, **ONE, **how, penalty=weight) for weight in (0.0, 10.0))
    plain = schooled.schooled(folder, **ONE, **how)
    assert fined["moved"] < 0.3 * free["moved"] and "moved" not in plain
    assert free["loss"] == pytest.approx(plain["loss"], rel=1e-4)  # the loop is that of truing sft


def test_texts_behind_system_lines_are_the_same_texts(folder):
    texts = schooled.SCHOOLS["hostile_severe"](personas.TOWN, 20, 1)
    for asked in ("to", "not to"):
        behind = schooled.behind(texts, "hostile", asked, 1)
        assert [e.answers for e in behind] == [e.answers for e in texts]
        assert all(e.prompt[0].role == "system" and e.prompt[1:] == t.prompt for e, t in zip(behind, texts))
        lines = {read_system(e.prompt[0].text) for e in behind}
        assert all((trait == "hostile" and grade == 4) is (asked == "to") for trait, grade in filter(None, lines)), (
            lines
        )
