"""Judges of claims, on numbers whose verdict is known."""

import math

import numpy as np
import pytest
from scipy.special import expit

from truing.claims.bai2022.knowledge import _matched
from truing.claims.bai2022.learning import _area
from truing.claims.base import Found
from truing.claims.judging import PARAMETERS, SIZES, over_seeds, together, trend
from truing.claims.run import PAPERS, claims_of

CLAIMS = {claim.id: claim for paper in PAPERS for claim in claims_of(paper)}
RANDOM = np.random.default_rng(0)
LN = {size: math.log(n) for size, n in PARAMETERS.items()}


@pytest.fixture(autouse=True)
def same_noise():
    """Whichever tests are run, and in whatever order."""
    RANDOM.bit_generator.state = np.random.default_rng(7).bit_generator.state


def judged(name, say):
    """A claim's verdict, had its cells found what `say` makes of their parameters."""
    claim = CLAIMS[name]
    return claim.judge(Found([(cell.params, say(cell.params)) for cell in claim.cells])).holds


def ahead(gap, coins=0.5):
    """Preference models are above imitation by gap(size)."""

    def say(p):
        if "control" in p:
            return {"accuracy": coins + 0.004 * (p["seed"] - 2)}
        return {"accuracy": 0.6 + gap(p["size"]) * (p["objective"] == "ranked") + RANDOM.normal(0, 0.003)}

    return say


@pytest.mark.parametrize(
    ("gap", "holds"),
    [
        (lambda size: 0.02 * SIZES.index(size) + 0.05, True),
        (lambda size: 0.02 * SIZES.index(size) - 0.01, False),  # grows, and is too small at the end
        (lambda size: 0.2 - 0.02 * SIZES.index(size), False),  # large, and shrinks
    ],
)
def test_ranked_has_to_be_far_ahead_and_the_gap_to_grow(gap, holds):
    assert judged("A7", ahead(gap)) is holds
    assert judged("A7", ahead(gap, coins=0.56)) is False  # something else gives it away


@pytest.mark.parametrize(("gap", "holds"), [(0.0, True), (0.015, True), (-0.1, False), (0.1, False)])
def test_binary_has_to_be_equal_to_imitation(gap, holds):
    assert judged("A8", ahead(lambda _: gap)) is holds


@pytest.mark.parametrize(
    ("cut", "all_of_them", "holds"), [(0.05, 0.01, True), (0.05, -0.01, False), (0.0, 0.01, False)]
)
def test_the_end_of_context_has_to_be_better_on_cut_replies_and_never_worse(cut, all_of_them, holds):
    def say(p):
        more = p["read"] == "eoc"
        right = 0.9 + cut * more + RANDOM.normal(0, 0.005)
        return {"accuracy": 0.9 + all_of_them * more, "cut/right": [right] * 3}

    assert judged("A12", say) is holds


@pytest.mark.parametrize(("size", "amount", "holds"), [(0.01, 0.02, True), (0.0, 0.02, False), (0.01, -0.02, False)])
def test_a_plane_has_to_rise_both_ways(size, amount, holds):
    def say(p):
        level = size * LN[p["size"]] + amount * math.log(p["n"]) + RANDOM.normal(0, 0.003)
        if "control" in p:
            level = 0.5 + 0.004 * (p["seed"] - 1)
        return {f"{test}/{key}": level for test in ("helpful", "harmless") for key in ("accuracy", "ceiling")}

    assert judged("C1", say) is holds


@pytest.mark.parametrize(
    ("crossed", "middle", "mild", "holds"),
    [(0.4, 0.79, 0.6, True), (0.55, 0.79, 0.6, False), (0.4, 0.7, 0.6, False), (0.4, 0.79, 0.4, False)],
)
def test_each_alone_has_to_be_below_chance_and_both_together_near(crossed, middle, mild, holds):
    def say(p):
        if "control" in p:
            return {"helpful/accuracy": mild, "harmless/accuracy": mild + RANDOM.normal(0, 0.005)}
        share = p["share"]
        ends = {0.0: (0.8, crossed), 1.0: (crossed, 0.8)}
        values = np.array(ends.get(share, (middle, middle))) + RANDOM.normal(0, 0.005, 2)
        return dict(zip(("helpful/accuracy", "harmless/accuracy"), values.tolist()))

    assert judged("C6", say) is holds


