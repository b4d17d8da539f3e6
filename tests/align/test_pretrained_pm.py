"""Preference pre-training, then fine-tuning: what is learnt first is there when the second stage begins."""

import pytest

import truing
from truing.data import comparisons
from truing.data.pretraining import binarised, stated, votes
from truing.engine.local import LocalEngine
from truing.evaluate.preference import judged_pairs
from truing.records import Answer, Example, Judgement, UserError
from truing.settings import Machine
from truing.world import corpora
from truing.world.town import town

MACHINE = {"dtype": "fp32", "threads": 1}
OPTIM = {"lr": 1e-3, "batch": 16, "warmup": 0.1}


@pytest.fixture(scope="module")
def sites():
    return votes(corpora.threads(town(0), 120, 3))[0][:96]


@pytest.fixture(scope="module")
def pretrained(sites, tmp_path_factory):
    """A preference model that was pre-trained on verdicts, and goes on writing."""
    return learn("world:tiny", binarised(sites), tmp_path_factory.mktemp("first"), lm_weight=1.0, held_out=0.1)


def learn(model, examples, folder, **keys):
    settings = {"optim": OPTIM, "machine": MACHINE, "held_out": 0.0}
    return truing.pm(model, {"examples": examples, "max_tokens": 192}, run={"folder": str(folder)}, **settings | keys)


def events(run, name):
    return [e for e in run.view().events if e["event"] == name]


def test_the_language_loss_is_that_of_the_better_answers_own_tokens(sites, tmp_path):
    """Before the first step, computed from what the language model itself says of them."""
    few = sites[:16]
    run = learn("world:tiny", few, tmp_path, lm_weight=0.5)
    best = [row[e.ranks().index(0)] for row, e in zip(truing.load("world:tiny", Machine(**MACHINE)).score(few), few)]
    expected = sum(-score.logp / score.tokens for score in best) / len(best)
    assert run.view().series("nll_best")[0][1] == pytest.approx(expected, abs=1e-4)
    first = {name: run.view().series(name)[0][1] for name in ("loss", "preference", "nll_best")}
    assert first["loss"] == pytest.approx(first["preference"] + 0.5 * first["nll_best"], abs=1e-5)


def test_what_was_lost_as_a_language_model_is_said(pretrained):
    (event,) = events(pretrained, "language")
    engine = truing.load(pretrained.model, Machine(**MACHINE))
    assert {"score", "sample"} <= engine.can and engine.rewards
    assert 0 < event["after"] < event["before"]  # verdicts behind an answer are new to it, and soon learnt
    assert "held-out language loss" in event["message"]


def test_fine_tuning_begins_where_pre_training_ended(pretrained, tmp_path):
    clear, _ = comparisons(corpora.tranches(town(0), 200, 9))
    before = judged_pairs(truing.load(pretrained.model, Machine(**MACHINE)), stated(clear))
    frozen = learn(pretrained.model, stated(clear), tmp_path, optim={"lr": 0.0, "batch": 16})
    after = judged_pairs(truing.load(frozen.model, Machine(**MACHINE)), stated(clear))
    assert [row["gap"] for row in after] == pytest.approx([row["gap"] for row in before], abs=1e-4)
    assert any(abs(row["gap"]) > 0.01 for row in before)
    assert "has learnt preferences before" in events(frozen, "start")[0]["message"]
    assert "sample" not in truing.load(frozen.model, Machine(**MACHINE)).can  # it learnt nothing about writing


def test_a_second_stage_can_go_on_writing(pretrained, tmp_path):
    clear, _ = comparisons(corpora.tranches(town(0), 100, 9))
    run = learn(pretrained.model, stated(clear), tmp_path, lm_weight=0.1, held_out=0.2)
    assert len(events(run, "language")) == 1
    assert "sample" in truing.load(run.model, Machine(**MACHINE)).can


def test_verdicts_are_learnt_for_each_answer_by_itself(sites, tmp_path):
    """Whoever is asked about one answer alone says good or bad: no other answer has to stand beside it."""
    kind, rude = Answer("i am glad to hear that ."), Answer("whatever .")
    pairs = [Example(e.prompt, (kind, rude), (Judgement("order", (0, 1)),)) for e in sites[:60]]
    run = learn("world:tiny", binarised(pairs[:40]), tmp_path, optim={"lr": 3e-3, "batch": 8, "epochs": 3})
    engine = truing.load(run.model, Machine(**MACHINE))
    assert all(row["gap"] > 0 for row in judged_pairs(engine, binarised(pairs[40:])))


def test_what_is_said_of_the_start_does_not_depend_on_where_it_was_killed(sites, tmp_path, monkeypatch):
    whole = learn("world:tiny", sites, tmp_path / "whole", lm_weight=1.0, held_out=0.1)
    steps, step = [], LocalEngine.step

    def dies(engine, *args):
        steps.append(engine)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return step(engine, *args)

    monkeypatch.setattr(LocalEngine, "step", dies)
    often = {"folder": str(tmp_path / "cut"), "save_every": 2}
    keys = {"optim": OPTIM, "machine": MACHINE, "lm_weight": 1.0, "held_out": 0.1, "run": often}
    with pytest.raises(KeyboardInterrupt):
        truing.pm("world:tiny", {"examples": sites, "max_tokens": 192}, **keys)
    resumed = truing.pm("world:tiny", {"examples": sites, "max_tokens": 192}, **keys)
    for name in ("before", "after"):
        assert events(resumed, "language")[0][name] == pytest.approx(events(whole, "language")[0][name], abs=1e-6)


@pytest.mark.parametrize("objective", ["binary", "imitation"])
def test_a_weight_that_would_do_nothing_is_refused(objective, tmp_path):
    with pytest.raises(UserError, match="lm_weight goes with objective ranked, not with"):
        learn("world:tiny", [], tmp_path, objective=objective, lm_weight=1.0)
