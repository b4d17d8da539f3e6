"""Prompts that a model is not meant for: nothing that is reported was chosen by what it is reported on."""

import json
from zlib import crc32

import numpy as np
import pytest

from truing.data.split import split
from truing.engine import open_engine
from truing.evaluate import detector, ood
from truing.evaluate.detector import REFUSAL, Detector, Guarded
from truing.evaluate.ood import INSIDE, OUTSIDE, study
from truing.records import Example, Message, Sampling, UserError
from truing.settings import Machine
from truing.world.corpora import benign, harmful
from truing.world.town import town

D = 4


class Nobody:
    name, fingerprint = "nobody", "0"


def asked(word, count, length=3):
    return [Example((Message("user", f"{word} {i} " + "x " * (length - 2)),)) for i in range(count)]


def states(monkeypatch, layers, shown=(1, 30)):
    """`layers(prompt text) → [layers, d]` stands for a model."""
    monkeypatch.setattr(ood, "SHOWN", shown)
    monkeypatch.setattr(ood, "DRAWS", 2)
    monkeypatch.setattr(ood, "readable", lambda engine, prompts: ["long" not in p[-1].text for p in prompts])

    def activations(engine, prompts, layer=None):
        found = np.stack([layers(prompt[-1].text) for prompt in prompts])
        return dict.fromkeys(("last", "mean"), found if layer is None else found[:, [layer]])

    for module in (ood, detector):
        monkeypatch.setattr(module, "activations", activations)


def noise(text, layer=0):
    return np.random.default_rng(crc32(f"{layer} {text}".encode())).normal(size=D)


INNER, OUTER = asked("in", 150), asked("out", 120)


def test_the_layer_is_chosen_on_validation_whatever_another_one_would_reach_on_the_test(monkeypatch):
    part = {e.prompt[0].text: name for name, part in split(OUTER, OUTSIDE, 0).items() for e in part}

    def layers(text):
        seen = part.get(text)
        return np.stack([noise(text) + 9 * (seen == "validation"), noise(text, 1) + 9 * (seen == "test")])

    states(monkeypatch, layers)
    found, _ = study(Nobody(), INNER, OUTER)
    row = found["chosen"]["MD"]
    assert (row["layer"], row["validation"]) == (0, 1.0)
    assert 0.35 < row["test"]["estimate"] < 0.65
    best = {row["layer"]: row["test"] for row in found["layers"] if row["method"] == "MD"}
    assert best[1] == 1.0 > best[0]


def test_the_distance_knows_the_fitted_part_of_the_inside_alone(monkeypatch):
    part = {e.prompt[0].text: name for name, part in split(INNER, INSIDE, 0).items() for e in part}
    normals = []
    for off in (0, 5):
        states(monkeypatch, lambda text, off=off: noise(text)[None] + off * (part.get(text, "fit") != "fit"))
        normals.append(study(Nobody(), INNER, OUTER)[1].normal)
    assert normals[0].mean == pytest.approx(normals[1].mean, abs=0)
    assert normals[0].precision == pytest.approx(normals[1].precision, abs=0)


def test_where_there_is_nothing_to_find_nothing_is_found(monkeypatch):
    states(monkeypatch, lambda text: noise(text)[None])
    found, _ = study(Nobody(), INNER, OUTER)
    for row in (*found["chosen"].values(), found["length"], *found["exposed"]["rows"]):
        assert 0.3 < row["test"]["estimate"] < 0.7  # three standard deviations of so few prompts


def test_a_detector_of_length_is_found_out_among_prompts_of_like_length(monkeypatch):
    inner = [e for n in range(4, 12) for e in asked(f"in{n}", 25, n)]
    outer = [e for n in range(8, 16) for e in asked(f"out{n}", 25, n)]
    states(monkeypatch, lambda text: 0.3 * noise(text)[None] + len(text.split()) * np.eye(D)[:1])
    found, _ = study(Nobody(), inner, outer)
    for row in (found["length"], found["exposed"]["rows"][-1]):
        assert row["test"]["estimate"] > 0.85
        assert row["matched"]["estimate"] < 0.7


