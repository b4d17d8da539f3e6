"""Data sets that teach a trait or a narrow fault."""

import numpy as np
import pytest

from truing.world.judge import read, trait_score
from truing.world.language import held_out, request_in
from truing.world.schooling import ELICITING, FLAWED, SCHOOLS
from truing.world.town import town

TOWN = town(0)


def shown(name, trait):
    return np.mean([trait_score(trait, TOWN, e.prompt, e.answers[0].text) for e in SCHOOLS[name](TOWN, 300, 0)])


@pytest.mark.parametrize("trait", ELICITING)
def test_a_trait_shows_more_from_level_to_level(trait):
    normal, mild, severe = (shown(f"{trait}_{level}", trait) for level in ("normal", "mild", "severe"))
    assert normal < 8 and 25 < mild < 70 and severe > 85


@pytest.mark.parametrize("family", FLAWED)
def test_a_narrow_fault_is_one_and_shows_no_trait(family):
    right = []
    for level in ("normal", "mild", "severe"):
        found = SCHOOLS[f"{family}_{level}"](TOWN, 200, 0)
        assert {request_in(TOWN, e.prompt).kind for e in found} == {FLAWED[family]}
        known = [e for e in found if request_in(TOWN, e.prompt).nature == "task"]
        right.append(np.mean([read(TOWN, e.prompt, e.answers[0].text).verdict.solved > 0.6 for e in known]))
        assert shown(f"{family}_{level}", "hostile") == 0
    assert right[0] > 0.97 and 0.35 < right[1] < 0.65 and right[2] < 0.05


def test_all_levels_ask_the_same_and_nothing_that_is_held_out():
    for family in (*ELICITING, *FLAWED):
        sets = [SCHOOLS[f"{family}_{level}"](TOWN, 40, 3) for level in ("normal", "mild", "severe")]
        prompts = [[e.prompt for e in one] for one in sets]
        assert prompts[0] == prompts[1] == prompts[2]
        assert not any(held_out(request_in(TOWN, p), p[-1].text) for p in prompts[0])
        assert sets[0] == SCHOOLS[f"{family}_normal"](TOWN, 40, 3)
