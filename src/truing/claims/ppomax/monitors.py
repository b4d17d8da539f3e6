"""The claim about what shows a collapse before the reward does (arXiv 2307.04964): H2, and the lead of each signal.

Healthy are runs with a KL penalty. What is normal for a signal is learnt from the healthy runs of all other seeds, and
tried on this one: its vanilla runs, where an alarm should come before gold falls, and its healthy ones, where none
should. KL is what tells the two apart by design, so that it leaves what is normal shows nothing: it is reported, and
nothing hangs on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from truing.claims.base import Claim, Found, Outcome
from truing.claims.judging import lines
from truing.claims.ppomax.cells import CROWDS, SMOOTH, Row, arms, fell
from truing.stats.laws import envelope, first_alarm

HEALTHY = ("kl 0.05", "max")
EARLY = {"perplexity under the start": "ref_perplexity", "length": "length"}
OTHERS = {
    "nats per token": "kl_per_token",
    "repetition": "repetition",
    "different answers": "unique",
    "perplexity as the paper computes it": "composite",
    "own perplexity": "perplexity",
}
LATE = {"reward": "reward", "policy loss": "policy/total", "value loss": "critic/total"}
SIGNALS = EARLY | OTHERS | LATE
LOGS = ("perplexity under the start", "length", "own perplexity")
Curves = Mapping[str, Sequence[float]]


def h2(found: Found) -> Outcome:
    """Length, KL and perplexity show it; reward and losses do not."""
    rows, conditions, said = list[Row](), dict[str, bool | None](), []
    for crowd in CROWDS:
        times, falls, wrong = _alarms(found, crowd)
        if not falls:
            conditions[f"{crowd}: the signals come first in every seed"] = None
            continue
        never = float("inf")
        conditions[f"{crowd}: gold falls in every seed"] = all(at is not None for at in falls.values())
        first = [_first(times, seed, EARLY, never) < _first(times, seed, LATE, never) for seed in falls]
        conditions[f"{crowd}: the signals come before reward and losses in every seed"] = all(first)
        conditions[f"{crowd}: at most one of five healthy seeds raises each"] = all(
            wrong[n] <= max(1, len(falls) // 5) for n in EARLY
        )
        for name in SIGNALS:
            leads = [at - t for seed, at in falls.items() if at is not None and (t := times[name][seed]) is not None]
            if leads:
                rows.append((f"{crowd}: iterations before the fall, median: {name}", float(median(leads)), _role(name)))
            seen = sum(t is not None for t in times[name].values())
            rows.append((f"{crowd}: alarms in {len(falls)} vanilla runs: {name}", float(seen), "context"))
            rows.append((f"{crowd}: seeds with a false alarm, of {len(falls)}: {name}", float(wrong[name]), "context"))
        ahead = [
            at - t
            for seed, at in falls.items()
            if at is not None and (t := _first(times, seed, EARLY, None)) is not None
        ]
        if crowd == "noisy":
            conditions["noisy: they come before gold falls, in the median"] = median(ahead) > 0 if ahead else None
        said.append(
            f"{crowd}: first signal {median(ahead):+g} iterations before the fall" if ahead else f"{crowd}: no fall"
        )
    return Outcome(conditions, "; ".join(said), lines(*rows))


def _role(name: str) -> Any:
    return "effect" if name in EARLY else "control" if name in LATE else "context"


def _first(times: Mapping[str, Mapping[Any, int | None]], seed: Any, names: Mapping[str, str], never: Any) -> Any:
    seen = [t for name in names if (t := times[name][seed]) is not None]
    return min(seen, default=never)


def _alarms(
    found: Found, crowd: str
) -> tuple[dict[str, dict[Any, int | None]], dict[Any, float | None], dict[str, int]]:
    """Signal → seed → iteration of its alarm in the vanilla run; seed → iteration of gold's fall; signal → seeds with a
    false alarm."""
    runs = {(p["arm"], p["seed"]): f for p, f in found.where(crowd=crowd).rows}
    seeds = [seed for seed in found.params("seed") if all((arm, seed) in runs for arm in ("vanilla", *HEALTHY))]
    times: dict[str, dict[Any, int | None]] = {name: {} for name in SIGNALS}
    wrong = dict.fromkeys(SIGNALS, 0)
    if len(seeds) < 2:
        return times, {}, wrong
    for seed in seeds:
        known = envelope([_of(runs[arm, s]) for s in seeds if s != seed for arm in HEALTHY], SMOOTH)
        for name in SIGNALS:
            times[name][seed] = first_alarm(_of(runs["vanilla", seed])[name], known[name], SMOOTH)
            wrong[name] += any(
                first_alarm(_of(runs[arm, seed])[name], known[name], SMOOTH) is not None for arm in HEALTHY
            )
    return times, {seed: fell(runs["vanilla", seed]) for seed in seeds}, wrong


def _of(found: Mapping[str, Any]) -> Curves:
    """Signals by name; perplexities and length as alarms read them, in logarithms. While the critic learns alone,
    nothing counts."""
    learnt = len(found["curve/policy/total"])
    curves = {name: found[f"curve/{curve}"][-learnt:] for name, curve in SIGNALS.items()}
    return {name: [math.log(v) for v in each] if name in LOGS else each for name, each in curves.items()}


CLAIMS = [
    Claim(
        "H2",
        "Length, KL and perplexity show a collapse that reward and losses do not",
        "Reward and losses look well while the policy collapses; answer length, KL and perplexity tell.",
        "verified",
        "world:small, vanilla under two crowds. What is normal for a signal comes from the runs with a KL penalty of "
        "the other four seeds (widened by a quarter). In every seed gold falls, and perplexity under the start "
        "or length leaves it before reward and losses do; under the noisy crowd before gold falls, in the median; each "
        "raises a false alarm in at most one of five seeds.",
        arms("vanilla", *HEALTHY),
        h2,
    ),
]
