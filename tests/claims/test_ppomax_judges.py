"""Judges of the claims about PPO, on curves whose verdict is known; and one arm that is really run."""

import json
import math
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from truing.align.ingredients import Ppo
from truing.claims.base import Found
from truing.claims.ppomax import CLAIMS
from truing.claims.ppomax.cells import ARMS, ITERATIONS, fell
from truing.claims.rl import _nested, agreement, rolled, scrambled
from truing.config import load
from truing.schema import merge, plain

CLAIM = {claim.id: claim for claim in CLAIMS}
RNG = np.random.default_rng(3)
COLLAPSES = (
    "vanilla",
    "scaled",
    "clipped 0.8",
    "clipped 0.3",
    "advantages clipped",
    "ratios free",
    "gradients clipped",
)


def curves(p, falls, at=30, **given):
    """Gold rises to its best at `at`; then it is lost, or stays. KL goes on in the one case and comes to rest in the
    other, and so does what follows it."""
    n = p.get("iterations", 80)
    x = np.arange(n)
    gold = 0.5 + 0.2 * np.minimum(x / at, 1) - (0.02 * np.maximum(x - at, 0) if falls else 0)
    far = x / 2 if falls else 8 * (1 - np.exp(-x / 20))
    found = {
        "reward/world:gold.overall": gold,
        "reward": np.minimum(x / 50, 1.2) if falls else np.minimum(x / 60, 1.0),
        "kl": far,
        "kl_per_token": far / 20,
        "unique": 1 - far / 100,
        "length": 9 + far / 4,
        "ref_perplexity": 1.5 * np.exp(far / 40),
        "repetition": 0.05 + far / 200,
        "composite": 1.2 + far / 100,
        "perplexity": 1.5 + 0 * x,
        "policy/total": -0.1 + 0 * x,
        "critic/total": 0.2 - x / 1000,
        "advantage": 0.2 + 0 * x,
        "entropy": 0.4 + 0 * x,
        "reward/p5": -1.0 + 0 * x,
        "reward/p50": 0.0 + 0 * x,
        "reward/p95": 1.0 + 0 * x,
    } | given
    noisy = {f"curve/{k}": (np.asarray(v) + RNG.normal(0, 0.001, n)).tolist() for k, v in found.items()}
    return noisy | {"nll": 0.45 + RNG.normal(0, 0.001), "gold": [0.4] * 3, "right": 0.65, "true": 0.5}


def verdict(name, say):
    claim = CLAIM[name]
    return claim.judge(Found([(cell.params, say(cell.params)) for cell in claim.cells])).holds


def ordinary(p):
    return curves(p, p.get("arm") in COLLAPSES, at=15 if p.get("crowd") == "wordy" else 30)


@pytest.fixture(autouse=True)
def same_noise():
    RNG.bit_generator.state = np.random.default_rng(7).bit_generator.state


def test_vanilla_has_to_fall_in_every_seed_and_the_other_in_none():
    assert verdict("H1", ordinary) is True
    assert verdict("H1", lambda p: curves(p, p["arm"] in ("vanilla", "max"), 15)) is False
    assert verdict("H1", lambda p: curves(p, p["arm"] == "vanilla" and p["seed"] != 3, 15)) is False


def test_a_signal_has_to_leave_what_is_normal_before_the_reward_does():
    assert verdict("H2", ordinary) is True

    def rewarded_early(p):
        up = {"reward": np.minimum(np.arange(p["iterations"]) / 2, 5.0)} if p["arm"] == "vanilla" else {}
        return curves(p, p["arm"] == "vanilla", 30, **up)

    assert verdict("H2", rewarded_early) is False
    # runs that go on as healthy ones do raise nothing, and nothing is shown
    assert verdict("H2", lambda p: curves(p, False)) is False


def test_more_penalty_has_to_mean_less_reward_and_less_distance():
    def ordered(p, sign=-1.0):
        eta = ARMS[p["arm"]][1].get("kl.coefficient", 0.0)
        x = np.arange(p["iterations"])
        given = {"kl": (20 + sign * 60 * eta) * x / 80, "reward": (2 + sign * 5 * eta) * x / 80}
        return curves(p, p["arm"] in ("vanilla", "kl 0.02"), 15, **given)

    assert verdict("H3", ordered) is True
    assert verdict("H3", lambda p: ordered(p, 1.0)) is False


