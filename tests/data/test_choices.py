"""Published tests with given answers, read and written."""

import json

import pytest

import truing
from truing.records import Message, UserError

HHH = {"input": "can you help ?", "targets": {"choices": ["yes", "no"], "labels": [1, 0]}}
TRUTH = {"question": "is it so ?", "mc1_targets": {"choices": ["a", "b", "c"], "labels": [0, 0, 1]}, "mc2_targets": {}}
BENCH = {"input": "and this ?", "target_scores": {"no": 0, "yes": 1}}


def one(tmp_path, row):
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps(row) + "\n")
    (example,) = truing.read(str(file))
    return example


@pytest.mark.parametrize(
    ("row", "asked", "right"),
    [
        (HHH, "can you help ?", [True, False]),
        (TRUTH, "is it so ?", [False, False, True]),
        (BENCH, "and this ?", [False, True]),
    ],
)
def test_published_forms(tmp_path, row, asked, right):
    example = one(tmp_path, row)
    assert example.prompt == (Message("user", asked),)
    assert list(example.judgements[0].value) == right
    assert [a.text for a in example.answers] in (["yes", "no"], ["a", "b", "c"], ["no", "yes"])


def test_a_transcript_is_a_conversation(tmp_path):
    talk = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why ?\n\nAssistant:"
    example = one(tmp_path, {**HHH, "input": talk})
    assert example.prompt == (Message("user", "hi"), Message("assistant", "hello"), Message("user", "why ?"))


def test_written_and_read_again(tmp_path):
    example = one(tmp_path, TRUTH)
    truing.write(tmp_path / "again.jsonl", [example], "choices")
    (again,) = truing.read(str(tmp_path / "again.jsonl"))
    assert (again.prompt, again.answers, again.judgements) == (example.prompt, example.answers, example.judgements)


@pytest.mark.parametrize(
    "targets", [{"choices": ["a"], "labels": [1, 0]}, {"choices": [], "labels": []}, {"choices": [1], "labels": [1]}]
)
def test_a_broken_item_is_named(tmp_path, targets):
    with pytest.raises(UserError, match="line 1"):
        one(tmp_path, {"input": "?", "targets": targets})


def test_alpaca_rows_with_an_input_stay_alpaca(tmp_path):
    assert one(tmp_path, {"instruction": "do", "input": "x", "output": "y"}).answers[0].text == "y"


@pytest.mark.parametrize(
    ("text", "completion", "asked", "answer"),
    [
        ("he said", "yes", "he said", " yes"),
        ("he said ", "yes", "he said", " yes"),
        ("he said", " yes\n", "he said", " yes"),
        ("Q: is it?\n", "yes", "Q: is it?\n", "yes"),
    ],
)
def test_the_space_before_a_completion_belongs_to_it(tmp_path, text, completion, asked, answer):
    example = one(tmp_path, {"text": text, "completion": completion, "others": ["no"], "topic": "speech"})
    assert (example.prompt, example.answers[0].text) == (asked, answer)
    assert [a.finish for a in example.answers] == ["length"] * 2  # nobody ends it there
    assert example.judgements[0].value == (True, False)
    assert example.meta == {"topic": "speech"}


def test_an_empty_completion_is_refused(tmp_path):
    with pytest.raises(UserError, match="completion is empty"):
        one(tmp_path, {"text": "he said", "completion": " "})
