"""Preference models: what they learn from, what is kept back, where the score is read, and what their card says."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import torch

import truing
from truing.batch import Signals
from truing.data.split import first_turn, split
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.model.pack import pack
from truing.objectives import ranked
from truing.records import Answer, Example, Judgement, Message, UserError
from truing.settings import Machine
from truing.stats import pairs as know

FP32 = {"dtype": "fp32", "threads": 1}
COLOURS = ("red", "green", "blue", "black", "white")
KIND, RUDE = "gladly, {} it is", "go away with your {}"


def comparison(i, flipped=False, strength=None, kind="order"):
    """The kind answer is better, wherever it stands; two turns of one conversation stand beside each other."""
    rng = Random(i // 2)
    colour, first = rng.choice(COLOURS), bool(i % 2)
    said = [KIND.format(colour), RUDE.format(colour)][:: 1 if first else -1]
    good = first != flipped
    value = ((0, 1) if good else (1, 0)) if kind == "order" else [good, not good]
    turns = (Message("user", f"paint it {colour} {i // 2}"),)
    if i % 2:
        turns += (Message("assistant", "sure"), Message("user", "do it"))
    return Example(turns, tuple(map(Answer, said)), (Judgement(kind, value, strength=strength),))


PAIRS = [comparison(i) for i in range(200)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    texts = [a.text for e in PAIRS for a in e.answers] + [m.text for e in PAIRS for m in e.prompt]
    folder = tmp_path_factory.mktemp("models") / "base"
    return make_model(folder, make_tokenizer(texts, 320), **SIZES["0.1M"], context=96)


def train(base, examples, folder, **keys):
    settings = {"optim": {"lr": 3e-3, "epochs": 2, "batch": 8}, "machine": FP32, "held_out": 0.25}
    return truing.pm(base, examples, run={"folder": str(folder)}, **(settings | keys))


def held_rows(run):
    return [json.loads(line) for line in (run.folder / know.FILE).read_text().splitlines()]


def test_conversations_are_kept_back_whole_and_tested(base, tmp_path):
    run = train(base, PAIRS, tmp_path)
    rows = held_rows(run)
    (data,) = [e for e in run.view().events if e["event"] == "data"]
    assert len(rows) == data["dropped"]["kept_back"]
    assert 20 < len(rows) < 80 and len(rows) % 2 == 0
    assert len({r["conversation"] for r in rows}) == len(rows) / 2
    assert {r["turn"] for r in rows} == {1, 2}
    assert know.accuracy(rows).estimate == 1.0
    assert know.length_alone(rows).n == len(rows) / 2


def test_flipped_labels_are_learnt_as_they_are_and_shuffled_ones_not_at_all(base, tmp_path):
    flipped = train(base, [comparison(i, flipped=True) for i in range(200)], tmp_path)
    assert all(row["gap"] > 0 for row in held_rows(flipped))
    scores = truing.load(flipped.model, Machine(**FP32)).score(PAIRS[:20])
    assert all((s[0].reward > s[1].reward) != (e.ranks()[0] == 0) for e, s in zip(PAIRS, scores))
    rng = Random(1)
    noise = train(base, [comparison(i, flipped=rng.random() < 0.5) for i in range(200)], tmp_path)
    found = know.accuracy(held_rows(noise))
    assert found.low < 0.5 < found.high


def test_other_judgements_of_the_same_answers_are_another_run(base, tmp_path):
    first, second = (train(base, [comparison(i, flipped) for i in range(40)], tmp_path) for flipped in (False, True))
    assert first.folder != second.folder


def test_good_and_bad_answers_to_one_prompt_are_pairs(base, tmp_path):
    as_labels = train(base, [comparison(i, kind="label") for i in range(200)], tmp_path)
    as_orders = train(base, PAIRS, tmp_path)
    assert as_labels.view().series("loss") == as_orders.view().series("loss")


def test_binary_calls_single_answers_good_or_bad(base, tmp_path):
    single = [
        Example(e.prompt, (a,), (Judgement("label", [rank == 0]),))
        for e in PAIRS
        for a, rank in zip(e.answers, e.ranks())
    ]
    run = train(base, single, tmp_path, objective="binary")
    engine = truing.load(run.model, Machine(**FP32))
    scores = [s[0].reward for s in engine.score(single[:60])]
    assert all((score > 0) == e.judgements[0].value[0] for score, e in zip(scores, single))
    with pytest.raises(UserError, match="all answers are good"):
        train(base, [e for e in single if e.judgements[0].value[0]], tmp_path, objective="binary")


def test_imitation_sees_the_better_answer_alone_and_stays_a_language_model(base, tmp_path):
    run = train(base, PAIRS, tmp_path, objective="imitation")
    engine = truing.load(run.model, Machine(**FP32))
    assert "sample" in engine.can
    rows = held_rows(run)
    assert know.accuracy(rows).estimate == 1.0
    (example,) = [e for e in PAIRS if e.id == rows[0]["id"]]
    better = engine.score([example])[0][example.ranks().index(0)]
    assert rows[0]["score"][0] == pytest.approx(better.logp / better.tokens, abs=1e-4)


def test_weak_preferences_are_left_out_and_counted(base, tmp_path):
    examples = [comparison(i, strength=float(i % 4)) for i in range(80)]
    run = train(base, examples, tmp_path, stronger_than=0, held_out=0)
    (data,) = [e for e in run.view().events if e["event"] == "data"]
    assert data["dropped"]["weak_preference"] == 20
    assert not (run.folder / know.FILE).exists()


def test_a_data_set_counts_as_much_as_it_is_told_to(base):
    engine = truing.load(str(base), Machine(**FP32))
    groups, _ = engine.encode(PAIRS[:3])
    for group, weight in zip(groups, (1.0, 3.0, 0.5)):
        group.per_group["weight"] = weight
    batch = pack(groups)
    signals = Signals(scores=torch.arange(6.0))
    plain, _ = ranked()(signals, batch)
    counted, _ = ranked(weighted=True)(signals, batch)
    assert torch.allclose(counted, plain * torch.tensor([1.0, 3.0, 0.5]))


def test_two_data_sets_against_each_other_go_the_way_of_the_heavier(base, tmp_path):
    files = []
    for name, flipped in (("kind", False), ("rude", True)):
        files.append(str(tmp_path / f"{name}.jsonl"))
        truing.write(files[-1], [comparison(i, flipped) for i in range(160)], "truing")
    accuracies = {}
    for weights in ((4.0, 1.0), (1.0, 4.0)):
        run = truing.pm(
            base, {"path": files, "loss_weights": weights}, optim={"lr": 3e-3, "batch": 8}, machine=FP32, held_out=0.2,
            run={"folder": str(tmp_path)},
        )  # fmt: skip
        parts = know.by(held_rows(run), "tranche")
        accuracies[weights] = {name: know.accuracy(part).estimate for name, part in parts.items()}
        assert [e["message"] for e in run.view().events if e["event"] == "start"]
    assert accuracies[4.0, 1.0]["kind"] == accuracies[1.0, 4.0]["rude"] == 1.0
    assert accuracies[4.0, 1.0]["rude"] == accuracies[1.0, 4.0]["kind"] == 0.0


@pytest.mark.parametrize("read", ["eoc", "end", "mean"])
def test_a_score_is_read_where_it_was_learnt_also_from_the_saved_model(base, tmp_path, read):
    run = train(base, PAIRS, tmp_path, read=read)
    rows = held_rows(run)
    assert know.accuracy(rows).estimate == 1.0
    by_id = {e.id: e for e in PAIRS}
    engine = truing.load(run.model, Machine(**FP32))
    for row in rows[:6]:
        example = by_id[row["id"]]
        scores = engine.score([example])[0]
        best = example.ranks().index(0)
        assert [scores[best].reward, scores[1 - best].reward] == pytest.approx(row["score"], abs=1e-4)


def test_the_mean_is_over_the_answers_own_tokens(base):
    engine = truing.load(str(base), Machine(**FP32))
    groups, _ = engine.encode(PAIRS[:2])
    batch = pack(groups)
    model = engine.model
    model.mean, model.heads["score"] = True, torch.nn.Linear(64, 1, bias=False)
    with torch.no_grad():
        hidden = model.hidden(batch)
        model.heads["score"] = torch.nn.Linear(hidden.shape[1], 1, bias=False)
        found = model(batch, ["scores"]).scores
        edges = [edge for span in batch.spans for edge in pairwise(span[1:])]
        expected = torch.cat([model.heads["score"](hidden[a:b].mean(0)) for a, b in edges])
    assert torch.allclose(found, expected, atol=1e-5)


def test_going_on_from_a_preference_model_says_where_it_starts(base, tmp_path):
    first = train(base, PAIRS, tmp_path)
    second = train(first.model, PAIRS[:100], tmp_path)
    (start,) = [e for e in second.view().events if e["event"] == "start"]
    assert "has learnt preferences before" in start["message"]
    assert second.view().series("preference")[0][1] < 0.5


def test_the_card_says_what_is_known(base, tmp_path):
    run = train(base, PAIRS, tmp_path)
    text = (run.folder / "model" / "README.md").read_text()
    for words in (
        "in the right order | 1 [1, 1]",
        "the longer answer is better",
        "fingerprint of model",
        "ECE",
        "lr: 0.003",
        "\nlanguage: en\n",
    ):
        assert words in text
    nothing = train(base, PAIRS, tmp_path, held_out=0)
    assert "nothing is known" in (nothing.folder / "model" / "README.md").read_text()


def test_the_card_knows_whose_answers_were_new_to_it(base, tmp_path):
    back = {e.id for e in split(PAIRS, {"learnt": 0.75, "back": 0.25})["back"]}

    def by(i):
        """Ann and Bob in all that is learnt; of what is kept back, every second pair by Eve and Dan."""
        names = ("ann", "bob") if PAIRS[i].id not in back else ("eve", "bob") if i % 2 else ("eve", "dan")
        return replace(PAIRS[i], answers=tuple(replace(a, by=n) for a, n in zip(PAIRS[i].answers, names)))

    run = train(base, list(map(by, range(200))), tmp_path, optim={"lr": 1e-3, "steps": 2, "batch": 2})
    (line,) = [x for x in (run.folder / "model" / "README.md").read_text().splitlines() if "authors new to it" in x]
    assert line.endswith(f" of {sum(PAIRS[i].id in back for i in range(0, 200, 2))} |")


def test_authors_are_new_where_all_names_are_known():
    rows = [{"by": names} for names in (["eve", "dan"], ["eve", "ann"], ["eve", None], ["ann", "bob"])]
    assert know.unseen(rows, {"ann", "bob"}) == rows[:1]
    assert know.unseen(rows, {"ann", None}) == []
    assert know.unseen([row(1.0)], {"ann"}) == []


def test_the_report_shows_what_it_knows(base, tmp_path):
    html = (train(base, PAIRS, tmp_path).folder / "report.html").read_text()
    for words in ("What it knows", "longer is better", "turn 1", "Stated and true", "Among the best", "Scores: all"):
        assert words in html


def test_identical_answers_and_ties_are_counted_drops(base, tmp_path):
    odd = [Example(PAIRS[0].prompt, (Answer("x"), Answer("x")), PAIRS[0].judgements)] * 3
    odd += [Example(PAIRS[0].prompt, PAIRS[0].answers, (Judgement("order", ((0, 1),)),))]
    run = train(base, [*PAIRS, *odd], tmp_path)
    (data,) = [e for e in run.view().events if e["event"] == "data"]
    assert data["dropped"]["identical_answers"] == 3 and data["dropped"]["all_tied"] == 1


def test_an_empty_answer_is_a_choice(base, tmp_path):
    left = [
        Example(e.prompt, (e.answers[e.ranks().index(0)], Answer("")), (Judgement("order", (0, 1)),)) for e in PAIRS
    ]
    assert know.accuracy(held_rows(train(base, left, tmp_path))).estimate == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_is_a_share(base, tmp_path, share):
    with pytest.raises(UserError, match="held_out"):
        train(base, PAIRS, tmp_path, held_out=share)


# Pure functions over rows


def row(gap, chosen=5, other=5, conversation=0, tranche="a", turn=1, score=(0.0, 0.0)):
    return {"gap": gap, "length": [chosen, other], "conversation": conversation, "tranche": tranche, "turn": turn,
            "score": list(score)}  # fmt: skip


def test_accuracy_counts_ties_half_and_draws_conversations():
    rows = [row(1, conversation=i) for i in range(50)] + [row(-1, conversation=99) for _ in range(50)]
    assert know.accuracy([row(1), row(0), row(-1), row(2)]).estimate == 0.625
    assert know.accuracy(rows).n == 51
    assert know.accuracy(rows).high - know.accuracy(rows).low > 0.3  # one conversation holds half of it


def test_length_alone_and_pairs_in_which_it_cannot_decide():
    rows = [row(1, 10, 2), row(1, 2, 10), row(1, 10, 9), row(1, 5, 5)]
    assert know.length_alone(rows).estimate == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert know.length_matched(rows) == rows[2:]


def test_late_turns_are_taken_together():
    found = know.by([row(1, turn=t) for t in (1, 2, 5, 6, 9)], "turn")
    assert {turn: len(part) for turn, part in found.items()} == {1: 1, 2: 1, 5: 3}


def test_accuracy_above_a_threshold_where_the_best_are_guessed():
    rng = np.random.default_rng(0)
    low = [row(1.0, score=s, conversation=i) for i, s in enumerate(rng.uniform(-2, 0, (400, 2)))]
    high = [
        row(rng.choice([-1.0, 1.0]), score=s, conversation=500 + i) for i, s in enumerate(rng.uniform(1, 2, (400, 2)))
    ]
    points = know.above([*low, *high])
    assert points[0][1].estimate == pytest.approx(0.75, abs=0.05)
    assert points[-1][1].estimate == pytest.approx(0.5, abs=0.15)
    assert points[0][1].n == 800 and all(n >= know.FEWEST for n in (p.n for _, p in points))
    assert math.isclose(sum(np.ravel([r["score"] for r in [*low, *high]])) / 1600 + points[0][0],
                        min(np.ravel([r["score"] for r in [*low, *high]])), abs_tol=1e-9)  # fmt: skip


def test_conversations_are_those_of_the_first_turn():
    assert first_turn(PAIRS[0]) == first_turn(PAIRS[1]) != first_turn(PAIRS[2])