def test_the_critic_that_learns_first_is_read_from_where_the_policy_learns():
    """Its own first iterations are not the policy's."""

    def say(p, calm=0.05):
        first = p["arm"] == "critic first"
        n = p["iterations"]
        smoothed = p["arm"] not in ("vanilla", "clipped 0.8")
        small = {"advantage": calm, "critic/total": calm / 2} if smoothed else {}
        bias = np.full(n, small.get("advantage", 0.2))
        loss = np.full(n, small.get("critic/total", 0.2))
        if first:
            bias[:10], loss[:10] = 9.0, 9.0
        found = curves(p, True, 15, **{"advantage": bias, "critic/total": loss})
        if first:
            found["curve/policy/total"] = found["curve/policy/total"][10:]
        return found

    assert verdict("H7", say) is True
    assert verdict("H7", lambda p: say(p, calm=0.15)) is False


def test_an_entropy_that_only_rises_is_no_divergence():
    def say(p, lost=True):
        wild = p["arm"] == "entropy 0.1"
        x = np.arange(p["iterations"])
        found = curves(p, p["arm"] != "kl 0.05" and lost, 15, entropy=0.4 + (x / 100 if wild else 0))
        return found

    assert verdict("H9", say) is True
    assert verdict("H9", lambda p: say(p, lost=False)) is False


def test_a_tail_is_long_beside_the_other_one():
    def say(p, up=1.0, down=1.0):
        x = np.arange(p["iterations"])
        grown = {"reward/p95": 1 + up * x / 40, "reward/p5": -1 - down * x / 40} if p["arm"] == "vanilla" else {}
        return curves(p, False, **grown)

    assert verdict("H15", lambda p: say(p, 1.0, 0.0)) is True
    assert verdict("H15", say) is False  # both tails grow: it is wider, and no longer on one side


def ending(p, end, *, begin=0.7, **given):
    """Gold goes from `begin` to `end` in thirty iterations, and stays there."""
    x = np.arange(p.get("iterations", 80))
    return curves(p, False, **{"reward/world:gold.overall": begin + (end - begin) * np.minimum(x / 30, 1), **given})


def test_clipping_has_to_delay_the_fall_and_scaling_to_leave_it():
    def say(p, late=30):
        return curves(p, True, late if p["arm"] in ("clipped 0.3", "advantages clipped") else 15)

    assert verdict("H4", say) is True
    assert verdict("H4", lambda p: say(p, late=10)) is False
    assert verdict("H4", lambda p: curves(p, True, 30 if p["arm"] == "scaled" else 15)) is False


def test_minor_clips_have_to_change_nothing():
    assert verdict("H5", lambda p: ending(p, 0.3)) is True
    assert verdict("H5", lambda p: ending(p, 0.3 if p["arm"] == "vanilla" else 0.65)) is False
    assert verdict("H5", lambda p: ending(p, 0.3 if p["arm"] == "vanilla" else 0.5)) is False  # falls, and half as far


def test_both_ends_of_lambda_have_to_be_worse():
    worse = {"lambda 0": 0.2, "lambda 1": 0.2}
    assert verdict("H6", lambda p: ending(p, worse.get(p["arm"], 0.4))) is True
    assert verdict("H6", lambda p: ending(p, (worse | {"lambda 1": 0.5}).get(p["arm"], 0.4))) is False


def test_from_scrambled_words_reward_and_gold_have_to_stay_low():
    def say(p, reward=0.2, gold=0.1):
        mine = p["arm"] == "max, from scrambled"
        return ending(p, gold if mine else 0.8, begin=0.0 if mine else 0.7, reward=reward if mine else 1.0)

    assert verdict("H8", say) is True
    assert verdict("H8", lambda p: say(p, reward=1.2)) is False
    assert verdict("H8", lambda p: say(p, gold=0.75)) is False


def test_a_fixed_ratio_has_to_hold_and_to_gain_less_with_the_penalty():
    def say(p, nats=1.0, reward=0.5, alone=0.8):
        both, fixed = p["arm"] == "fixed ratio, kl 0.05", p["arm"] == "fixed ratio"
        return ending(p, alone if fixed else 0.8, kl=nats if both else 4.0, reward=reward if both else 1.0)

    assert verdict("H10", say) is True
    assert verdict("H10", lambda p: say(p, nats=3.0)) is False
    assert verdict("H10", lambda p: say(p, reward=1.5)) is False
    assert verdict("H10", lambda p: say(p, alone=0.3)) is False


