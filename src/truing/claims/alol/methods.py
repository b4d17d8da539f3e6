"""Claims about methods on the same answers (arXiv 2305.14718): L1, L3, L4, L5, L8, L9, L11, L12."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from truing.claims.aligned import aligned
from truing.claims.base import Claim, Found, Outcome, Picture, grid
from truing.claims.judging import SEEDS, above, average, below, curve, difference, lines, mean, over_seeds, per_seed
from truing.stats.intervals import Interval

SIZE, N, NOISE = "base", 2000, 0.5
FAMILY = ("a_lol", "a_lol_seq", "a_lol_ref_free")
LADDER = ("nll", "filtered_nll", "a_lol_ref_free", "a_lol", "a_lol_seq")
ORDER = ("nll", "wbc", "r_lol", "a_lol_ref_free", "a_lol", "a_lol_seq")
OTHERS = ("r_gold", "a_lol_kl", "dpo", "dpo_ref_free", "pro", "kto")
ENDS = ("start", *LADDER, "dpo", "r_gold")
STEADY_ONES = ("a_lol_seq", "dpo", "wbc", "r_lol")
EPS = (0.2, 0.5, 3.0, None)  # beside 0.9
LONG = 3 * N // 32  # steps of the runs whose steadiness is looked at, alike for all
WORSE, COLLAPSED = 0.01, 0.5  # of gold; share of different answers that is left where a policy has collapsed
GOLD = mean("gold")
_FIXED: dict[str, Any] = {"size": (SIZE,), "noise": (NOISE,), "n": (N,), "seed": SEEDS}


def _first(*methods: str) -> Any:
    return lambda p: p["seed"] == 0 and p["method"] in methods


MAIN = [
    *grid(aligned, _first("start", "nll", "filtered_nll", "a_lol_seq", "dpo"), method=("start", *ORDER), **_FIXED),
    *grid(aligned, _first("filtered_nll", "dpo"), method=("filtered_nll", *OTHERS), **_FIXED),
]
STEADY = grid(aligned, _first("a_lol_seq", "dpo"), method=STEADY_ONES, steps=(LONG,), **_FIXED)
CLIPS = grid(aligned, lambda p: p["seed"] == 0 and p["eps"] is None, method=("a_lol",), eps=EPS, **_FIXED)


def _of(*methods: str) -> list[Any]:
    return [cell for cell in MAIN if cell.params["method"] in methods]


def _gain(found: Found, a: str, b: str, value: Any = GOLD) -> Interval | None:
    return difference(found, value, {"method": a}, {"method": b})


def l1(found: Found) -> Outcome:
    """Learning from fixed answers improves the model that has imitated them."""
    gains = {(a, b): _gain(found, a, b) for a in FAMILY for b in ("start", "nll")}
    numbers = lines(*((f"gold: {a} − {b}", v, "effect") for (a, b), v in gains.items()))
    numbers += lines(("gold of the start", average(found, GOLD, method="start"), "context"))
    shown = [_curve(found, method, "reward") for method in ("nll", *FAMILY)]
    seq = gains["a_lol_seq", "start"]
    why = f"a_lol_seq is {seq.estimate:+.3f} from where it began" if seq else "too few cells"
    conditions = {f"{a} above {b}": above(v) for (a, b), v in gains.items()}
    return Outcome(conditions, why, numbers, [Picture("Reward", "updates", "gold", shown)])


def _curve(found: Found, method: str, name: str) -> Any:
    """Means over seeds at the steps that all of them have."""
    runs = [dict(f[f"curve/{name}"]) for p, f in found.where(method=method).rows if f.get(f"curve/{name}")]
    steps = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    return curve(method, [(step, over_seeds(dict(enumerate(run[step] for run in runs)))) for step in steps])


def l3(found: Found) -> Outcome:
    """Offline advantage methods are steady."""
    drops = {m: per_seed(found, _drop, method=m) for m in STEADY_ONES}
    ends = {m: per_seed(found, GOLD, method=m) for m in drops}
    more = over_seeds({s: drops["dpo"][s] - drops["a_lol_seq"][s] for s in drops["a_lol_seq"] if s in drops["dpo"]})
    numbers = lines(("best − last reward: dpo − a_lol_seq", more, "effect"))
    for method, values in drops.items():
        spread = float(np.std([*ends[method].values()], ddof=1)) if len(ends[method]) > 1 else None
        numbers += lines(
            (f"best − last reward, {method}", over_seeds(values), "context"),
            (f"sd of gold over seeds, {method}", spread, "context"),
        )
    shown = [_curve(found, method, "reward") for method in drops]
    why = f"dpo loses {more.estimate:+.3f} more of its best" if more else "too few cells"
    return Outcome(
        {"dpo loses more of its best": above(more)}, why, numbers, [Picture("Steadiness", "updates", "gold", shown)]
    )


def _drop(found: Mapping[str, Any]) -> float:
    values = [value for _, value in found["curve/reward"]]
    return max(values) - values[-1]


def l4(found: Found) -> Outcome:
    """More varied than others at the same reward."""
    apart = over_seeds(_matched(found, "a_lol_seq", "dpo"))
    numbers = lines(
        ("share of different answers where both have the same reward: a_lol_seq − dpo", apart, "effect"),
        *(
            (f"share of different answers at the end, {m}", average(found, mean("unique"), method=m), "context")
            for m in ENDS
        ),
        *((f"words of an answer, {m}", average(found, mean("length"), method=m), "context") for m in ENDS),
    )
    shown = [_curve(found, method, "unique") for method in ("nll", "a_lol_seq", "dpo")]
    why = f"{apart.estimate:+.3f} at the same reward" if apart else "no reward that both reach"
    enough = len(_matched(found, "a_lol_seq", "dpo")) == len(per_seed(found, GOLD, method="dpo"))
    conditions = {"more varied at the same reward": above(apart) if enough else None}
    return Outcome(conditions, why, numbers, [Picture("Variety", "updates", "different answers", shown)])


def _matched(found: Found, a: str, b: str) -> dict[Any, float]:
    """seed → difference in variety at the highest reward that both reach, between looks along a straight line."""
    gaps = {}
    cells = {m: {p["seed"]: f for p, f in found.where(method=m).rows} for m in (a, b)}
    for seed in cells[a]:
        if seed not in cells[b]:
            continue
        lines_ = [_frontier(cells[m][seed]) for m in (a, b)]
        level = min(rewards[-1] for rewards, _ in lines_)
        if all(rewards[0] <= level for rewards, _ in lines_):
            first, second = (float(np.interp(level, *line)) for line in lines_)
            gaps[seed] = first - second
    return gaps


def _frontier(found: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Looks at which the reward was higher than ever before, with their variety."""
    rewards, variety = ([value for _, value in found[f"curve/{name}"]] for name in ("reward", "unique"))
    kept = [i for i, value in enumerate(rewards) if value == max(rewards[: i + 1])]
    return np.array([rewards[i] for i in kept]), np.array([variety[i] for i in kept])


