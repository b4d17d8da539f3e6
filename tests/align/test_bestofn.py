"""`truing bestofn`: the curve against brute force, and the file that is written."""

from __future__ import annotations

import json
import math
from itertools import combinations
from random import Random

import numpy as np
import pytest
from judged import policy_and_judge

import truing
from truing.align.bestofn import curve, selection
from truing.align.rewards import Part
from truing.cli import main
from truing.data import demonstrations
from truing.evaluate.judges import Rule
from truing.records import Answer, Example
from truing.stats.intervals import mean_t

POOLS = [
    [0.3, -1.0, 2.0, 0.7, 0.1],
    [1.0, 1.0, 0.0, 2.0, 1.0, 2.0],
    [5.0] * 4,
    [-2.0, -2.0, 3.0],
    [0.0, -0.0, 1.0, 0.0],
]
ASK = ["--machine.dtype", "fp32", "--machine.threads", "1", "--sampling.max_tokens", "6"]
SAYS = "def letters(completions, **columns):\n    return [float(len(said[0]['content'])) for said in completions]\n"


def brute(rewards, scores, k) -> float:
    """Every subset of k is as likely, and of the best in it every one."""
    worth = []
    for chosen in combinations(range(len(rewards)), k):
        top = max(rewards[i] for i in chosen)
        best = [scores[i] for i in chosen if rewards[i] == top]
        worth.append(sum(best) / len(best))
    return sum(worth) / len(worth)


@pytest.mark.parametrize("rewards", POOLS, ids=str)
def test_the_estimate_is_the_mean_over_all_subsets_by_any_score(rewards):
    random = Random(1)
    scores = [random.gauss(0, 1) for _ in rewards]
    for k in range(1, len(rewards) + 1):
        likely = selection(rewards, k)
        assert likely.sum() == pytest.approx(1) and (likely >= 0).all()
        assert likely @ scores == pytest.approx(brute(rewards, scores, k))
        assert likely @ rewards == pytest.approx(brute(rewards, rewards, k))


def pool(*rows) -> list[Example]:
    """Each row: (reward, text) of the answers to one prompt."""
    return [
        Example(f"prompt {i}", tuple(Answer(text, reward=reward) for reward, text in row), meta={"kind": "ab"[i % 2]})
        for i, row in enumerate(rows)
    ]


def test_the_curve_is_the_mean_over_prompts_with_its_interval():
    rows = [
        [(1.0, "7"), (3.0, "2"), (2.0, "9")],
        [(0.0, "1"), (0.0, "5"), (-1.0, "8")],
        [(4.0, "3"), (5.0, "3"), (6.0, "4")],
    ]
    number = Rule("number", lambda prompt, text: float(text))
    found = curve(
        pool(*rows), {"number*0.5": Part(number, 0.5, None), "some": Part(number, 1.0, None, False, ("kind", "a"))}
    )
    assert [p.k for p in found] == [1, 2, 3]
    for point in found:
        each = [brute([r for r, _ in row], [float(t) for _, t in row], point.k) for row in rows]
        reward = mean_t([brute([r for r, _ in row], [r for r, _ in row], point.k) for row in rows])
        assert point.reward.estimate == pytest.approx(reward.estimate) and point.reward.low == pytest.approx(reward.low)
        assert point.test["number*0.5"].estimate == pytest.approx(np.mean(each) / 2), "with its weight"
        assert point.test["some"].estimate == pytest.approx((each[0] + each[2]) / 2), "over the prompts it judges"
        assert point.test["some"].n == 2
        assert point.kl == pytest.approx(math.log(point.k) - 1 + 1 / point.k)


def test_the_bound_is_the_divergence_where_no_two_answers_are_alike():
    """KL of the best of k of a uniform number u, whose density is k·u^(k−1), by the midpoint rule."""
    u = (np.arange(200_000) + 0.5) / 200_000
    (point,) = [p for p in curve(pool([(float(i), "x") for i in range(8)]), {}) if p.k == 8]
    density = point.k * u ** (point.k - 1)
    assert point.kl == pytest.approx(float(np.mean(density * np.log(density))), abs=1e-6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return policy_and_judge(tmp_path_factory.mktemp("made"))


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lm", "pm"):
        (tmp_path / name).symlink_to(made / name)
    turns = [[{"role": "user", "content": f"paint it {colour}"}] for colour in ("red", "green", "blue", "red")]
    rows = [json.dumps({"prompt": turn, "hue": str(i)}) for i, turn in enumerate(turns)]
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "says.py").write_text(SAYS)
    return tmp_path


def run(*words) -> int:
    return main(["bestofn", "./lm", "./pm", "--data.path", "prompts.jsonl", *ASK, *words])


