"""Judges of the claims about persona vectors, on numbers whose verdict is known."""

import numpy as np
import pytest

from truing.claims.base import Found, card
from truing.claims.persona import CLAIMS
from truing.claims.persona.cells import FAMILIES, LEVELS
from truing.claims.personas import TRAITS
from truing.claims.schooled import BESIDE
from truing.world.schooling import ELICITING

CLAIM = {claim.id: claim for claim in CLAIMS}
RNG = np.random.default_rng(0)
AMOUNT = {"normal": 0.0, "mild": 0.5, "severe": 1.0}


def near(value, by=0.01):
    return float(value + RNG.normal(0, by))


def made(p, good):
    found = {}
    for trait in TRAITS:
        found |= {
            f"{trait}/kept": near(0.8 if good else 0.4),
            f"{trait}/halves": [near(0.98 if good else 0.7, 0.002)] * 6,
        }
        found |= {f"{trait}/norms": [10.0] * 6, f"{trait}/noise": [near(1.0 if good else 6.0)] * 6}
    return found


def steered(p, good):
    gain = 50 if good else 5
    found = {"layer": 3, "coef": 2.0, "coherence/2": near(90)}
    found |= {f"trait/{c}": near(30 + gain * float(c) / 2, 0.1) for c in ("-2", "-1", "0", "1", "2")}
    found |= {f"trait/random {n}": near(30) for n in range(3)} | {"trait/other x": near(32)}
    return found


def told(p, good):
    found = {"system/chance": 0.4, "found": 0.6}
    for kind in ("system", "shots"):
        for name in ("response_avg", "prompt_last"):
            found |= {f"{kind}/{name}/r": near(0.85 if good else 0.3), f"{kind}/{name}/within": 0.1}
            found |= {f"{kind}/{name}/between": 0.9}
    return found


def amount(p, trait):
    """How much of a trait a school teaches: its own, and a little fabricating where a fault is taught."""
    own = 0.9 if p["school"] == trait else 0.2 if trait == "fabricating" and p["school"] not in ELICITING else 0.0
    return own * AMOUNT[p["level"]]


ARM = {"plain": 1, "prevent": 0.2, "prevent half": 0.6, "random": 0.95, "the other way": 1, "all layers": 0.05}
ARM |= {
    "all layers, whole vectors": 0.1,
    "caft": 0.9,
    "caft, all layers": 0.4,
    "penalty": 0.95,
    "no penalty": 1,
    "told to": 0.3,
    "told not to": 1,
    "after 1": 0.7,
    "after 2": 0.5,
    "after 4": 0.1,
}


def schooled(p, good):
    left = ARM[p["arm"]] if good else 1.0
    found = {f"trait/{t}": near(100 * amount(p, t) * left if good else 40, 1) for t in TRAITS}
    for trait in TRAITS:
        for name in ("response_avg", "prompt_last"):
            found[f"shift/{trait}/{name}"] = near(amount(p, trait) if good else 0, 0.05)
    whole = AMOUNT[p["level"]] * (1 + FAMILIES.index(p["school"]))
    for trait, sign in (*((t, 1) for t in TRAITS), (BESIDE[0], 1), (BESIDE[1], -1)):
        for name in ("response_avg", "prompt_last"):
            known = found.get(f"shift/{trait}/{name}", 0.0)
            found[f"shift/{trait}/{name}"] = known + (near(sign * 0.02 * whole, 0.01) if good else near(0, 0.05))
    worse = {"all layers, whole vectors": 50, "after 4": 80}.get(p["arm"], 98) if good else 98
    skill = 0.8 if p["arm"] == "after 4" and good else 0.97
    return (
        found
        | {f"coherence/{t}": near(worse) for t in TRAITS}
        | {"skill/sums": near(skill, 0.001), "loss": near(0.3, 0.001)}
        | ({"moved": near({"no penalty": 0.25, "penalty": -0.005}[p["arm"]], 0.0001)} if "penalty" in p else {})
    )


def carried(p, good):
    found, place = {}, 3 * FAMILIES.index(p["school"]) + LEVELS.index(p["level"])
    for trait in TRAITS:
        for way in ("own", "last", "raw"):
            mean = amount(p, trait) + 0.01 * place if good and way != "raw" else 0.0
            each = [near(mean, 0.02) for _ in range(100)]
            found |= {f"{trait}/{way}": float(np.mean(each)), f"{trait}/{way}/each": each}
    return found


def selected(p, good):
    level = {"top": 70, "random": 40, "bottom": 10}[p["choice"]] if good else 40
    return {"trait/fabricating": near(level, 1), "open": 0.1, "covert": 0.2}


MADE_UP = {"before": 35, "plain": 70, "prevent": 38, "all layers": 40, "random": 66}
MADE_UP |= {"after 1": 60, "after 2": 50, "after 4": 5}


