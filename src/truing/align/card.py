"""A page for a preference model, in its own folder: where it comes from, and what it is known to know."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import yaml

from truing.config import dump
from truing.records import Example
from truing.stats import pairs
from truing.stats.calibration import calibration
from truing.stats.text import language


def card(
    prints: Mapping[str, Any],
    settings: Any,
    learnt: Sequence[Example],
    count: int,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """README.md of the model folder; hubs show it, and later runs read their ancestors' hashes in it. `count` of the
    examples in `learnt` could be used."""
    spoken = language(answer.text for example in learnt for answer in example.answers)
    lines = ["---", "library_name: transformers", "tags: [preference-model, truing]", f"language: {spoken}", "---", ""]
    lines += ["# Preference model", "", f"Made by Truing {version('truing')} from `{settings.model}`.", ""]
    lines += ["| | |", "|---|---|"]
    data = settings.data.path if isinstance(settings.data.path, str) else ", ".join(settings.data.path)
    facts = [("data", data), ("learnt from", f"{count} examples"), ("objective", settings.objective)]
    facts += [("language", f"{spoken}, by the script of its answers")]
    facts += [("score read at", settings.read)] if settings.objective != "imitation" else []
    facts += [(f"fingerprint of {name}", value) for name, value in prints.items()]
    authors = {answer.by for example in learnt for answer in example.answers}
    lines += [f"| {name} | {_cell(value)} |" for name, value in [*facts, *_known(rows, authors)]]
    lines += ["", "A score has no zero of its own: only differences between answers to one prompt mean anything.", ""]
    return "\n".join([*lines, "## Recipe", "", "```yaml", _recipe(settings), "```", ""])


def _recipe(settings: Any) -> str:
    """What decides the weights: not where the run was, nor on what machine."""
    recipe = yaml.safe_load(dump(settings))
    seed = recipe.pop("run")["seed"]
    kept = {name: value for name, value in recipe.items() if name not in ("machine", "watch")}
    return yaml.safe_dump(kept | {"run": {"seed": seed}}, sort_keys=False, allow_unicode=True).rstrip()


def _known(rows: Sequence[Mapping[str, Any]], authors: Collection[str | None]) -> list[tuple[str, str]]:
    if not rows:
        return [("held-out pairs", "none: nothing is known of what it knows")]
    right, longer, off = pairs.accuracy(rows), pairs.length_alone(rows), calibration(pairs.gaps(rows))
    scores = [score for row in rows for score in row["score"]]
    found = [
        ("held-out pairs", f"{len(rows)} from {right.n} conversations"),
        ("in the right order", f"{right}"),
        ("the longer answer is better", f"{longer}"),
    ]
    for name, part in pairs.by(rows, "tranche").items():
        if len(part) < len(rows):
            found.append((f"in the right order, {name}", f"{pairs.accuracy(part)} of {len(part)}"))
    if new := pairs.unseen(rows, authors):
        found.append(("in the right order, both by authors new to it", f"{pairs.accuracy(new)} of {len(new)}"))
    return [
        *found,
        ("calibration error (ECE)", f"{off.ece:.3f}; a perfect model {off.floor:.3f}, at most {off.floor_95:.3f}"),
        ("temperature", f"{off.temperature:.2f}"),
        ("mean score on them", f"{sum(scores) / len(scores):.4f}"),
    ]


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
