"""Studies of prompts that a model is not meant for: can its activations tell them from the others?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from truing.claims.work import MACHINE
from truing.engine import open_engine
from truing.evaluate.detector import METHODS
from truing.evaluate.ood import study
from truing.world.corpora import CORPORA
from truing.world.town import town

PROMPTS = 1500  # of each kind, or all there are


def ood(folder: Path, *, size: str, seed: int, inside: str = "benign", outside: str = "harmful") -> dict[str, Any]:
    """What `evaluate.ood.study` finds, and the mean over all layers and both poolings. `seed` parts the prompts.

    outside: harmful; deeds, those of them that are worded as borderline prompts are; benign, more of the same (the
    control: nothing is to be found).
    """
    place, engine = town(0), open_engine(f"world:{size}", MACHINE)
    known = CORPORA[inside](place, PROMPTS, 0)
    others = CORPORA[outside](place, PROMPTS, 1)  # of the same kind they are other ones
    found, _ = study(engine, known, others, seed)
    tests = {m: [row["test"] for row in found["layers"] if row["method"] == m] for m in METHODS}
    return found | {"mean": {m: float(np.mean(values)) for m, values in tests.items()}}
