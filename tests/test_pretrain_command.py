"""`truing data pretrain`: what is written, what the card counts, and that nothing is written by halves."""

import json

import pytest

from truing.cli import main
from truing.data import comparisons, read, write
from truing.data.pretraining import binarised, stated, votes
from truing.records import Answer, Example, Message
from truing.world import corpora
from truing.world.town import town


def card(capsys, *words):
    assert main(["data", "pretrain", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_site_of_the_world_as_verdicts(tmp_path, capsys):
    out = str(tmp_path / "verdicts.jsonl")
    found = card(capsys, "world:threads", out, "--encoding", "binary", "--count", "60", "--seed", "2", "--cap", "2")
    pairs, dropped = votes(corpora.threads(town(0), 60, 2), 2, 2)
    written = list(read(out))
    assert [(e.prompt, e.answers) for e in written] == [(e.prompt, e.answers) for e in binarised(pairs)]
    assert found["pairs"] == len(pairs) and found["examples written"] == len(written) == 2 * len(pairs)
    assert found["questions"] == 60 and found["dropped"] == dict(dropped)
    assert len(found["first examples"]) == 3 and found["first examples"][0].split("  >  ")[1].endswith(" bad")
    assert 0.3 < found["longer is better"] < 0.7


def test_comparisons_as_they_are_with_the_good_verdict_stated(tmp_path, capsys):
    file, out = str(tmp_path / "crowd.jsonl"), str(tmp_path / "stated.jsonl")
    crowd = corpora.tranches(town(0), 60, 1)
    write(file, crowd, "truing")
    words = ("--rule", "pairs", "--encoding", "stated", "--verdicts", " yes", " no")
    found = card(capsys, file, out, *words)
    clear, dropped = comparisons(crowd)
    assert found["dropped"] == dict(dropped) and found["pairs"] == len(clear)
    assert [e.answers for e in read(out)] == [e.answers for e in stated(clear, " yes")]


def test_people_against_a_file_of_samples(tmp_path, capsys):
    people, samples, out = (str(tmp_path / name) for name in ("people.jsonl", "samples.jsonl", "pairs.jsonl"))
    asked = (Message("user", "why ?"),)
    write(people, [Example(asked, (Answer("so"),))], "truing")
    write(samples, [Example(asked, (Answer("because", finish="end"), Answer("be", finish="length")))], "truing")
    found = card(capsys, people, out, "--rule", "versus", "--samples", samples)
    assert found["pairs"] == 1 and found["dropped"] == {"answer_cut_off": 1}
    (pair,) = read(out)
    assert [a.text for a in pair.answers] == ["so", "because"] and pair.ranks() == [0, 1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["world:prompts"], "world:prompts: rule votes finds nothing to compare in it (question_without_votes"),
        (["world:threads", "--rule", "versus"], "samples is needed by rule versus, and by no other."),
        (["world:threads", "--samples", "x.jsonl"], "samples is needed by rule versus, and by no other."),
        (["world:thread"], "data: the world has no 'thread'; it has "),
        (["world:threads", "--verdicts", " good", " good"], "verdicts must be two different words."),
        (["world:threads", "--cap", "0"], "cap must be at least 1, not 0."),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(words, sentence, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["data", "pretrain", words[0], str(out), *words[1:]]) == 2
    assert sentence in capsys.readouterr().err and list(tmp_path.iterdir()) == []
