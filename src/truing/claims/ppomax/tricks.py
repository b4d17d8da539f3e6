"""Claims about single ingredients of PPO (arXiv 2307.04964): H4, H5, H6, H7, H9, H10, H16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from truing.claims.base import Claim, Found, Outcome
from truing.claims.judging import Value, above, below, lines, over_seeds
from truing.claims.ppomax.cells import (
    ITERATIONS,
    TRUTH,
    Row,
    all_fall,
    apart,
    arms,
    begun,
    drawn,
    fall_time,
    final,
    last,
    lost,
    none_falls,
    of_arm,
    seeds,
    within,
)
from truing.stats.intervals import Interval

CROWD = "wordy"
SCORES = ("scaled", "clipped 0.8", "clipped 0.3", "advantages clipped")
MINOR = ("ratios free", "gradients clipped")
ENTROPIES = ("entropy 0.003", "entropy 0.01", "entropy 0.03", "entropy 0.1", "entropy 0.1 to 0.4")
SMOOTHED = {"critic first": "vanilla", "clipped 0.8, folded": "clipped 0.8"}  # beside the same without it
FIRST = 10  # iterations in which the policy learns
WORLD = f"world:small, {ITERATIONS[CROWD]} iterations of 128 answers, wordy crowd"


def _apart(found: Found, name: str, value: Value = final, other: str = "vanilla") -> Interval | None:
    return apart(found, name, other, value, CROWD)


def _seeds(found: Found, name: str, value: Value = final) -> Interval | None:
    return seeds(found, name, value, CROWD)


def _said(gaps: Mapping[str, Interval | None]) -> str:
    return ", ".join(f"{name} {gap.estimate:+.3f}" for name, gap in gaps.items() if gap) or "too few cells"


def h4(found: Found) -> Outcome:
    """Scaling does nothing, clipping delays, none of them prevents."""
    times = {n: _seeds(found, n, fall_time) for n in ("vanilla", *SCORES)}
    late = {n: _apart(found, n, fall_time) for n in SCORES}
    usual = times["vanilla"].estimate if times["vanilla"] else 0.0
    conditions = {
        "scaling changes the time of the fall by less than a fifth": within(late["scaled"], usual / 5),
        "clipped at 0.3 it falls later": above(late["clipped 0.3"]),
        "with clipped advantages it falls later": above(late["advantages clipped"]),
        **{f"{n} falls in every seed": all_fall(found, n, CROWD) for n in SCORES},
    }
    rows: list[Row] = [(f"iteration of the fall, {n}", v, "context") for n, v in times.items()]
    rows += [(f"iteration of the fall: {n} − vanilla", v, "effect") for n, v in late.items()]
    rows += [(f"gold at the end, {n}", _seeds(found, n), "context") for n in ("vanilla", *SCORES)]
    why = "gold falls at " + ", ".join(f"{v.estimate:.0f} ({n})" for n, v in times.items() if v)
    shown = [drawn(found, ("vanilla", *SCORES), CROWD, TRUTH, "gold")]
    return Outcome(conditions, why, lines(*rows), shown)


def h5(found: Found) -> Outcome:
    """Clipping ratios or gradients does not prevent it."""
    gaps, near = {n: _apart(found, n) for n in MINOR}, lost(found, "vanilla", CROWD) / 4
    conditions = {f"{n}: gold falls in every seed": all_fall(found, n, CROWD) for n in MINOR}
    conditions |= {f"{n}: ends like vanilla, by a quarter of its loss": within(gap, near) for n, gap in gaps.items()}
    rows = lines(
        *((f"gold at the end: {n} − vanilla", gap, "effect") for n, gap in gaps.items()),
        ("a quarter of what vanilla loses", near, "context"),
    )
    return Outcome(conditions, _said(gaps), rows)


def h6(found: Found) -> Outcome:
    """λ of 0 and of 1 are worse than 0.9."""
    gaps = {n: _apart(found, n) for n in ("lambda 0", "lambda 1")}
    rows = lines(*((f"gold at the end: {n} − lambda 0.9", gap, "effect") for n, gap in gaps.items()))
    return Outcome({f"{n} ends below 0.9": below(gap) for n, gap in gaps.items()}, _said(gaps), rows)


def h7(found: Found) -> Outcome:
    """From which model the critic starts is all the same; that it learns first smooths the start, and no more."""
    shrunk = {
        (way, what): _shrunk(found, way, other, value)
        for way, other in SMOOTHED.items()
        for what, value in (("advantage", _bias), ("loss", _loss))
    }
    gap = _apart(found, "critic from policy")
    near = lost(found, "vanilla", CROWD) / 4
    conditions = {"from the policy: ends like vanilla, by a quarter of its loss": within(gap, near)}
    conditions |= {f"{way}: {what} at the start at most half": below(v, 0.5) for (way, what), v in shrunk.items()}
    conditions["critic first: gold falls in every seed"] = all_fall(found, "critic first", CROWD)
    names = {"advantage": "mean advantage, absolute", "loss": "value loss"}
    rows: list[Row] = [("gold at the end: critic from the policy − from the preference model", gap, "effect")]
    rows += [
        (f"{names[what]}, first {FIRST} iterations: {way}, as a share of that of {SMOOTHED[way]}", v, "effect")
        for (way, what), v in shrunk.items()
    ]
    rows += [
        (f"gold at the end: {way} − {other}", _apart(found, way, other=other), "context")
        for way, other in SMOOTHED.items()
    ]
    return Outcome(conditions, _said({"from the policy": gap}), lines(*rows))


def _shrunk(found: Found, name: str, other: str, value: Value) -> Interval | None:
    """As a share, seed by seed."""
    mine, theirs = (of_arm(found, arm, value, CROWD) for arm in (name, other))
    return over_seeds({seed: mine[seed] / theirs[seed] for seed in mine if seed in theirs})


def _first(found: Mapping[str, Any], name: str) -> list[float]:
    """Of the first iterations in which the policy learns, too."""
    policy, every = len(found["curve/policy/total"]), len(found["curve/reward"])
    learnt: list[float] = found[f"curve/{name}"][every - policy :]
    return learnt[:FIRST]


def _bias(found: Mapping[str, Any]) -> float:
    return sum(map(abs, _first(found, "advantage"))) / FIRST


def _loss(found: Mapping[str, Any]) -> float:
    return sum(_first(found, "critic/total")) / FIRST


def h9(found: Found) -> Outcome:
    """A bonus for entropy is a delicate thing, and the KL penalty a better one."""
    wild = {n: [_diverged(f) for _, f in found.where(arm=n, crowd=CROWD).rows] for n in ENTROPIES}
    ends = {n: v for n in ENTROPIES if (v := _seeds(found, n))}
    best = max(ends, key=lambda n: ends[n].estimate, default=ENTROPIES[0])
    gap = _apart(found, "kl 0.05", other=best)
    seen = [all(each) for each in wild.values() if each]
    conditions = {
        "one of them diverges in every seed": any(seen) if seen else None,
        "kl 0.05 ends above the best of them": above(gap),
    }
    rows: list[Row] = [(f"gold at the end: kl 0.05 − {best}", gap, "effect")]
    rows += [(f"gold at the end, {n}", v, "context") for n, v in ends.items()]
    rows += [(f"{n}: seeds that diverge", float(sum(each)), "context") for n, each in wild.items() if each]
    rows += [(f"gold at the end, {n}", _seeds(found, n), "context") for n in ("vanilla", "kl 0.05")]
    return Outcome(conditions, _said({f"kl 0.05 − {best}": gap}), lines(*rows))


def _diverged(found: Mapping[str, Any]) -> bool:
    """Entropy ends 1.3 times as high as it was, and gold below its start."""
    entropy = found["curve/entropy"]
    return bool(sum(entropy[-10:]) / 10 > 1.3 * entropy[0] and final(found) < begun(found))


def h10(found: Found) -> Outcome:
    """A ratio to the reference does not collapse, and gains less."""
    alone, both = "fixed ratio", "fixed ratio, kl 0.05"
    nats, gain = _seeds(found, both, last("kl")), _apart(found, both, last("reward"), "kl 0.05")
    conditions = {f"{n}: gold holds in every seed": none_falls(found, n, CROWD) for n in (alone, both)}
    conditions |= {
        "with both, less reward than with the penalty alone": below(gain),
        "with both, less than 2 nats per answer": below(nats, 2.0),
    }
    rows: list[Row] = [
        ("reward at the end: fixed ratio and kl 0.05 − kl 0.05", gain, "effect"),
        ("reward at the end: fixed ratio − kl 0.05", _apart(found, alone, last("reward"), "kl 0.05"), "context"),
        *((f"nats per answer, {n}", _seeds(found, n, last("kl")), "context") for n in (alone, both, "kl 0.05")),
        *((f"gold at the end, {n}", _seeds(found, n), "context") for n in (alone, both, "kl 0.05")),
    ]
    return Outcome(conditions, f"{nats.estimate:.2f} nats per answer" if nats else "too few cells", lines(*rows))


def h16(found: Found) -> Outcome:
    """Do clipped advantages and clipped values get in each other's way?"""
    both, one, other = (_apart(found, n) for n in ("both clipped", "advantages clipped", "values clipped"))
    ends = [of_arm(found, n, final, CROWD) for n in ("both clipped", "advantages clipped", "values clipped", "vanilla")]
    shared = [seed for seed in ends[0] if all(seed in each for each in ends)]
    more = over_seeds({s: ends[0][s] - ends[1][s] - ends[2][s] + ends[3][s] for s in shared})
    rows = lines(
        ("gold at the end: both together − what each does alone", more, "effect"),
        ("gold at the end: both − vanilla", both, "context"),
        ("gold at the end: advantages clipped − vanilla", one, "context"),
        ("gold at the end: values clipped − vanilla", other, "context"),
    )
    return Outcome({}, f"nothing has to come out: {_said({'together beyond each': more})}", rows)