def l5(found: Found) -> Outcome:
    """Safer and more helpful."""
    gaps = {part: _gain(found, "a_lol_seq", "dpo", mean(f"gold/{part}")) for part in ("helpful", "harmless")}
    numbers = lines(*((f"{part}: a_lol_seq − dpo", v, "effect") for part, v in gaps.items()))
    why = ", ".join(f"{v.estimate:+.3f} {part}" for part, v in gaps.items() if v)
    conditions = {f"more {part} than dpo": above(v) for part, v in gaps.items()}
    return Outcome(conditions, f"by gold: {why}", numbers)


def l8(found: Found) -> Outcome:
    """Above the reward-based baselines, and R-GOLD is least varied."""
    steps = {(a, b): _gain(found, b, a) for a, b in pairwise(ORDER)}
    best = {b: _gain(found, "a_lol_seq", b) for b in ("wbc", "r_gold", "r_lol")}
    varied = {m: average(found, mean("unique"), method=m) for m in (*ORDER, "r_gold")}
    numbers = lines(
        *((f"gold: a_lol_seq − {b}", v, "effect") for b, v in best.items()),
        *((f"gold: {b} − {a}", v, "context") for (a, b), v in steps.items()),
        *((f"share of different answers, {m}", v, "context") for m, v in varied.items()),
    )
    less = {m: _gain(found, m, "r_gold", mean("unique")) for m in ORDER}
    numbers += lines(*((f"different answers: {m} − r_gold", v, "effect") for m, v in less.items()))
    why = f"{sum(above(v) is True for v in best.values())} of {len(best)} beaten"
    conditions = {f"above {b}": above(v) for b, v in best.items()} | {
        f"{m} more varied than r_gold": above(v) for m, v in less.items()
    }
    return Outcome(conditions, why, numbers)


def l9(found: Found) -> Outcome:
    """Ratios of tokens are best, and without a reference it is nearly as good."""
    seq, free = _gain(found, "a_lol_seq", "a_lol"), _gain(found, "a_lol_ref_free", "a_lol")
    numbers = lines(
        ("gold: a_lol_seq − a_lol", seq, "effect"),
        ("gold: a_lol_ref_free − a_lol", free, "effect"),
        ("gold: a_lol_kl − a_lol_ref_free", _gain(found, "a_lol_kl", "a_lol_ref_free"), "context"),
    )
    why = f"{seq.estimate:+.3f} and {free.estimate:+.3f} beside a_lol" if seq and free else "too few cells"
    conditions = {
        "a_lol_seq above a_lol": above(seq),
        f"a_lol_ref_free at most {WORSE} below it": above(free, -WORSE),
    }
    return Outcome(conditions, why, numbers)


