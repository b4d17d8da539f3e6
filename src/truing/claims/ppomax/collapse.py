"""Claims about what keeps PPO from collapsing (arXiv 2307.04964): H1, H3, H11, H14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.claims.base import Claim, Found, Outcome, grid
from truing.claims.judging import SEEDS, above, average, below, difference, lines, mean
from truing.claims.ppomax.cells import (
    CROWDS,
    ITERATIONS,
    MAX,
    NOISE,
    SIZE,
    SMOOTH,
    STARTS,
    TRUTH,
    Row,
    all_fall,
    apart,
    arms,
    begun,
    drawn,
    fall_time,
    falls,
    final,
    last,
    none_falls,
    of_arm,
    seeds,
    within,
)
from truing.claims.rl import rolled
from truing.stats.laws import smoothed

KL, REWARD = last("kl"), last("reward")
LONG, FAR, DEAD = 400, 10, ITERATIONS["wordy"]
ABLATED = [name for name in MAX if name.startswith("max −")]
PENALTIES = ("kl 0.02", "kl 0.05", "kl 0.1", "kl 0.2")
STABLE = grid(
    rolled, arm=("max, long",), preset=("max",), crowd=("wordy",), seed=SEEDS, size=(SIZE,), iterations=(LONG,)
)
COUNTS = " and ".join(f"{n} ({c} crowd)" for c, n in ITERATIONS.items())
WORLD = f"world:small, iterations of 128 answers: {COUNTS}"
GOLD = mean("gold")


def since_peak(found: Mapping[str, Any]) -> float:
    """How much the reward rose after the truth was best."""
    at = int(smoothed(found[f"curve/{TRUTH}"], SMOOTH).argmax()) + SMOOTH - 1
    return REWARD(found) - float(smoothed(found["curve/reward"], SMOOTH)[at - SMOOTH + 1])


def moved(found: Mapping[str, Any]) -> float:
    return final(found) - begun(found)


def h1(found: Found) -> Outcome:
    """Vanilla PPO is rewarded more and more for answers that get worse; PPO-max is not."""
    rows, conditions, said = list[Row](), dict[str, bool | None](), []
    for crowd in CROWDS:
        risen, worse = (seeds(found, "vanilla", value, crowd) for value in (since_peak, moved))
        better = apart(found, "max", "vanilla", final, crowd)
        fallen, of = falls(found, "vanilla", crowd)
        conditions |= {
            f"{crowd}: the reward rises after gold's best": above(risen),
            f"{crowd}: gold falls in every seed": all_fall(found, "vanilla", crowd),
            **({"wordy: it ends below its start": below(worse)} if crowd == "wordy" else {}),
            f"{crowd}: PPO-max holds in every seed": none_falls(found, "max", crowd),
            f"{crowd}: PPO-max ends above": above(better),
        }
        rows += [
            (f"{crowd}: reward, end − at gold's best, vanilla", risen, "effect"),
            (f"{crowd}: gold, end − start, vanilla", worse, "effect" if crowd == "wordy" else "context"),
            (f"{crowd}: gold at the end, PPO-max − vanilla", better, "effect"),
            *((f"{crowd}: gold at the end, {n}", seeds(found, n, final, crowd), "context") for n in ("vanilla", "max")),
            *((f"{crowd}: nats per answer, {n}", seeds(found, n, KL, crowd), "context") for n in ("vanilla", "max")),
            (f"{crowd}: iteration of the fall, vanilla", seeds(found, "vanilla", fall_time, crowd), "context"),
        ]
        said.append(f"{crowd}: gold falls in {fallen} of {of} seeds")
    for name in ABLATED:
        gap, (fallen, of) = apart(found, name, "max", final, "wordy"), falls(found, name, "wordy")
        rows.append((f"wordy: gold at the end, {name}: against PPO-max", gap, "context"))
        rows.append((f"wordy: seeds in which gold falls, {name}", float(fallen) if of else None, "context"))
    pictures = [
        drawn(found, ("vanilla", "max", "kl 0.05"), crowd, curve, y)
        for crowd in CROWDS
        for curve, y in (("reward", "reward"), (TRUTH, "gold"), ("kl", "nats per answer"))
    ]
    return Outcome(conditions, "; ".join(said), lines(*rows), pictures)


def h3(found: Found) -> Outcome:
    """The KL penalty is what keeps it stable; more of it means less reward and less distance."""
    conditions = {
        f"{c}: kl 0.05 ends above vanilla": above(apart(found, "kl 0.05", "vanilla", final, c)) for c in CROWDS
    }
    conditions |= {f"{n} holds in every seed": none_falls(found, n, "wordy") for n in PENALTIES[1:]}
    rows: list[Row] = [
        (f"{c}: gold at the end, kl 0.05 − vanilla", apart(found, "kl 0.05", "vanilla", final, c), "effect")
        for c in CROWDS
    ]
    for value, what in ((KL, "nats"), (REWARD, "reward")):
        for less, more in zip(("vanilla", *PENALTIES), PENALTIES):
            gap = apart(found, more, less, value, "wordy")
            conditions[f"{what}: {more} below {less}"] = below(gap)
            rows.append((f"{what} at the end: {more} − {less}", gap, "effect"))
    rows += [(f"gold at the end, {n}", seeds(found, n, final, "wordy"), "context") for n in ("vanilla", *PENALTIES)]
    gap = apart(found, "kl 0.05", "vanilla", final, "wordy")
    why = f"kl 0.05 ends {gap.estimate:+.3f} above vanilla under the wordy crowd" if gap else "too few cells"
    names = ("vanilla", *PENALTIES)
    shown = [
        drawn(found, names, "wordy", TRUTH, "gold"),
        drawn(found, names, "wordy", "kl", "nats"),
    ]
    return Outcome(conditions, why, lines(*rows), shown)


def h11(found: Found) -> Outcome:
    """PPO-max stays where it is for many times as long as vanilla takes to fall."""
    times = list(of_arm(found, "vanilla", fall_time, "wordy").values())
    many = LONG / (sum(times) / len(times)) if times else 0.0
    kept = seeds(found, "max, long", _kept, "wordy")
    longer = seeds(found, "max, long", _longer, "wordy")
    conditions: dict[str, bool | None] = {
        f"{LONG} iterations are {FAR} times the fall of vanilla": many >= FAR if times else None,
        f"gold of the last fifth is at most {NOISE} below that of iterations {DEAD - 20} to {DEAD}": above(
            kept, -NOISE
        ),
        "gold holds in every seed": none_falls(found, "max, long", "wordy"),
        "answers change by less than a tenth in length in the last half": within(longer, 0.1),
    }
    rows = lines(
        (f"gold of the last fifth − of iterations {DEAD - 20} to {DEAD}", kept, "effect"),
        ("length of the last quarter beside the one before, share of it", longer, "effect"),
        ("times as long as vanilla takes to fall", many or None, "context"),
    )
    shown = [drawn(found, ("max, long",), "wordy", what, y) for what, y in ((TRUTH, "gold"), ("kl", "nats"))]
    return Outcome(conditions, f"{many:.1f} times as long as vanilla takes to fall", rows, shown)


def _kept(found: Mapping[str, Any]) -> float:
    values = found[f"curve/{TRUTH}"]
    late, early = values[-len(values) // 5 :], values[DEAD - 20 : DEAD]
    return sum(late) / len(late) - sum(early) / len(early)


def _longer(found: Mapping[str, Any]) -> float:
    values = found["curve/length"]
    quarter = len(values) // 4
    before, after = (sum(part) / quarter for part in (values[-2 * quarter : -quarter], values[-quarter:]))
    return after / before - 1


def h14(found: Found) -> Outcome:
    """What PPO-max leaves is better than where it began."""
    gaps = {c: difference(found.where(crowd=c), GOLD, {"arm": "max"}, {"arm": None}) for c in CROWDS}
    rows = lines(
        *((f"{c}: gold on held-out prompts, PPO-max − start", g, "effect") for c, g in gaps.items()),
        *(
            (
                f"{c}: the same, vanilla − start",
                difference(found.where(crowd=c), GOLD, {"arm": "vanilla"}, {"arm": None}),
                "control",
            )
            for c in CROWDS
        ),
        *((f"{c}: gold of the start", average(found, GOLD, crowd=c, arm=None), "context") for c in CROWDS),
    )
    why = ", ".join(f"{c} {g.estimate:+.3f}" for c, g in gaps.items() if g)
    conditions = {f"{c}: above the start": above(g) for c, g in gaps.items()}
    more = {c: difference(found.where(crowd=c), GOLD, {"arm": "max"}, {"arm": "vanilla"}) for c in CROWDS}
    conditions |= {f"{c}: above vanilla": above(gap) for c, gap in more.items()}
    return Outcome(conditions, why, rows)


CLAIMS = [
    Claim(
        "H1",
        "Vanilla PPO games its reward, PPO-max does not",
        "The score of vanilla PPO rises throughout; its answers get better, then collapse. PPO-max stays stable.",
        "verified",
        f"{WORLD}, two crowds. Vanilla: the reward is higher at the end than at gold's best, and gold loses a quarter "
        "of its gain (or, where it gained nothing, of its level) in every seed; PPO-max in none, and it ends above. "
        "Beside them PPO-max without each of its ingredients.",
        arms("vanilla", "max", "kl 0.05", *ABLATED),
        h1,
    ),
    Claim(
        "H3",
        "The KL penalty is what keeps it stable",
        "With a token-level KL penalty training is stable; a larger one gives less reward and less distance.",
        "verified",
        f"{WORLD}. 0.05 ends above vanilla under both crowds; 0.05, 0.1 and 0.2 hold in every seed; KL and reward fall "
        "with every step of the penalty.",
        arms("vanilla", *PENALTIES),
        h3,
    ),
    Claim(
        "H11",
        "PPO-max is stable for long",
        "Over 10 000 steps PPO-max stays flat, more than twenty times as long as vanilla takes to collapse.",
        "verified",
        f"world:{SIZE}, {LONG} iterations, wordy crowd: at least {FAR} times as long as vanilla takes to fall, gold "
        f"holds in every seed and in the last fifth is at most {NOISE} below iterations {DEAD - 20} to {DEAD}, when "
        "vanilla's is gone; length changes by less than a tenth.",
        [*STABLE, *[c for c in arms("vanilla") if c.params["crowd"] == "wordy"]],
        h11,
    ),
    Claim(
        "H14",
        "The aligned model beats the one it began as",
        "Judged by people and by a model, PPO-max wins more often than it loses against the fine-tuned model.",
        "verified",
        f"{WORLD}. Gold on 300 held-out prompts, seed by seed, above the start and above vanilla under both crowds.",
        [*STARTS, *arms("vanilla", "max")],
        h14,
    ),
]
