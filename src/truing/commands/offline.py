"""`truing offline`: the judges that a recipe names, and the procedure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from truing.align.methods import Offline
from truing.align.offline import estimate
from truing.align.offline import offline as align
from truing.align.rewards import Part
from truing.data import read
from truing.engine import open_engine
from truing.evaluate.called import Called
from truing.evaluate.classify import Classifier
from truing.evaluate.judges import Judge, Rule, Scorer
from truing.evaluate.lexical import TfIdf, distinct, length
from truing.records import Example, UserError
from truing.run import Run
from truing.schema import Mistake
from truing.settings import Data, Machine

__all__ = ["Offline", "estimate", "offline"]
LEXICAL = {"length": length, "distinct": distinct}


def offline(settings: Offline, examples: Sequence[Example] | None = None) -> Run:
    return align(settings, examples, judges(settings.rewards, settings.data, settings.machine, examples))


def judges(
    names: Sequence[str],
    data: Data,
    machine: Machine,
    examples: Sequence[Example] | None = None,
    squash: bool = True,
    key: str = "rewards",
) -> list[Part]:
    """Each name with its weight as a part of the reward: NAME, NAME*WEIGHT, either `if COLUMN=VALUE`. `squash`: σ of
    what a preference model says, which has no bounds. `key`: where the recipe names them."""
    try:
        parts = [_conditional(text, data, machine, examples) for text in names]
    except Mistake as mistake:
        raise UserError(f"{key}: {mistake.what}") from None
    if parts and not any(part.weight for part in parts):
        raise Mistake((key,), "have weight 0, all of them: there has to be a judge that counts.")
    return [part if squash or not part.squash else part._replace(squash=False, bounds=None) for part in parts]


def _conditional(text: str, data: Data, machine: Machine, examples: Sequence[Example] | None) -> Part:
    named, condition, where = text.partition(" if ")
    column, equals, value = (part.strip() for part in where.partition("="))
    if condition and not (column and equals and value):
        raise Mistake(("rewards",), f"{text}: write a condition as `if COLUMN=VALUE`.")
    return _part(named.strip(), data, machine, examples)._replace(only=(column, value) if condition else None)


def _part(text: str, data: Data, machine: Machine, examples: Sequence[Example] | None) -> Part:
    name, weight = weighted(text)
    kind, _, rest = name.partition(":")
    if kind == "world" and rest.partition(".")[0] == "gold":
        return Part(_gold(rest.partition(".")[2] or "overall"), weight)
    if name == "lexical:tfidf":
        return Part(TfIdf.of(a.text for e in read_all(data, examples) for a in e.answers), weight)
    if kind == "lexical":
        if rest not in LEXICAL:
            raise Mistake(("rewards",), f"there is no lexical:{rest}; there are {', '.join(LEXICAL)}, tfidf.")
        return Part(Rule(name, LEXICAL[rest]), weight)
    if kind == "call":
        return Part(Called.load(rest), weight, bounds=None)
    if "#" in name or name.endswith("+prompt"):
        return Part(Classifier.load(name, machine), weight)
    engine = open_engine(name, machine)
    if not getattr(engine, "rewards", False):
        raise Mistake(("rewards",), f"{name} is no preference model; train one with truing pm.")
    return Part(Scorer(engine), weight, squash=True)


def weighted(text: str) -> tuple[str, float]:
    """NAME*WEIGHT."""
    name, star, weight = text.rpartition("*")
    if not star:
        return text, 1.0
    try:
        if math.isfinite(value := float(weight)):
            return name, value
    except ValueError:
        pass
    raise Mistake(("rewards",), f"{text}: what stands behind the * is no number.")


def _gold(part: str) -> Judge:
    from truing.world.judge import Gold, gold
    from truing.world.town import town

    names = ["overall", *Gold.__dataclass_fields__]
    if part not in names:
        raise Mistake(("rewards",), f"world:gold has no '{part}'; it has {', '.join(names)}.")
    place = town(0)
    return Rule(f"world:gold.{part}", lambda prompt, answer: float(getattr(gold(place, prompt, answer), part)))


def read_all(data: Data, examples: Sequence[Example] | None) -> Sequence[Example]:
    if examples is not None:
        return examples
    paths = [data.path] if isinstance(data.path, str) else data.path
    format = None if data.format == "auto" else data.format
    return [e for path in paths for e in read(path, format=format, on_defect=data.on_defect, limit=data.limit)]