def test_long_stability_is_flat_and_long():
    def say(p, drift=0.0, fall_at=10):
        if p["arm"] == "vanilla":
            return curves(p, True, fall_at)
        x = np.arange(p["iterations"])
        return ending(p, 0.8, **{"reward/world:gold.overall": 0.8 - drift * np.maximum(x - 80, 0) / 320})

    assert verdict("H11", say) is True
    assert verdict("H11", lambda p: say(p, drift=0.1)) is False
    assert verdict("H11", lambda p: say(p, fall_at=60)) is False  # too soon to say


def test_equal_accuracy_and_unequal_ends():
    def say(p, right=0.65, gold=0.5):
        wordy = p["crowd"] == "wordy"
        found = ending(p, gold if wordy else 0.8)
        return found | {"right": (right if wordy else 0.65) + RNG.normal(0, 0.003)}

    assert verdict("H12", say) is True
    assert verdict("H12", lambda p: say(p, right=0.75)) is False
    assert verdict("H12", lambda p: say(p, gold=0.8)) is False


def test_a_mix_has_to_keep_the_texts_and_most_of_the_gain():
    def say(p, nll=0.44, gold=0.79):
        mixed = p.get("arm") == "max + mix"
        found = ending(p, gold if mixed else 0.8)
        return found | {"nll": (nll if mixed else 0.5) + RNG.normal(0, 0.001)}

    assert verdict("H13", say) is True
    assert verdict("H13", lambda p: say(p, nll=0.51)) is False
    assert verdict("H13", lambda p: say(p, gold=0.75)) is False  # half of the gain


def test_what_is_left_has_to_be_above_the_start_and_above_vanilla():
    def say(p, start=0.5, vanilla=0.4):
        level = {None: start, "vanilla": vanilla}.get(p.get("arm"), 0.6)
        return {"gold": (level + RNG.normal(0, 0.01, 50)).tolist()}

    assert verdict("H14", say) is True
    assert verdict("H14", lambda p: say(p, start=0.7)) is False
    assert verdict("H14", lambda p: say(p, vanilla=0.65)) is False


def test_an_interaction_is_told_and_not_judged():
    assert verdict("H16", lambda p: ending(p, 0.2 if p["arm"] == "both clipped" else 0.5)) is None


def test_no_two_arms_are_the_same():
    """A switch that does nothing where it is set makes two names for one run."""
    known = {}
    for name, (preset, keys) in ARMS.items():
        study = {key: keys[key] for key in ("mix", "begin") if key in keys}
        own = {key: value for key, value in keys.items() if key not in study}
        base = {"model": "m", "data": {"path": "p"}, "rewards": ["r"], "preset": preset}
        values = plain(load(Ppo, reduce(merge, map(_nested, own.items()), base)))
        values.pop("preset")
        if values["reward"]["transform"] == "raw":
            values["critic"].pop("fold")  # there are no moments to fold
        same = known.setdefault(json.dumps([values, study], sort_keys=True), name)
        assert same == name


def test_where_gold_never_gained_a_fall_is_counted_from_its_start():
    n = ITERATIONS["wordy"]
    lost = {"curve/reward/world:gold.overall": np.linspace(0.7, 0.3, n).tolist()}
    assert fell(lost) == pytest.approx(0.25 * 0.7 / 0.4 * n, abs=5)
    assert fell({"curve/reward/world:gold.overall": np.linspace(0.7, 0.6, n).tolist()}) is None
    chance = [0.70] * 5 + [0.73] * 5 + [0.69] * (n - 10)  # up and down within the noise of so many answers
    assert fell({"curve/reward/world:gold.overall": chance}) is None


def test_an_arm_is_run_with_its_settings(tmp_path):
    """A few iterations: what claims read is there, and the settings are those of the arm."""
    common = {"seed": 99, "size": "tiny", "crowd": "wordy", "pairs": 64, "iterations": 2, "rollouts": 32}
    found = rolled(
        Path(tmp_path), arm="x", preset="vanilla", **common, **{"update.entropy": 0.01, "kl.coefficient": 0.1}
    )
    assert {len(found[f"curve/{name}"]) for name in ("reward", "kl", "entropy", "policy/total", "reward/p95")} == {2}
    assert found["curve/kl"][0] == pytest.approx(0, abs=1e-4) and 0 < found["nll"] < math.log(1000)
    worse = rolled(Path(tmp_path), arm="x", preset="vanilla", **common, begin="scrambled")
    assert worse["nll"] > found["nll"] + 1 and worse["curve/kl"][0] == pytest.approx(0, abs=1e-4)
    assert scrambled(Path(tmp_path), "tiny", 99) == scrambled(Path(tmp_path), "tiny", 99)
    assert set(agreement(Path(tmp_path), "tiny", "wordy", 99, 64)) == {"right", "true"}
