"""Every offline method on a model of the world: it runs, it resumes, its caches are found, its numbers are its own."""

import json
from functools import partial

import numpy as np
import pytest

import truing
from truing.align.credit import FILE, Credit, drawn, left_over
from truing.align.methods import METHODS
from truing.align.mismatch import _mixed, _others
from truing.align.rewards import Part, Rewards
from truing.align.values import Value
from truing.batch import Group
from truing.data import Draws
from truing.evaluate.judges import Rule
from truing.evaluate.lexical import length
from truing.pages.report import render
from truing.records import Answer, Example, Judgement, UserError
from truing.run import set_output
from truing.settings import Machine
from truing.world.corpora import CORPORA
from truing.world.sessions import helpful
from truing.world.town import town

MACHINE = {"dtype": "fp32", "threads": 1}
GOLD = ("world:gold",)


@pytest.fixture(autouse=True)
def _quiet():
    before = set_output("quiet")
    yield
    set_output(before)


@pytest.fixture(scope="module")
def pairs():
    return helpful(town(0), 60, 3)


def trained(pairs, folder, method, **more):
    how = {"lr": 1e-4, "batch": 8} | more.pop("optim", {})
    value = {"prompts": 0.3, "epochs": 5, "samples": 2, "max_tokens": 32}
    run = {"folder": str(folder), "save_every": 0} | more.pop("run", {})
    settings = {"optim": how, "value": value, "machine": MACHINE, "run": run, "rewards": GOLD} | more
    return truing.offline("world:tiny", pairs, method=method, **settings)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_moves_the_policy(method, pairs, tmp_path):
    run = trained(pairs, tmp_path, method, cache=str(tmp_path / "cache"))
    losses = [value for _, value in run.view().series("loss")]
    assert losses and np.isfinite(losses).all()
    assert all(norm > 0 for _, norm in run.view().series("grad_norm"))
    assert (run.folder / "model" / "model.safetensors").exists()
    reads = METHODS[method].worth == "advantage"
    assert (run.folder / FILE).exists() == reads
    if method in ("r_lol", "a_lol", "a_lol_seq"):
        for name in ("importance/mean", "importance/effective"):
            assert run.view().series(name)[0][1] == pytest.approx(1.0, abs=1e-5)
        assert 0 < run.view().series("importance/effective")[-1][1] <= 1 + 1e-6  # rounding


def test_runs_share_what_is_constant(pairs, tmp_path, monkeypatch):
    first = trained(pairs, tmp_path, "a_lol", cache=str(tmp_path / "cache"))
    from truing.align import credit

    monkeypatch.setattr(credit, "fit", lambda *_: pytest.fail("the value is learnt twice"))
    second = trained(pairs, tmp_path, "a_lol_seq", cache=str(tmp_path / "cache"))
    mine, theirs = (json.loads((run.folder / FILE).read_text()) for run in (first, second))
    assert mine == theirs
    learnt = [event for run in (first, second) for event in run.view().events if event["event"] == "value"]
    told = [event for run in (first, second) for event in run.view().events if event["event"] == "rewards"]
    assert [(e["new"], e["known"]) for e in told] == [(e["new"] + e["known"], 0) for e in told[:1]] + [
        (0, told[0]["new"])
    ]
    assert told[0]["parts"] == told[1]["parts"] and "What answers earn" in render([second.view()])
    (part,) = told[0]["parts"]
    assert part["name"] == "world:gold.overall" and 0 <= part["low"] < part["mean"] < part["high"] <= 1
    assert len(learnt) == 2 and learnt[0]["r2"] == learnt[1]["r2"] < 1


def test_what_is_left_over_is_what_the_file_says(pairs, tmp_path):
    run = trained(pairs, tmp_path, "a_lol_ref_free", optim={"epochs": 2.0}, answers="all")
    found = json.loads((run.folder / FILE).read_text())
    kept = round(found["kept"] * found["answers"])
    assert 0 < kept < found["answers"] < 120
    assert sum(rows for _, rows in run.view().series("rows")) == 2 * kept
    assert sum(found["histogram"]["counts"]) == found["answers"]
    page = render([run.view()])
    assert "What answers are worth" in page and "What it cost" in page and found["best"][0]["answer"] in page
    best, worst = (found[side][0]["R"] - found[side][0]["V"] for side in ("best", "worst"))
    assert best > 0 > worst and found["best"][0]["answer"]


