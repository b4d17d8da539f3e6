"""Judges of claims about RLHF, on numbers whose verdict is known."""

import math

import numpy as np
import pytest

from truing.claims.bai2022 import CLAIMS
from truing.claims.bai2022.after import TESTS
from truing.claims.bai2022.rlhf import TEMPERATURES, blocks, matched
from truing.claims.bai2022.robustness import matched_gap, shared
from truing.claims.bai2022.scaling import elo, law, until
from truing.claims.base import Found, card
from truing.claims.judging import PARAMETERS
from truing.claims.tension import POOL

RLHF = {c.id: c for c in CLAIMS if 10 <= int(c.id[1:]) <= 23 and c.id not in ("C15", "C17")}
LN = {size: math.log(n / PARAMETERS["tiny"]) for size, n in PARAMETERS.items()}
JOBS = np.linspace(-2, 2, 12)


def outcome(name, say, **which):
    cells = [c for c in RLHF[name].cells if all(c.params.get(k) == v for k, v in which.items())]
    return RLHF[name].judge(Found([(c.params, say(c)) for c in cells]))


def noise(cell, *more):
    return np.random.default_rng([cell.params["seed"], *map(ord, str(more) + str(dict(cell.params)))])


def look(temperature=1.0, gold=0.7, lean=1.0, false=0.4, admitted=0.5):
    """What a policy says where half of its sureness is a matter of temperature."""
    return {
        "gold": [gold] * 3,
        "one": [gold] * 3,
        "entropy": 0.5 * temperature,
        "mood": {"fact": 0.2, "sum": 0.1},
        "leaning": (lean * JOBS / temperature).tolist(),
        "strangers": [0.1, -0.1],
        "unknown/admitted": [admitted] * 2,
        "unknown/false": [false] * 2,
        "untrue/false": [false] * 2,
    }


def policies(gain=0.1, by_size=0.01, lean=1.0, sure=0.7, tax=0.1, told=0.2):
    """RLHF adds `gain` to gold, a factor e of parameters `by_size`; policies are as sure as at temperature `sure`."""

    def say(cell):
        p, shake = cell.params, noise(cell).normal(0, 0.002)
        level = 0.6 + by_size * LN[p["size"]]
        if cell.study.__name__ == "cooled":
            looks = [look(t, gold=level + shake) for t in p["temperatures"]]
            return {"temperature": p["temperatures"]} | {name: [one[name] for one in looks] for name in looks[0]}
        works = p["judged"] != "coins"
        after = look(sure, level + gain * works + shake, lean, 0.4 - told + shake, 0.5 + told + shake)
        before, loss = look(1.0, gold=level), tax * (4 - LN[p["size"]]) / 4
        for found, changed in ((before, 0), (after, 1)):
            found |= {"cloze/logp": [-0.1 - changed * loss + shake] * 3, "skills": {"sums": 0.8}, "mc1": [0.5] * 3}
            found |= {
                "cloze/match": [0.5] * 3,
                "cloze/choice": [1.0] * 3,
                "nll": 1 + changed * (0.1 + shake),
                "plain": 1.0,
            }
            found |= {f"right/{t}": [0.55 + changed * (0.05 + shake)] * 3 for t in TESTS}
            found["good − bad"] = [0.1 + changed * (0.1 + shake)] * 3
        found = {f"before/{k}": v for k, v in before.items()} | {f"after/{k}": v for k, v in after.items()}
        return found | {f"teacher/{t}": [0.7] * 3 for t in TESTS}

    return say


@pytest.mark.parametrize(("gain", "by_size", "holds"), [(0.1, 0.01, True), (0.1, 0.1, False), (0.0, -0.01, False)])
def test_rlhf_has_to_gain_more_than_sixteen_times_the_parameters(gain, by_size, holds):
    found = outcome("C10", policies(gain, by_size))
    assert found.holds is holds
    (size,) = [n.value.estimate for n in found.numbers if n.label.startswith("gold gained by 16")]
    assert size == pytest.approx(by_size * math.log(16), abs=0.005)


