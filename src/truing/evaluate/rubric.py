"""What helpful, honest and harmless mean here: a page for each, read by people and by models that judge.

The pages are a working aim and no philosophy (Askell et al., arXiv 2112.00861, §1.1). Whoever changes one gives it a
new version, so that a number says which text it was judged by.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, NamedTuple, get_args

Name = Literal["helpful", "honest", "harmless"]
NAMES: tuple[Name, ...] = get_args(Name)


class Rubric(NamedTuple):
    name: Name
    version: str
    text: str

    def __str__(self) -> str:
        return f"{self.name}, version {self.version}"


def rubric(name: Name) -> Rubric:
    text = (files("truing.evaluate") / "rubrics" / f"{name}.md").read_text("utf-8")
    first, _, rest = text.partition("\n")
    return Rubric(name, first.removeprefix("version:").strip(), rest.strip())


def meant_by(*names: Name) -> str:
    """A line for the foot of an evaluation."""
    shown = " and ".join(str(rubric(name)) for name in names or NAMES)
    return f"what is meant by {shown}: truing rubric {names[0] if len(names) == 1 else 'all'}"