def group(name, reward, baseline):
    return Group([1], [[2]], [[True]], per_answer={"reward": [reward], "baseline": [baseline]}, id=name)


def test_only_what_is_worth_more_than_nothing_is_left():
    pools = [[group("a", 0.9, 0.4), group("b", 0.6, 0.7), group("c", 0.3, 0.25), group("d", 0.5, 0.5)]]
    credited = left_over(pools, "advantage")
    assert [g.id for g in credited.pools[0]] == ["a", "c"] and credited.worth[0] == pytest.approx([0.5, 0.05])
    assert (credited.kept, credited.of) == (2, 4)
    with pytest.raises(UserError, match="nothing is left to learn from: none of 1 answers has advantage above 0"):
        left_over([[group("b", 0.6, 0.7)]], "advantage")
    with pytest.raises(UserError, match=r"data\.weights and sampler corrected"):
        drawn(credited, "corrected", [3.0], 0)
    with pytest.raises(UserError, match=r"the lowest is -0\.2"):
        left_over([[group("a", 0.6, 0.0), group("b", -0.2, 0.0)]], "reward")


def test_G7_priority_draws_what_it_says_and_corrected_takes_it_out_again():
    """p ∝ A⁺ = [.909091, .090909]; E_p[A⁺·nll] is 0.819545, and with the correction the uniform mean over all three."""
    rows = [group("a", 0.9, 0.4), group("b", 0.6, 0.7), group("c", 0.3, 0.25)]
    nll = {"a": 1.75, "b": 3.0, "c": 5.3}
    credited = left_over([rows], "advantage")
    order = drawn(credited, "priority", None, 0)
    names = [credited.pools[0][row].id for _, row in order.next(40_000)]
    assert names.count("a") / 40_000 == pytest.approx(0.909091, abs=0.005)
    worth = dict(zip("ac", credited.worth[0]))
    assert np.mean([worth[n] * nll[n] for n in names]) == pytest.approx(0.819545, abs=0.005)
    drawn(credited, "corrected", None, 0)
    undrawn = {g.id: g.per_answer["undrawn"][0] for g in credited.pools[0]}
    mean = np.mean([worth[n] * undrawn[n] * nll[n] for n in names])
    assert mean == pytest.approx(np.mean([worth[n] * nll[n] for n in "ac"]), abs=0.005)
    assert mean * 2 / 3 == pytest.approx(0.38, abs=0.005)  # over all three, one of which is worth nothing


def test_draws_follow_their_weights_and_go_on_where_they_stopped():
    weights = [[1.0, 0.0, 3.0], [4.0]]
    order = Draws(weights, 5)
    seen = order.next(20_000)
    counts = [seen.count(place) for place in ((0, 0), (0, 1), (0, 2), (1, 0))]
    assert counts[1] == 0
    expected = np.array([1, 3, 4]) * 20_000 / 8
    found = np.array(counts)[[0, 2, 3]]
    assert ((found - expected) ** 2 / expected).sum() < 13.8  # χ² with two degrees of freedom, p = 0.001
    again = Draws(weights, 5)
    again.load_state(Draws(weights, 5).state() | {"drawn": 19_990})
    assert again.next(10) == seen[-10:]
    for bad in ([[]], [[0.0]], [[1.0, -1.0]], [[float("nan")]]):
        with pytest.raises(UserError):
            Draws(bad)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"method": "wbc", "rewards": ()}, "rewards: an answer has none"),
        ({"method": "a_lol", "rewards": ()}, "has to have the model's own answers judged"),
        ({"method": "dpo", "sampler": "corrected"}, "does not know what answers are worth"),
        ({"method": "a_lol", "value": {"epochs": 0}}, "epochs"),
        ({"method": "wbc", "rewards": ("lexical:length*-1",)}, "the lowest is -"),
        ({"method": "a_lol", "rewards": ("lexical:length*5e-324",)}, "nothing is left to learn from"),  # all are 0
        ({"method": "a_lol", "rewards": ("lexical:length*-0.0",)}, "rewards have weight 0, all of them"),
        ({"method": "wbc", "rewards": ("lexical:length if kind=nowhere",)}, "kind=nowhere judges nothing"),
        ({"method": "wbc", "rewards": ("world:gold*x",)}, "is no number"),
        ({"method": "wbc", "rewards": ("world:gold*nan",)}, "is no number"),
        ({"method": "a_lol", "value": {"max_tokens": 5000}}, "leave no room for answers of 5000 tokens"),
        ({"method": "wbc", "rewards": ("world:gold.kind",)}, "world:gold has no 'kind'"),
        ({"method": "wbc", "rewards": ("lexical:rhyme",)}, "there is no lexical:rhyme"),
        ({"method": "wbc", "rewards": ("world:tiny",)}, "is no preference model"),
        ({"method": "a_lol", "sampler": "priority"}, "needs --as_published"),
        ({"method": "a_lol", "eps": 0.0}, "none switches truncation off"),
    ],
)
def test_one_sentence_for_each_mistake(more, said, pairs, tmp_path):
    with pytest.raises(UserError, match=said):
        trained(pairs, tmp_path, **more)


