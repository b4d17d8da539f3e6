"""Rows are asked for once, survive a kill in the middle of a line, and belong to one process."""

import json

import pytest

from truing.evaluate.rows import ROWS, Rows
from truing.records import UserError


def asker(said):
    def ask(items):
        said.append(list(items))
        return [{"twice": 2 * item} for item in items]

    return ask


def fetch(folder, wanted, said, at_once=256):
    with Rows(folder) as rows:
        return [row["twice"] for row in rows.fetch(wanted, asker(said), at_once)]


def test_only_what_is_missing_is_asked_and_the_order_is_that_of_the_keys(tmp_path):
    said = []
    assert fetch(tmp_path, {"a": 1, "c": 3}, said) == [2, 6]
    assert fetch(tmp_path, {"c": 3, "b": 2, "a": 1}, said) == [6, 4, 2]
    assert said == [[1, 3], [2]]
    assert len((tmp_path / ROWS).read_text().splitlines()) == 3


def test_what_was_said_is_on_the_disk_before_the_next_is_asked(tmp_path):
    said = []

    def breaks(items):
        if items == [3]:
            raise KeyboardInterrupt
        return asker(said)(items)

    wanted = {str(i): i for i in range(5)}
    with Rows(tmp_path) as rows, pytest.raises(KeyboardInterrupt):
        rows.fetch(wanted, breaks, at_once=1)
    assert fetch(tmp_path, wanted, said, at_once=1) == [0, 2, 4, 6, 8]
    assert said == [[0], [1], [2], [3], [4]]


def test_half_a_line_is_asked_again_and_the_file_is_whole_afterwards(tmp_path):
    said = []
    fetch(tmp_path, {"a": 1, "b": 2}, said)
    file = tmp_path / ROWS
    file.write_bytes(file.read_bytes()[:-5])
    assert fetch(tmp_path, {"a": 1, "b": 2}, said) == [2, 4]
    assert said[-1] == [2]
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == ["a", "b"]


def test_two_processes_do_not_write_to_one_file(tmp_path):
    with Rows(tmp_path), pytest.raises(UserError, match="in use"):
        Rows(tmp_path)
    Rows(tmp_path).close()


@pytest.mark.parametrize(("line", "words"), [('{"twice": 2}', "has no key"), ("nonsense", "line 1")])
def test_an_edited_file_is_refused_and_let_go(tmp_path, line, words):
    (tmp_path / ROWS).write_text(line + "\n")
    with pytest.raises(UserError, match=words):
        Rows(tmp_path)
    (tmp_path / ROWS).write_text("")
    Rows(tmp_path).close()


def test_an_answer_too_few_is_a_mistake_of_ours(tmp_path):
    with Rows(tmp_path) as rows, pytest.raises(ValueError):
        rows.fetch({"a": 1, "b": 2}, lambda items: [{}])
