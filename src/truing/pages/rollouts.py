"""A run that learns from its own answers: what distance from the reference buys, and whether judges still agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from truing.pages.charts import Mark
from truing.pages.curves import dots, picture
from truing.pages.distance import (
    Chosen,
    Picture,
    Window,
    chosen_words,
    distance,
    fitted,
    law_picture,
    law_table,
    law_words,
    roots,
    slope_words,
    still,
)
from truing.pages.escape import esc
from truing.run import RunView
from truing.stats.laws import Divergence, divergence_point, least_gain, smoothed

SMOOTH = 5
BY_ITERATION, BY_ROOT = "iteration", "√KL"
UNIT = "gain, in σ"
JUDGES = (
    "What judges say is drawn from where each began, in its own σ: its standard deviation among the start's answers to "
    "one prompt. Lines are means of 5 values, where there are 10. A judge that is no copy of the reward gains less "
    "even where nothing is wrong: near the start, for each σ of the reward, as many of its own as the two correlate by "
    "among the start's answers. It diverges where, for good and beyond the noise of the curves, it gains less than by "
    "the least that this correlation may be (95 %)."
)


def rollouts_section(run: RunView, marks: Sequence[Mark] = (), chosen: Chosen | None = None) -> str:
    """Nothing where there are no rollouts. `marks`: alarms and stops, by iteration."""
    way = distance(run)
    if not run.series("policy/ratio") or len(way.steps) < 2:
        return ""
    spread = next((event for event in run.events if event["event"] == "spread"), None)
    pairs = apart(run, spread)
    diverged = [(pair.steps[found.iteration], pair.label) for pair in pairs if (found := pair.diverges)]
    law, window = fitted(way, Window(*min(diverged, default=(None, ""))))
    slope = 2**0.5 * spread["sigma"] if spread else None
    words = [law_words(way, law, window), slope_words(spread, law)]
    words += [chosen_words(way, chosen)] if chosen else []
    words += [JUDGES, *(pair.words() for pair in pairs)] if pairs else []
    drawn = [law_picture(way, law, window, slope, chosen), *judges_pictures(pairs, marks)]
    note = (
        "The reward is what the policy is trained to raise: that it rises says nothing of whether answers get better, "
        "and it stays calm while a policy collapses. Read the other judges, the length, and what leaves the reference."
    )
    return (
        f'<h2>Reward and distance</h2><p class="note">{esc(note)}</p>'
        f'<div class="claim"><div class="charts wide">{"".join(map(picture, drawn))}</div></div>'
        + (law_table(law, slope) if law else "")
        + "".join(f"<p>{esc(text)}</p>" for text in words)
    )


class Pair(NamedTuple):
    """The reward and a judge from which nothing is learnt, of the same answers: what each has gained since the start,
    in its standard deviations among the start's answers to one prompt. There they correlate by `agrees`; `least`: what
    that foretells at least of the judge's gain, for each σ of the reward's."""

    label: str
    steps: list[int]
    kl: list[float]
    train: np.ndarray
    test: np.ndarray
    agrees: float | None
    least: float | None

    @property
    def diverges(self) -> Divergence | None:
        if self.least is None:
            return None
        try:
            return divergence_point(self.least * self.train, self.test, self.kl, SMOOTH)
        except ValueError:  # too few to say
            return None

    def words(self) -> str:
        count, found = len(self.steps), self.diverges
        least = max(10, count // 5) + 2 * SMOOTH
        if self.least is None:
            said = f"{self.label}: what it should gain is not known, so nothing is said of whether it diverges."
        elif count < least:
            said = f"{self.label}: {count} values are too few to say whether it diverges from the reward ({least} do)."
        elif found is None:
            said = f"{self.label} does not diverge from the reward: it gains no less than could be foreseen."
        else:
            step, root = (_line(by, self)[0][found.iteration - SMOOTH + 1] for by in (BY_ITERATION, BY_ROOT))
            said = (
                f"{self.label} diverges from the reward at iteration {step:.0f} (√KL {root:.2f}): from there on it "
                "gains less than was to be foreseen, beyond the noise."
            )
        if self.agrees is not None and self.least is not None:
            said += f" At the start they correlate by {self.agrees:.2f}, or {self.least:.2f} at least."
        x, (_, gained) = _line(BY_ITERATION, self)
        top = int(gained.argmax())
        return (
            said + f" It is highest at iteration {x[top]:.0f}, {gained[top]:+.2f} σ, and ends at {gained[-1]:+.2f} σ."
        )


def apart(run: RunView, spread: Mapping[str, Any] | None) -> list[Pair]:
    """Every judge that nothing is learnt from, beside the reward. A look comes after its iteration's step: the distance
    of its answers is that of the next iteration's."""
    nats = dict(run.series("kl"))
    found = []
    for judge in spread["apart"] if spread else ():
        look = judge["metric"].startswith("watch/")
        train, test = (dict(run.series(name)) for name in ("watch/reward" if look else "reward", judge["metric"]))
        steps = sorted(train.keys() & test.keys() & nats.keys())
        if len(steps) < 2 or not (judge["sigma"] and spread and spread["sigma"]):
            continue
        kl = [nats.get(s + 1, nats[s]) if look else nats[s] for s in steps]
        learnt, told = (
            _gain([of[s] for s in steps], kl, size) for of, size in ((train, spread["sigma"]), (test, judge["sigma"]))
        )
        label = judge["label"] + (" (at looks)" if look else "")
        agrees = judge.get("agrees")
        least = None if agrees is None else least_gain(agrees, judge["freedom"])
        found.append(Pair(label, steps, kl, learnt, told, agrees, least))
    return found


def _gain(values: Sequence[float], kl: Sequence[float], sigma: float) -> np.ndarray:
    return (np.array(values) - np.mean(values[: still(kl)])) / sigma


def judges_pictures(pairs: Sequence[Pair], marks: Sequence[Mark] = ()) -> list[Picture]:
    """One that stands still or falls while the reward rises is being cheated: over iterations, and over distance."""
    drawn: list[Picture] = []
    for by, title in ((BY_ITERATION, "What judges say, by iteration"), (BY_ROOT, "What judges say, by distance")):
        curves, found = [], []
        for look, pair in enumerate(pairs):
            x, (train, test) = _line(by, pair)
            if not look:
                curves.append({"label": "reward", "points": dots(zip(x, train)), "only": "line"})
            curves.append({"label": pair.label, "points": dots(zip(x, test)), "only": "line"})
            if diverged := pair.diverges:
                found.append(Mark(x[diverged.iteration - SMOOTH + 1], look + 1, f"{pair.label} diverges"))
        found += marks if by == BY_ITERATION else ()
        drawn.append({"title": title, "x": by, "y": UNIT, "curves": curves, "marks": found})
    return drawn if pairs else []


def _line(by: str, pair: Pair) -> tuple[list[float], list[np.ndarray]]:
    """Means of the last five, by which a divergence is found; as they are where there are few."""
    x, gains = roots(pair.kl) if by == BY_ROOT else list(map(float, pair.steps)), [pair.train, pair.test]
    if len(x) < 2 * SMOOTH:
        return x, gains
    return list(smoothed(x)) if by == BY_ROOT else x[SMOOTH - 1 :], [smoothed(gain, SMOOTH) for gain in gains]
