"""How far people (or models) who judge the same things agree, and how much of it chance would give them.

share          of pairs of judgements about the same thing that are alike
cohen_kappa    (share − chance) / (1 − chance) for two raters, chance from how often each gives which label
krippendorff   α = 1 − D_observed / D_expected for any number of raters, each of whom may skip things

0 is what chance gives, 1 is perfect; both may be negative. Where everybody always says the same, chance would agree as
well, and there is no kappa or alpha: NaN.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np

Label = Hashable | None  # None: not judged


def share(judgements: Sequence[Sequence[Label]]) -> float:
    """`judgements[thing][rater]`. Of all pairs of raters about the same thing, how many agree."""
    pairs = [(a, b) for labels in judgements for a, b in combinations([x for x in labels if x is not None], 2)]
    return sum(a == b for a, b in pairs) / len(pairs) if pairs else float("nan")


def cohen_kappa(first: Sequence[Label], second: Sequence[Label]) -> float:
    """Two raters, over the things both judged."""
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not both:
        return float("nan")
    seen = sum(a == b for a, b in both) / len(both)
    ours, theirs = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(ours[label] * theirs[label] for label in ours) / len(both) ** 2
    return (seen - chance) / (1 - chance) if chance < 1 else float("nan")


def krippendorff(judgements: Sequence[Sequence[Label]]) -> float:
    """Nominal α: `judgements[thing][rater]`. A thing that only one rater judged says nothing about agreement."""
    units = [counts for labels in judgements if (counts := Counter(x for x in labels if x is not None)).total() > 1]
    totals: Counter[Hashable] = sum(units, Counter())
    n = totals.total()
    if not n:
        return float("nan")
    observed = sum(_unlike(counts) / (counts.total() - 1) for counts in units) / n
    expected = _unlike(totals) / (n * (n - 1))
    return 1 - observed / expected if expected else float("nan")


def _unlike(counts: Counter[Hashable]) -> float:
    """Ordered pairs with different labels."""
    values = np.array(list(counts.values()), dtype=float)
    return float(values.sum() ** 2 - (values**2).sum())
