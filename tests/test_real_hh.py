"""The bench on real comparisons: its baselines on rows made for them, and a small run where the data are."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import truing
from truing.data import comparisons
from truing.data.split import first_turn
from truing.records import Answer, Example, Judgement, Message
from truing.run import set_output

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "hh"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("real_hh", ROOT / "bench" / "real_hh.py")
    module = sys.modules["real_hh"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["real_hh"]


def pair(i, better, worse):
    """The better answer stands second in every other example."""
    order = (0, 1) if i % 2 else (1, 0)
    said = (better, worse) if i % 2 else (worse, better)
    return Example((Message("user", f"question {i}"),), tuple(map(Answer, said)), (Judgement("order", order),))


def test_the_length_baseline_takes_the_side_that_training_prefers(bench):
    short = [pair(i, "no", "yes of course") for i in range(8)] + [pair(8, "no no no no", "yes")]
    assert bench.length(short, short).tolist() == [2] * 8 + [-3]
    assert bench.length([pair(0, "a b", "c")], short).tolist() == [-2] * 8 + [3]


def test_the_word_baseline_learns_which_words_are_preferred_and_not_where_they_stand(bench):
    names = [f"thing{i % 7}" for i in range(60)]
    learnt = [pair(i, f"i would rather not {n}", f"sure here is {n}") for i, n in enumerate(names)]
    new = [pair(i, f"rather not {i}", f"sure {i}") for i in range(6)]
    assert (bench.words(learnt, new) > 0).all()
    flipped = [replace(e, judgements=(Judgement("order", e.judgements[0].value[::-1]),)) for e in learnt]
    assert (bench.words(flipped, new) < 0).all()


def test_differences_are_between_judges_on_the_same_rows(bench):
    gaps = {"length alone": (1, -1, -1, 1), "TF-IDF": (0, 0, 0, 0), bench.PM: (1, 1, 1, -1)}
    rows = [{name: values[i] for name, values in gaps.items()} | {"conversation": i} for i in range(4)]
    assert bench.above(rows, bench.PM, "length alone").estimate == 0.25
    assert bench.above(rows, bench.PM, "TF-IDF").estimate == 0.25
    assert bench.above(rows, "TF-IDF", "length alone").estimate == 0.0


@pytest.mark.skipif(not DATA.exists(), reason="the real comparisons are not part of the project")
def test_a_small_run_tests_only_conversations_that_nothing_was_learnt_from(bench, monkeypatch):
    before = set_output("quiet")
    examples, texts = (
        comparisons(truing.read(DATA / name, limit=limit))[0]
        for name, limit in (("harmless-base.jsonl.gz", 90), ("helpful-base.pro.jsonl.gz", 20))
    )
    read, judged, train, learn = [], [], bench.truing.sft, bench.truing.pm
    monkeypatch.setattr(bench.truing, "sft", lambda m, data, **k: read.extend(data) or train(m, data, **k))
    monkeypatch.setattr(bench.truing, "pm", lambda m, data, **k: judged.extend(data) or learn(m, data, **k))
    few = {"lr": 1e-3, "steps": 3, "batch": 4}
    plan = bench.Plan({"hidden": 32, "layers": 1, "heads": 2}, 400, few, few, seeds=2, folds=4, tested=1)
    try:
        rows = bench.measure(examples, texts, plan)
    finally:
        set_output(before)
    tested = {e.id: e for e in examples}
    conversations = {first_turn(tested[row["id"]]) for row in rows}
    assert 8 < len(rows) < 45 and len({row["id"] for row in rows}) == len(rows)
    assert not conversations & {first_turn(e) for e in [*read, *judged]}
    assert len(judged) == 2 * (len(examples) - len(rows)) and len(read) > len(judged)
    assert all(np.isfinite(row[judge]) for row in rows for judge in bench.JUDGES)
    assert bench.table(rows, "small").row_count == 3
