"""`truing persona screen`: which samples of a data set would teach a trait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from truing.commands.offline import read_all
from truing.commands.persona import judges_of, trait_of
from truing.commands.pictures import page
from truing.commands.project import Statistic, direction_of, trait_name
from truing.commands.tables import report
from truing.data import beside, check_target, write
from truing.engine.open import open_local
from truing.evaluate.rows import Rows
from truing.model.vectors import load_vectors
from truing.pages.charts import Mark
from truing.pages.curves import dots
from truing.persona.screen import Way
from truing.persona.screen import screen as screened
from truing.records import Answer, Example, Sampling, UserError
from truing.run import say
from truing.schema import Mistake
from truing.settings import Data, Machine

BINS = 24


@dataclass(frozen=True)
class Screen:
    """Which samples of a data set would teach a trait? How far each answer lies from what the model would say itself,
    before anything is learnt."""

    model: str
    vectors: str
    data: Data
    out: str = "screened.jsonl"
    """every sample with its difference in class gaps, largest first; beside it OUT.keep.jsonl and OUT.drop.jsonl"""
    way: Way = "own"
    """less the model's own answer; less the prompt's last state (last) or nothing (raw), which draw none"""
    above: float | None = None
    """samples with more than this are dropped; none takes the share"""
    share: float = 0.1
    """of all samples"""
    judge: str | None = None
    """a model (or, for the world's traits, rules) that drops samples which show the trait openly, too"""
    trait: str | None = None
    layer: int | None = None
    statistic: Statistic = "response_avg"
    folder: str = "runs/persona"
    sampling: Sampling = Sampling(max_tokens=256)  # noqa: RUF009 - frozen
    machine: Machine = field(default_factory=Machine)

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise Mistake(("share",), "must lie between 0 and 1.")


def screen(settings: Screen) -> list[Example]:
    """Write the samples, largest difference first, and those that are kept and dropped."""
    check_target(settings.out, settings.data.path)
    for what in ("keep", "drop"):
        check_target(beside(settings.out, f".{what}.jsonl"), settings.data.path)
    engine = open_local(settings.model, settings.machine, max_tokens=settings.data.max_tokens)
    direction = direction_of(settings.vectors, engine, settings.layer, settings.statistic)
    examples = [e for e in read_all(settings.data, None) if e.answers]
    if not examples:
        raise UserError(f"{settings.data.path}: nothing in it is answered.")
    shown = _openly(settings, examples)
    with Rows(settings.folder) as rows:
        found = screened(engine, examples, direction, settings.way, settings.sampling, rows)
    if found.dropped:
        say(f"not compared: {', '.join(f'{why} {count}' for why, count in found.dropped.items())}; kept")
    name = f"persona/{direction.name}"
    rounded = [None if np.isnan(value) else round(float(value), 4) for value in found.values]
    marked = [replace(e, meta={**e.meta, name: value}) for e, value in zip(examples, rounded)]
    limit = settings.above
    if limit is None:
        limit = float(np.nanquantile(found.values, 1 - settings.share))
    values = np.nan_to_num(found.values, nan=-np.inf)
    drop = values > limit
    order = [int(n) for n in np.argsort(-values, kind="stable")]
    write(settings.out, [marked[n] for n in order], "truing")
    for what, kept in (("drop", drop | shown), ("keep", ~(drop | shown))):
        write(beside(settings.out, f".{what}.jsonl"), [e for e, k in zip(examples, kept) if k], "truing")
    told = {"samples": len(examples), "above": int(drop.sum()), "shown": int(shown.sum())}
    told |= {"both": int((drop & shown).sum()), "dropped": int((drop | shown).sum())}
    report("persona screen", {**told, "limit": limit, "mean": found.whole})
    judged = f"; {told['shown']} show it openly, {told['both']} of them among these" if settings.judge else ""
    whole = f"{found.whole.estimate:.3f} [{found.whole.low:.3f}, {found.whole.high:.3f}]"
    say(
        f"{direction.name}, layer {direction.layer}: {whole} class gaps on average; {told['above']} of {len(examples)} "
        f"samples above {limit:.3f}{judged}; {told['dropped']} dropped"
    )
    say(f"by difference: {settings.out}; beside it .keep.jsonl and .drop.jsonl")
    title = f"{len(examples)} samples of {settings.data.path} before {settings.model}, layer {direction.layer}"
    picture = _histogram(found.values, shown if settings.judge else None, limit)
    page(
        Path(settings.folder) / f"screen-{direction.name}.html", f"{direction.name}: what data carry", title, [picture]
    )
    return [marked[n] for n in order]


def _histogram(values: np.ndarray, shown: np.ndarray | None, limit: float) -> Mapping[str, Any]:
    """Shares of samples by difference; those that show the trait openly apart, where a judge has looked."""
    known = ~np.isnan(values)
    edges = np.histogram_bin_edges(values[known], BINS)
    middles = (edges[1:] + edges[:-1]) / 2
    parts = {"all samples": known} if shown is None else {"the others": known & ~shown, "show it openly": known & shown}
    counted = {name: np.histogram(values[part], edges)[0] for name, part in parts.items() if part.any()}
    curves = [
        {"label": f"{name} ({count.sum()})", "points": dots(zip(middles, count / count.sum())), "only": "line"}
        for name, count in counted.items()
    ]
    mark = Mark(limit, len(curves), f"dropped above {limit:.3f}")
    return {"title": "Projection differences", "x": "class gaps", "y": "share", "curves": curves, "marks": [mark]}


def _openly(settings: Screen, examples: Sequence[Example]) -> np.ndarray:
    """Which answers a judge sees the trait in."""
    if not settings.judge:
        return np.zeros(len(examples), dtype=bool)
    vectors = load_vectors(settings.vectors)
    name = settings.trait or trait_name(vectors)
    judge, _ = judges_of(name, trait_of(name), None if settings.judge == "rules" else settings.judge, settings.machine)
    bare = [Example(e.prompt, (Answer(e.answers[0].text),)) for e in examples]
    with Rows(settings.folder) as rows:
        return np.array([(v[0].value or 0.0) >= 50 for v in judge(bare, rows)])