def test_the_area_that_mixing_loses():
    accuracy = {0.0: 0.8, 0.1: 0.8, 0.5: 0.6, 0.9: 0.4, 1.0: 0.2}
    rows = [
        ({"share": s, "seed": 0}, {"helpful/accuracy": a, "harmless/accuracy": accuracy[round(1 - s, 1)]})
        for s, a in accuracy.items()
    ]
    assert _area(Found(rows)) == {0: pytest.approx((0 + 0.25 + 0.5) / 3)}


@pytest.mark.parametrize(("lost", "holds"), [(lambda ln: 0.5 - 0.03 * ln, True), (lambda ln: 0.1, False)])
def test_larger_models_have_to_lose_less(lost, holds):
    def say(p):
        inner = 0 < p["share"] < 1
        value = 0.8 - (lost(LN[p["size"]]) if inner else 0) + RANDOM.normal(0, 0.002)
        return {"helpful/accuracy": value, "harmless/accuracy": value}

    assert judged("C7", say) is holds


@pytest.mark.parametrize(("off", "spread", "holds"), [(0.0, 0.003, True), (0.03, 0.003, False), (0.0, 0.05, False)])
def test_another_skill_has_to_be_shown_to_be_free(off, spread, holds):
    """Not to have found a difference is not enough: with wide noise nothing is shown."""

    def say(p):
        level = 0.7 - off * ("+" in p["data"]) + RANDOM.normal(0, spread)
        return {"helpful/accuracy": level, "summaries/accuracy": level}

    assert judged("C8", say) is holds


def pairs(p, sharper=1.0):
    """Outcomes drawn from true chances; the model states them `sharper` than they are."""
    random = np.random.default_rng(p["seed"])
    often = 2.0 if "epochs" in p else 1.0
    found = {}
    for test in p["tests"]:
        truth = np.abs(random.normal(0, 1.5, 5000))
        right = random.random(5000) < expit(truth)
        found |= {
            f"{test}/gaps": (np.where(right, truth, -truth) * sharper * often).tolist(),
            f"{test}/chances": np.where(right, expit(truth), 1 - expit(truth)).tolist(),
            f"{test}/turns": random.integers(1, 5, 5000).tolist(),
        }
    return found


@pytest.mark.parametrize(("sharper", "holds"), [(1.0, True), (1.5, False), (0.6, False)])
def test_stated_chances_have_to_be_true(sharper, holds):
    assert judged("C3", lambda p: pairs(p, sharper)) is holds


def test_a_turn_is_easier_only_if_it_is():
    def say(p, bonus):
        found = pairs(p)
        for test in p["tests"]:
            turns, random = np.array(found[f"{test}/turns"]), np.random.default_rng(p["seed"])
            right = random.random(5000) < 0.7 + bonus * (turns == 1)
            found[f"{test}/gaps"] = np.where(right, 1.0, -1.0).tolist()
        return found

    assert judged("C2", lambda p: say(p, 0.06)) is True
    assert judged("C2", lambda p: say(p, 0.0)) is False


def test_matched_gaps_take_away_what_is_owed_to_gaps():
    """Right with the chance σ(|gap|), and nothing else: among high scores, whose gaps are small, accuracy falls, and at
    equal gaps it does not."""
    random = np.random.default_rng(1)
    better = random.beta(4, 1.5, 40_000) * 6  # crowded at the upper end
    scores = np.sort(np.stack([better, random.beta(4, 1.5, 40_000) * 6], 1), axis=1)
    distance = scores[:, 1] - scores[:, 0]
    right = random.random(40_000) < expit(distance)
    found = {
        "helpful/scores": scores.tolist(),
        "helpful/gaps": np.where(right, distance, -distance).tolist(),
    }
    high = scores[:, 0] >= np.quantile(scores, 0.8)
    assert right[high].mean() < right.mean() - 0.05
    assert abs(_matched(found)) < 0.015
    assert judged("C4", lambda _: found | {"x": 0}) is True


