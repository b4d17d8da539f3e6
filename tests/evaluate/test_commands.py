"""`truing eval`: a second model adds its rows, and asking again asks nothing."""

import json

import pytest

from truing.cli import main

ITEM = {"input": "say alpha", "targets": {"choices": ["alpha", "beta beta"], "labels": [1, 0]}}


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{**ITEM, "input": f"say alpha {i}", "category": "odd" if i % 2 else "even"} for i in range(10)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def rows(folder):
    return (folder / "runs" / "eval-hhh" / "rows.jsonl").read_text().splitlines()


def test_models_side_by_side_and_nothing_asked_twice(items, capsys):
    ask = ["eval", "hhh", "--data", "items.jsonl", "--models"]
    assert main([*ask, "scripted:constant:alpha"]) == 0
    assert len(rows(items)) == 10
    assert main([*ask, "scripted:constant:alpha", "scripted:constant:beta beta"]) == 0
    assert len(rows(items)) == 20
    said = capsys.readouterr().out
    for words in ("all", "even", "odd", "scripted:constant:alpha", "ln P(a | q)"):
        assert words in said
    assert main([*ask, "scripted:constant:alpha"]) == 0
    assert len(rows(items)) == 20


def test_world_items_are_made_on_the_spot(items, capsys):
    assert main(["eval", "mc1", "--models", "world:base", "--count", "10", "--machine.dtype", "fp32"]) == 0
    assert "claim" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["eval", "hhh", "--models", "scripted:echo", "--data", "world:nothing"], "the world has no 'nothing'"),
        (["eval", "hhh", "--models", "scripted:echo", "--data", "nothing.jsonl"], "nothing.jsonl"),
        (["eval"], "needs one more word"),
    ],
)
def test_mistakes_get_a_sentence(items, capsys, words, said):
    assert main(words) == 2
    assert said in capsys.readouterr().err
