"""What a PPO run measures at its beginning, and best of n that is laid over it: against the answers themselves."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from judged import PPO, policy_and_judge

from truing.align import ppo as loop
from truing.align.ingredients import Ppo
from truing.cli import main
from truing.commands.arms import Compare
from truing.commands.chosen import chosen_for
from truing.commands.compare import compare
from truing.commands.ppo import ppo
from truing.commands.report import Report, report
from truing.config import load
from truing.engine import open_local
from truing.pages.distance import distance
from truing.records import Example, Message, UserError
from truing.run import read_run, set_output
from truing.settings import Machine

PROMPTS = [Example((Message("user", f"paint it {colour}"),)) for colour in ("red", "green", "blue", "go away")]
SAYS = "def letters(completions, **columns):\n    return [float(len(said[0]['content'])) for said in completions]\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = policy_and_judge(tmp_path_factory.mktemp("spread"))
    (folder / "says.py").write_text(SAYS)
    rows = [json.dumps({"prompt": [{"role": "user", "content": e.prompt[0].text}]}) for e in PROMPTS]
    (folder / "prompts.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)
    before = set_output("quiet")
    yield
    set_output(before)


def trained(name, prompts=PROMPTS, **keys):
    run = ppo(load(Ppo, {**PPO, "run": {"folder": "runs", "name": name}, **keys}), prompts)
    return run.view()


def measured(view):
    (found,) = [event for event in view.events if event["event"] == "spread"]
    return found


@pytest.fixture
def heard(monkeypatch):
    """The answers whose spread is measured."""
    kept: list[Example] = []

    def several(*args):
        kept[:] = original(*args)
        return kept

    original = loop.several
    monkeypatch.setattr(loop, "several", several)
    return kept


def within(rows):
    return math.sqrt(np.mean([np.var(row, ddof=1) for row in rows]))


@pytest.mark.parametrize("n", [1, 3])
def test_the_spread_is_that_of_the_scores_of_answers_to_one_prompt(n, heard):
    sampling = {"max_tokens": 6, "n": n}
    found = measured(trained(f"n{n}", sampling=sampling, rewards=["./pm*2", "call:says.py:letters*0"]))
    assert [len(e.answers) for e in heard] == [max(n, 2)] * 4
    assert any(len({a.text for a in e.answers}) > 1 for e in heard), "another answer, not the same again"
    scores = [[2 * s.reward for s in row] for row in open_local("./pm", Machine("fp32", 1)).score(heard)]
    letters = [[float(len(a.text)) for a in e.answers] for e in heard]
    assert found["sigma"] == pytest.approx(within(scores), rel=1e-4)
    assert (found["prompts"], found["answers"]) == (4, 4 * max(n, 2))
    (judge,) = found["apart"]
    assert (judge["label"], judge["metric"]) == ("call:says.py:letters", "reward/call:says.py:letters")
    assert judge["sigma"] == pytest.approx(within(letters))


def test_the_metrics_of_judges_apart_are_those_that_are_logged():
    keys = {"watch": {"every": 1, "count": 2, "max_tokens": 6}}
    for tests in (["call:says.py:letters*3"], ["call:says.py:letters", "lexical:length"]):
        view = trained(f"apart{len(tests)}", test=tests, rewards=["./pm", "lexical:length*0"], **keys)
        judges = measured(view)["apart"]
        assert len(judges) == 1 + len(tests)
        assert all(len(view.series(judge["metric"])) == 2 for judge in judges) and view.series("watch/reward")
    (_, three) = measured(read_run("runs/apart1"))["apart"]
    (_, one, _) = measured(read_run("runs/apart2"))["apart"]
    assert three["sigma"] == pytest.approx(3 * one["sigma"]), "a weight belongs to the metric"


def test_measuring_it_changes_nothing_else(monkeypatch):
    told = {}
    for name in ("with", "without"):
        told[name] = trained(name).metrics
        monkeypatch.setattr(loop, "several", lambda *args: [])
        monkeypatch.setattr(loop, "note_spread", lambda *args: None)
    assert {k: v for k, v in told["with"].items() if k != "seconds"} == {
        k: v for k, v in told["without"].items() if k != "seconds"
    }


# Best of n over it

ASK = ["--out", "best.jsonl", "--machine.dtype", "fp32", "--machine.threads", "1", "--sampling.max_tokens", "6"]


def bestofn(*words):
    assert main(["bestofn", "./lm", "./pm", "--data.path", "prompts.jsonl", *ASK, "--sampling.n", "4", *words]) == 0


def test_best_of_n_is_laid_over_a_run_that_began_with_its_policy_and_judge():
    bestofn("--keep", "1")
    curve = json.loads(Path("best.curve.json").read_text())
    assert [p["k"] for p in curve["curve"]] == [1, 2, 4], "of all answers, however many were kept"
    view = trained("over", rewards=["./pm*2", "lexical:length*0"])
    chosen = chosen_for(view, "best.curve.json")
    for (k, kl, mean, low, high), point in zip(chosen.points, curve["curve"], strict=True):
        assert (k, kl) == (point["k"], point["kl"])
        ends = [2 * point["reward"][end] for end in ("mean", "low", "high")]
        assert [mean, low, high] == pytest.approx(ends), "in the rewards of the run, where its judge counts twice"
    page = report(Report(("over", "best.curve.json"), out="over.html")).read_text()
    assert "best of 1, 2, 4" in page and "Best of 4 (best.curve.json)" in page
    assert distance(view).start == pytest.approx(view.series("reward")[0][1])


def test_what_cannot_be_laid_over_is_said():
    bestofn()
    trained("plain")
    trained("warm", sampling={"max_tokens": 6, "temperature": 0.5})
    trained("other", rewards=["./pm", "lexical:length"])
    for runs, sentence in (
        (("plain", "best.jsonl"), "best.jsonl is no curve of truing bestofn: it leaves one as OUT.curve.json beside"),
        (("warm", "best.curve.json"), "sampling.temperature is 1.0 there and 0.5 in warm"),
        (("other", "best.curve.json"), r"was chosen by ./pm, and other learnt from ./pm \+ lexical:length: only"),
        (("plain", "warm", "best.curve.json"), "is a curve of best of n: it is drawn into the report of one run"),
        (("best.curve.json",), "which run"),
    ):
        with pytest.raises(UserError, match=sentence):
            report(Report(runs, out="no.html"))
    known = [replace(e, meta={"kind": "a"}) for e in PROMPTS]
    trained("some", known, rewards=["./pm if kind=a"])
    learner = {key: PPO[key] for key in ("preset", "critic", "iterations", "rollouts", "optim")}
    shared = {key: PPO[key] for key in ("model", "rewards", "sampling", "machine")}
    more = {"data": {"path": "prompts.jsonl"}, "run": {"folder": "runs", "name": "arms"}, "watch": {"every": 0}}
    compare(load(Compare, shared | more | {"ppo": learner, "arms": ["ppo"], "seeds": 1, "prompts": "prompts.jsonl"}))
    for run, learnt in (("runs/some", "./pm if kind=a"), ("runs/arms/ppo-0", "σ of ./pm")):
        with pytest.raises(UserError, match=f"learnt from {learnt}: only a run that learnt from this preference model"):
            report(Report((run, "best.curve.json"), out="no.html"))
    told = json.loads(Path("best.curve.json").read_text())
    told["prints"]["model"] = "0"
    Path("else.curve.json").write_text(json.dumps(told))
    with pytest.raises(UserError, match=r"else.curve.json: ./lm is not the policy that plain began with \(./lm\)"):
        report(Report(("plain", "else.curve.json"), out="no.html"))
