"""`truing data prompts`: what is shown, what is kept, what is counted, and that it is the same again."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from truing.commands import prompts as verb
from truing.commands.prompts import Prompts, prompts
from truing.data import read
from truing.data.fewshot import as_chat, as_list, list_ends
from truing.engine.scripted import Scripted
from truing.records import Message, Sampling, UserError
from truing.schema import Mistake
from truing.settings import Machine
from truing.stats.overlap import Known, among
from truing.world import corpora as world
from truing.world.town import town

TOWNS = ("oslo", "rome", "bern", "riga", "lima", "kyiv", "bonn", "baku", "doha", "lome", "male", "suva")
ASKED = [f"what is the best way to reach {town} by train" for town in TOWNS]


def saved(path: Path, texts: list[str], chat: bool = True) -> str:
    rows = [{"prompt": [{"role": "user", "content": text}] if chat else text} for text in texts]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return saved(tmp_path / "asked.jsonl", ASKED)


def told(out: str) -> dict:
    return json.loads(Path(out).with_suffix(".overlap.json").read_text())


def writes(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> list:
    """A model that writes these one after the other, with a number where they say so; what it was shown."""
    seen = []

    def reply(prompt, number, random):
        seen.append(prompt)
        return said[(len(seen) - 1) % len(said)].replace("#", f"n{len(seen)}") + "\n\n12. another"

    monkeypatch.setattr(verb, "open_engine", lambda *_: Scripted("writer", reply))
    return seen


def test_what_is_there_already_is_dropped_and_counted(file: str, tmp_path: Path, monkeypatch) -> None:
    held = saved(tmp_path / "held.jsonl", ["please tell my neighbour a secret joke"])
    writes(
        monkeypatch,
        [
            " What is the BEST way to reach Oslo, by train?",  # a copy but for case and punctuation
            " what is the best way to reach oslo by bus",  # six of seven runs of three stand in one prompt
            " please tell my neighbour a secret joke",
            " ...",
            " name # rivers # of # spain",
            " name the same rivers always",
        ],
    )
    out = str(tmp_path / "new.jsonl")
    found = prompts(Prompts("scripted:x", file, out, count=3, held_out=held))
    texts = [example.prompt[0].text for example in found]
    assert texts == ["name n5 rivers n5 of n5 spain", "name the same rivers always", "name n11 rivers n11 of n11 spain"]
    report = told(out)
    assert report["dropped"] == {
        "copy of an existing prompt": 2,
        "near an existing prompt": 2,
        "copy of a held-out prompt": 2,
        "empty": 2,
    }
    assert report["drawn"] == 11 == report["kept"] + sum(report["dropped"].values())
    assert report["new"] == pytest.approx(3 / 11)
    assert report["prompts"]["drawn"]["copies"] == 2
    assert report["prompts"]["drawn"]["held-out"]["copies"] == 2
    assert report["prompts"]["kept"]["held-out"] == {"copies": 0, "near": 0, "median": 0, "p90": 0, "max": 0}


def test_what_it_has_written_before_is_not_new_either(file: str, tmp_path: Path, monkeypatch) -> None:
    writes(monkeypatch, [" always the very same request", " but # another # one # now"])
    out = str(tmp_path / "new.jsonl")
    prompts(Prompts("scripted:x", file, out, count=3))
    assert told(out)["dropped"] == {"copy of a new one": 1}


def test_files_that_differ_in_a_version_have_a_report_each(file: str, tmp_path: Path, monkeypatch) -> None:
    writes(monkeypatch, [" # # # #"])
    for name, count in (("more.v1.jsonl", 1), ("more.v2.jsonl", 2), ("more.v3.jsonl.gz", 3)):
        prompts(Prompts("scripted:x", file, str(tmp_path / name), count=count))
        report = tmp_path / f"{name.partition('.jsonl')[0]}.overlap.json"
        assert json.loads(report.read_text())["kept"] == count
    assert told(str(tmp_path / "more.v1.jsonl"))["kept"] == 1


def test_ten_different_prompts_are_shown_and_the_file_says_which(file: str, tmp_path: Path, monkeypatch) -> None:
    seen = writes(monkeypatch, [" # # # #"])
    out = str(tmp_path / "new.jsonl")
    found = prompts(Prompts("scripted:x", file, out, count=5))
    ids = {example.id: example.prompt[0].text for example in read(file)}
    for document, example in zip(seen, read(out), strict=False):
        shown = re.findall(r"\n\n\d+\. (.+)", document)
        assert len(set(shown)) == 10
        assert [ids[i] for i in example.meta["shown"]] == shown
        assert example.meta["by"] == "scripted:writer"
        assert document.endswith("\n\n11.")
    assert len({tuple(e.meta["shown"]) for e in found}) == 5


def test_a_chat_model_is_shown_what_it_seems_to_have_written(file: str, tmp_path: Path, monkeypatch) -> None:
    seen = writes(monkeypatch, [" # # # #"])
    prompts(Prompts("scripted:x", file, str(tmp_path / "new.jsonl"), count=1, ask="chat"))
    assert [m.role for m in seen[0]] == ["user", "assistant"] * 10 + ["user"]
    assert {m.text for m in seen[0] if m.role == "assistant"} < set(ASKED)


def test_a_list_has_no_blank_line_inside_an_item() -> None:
    document = as_list(["one\n\n \n\ntwo", "three"])
    assert document.split("\n\n")[1:] == ["1. one\ntwo", "2. three", "3."]
    assert list_ends(2)[1] == "\n4."
    assert as_chat(["a"])[1] == Message("assistant", "a")


@pytest.mark.parametrize("ask", ["list", "chat"])
def test_a_small_model_writes_the_same_again_however_many_are_asked_at_a_time(ask, tmp_path: Path, monkeypatch) -> None:
    asked = [example.prompt[0].text for example in world.prompts(town(0), 30, 0)]
    file = saved(tmp_path / "asked.jsonl", asked, chat=False)
    sampling, machine = Sampling(max_tokens=24, seed=3), Machine(dtype="fp32", threads=1)
    found = []
    for batch in (64, 5):
        monkeypatch.setattr(verb, "BATCH", batch)
        out = str(tmp_path / f"new-{batch}.jsonl")
        how = Prompts("world:tiny", file, out, count=2, shown=3, ask=ask, sampling=sampling, machine=machine)
        found.append([example.prompt for example in prompts(how)])
        report = told(out)
        assert report["drawn"] == report["kept"] + sum(report["dropped"].values())
    assert found[0] == found[1]
    assert len(set(found[0])) == 2
    assert all(isinstance(text, str) for text in found[0])  # as those of the file


def test_one_sentence_and_nothing_written(file: str, tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "new.jsonl"
    few = saved(tmp_path / "few.jsonl", ASKED[:3] * 5)
    with pytest.raises(UserError, match="holds 3 different prompts, and 10 shall be shown"):
        prompts(Prompts("scripted:refuse", few, str(out)))
    with pytest.raises(UserError, match="is the file to read"):
        prompts(Prompts("scripted:refuse", file, file))
    held = saved(tmp_path / "held.jsonl", ASKED[:3])
    (tmp_path / "link.jsonl").symlink_to(held)
    with pytest.raises(UserError, match=r"link.jsonl is the file to read: write to another one"):
        prompts(Prompts("scripted:refuse", file, str(tmp_path / "link.jsonl"), held_out=held))
    writes(monkeypatch, [f" {ASKED[0]}"])
    with pytest.raises(UserError, match=r"wrote nothing new \(copy of an existing prompt 20\)"):
        prompts(Prompts("scripted:x", file, str(out), count=2))
    assert not out.exists()
    assert not out.with_suffix(".overlap.json").exists()
    for wrong in ({"near": 0.0}, {"near": 1.5}, {"sampling": Sampling(n=2)}, {"sampling": Sampling(stop=("x",))}):
        with pytest.raises(Mistake):
            Prompts("m", file, str(out), **wrong)


def test_overlap_is_what_its_definition_says() -> None:
    texts = ["a b c d e", "b c d x", "c d e", "a b", "B, c d."]

    def grams(text: str) -> set[tuple[str, ...]]:
        said = re.findall(r"\w+", text.lower())
        return {tuple(said[i : i + 3]) for i in range(len(said) - 2)} or {tuple(said)}

    expected = [0.0] * len(texts)
    for i, j in combinations(range(len(texts)), 2):
        both = grams(texts[i]) & grams(texts[j])
        for one in (i, j):
            expected[one] = max(expected[one], len(both) / len(grams(texts[one])))
    assert among(texts) == expected
    assert expected[4] == 1.0  # all of it stands in the first
    assert "b  C d!" in Known(texts)
    assert "a b c" not in Known(texts)