def test_means_over_an_axis_need_all_of_it():
    rows = [({"axis": a, "seed": s, "arm": arm}, {"v": s + (arm == "x")}) for a in "pq" for s in (0, 1) for arm in "xy"]
    value = lambda found: float(found["v"])  # noqa: E731
    assert together(Found(rows), value, "axis", {"arm": "x"}, {"arm": "y"}) == {0: 1.0, 1: 1.0}
    assert together(Found(rows[:-2]), value, "axis", {"arm": "x"}) == {0: 1.0}
    assert over_seeds({}) is None


def test_a_trend_over_two_sizes_says_nothing():
    points = [("tiny", 0.1), ("base", 0.2), ("tiny", 0.11), ("base", 0.21)]
    assert trend(points).goes(1) is None
    assert trend([*points, ("large", 0.3), ("large", 0.31)]).goes(1) is True
    assert trend([*points, ("large", 0.3), ("large", 0.31)]).goes(-1) is False


def faces(plain, good, neutral, rude=0.5):
    """Gold by preface, each a function of size."""

    def say(p):
        level = {"none": plain, "good": good, "neutral": neutral, "shuffled": neutral}.get(p["preface"])
        value = rude if level is None else level(p["size"])
        noise = RANDOM.normal(0, 0.003)
        return {key: [value + noise] * 2 for key in ("gold", "hhh/information", "hhh/sum", "hhh/mean", "harmful")}

    return say


def rising(at, by):
    return lambda size: at + by * SIZES.index(size)


@pytest.mark.parametrize(
    ("good", "neutral", "holds"),
    [
        (rising(0.75, 0.05), rising(0.71, 0.0), True),
        (rising(0.75, 0.05), rising(0.75, 0.05), False),  # plain text does as much
        (rising(0.90, -0.04), rising(0.71, 0.0), False),  # the gain shrinks with size
    ],
)
def test_a_prompt_has_to_do_more_than_its_length_and_more_in_larger_models(good, neutral, holds):
    assert judged("A1", faces(rising(0.7, 0.0), good, neutral)) is holds


@pytest.mark.parametrize(
    ("good", "rest", "unprompted", "holds"),
    [
        (0.85, 0.83, 0.70, True),
        (0.701, 0.73, 0.73, False),  # the prompt gave nothing, whatever the student gained
        (0.85, 0.75, 0.70, False),  # a third of it
        (0.85, 0.83, 0.83, False),  # any teacher does it
    ],
)
def test_a_student_has_to_keep_what_the_prompt_gave(good, rest, unprompted, holds):
    def say(p):
        where = p.get("arm") or p["preface"]
        level = {"none": 0.7, "good": good, "rest": rest, "unprompted": unprompted}.get(where, 0.7)
        found = {"gold": [level + RANDOM.normal(0, 0.003)] * 2, "skills": {"a": 0.9}, "lm": 1.0, "tail": 0.0}
        return found | {f"hhh/{way}": [0.5] for way in ("information", "sum", "mean")}

    assert judged("A2", say) is holds


@pytest.mark.parametrize(
    ("few", "many", "shuffled", "text", "holds"),
    [
        (0.1, 0.0, 0.0, 0.02, True),
        (0.1, 0.1, 0.0, 0.02, False),  # it does not shrink
        (0.1, 0.0, 0.1, 0.02, False),  # coins do as much
        (0.1, 0.0, 0.0, 0.1, False),  # so does reading the texts
    ],
)
def test_pre_training_has_to_do_more_than_coins_and_reading(few, many, shuffled, text, holds):
    def say(p):
        gain = {"none": 0.0, "text": text}.get(p["source"], few if p["n"] < 1000 else many)
        return {"correct": [0.6 + (shuffled if p.get("shuffled") else gain) + RANDOM.normal(0, 0.004)] * 2}

    assert judged("A9", say) is holds


@pytest.mark.parametrize(("learnt", "lost", "holds"), [(0.99, 0.4, True), (0.78, 0.55, False)])
def test_who_learnt_less_of_an_order_has_less_to_unlearn(learnt, lost, holds):
    """Ranked loses 0.9 at the reverse of what it knows; binary about half, of all of it or of half of it."""

    def say(p):
        costs = {"ranked": 0.9, "binary": lost, "none": 0.0}[p["encoding"]] * p["distance"]
        first = learnt if p["encoding"] == "binary" else 0.99
        return {"accuracy": 0.95 - costs + RANDOM.normal(0, 0.01), "first": first}

    assert judged("A11", say) is holds


