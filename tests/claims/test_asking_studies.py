"""Studies of outliers, votes, toxicity and tax, on the smallest model and few items."""

import json

import numpy as np
import pytest

from truing.claims import arena, outliers


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(arena, "TEXTS", 24)
    monkeypatch.setattr(arena, "ASKED", 20)
    monkeypatch.setattr(outliers, "PROMPTS", 200)


def test_what_a_preface_costs_is_the_difference_item_by_item(tmp_path):
    found = {c: arena.tax(tmp_path, size="tiny", condition=c, seed=3) for c in ("prompt", "neutral", "plain")}
    for one in found.values():
        off = np.array(one["plain"]["logp"]) - np.array(one["values"]["logp"])
        assert off.mean() == pytest.approx(one["tax"]["logp"]["estimate"])
        assert len(off) == 24 and one["plain"] == found["plain"]["values"] and json.dumps(one)
    assert found["plain"]["tax"]["match"]["high"] == 0
    assert found["prompt"]["front"] > found["neutral"]["front"] > 40  # as many words, and markers of turns


def test_toxicity_of_both_kinds_of_prompts_prompt_by_prompt(tmp_path):
    found = arena.toxicity(tmp_path, size="tiny", condition="plain", samples=3, seed=0)
    for name in ("harmful", "benign"):
        assert np.mean(found[name]["values"]) == pytest.approx(found[name]["mean"]["estimate"])
    assert found["harmful"]["worst"]["estimate"] > found["benign"]["worst"]["estimate"]


def test_an_arena_is_the_same_again(tmp_path):
    asked = {"sizes": ("tiny",), "conditions": ("plain", "prompt"), "votes": 20, "seed": 1}
    first, again = (arena.arena(folder, **asked) for folder in (tmp_path / "a", tmp_path / "b"))
    assert first == again and json.dumps(first)
    assert set(first["models"]) == {"tiny, plain", "tiny, prompt"}
    assert first["models"]["tiny, plain"]["elo"]["estimate"] == 0 and not first["lines"]


def test_outliers_and_the_control_without_any(tmp_path):
    found = {o: outliers.ood(tmp_path, size="tiny", seed=0, outside=o) for o in ("harmful", "benign")}
    assert all(json.dumps(one) for one in found.values())
    for name in ("MD", "SRM"):
        assert abs(found["benign"]["mean"][name] - 0.5) < 0.15 < found["harmful"]["mean"][name] - 0.5
