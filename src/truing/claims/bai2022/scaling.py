"""Claims about what RLHF gains and what it gains it by (arXiv 2204.05862, §4): C10, C11."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import expit

from truing.claims.bai2022.rlhf import (
    CHANGED,
    CLIMBS,
    COINS,
    FAR,
    LARGEST,
    ONE,
    POLICIES,
    POOLS,
    STARTS,
    WORLD,
    blocks,
    change,
    matched,
    moved,
    sizes_of,
)
from truing.claims.base import Claim, Found, Outcome, Picture
from truing.claims.judging import PARAMETERS, SIZES, above, average, curve, lines, over_seeds, per_seed
from truing.claims.practice import BEGUN, ROLLOUTS
from truing.claims.rl import ASKED, CROWDS
from truing.stats.effects import equivalent
from truing.stats.intervals import Interval, mean_t
from truing.stats.laws import Law, best_of_kl, divergence_point, fit_law
from truing.stats.ratings import ELO

TIMES, FORMS, STRAIGHT, MOST = 16, ("sqrt", "linear", "log"), 0.95, 0.8
TOGETHER = 4  # iterations whose means are one point: of 512 answers
APART = math.log(1.5)  # slopes of two sizes are parallel within half as much again


def gold(look: Mapping[str, Any]) -> float:
    return float(np.mean(look["gold"]))


def at_start(found: Mapping[str, Any]) -> float:
    """Gold of an unchanged model, at temperature 1."""
    return float(np.mean(found["gold"][0]))


def c10(found: Found) -> Outcome:
    """RLHF gains more than size does."""
    starts = found.where(judged=None)
    levels = {size: per_seed(starts, at_start, size=size) for size in SIZES}
    scaled = {seed: _by_size(levels, seed) for seed in levels[ONE] if all(seed in v for v in levels.values())}
    gains = {size: per_seed(found, change("gold"), size=size, judged="noisy") for size in sizes_of(found)}
    ahead = {size: over_seeds({s: each[s] - scaled[s] for s in each if s in scaled}) for size, each in gains.items()}
    cool = {size: over_seeds(matched(found, size, gold)) for size in gains}
    coins = moved(found, "gold", ONE, "coins")
    votes = {size: over_seeds(per_seed(found, elo, size=size, judged="noisy")) for size in gains}
    numbers = lines(
        (f"gold gained by {TIMES} times the parameters", over_seeds(scaled), "effect"),
        *((f"gold gained by RLHF, {size}", moved(found, "gold", size), "effect") for size in gains),
        *((f"RLHF − {TIMES} times the parameters, {size}", v, "effect") for size, v in ahead.items()),
        ("gold gained where coins said which is better", coins, "control"),
        *((f"gold above a start that is as sure of its words, {size}", v, "control") for size, v in cool.items()),
        *((f"Elo over the start, by simulated workers, {size}", v, "context") for size, v in votes.items()),
        *((f"gold of the start, {size}", over_seeds(v), "context") for size, v in levels.items()),
    )
    shown = [
        curve("start", [(PARAMETERS[size], over_seeds(levels[size])) for size in SIZES]),
        curve("RLHF", [(PARAMETERS[s], average(found, _ends, size=s, judged="noisy")) for s in gains]),
    ]
    size = over_seeds(scaled)
    why = ", ".join(f"{s} {v.estimate:+.3f}" for s in gains if (v := moved(found, "gold", s)))
    why += f"; {TIMES} times the parameters {size.estimate:+.3f}" if size else ""
    conditions = {f"{s}: RLHF gains more": above(v) for s, v in ahead.items()}
    conditions |= {f"{s}: also above a start as sure of its words": above(v) for s, v in cool.items()}
    return Outcome(conditions, why, numbers, [Picture("Size and RLHF", "parameters", "gold", shown)])


def _by_size(levels: Mapping[str, Mapping[Any, float]], seed: Any) -> float:
    """What so many times the parameters gain by the line through the starts of all sizes."""
    x = [math.log(PARAMETERS[size]) for size in SIZES]
    return float(np.polyfit(x, [levels[size][seed] for size in SIZES], 1)[0]) * math.log(TIMES)


def _ends(found: Mapping[str, Any]) -> float:
    return float(np.mean(found["after/gold"]))


def elo(found: Mapping[str, Any]) -> float:
    """Points by which workers of the noisy crowd rate the policy above its start: one answer of each to every
    prompt."""
    (worker,) = CROWDS["noisy"].workers
    gaps = np.array(found["after/one"]) - np.array(found["before/one"])
    won = float(expit(worker.scale * gaps).mean())
    return float(ELO * math.log(won / (1 - won)))


def until(found: Mapping[str, Any]) -> int:
    """The iteration at which the preference model that looks on parts from the one that teaches."""
    train, test = (np.array(found[f"curve/{n}"]) - found[f"{n}/mean"] for n in ("train", "test"))
    point = divergence_point(train, test, found["curve/kl"])
    return point.iteration if point else len(train)


def law(found: Mapping[str, Any]) -> Law | None:
    """Of means over some iterations, before the divergence."""
    end = until(found)
    kl, reward = (blocks(found[f"curve/{name}"][:end], TOGETHER) for name in ("kl", "reward"))
    return fit_law(kl, reward, found["train/mean"], weight=BEGUN * ASKED / (TOGETHER * ROLLOUTS))


def c11(found: Found) -> Outcome:
    """Reward grows as the square root of the distance."""
    climbs = found.where(judged="noisy")
    laws = {size: {p["seed"]: law(f) for p, f in climbs.where(size=size).rows} for size in POLICIES}
    known = {size: {s: one for s, one in each.items() if one} for size, each in laws.items()}
    known = {size: each for size, each in known.items() if each}
    slopes = {size: {s: one.forms["sqrt"].coefficient for s, one in each.items()} for size, each in known.items()}
    best = {size: [one.best for one in each.values()] for size, each in known.items()}
    straight = {size: {s: one.forms["sqrt"].r2 for s, one in each.items()} for size, each in known.items()}
    predicted = {s: {p["seed"]: math.sqrt(2) * f["train/sigma"] for p, f in climbs.where(size=s).rows} for s in known}
    ratio = {size: {s: a / predicted[size][s] for s, a in each.items()} for size, each in slopes.items()}
    gap, alike = _parallel(slopes)
    conditions: dict[str, bool | None] = {}
    for size in known:
        right = sum(name == "sqrt" for name in best[size]) / len(best[size])
        conditions[f"{size}: √KL fits best in {MOST:.0%} of the seeds"] = right >= MOST
        conditions[f"{size}: R² at least {STRAIGHT}"] = float(np.mean(list(straight[size].values()))) >= STRAIGHT
    conditions["slopes of smallest and largest are parallel"] = alike
    runs = {size: min(one.runs_p for one in each.values()) for size, each in known.items()}
    numbers = lines(
        *((f"slope over √KL, {size}", over_seeds(v), "effect") for size, v in slopes.items()),
        *((f"R², {size}", over_seeds(v), "effect") for size, v in straight.items()),
        ("ln of the slope, largest − smallest (90 %)", gap, "effect"),
        *((f"slope / √2·σ of the start's answers, {size}", over_seeds(v), "context") for size, v in ratio.items()),
        *((f"runs test, least p of the seeds, {size}", p, "context") for size, p in runs.items()),
        *((f"iteration of the divergence, {size}", average(climbs, until, size=size), "context") for size in known),
    )
    said = [f"{size}: {', '.join(f'{best[size].count(f)} {f}' for f in FORMS if f in best[size])}" for size in known]
    shown = [_risen(climbs.where(size=size), size) for size in known]
    shown += [_chosen(found)] if len(found.where(size=ONE, judged=None)) else []
    return Outcome(conditions, "best form: " + "; ".join(said), numbers, [Picture("Reward", "√KL", "gained", shown)])


def _parallel(slopes: Mapping[str, Mapping[Any, float]]) -> tuple[Interval | None, bool | None]:
    """The largest policy's slope against the smallest's, in logarithms."""
    if POLICIES[0] not in slopes or POLICIES[-1] not in slopes:
        return None, None
    small, large = slopes[POLICIES[0]], slopes[POLICIES[-1]]
    gaps = [math.log(large[s] / small[s]) if min(large[s], small[s]) > 0 else math.inf for s in small if s in large]
    if len(gaps) < 2 or math.inf in gaps:
        return None, False if math.inf in gaps else None
    return equivalent(gaps, APART)


def _risen(cells: Found, label: str) -> Any:
    """Means over seeds at the same iterations."""
    kl = [np.sqrt(np.maximum(blocks(f["curve/kl"], TOGETHER), 0)) for _, f in cells.rows]
    gained = [blocks(f["curve/reward"], TOGETHER) - f["train/mean"] for _, f in cells.rows]
    return curve(label, [(float(np.mean(x)), mean_t(list(y))) for x, y in zip(zip(*kl), zip(*gained))])


def _chosen(found: Found) -> Any:
    """Best of k, at the most that it can be away from the start."""
    pools = [f for _, f in found.where(size=ONE, judged=None).rows]
    gained = zip(*(np.array(f["noisy/train"]) - f["noisy/train"][0] for f in pools))
    return curve(
        f"best of k, {ONE}", [(math.sqrt(best_of_kl(k)), mean_t(list(v))) for k, v in zip(pools[0]["k"], gained)]
    )


CLAIMS = [
    Claim(
        "C10",
        "RLHF gains more than size does",
        "At every size the policy after RLHF is far above the one before it; what size gains is small beside that.",
        "verified",
        f"{WORLD}. At each of three sizes gold rises by more than {TIMES} times the parameters gain, by the line "
        "through the starts of four sizes, seed by seed, with intervals; and it ends above its start at the "
        "temperature at which that is as sure of its words. Control: a preference model that learnt from coins.",
        [*CHANGED, *COINS, *STARTS, *LARGEST],
        c10,
    ),
    Claim(
        "C11",
        "Reward grows as the square root of KL",
        "The preference model's reward is about linear in √KL for much of training, with about parallel lines for "
        "policies of different sizes under the same preference model.",
        "verified",
        f"{FAR} iterations under world:{ONE}'s preference model, points of {TOGETHER} iterations from 0.05 nats until "
        "the preference model of the other half of the comparisons diverges. At each of three sizes √KL fits better "
        f"(AIC) than KL and ln(1 + KL) in {MOST:.0%} of the seeds, R² is {STRAIGHT} in the mean; slopes of the "
        "smallest and the largest policy are within half as much again of each other (two one-sided tests). Beside it: "
        "√2·σ of the start's answers, and the best of k.",
        [*CLIMBS, *POOLS],
        c11,
    ),
]
