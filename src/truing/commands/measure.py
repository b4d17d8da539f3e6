"""`truing eval calibration`, `truing eval ood`: what scores and activations know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from truing.commands.evaluate import Test, items
from truing.commands.pictures import of_layers, page
from truing.commands.tables import cell, report, show
from truing.data.views import comparisons
from truing.engine import open_engine
from truing.engine.base import Asking
from truing.evaluate.ood import VERSION, study
from truing.evaluate.preference import kept_pairs
from truing.evaluate.rows import Rows
from truing.pages.preference import pairs_page
from truing.records import Example, UserError, fingerprint
from truing.run import say
from truing.run.checkpoint import write_text
from truing.schema import Mistake
from truing.stats import pairs, ratings
from truing.stats.calibration import calibration as calibrate

STEPS = 5  # thresholds of the scores
Pairs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Calibration(Test):
    """What does a preference model know, and how sure may it be? Several are compared on the same pairs."""

    folder: str = "runs/eval-calibration"
    data: str = "world:tranches"
    """comparisons that nobody here was trained on: world:tranches (of another seed), a file or a hub name"""
    count: int = 3000
    seed: int = 1


@dataclass(frozen=True)
class Ood(Test):
    """Can a model tell prompts that it is not meant for? Distances of activations, and classifiers that saw a few."""

    folder: str = "runs/eval-ood"
    inside: str = "world:benign"
    """prompts it is meant for; of other data, each example's prompt"""
    outside: str = "world:harmful"
    """prompts it is not meant for"""
    count: int = 1500
    false_alarms: float = 0.05
    """share of inside prompts that the threshold of a detector may reject"""
    out: str | None = None
    """write the detector of the only model here, for --reject of truing sample and truing chat"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.false_alarms < 1:
            raise Mistake(("false_alarms",), "must lie between 0 and 1.")
        if self.out and len(self.models) > 1:
            raise Mistake(("out",), "takes the detector of one model; name one alone.")


def calibration(settings: Calibration) -> dict[str, Any]:
    """Score the pairs, print what is known, and write a page with the curves."""
    every = items(settings.data, settings.count, settings.seed)
    examples, dropped = comparisons(every)
    if dropped:
        say(f"left out: {', '.join(f'{n} {why}' for why, n in dropped.items())} (of {len(every)})")
    if not examples:
        raise UserError(f"{settings.data}: nothing in it says which of two answers is better.")
    scored: dict[str, Pairs] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            scored[model] = kept_pairs(open_engine(model, settings.machine), examples, rows)
    found = {model: known(part) for model, part in scored.items()}
    _show_known(found, len(next(iter(scored.values()))))
    _show_parts(scored)
    first = scored[settings.models[0]]
    for model in settings.models[1:]:
        found[model]["beside"] = pairs.beside(first, scored[model])
    if len(scored) > 1:
        _show_beside(scored, found)
    report("calibration", found)
    page = Path(settings.folder) / "calibration.html"
    write_text(page, pairs_page(scored, settings.data))
    say(f"page: {page}")
    return found


def known(rows: Pairs) -> dict[str, Any]:
    """In numbers. Only of rewards a difference is a chance: a language model's scores are mean log-probabilities."""
    rewards, alike, gaps = "gap/sum" not in rows[0], pairs.length_matched(rows), pairs.gaps(rows)
    gap = sum(gaps) / len(gaps)
    return {
        "right": pairs.accuracy(rows),
        "longer": pairs.length_alone(rows),
        "alike": pairs.accuracy(alike) if alike else None,
        "calibration": calibrate(gaps) if rewards else None,
        "score": pairs.removed(rows),
        "gap": gap,
        "win": ratings.win_probability(gap, 0.0) if rewards else None,
        "elo": ratings.elo(gap) if rewards else None,
        "above": pairs.above(rows, STEPS),
    }


def _show_known(found: Mapping[str, Mapping[str, Any]], count: int) -> None:
    rows = {}
    for model, one in found.items():
        off, sure = one["calibration"], ["–"] * 2
        if off:
            sure = [f"{off.ece:.3f}\n({off.floor:.3f}, {off.floor_95:.3f})", f"{off.temperature:.2f}"]
        chance = ["–", "–"] if off is None else [f"{one['win']:.3f}", f"{one['elo']:+.0f}"]
        right = (cell(one[name]) for name in ("right", "longer", "alike"))
        rows[model] = [*right, *sure, f"{one['score']:.3f}", f"{one['gap']:.3f}", *chance]
    columns = ["right", "longer is better", "right, like length", "ECE (perfect: mean, 95 %)", "temperature"]
    columns += ["mean score", "mean gap", "as chance", "as Elo"]
    show(f"calibration: {count} pairs", columns, rows, "95 % intervals over conversations")
    tops = {model: [f"{cell(value)}\nt = {t:+.2f}" for t, value in one["above"]] for model, one in found.items()}
    most = max(map(len, tops.values()))
    heads = [f"above the lowest {100 * k // STEPS} %" if k else "all" for k in range(most)]
    show("right, where both scores are above t", heads, {m: [*t, *["–"] * (most - len(t))] for m, t in tops.items()})


