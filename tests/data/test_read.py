"""Bad input gets a sentence that names file, line, key and format; what is dropped is counted by reason."""

import gzip
import json
import sys

import pytest

from truing.data import read, write
from truing.records import Answer, Example, Judgement, Message, UserError

GOOD = {"prompt": "p", "chosen": "a", "rejected": "b"}
TALK = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


def lines(*rows):
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()


def gz(data):
    return gzip.compress(data)


MALFORMED = {
    "bad JSON": ("t.jsonl", lines(GOOD, '{"prompt": "p",'), r"line 2: not JSON \(TRL preference format, detected"),
    "not an object": ("t.jsonl", lines(GOOD, "[1]"), "line 2: the line is a list, not an object"),
    "NaN": ("t.jsonl", lines(GOOD, '{"prompt": NaN}'), "line 2: NaN, which JSON does not have"),
    "missing column": (
        "t.jsonl",
        lines(GOOD, GOOD, {"prompt": "p", "chosen": "a"}),
        r"line 3: 'rejected' is missing \(TRL preference format, detected from line 1\)\. Fix the row, or drop",
    ),
    "missing in line 1": ("t.jsonl", lines({"prompt": "p", "chosen": "a"}), "line 1: 'rejected' is missing"),
    "null": ("t.jsonl", lines({**GOOD, "rejected": None}), "line 1: 'rejected' is null"),
    "wrong type": ("t.jsonl", lines(GOOD, {**GOOD, "chosen": 3}), "line 2: 'chosen' is a number, not text or a list"),
    "text against messages": ("t.jsonl", lines({**GOOD, "prompt": TALK[:1], "chosen": TALK}), "with an assistant"),
    "messages against text": ("t.jsonl", lines({"prompt": "p", "completion": TALK[1:]}), "both must be the one or the"),
    "unknown role": ("t.jsonl", lines({"messages": [{"role": "boss", "content": "a"}]}), "line 1: .*role is 'boss'"),
    "turn without content": ("t.jsonl", lines({"messages": [{"role": "user"}]}), "content is null"),
    "tool calls": ("t.jsonl", lines({"messages": [{"role": "assistant", "tool_calls": [{}]}]}), "tool calls without"),
    "label as text": ("t.jsonl", lines({"prompt": "p", "completion": "c", "label": "yes"}), "'label' is text, not"),
    "too few scores": ("t.jsonl", lines({"prompt": "p", "answers": ["a"], "scores": []}), "'scores' has not as many"),
    "scores as text": ("t.jsonl", lines({"prompt": "p", "answers": ["a"], "scores": ["1"]}), "not a finite number"),
    "steps": ("t.jsonl", lines({"prompt": "p", "completions": ["a"], "labels": []}), "'labels' has not as many"),
    "speaker of another type": ("t.jsonl", lines({"conversations": [{"from": [], "value": "a"}]}), "'from' is a list"),
    "unknown speaker": ("t.jsonl", lines({"conversations": [{"from": "cat", "value": "a"}]}), "turn from 'cat'"),
    "two prefixes": ("t.jsonl", lines({"prefix": [["a"], ["b"]], "suffix": ["x", "y"]}), "same conversation once"),
    "unknown key in an answer": ("t.jsonl", lines({"prompt": "p", "answers": [{"txt": "a"}]}), "unknown key 'txt'"),
    "answer out of range": (
        "t.jsonl",
        lines({"prompt": "p", "answers": [{"text": "a"}], "judgements": [{"kind": "order", "value": [0, 1]}]}),
        "an order judgement must name answers by number",
    ),
    "mixed columns": ("t.jsonl", lines(GOOD, {"text": "a"}), "line 2: 'prompt' is missing .TRL preference"),
    "unknown columns": ("t.jsonl", lines({"question": "a"}), r"line 1: its columns \(question\) are of no known"),
    "empty file": ("t.jsonl", b"", "t.jsonl: no example in it"),
    "only blank lines": ("t.jsonl", b"\n  \n", "no example in it"),
    "not UTF-8": ("t.jsonl", lines(GOOD) + '{"prompt": "ü"}\n'.encode("latin-1"), "line 2: not UTF-8 text"),
    "half a character": ("t.jsonl", lines({**GOOD, "chosen": "\ud83d"}), "line 1: half a character"),
    "gz that is none": ("t.jsonl.gz", lines(GOOD), "t.jsonl.gz line 1: the gzip data is damaged"),
    "gz cut off": ("t.jsonl.gz", gz(lines(*[{**GOOD, "n": i} for i in range(50)]))[:-20], r"line \d+: the gzip data"),
    "JSON list cut off": ("t.json", b'[{"prompt": "p"},', "t.json: not JSON"),
    "item of a JSON list": ("t.json", b'[{"text": "p"}, 3]', "t.json row 2: the row is a number"),
    "no parquet": ("t.parquet", b"PAR1 but not really", "t.parquet after row 0: not readable as parquet"),
    "unknown suffix": ("t.csv", b"a,b\n", "t.csv is not a data file: its name must end in .jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_input_gets_a_sentence(tmp_path, name):
    file, content, sentence = MALFORMED[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=sentence) as error:
        read(str(tmp_path / file))
    assert str(error.value).startswith(str(tmp_path / file)) and "\n" not in str(error.value)


def test_wrong_arguments_get_a_sentence(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(lines(GOOD))
    for source, options, sentence in [
        (tmp_path / "absent.jsonl", {}, "absent.jsonl: there is no such file"),
        ("data/absent.jsonl", {}, "data/absent.jsonl: there is no such file"),
        (tmp_path, {}, r"is a folder: name one file in it \(t.jsonl\)"),
        (tmp_path / "t.jsonl", {"format": "hh"}, "no format 'hh'. Formats: .*hh-rlhf"),
        (tmp_path / "t.jsonl", {"format": "unpaired"}, r"line 1: 'completion' is missing \(TRL unpaired.*as asked for"),
        (tmp_path / "t.jsonl", {"on_defect": "skip"}, "on_defect is 'skip': it must be stop or drop"),
        (tmp_path / "t.jsonl", {"limit": 0}, "limit is 0"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read(str(source), **options)


def test_dropping_counts_by_reason_and_detects_from_the_first_good_row(tmp_path):
    rows = ["{", GOOD, {"prompt": "p", "chosen": "a"}, {**GOOD, "chosen": 1}, GOOD, {"prompt": "q", "chosen": "a"}]
    (tmp_path / "t.jsonl").write_bytes(lines(*rows) + b"\xff\n")
    dataset = read(str(tmp_path / "t.jsonl"), on_defect="drop")
    assert (dataset.counts.read, dataset.counts.kept) == (7, 2)
    assert dataset.counts.dropped == {
        "not JSON": 1,
        "'rejected' is missing": 2,
        "'chosen' is a number, not text or a list": 1,
        "not UTF-8 text": 1,
    }
    assert dataset.format.because == "detected from line 2"
    assert [example.source for example in dataset] == [f"{tmp_path}/t.jsonl line {n}" for n in (2, 5)]
    (tmp_path / "t.jsonl").write_bytes(lines("{", "{"))
    with pytest.raises(UserError, match=r"no example in it \(2 × not JSON\)"):
        read(str(tmp_path / "t.jsonl"), on_defect="drop")


def test_damaged_gzip_stops_even_where_rows_may_be_dropped(tmp_path):
    """Nobody knows how many rows are lost behind the damage."""
    (tmp_path / "t.jsonl.gz").write_bytes(gz(lines(GOOD))[:-9])
    with pytest.raises(UserError, match="damaged or cut off"):
        read(str(tmp_path / "t.jsonl.gz"), on_defect="drop")


def test_blank_lines_and_a_byte_order_mark_are_no_rows_but_lines_are_counted(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(b"\xef\xbb\xbf" + lines(GOOD) + b"\n\r\n" + lines(GOOD))
    dataset = read(str(tmp_path / "t.jsonl"))
    assert dataset.counts.read == 2 and dataset[1].source.endswith("line 4")


def test_limit_reads_no_further(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(lines(GOOD, GOOD, "{"))
    assert len(read(str(tmp_path / "t.jsonl"), limit=2)) == 2


def test_json_may_be_a_list_or_lines(tmp_path):
    (tmp_path / "list.json").write_text(json.dumps([GOOD, GOOD], indent=2))
    (tmp_path / "lines.json").write_bytes(lines(GOOD, GOOD))
    assert read(str(tmp_path / "list.json")).fingerprint == read(str(tmp_path / "lines.json")).fingerprint


def test_parquet_nulls_mean_absent(tmp_path):
    """A table has every column in every row; the JSON lines it was made from had not."""
    examples = [
        Example("p", (Answer("a", reward=1.0), Answer("b", by="x")), (Judgement("order", (1, 0)),), meta={"k": 1}),
        Example("q", (Answer("c"),)),
    ]
    for name in ("t.parquet", "t.jsonl"):
        write(tmp_path / name, examples, "truing")
    assert read(str(tmp_path / "t.parquet")).fingerprint == read(str(tmp_path / "t.jsonl")).fingerprint


@pytest.fixture
def _hub(monkeypatch):
    """A hub with one dataset of two configurations and some folders, whose rows say where they come from."""
    datasets = pytest.importorskip("datasets")

    def load_dataset(path, name=None, *, data_dir=None, split, streaming):
        if path != "org/pairs":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub")
        origin = {"config": name, "folder": data_dir, "split": split}
        return datasets.Dataset.from_list([{**GOOD, **origin, "margin": None}, {**GOOD, **origin, "margin": 2.0}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda path: ["small", "large"])


@pytest.mark.usefixtures("_hub")
def test_hub_names():
    first, second = read("org/pairs:small@test[:5%]")
    assert first.meta == {"config": "small", "split": "test[:5%]"}
    assert second.meta == {"config": "small", "split": "test[:5%]", "margin": 2.0}
    assert second.source == "org/pairs:small@test[:5%] row 2"
    (only,) = read("org/pairs:a-folder", limit=1)
    assert only.meta == {"folder": "a-folder", "split": "train"}
    assert read("org/pairs")[0].meta == {"split": "train"}


@pytest.mark.usefixtures("_hub")
def test_hub_mistakes_get_a_sentence(monkeypatch):
    with pytest.raises(UserError, match="org/none: there is no such file, and it cannot be had from the hub either"):
        read("org/none")
    with pytest.raises(UserError, match="Name one: helpful-base"):
        read("Anthropic/hh-rlhf")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"org/pairs needs the package datasets: pip install 'truing\[data\]'"):
        read("org/pairs")


def test_a_dataset_is_a_sequence_that_knows_its_rows(tmp_path):
    (tmp_path / "t.jsonl").write_bytes(lines({"messages": TALK}, {"messages": [*TALK, *TALK]}))
    dataset = read(str(tmp_path / "t.jsonl"))
    assert len(dataset) == 2 and [*dataset][1] == dataset[-1] and dataset[:1] == [dataset[0]]
    assert dataset[1].prompt == (Message("user", "a"),)
    assert dataset[1].answers[0].more == (Message("user", "a"), Message("assistant", "b"))
