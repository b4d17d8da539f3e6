"""Methods × seeds: cells are run once, numbers are paired, and the table says who is ahead."""

import json

import numpy as np
import pytest

import truing
from truing.cli import main
from truing.commands.compare import Compare, _arm
from truing.commands.compared import START, ahead, pictures, stability, varied
from truing.config import load
from truing.records import UserError
from truing.run import set_output
from truing.world.sessions import helpful
from truing.world.town import town


@pytest.fixture(autouse=True)
def _rich():
    before = set_output("rich")
    yield
    set_output(before)


RECIPE = {"model": "world:tiny", "data": {"path": "pairs.jsonl"}, "rewards": ["world:gold"]}


def test_an_arm_is_a_method_with_settings_of_its_own():
    settings = load(Compare, RECIPE | {"optim": {"lr": 0.25}})
    arm = _arm(settings, "a_lol:eps=none,value.samples=2,sampler=filter,optim.batch=4")
    assert (arm.method, arm.eps, arm.value.samples, arm.sampler) == ("a_lol", None, 2, "filter")
    assert (arm.optim.lr, arm.optim.batch, arm.rewards) == (0.25, 4, ("world:gold",))
    assert type(arm).__name__ == "Offline"
    for text, said in (("alol", "no method 'alol'"), ("dpo:beta", "key=value"), ("dpo:betta=1", "betta")):
        with pytest.raises(UserError, match=said):
            _arm(settings, text)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"rewards": []}, "names no judge"),
        ({"method": "nll"}, "what the arms name"),
        ({"arms": ["nll", "nll"]}, "one arm twice"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_mistakes(more, said):
    with pytest.raises(UserError, match=said):
        load(Compare, RECIPE | more)


def test_cells_are_run_once_and_a_new_arm_pays_for_itself(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    truing.write("pairs.jsonl", helpful(town(0), 24, 0), "truing")
    truing.write("more.jsonl", helpful(town(0), 8, 1), "truing")
    words = [
        "compare",
        "--model",
        "world:tiny",
        "--data.path",
        "pairs.jsonl",
        "more.jsonl",
        "--data.weights",
        "3",
        "1",
        "--rewards",
        "world:gold",
        "--seeds",
        "2",
    ]
    words += [
        "--count",
        "12",
        "--machine.threads",
        "1",
        "--machine.dtype",
        "fp32",
        "--run.name",
        "c",
        "--optim.batch",
        "8",
    ]
    words += ["--watch.every", "1", "--watch.count", "4", "--watch.max_tokens", "16", "--sampling.max_tokens", "16"]
    assert main([*words, "--arms", "nll", "wbc:sampler=filter"]) == 0
    shown = capsys.readouterr().out
    assert "above start" in shown and "above nll" in shown and "wbc" in shown
    rows = (tmp_path / "runs" / "c" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 5  # the start, and two seeds of two arms
    looked = (tmp_path / "runs" / "c" / "prompts.jsonl").read_bytes()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "runs" / "c").rglob("model.safetensors")}
    assert len(kept) == 4
    words[words.index("12")] = "16"  # other prompts in the end, and the same looks as those of the cells that are there
    assert main([*words, "--arms", "nll", "wbc:sampler=filter", "dpo", "--json"]) == 0
    assert (tmp_path / "runs" / "c" / "prompts.jsonl").read_bytes() == looked
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) >= {START, "nll", "wbc:sampler=filter", "dpo"} and len(found["dpo"]) == 2
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    page = (tmp_path / "runs" / "c" / "compare.html").read_text("utf-8")
    assert "Reward and variety" in page and "Divergence" in page
    assert "above start" in page and page.count("<td>") == 4  # a line for each arm, and for the start
    asked = {json.loads(line)["prompt"][-1]["content"] for line in (tmp_path / "runs/c/prompts.jsonl").open()}
    looks = (tmp_path / "runs/c/nll-0/samples.jsonl").read_text().splitlines()
    assert looks and all(any(prompt in line for prompt in asked) for line in looks)  # at what nothing is learnt from


def cells(*means, unique=0.9):
    return [{"values": [m - 0.1, m + 0.1], "unique": unique, "seed": i} for i, m in enumerate(means)]


def test_differences_are_paired_over_prompts_and_averaged_over_seeds():
    found = {START: cells(0.5), "a": cells(0.6, 0.8), "b": cells(0.6, 0.6)}
    assert ahead(found, "a", START).estimate == pytest.approx(0.2)
    assert ahead(found, "a", "b").estimate == pytest.approx(0.1)
    assert ahead(found, "a", "b").low < 0  # two seeds do not tell, however many prompts agree


def test_variety_at_the_same_reward_is_over_the_seeds_that_reach_one():
    def seen(*looks):
        return {
            "curves": {
                "reward": [(s, r) for s, (r, _) in enumerate(looks)],
                "unique": [(s, u) for s, (_, u) in enumerate(looks)],
            }
        }

    found = {"a": [seen((0.1, 1.0), (0.5, 0.8)), seen((0.1, 1.0), (0.2, 0.9))],
             "b": [seen((0.1, 1.0), (0.5, 0.7)), seen((0.4, 1.0), (0.5, 0.8))]}  # fmt: skip
    assert varied(found, "a", "b") is None  # not for all seeds
    assert varied({name: each[:1] for name, each in found.items()}, "a", "b").estimate == pytest.approx(0.1)
    assert varied({"a": found["a"][1:], "b": found["b"][1:]}, "a", "b") is None
    assert varied({"a": [{}], "b": [{}]}, "a", "b") is None


def test_stability_is_over_seeds():
    curves = [{"reward": [[1, 0.2], [2, 0.9], [3, 0.6]]}, {"reward": [[1, 0.1], [2, 0.2], [3, 0.3]]}]
    each = [one | {"curves": curve} for one, curve in zip(cells(0.6, 0.8), curves)]
    each[1]["unique"] = 0.3
    found = stability(each, cells(0.5)[0])
    assert found == {"sd": pytest.approx(np.std([0.6, 0.8], ddof=1)), "drop": pytest.approx(0.15), "collapsed": 0.5}
    (reward, *_, both) = pictures({START: cells(0.5), "a": each})
    assert [p[0] for p in reward["curves"][0]["points"]] == [1, 2, 3]
    assert reward["curves"][0]["points"][1][1] == pytest.approx(0.55)
    assert [c["label"] for c in both["curves"]] == ["a", START]
