"""Who may import whom: the house has rooms, and a room knows only those above it. Lazy imports count too."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "truing"

# Top to bottom; rooms in one row know each other.
ROWS = [
    ["records", "schema", "config", "settings", "spec"],
    ["run"],
    ["stats"],
    ["data"],
    ["batch"],
    ["objectives"],
    ["model"],
    ["engine"],
    ["evaluate"],
    ["persona"],
    ["watch"],
    ["align"],
    ["world"],
    ["feedback"],
    ["online"],
    ["pages"],
    ["claims"],
    ["resolve", "cli", "arguments", "usage", "commands", "api", "__main__", "__init__"],
]
ONLY = {  # rooms that know less than all above them
    "stats": set(),
    "batch": {"records"},
    "objectives": {"batch"},
    "pages": {"records", "run", "stats"},
}
BUT = {"model": {"objectives"}, "feedback": {"align", "world"}}

LEVEL = {room: level for level, row in enumerate(ROWS) for room in row}
BOTTOM = set(ROWS[-1])


def may_know(room: str) -> set[str]:
    if room in ONLY:
        return ONLY[room] | {room}
    return {other for other, level in LEVEL.items() if level <= LEVEL[room]} - BUT.get(room, set())


def imported(tree: ast.AST, package: tuple[str, ...]) -> set[str]:
    """The rooms that a module imports anywhere; `package` is where it stands, for relative imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            names |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    ours = [name.split(".") for name in names if name.split(".")[0] == "truing"]
    rooms = {parts[1] if len(parts) > 1 else "__init__" for parts in ours}
    return rooms - {"__version__"}


def violations(source: str, room: str, package: tuple[str, ...] = ("truing",)) -> set[str]:
    return imported(ast.parse(source), package) - may_know(room)


FILES = sorted(SRC.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_room_knows_only_the_rooms_above_it(path):
    place = path.relative_to(SRC).with_suffix("").parts
    assert place[0] in LEVEL, f"{place[0]} is a new room: give it a row in this test"
    assert not violations(path.read_text(), place[0], ("truing", *place[:-1]))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_a_file_can_be_read_in_one_go(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize(
    ("source", "room", "found"),
    [
        ("from truing.model.load import load", "align", set()),
        ("from truing.model.load import load", "data", {"model"}),
        ("def f():\n    import truing.align.sft", "engine", {"align"}),
        ("from truing import objectives", "model", {"objectives"}),
        ("from truing import __version__", "run", set()),
        ("import truing", "engine", {"__init__"}),
        ("from ..engine import base", "model", {"engine"}),
        ("from .load import load", "model", set()),
        ("from importlib import import_module\nimport_module('truing.cli')", "watch", {"cli"}),
        ("from truing.records import UserError", "stats", {"records"}),
        ("import torch\nfrom truing_other import x", "stats", set()),
    ],
)
def test_the_rule_itself_finds_what_is_forbidden(source, room, found):
    assert violations(source, room, ("truing", room)) == found
