"""`truing data …`: what is printed and written, and that nothing is half-written."""

import json
from pathlib import Path

import pytest

from truing.cli import main
from truing.commands.data import Convert, Split, convert, split
from truing.commands.inspect import BARS, Inspect, bars, inspect
from truing.data import read
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.records import UserError
from truing.schema import Mistake


def turns(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    rows = []
    for i in range(10, 50):
        prompt = turns(f"question {10 + i // 2}", "hm", "again")[: 1 + 2 * (i % 2)]
        rows.append({"prompt": prompt, "chosen": turns("", f"yes {i}")[1:], "rejected": turns("", "no\x1b[2J")[1:]})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_split_keeps_conversations_together_and_loses_none(pairs: str, tmp_path: Path) -> None:
    files = split(Split(pairs, str(tmp_path / "parts"), parts=("train=0.7", "dev=0.3")))
    parts = {name: read(str(file)) for name, file in files.items()}
    firsts = {name: {example.prompt[0].text for example in part} for name, part in parts.items()}
    assert not firsts["train"] & firsts["dev"]
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in read(pairs))
    assert sorted(p.name for p in (tmp_path / "parts").iterdir()) == ["dev.jsonl", "train.jsonl"]


def test_split_that_cannot_be_made_writes_nothing(pairs: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="part 'test' would be empty"):
        split(Split(pairs, str(tmp_path / "parts"), parts=("train=0.999999", "test=0.000001")))
    assert not (tmp_path / "parts").exists()
    for wrong in ("train", "=0.5", "../up=0.5", "train=most"):
        with pytest.raises(Mistake, match="must look like"):
            Split(pairs, "x", parts=(wrong,))


def test_convert_there_and_back(pairs: str, tmp_path: Path) -> None:
    out = str(tmp_path / "own.jsonl.gz")
    assert convert(Convert(pairs, out)) == 40
    back = str(tmp_path / "back.jsonl")
    convert(Convert(out, back, to="preference"))
    before, after = (list(map(json.loads, Path(file).read_text().splitlines())) for file in (pairs, back))
    assert before == after
    with pytest.raises(UserError, match="is the file to read"):
        convert(Convert(pairs, pairs))
    with pytest.raises(UserError, match=r"own.jsonl is the file to read"):
        split(Split(str(Path(pairs).rename(tmp_path / "own.jsonl")), str(tmp_path), parts=("own=0.5", "rest=0.5")))


def test_inspect_counts_and_shows_tokens(pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(make_model(tmp_path / "m", make_tokenizer(["question again yes no"], 300), **SIZES["0.1M"]))
    (found,) = inspect(Inspect(pairs, model=model, show=1))["files"].values()
    assert found["rows"]["kept"] == 40 and found["tokens"]["dropped"] == {}
    printed = capsys.readouterr().out
    assert "<|user|>question·15<|end|><|assistant|>" in printed and "\\x1b" in printed and "\x1b[2J" not in printed
    inspect(Inspect(pairs, show=1))
    printed = capsys.readouterr().out
    assert "answer 0, rank 0  yes 10" in printed and "\x1b[2J" not in printed
    longest = found["tokens"]["prompt"]["max"] + found["tokens"]["answer"]["max"]
    (short,) = inspect(Inspect(pairs, model=model, max_tokens=longest - 1))["files"].values()
    assert short["tokens"]["adapted"] == {
        "prompt_truncated": 20
    }  # every second conversation has a turn before its last


def test_a_defect_names_the_option_that_this_verb_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n{"prompt": "p"}\n')
    assert main(["data", "inspect", str(path)]) == 2
    assert "line 2" in (said := capsys.readouterr().err) and "--on_defect drop" in said
    assert main(["data", "inspect", str(path), "--on_defect", "drop"]) == 0


def test_inspect_shows_tranches_beside_each_other_and_their_scores(
    pairs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(
        json.dumps({"prompt": turns("hello"), "chosen": turns("", "a")[1:], "rejected": turns("", "b")[1:]})
    )
    model = str(make_model(tmp_path / "m", make_tokenizer(["question again yes no"], 300), **SIZES["0.1M"]))
    found = inspect(Inspect((pairs, str(other)), scores=model))
    assert list(found["files"]) == [pairs, str(other)]
    tranches = found["tranches"]
    assert {name: (t["examples"], t["turn"]) for name, t in tranches.items()} == {
        "other": (1, {"1": 1}),
        "pairs": (40, {"1": 20, "2": 20}),
    }
    assert [len(tranches[name]["score"]) for name in ("other", "pairs")] == [1, 40]
    printed = capsys.readouterr().out
    assert "20, 2 20" in printed and "no conversation goes on in another row" in printed
    assert inspect(Inspect(pairs))["tranches"] == {}
    with pytest.raises(UserError, match="Name at least one"):
        inspect(Inspect(()))


def test_a_histogram_shows_every_value_and_leaves_empty_bins_blank() -> None:
    assert bars([0.0, 1.0, 1.0], 0, 1) == "▄" + " " * (BARS - 2) + "█"
    assert bars([2.0] * 3, 2, 2) == "█" + " " * (BARS - 1)
    assert bars([0.0] + [1.0] * 99, 0, 1)[0] == "▁"
