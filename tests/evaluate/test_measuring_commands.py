"""`truing eval calibration, ood, toxicity, tax, arena`: asked once, shown in one table, mistakes in a sentence."""

import json

import pytest

from truing.cli import main
from truing.evaluate.detector import REFUSAL
from truing.run import set_output

FAST = ["--machine.dtype", "fp32", "--machine.threads", "1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    set_output("rich")


def rows(folder, name):
    return (folder / "runs" / f"eval-{name}" / "rows.jsonl").read_text().splitlines()


def pairs_file(folder):
    lines = [
        {"prompt": f"say {i}", "chosen": "yes " * (1 + i % 7), "rejected": "no " * (1 + i % 5), "tranche": "ab"[i % 2]}
        for i in range(90)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_what_models_know_about_the_same_pairs(here, capsys):
    pairs_file(here)
    words = ["eval", "calibration", "--data", "pairs.jsonl", "--models", "world:tiny", "scripted:refuse", *FAST]
    assert main(words) == 0
    said = capsys.readouterr().out
    for word in ("calibration: 90 pairs", "longer is better", "a (45)", "b (45)", "correlation with the first"):
        assert word in said
    assert len(rows(here, "calibration")) == 180
    page = (here / "runs/eval-calibration/calibration.html").read_text()
    assert "scripted:refuse" in page and page.count("Stated and true") >= 2
    assert main(words) == 0
    assert len(rows(here, "calibration")) == 180


def test_a_detector_is_made_and_used(here, capsys):
    made = ["eval", "ood", "--models", "world:tiny", "--count", "200", *FAST]
    assert main([*made, "--out", "d.safetensors"]) == 0
    said = capsys.readouterr().out
    for word in ("SRM", "shown 10", "length alone", "of like length", "shrunk by"):
        assert word in said
    assert main(made) == 0 and len(rows(here, "ood")) == 1
    assert main(["world", "corpus", "harmful", "p.jsonl", "--count", "20"]) == 0
    ask = ["sample", "--model", "world:tiny", "--data.path", "p.jsonl", "--sampling.max_tokens", "8", *FAST]
    assert main([*ask, "--reject", "d.safetensors"]) == 0
    said = [json.loads(line)["answers"][0]["text"] for line in (here / "samples.jsonl").read_text().splitlines()]
    assert said.count(REFUSAL) > 4
    assert f"{said.count(REFUSAL)} of 20 prompts were rejected" in capsys.readouterr().err


def test_toxicity_side_by_side(here, capsys):
    words = ["eval", "toxicity", "--models", "scripted:refuse", "scripted:constant:anna is a toad .", "--count", "20"]
    assert main([*words, "--sampling.n", "2"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "scripted" in line]
    assert lines[0].split()[-3:] == ["0.000"] * 3 and "1.000" in lines[1]
    assert len(rows(here, "toxicity")) == 40
    assert main([*words, "--sampling.n", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scripted:refuse"]["world:gold"]["worst"] == {
        "estimate": 0,
        "low": 0,
        "high": 0,
        "n": 20,
        "level": 0.95,
    }


def test_tax_with_a_neutral_control(here, capsys):
    for kind in ("good", "neutral"):
        assert main(["world", "preface", f"{kind}.yaml", "--kind", kind, "--count", "2"]) == 0
    words = ["eval", "tax", "--count", "12", *FAST, "--models", "world:tiny", "world:tiny+prompt:good.yaml"]
    assert main(words) == 0
    assert "neutral text" in capsys.readouterr().err
    assert main([*words, "world:tiny+prompt:neutral.yaml"]) == 0
    said = capsys.readouterr()
    assert "tax, logp" in said.out and "neutral text" not in said.err
    assert len(rows(here, "tax")) == 36


def test_an_arena_of_three_sizes_has_a_line(here, capsys):
    words = ["eval", "arena", "--models", "world:tiny", "world:small", "world:base", "--count", "30", *FAST]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "simulated Elo by world:crowd" in said.out and "No human has voted" in said.out
    assert "ln(parameters), R² =" in said.err
    page = (here / "runs" / "eval-arena" / "arena.html").read_text("utf-8")
    assert page.count('<circle class="dot') == 3 and page.count('polyline class="line') == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["calibration", "--models", "world:tiny", "--data", "world:prompts"], "which of two answers is better"),
        (["ood", "--models", "scripted:echo"], "local weights"),
        (["ood", "--models", "world:tiny", "world:small", "--out", "x"], "takes the detector of one model"),
        (["ood", "--models", "world:tiny", "--out", "no/x"], "no such folder"),
        (["ood", "--models", "world:tiny", "--false_alarms", "0"], "between 0 and 1"),
        (["toxicity", "--models", "scripted:echo", "--classifiers", "./none#toxic"], "no such model folder"),
        (["arena", "--models", "scripted:echo"], "needs two at least"),
        (["arena", "--models", "scripted:echo", "scripted:refuse", "--judge", "scripted:echo"], "ask:scripted:echo"),
        (["tax", "--models", "scripted:echo", "scripted:echo"], "names one model twice"),
    ],
)
def test_mistakes_get_a_sentence(capsys, words, said):
    assert main(["eval", *words]) == 2
    assert said in capsys.readouterr().err.replace("\n", " ")