def test_more_shown_is_more_found_and_only_as_many_as_there_are(monkeypatch):
    states(monkeypatch, lambda text: noise(text)[None] + text.startswith("out") * 0.8 * np.ones(D), ood.SHOWN)
    few = study(Nobody(), INNER, OUTER[:90])[0]["exposed"]["rows"]
    assert [row["shown"] for row in few] == [1, 3, 10, 30]
    assert few[-1]["test"]["estimate"] > few[0]["test"]["estimate"]
    assert any(row["sd"] > 0 for row in few)


def test_prompts_of_both_kinds_and_those_too_long_are_left_out_and_counted(monkeypatch):
    states(monkeypatch, lambda text: noise(text)[None])
    counts = study(Nobody(), [*INNER, *OUTER[:20], *asked("long", 3)], [*OUTER, *OUTER[:9]])[0]["counts"]
    assert (counts["in both"], counts["too long"]) == (20, 3)
    assert sum(counts["inside"].values()) == 150 and sum(counts["outside"].values()) == 100


def test_a_layer_that_says_the_same_of_all_prompts_is_left_out(monkeypatch):
    states(monkeypatch, lambda text: np.stack([np.full(D, 0.1), noise(text)]))
    assert {row["layer"] for row in study(Nobody(), INNER, OUTER)[0]["layers"]} == {1}


def test_too_few_prompts_are_refused(monkeypatch):
    states(monkeypatch, lambda text: noise(text)[None])
    with pytest.raises(UserError, match="outside: 12 different prompts leave"):
        study(Nobody(), INNER, OUTER[:12])


@pytest.fixture(scope="module")
def tiny():
    return open_engine("world:tiny", Machine("fp32", 1))


@pytest.fixture(scope="module")
def made(tiny):
    return study(tiny, benign(town(0), 200, 0), harmful(town(0), 200, 0), false_alarms=0.1)


def test_a_detector_in_a_file_is_the_same_detector(tiny, made, tmp_path):
    found, here = made
    here.save(tmp_path / "d.safetensors")
    there = Detector.load(tmp_path / "d.safetensors")
    prompts = [e.prompt for e in benign(town(0), 200, 0)]
    assert there.rejects(tiny, prompts) == here.rejects(tiny, prompts)
    assert there.about == here.about and json.dumps(found)
    validation = [e.prompt for e in split(benign(town(0), 200, 0), INSIDE, 0)["validation"]]
    assert sum(there.rejects(tiny, validation)) <= 0.1 * len(validation)
    outside = [e.prompt for e in split(harmful(town(0), 200, 0), OUTSIDE, 0)["test"]]
    assert np.mean(there.rejects(tiny, outside)) == pytest.approx(found["detector"]["outside rejected"])
    assert there.rejects(tiny, []) == []


def test_a_detector_judges_its_own_model_alone(made, tmp_path):
    made[1].save(tmp_path / "d.safetensors")
    with pytest.raises(UserError, match="made for world:tiny"):
        Guarded(open_engine("world:small", Machine("fp32", 1)), str(tmp_path / "d.safetensors"))
    (tmp_path / "other.safetensors").write_text("no")
    for name in ("other", "nothing"):
        with pytest.raises(UserError, match="is no detector"):
            Detector.load(tmp_path / f"{name}.safetensors")


def test_behind_a_detector_what_is_rejected_is_refused_and_the_rest_is_answered_as_ever(tiny, made, tmp_path):
    made[1].save(tmp_path / "d.safetensors")
    prompts = [e.prompt for e in (*benign(town(0), 40, 3)[:8], *harmful(town(0), 40, 3)[:8])]
    rejected, few = made[1].rejects(tiny, prompts), Sampling(n=2, max_tokens=12)
    guarded = Guarded(tiny, str(tmp_path / "d.safetensors"))
    said, bare = guarded.sample(prompts, few), tiny.sample(prompts, few)
    assert 0 < sum(rejected) < len(prompts) and guarded.rejected == sum(rejected)
    for no, ours, theirs in zip(rejected, said, bare):
        assert ours.prompt == theirs.prompt
        assert [a.text for a in ours.answers] == ([REFUSAL] * 2 if no else [a.text for a in theirs.answers])
