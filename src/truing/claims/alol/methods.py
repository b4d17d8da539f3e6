"""Claims about methods on the same answers (arXiv 2305.14718): L1, L4, L5, L8."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from truing.claims.aligned import aligned
from truing.claims.alol.cells import FIXED, GOLD, LADDER, ORDER, SETTING, first, gain, looks, main, of
from truing.claims.base import Claim, Found, Outcome, Picture, grid
from truing.claims.judging import above, average, lines, mean, over_seeds, per_seed
from truing.stats.looks import at_same_reward

FAMILY = ("a_lol", "a_lol_seq", "a_lol_ref_free")
TRUNCATED = ("r_lol", "a_lol", "a_lol_seq")
ENDS = ("start", *LADDER, "dpo", "r_gold")
TASKED = {"facts": ("helpful",), "stories": ("honest", "fluent", "informative", "on_topic")}  # and their rewards
TASKS = [
    cell
    for task, rewards in TASKED.items()
    for cell in [
        *grid(aligned, first(), method=("start",), task=(task,), **FIXED),
        *grid(aligned, first("a_lol_seq"), method=("nll", "a_lol_seq"), task=(task,), judged_by=(rewards,), **FIXED),
    ]
]


def l1(found: Found) -> Outcome:
    """Learning from fixed answers improves the model that has imitated them."""
    gains = {(a, b): gain(found, a, b) for a in FAMILY for b in ("start", "nll")}
    others = {(t, b): gain(found, "a_lol_seq", b, task=t) for t in TASKED for b in ("start", "nll")}
    numbers = lines(*((f"gold: {a} − {b}", v, "effect") for (a, b), v in gains.items()))
    numbers += lines(*((f"gold, {t}: a_lol_seq − {b}", v, "effect") for (t, b), v in others.items()))
    numbers += lines(("gold of the start", average(main(found), GOLD, method="start"), "context"))
    asked = {t: over_seeds(per_seed(found, mean("asked"), method="start", task=t)) for t in (None, *TASKED)}
    numbers += lines(*((f"prompts asked, {t or 'dialogue'}", v and v.estimate, "context") for t, v in asked.items()))
    shown = [looks(main(found), method, "reward") for method in ("nll", *FAMILY)]
    seq = gains["a_lol_seq", "start"]
    why = f"a_lol_seq is {seq.estimate:+.3f} from where it began" if seq else "too few cells"
    conditions = {f"{a} above {b}": above(v) for (a, b), v in gains.items()} | {
        f"{t}: above {b}": above(v) for (t, b), v in others.items()
    }
    return Outcome(conditions, why, numbers, [Picture("Reward", "updates", "gold", shown)])


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
    shown = [looks(found, method, "unique") for method in ("nll", "a_lol_seq", "dpo")]
    why = f"{apart.estimate:+.3f} at the same reward" if apart else "no reward that both reach"
    enough = len(_matched(found, "a_lol_seq", "dpo")) == len(per_seed(found, GOLD, method="dpo"))
    conditions = {"more varied at the same reward": above(apart) if enough else None}
    return Outcome(conditions, why, numbers, [Picture("Variety", "updates", "different answers", shown)])


def _matched(found: Found, a: str, b: str) -> dict[Any, float]:
    """seed → difference in variety at the highest reward that both reach."""
    looks_of = {
        m: {p["seed"]: (f["curve/reward"], f["curve/unique"]) for p, f in found.where(method=m).rows} for m in (a, b)
    }
    both = [seed for seed in looks_of[a] if seed in looks_of[b]]
    gaps = {seed: at_same_reward(looks_of[a][seed], looks_of[b][seed]) for seed in both}
    return {seed: gap for seed, gap in gaps.items() if gap is not None}


def l5(found: Found) -> Outcome:
    """Safer and more helpful."""
    gaps = {part: gain(found, "a_lol_seq", "dpo", mean(f"gold/{part}")) for part in ("helpful", "harmless")}
    numbers = lines(*((f"{part}: a_lol_seq − dpo", v, "effect") for part, v in gaps.items()))
    why = ", ".join(f"{v.estimate:+.3f} {part}" for part, v in gaps.items() if v)
    conditions = {f"more {part} than dpo": above(v) for part, v in gaps.items()}
    return Outcome(conditions, f"by gold: {why}", numbers)


def l8(found: Found) -> Outcome:
    """Above the reward-based baselines, and R-GOLD is least varied."""
    steps = {(a, b): gain(found, b, a) for a, b in pairwise(ORDER)}
    best = {b: gain(found, "a_lol_seq", b) for b in ("wbc", "r_gold", "r_lol")}
    varied = {m: average(found, mean("unique"), method=m) for m in (*ORDER, "r_gold")}
    numbers = lines(
        *((f"gold: a_lol_seq − {b}", v, "effect") for b, v in best.items()),
        *((f"gold: {b} − {a}", v, "context") for (a, b), v in steps.items()),
        *((f"share of different answers, {m}", v, "context") for m, v in varied.items()),
    )
    less = {m: gain(found, m, "r_gold", mean("unique")) for m in TRUNCATED}
    numbers += lines(*((f"different answers: {m} − r_gold", v, "effect") for m, v in less.items()))
    why = f"{sum(above(v) is True for v in best.values())} of {len(best)} beaten"
    conditions = {f"above {b}": above(v) for b, v in best.items()} | {
        f"{m} more varied than r_gold": above(v) for m, v in less.items()
    }
    return Outcome(conditions, why, numbers)


CLAIMS = [
    Claim(
        "L1",
        "Reinforcement from fixed answers alone improves the model",
        "Advantage-based training on static data improves a tuned reference without sampling from it.",
        "verified",
        f"{SETTING}. a_lol, a_lol_seq and a_lol_ref_free end with more gold than the reference, and than another "
        "pass of imitation over all answers, with intervals over seeds that exclude 0; so does a_lol_seq on questions "
        "about facts alone and on stories to shorten alone, with one and with four rewards.",
        [*of("start", "nll", *FAMILY), *TASKS],
        l1,
    ),
    Claim(
        "L4",
        "The answers are more varied",
        "Advantage methods give the most varied answers of all.",
        "verified",
        f"{SETTING}. At the highest reward that both reach, a_lol_seq has the larger share of different answers than "
        "DPO, with an interval that excludes 0. Lengths beside it.",
        of(*ENDS),
        l4,
    ),
    Claim(
        "L5",
        "Safer and more helpful",
        "People rate the answers as safer and more helpful than those of the other methods.",
        "verified",
        f"{SETTING}. No people here: gold's helpful and harmless parts, a_lol_seq − DPO, both above 0 with intervals.",
        of("a_lol_seq", "dpo"),
        l5,
    ),
    Claim(
        "L8",
        "Advantages are better than rewards",
        "Advantage methods beat weighted behaviour cloning, R-GOLD and R-LoL; R-GOLD loses variety.",
        "reported",
        f"{SETTING}. a_lol_seq ends above each of the three, with intervals that exclude 0, and each of "
        "the methods with truncated ratios gives more different answers than R-GOLD, with intervals.",
        of(*ORDER, "r_gold"),
        l8,
    ),
]