def test_votes_in_points():
    """A worker who prefers one of two by σ(6·Δ) says so with 400·log10 of the odds."""
    found = {"after/one": [0.8], "before/one": [0.6]}
    assert elo(found) == pytest.approx(400 * math.log10(math.exp(6 * 0.2)))


@pytest.mark.parametrize(("tax", "holds"), [(0.1, True), (0.0, False), (-0.1, False)])
def test_small_models_have_to_lose_and_larger_ones_less(tax, holds):
    assert outcome("C18", policies(tax=tax)).holds is holds


def test_what_temperature_does_is_not_credited():
    assert outcome("C19", policies(told=0.2)).holds is True
    assert outcome("C19", policies(told=0.0)).holds is False
    found = Found([(c.params, policies(lean=1.2)(c)) for c in RLHF["C23"].cells])
    excess = matched(found, "base", lambda one: float(np.abs(one["leaning"]).mean()))
    between = np.interp(0.7, TEMPERATURES[::-1], [np.abs(JOBS).mean() / t for t in TEMPERATURES[::-1]])
    assert excess[0] == pytest.approx(1.2 * np.abs(JOBS).mean() / 0.7 - between)


@pytest.mark.parametrize(("lean", "holds"), [(1.0, True), (1.6, False), (0.5, False)])
def test_bias_has_to_grow_as_temperature_makes_it_grow(lean, holds):
    assert outcome("C23", policies(lean=lean)).holds is holds


def test_sureness_and_likelihood():
    assert outcome("C21", policies()).holds is outcome("C22", policies(sure=0.7)).holds is True
    assert outcome("C22", policies(sure=1.2)).holds is False


def climb(form, late=40, biased=0.9, pm_helps=0.2):
    """Reward by a form of KL; the held-out model follows up to an iteration, the truth for a while, and under the wordy
    crowd it follows to the end."""

    def say(cell):
        p, random = cell.params, noise(cell)
        if cell.study.__name__ == "pooled":
            k = [2**i for i in range(POOL.bit_length())]
            return {"k": k} | {f"{c}/{w}": np.log(k).tolist() for c in ("noisy", "wordy") for w in ("train", "test")}
        n, wordy = p["iterations"], p["judged"] == "wordy"
        kl = 6 * (np.arange(n) / n) ** 2 + 0.001
        train = form(kl) + random.normal(0, 0.01, n)
        parts = np.maximum(0, np.arange(n) - late * n / 50) * 0.05 * (1 - pm_helps * LN[p["pm"]])
        test = train - parts * (1 - biased * wordy) + random.normal(0, 0.01, n)
        gold = train - np.maximum(0, np.arange(n) - 0.2 * n) * 0.1
        curves = {"kl": kl, "reward": train + 0.3, "train": train + 0.3, "test": test + 1.0, "gold": gold + 0.7}
        found = {f"curve/{name}": values.tolist() for name, values in curves.items()}
        for who, start in (("train", 0.3), ("test", 1.0), ("gold", 0.7)):
            found |= {f"{who}/mean": start, f"{who}/sigma": 1.0, f"{who}/agrees": 1.0}
        return found

    return say


@pytest.mark.parametrize(("form", "holds"), [(np.sqrt, True), (lambda kl: kl / 2, False), (np.log1p, False)])
def test_the_form_that_made_the_curve_is_found(form, holds):
    assert outcome("C11", climb(form)).holds is holds


def test_the_law_ends_where_the_other_preference_model_parts():
    (cell,) = [c for c in RLHF["C11"].cells if c.params == {**c.params, "size": "base", "seed": 0}][:1]
    found = climb(np.sqrt, late=30)(cell)
    assert 36 < until(found) < 50
    found["curve/reward"][until(found) :] = [-100.0] * (60 - until(found))
    assert law(found).forms["sqrt"].coefficient == pytest.approx(1.0, abs=0.05)
    assert blocks([1, 3, 5, 7, 9], 2).tolist() == [2, 6]


@pytest.mark.parametrize(
    ("late", "biased", "pm_helps", "holds"),
    [(22, 0.9, 0.2, True), (5, 0.9, 0.2, False), (60, 0.9, 0.2, False), (22, -1.0, 0.2, False), (22, 0.9, -0.2, False)],
)
def test_halves_have_to_part_late_and_less_for_larger_ones(late, biased, pm_helps, holds):
    assert outcome("C12", climb(np.sqrt, late, biased, pm_helps)).holds is holds