def _show_parts(scored: Mapping[str, Pairs]) -> None:
    """By tranche and by turn, beside what length alone gets."""
    for key, word in (("tranche", "{}"), ("turn", "turn {}")):
        parts = {model: pairs.by(rows, key) for model, rows in scored.items()}
        first = next(iter(parts.values()))
        if len(first) > 1:
            cells = {model: [cell(pairs.accuracy(part)) for part in found.values()] for model, found in parts.items()}
            cells["longer is better"] = [cell(pairs.length_alone(part)) for part in first.values()]
            show(f"right, by {key}", [f"{word.format(name)} ({len(part)})" for name, part in first.items()], cells)


def _show_beside(scored: Mapping[str, Pairs], found: Mapping[str, Mapping[str, Any]]) -> None:
    """Scores of several models, each without its own mean."""
    parts = {model: pairs.by(rows, "tranche") for model, rows in scored.items()}
    rows = {}
    for model, one in found.items():
        beside = one.get("beside")
        said = ["1", "1", "–"]
        if beside:
            said = [f"{beside.correlation:.3f}", f"{beside.same_choice:.3f}", cell(beside.gained)]
        rows[model] = said + [f"{pairs.removed(part) - one['score']:+.3f}" for part in parts[model].values()]
    names = next(iter(parts.values()))
    columns = ["correlation with the first", "same choice", "right, more than the first"]
    show("beside each other, means removed", columns + [f"mean score, {name}" for name in names], rows)


def ood(settings: Ood) -> dict[str, Any]:
    """Measure every model, print, and write the detector if it is asked for."""
    if settings.out and not Path(settings.out).absolute().parent.is_dir():
        raise UserError(f"out: {settings.out} cannot be written: there is no such folder.")
    inside, outside = (items(data, settings.count, settings.seed) for data in (settings.inside, settings.outside))
    found: dict[str, Any] = {}
    with Rows(settings.folder) as rows:
        for model in settings.models:
            found[model] = _studied(open_engine(model, settings.machine), inside, outside, settings, rows)
            _show_ood(model, found[model])
    about = f"{settings.outside} against {settings.inside}: can they be told by a prompt's activations?"
    pictures = [one for model in found for one in of_layers(model, found[model])]
    page(Path(settings.folder) / "ood.html", "Prompts that a model is not meant for", about, pictures)
    report("ood", found)
    return found


def _studied(
    engine: Asking, inside: Sequence[Example], outside: Sequence[Example], settings: Ood, rows: Rows
) -> dict[str, Any]:
    """A row for all of it; the detector is not in the row, and is made again where it is wanted."""

    def run() -> dict[str, Any]:
        found, detector = study(engine, inside, outside, settings.seed, settings.false_alarms)
        if settings.out:
            detector.save(settings.out)
            say(f"detector: {settings.out}")
        return found

    asked = [[e.id for e in part] for part in (inside, outside)]
    key = fingerprint(["ood", VERSION, engine.fingerprint, asked, settings.seed, settings.false_alarms])
    about = {"task": "ood", "model": engine.name}
    before = len(rows)
    found = rows.fetch({key: key}, lambda _: [about | run()])[0]
    if settings.out and len(rows) == before:
        run()
    return found


def _show_ood(model: str, found: Mapping[str, Any]) -> None:
    rows = {
        f"{name}, {row['pool']} of layer {row['layer']}": [
            f"{row['validation']:.3f}",
            cell(row["test"]),
            cell(row["matched"]),
        ]
        for name, row in found["chosen"].items()
    }
    seen = found["exposed"]
    for row in seen["rows"]:
        name = f"shown {row['shown']}, {seen['pool']} of layer {seen['layer']}"
        rows[name] = [f"{seen['validation']:.3f}", f"{cell(row['test'])}\n± {row['sd']:.3f}", cell(row["matched"])]
    rows["length alone"] = ["–", cell(found["length"]["test"]), cell(found["length"]["matched"])]
    counts, detector = found["counts"], found["detector"]
    note = (
        f"layer and pooling chosen on validation; ± over draws of what was shown; covariance of "
        f"{counts['inside']['fit']} prompts in {found['dimensions']} dimensions, shrunk by {found['shrinkage']:.2f}. "
        f"{detector['method']} with its threshold rejects {detector['inside rejected']:.1%} of inside and "
        f"{detector['outside rejected']:.1%} of outside prompts."
    )
    if left := ", ".join(f"{counts[why]} {why}" for why in ("in both", "too long") if counts[why]):
        note += f" Prompts left out: {left}."
    title = f"{model}: AUROC, {counts['outside']['test']} outside against {counts['inside']['test']} inside prompts"
    show(title, ["validation", "test", "of like length"], rows, note)
    layers = sorted({row["layer"] for row in found["layers"]})
    lines: dict[str, list[str]] = {}
    for row in found["layers"]:
        line = lines.setdefault(f"{row['method']}, {row['pool']}", ["–"] * len(layers))
        line[layers.index(row["layer"])] = f"{row['test']:.3f}"
    show("AUROC on the test part, by layer", [str(layer) for layer in layers], lines)
