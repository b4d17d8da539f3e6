"""Data sets of the world: on their side of the line, and as good or bad as they say."""

import pytest

import truing
from truing.cli import main
from truing.world import corpora
from truing.world.facts import holds, stated
from truing.world.judge import gold
from truing.world.language import KINDS, clauses, held_out, request_in
from truing.world.mixtures import MIXTURES
from truing.world.tasks import FAMILIES
from truing.world.town import town

TOWN = town(0)
RUN_OUT = ("benign", "borderline", "deeds")  # kinds of which there are fewer
JUDGED = ("tranches", "scored", "voted", "ranked", "threads", "comments", "helpful", "harmless", *MIXTURES)
HELD = ("evaluation", "evaluation_facts", "evaluation_stories")


def value(example, answer):
    return gold(TOWN, example.prompt, example.answers[answer].text).overall


def mean(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "name",
    [name for name in corpora.CORPORA if name not in (*HELD, "reverts", "hhh", "mc1", "cloze", *FAMILIES)],
)
def test_corpora_hold_no_held_out_request(name):
    examples = corpora.CORPORA[name](TOWN, 200, 1)
    assert len(examples) == 200 or (name in RUN_OUT and len(examples) > 80)
    for example in examples:
        assert bool(example.judgements) == (name in JUDGED)
        assert not held_out(request_in(TOWN, example.prompt), example.prompt[-1].text)


@pytest.mark.parametrize(("name", "kind"), [("facts", "fact"), ("stories", "story")])
def test_held_out_prompts_of_one_kind(name, kind):
    found = [request_in(TOWN, e.prompt) for e in corpora.CORPORA[f"evaluation_{name}"](TOWN, 60, 0)]
    assert len(found) > 40 and {r.kind for r in found} == {kind}


def test_a_forum_votes_good_answers_up():
    up, down = (corpora.CORPORA[name](TOWN, 300, 0) for name in ("upvoted", "downvoted"))
    for answer in (0, 1):  # each of the two, not only the one that is learnt from
        assert mean(value(e, answer) for e in up) > mean(value(e, answer) for e in down) + 0.15
    clean, noisy = ([value(e, 0) for e in corpora.CORPORA[f"{n}_stories"](TOWN, 300, 0)] for n in ("clean", "noisy"))
    assert mean(clean) > mean(noisy) + 0.15


def test_prompts_come_from_one_side_of_the_line_or_the_other():
    train, test = ({e.prompt[-1].text for e in make(TOWN, 500, 0)} for make in (corpora.prompts, corpora.evaluation))
    assert not train & test
    assert all(held_out(request_in(TOWN, text), text) for text in test)


@pytest.mark.parametrize("held", [False, True])
def test_prompts_hold_each_kind_as_often_as_it_is_asked_or_all_there_are(held):
    found = [request_in(TOWN, e.prompt).kind for e in corpora.prompts(TOWN, 400, 0, held=held)]
    total = sum(KINDS.values())
    for kind, weight in KINDS.items():
        wanted, came = round(400 * weight / total), found.count(kind.name)
        all_there_are = len(corpora.prompts(TOWN, 2000, 1, held=held, kinds=[kind.name])) if came < wanted else wanted
        assert came == min(wanted, all_there_are)


def test_tranches_get_better_and_say_which_they_are():
    found = {}
    for example in corpora.tranches(TOWN, 900, 0):
        found.setdefault(example.source, []).append((value(example, 0) + value(example, 1)) / 2)
    assert [len(values) for values in found.values()] == [300, 300, 300]
    base, best, online = (mean(found[f"world:{name}"]) for name in corpora.TRANCHES)
    assert base + 0.05 < online < best


def test_a_reverted_edit_is_the_worse_page():
    def faults(page):
        found = [c for _, c in clauses(page) if c]
        return sum(c.form == "hostile" or not holds(TOWN, *stated(c)) for c in found)

    for example in corpora.reverts(TOWN, 100, 0):
        best = example.ranks().index(0)
        assert faults(example.prompt) == faults(example.answers[best].text) == 0
        assert faults(example.answers[1 - best].text) == 1


def test_rankings_scores_and_thumbs_follow_the_truth():
    for example in corpora.ranked(TOWN, 100, 0):
        ranks, values = example.ranks(), [round(value(example, i), 3) for i in range(4)]
        assert all((ranks[i] < ranks[j]) == (values[i] > values[j]) for i in range(4) for j in range(4))
    for example in corpora.scored(TOWN, 100, 0, noise=0.0):
        assert example.judgements[-1].value[0] == round(10 * value(example, 0), 2)
    for example in corpora.voted(TOWN, 100, 0, noise=0.0):
        assert example.judgements[-1].value[0] == (value(example, 0) > 0.6)


def test_the_sites_value_different_things():
    def with_gold(examples):
        agree = []
        for e in examples:
            values = e.judgements[-1].value
            a, b = value(e, 0), value(e, 1)
            if a != b and values[0] != values[1]:
                agree.append((a > b) == (values[0] > values[1]))
        return mean(agree)

    assert with_gold(corpora.threads(TOWN, 500, 0)) > with_gold(corpora.comments(TOWN, 500, 0)) + 0.1


def test_a_corpus_is_written_as_a_file_that_reads_back(tmp_path, capsys):
    file = tmp_path / "pairs.jsonl"
    main(["world", "corpus", "tranches", str(file), "--count", "30"])
    assert "30 examples. Comparisons as they are collected" in capsys.readouterr().err
    assert [e.answers for e in truing.read(str(file))] == [e.answers for e in corpora.tranches(TOWN, 30, 0)]
