"""`truing bestofn`: the judges that a recipe names, the procedure, and what its curve looks like."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from truing.align.bestofn import BestOfN, Found, Point
from truing.align.bestofn import bestofn as draw
from truing.commands.offline import judges, read_all
from truing.commands.tables import cell, plain, report, show
from truing.data import beside, check_target
from truing.records import Example, UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.stats.intervals import Interval

__all__ = ["BestOfN", "bestofn"]
CURVE = ".curve.json"
NOTE = "each k from all answers; 95 % intervals over prompts; KL: in nats from the policy, at most"


def bestofn(settings: BestOfN) -> list[Example]:
    """Write and return one example per prompt: its best answers, best first, with rewards."""
    check_target(settings.out, settings.data.path)
    examples = read_all(settings.data, None)
    if any(name.startswith("lexical:tfidf") for name in settings.test) and not any(e.answers for e in examples):
        raise UserError(f"test lexical:tfidf: it weighs words by the answers in {settings.data.path}, which has none.")
    tests = judges(settings.test, settings.data, settings.machine, examples, squash=False, key="test")
    found = draw(settings, examples, tests)
    _tell(settings, found, len(examples) - len(found.pool))
    return found.kept


def _tell(settings: BestOfN, found: Found, repeated: int) -> None:
    n, count = settings.sampling.n, len(found.pool)
    rows = {
        f"best of {p.k}": [f"{math.log(p.k):.3f}", f"{p.kl:.3f}", cell(p.reward), *map(cell, p.test.values())]
        for p in found.curve
    }
    heads = ["KL ≤ ln k", "KL ≤ ln k − (k−1)/k", "reward", *settings.test]
    show(f"{settings.model}: {count} prompts, chosen by {settings.judge}", heads, rows, NOTE)
    kept = sum(len(e.answers) for e in found.kept)
    about = {"model": settings.model, "judge": settings.judge, "prompts": count, "n": n, "kept": kept}
    told = {**about, "out": settings.out, "curve": [_told(point) for point in found.curve]}
    report("bestofn", told)
    file = beside(settings.out, CURVE)
    write_text(file, json.dumps({**told, "sampling": asdict(settings.sampling), "prints": found.prints}, indent=1))
    again = f"; {repeated} repeated prompts were asked once" if repeated else ""
    say(f"{kept} of {count * n} answers kept, the best {settings.keep or n} of each prompt{again}: {settings.out}")
    say(f"the curve, for truing report: {file}")


def _told(point: Point) -> dict[str, Any]:
    test = {name: _ends(found) for name, found in point.test.items()}
    return plain({"k": point.k, "ln_k": math.log(point.k), "kl": point.kl, "reward": _ends(point.reward), "test": test})


def _ends(found: Interval) -> dict[str, float | None]:
    return {"mean": found.estimate, "low": found.low, "high": found.high, "n": found.n}