CLAIMS = [
    Claim(
        "H4",
        "Score transforms delay at best",
        "Reward scaling alone does nothing; clipping rewards or advantages hard delays the collapse.",
        "verified",
        f"{WORLD}. With scaled scores gold falls within a fifth of vanilla's time; with rewards clipped "
        "at 0.3, or advantages at 0.12, later; every one of them falls.",
        arms("vanilla", *SCORES),
        h4,
    ),
    Claim(
        "H5",
        "Ratio and gradient clips do not prevent it",
        "Neither the clip of the ratio nor that of gradients prevents the collapse.",
        "verified",
        f"{WORLD}. Without the ratio's clip, and with gradients clipped at 0.5, gold falls in every seed and ends "
        "within a quarter of vanilla's loss of vanilla's end.",
        arms("vanilla", *MINOR),
        h5,
    ),
    Claim(
        "H6",
        "GAE wants a λ of 0.9",
        "λ of 0 and of 1 are worse than 0.9.",
        "verified",
        f"{WORLD}. Both end below 0.9 in gold.",
        arms("vanilla", "lambda 0", "lambda 1"),
        h6,
    ),
    Claim(
        "H7",
        "Where the critic starts does not matter; that it learns first smooths the start",
        "From the preference model or from the policy training converges alike; a critic that is trained first makes "
        "the beginning smoother.",
        "verified",
        f"{WORLD}. From the policy it ends within a quarter of vanilla's loss of vanilla's end; with a critic that "
        f"learns {FIRST} iterations first, or (scores normalised and clipped) whose head is folded, mean advantage and "
        f"value loss of the policy's first {FIRST} iterations are at most half of what they are without; with the "
        "former it still falls in every seed.",
        arms("vanilla", "critic from policy", "critic first", "clipped 0.8", "clipped 0.8, folded"),
        h7,
    ),
    Claim(
        "H9",
        "A bonus for entropy is fragile",
        "Entropy bonuses keep it stable only where they are tuned with care.",
        "verified",
        f"{WORLD}. Of weights 0.003 to 0.1, and a pull towards the start's entropy, at least one diverges in every "
        "seed (entropy ends 1.3 times as high, gold below its start); KL 0.05 ends above the best of them.",
        arms(*ENTROPIES, "vanilla", "kl 0.05"),
        h9,
    ),
    Claim(
        "H10",
        "A ratio to the fixed reference is stable, and gains less",
        "With the reference in the ratio's denominator nothing collapses; with the KL penalty beside it curves are "
        "flattest and the reward is lowest.",
        "reported",
        f"{WORLD}. Alone and with KL 0.05 gold holds in every seed; with both the reward ends below that of KL 0.05 "
        "alone and KL below 2 nats.",
        arms("fixed ratio", "fixed ratio, kl 0.05", "kl 0.05"),
        h10,
    ),
    Claim(
        "H16",
        "Clipped advantages and clipped values get in each other's way",
        "Tricks that both limit what is learnt from advantages conflict when they are combined.",
        "reported",
        f"{WORLD}, both, each and neither. The interaction is reported; nothing has to come out.",
        arms("vanilla", "advantages clipped", "values clipped", "both clipped"),
        h16,
    ),
]
