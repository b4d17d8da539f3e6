"""The figures of a PPO run's report: what is drawn and said comes from the run's numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from truing.pages.distance import Chosen, Window, distance, fitted, law_picture, law_words, slope_words
from truing.pages.report import render
from truing.pages.rollouts import apart, judges_pictures, rollouts_section
from truing.run import Run, read_run, set_output
from truing.stats.laws import best_of_kl, divergence_point, fit_law, smoothed

STEPS, STILL, PARTS = 60, 8, 30
SPREAD = {
    "prompts": 64,
    "answers": 128,
    "sigma": 0.5,
    "apart": [
        {"label": "./held", "metric": "reward/./held", "sigma": 2.0, "agrees": 0.9, "freedom": 64},
        {"label": "gold", "metric": "watch/test", "sigma": 0.1, "agrees": 0.5, "freedom": 64},
        {"label": "flat", "metric": "reward/flat", "sigma": 0.0, "agrees": None, "freedom": 64},
    ],
}
LONE = Chosen("b.curve.json", [(k, best_of_kl(k), 1 + 0.2 * k, 0.9 + 0.2 * k, 1.1 + 0.2 * k) for k in (1, 2, 4)])


@pytest.fixture(autouse=True)
def _quiet():
    before = set_output("quiet")
    yield
    set_output(before)


def rows(every: int = 1, steps: int = STEPS) -> list[dict[str, float]]:
    """The reward is 1 + 0.4·√KL; the held-out judge follows it, times 4, until iteration 30, and then falls."""
    noise, found = np.random.default_rng(0).normal(size=(4, steps + 1)), []
    for step in range(1, steps + 1):
        kl = 0.1 * max(step - STILL, 0)
        gain = 0.4 * math.sqrt(kl)
        held = 4 * gain if step < PARTS else 4 * gain - 0.4 * (step - PARTS)
        row = {"reward": 1 + gain + 0.02 * noise[0, step], "kl": kl, "policy/ratio": 1.0, "reward/flat": 0.3}
        row["reward/./held"] = held - 7 + 0.08 * noise[1, step]
        if step % every == 0:
            row |= {
                "watch/reward": 3 + gain + 0.02 * noise[2, step],
                "watch/test": 0.6 + 0.2 * gain + 0.004 * noise[3, step],
            }
        found.append(row)
    return found


def made(folder: Path, metrics, spread=SPREAD, alarm: int | None = None):
    with Run.open(folder, "ppo", recipe_yaml="model: m\n", recipe_hash="", manifest={"verb": "ppo"}) as run:
        for step in run.steps(len(metrics)):
            if step == 1 and spread:
                run.event("spread", message="so much", **spread)
            if step == alarm:
                run.event("alarm", name="length", message="alarm, length: length went from 9 to 40, further than <b>")
            run.log(step, metrics[step - 1])
    return run.view()


def curve(picture, label):
    (found,) = [c for c in picture["curves"] if c["label"] == label]
    return np.array(found["points"])


def test_the_law_is_fitted_from_the_start_and_drawn_with_what_was_foreseen(tmp_path):
    view = made(tmp_path, rows())
    way = distance(view)
    rewards = np.array([value for _, value in view.series("reward")])
    assert way.start == pytest.approx(rewards[:STILL].mean()), "all iterations before anything has moved"
    law, window = fitted(way, Window(PARTS, "./held"))
    expected = fit_law(way.kl, rewards, rewards[:STILL].mean(), PARTS - 1, STILL)
    assert law == expected and law.n == PARTS - 1 - STILL and window.until == PARTS
    assert law.forms["sqrt"].coefficient == pytest.approx(0.4, abs=0.02) and law.best == "sqrt"
    picture = law_picture(way, law, window, math.sqrt(2) * 0.5, LONE)
    dots = curve(picture, "iterations")
    assert dots[:, 0] == pytest.approx(np.sqrt(way.kl)) and dots[:, 1] == pytest.approx(rewards)
    root, log = law.forms["sqrt"], law.forms["log"]
    for label, begins, slope in (
        ("fit in √KL", root.start, root.coefficient),
        ("foreseen", way.start, math.sqrt(2) * 0.5),
    ):
        x, y = curve(picture, label)[:, :2].T
        assert y == pytest.approx(begins + slope * x) and len(x) > 10
    x, y = curve(picture, "fit in ln(1 + KL)")[:, :2].T
    assert y == pytest.approx(log.start + log.coefficient * np.log1p(x**2))
    best = curve(picture, "best of 1, 2, 4")
    assert best[:, 0] == pytest.approx([0, math.sqrt(math.log(2) - 1 / 2), math.sqrt(math.log(4) - 3 / 4)])
    assert best[:, 1:] == pytest.approx(np.array([p[2:] for p in LONE.points]))
    (mark,) = picture["marks"]
    assert mark.step == pytest.approx(math.sqrt(way.kl[PARTS - 1]))
    top = max(p[1] for c in picture["curves"] if c.get("only") == "line" for p in c["points"])
    assert top < rewards.max() + 0.2 * np.ptp(rewards), "a line that leaves what was seen is cut"
    share = root.coefficient / (math.sqrt(2) * 0.5)
    error = math.hypot(share / math.sqrt(2 * 64), root.error / (math.sqrt(2) * 0.5))
    said = f"{share:.2f} of that ({share - 1.96 * error:.2f} to {share + 1.96 * error:.2f}, 95 %: slope and σ are both"
    assert said in slope_words(SPREAD, law) and "the rest of the distance bought no reward" in slope_words(SPREAD, law)
    few = {**SPREAD, "prompts": 2, "answers": 4}
    assert "that it is as foreseen cannot be excluded" in slope_words(few, law), "σ of two prompts says little"
    assert "KL 0, which counts as the 8 it is of" in law_words(way, law, window)


def test_too_few_iterations_before_the_divergence_are_said_and_all_are_fitted(tmp_path):
    way = distance(made(tmp_path, rows()))
    law, window = fitted(way, Window(STILL + 3, "./held"))
    assert law == fit_law(way.kl, way.reward, way.start, weight=STILL) and window.until is None
    assert f"too few of them lie before iteration {STILL + 3}, where ./held diverges" in law_words(way, law, window)
    page = rollouts_section(read_run(tmp_path / "ppo"))
    assert "too few of them" not in page and "before iteration" in page


def test_judges_are_drawn_from_their_start_in_their_own_spread_and_the_divergence_is_said(tmp_path):
    view = made(tmp_path, rows())
    held, gold = apart(view, SPREAD)
    assert (held.label, gold.label) == ("./held", "gold (at looks)"), "one that told nothing apart is left out"
    said, told = (np.array([v for _, v in view.series(name)]) for name in ("reward", "reward/./held"))
    assert held.train == pytest.approx((said - said[:STILL].mean()) / 0.5)
    assert held.test == pytest.approx((told - told[:STILL].mean()) / 2.0)
    assert held.least == pytest.approx(0.9 - stats.t.ppf(0.975, 63) * math.sqrt((1 - 0.9**2) / 63))
    found = divergence_point(held.least * held.train, held.test, held.kl)
    assert found and held.diverges == found and PARTS <= found.iteration + 1 <= PARTS + 8
    assert gold.diverges is None
    by_step, by_root = judges_pictures([held, gold])
    assert [c["label"] for c in by_step["curves"]] == ["reward", "./held", "gold (at looks)"]
    x, y = curve(by_step, "./held")[:, :2].T
    assert list(x) == list(range(5, STEPS + 1)) and y == pytest.approx(smoothed(held.test))
    assert curve(by_root, "./held")[:, 0] == pytest.approx(smoothed(np.sqrt(held.kl)))
    assert [mark.step for mark in by_step["marks"]] == [found.iteration + 1]
    assert by_root["marks"][0].step == pytest.approx(smoothed(np.sqrt(held.kl))[found.iteration - 4])
    page = render([view])
    assert f"./held diverges from the reward at iteration {found.iteration + 1} (√KL" in page
    assert f"before iteration {found.iteration + 1}, where ./held diverges" in page
    assert "gold (at looks) does not diverge from the reward" in page and "correlate by 0.90, or 0.79 at least" in page


def test_the_answers_of_a_look_are_those_of_the_next_iterations_policy(tmp_path):
    (_, gold) = apart(made(tmp_path, rows(every=10)), SPREAD)
    assert gold.steps == list(range(10, 61, 10))
    assert gold.kl == pytest.approx([0.1 * max(step + 1 - STILL, 0) for step in gold.steps[:-1]] + [5.2])
    assert "6 values are too few to say whether it diverges from the reward (20 do)" in gold.words()
    (by_step, _) = judges_pictures([gold])
    assert list(curve(by_step, "reward")[:, 1]) == pytest.approx(list(gold.train)), "as they are where they are few"


def test_a_judge_diverges_from_what_was_to_be_foreseen_of_it_and_not_from_the_reward(tmp_path):
    """It gains a third of what the reward gains, as it always did; where nothing was foreseen nothing is said."""
    noise, metrics = np.random.default_rng(1).normal(size=STEPS), rows()
    for row, chance in zip(metrics, noise, strict=True):
        row["reward/./held"] = 2 * (row["reward"] - 1) / 0.5 / 3 + 0.02 * chance

    def told(agrees: float | None):
        known = {"label": "./held", "metric": "reward/./held", "sigma": 2.0, "agrees": agrees, "freedom": 64}
        view = made(tmp_path / str(agrees), metrics, {**SPREAD, "apart": [known]})
        (pair,), page = apart(view, view.events[1]), rollouts_section(view)
        assert ("./held diverges" in page) == (pair.diverges is not None) == ("before iteration" in page)
        return pair

    assert told(1 / 3).diverges is None
    assert told(0.9).diverges
    assert told(None).diverges is None and "nothing is said of whether it diverges" in told(None).words()


def test_a_reward_that_never_moves_has_no_fits(tmp_path):
    still = [{**row, "reward": 0.7} for row in rows()]
    page = rollouts_section(made(tmp_path, still))
    assert "The reward did not move" in page and "nan" not in page and "AIC" not in page


def test_a_run_that_measured_no_spread_says_so(tmp_path):
    page = rollouts_section(made(tmp_path, rows(), spread=None))
    assert "The spread of the start&#x27;s answers was not measured" in page and "foreseen:" not in page
    assert page.count("<figure") == 1


def test_what_best_of_n_gains_is_compared_with_the_run(tmp_path):
    view = made(tmp_path, rows())
    page = rollouts_section(view, chosen=LONE)
    assert "Best of 4 (b.curve.json): 1.8 at KL of at most 0.64." in page
    first = next(step for step, value in view.series("reward") if value >= 1.8)
    assert f"Training first gets as much at iteration {first}, at KL {0.1 * (first - STILL):.2f}" in page
    assert "But one answer gets" not in page
    far = LONE._replace(points=[(k, kl, *(v + 3 for v in ends)) for k, kl, *ends in LONE.points])
    page = rollouts_section(view, chosen=far)
    assert "Training never gets as much" in page and "But one answer gets 4.2 there and 1" in page


def test_an_alarm_is_said_on_top_and_marked_in_every_chart(tmp_path):
    page = render([made(tmp_path, rows(), alarm=40)])
    top = page[: page.index("<h2>")]
    assert "step 40: alarm, length: length went from 9 to 40, further than &lt;b&gt;" in top
    figures = page.split("<figure")[1:]
    assert len(figures) > 6
    marked = [figure for figure in figures if "<title>step 40: alarm, length</title>" in figure]
    by_step = [figure for figure in figures if "√KL →" not in figure]
    assert marked == by_step and len(by_step) == len(figures) - 2
    assert "Dotted upright: step 40: alarm, length." in page
    assert page.count('data-lines="') < len(figures) and '".chart[data-lines]"' in page, "the script reads these alone"
    quiet = render([made(tmp_path / "quiet", rows())])
    assert "alarm" not in quiet and "Dotted upright" not in quiet
