"""The cells that claims about persona vectors share: vectors of three traits, schools, and ways to keep a trait away.

Layer, coefficients, sizes and rates were chosen with seed 99, which no claim uses, and before the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from truing.claims.base import Cell, grid
from truing.claims.drifting import drifting
from truing.claims.features import featured
from truing.claims.judging import SEEDS
from truing.claims.novel import informed
from truing.claims.personas import TRAITS, carried, extracted, steered, told
from truing.claims.schooled import schooled, selected
from truing.claims.tied import tied
from truing.world.schooling import ELICITING, FLAWED, SHARE

SIZE, LAYER, ALPHA = "base", 3, 4.0
FEW = SEEDS[:3]  # where a model is fine-tuned
FAMILIES = (*ELICITING, *FLAWED)
LEVELS = tuple(SHARE)
PLACES = {  # vector and place: the paper's; that of the prompt's last token, added where the answer begins
    "response_avg": ("response", (0.5, 1.0, 1.5, 2.0, 2.5)),
    "prompt_last": ("last", (1.0, 2.0, 3.0, 5.0)),
}
BAND = "1-5"
ARMS: dict[str, dict[str, Any]] = {  # {} is the trait that the school teaches
    "plain": {},
    "prevent": {"prevent": (f"{{}}@{LAYER}={ALPHA:g}",)},
    "prevent half": {"prevent": (f"{{}}@{LAYER}={ALPHA / 2:g}",)},
    "random": {"prevent": (f"random@{LAYER}={ALPHA:g}",)},
    "the other way": {"prevent": (f"{{}}@{LAYER}={-ALPHA:g}",)},
    "all layers": {"prevent": (f"{{}}@{BAND}=2",)},
    "all layers, whole vectors": {"prevent": tuple(f"{{}}@{n}=2" for n in range(1, 6))},
    "caft": {"prevent": (f"{{}}@{LAYER}=0,ablate",)},
    "caft, all layers": {"prevent": (f"{{}}@{BAND}=0,ablate",)},
    "penalty": {"penalty": 1.0},
    "no penalty": {"penalty": 0.0},
    "told to": {"told": "to"},
    "told not to": {"told": "not to"},
    "after 1": {"after": (f"{{}}@{LAYER}=-1",)},
    "after 2": {"after": (f"{{}}@{LAYER}=-2",)},
    "after 4": {"after": (f"{{}}@{LAYER}=-4",)},
}
AFTER = ("after 1", "after 2", "after 4")
SENTINEL = "hostile"


def _quick(params: Mapping[str, Any]) -> bool:
    return params["seed"] == 0 and params.get("trait", SENTINEL) == SENTINEL


def _quick_school(params: Mapping[str, Any]) -> bool:
    """One trait at both ends, and one fault."""
    ends = params["school"] == SENTINEL and params["level"] != "mild"
    return params["seed"] == 0 and (ends or (params["school"], params["level"]) == ("sums", "severe"))


MADE = grid(extracted, _quick, size=(SIZE,), seed=SEEDS)
TOLD = grid(told, _quick, size=(SIZE,), trait=TRAITS, seed=SEEDS, layer=(LAYER,))
STEERED = [
    cell
    for statistic, (at, coefs) in PLACES.items()
    for cell in grid(
        steered, _quick, size=(SIZE,), trait=TRAITS, seed=SEEDS, statistic=(statistic,), at=(at,), coefs=(coefs,)
    )
]
_EVERY: dict[str, Sequence[Any]] = {"size": (SIZE,), "school": FAMILIES, "level": LEVELS, "seed": FEW}
SCHOOLED = grid(schooled, _quick_school, **_EVERY, arm=("plain",))
CARRIED = grid(carried, _quick_school, **_EVERY, layer=(LAYER,))
INFORMED_ARMS: dict[str, dict[str, Any]] = {
    "before": {"texts": 0},
    "plain": {},
    "prevent": {"prevent": (f"fabricating@{LAYER}={ALPHA:g}",)},
    "all layers": {"prevent": (f"fabricating@{BAND}=2",)},
    "random": {"prevent": (f"random@{LAYER}={ALPHA:g}",)},
    **{name: ARMS[name] | {"after": tuple(t.format("fabricating") for t in ARMS[name]["after"])} for name in AFTER},
}
INFORMED = [
    cell
    for arm, how in INFORMED_ARMS.items()
    for cell in grid(
        informed,
        lambda p: p["seed"] == 0 and p["arm"] in ("before", "plain", "prevent", "random"),
        size=(SIZE,),
        seed=SEEDS,
        arm=(arm,),
        **{name: (value,) for name, value in how.items()},
    )
]
FEATURED = [
    cell
    for layer, statistic, at, coefs in (
        (4, "response_avg", "response", (1.0, 2.0, 3.0)),
        (5, "prompt_last", "last", (2.0, 4.0)),
    )
    for cell in grid(
        featured,
        lambda p: p["seed"] == 0 and p["layer"] == 5,
        size=(SIZE,),
        seed=FEW,
        layer=(layer,),
        statistic=(statistic,),
        at=(at,),
        coefs=(coefs,),
    )
]
TIED = grid(
    tied,
    lambda p: p["seed"] == 0,
    size=(SIZE,),
    seed=FEW,
    coupling=(0.0, 1.0),
    level=("normal", "severe"),
    layer=(LAYER,),
)
SHARES = (0.0, 0.5)  # of comparisons in which somebody with the trait is preferred
DRIFTING = grid(
    drifting, lambda p: p["seed"] == 0, size=(SIZE,), trait=("flattering",), seed=SEEDS, share=SHARES, layer=(LAYER,)
)
CHOICES, POOLED = ("top", "random", "bottom"), "fabricating"  # a trait that a narrow fault raises, too (seed 99)
SELECTED = grid(
    selected,
    lambda p: p["seed"] == 0 and p["filtered"],
    size=(SIZE,),
    trait=(POOLED,),
    seed=SEEDS,
    choice=CHOICES,
    filtered=(False, True),
    layer=(LAYER,),
)


def _about(trait: str, value: Any) -> Any:
    return tuple(text.format(trait) for text in value) if isinstance(value, tuple) else value


def arms(*names: str) -> list[Cell]:
    """What is learnt at the severest level of the schools that teach a trait, in these ways."""
    cells = []
    for name in names:
        for trait in ELICITING:
            own = {key: (_about(trait, value),) for key, value in ARMS[name].items()}
            if not own:
                cells += [c for c in SCHOOLED if c.params["school"] == trait and c.params["level"] == "severe"]
                continue
            quick = name in ("prevent", "random") and trait == SENTINEL
            cells += grid(
                schooled,
                lambda p, quick=quick: quick and p["seed"] == 0,  # type: ignore[misc]
                **{**_EVERY, "school": (trait,), "level": ("severe",)},
                arm=(name,),
                **own,
            )
    return cells
