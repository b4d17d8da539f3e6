"""Claims about what keeps PPO from collapsing (arXiv 2307.04964): H1, H3, H4, H5, H6, H10, H11, H14."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from truing.claims.base import Claim, Found, Outcome, grid
from truing.claims.judging import SEEDS, above, average, below, difference, lines, over_seeds
from truing.claims.ppomax.cells import (
    CROWDS,
    GOLD,
    ITERATIONS,
    SIZE,
    SMOOTH,
    STARTS,
    TRUTH,
    apart,
    arms,
    begun,
    drawn,
    fell,
    final,
    last,
    of_arm,
    peak,
)
from truing.claims.rl import rolled
from truing.stats.intervals import Interval
from truing.stats.laws import smoothed

Row = tuple[str, Interval | float | None, Literal["effect", "control", "context"]]
KL, REWARD = last("kl"), last("reward")
SCORES = ("scaled", "clipped 0.8", "clipped 0.3", "advantages clipped")
MINOR = ("ratios free", "gradients clipped")
NEAR = 0.125  # of gold, an eighth of its range: ends that are within it are alike
LONG, FAR = 300, 10
PENALTIES = ("kl 0.02", "kl 0.05", "kl 0.1", "kl 0.2")
STABLE = grid(
    rolled, arm=("max, long",), preset=("max",), crowd=("noisy",), seed=SEEDS, size=(SIZE,), iterations=(LONG,)
)
WORLD = f"world:{SIZE}, {ITERATIONS} iterations of 128 answers"


def falls(found: Found, name: str, crowd: str) -> tuple[int, int]:
    """In how many seeds gold falls, and of how many."""
    values = [fell(f) for _, f in found.where(arm=name, crowd=crowd).rows]
    return sum(value is not None for value in values), len(values)


def all_fall(found: Found, name: str, crowd: str) -> bool | None:
    fallen, of = falls(found, name, crowd)
    return fallen == of if of else None


def none_falls(found: Found, name: str, crowd: str) -> bool | None:
    fallen, of = falls(found, name, crowd)
    return fallen == 0 if of else None


def since_peak(found: Mapping[str, Any]) -> float:
    """How much the reward rose after the truth was best."""
    at = int(smoothed(found[TRUTH], SMOOTH).argmax()) + SMOOTH - 1
    return REWARD(found) - float(smoothed(found["curve/reward"], SMOOTH)[at - SMOOTH + 1])


def lost(found: Mapping[str, Any]) -> float:
    return final(found) - peak(found)


def moved(found: Mapping[str, Any]) -> float:
    return final(found) - begun(found)


def _seeds(found: Found, name: str, value: Any, crowd: str) -> Interval | None:
    return over_seeds(of_arm(found, name, value, crowd))


def h1(found: Found) -> Outcome:
    """Vanilla PPO is rewarded more and more for answers that get worse; PPO-max is not."""
    rows, conditions, said = list[Row](), dict[str, bool | None](), []
    for crowd in CROWDS:
        risen, worse = (_seeds(found, "vanilla", v, crowd) for v in (since_peak, moved if crowd == "wordy" else lost))
        better = apart(found, "max", "vanilla", final, crowd)
        fallen, of = falls(found, "vanilla", crowd)
        conditions |= {
            f"{crowd}: the reward rises after gold's best": above(risen),
            f"{crowd}: gold falls in every seed": all_fall(found, "vanilla", crowd),
            f"{crowd}: PPO-max holds in every seed": none_falls(found, "max", crowd),
            f"{crowd}: PPO-max ends above": above(better),
        }
        rows += [
            (f"{crowd}: reward, end − at gold's best, vanilla", risen, "effect"),
            (f"{crowd}: gold, end − {'start' if crowd == 'wordy' else 'best'}, vanilla", worse, "effect"),
            (f"{crowd}: gold at the end, PPO-max − vanilla", better, "effect"),
            *(
                (f"{crowd}: gold at the end, {n}", _seeds(found, n, final, crowd), "context")
                for n in ("vanilla", "max")
            ),
            *((f"{crowd}: nats per answer, {n}", _seeds(found, n, KL, crowd), "context") for n in ("vanilla", "max")),
        ]
        said.append(f"{crowd}: gold falls in {fallen} of {of} seeds")
    pictures = [
        drawn(found, ("vanilla", "max", "kl 0.05"), crowd, curve, y)
        for crowd in CROWDS
        for curve, y in (("reward", "reward"), (TRUTH.removeprefix("curve/"), "gold"), ("kl", "nats per answer"))
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
    rows += [(f"gold at the end, {n}", _seeds(found, n, final, "wordy"), "context") for n in ("vanilla", *PENALTIES)]
    gap = apart(found, "kl 0.05", "vanilla", final, "wordy")
    why = f"kl 0.05 ends {gap.estimate:+.3f} above vanilla under the wordy crowd" if gap else "too few cells"
    names = ("vanilla", *PENALTIES)
    shown = [
        drawn(found, names, "wordy", TRUTH.removeprefix("curve/"), "gold"),
        drawn(found, names, "wordy", "kl", "nats"),
    ]
    return Outcome(conditions, why, lines(*rows), shown)


def h4(found: Found) -> Outcome:
    """Scaling does nothing, clipping delays, none of them prevents."""
    times = {n: over_seeds(_when(found, n)) for n in ("vanilla", *SCORES)}
    late = {n: difference(found.where(crowd="wordy"), _fall_time, {"arm": n}, {"arm": "vanilla"}) for n in SCORES}
    usual = times["vanilla"].estimate if times["vanilla"] else 0.0
    near = late["scaled"]
    conditions: dict[str, bool | None] = {
        "scaling changes the time of the fall by less than a fifth": None
        if near is None
        else abs(near.low) < usual / 5 and abs(near.high) < usual / 5,
        "clipped at 0.3 it falls later": above(late["clipped 0.3"]),
        "with clipped advantages it falls later": above(late["advantages clipped"]),
        **{f"{n} falls in every seed": all_fall(found, n, "wordy") for n in SCORES},
    }
    rows: list[Row] = [(f"iteration of the fall, {n}", v, "context") for n, v in times.items()]
    rows += [(f"iteration of the fall: {n} − vanilla", v, "effect") for n, v in late.items()]
    rows += [(f"gold at the end, {n}", _seeds(found, n, final, "wordy"), "context") for n in ("vanilla", *SCORES)]
    why = "gold falls at " + ", ".join(f"{v.estimate:.0f} ({n})" for n, v in times.items() if v)
    return Outcome(
        conditions,
        why,
        lines(*rows),
        [drawn(found, ("vanilla", *SCORES), "wordy", TRUTH.removeprefix("curve/"), "gold")],
    )


def _fall_time(found: Mapping[str, Any]) -> float:
    """One that never falls counts as falling after the end."""
    at = fell(found)
    return float(len(found[TRUTH]) if at is None else at)


def _when(found: Found, name: str) -> dict[Any, float]:
    return of_arm(found, name, _fall_time, "wordy")


def h5(found: Found) -> Outcome:
    """Clipping ratios or gradients does not prevent it."""
    gaps = {n: apart(found, n, "vanilla", final, "wordy") for n in MINOR}
    conditions = {f"{n}: gold falls in every seed": all_fall(found, n, "wordy") for n in MINOR} | {
        f"{n}: ends within {NEAR} of vanilla": None if g is None else g.low > -NEAR and g.high < NEAR
        for n, g in gaps.items()
    }
    rows = lines(*((f"gold at the end: {n} − vanilla", g, "effect") for n, g in gaps.items()))
    return Outcome(conditions, ", ".join(f"{n} {g.estimate:+.3f}" for n, g in gaps.items() if g), rows)


def h6(found: Found) -> Outcome:
    """λ of 0 and of 1 are worse than 0.9."""
    gaps = {n: apart(found, n, "vanilla", final, "wordy") for n in ("lambda 0", "lambda 1")}
    conditions = {f"{n} ends below 0.9": below(g) for n, g in gaps.items()}
    rows = lines(*((f"gold at the end: {n} − lambda 0.9", g, "effect") for n, g in gaps.items()))
    return Outcome(conditions, ", ".join(f"{n} {g.estimate:+.3f}" for n, g in gaps.items() if g), rows)


def h10(found: Found) -> Outcome:
    """A ratio to the reference does not collapse, and gains less."""
    nats, gain = _seeds(found, "fixed ratio", KL, "wordy"), apart(found, "fixed ratio", "kl 0.05", REWARD, "wordy")
    conditions = {
        "gold holds in every seed": none_falls(found, "fixed ratio", "wordy"),
        "less reward than with the penalty": below(gain),
        "less than 2 nats per answer": below(nats, 2.0),
    }
    rows = lines(
        ("reward at the end: fixed ratio − kl 0.05", gain, "effect"),
        ("nats per answer, fixed ratio", nats, "effect"),
        ("nats per answer, fixed ratio and kl 0.05", _seeds(found, "fixed ratio, kl 0.05", KL, "wordy"), "context"),
        ("gold at the end, fixed ratio", _seeds(found, "fixed ratio", final, "wordy"), "context"),
    )
    return Outcome(conditions, f"{nats.estimate:.2f} nats per answer" if nats else "too few cells", rows)


def h11(found: Found) -> Outcome:
    """PPO-max stays where it is for many times as long as vanilla takes to fall."""
    times = list(of_arm(found, "vanilla", _fall_time, "noisy").values())
    many = LONG / (sum(times) / len(times)) if times else 0.0
    kept = _seeds(found, "max, long", _kept, "noisy")
    longer = _seeds(found, "max, long", _longer, "noisy")
    conditions: dict[str, bool | None] = {
        f"{LONG} iterations are {FAR} times the fall of vanilla": many >= FAR if times else None,
        "the last fifth keeps 95% of gold's best": above(kept, 0.95),
        "answers change by less than a tenth in length in the last half": None
        if longer is None
        else longer.low > -0.1 and longer.high < 0.1,
    }
    rows = lines(
        ("gold of the last fifth as a share of its best", kept, "effect"),
        ("length of the last quarter beside the one before, share of it", longer, "effect"),
        ("times as long as vanilla takes to fall", many or None, "context"),
    )
    shown = [
        drawn(found, ("max, long",), "noisy", what, y)
        for what, y in ((TRUTH.removeprefix("curve/"), "gold"), ("kl", "nats"))
    ]
    return Outcome(conditions, f"{many:.1f} times as long as vanilla takes to fall", rows, shown)


def _kept(found: Mapping[str, Any]) -> float:
    values = found[TRUTH]
    part = values[-len(values) // 5 :]
    return sum(part) / len(part) / peak(found)


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
    return Outcome({f"{c}: above the start": above(g) for c, g in gaps.items()}, why, rows)


CLAIMS = [
    Claim(
        "H1",
        "Vanilla PPO games its reward, PPO-max does not",
        "The score of vanilla PPO rises throughout; its answers get better, then collapse. PPO-max stays stable.",
        "verified",
        f"{WORLD}, two crowds. Vanilla: the reward is higher at the end than at gold's best, and gold loses a quarter "
        "of its gain (or, where it gained nothing, of its level) in every seed; PPO-max in none, and it ends above.",
        arms("vanilla", "max", "kl 0.05"),
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
        "H4",
        "Score transforms delay at best",
        "Reward scaling alone does nothing; clipping rewards or advantages hard delays the collapse.",
        "verified",
        f"{WORLD}, wordy crowd. With scaled scores gold falls within a fifth of vanilla's time; with rewards clipped "
        "at 0.3, or advantages at 0.12, later; every one of them falls.",
        arms("vanilla", *SCORES),
        h4,
    ),
    Claim(
        "H5",
        "Ratio and gradient clips do not prevent it",
        "Neither the clip of the ratio nor that of gradients prevents the collapse.",
        "verified",
        f"{WORLD}, wordy crowd. Without the ratio's clip, and with gradients clipped at 0.5, gold falls in every seed "
        f"and ends within {NEAR} of vanilla.",
        arms("vanilla", *MINOR),
        h5,
    ),
    Claim(
        "H6",
        "GAE wants a λ of 0.9",
        "λ of 0 and of 1 are worse than 0.9.",
        "verified",
        f"{WORLD}, wordy crowd. Both end below 0.9 in gold.",
        arms("vanilla", "lambda 0", "lambda 1"),
        h6,
    ),
    Claim(
        "H10",
        "A ratio to the fixed reference is stable, and gains less",
        "With the reference in the ratio's denominator nothing collapses and the reward stays lower.",
        "verified",
        f"{WORLD}, wordy crowd. Gold holds in every seed, the reward ends below that of KL 0.05, KL below 2 nats.",
        arms("fixed ratio", "fixed ratio, kl 0.05", "kl 0.05"),
        h10,
    ),
    Claim(
        "H11",
        "PPO-max is stable for long",
        "Over 10 000 steps PPO-max stays flat, more than twenty times as long as vanilla takes to collapse.",
        "verified",
        f"world:{SIZE}, {LONG} iterations, noisy crowd: at least {FAR} times as long as vanilla takes to fall, gold of "
        "the last fifth at least 95% of its best, length changes by less than a tenth.",
        [*STABLE, *[c for c in arms("vanilla") if c.params["crowd"] == "noisy"]],
        h11,
    ),
    Claim(
        "H14",
        "The aligned model beats the one it began as",
        "Judged by people and by a model, PPO-max wins more often than it loses against the fine-tuned model.",
        "verified",
        f"{WORLD}. Gold on 300 held-out prompts, seed by seed, above the start under both crowds; vanilla beside it.",
        [*STARTS, *arms("vanilla", "max")],
        h14,
    ),
]
