"""HH-RLHF transcripts: small rows for every quirk of the real files, and self-tests on real files where they are."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from truing.data import describe, read, split, write
from truing.data.hh import common_prefix
from truing.data.hh import read as read_row
from truing.data.hh import write as write_row
from truing.data.rows import RowError
from truing.data.split import first_turn
from truing.records import Message, UserError

ASK = "\n\nHuman: May I feed bread to the ducks?\n\nAssistant:"


def parse(chosen, rejected):
    """The example, after a check that writing it gives back every byte."""
    row = {"chosen": chosen, "rejected": rejected}
    example = read_row(row, lambda _: None)
    assert write_row(example) == row
    return example


def texts(example):
    return [answer.text for answer in example.answers]


def test_plain_comparison():
    example = parse(ASK + " Better not.", ASK + " Sure!")
    assert example.prompt == (Message("user", "May I feed bread to the ducks?"),)
    assert texts(example) == ["Better not.", "Sure!"] and example.ranks() == [0, 1]
    assert example.meta == {} and example.answers[0].meta == {}


def test_replies_that_begin_alike_are_cut_at_the_marker():
    example = parse(ASK + " Peas are better than bread.", ASK + " Peas are better than corn.")
    assert texts(example) == ["Peas are better than bread.", "Peas are better than corn."]


def test_spaces_behind_the_marker_survive():
    before = "\n\nHuman:Hi\n\nAssistant:  Hello\n\nHuman: Bye\n\nAssistant:"
    example = parse(before + "Bye.", before + "  See you.")
    assert [turn.text for turn in example.prompt] == ["Hi", " Hello", "Bye"]
    assert texts(example) == ["Bye.", " See you."]
    assert example.meta == {"unspaced": [0]}
    assert [answer.meta for answer in example.answers] == [{"unspaced": [0]}, {}]


def test_curly_quotes_tabs_and_trailing_spaces_survive():
    before = "\n\nHuman: “Ducks”\t—  why?  \n\nAssistant:"
    assert parse(before + " They’re birds. \n", before + " \n").prompt[0].text == "“Ducks”\t—  why?  "


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_reply_is_a_reply(empty):
    example = parse(ASK + empty, ASK + " Sure!")
    assert texts(example) == ["", "Sure!"]


def test_one_reply_begins_the_other():
    assert texts(parse(ASK + " No.", ASK + " No. Well, yes.")) == ["No.", "No. Well, yes."]


@pytest.mark.parametrize("where", ["chosen", "rejected", "both"])
def test_a_marker_inside_the_last_reply_belongs_to_it(where):
    """Taking the last marker of one text for the border would give the other text a wrong prompt."""
    plain, doubled = ASK + " Ask me later.", ASK + " Well.\n\nAssistant: I mean no."
    chosen, rejected = {"chosen": (doubled, plain), "rejected": (plain, doubled), "both": (doubled, doubled + "!")}[
        where
    ]
    example = parse(chosen, rejected)
    assert len(example.prompt) == 1
    inside = "Well.\n\nAssistant: I mean no."
    assert (
        texts(example)
        == {
            "chosen": [inside, "Ask me later."],
            "rejected": ["Ask me later.", inside],
            "both": [inside, inside + "!"],
        }[where]
    )


def test_two_replies_in_a_row_in_the_history_stay_one_turn():
    before = ASK + " Hm.\n\nAssistant: No.\n\nHuman: And rice?\n\nAssistant:"
    example = parse(before + " No.", before + " Yes.")
    assert [turn.role for turn in example.prompt] == ["user", "assistant", "user"]
    assert example.prompt[1].text == "Hm.\n\nAssistant: No."


def test_speaker_names_without_a_blank_line_are_text():
    before = "\n\nHuman: He said\nHuman: quack. Assistant: what?\n\nAssistant:"
    example = parse(before + " Human: quack", before + "\nAssistant: no")
    assert len(example.prompt) == 1 and texts(example)[0] == "Human: quack"


def test_conversations_that_part_before_their_last_reply():
    """The prompt ends where they part; what each says after its first reply comes along as further turns."""
    chosen = ASK + " No.\n\nHuman: Why?\n\nAssistant:It swells."
    example = parse(chosen, ASK + " Yes.")
    assert texts(example) == ["No.", "Yes."] and len(example.prompt) == 1
    assert example.answers[0].more == (Message("user", "Why?"), Message("assistant", "It swells."))
    assert example.answers[0].meta == {"unspaced": [2]}


@pytest.mark.parametrize(
    ("chosen", "rejected", "why"),
    [
        ("Human: a\n\nAssistant: b", ASK + " c", "does not begin with a blank line"),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: c\n\nAssistant: b", "same conversation"),
        ("\n\nHuman: a\n\nAss", "\n\nHuman: a\n\nAss", "same conversation"),
        (ASK, None, "'rejected' is null"),
        (3, ASK, "'chosen' is a number, not text"),
    ],
)
def test_what_is_no_comparison_is_said(chosen, rejected, why):
    with pytest.raises(RowError, match=why):
        read_row({"chosen": chosen, "rejected": rejected}, lambda _: None)


def test_defects_are_counted_and_dropped_only_on_request(tmp_path):
    rows = [
        (ASK + " No.", ASK + " Sure!"),
        (ASK + " ", ASK + " Sure!"),
        (ASK + " No.", ASK + " No."),
        (ASK + " First:", ASK + " First: peas."),
        (ASK + " No.\n\nAssistant: Yes.", ASK + " I am\nHuman: you"),
        (ASK + " No.", ASK + " Sure!"),
    ]
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"chosen": c, "rejected": r}) + "\n" for c, r in rows))
    dataset = read(str(file))
    assert dataset.format.name == "hh-rlhf" and "detected from line 1" in str(dataset.format)
    assert len(dataset) == 6
    assert dataset.defects == {
        "empty answer": 1,
        "identical answers": 1,
        "an answer ends with a colon (cut off)": 1,
        "an answer begins another": 1,
        "speaker marker inside a turn": 1,
        "speaker name inside a turn": 1,
        "repeated example": 1,
    }
    clean = dataset.without("identical answers", "repeated example")
    assert [example.answers[0].text for example in clean][1:3] == ["", "First:"]
    assert (clean.counts.read, clean.counts.kept) == (6, 4)
    assert clean.counts.dropped == {"identical answers": 1, "repeated example": 1}
    assert "identical answers" not in clean.defects and clean.defects["empty answer"] == 1
    with pytest.raises(UserError, match="no defect 'empty answers'"):
        dataset.without("empty answers")


def test_common_prefix_is_that_of_a_character_by_character_walk():
    cases = [
        "",
        "a",
        "ab",
        "abc",
        "abd",
        "b",
        "ab" * 40,
        "ab" * 40 + "c",
        "ab" * 39 + "aa",
        "ü\U0001f986x",
        "ü\U0001f986y",
    ]
    for a in cases:
        for b in cases:
            walked = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            assert common_prefix(a, b) == walked


DATA = Path(__file__).parents[3] / "shared" / "data" / "hh"
real_data = pytest.mark.skipif(not DATA.exists(), reason="the real comparisons are not part of the project")


@pytest.fixture(scope="module")
def harmless():
    return read(str(DATA / "harmless-base.jsonl.gz"))


def raw(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@real_data
def test_real_every_byte_comes_back(harmless, tmp_path):
    write(tmp_path / "again.jsonl", harmless, "hh-rlhf")
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text("utf-8").splitlines()]
    assert again == raw("harmless-base.jsonl.gz")


@real_data
def test_real_counts(harmless):
    rows = raw("harmless-base.jsonl.gz")
    assert harmless.counts.read == harmless.counts.kept == len(rows)
    assert harmless.format.name == "hh-rlhf"
    blank = sum(any(not row[k].rpartition("Assistant:")[2].strip() for k in ("chosen", "rejected")) for row in rows)
    assert harmless.defects["empty answer"] == blank > 0
    assert "identical answers" not in harmless.defects
    assert "prompt ends with an assistant turn" not in harmless.defects


@real_data
def test_real_prompts_alternate_and_end_with_the_human(harmless):
    for example in harmless:
        assert [turn.role for turn in example.prompt] == ["user", "assistant"] * (len(example.prompt) // 2) + ["user"]
        assert all(not answer.more for answer in example.answers)


@real_data
def test_real_markers_are_all_accounted_for(harmless):
    """Each blank-line marker either opened a turn or is counted as standing inside one."""
    inside = 0
    for example, row in zip(harmless, raw("harmless-base.jsonl.gz")):
        markers = [row[key].count("\n\nHuman:") + row[key].count("\n\nAssistant:") for key in ("chosen", "rejected")]
        inside += any(count != len(example.prompt) + 1 for count in markers)
    assert inside == harmless.defects["speaker marker inside a turn"]


@real_data
def test_real_conversations_went_on_as_they_were_collected(harmless):
    """Red-teamers picked the more harmful reply, which is the rejected one; helpful chats went on with the better."""
    assert describe(harmless)["continues_with_rank"].keys() == {1}
    helpful = read(str(DATA / "helpful-base.pro.jsonl.gz"))
    assert helpful.format.name == "pro"
    assert describe(helpful)["continues_with_rank"].keys() == {0}


@real_data
def test_real_ranked_lists_come_back(tmp_path):
    helpful = read(str(DATA / "helpful-base.pro.jsonl.gz"))
    write(tmp_path / "again.jsonl", helpful, "pro")
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text("utf-8").splitlines()]
    joined = [
        [{**row, "prefix": ["".join(prefix) for prefix in row["prefix"]]} for row in rows]
        for rows in (again, raw("helpful-base.pro.jsonl.gz"))
    ]
    assert joined[0] == joined[1]


@real_data
def test_real_split_shares_no_conversation(harmless):
    parts = split(harmless, {"train": 0.8, "test": 0.2})
    firsts = {name: {first_turn(example) for example in examples} for name, examples in parts.items()}
    assert not firsts["train"] & firsts["test"]
    assert sum(map(len, parts.values())) == len(harmless)
    shared = Counter(first_turn(example) for example in harmless)
    assert max(shared.values()) > 1  # otherwise this test would show nothing
    assert 0.14 < len(parts["test"]) / len(harmless) < 0.26