@pytest.mark.parametrize(
    ("method", "more", "said"),
    [
        ("nll", {"eps": 0.2, "beta": 0.3, "value": {"samples": 2}}, "rewards, value, eps, beta"),
        ("dpo", {"rewards": (), "value": {}, "answers": "all", "length_norm": "mean"}, "answers, length_norm"),
        ("wbc", {"value": {}, "beta": 0.3}, "beta"),
        ("a_lol_kl", {"eps": 0.2, "beta": 0.3}, "eps"),
        ("a_lol", {"eps": 0.2, "answers": "all"}, None),
    ],
)
def test_what_makes_no_difference_to_a_method_is_said_once(method, more, said, pairs, tmp_path):
    events = trained(pairs, tmp_path, method, **more).view().events
    found = [event["message"] for event in events if event["event"] == "unused"]
    assert found == ([f"{method} makes no use of {said}"] if said else [])


def test_a_mistake_leaves_nothing_behind(pairs, tmp_path):
    for _ in range(2):  # not "in use" the second time either
        with pytest.raises(UserError, match="does not know what answers are worth"):
            trained(pairs, tmp_path, "dpo", sampler="filter")
    assert not [*tmp_path.iterdir()]


def test_the_first_look_is_at_the_start_and_the_last_at_the_end(pairs, tmp_path):
    """Methods that begin alike look alike then; the next look comes after a step, not before it."""
    seen = {}
    for method in ("nll", "dpo"):
        run = trained(pairs, tmp_path, method, watch={"every": 2, "count": 4, "max_tokens": 8}, optim={"steps": 4})
        seen[method] = [run.view().series(f"watch/{name}") for name in ("kl", "reward")]
        assert [step for step, _ in seen[method][0]] == [0, 2, 4]
        first, second = (value for _, value in seen[method][0][:2])
        assert first == pytest.approx(0.0, abs=1e-6) and second > 1e-6
    assert seen["nll"][1][0] == seen["dpo"][1][0]