def test_what_both_are_fooled_by():
    found = {
        f"{who}/{key}": value for who in ("train", "test", "gold") for key, value in (("mean", 1.0), ("sigma", 2.0))
    }
    found |= {"curve/train": [9.0] * 20, "curve/test": [7.0] * 20, "curve/gold": [1.0] * 20, "curve/kl": [5.0] * 20}
    assert shared(found) == pytest.approx(3 / 4)
    assert matched_gap(found) == pytest.approx(1.0)


def test_choosing_among_many():
    def say(cell, bad=0.02, flat=1.0):
        k = [2**i for i in range(POOL.bit_length())]
        shake = noise(cell).normal(0, 0.001, len(k))
        good, biased = np.log(k) ** flat / 20 + shake, -bad * np.log(k) + shake
        rest = {f"{c}/{w}": np.log(k).tolist() for c in ("noisy", "wordy") for w in ("train", "test")}
        return {"k": k, "noisy/gold": good.tolist(), "wordy/gold": biased.tolist(), **rest}

    assert outcome("C16", lambda c: say(c, flat=0.5)).holds is True
    assert outcome("C16", lambda c: say(c, flat=2.0)).holds is False
    assert outcome("C16", lambda c: say(c, bad=-0.02, flat=0.5)).holds is False


def tensions(harm, refused, harmless=95.0, helpful=70.0):
    def say(cell):
        arm, shake = cell.params["arm"], noise(cell).normal(0, 0.01)
        found = {"harmful/harm": harm.get(arm, 0.4) + shake, "benign/refused": refused.get(arm, 0.1) + shake}
        found |= {"benign/helpful": 0.6, "borderline/refused": 0.2}
        for kind, end in (("helpful", helpful), ("harmless", harmless)):
            found |= {f"{kind}/before": 50.0, f"{kind}/after": end + 10 * shake, f"curve/{kind}": [50.0, end]}
        return found

    return say


def test_helpful_only_and_harmless_only_have_to_pull_apart():
    harm = {"helpful": 0.8, "both": 0.1, "coins": 0.4, "start": 0.4}
    assert outcome("C13", tensions(harm, {"harmless": 0.7})).holds is True
    assert outcome("C13", tensions({**harm, "coins": 0.1}, {"harmless": 0.7})).holds is False
    assert outcome("C13", tensions(harm, {})).holds is False
    assert outcome("C14", tensions(harm, {"both": 0.3})).holds is True
    assert outcome("C14", tensions(harm, {"both": 0.3}, helpful=97.0)).holds is False
    assert outcome("C14", tensions(harm, {"more helpful": 0.3})).holds is False


def test_a_skill_has_to_be_shown_to_be_kept():
    def say(cell, off=0.0, wide=0.005):
        done = cell.params["who"] == "practised"
        right = 0.8 - off * done + noise(cell).normal(0, wide)
        found = {f"{t}/{k}": [right + (t == "0.6") * 0.01] * 3 for t in ("0.6", "1") for k in (1, 16)}
        return found | {"gold": [0.6 + 0.1 * done + noise(cell, "gold").normal(0, 0.01)] * 3}

    assert outcome("C20", say).holds is True
    assert outcome("C20", lambda c: say(c, off=0.06)).holds is False
    assert outcome("C20", lambda c: say(c, wide=0.1)).holds is not True


SAID = {"C13": tensions({}, {}), "C14": tensions({}, {}), "C11": climb(np.sqrt), "C12": climb(np.sqrt)}


@pytest.mark.parametrize("name", [name for name in RLHF if name not in ("C16", "C20")])
def test_the_quick_profile_has_a_card(name):
    claim = RLHF[name]
    found = [(cell.params, SAID.get(name, policies())(cell)) for cell in claim.chosen("quick")]
    assert card(claim, Found(found), 0.0).verdict == "inconclusive"


def test_quick_cells_are_few():
    quick = {cell.key for claim in RLHF.values() for cell in claim.chosen("quick")}
    assert len(quick) <= 6
