"""Bad preference data: one clear sentence, a counted drop, or a doubt that is said; never a silent loss."""

import json
from dataclasses import replace

import pytest

import truing
from truing.align.doubts import below_chance, followed_the_better
from truing.records import Answer, Example, Judgement, Message, UserError
from truing.settings import Machine
from truing.world.sessions import harmless, helpful
from truing.world.town import town

TOWN = town(0)
FP32 = {"dtype": "fp32", "threads": 1}


def learn(examples, folder, **keys):
    settings = {"optim": {"lr": 2e-3, "batch": 8, "warmup": 0.1}, "machine": FP32, "held_out": 0.0} | keys
    data = examples if isinstance(examples, dict) else {"examples": examples}
    return truing.pm("world:tiny", data | {"max_tokens": 192}, run={"folder": str(folder)}, **settings)


def said(run, event):
    return [e for e in run.view().events if e["event"] == event]


def pair(number, better="yes .", worse="whatever .", judgement=None):
    answers = (Answer(better), Answer(worse))
    return Example(
        (Message("user", f"what is {number} plus 2 ?"),), answers, (judgement or Judgement("order", (0, 1)),)
    )


def flipped(examples):
    return [
        replace(e, judgements=tuple(replace(j, value=tuple(reversed(j.value))) for j in e.judgements)) for e in examples
    ]


def test_red_team_labels_that_say_what_was_clicked_are_noticed_on_import(tmp_path):
    right = harmless(TOWN, 80, 0)
    assert followed_the_better("pairs.jsonl", right) is None
    assert "wrong way round" in followed_the_better("pairs.jsonl", flipped(right))
    unnamed = [replace(e, judgements=(Judgement("order", j.value),)) for e in flipped(right) for j in e.judgements]
    assert followed_the_better("pairs.jsonl", unnamed) is None  # nobody says that it is red-teaming
    assert "wrong way round" in followed_the_better("harmless-base.jsonl", unnamed)
    assert followed_the_better("helpful.jsonl", helpful(TOWN, 80, 0)) is None  # who is helped follows the better
    (doubt,) = said(learn(flipped(right)[:40], tmp_path), "labels")
    assert "go on with the better reply" in doubt["message"]


def test_a_part_of_the_data_with_flipped_labels_comes_out_below_chance(tmp_path):
    """Most of the data decide what is learnt: the part that says the opposite is named."""
    kind = [pair(i, "here you are .", "go away and be quiet .") for i in range(360)]
    files = {"week-1": kind[:240], "week-2": flipped(kind[240:])}
    for name, examples in files.items():
        truing.write(tmp_path / f"{name}.jsonl", examples, "truing")
    data = {"path": [str(tmp_path / f"{name}.jsonl") for name in files]}
    (doubt,) = said(learn(data, tmp_path / "runs", held_out=0.4), "labels")
    assert doubt["message"].startswith("week-2: 0.0%") and "wrong way round" in doubt["message"]


def test_a_weak_model_is_not_called_flipped():
    def rows(right):
        return [{"gap": 1.0 if i < right else -1.0, "conversation": i, "tranche": "a"} for i in range(40)]

    assert below_chance(rows(16)) == []  # that is what chance does
    assert len(below_chance(rows(8))) == 1


def test_a_share_that_leaves_nothing_to_learn_from(tmp_path):
    with pytest.raises(UserError, match=r"held_out is 0\.999, which keeps back all 5 comparisons .* lower it"):
        learn([pair(i) for i in range(5)], tmp_path, held_out=0.999)


def test_a_share_that_leaves_nothing_to_test_on(tmp_path):
    (note,) = said(learn([pair(i) for i in range(12)], tmp_path, held_out=0.0001), "held out")
    assert "nothing is tested" in note["message"]


@pytest.mark.parametrize(
    ("examples", "objective", "why"),
    [
        ([pair(i, judgement=Judgement("label", (True, True))) for i in range(9)], "ranked", "all_tied 9"),
        ([pair(i, judgement=Judgement("label", (True, True))) for i in range(9)], "binary", "all answers are good"),
        ([pair(i, judgement=Judgement("label", (False, False))) for i in range(9)], "binary", "all answers are bad"),
        ([pair(i, "no .", "no .") for i in range(9)], "ranked", "identical_answers 9"),
        ([pair(i, "", "") for i in range(9)], "ranked", "identical_answers 9"),
        ([pair(i, "", "no .") for i in range(9)], "imitation", "empty_answer 9"),
        ([pair(i) for i in range(9)], "binary", "not_labelled 9"),
    ],
)
def test_data_that_teach_nothing_get_a_sentence(tmp_path, examples, objective, why):
    with pytest.raises(UserError, match=why):
        learn(examples, tmp_path, objective=objective)


def test_what_cannot_be_used_of_good_data_is_counted(tmp_path):
    odd = [
        pair(90, "no .", "no ."),
        pair(91, judgement=Judgement("order", ((0, 1),))),
        replace(pair(92), judgements=()),
        pair(93, "", "no ."),
    ]
    (data,) = said(learn([pair(i) for i in range(8)] + odd, tmp_path), "data")
    assert data["dropped"] == {"identical_answers": 1, "all_tied": 1, "not_ordered": 1}
    (data,) = said(learn([pair(i) for i in range(8)] + odd, tmp_path, objective="imitation"), "data")
    assert data["dropped"] == {"identical_answers": 1, "all_tied": 1, "not_ordered": 1, "empty_answer": 1}


def test_a_preference_model_whose_tokenizer_lost_the_token_it_reads_at(tmp_path):
    run = learn([pair(i) for i in range(16)], tmp_path)
    file = run.folder / "model" / "tokenizer.json"
    known = json.loads(file.read_text())
    known["added_tokens"] = [token for token in known["added_tokens"] if token["content"] != "<|eoc|>"]
    file.write_text(json.dumps(known))
    with pytest.raises(UserError, match=r"read at the token <\|eoc\|>, which its tokenizer does not have"):
        truing.load(run.model, Machine(**FP32))
    other = learn([pair(i) for i in range(16)], tmp_path, read="end")
    assert truing.load(other.model, Machine(**FP32)).rewards  # reads at the answer's own end, and needs no such token