def offline(gold, unique=lambda p: 0.9, kept=lambda p: 0.6, caught=0.9, drop=lambda p: 0.0, late=False):
    """A policy whose gold, variety and left-over share follow its parameters, and which learns early, or late."""

    def say(p):
        level = gold(p) + RANDOM.normal(0, 0.003)
        found = {"gold": [level] * 2, "unique": unique(p), "length": 9.0, "kept": kept(p), "asked": 300}
        found |= {"updates": 40, "F": 15_000 * p.get("times", 1)}
        found |= {"dropped are bad": caught, "bad are dropped": caught + RANDOM.normal(0, 0.003)}
        found |= {f"gold/{part}": level for part in ("helpful", "honest", "harmless", "fluent", "informative")}
        curve = [(0, level - 0.05), (4, level - 0.05 if late else level), (8, level + drop(p)), (12, level)]
        return found | {"curve/reward": curve, "curve/unique": [(s, unique(p)) for s, _ in curve]}

    return say


LEVELS = {"start": 0.6, "nll": 0.6, "wbc": 0.65, "r_gold": 0.66, "r_lol": 0.67, "filtered_nll": 0.7, "dpo": 0.7}


def by_method(ours=0.8):
    return lambda p: LEVELS.get(p["method"], ours)


def bad_data(ours):
    """Imitation is worth 0.8 on good answers and 0.5 on bad ones."""

    def level(p):
        good = p.get("half") == "best" or p["noise"] == 0.1
        return ours if p["method"] == "a_lol_seq" else 0.8 if good else 0.5

    return level


def unsteady(spread):
    """PPO is worse with few answers, and its seeds are far apart."""

    def level(p):
        away = spread * (p["seed"] % 2 - 0.5)
        return 0.75 + 0.005 * p["times"] + away if p["method"] == "ppo" else by_method()(p)

    return level


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("L1", offline(by_method()), offline(by_method(ours=0.6))),
        ("L2", offline(by_method(), kept=lambda p: 0.9 - p["noise"] + RANDOM.normal(0, 0.005)), offline(by_method())),
        ("L3", offline(by_method(), drop=lambda p: 0.1 * (p["method"] == "dpo") + RANDOM.uniform(0, 0.005)),
         offline(by_method())),
        ("L4", offline(by_method(ours=0.72), lambda p: 0.9 - 0.2 * (p["method"] == "dpo") + RANDOM.normal(0, 0.003)),
         offline(by_method(ours=0.72))),
        ("L5", offline(by_method()), offline(by_method(ours=0.7))),
        ("L6", offline(by_method()), offline(by_method(ours=0.5))),
        ("L7", offline(bad_data(0.8)), offline(bad_data(0.6))),
        ("L7", offline(bad_data(0.8)), offline(lambda p: bad_data(0.6 if "task" in p else 0.8)(p))),
        ("L8", offline(by_method(), lambda p: 0.7 if p["method"] == "r_gold" else 0.9), offline(by_method())),
        ("L9", offline(lambda p: 0.8 + 0.02 * (p["method"] == "a_lol_seq")),
         offline(lambda p: 0.7 if p["method"] == "a_lol_ref_free" else 0.8)),
        ("L10", offline(by_method()), offline(lambda p: 0.6 + p["n"] / 1e5 if p["method"] != "start" else 0.5)),
        ("L10", offline(by_method()), offline(by_method(), late=True)),
        ("L11", offline(unsteady(0.04)), offline(unsteady(0.0))),
        ("L11", offline(unsteady(0.04)), offline(lambda p: unsteady(0.04)(p) + 0.06 * (p.get("times") == 3))),
        ("L12", offline(by_method(), lambda p: 0.1 if "eps" in p and p["eps"] is None else 0.9), offline(by_method())),
    ],
)  # fmt: skip
def test_claims_of_offline_methods(name, good, bad):
    assert judged(name, good) is True
    assert judged(name, bad) is False