def l12(found: Found) -> Outcome:
    """Filter, weight, ratio and truncation each do something."""
    rungs = {(a, b): _gain(_plain(found), b, a) for a, b in pairwise(LADDER)}
    clipped = [e for e in EPS if e is not None]
    varied = {e: average(found.where(method="a_lol"), mean("unique"), eps=e) for e in clipped}
    free = average(_unclipped(found), mean("unique"))
    start = average(_plain(found), mean("unique"), method="start")
    numbers = lines(
        *((f"gold: {b} − {a}", v, "effect") for (a, b), v in rungs.items()),
        *((f"share of different answers, ε = {e}", v, "context") for e, v in varied.items()),
        ("share of different answers without truncation", free, "effect"),
    )
    conditions = {
        "the filter alone helps": above(rungs["nll", "filtered_nll"]),
        "without truncation the policy collapses": below(free, COLLAPSED * start.estimate) if start else None,
    }
    why = f"without truncation {free.estimate:.2f} of answers differ" if free else "too few cells"
    return Outcome(conditions, why, numbers)


def _plain(found: Found) -> Found:
    return Found([(p, f) for p, f in found.rows if "eps" not in p])


def _unclipped(found: Found) -> Found:
    return Found([(p, f) for p, f in found.rows if "eps" in p and p["eps"] is None])


def l11(found: Found) -> Outcome:
    """PPO is not here yet."""
    return Outcome({}, "PPO has its own verb, and joins when it is there")


_SETTING = f"{N} answers, {NOISE:.0%} of the speakers bad, world:{SIZE}"
CLAIMS = [
    Claim(
        "L1",
        "Reinforcement from fixed answers alone improves the model",
        "Advantage-based training on static data improves a tuned reference without sampling from it.",
        "verified",
        f"{_SETTING}. a_lol, a_lol_seq and a_lol_ref_free end with more gold than the reference, and than as much "
        "further imitation, with intervals over seeds that exclude 0.",
        _of("start", "nll", *FAMILY),
        l1,
    ),
    Claim(
        "L3",
        "Advantage methods are steady, preference-based ones less so",
        "Offline advantage training is stable over seeds; DPO and reward-based baselines vary more.",
        "unsure",
        f"{_SETTING}, {LONG} steps each: DPO loses more of its best reward by the end than a_lol_seq does, with an "
        "interval over seeds that excludes 0. Spreads over seeds beside it.",
        STEADY,
        l3,
    ),
    Claim(
        "L4",
        "The answers are more varied",
        "Advantage methods give the most varied answers of all.",
        "verified",
        f"{_SETTING}. At the highest reward that both reach, a_lol_seq has the larger share of different answers than "
        "DPO, with an interval that excludes 0. Lengths beside it.",
        _of(*ENDS),
        l4,
    ),
    Claim(
        "L5",
        "Safer and more helpful",
        "People rate the answers as safer and more helpful than those of the other methods.",
        "verified",
        f"{_SETTING}. No people here: gold's helpful and harmless parts, a_lol_seq − DPO, both above 0 with intervals.",
        _of("a_lol_seq", "dpo"),
        l5,
    ),
    Claim(
        "L8",
        "Advantages are better than rewards",
        "Advantage methods beat weighted behaviour cloning, R-GOLD and R-LoL; R-GOLD loses variety.",
        "reported",
        f"{_SETTING}. a_lol_seq ends above each of the three, with intervals that exclude 0, and R-GOLD has the "
        "smallest share of different answers of the methods with truncated weights.",
        _of(*ORDER, "r_gold"),
        l8,
    ),
    Claim(
        "L9",
        "Ratios by token are best, and the reference can be left out",
        "Of the variants the one with ratios of tokens is best; without a reference it is competitive.",
        "reported",
        f"{_SETTING}. a_lol_seq is above a_lol with an interval that excludes 0, and a_lol_ref_free not more than "
        f"{WORSE} of gold below it.",
        _of(*FAMILY, "a_lol_kl"),
        l9,
    ),
    Claim(
        "L11",
        "PPO is unstable and needs more data",
        "PPO with the same rewards varies over seeds and needs many times the computation.",
        "reported",
        "PPO with its own rollouts beside these methods.",
        (),
        l11,
    ),
    Claim(
        "L12",
        "Filter and truncation matter",
        "What is dropped and how ratios are truncated contribute.",
        "reported",
        f"{_SETTING}. The filter alone is above imitation with an interval that excludes 0; without truncation the "
        f"ratio of whole answers collapses the policy to less than {COLLAPSED:.0%} of the reference's share of "
        "different answers. The other rungs and widths beside them.",
        [*_of("start", *LADDER), *CLIPS],
        l12,
    ),
]
