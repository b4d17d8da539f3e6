"""What evaluations found as pages of curves, beside their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from truing.pages.curves import curves_page
from truing.run import say
from truing.run.checkpoint import write_text

Found = Mapping[str, Any]


def page(
    file: Path,
    title: str,
    about: str,
    pictures: Sequence[Found],
    table: tuple[Sequence[str], Mapping[str, Sequence[str]]] | None = None,
) -> None:
    """Written if there is anything to see. `table`: columns, and rows by name, as the terminal shows them."""
    if pictures or table:
        write_text(file, curves_page(title, about, pictures, table))
        say(f"page: {file}")


def of_layers(model: str, found: Found) -> list[Found]:
    """AUROC of every detector by layer, and of classifiers by how much they were shown."""
    layers: dict[str, list[tuple[float, ...]]] = {}
    for row in found["layers"]:
        points = layers.setdefault(f"{row['method']}, {row['pool']}", [])
        points.append((row["layer"], row["test"], row["test"], row["test"]))
    shown = [
        (row["shown"], *(row["test"][end] for end in ("estimate", "low", "high"))) for row in found["exposed"]["rows"]
    ]
    return [
        _picture(f"{model}: without examples", "layer", "AUROC", layers),
        _picture(f"{model}: shown some outside prompts", "so many", "AUROC", {"classifier": shown}),
    ]


def of_sizes(groups: Mapping[str, Mapping[str, int]], found: Found) -> list[Found]:
    """Elo by parameters, a line for each kind of model, where two differ in size."""
    lines = {
        name: sorted(
            (n, *(found[m]["elo"].estimate, found[m]["elo"].low, found[m]["elo"].high)) for m, n in sizes.items()
        )
        for name, sizes in groups.items()
    }
    differ = any(len({point[0] for point in points}) > 1 for points in lines.values())
    return [_picture("Simulated Elo", "parameters", "Elo", lines)] if differ else []


def _picture(title: str, x: str, y: str, lines: Mapping[str, Sequence[Sequence[float]]]) -> Found:
    return {"title": title, "x": x, "y": y, "curves": [{"label": name, "points": each} for name, each in lines.items()]}
