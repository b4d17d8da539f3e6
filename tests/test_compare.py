"""Methods × seeds: cells are run once, numbers are paired, and the table says who is ahead."""

import json

import numpy as np
import pytest

import truing
from truing.cli import main
from truing.commands.arms import Compare, arm_of
from truing.commands.compare import compare
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
    arm = arm_of(settings, "a_lol:eps=none,value.samples=2,sampler=filter,optim.batch=4")
    assert (arm.method, arm.eps, arm.value.samples, arm.sampler) == ("a_lol", None, 2, "filter")
    assert (arm.optim.lr, arm.optim.batch, arm.rewards) == (0.25, 4, ("world:gold",))
    assert type(arm).__name__ == "Offline"
    for text, said in (("alol", "no method 'alol'"), ("dpo:beta", "key=value"), ("dpo:betta=1", "betta")):
        with pytest.raises(UserError, match=said):
            arm_of(settings, text)


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


LEARNER = {"iterations": 3, "rollouts": 8, "optim": {"lr": 1e-3, "batch": 4}, "critic": {"pretrain": 1}}


def test_an_arm_of_ppo_shares_all_but_how_it_learns():
    data = {"path": "pairs.jsonl", "max_tokens": 99}
    looks = {"every": 9, "count": 7}
    settings = load(
        Compare,
        RECIPE
        | {"data": data, "arms": ["nll", "ppo", "ppo:preset=vanilla,critic.pretrain=0"], "ppo": LEARNER, "watch": looks}
        | {"run": {"save_every": 400}, "optim": {"lr": 0.25}, "sampling": {"max_tokens": 17, "temperature": 0.0}},
    )
    arm, bare = arm_of(settings, "ppo"), arm_of(settings, settings.arms[2])
    assert (arm.model, arm.data, arm.rewards) == (settings.model, settings.data, settings.rewards)
    assert (arm.optim.lr, arm.rollouts, arm.preset, arm.critic.start) == (1e-3, 8, "max", "policy")
    assert (arm.sampling.max_tokens, arm.sampling.temperature) == (17, 1.0)  # the end may be greedy, learning is not
    assert (bare.preset, bare.kl.coefficient, bare.critic.pretrain, bare.optim.lr) == ("vanilla", 0, 0, 1e-3)
    assert arm.moves == 2 and (arm.watch.every, arm.watch.count, arm.run.save_every) == (4, 7, 20)


@pytest.mark.parametrize(
    ("arm", "block", "said"),
    [
        ("ppo:model=world:small", LEARNER, "model is the same for all arms"),
        ("ppo:watch.every=3", LEARNER, "watch.every is the same for all arms"),
        ("ppo", LEARNER | {"rewards": ["lexical:length"]}, "ppo.rewards is the same for all arms"),
        ("ppo", LEARNER | {"rollout": 8}, "the arm ppo: rollout is not a known key; did you mean rollouts"),
        ("ppo:rollouts=6", LEARNER, "the arm ppo:rollouts=6: rollouts must be a multiple of optim.batch"),
        ("ppo:critic.start=reward", LEARNER, "ppo.critic.start is reward"),
        ("nll", LEARNER, "no arm is ppo"),
    ],
)
def test_mistakes_in_an_arm_of_ppo(arm, block, said):
    with pytest.raises(UserError, match=said):
        arm_of(load(Compare, RECIPE | {"arms": [arm], "ppo": block}), arm)


def test_ppo_begins_and_ends_as_the_other_arms_do(tmp_path, monkeypatch, capsys):
    """A policy that learns nothing (rate 0) says in the end, word for word, what the start says, as imitation does that
    learns nothing; one that learns from the judge of the others moves, and its cost is counted."""
    monkeypatch.chdir(tmp_path)
    truing.write("pairs.jsonl", helpful(town(0), 24, 0), "truing")
    still = "ppo:optim.lr=0,critic.lr=0"
    recipe = RECIPE | {
        "arms": ["nll:optim.lr=0", "ppo", still],
        "ppo": LEARNER,
        "seeds": 1,
        "count": 12,
        "optim": {"batch": 8},
        "sampling": {"max_tokens": 12},
        "machine": {"dtype": "fp32", "threads": 1},
        "watch": {"every": 2, "count": 4, "max_tokens": 12},
        "run": {"name": "c"},
    }
    found = compare(load(Compare, recipe))
    start, (learnt,), (same,), (other,) = found[START][0], found["ppo"], found[still], found["nll:optim.lr=0"]
    assert same["values"] == other["values"] == start["values"] != learnt["values"]
    assert (learnt["drawn"], learnt["updates"], other["drawn"], other["updates"]) == (24, 4, 0, 3)
    assert learnt["F"] == 8 * (3 * 1 + 3 * 1 + 2 * 3 + 3 * 3)  # reference, critic; what policy and critic learn
    looks = [[tuple(look) for look in one["curves"]["reward"]] for one in (learnt, same, other)]
    assert looks[0][0] == looks[1][0] == looks[2][0] and looks[0][0][0] == 0  # before any policy has moved
    assert [step for step, _ in looks[0]] == [0, 2, 4]
    assert "drawn" in capsys.readouterr().out


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
