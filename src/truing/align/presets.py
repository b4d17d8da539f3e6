"""The presets of PPO as data: for every ingredient what each of them takes, and where that is from.

paper: stated there; code: what the authors' scripts do; ours: chosen here where the source is silent.

- `vanilla`, `max`: Zheng et al., arXiv 2307.04964, without and with what they select
- `moss-release`: the scripts they released with it, which differ from the paper
- `bai2022`: Bai et al., arXiv 2204.05862
- `nplus`: Huang et al., arXiv 2403.17031, "The N+ Implementation Details of RLHF with PPO"
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, NamedTuple

NAMES = ("vanilla", "max", "bai2022", "moss-release", "nplus")


class Ingredient(NamedTuple):
    """A row: the settings it fixes, and for each preset their values."""

    name: str
    keys: tuple[str, ...]
    choices: Mapping[str, tuple[Any, ...]]
    """preset → values, in the order of the keys, and where they are from"""


def _row(name: str, keys: str, *columns: tuple[Any, ...]) -> Ingredient:
    return Ingredient(name, tuple(keys.split()), dict(zip(NAMES, columns, strict=True)))


PAPER, CODE, OURS = "paper", "code", "ours"

# Columns: vanilla, max, bai2022, moss-release, nplus.
INGREDIENTS = (
    _row(
        "token KL penalty",
        "kl.coefficient kl.estimator kl.place",
        (0.0, "k1", "reward", PAPER),
        (0.05, "k1", "reward", PAPER),
        (0.001, "k1", "reward", PAPER),
        (0.01, "k1", "reward", CODE),
        (0.05, "k1", "reward", CODE),
    ),
    _row(
        "ratio's denominator",
        "update.ratio",
        ("old", PAPER),
        ("old", PAPER),
        ("old", PAPER),
        ("old", CODE),
        ("old", CODE),
    ),
    _row("entropy bonus", "update.entropy", (0.0, PAPER), (0.0, PAPER), (0.0, PAPER), (0.0, CODE), (0.0, CODE)),
    _row(
        "reward transform",
        "reward.transform reward.clip",
        ("raw", None, PAPER),
        ("normalise", 0.8, f"{PAPER}; the bound {OURS}, of the two it tries"),
        ("raw", None, PAPER),
        ("scale", None, CODE),
        ("raw", None, f"{CODE}, which shifts scores so that demonstrations get 0: shift the preference model"),
    ),
    _row(
        "advantage transform",
        "update.whiten update.bound",
        (False, None, PAPER),
        (False, None, PAPER),
        (True, None, OURS),
        (False, None, CODE),
        (True, None, CODE),
    ),
    _row("value clip", "critic.clip", (None, OURS), (0.2, PAPER), (None, OURS), (0.2, CODE), (0.2, CODE)),
    _row(
        "critic's start",
        "critic.start critic.fold",
        ("reward", False, PAPER),
        ("reward", True, f"{PAPER}; folded {OURS}"),
        ("reward", False, OURS),
        ("reward", False, CODE),
        ("reward", False, CODE),
    ),
    _row(
        "advantage estimator",
        "gae.gamma gae.lam",
        (1.0, 0.9, f"{PAPER}; gamma {OURS}"),
        (1.0, 0.9, f"{PAPER}; gamma {OURS}"),
        (1.0, 0.95, f"{PAPER}; lam {OURS}"),
        (1.0, 0.95, CODE),
        (1.0, 0.95, CODE),
    ),
    _row("ratio clip", "update.clip", (0.2, OURS), (0.2, OURS), (0.2, PAPER), (0.2, CODE), (0.2, CODE)),
    _row(
        "gradient clip",
        "optim.clip update.joint_norm",
        (0.0, False, f"{OURS}, as the paper's figures suggest"),
        (1.0, False, f"{PAPER}; each network its own {OURS}"),
        (1.0, False, OURS),
        (1.0, True, CODE),
        (0.0, False, CODE),
    ),
    _row(
        "optimiser",
        "optim.lr critic.lr optim.betas optim.eps critic.eps optim.schedule optim.warmup",
        (5e-7, 1.65e-6, (0.9, 0.95), 1e-6, 1e-8, "inverse_sqrt", 0.1, f"{PAPER}; betas, eps, schedule {CODE}; for 7B"),
        (
            5e-7,
            1.65e-6,
            (0.9, 0.95),
            1e-6,
            1e-8,
            "constant",
            0.0,
            f"{PAPER}; betas, eps {CODE}; no warm-up, because the critic learns first, {OURS}; for 7B",
        ),
        (1e-6, 1e-6, (0.9, 0.999), 1e-5, None, "constant", 0.0, f"{OURS}: a hundredth of pretraining's rate ({PAPER})"),
        (5e-7, 1.5e-6, (0.9, 0.95), 1e-6, 1e-8, "inverse_sqrt", 100.0, CODE),
        (3e-6, 3e-6, (0.9, 0.999), 1e-5, None, "linear", 0.0, CODE),
    ),
    _row(
        "sampler",
        "sampling.temperature sampling.top_p mismatch",
        (1.0, 1.0, "refuse", OURS),
        (1.0, 1.0, "refuse", OURS),
        (1.0, 1.0, "refuse", OURS),
        (0.8, 0.9, "ignore", f"{CODE}, which also penalises repetition: not here"),
        (0.7, 1.0, "refuse", CODE),
    ),
    _row(
        "buffer",
        "rollouts optim.batch optim.epochs",
        (128, 32, 1.0, PAPER),
        (128, 32, 1.0, PAPER),
        (256, 64, 1.0, OURS),
        (14, 14, 1.0, f"{CODE}: one step for each buffer"),
        (512, 512, 4.0, CODE),
    ),
    _row(
        "critic pre-training",
        "critic.pretrain",
        (0, PAPER),
        (10, f"{PAPER}; how long {OURS}"),
        (0, PAPER),
        (0, CODE),
        (0, CODE),
    ),
    _row(
        "pretraining mix",
        "mix.weight",
        (0.0, PAPER),
        (0.05, f"{PAPER}; the weight {OURS}, and nothing without mix.path"),
        (0.0, PAPER),
        (0.0, CODE),
        (0.0, CODE),
    ),
    _row(
        "answers without an end",
        "reward.unended reward.penalty",
        ("score", 1.0, OURS),
        ("score", 1.0, OURS),
        ("score", 1.0, OURS),
        ("score", 1.0, CODE),
        ("replace", 1.0, CODE),
    ),
)


def preset(name: str) -> dict[str, Any]:
    """Its values, nested as a recipe is."""
    if name not in NAMES:
        return {}  # the recipe's own check says what there is
    values: dict[str, Any] = {}
    for row in INGREDIENTS:
        for key, value in zip(row.keys, row.choices[name]):
            *above, last = key.split(".")
            place = values
            for part in above:
                place = place.setdefault(part, {})
            place[last] = value
    return values


def described(name: str, recipe: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """For each ingredient its name, what the recipe sets it to, and where the preset's values are from."""
    lines = []
    for row in INGREDIENTS:
        *values, source = row.choices[name]
        found = [reduce(lambda at, part: at[part], key.split("."), recipe) for key in row.keys]
        said = [
            f"{key} {shown(mine)}" + ("" if mine == value else f" (recipe; {name}: {shown(value)})")
            for key, mine, value in zip(row.keys, found, values)
        ]
        lines.append((row.name, ", ".join(said), source))
    return lines


def shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(shown, value))
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