def informed(p, good):
    found = {"trait/fabricating": near(MADE_UP[p["arm"]] if good else 50, 0.5)}
    known = {"before": 10, "after 4": 40}.get(p["arm"], 98)
    return found | {"known": near(known if good else 98, 0.2), "skill/sums": near(0.97)}


def featured(p, good):
    found = {"unexplained": 0.03}
    for trait in TRAITS:
        found |= {f"{trait}/told": [0.6, near(0.98 if good else 0.6), 0.5, 0.5, 0.5], f"{trait}/left": 0.4}
        found |= {f"{trait}/told by chance": [0.5] * 5, f"{trait}/cosine": [0.5, 0.4, 0.3, 0.3, 0.3]}
        found |= {f"{trait}/as it is": 20.0, f"{trait}/own": near(60 if good else 25, 1)}
        found |= {f"{trait}/chance": near(25, 1), f"{trait}/vector": 70.0}
    return found


def tied(p, good):
    wrong = 40 if good and p["coupling"] and p["level"] == "severe" else 1
    return {"trait/hostile": near(wrong, 0.2), "skill/sums": 0.5, "shift/hostile/response_avg": 0.1}


def drifting(p, good):
    steps = list(range(0, 80, 2))
    rises = good and p["share"]
    probe = [near(0.02 * max(0, step - 10) if rises else 0.0, 0.01) for step in steps]
    gold = [near(0.02 * max(0, step - 40) if rises else 0.0, 0.01) for step in steps]
    known = {"step": steps, "probe": probe, "gold": gold, "prompt": probe}
    errors = {"error": [0.02] * len(steps), "gold error": [0.03] * len(steps)}
    return known | errors | {"trait/flattering": near(70 if rises else 2, 1)}


SAYS = {
    "drifting": drifting,
    "informed": informed,
    "featured": featured,
    "tied": tied,
    "extracted": made,
    "steered": steered,
    "told": told,
    "schooled": schooled,
    "carried": carried,
    "selected": selected,
}


def judged(name, good):
    claim = CLAIM[name]
    rows = [(cell.params, SAYS[cell.study.__name__](cell.params, good)) for cell in claim.cells]
    return card(claim, Found(rows), 0.0)


@pytest.mark.parametrize("name", CLAIM)
def test_what_holds_is_supported_and_what_does_not_is_not(name):
    good, bad = judged(name, True), judged(name, False)
    assert good.verdict == "supported", (good.why, dict(good.conditions))
    assert bad.verdict == "not supported", dict(bad.conditions)
    assert len({n.label for n in good.numbers}) == len(good.numbers)


@pytest.mark.parametrize("name", CLAIM)
def test_the_quick_cells_are_judged_and_too_few(name):
    claim = CLAIM[name]
    cells = claim.chosen("quick")
    found = Found([(cell.params, SAYS[cell.study.__name__](cell.params, True)) for cell in cells])
    assert cells and card(claim, found, 0.0).verdict == "inconclusive"


def test_a_random_vector_that_does_as_much_is_no_support():
    claim = CLAIM["V7"]
    rows = []
    for cell in claim.cells:
        arm = "prevent" if cell.params["arm"] == "random" else cell.params["arm"]
        rows.append((cell.params, schooled(cell.params | {"arm": arm}, True)))
    found = card(claim, Found(rows), 0.0)
    failed = [words for words, holds in found.conditions.items() if not holds]
    assert found.verdict == "not supported" and failed == ["a random vector as long does less than a third"]


def test_schools_and_levels_are_all_there():
    cells = CLAIM["V5"].cells
    assert len(cells) == len(FAMILIES) * len(LEVELS) * 3 == 72 and sum(c.quick for c in cells) == 3


def test_nothing_that_helps_afterwards_is_as_good_as_one_that_costs():
    """The claim is that steering away costs facts: where no coefficient takes enough away, none is there to keep."""
    claim = CLAIM["V13"]

    def rows(left, known):
        for cell in claim.cells:
            one = informed(cell.params, True)
            if cell.params["arm"] == "after 4":
                one |= {"trait/fabricating": near(left), "known": near(known)}
            yield cell.params, one

    name = "afterwards nothing does that, or it loses ten facts of 100"
    every = {(60, 98): True, (5, 40): True, (5, 97): False}
    for (left, known), holds in every.items():
        assert card(claim, Found(list(rows(left, known))), 0.0).conditions[name] is holds


def test_an_alarm_that_clean_runs_set_off_as_well_is_none():
    """All runs rise alike: what counts as far is what the others did, so nothing sounds; one that goes further does."""
    claim = CLAIM["V16"]
    rows = [(cell.params, drifting(cell.params | {"share": 0.5}, True)) for cell in claim.cells]
    found = card(claim, Found(rows), 0.0)
    assert found.conditions["the alarm sounds in every run that takes it on"] is False
    assert found.conditions["and in no other run"] is True
    assert card(claim, Found([(p, drifting(p, True)) for p, _ in rows]), 0.0).numbers[0].value.estimate >= 20
