"""What is odd about comparisons: each quirk on a row made for it, and the real file against counts made otherwise."""

import gzip
import json
import re
from itertools import pairwise, takewhile
from pathlib import Path

import pytest

from truing.data import describe, read
from truing.data.describe import about
from truing.data.hh import read as read_row
from truing.data.quirks import QUIRKS, direction, quirks
from truing.data.tranches import marked, strengths, tranche, turns
from truing.records import Answer, Example, Judgement, Message

ASK = "\n\nHuman: May I feed bread to the ducks?\n\nAssistant:"
ROWS = {  # quirk → chosen and rejected that have it, and nothing else
    "marker inside a reply": (ASK + " Well.\n\nAssistant: I mean no.", ASK + " Sure!"),
    "two replies in a row before it": tuple(
        ASK + " Hm.\n\nAssistant: No.\n\nHuman: And rice?\n\nAssistant:" + end for end in (" No.", " Yes.")
    ),
    "speaker name inside a reply": (ASK + " No.", ASK + " I am\nHuman: you"),
    "speaker name in the prompt": tuple("\n\nHuman: As Human: why?\n\nAssistant:" + end for end in (" No.", " Yes.")),
    "empty reply": (ASK + " ", ASK + " Sure!"),
    "reply ends with a colon": (ASK + " Sure!", ASK + " Here is a list:"),
    "identical replies": (ASK + " No.", ASK + " No."),
    "one reply begins the other": (ASK + " No.", ASK + " No. Never."),
    "replies begin with the same 10 characters": (ASK + " Peas are better.", ASK + " Peas are best."),
    "two spaces in a row in the prompt": tuple("\n\nHuman: So  what?\n\nAssistant:" + end for end in (" No.", " Yes.")),
    "curly quotes in the prompt": tuple("\n\nHuman: “Ducks”?\n\nAssistant:" + end for end in (" No.", " Yes.")),
}


def example(name):
    chosen, rejected = ROWS[name]
    return read_row({"chosen": chosen, "rejected": rejected}, lambda _: None)


def test_there_is_a_row_for_every_quirk():
    assert ROWS.keys() == QUIRKS.keys()


@pytest.mark.parametrize("name", ROWS)
def test_a_quirk_is_found_where_it_is_and_nowhere_else(name):
    assert {other for other, count in quirks([example(name)]).items() if count["rows"]} == {name}


def test_in_a_reply_it_is_said_whether_in_the_better_or_the_worse():
    found = quirks(map(example, ROWS))
    assert found["marker inside a reply"] == {"rows": 1, "better": 1, "worse": 0}
    assert found["speaker name inside a reply"] == {"rows": 1, "better": 0, "worse": 1}
    unranked = Example("p", (Answer("a:"), Answer("b")))
    assert quirks([unranked])["reply ends with a colon"] == {"rows": 1, "better": 0, "worse": 0}


def talk(*turns):
    return tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(turns))


def test_the_direction_of_the_labels_shows_in_the_conversation_that_goes_on():
    """A flipped sign would turn one of these verdicts into the other."""
    first = Example(talk("hi"), (Answer("good"), Answer("bad")), (Judgement("order", (0, 1)),))

    def then(followed):
        second = Example(talk("hi", followed, "more"), (Answer("a"), Answer("b")), (Judgement("order", (0, 1)),))
        return about([first, second])["continues_with_rank"]

    assert direction(then("good")).startswith("1 of 1 go on with the better")
    assert direction(then("bad")).startswith("0 of 1 go on with the better") and "red-teaming" in direction(then("bad"))
    assert direction(then("else")) == "no conversation goes on in another row"
    assert direction({0: 39, 1: 4}).startswith("39 of 43")


def test_tranches_are_told_by_the_data_or_by_their_files():
    plain, named = Example("p"), Example("p", meta={"tranche": "online"})
    judged = Example("p", judgements=(Judgement("order", (0, 1), aspect="harmless"),))
    assert [tranche(e) for e in (plain, named, judged)] == ["all", "online", "harmless"]
    sets = marked(("a/base.jsonl.gz", "b/rs.jsonl"), [[plain, named], [plain]])
    assert [[tranche(e) for e in part] for part in sets] == [["base", "online"], ["rs"]]
    assert [tranche(e) for part in marked(("a/x.jsonl", "b/x.jsonl"), [[plain], [plain]]) for e in part] == [
        "a/x.jsonl",
        "b/x.jsonl",
    ]
    assert marked("one.jsonl", [[plain]]) == [[plain]]


def test_turns_and_strengths_are_counted():
    examples = [
        Example(talk(*"a" * n), judgements=(Judgement("order", (0, 1), strength=s),))
        for n, s in ((1, 0.0), (3, 2.0), (9, 2.0), (13, None))
    ]
    assert turns([*examples, Example("text")]) == {"1": 2, "2": 1, "5+": 2}
    assert strengths(examples) == {"0": 1, "2": 2}


DATA = Path(__file__).parents[3] / "shared" / "data" / "hh"


@pytest.mark.skipif(not DATA.exists(), reason="the real comparisons are not part of the project")
def test_real_quirks_against_counts_from_the_raw_text():
    """Another way to the last reply: the last marker inside what both transcripts share, letter for letter."""
    with gzip.open(DATA / "harmless-base.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    prompts, replies = [], []
    for row in rows:
        texts = row["chosen"], row["rejected"]
        shared = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(*texts)))
        cut = shared.rindex("\n\nAssistant:") + len("\n\nAssistant:")
        prompts.append(texts[0][: cut - len("\n\nAssistant:")])
        replies.append([text[cut:] for text in texts])
    dataset = read(str(DATA / "harmless-base.jsonl.gz"))
    found = quirks(dataset)

    def of_replies(test):
        hits = [[bool(test(text)) for text in pair] for pair in replies]
        better, worse = (sum(pair[i] for pair in hits) for i in (0, 1))
        return {"rows": sum(map(any, hits)), "better": better, "worse": worse}

    def of_prompts(test):
        return {"rows": sum(map(bool, map(test, prompts)))}

    assert found["marker inside a reply"] == of_replies(re.compile("\n\n(Human|Assistant):").search)
    assert found["speaker name inside a reply"] == of_replies(re.compile("(?<!\n\n)(Human|Assistant):").search)
    assert found["empty reply"] == of_replies(lambda text: not text.strip())
    assert found["reply ends with a colon"] == of_replies(lambda text: text.rstrip()[-1:] == ":")
    assert found["identical replies"]["rows"] == sum(a == b for a, b in replies)
    speakers = [re.findall("\n\n(Human|Assistant):", prompt) for prompt in prompts]
    twice = sum(any(a == b == "Assistant" for a, b in pairwise(said)) for said in speakers)
    assert found["two replies in a row before it"]["rows"] == twice
    assert found["curly quotes in the prompt"] == of_prompts(lambda text: set("“”‘’") & set(text))
    assert direction(describe(dataset)["continues_with_rank"]).startswith("0 of ")
