"""Claims about what PPO needs and what it leaves behind (arXiv 2307.04964): H8, H12, H13, H15."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.claims.base import Cell, Claim, Found, Outcome, grid
from truing.claims.judging import (
    SEEDS,
    Value,
    above,
    average,
    below,
    contains,
    denied,
    difference,
    lines,
    mean,
    over_seeds,
)
from truing.claims.ppomax.cells import (
    ITERATIONS,
    STARTS,
    Row,
    apart,
    arms,
    begun,
    drawn,
    final,
    last,
    of_arm,
    seeds,
    within,
)
from truing.claims.rl import rolled, started
from truing.stats.intervals import Interval

CROWD = "wordy"
WORLD = f"world:small, {ITERATIONS[CROWD]} iterations of 128 answers, wordy crowd"
# How many comparisons each crowd judges, so that both preference models are right about as often (seed 99: 0.65).
MATCHED = {"noisy": 8000, "wordy": 1000}
ALIKE, TAIL = 0.03, 1.5
FIXED: dict[str, Any] = {"size": ("small",), "seed": SEEDS}
SAME: dict[str, Any] = {"preset": ("vanilla",), "kl.coefficient": (0.05,), "iterations": (ITERATIONS[CROWD],), **FIXED}


def _quick(params: Mapping[str, Any]) -> bool:
    return bool(params["seed"] == 0)


def _taught(crowd: str, pairs: int) -> list[Cell]:
    """What this preference model knows, and where it leads."""
    whose: dict[str, Any] = {"crowd": (crowd,), "pairs": (pairs,)}
    return grid(started, _quick, **whose, **FIXED) + grid(rolled, _quick, arm=("kl 0.05, matched",), **whose, **SAME)


TAUGHT = [cell for crowd, pairs in MATCHED.items() for cell in _taught(crowd, pairs)]


def h8(found: Found) -> Outcome:
    """Without a policy that answers, PPO finds none."""
    name = "max, from scrambled"
    ends, start = seeds(found, name, final, CROWD), of_arm(found, "max", begun, CROWD)
    mine = of_arm(found, name, final, CROWD)
    below_start = over_seeds({seed: mine[seed] - start[seed] for seed in mine if seed in start})
    reward = apart(found, name, "max", last("reward"), CROWD)
    conditions = {
        "gold ends below the start of the others": below(below_start),
        "reward ends below that from a tuned start": below(reward),
    }
    rows = lines(
        ("gold: end, from scrambled − start of the others", below_start, "effect"),
        ("reward at the end: from scrambled − from tuned", reward, "effect"),
        ("gold at the end, from scrambled", ends, "context"),
        ("gold at the end, from tuned", seeds(found, "max", final, CROWD), "control"),
    )
    return Outcome(conditions, f"gold {ends.estimate:.2f}" if ends else "too few cells", rows)


def h12(found: Found) -> Outcome:
    """Of two preference models that are right equally often, one leads to worse answers."""
    a, b = ({"crowd": crowd, "pairs": pairs} for crowd, pairs in MATCHED.items())
    right, true = (_gap(found, mean(name), a, b, None) for name in ("right", "true"))
    ends = _gap(found, final, a, b, "kl 0.05, matched")
    nats = _gap(found, last("kl"), a, b, "kl 0.05, matched")
    conditions = {
        f"their accuracies differ by less than {ALIKE}": within(right, ALIKE),
        "gold at the end differs": denied(contains(ends, 0.0)),
    }
    rows: list[Row] = [
        ("accuracy on held-out choices of its crowd: noisy − wordy", right, "control"),
        ("gold at the end: noisy − wordy", ends, "effect"),
        ("agreement with gold on held-out pairs: noisy − wordy", true, "context"),
        ("nats per answer at the end: noisy − wordy", nats, "context"),
    ]
    for crowd, pairs in MATCHED.items():
        where = {"crowd": crowd, "pairs": pairs}
        rows.append(
            (f"accuracy, {crowd} ({pairs} comparisons)", average(found, mean("right"), arm=None, **where), "context")
        )
        rows.append((f"gold at the end, {crowd}", average(found, final, arm="kl 0.05, matched", **where), "context"))
    return Outcome(conditions, f"gold {ends.estimate:+.3f}" if ends else "too few cells", lines(*rows))


def _gap(found: Found, value: Value, a: Mapping[str, Any], b: Mapping[str, Any], arm: str | None) -> Interval | None:
    return difference(found, value, {"arm": arm, **a}, {"arm": arm, **b})


def h13(found: Found) -> Outcome:
    """Texts mixed in keep what the policy knew, and cost little."""
    crowd = "noisy"
    kept = apart(found, "max + mix", "max", mean("nll"), crowd)
    mine, theirs = (of_arm(found, name, mean("nll"), crowd) for name in ("max + mix", "max"))
    lower = [mine[seed] < theirs[seed] for seed in mine if seed in theirs]
    ends, without = (of_arm(found, name, final, crowd) for name in ("max + mix", "max"))
    gained = of_arm(found, "max", lambda f: final(f) - begun(f), crowd)
    spared = over_seeds({s: ends[s] - without[s] + gained[s] / 4 for s in ends if s in without})
    conditions = {
        "loss on its texts lower in every seed": all(lower) if lower else None,
        "three quarters of what gold gains are kept": above(spared),
    }
    before = average(found, mean("nll"), arm=None, crowd=crowd)
    rows = lines(
        ("loss on held-out texts, nats per token: with − without", kept, "effect"),
        ("gold at the end: with − without, and a quarter of what is gained without", spared, "effect"),
        ("gold at the end: with − without", apart(found, "max + mix", "max", final, crowd), "context"),
        ("loss before training", before, "context"),
        *(
            (f"loss after, {n}", seeds(found, n, mean("nll"), crowd), "context")
            for n in ("max + mix", "max", "vanilla")
        ),
    )
    return Outcome(conditions, f"{kept.estimate:+.4f} nats per token" if kept else "too few cells", rows)


def h15(found: Found) -> Outcome:
    """The distribution of rewards keeps its shape, then gets a long tail."""
    tails = {name: seeds(found, name, _tail, CROWD) for name in ("vanilla", "max")}
    spread = seeds(found, "vanilla", _spread, CROWD)
    more = apart(found, "vanilla", "max", _tail, CROWD)
    conditions = {
        f"the upper tail grows {TAIL:g} times as long, beside the lower one": above(tails["vanilla"], TAIL),
        "more than under PPO-max": above(more),
    }
    rows = lines(
        ("(p95 − p50) / (p50 − p5), end as a share of the start: vanilla", tails["vanilla"], "effect"),
        ("the same: PPO-max", tails["max"], "control"),
        ("the same: vanilla − PPO-max", more, "effect"),
        ("p95 − p50, end as a share of the start: vanilla", spread, "context"),
    )
    shown = [drawn(found, ("vanilla", "max"), CROWD, f"reward/{p}", f"reward, {p}") for p in ("p5", "p50", "p95")]
    return Outcome(
        conditions, f"{tails['vanilla'].estimate:.2f} times" if tails["vanilla"] else "too few cells", rows, shown
    )


def _quantiles(found: Mapping[str, Any], first: bool) -> tuple[float, float, float]:
    part = slice(0, 10) if first else slice(-10, None)
    low, middle, high = (sum(found[f"curve/reward/{p}"][part]) / 10 for p in ("p5", "p50", "p95"))
    return low, middle, high


def _tail(found: Mapping[str, Any]) -> float:
    (a, b, c), (x, y, z) = _quantiles(found, True), _quantiles(found, False)
    return (z - y) / (y - x) * (b - a) / (c - b)


def _spread(found: Mapping[str, Any]) -> float:
    (_, b, c), (_, y, z) = _quantiles(found, True), _quantiles(found, False)
    return (z - y) / (c - b)


CLAIMS = [
    Claim(
        "H8",
        "PPO needs a policy that has learnt to answer",
        "Started from a model without supervised fine-tuning, PPO fails.",
        "verified",
        f"{WORLD}, PPO-max from a policy that has imitated answers with their words in any order: gold ends below "
        "where the others start, reward below that from the tuned one.",
        arms("max", "max, from scrambled"),
        h8,
    ),
    Claim(
        "H12",
        "Accuracy does not say what a preference model is worth",
        "Two preference models of comparable accuracy gave PPO of very different quality.",
        "verified",
        f"world:small, {ITERATIONS[CROWD]} iterations with KL 0.05, against preference models of a noisy crowd "
        f"({MATCHED['noisy']} comparisons) and of a wordy one ({MATCHED['wordy']}). Accuracies within {ALIKE} of each "
        "other, ends in gold apart.",
        TAUGHT,
        h12,
    ),
    Claim(
        "H13",
        "Pretraining texts mixed in keep what was known",
        "Mixing pretraining data into the loss restores most of what alignment costs elsewhere.",
        "verified",
        f"world:small, {ITERATIONS['noisy']} iterations, noisy crowd, PPO-max with and without a mix of weight 0.05: "
        "loss on held-out texts lower in every seed, and gold keeps three quarters of what it gains without.",
        [*STARTS, *arms("max", "max + mix", "vanilla")],
        h13,
    ),
    Claim(
        "H15",
        "Rewards grow a long tail as the policy collapses",
        "The distribution of rewards keeps its shape until shortly before the collapse, then gets a long tail.",
        "verified",
        f"{WORLD}, vanilla: (p95 − p50)/(p50 − p5) of the last ten iterations is {TAIL:g} times that of the first ten, "
        "and grows more than under PPO-max.",
        arms("vanilla", "max"),
        h15,
    ),
]