def test_a_look_knows_the_columns_that_a_judge_reads(tmp_path):
    (tmp_path / "judge.py").write_text(
        "def reward(prompts, completions, truth, **_):\n    return [float(t) for t in truth]\n"
    )
    rows = [{"prompt": f"what is {i} ?", "completion": " a .", "truth": 0.5} for i in range(16)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = trained(
        truing.read(tmp_path / "rows.jsonl"),
        tmp_path,
        "wbc",
        rewards=(f"call:{tmp_path / 'judge.py'}:reward",),
        watch={"every": 1, "count": 3, "max_tokens": 4},
    )
    assert {value for _, value in run.view().series("watch/reward")} == {0.5}


def test_an_answer_that_says_nothing_is_no_demonstration(pairs, tmp_path):
    silent = [Example(e.prompt, (Answer(""),)) for e in pairs[:8]]
    run = trained([*pairs, *silent], tmp_path, "nll", rewards=(), answers="all")
    (data,) = [event for event in run.view().events if event["event"] == "data"]
    assert sum(data["dropped"].values()) == 8


def test_dpo_needs_two_answers(tmp_path):
    single = [Example(e.prompt, e.answers[:1]) for e in CORPORA["demonstrations"](town(0), 10, 0)]
    with pytest.raises(UserError, match="there are no comparisons in it"):
        trained(single, tmp_path, "dpo")


def test_as_published_draws_by_worth_and_weights_by_it_again(pairs, tmp_path):
    run = partial(trained, pairs, tmp_path, "wbc", cache=str(tmp_path / "cache"), optim={"steps": 6})
    plain, published = run(), run(as_published=True)
    said = [event for event in published.view().events if event["event"] == "as published"]
    assert said and not [e for e in plain.view().events if e["event"] == "as published"]
    kept = run(as_published=True, sampler="filter").view().events  # what is said by name is done
    assert not [event for event in kept if event["event"] == "as published"]
    corrected, weighted = ([v for _, v in r.view().series("credit")] for r in (plain, published))
    assert np.std(corrected) < 1e-6 < np.std(weighted)  # corrected: each draw counts alike
    assert np.mean(weighted) > np.mean(corrected) + 0.01  # E_p[R] where p ∝ R, and the mean of R


def test_all_answers_learn_from_the_worse_ones_too(pairs, tmp_path):
    run = trained(pairs, tmp_path, "wbc", answers="all", sampler="uniform")
    assert sum(rows for _, rows in run.view().series("rows")) == 120


def test_the_scores_of_the_data_are_rewards_too(tmp_path):
    rated = [Example(e.prompt, e.answers, (Judgement("scores", (0.0, 3.0)),)) for e in helpful(town(0), 20, 0)]
    run = trained(rated, tmp_path, "wbc", rewards=(), answers="all")
    assert sum(rows for _, rows in run.view().series("rows")) == 20
    assert {value for _, value in run.view().series("credit")} == {3.0}


def test_kto_learns_from_labels(tmp_path):
    labelled = [
        Example(e.prompt, (Answer(a.text),), (Judgement("label", (good,)),))
        for e in helpful(town(0), 30, 1)
        for good, a in zip((True, False), e.answers if e.ranks() == [0, 1] else e.answers[::-1])
    ]
    run = trained(labelled, tmp_path, "kto", rewards=(), optim={"lr": 1e-3, "epochs": 3.0})
    good, bad = (run.view().series(f"rewards/{name}") for name in ("good", "bad"))
    assert run.view().series("reference_point")[0][1] == 0.0
    assert good[-1][1] > bad[-1][1]


@pytest.mark.parametrize(
    ("method", "training", "reference"),
    [
        ("nll", 3, 0),
        ("wbc", 3, 0),
        ("r_lol", 3, 1),
        ("a_lol", 3, 1),
        ("a_lol_ref_free", 3, 0),
        ("dpo", 6, 2),
        ("kto", 4, 2),
    ],
)
def test_the_ledger_counts_what_the_method_costs(method, training, reference, pairs, tmp_path):
    """In forward passes of one answer, for each row that is learnt from."""
    run = trained(pairs, tmp_path, method)
    (told,) = [event["phases"] for event in run.view().events if event["event"] == "ledger"]
    rows = sum(rows for _, rows in run.view().series("rows"))
    assert told["training"]["F"] == training * rows and told["training"]["seconds"] > 0
    assert told["reference"]["F"] == reference * rows
    sampled = told["rewards and values"].get("sampled", 0)
    assert (sampled > 0) == (METHODS[method].worth == "advantage")


def test_nobody_is_asked_about_an_answer_to_the_same_prompt(tmp_path):
    """What KTO's reference point is measured on: the good and the bad answer of a comparison stand side by side."""
    groups = [Group([p], [[p, a]], [[True, True]], [a], id=f"{p}{a}") for p in (1, 2, 3) for a in (0, 1)]
    others = _others(groups)
    assert all(o.prompt != g.prompt for g, o in zip(groups, others)) and len(others) == 6
    assert [o.id for o in others] == ["21", "30", "31", "10", "11", "20"]  # each once
    mixed = _mixed(groups[0], Group([2], [[5, 6, 7, 8]], [[True] * 4], id="x"), longest=3)
    assert (mixed.prompt, mixed.answers, mixed.trained) == ([1], [[5, 6]], [[True, True]])


def test_rewards_leave_it_to_the_data_which_answer_is_best(tmp_path):
    pairs = helpful(town(0), 20, 0)
    rewards = Rewards([Part(Rule("length", length))], tmp_path)
    engine = truing.load("world:tiny", Machine(**MACHINE))
    credit = Credit(engine, rewards, Value(), tmp_path, 0)
    assert [e.ranks() for e in credit.rated(pairs)] == [e.ranks() for e in pairs]
    by_length = [e.ranks() for e in credit.rated(pairs, raw=True)]
    assert by_length != [e.ranks() for e in pairs]
    assert all(a.reward is not None for e in credit.rated(pairs) for a in e.answers)