def test_keep_writes_the_best_of_each_prompt(home, capsys):
    assert run("--sampling.n", "6") == 0
    assert run("--sampling.n", "6", "--keep", "2", "--out", "two.jsonl") == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "18 of 18 answers kept, the best 6 of each prompt; 1 repeated prompts were asked once: bestofn.jsonl" in said
    assert "6 of 18 answers kept, the best 2 of each prompt" in said
    every, two = (truing.read(name) for name in ("bestofn.jsonl", "two.jsonl"))
    assert [e.answers for e in two] == [e.answers[:2] for e in every]
    for example in every:
        rewards = [a.reward for a in example.answers]
        assert len(rewards) == 6 and rewards == sorted(rewards, reverse=True) and rewards[0] > rewards[-1]
    assert [e.meta["hue"] for e in every] == ["0", "1", "2"], "the columns that the prompt has where it stands first"


def test_the_best_alone_are_demonstrations_that_can_be_learnt_from(home):
    how = {"sampling": {"n": 4, "max_tokens": 6}, "machine": {"dtype": "fp32", "threads": 1}}
    found = truing.bestofn("./lm", "./pm", "prompts.jsonl", keep=1, out="best.jsonl", **how)
    kept, dropped = demonstrations(truing.read("best.jsonl"))
    assert not dropped and [(e.prompt, e.answers) for e in kept] == [(e.prompt, e.answers) for e in found]
    assert main(["sft", "./lm", "--data.path", "best.jsonl", "--optim.steps", "1", *ASK[:4]]) == 0


def test_the_curve_is_one_object_for_programs(home, capsys):
    try:
        assert run("--sampling.n", "5", "--test", "./pm", "call:says.py:letters", "--json") == 0
    finally:
        truing.run.set_output("rich")
    (told,) = [row for row in map(json.loads, capsys.readouterr().out.splitlines()) if row["type"] == "bestofn"]
    assert [p["k"] for p in told["curve"]] == [1, 2, 4, 5] and told["n"] == 5 and told["kept"] == 15
    written = truing.read("bestofn.jsonl")
    for point in told["curve"]:
        k = point["k"]
        assert point["ln_k"] == pytest.approx(math.log(k)) and point["kl"] == pytest.approx(math.log(k) - (k - 1) / k)
        assert point["test"]["./pm"] == pytest.approx(point["reward"]), "the same judge says the same of the same pool"
        pools = [([a.reward for a in e.answers], [len(a.text) for a in e.answers]) for e in written]
        letters = [brute(rewards, lengths, k) for rewards, lengths in pools]
        assert point["test"]["call:says.py:letters"]["mean"] == pytest.approx(np.mean(letters))
        assert point["reward"]["low"] < point["reward"]["mean"] < point["reward"]["high"]


def test_one_prompt_has_an_interval_without_ends_and_json_no_infinity(home, capsys):
    try:
        assert run("--data.limit", "1", "--json") == 0
    finally:
        truing.run.set_output("rich")
    out = capsys.readouterr().out
    (told,) = [row for row in map(json.loads, out.splitlines()) if row["type"] == "bestofn"]
    assert "Infinity" not in out and told["curve"][0]["reward"]["low"] is None


def test_the_table_names_every_judge(home, capsys):
    assert run("--sampling.n", "2", "--test", "lexical:length") == 0
    shown = capsys.readouterr().out
    for text in ("best of 2", "lexical:length", "0.693", "0.193", "95 % intervals over prompts"):
        assert text in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--keep", "0"], "--keep must be at least 1, not 0."),
        (["--keep", "9"], "--keep is 9, and only 8 answers to each prompt are drawn (sampling.n)."),
        (["--test", "./pm", "./pm"], "--test names one judge twice."),
        (["--test", "./lm"], "test: ./lm is no preference model; train one with truing pm."),
        (["--test", "lexical:lenght"], "test: there is no lexical:lenght; there are length, distinct, tfidf."),
        (
            ["--test", "lexical:tfidf"],
            "test lexical:tfidf: it weighs words by the answers in prompts.jsonl, which has none.",
        ),
        (
            ["--test", "lexical:length if hue=9"],
            "test lexical:length if hue=9: no prompt has this column with this value",
        ),
        (["--sampling.temperature", "0"], "./lm: at temperature 0 all 8 answers to a prompt are the same"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(home, capsys, words, sentence):
    assert run(*words) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("truing")]
    assert len(said) == 1 and said[0].startswith(f"truing bestofn: {sentence}")
    assert not (home / "bestofn.jsonl").exists()


def test_the_prompts_are_not_written_over(home, capsys):
    before = (home / "prompts.jsonl").read_text()
    assert run("--out", "./prompts.jsonl") == 2
    assert "prompts.jsonl is the file to read: write to another one." in capsys.readouterr().err
    assert (home / "prompts.jsonl").read_text() == before


def test_several_files_are_refused(home, capsys):
    assert main(["bestofn", "./lm", "./pm", "--data.path", "prompts.jsonl", "prompts.jsonl"]) == 2
    assert capsys.readouterr().err.strip().endswith("data.path must be one file of prompts, not several.")
