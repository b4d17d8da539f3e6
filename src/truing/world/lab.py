"""What the stages of the demo share: settings, sizes, the town, the way to ask, and the results so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from truing.engine import open_engine
from truing.engine.base import Asking
from truing.records import Answer, Example, Sampling
from truing.run import Run
from truing.run.progress import Progress
from truing.settings import Machine, RunSettings
from truing.world.corpora import prompts
from truing.world.measure import LONGEST, Found, capabilities, evaluated, share, with_rewards
from truing.world.town import town


@dataclass(frozen=True)
class Demo:
    """The laboratory on the built-in world: a base model, a crowd, a preference model, an aligned model, the truth."""

    model: str = "world:base"
    """the model that is aligned; it has to speak the language of the world"""
    folder: str = "runs/demo"
    """where everything goes; the report is report.html in it"""
    quick: bool = False
    """a tenth of the work, to see that all of it runs"""
    seed: int = 0


class Lab:
    """What stages share: settings, sizes, the town, and the results so far."""

    def __init__(self, settings: Demo, machine: Machine) -> None:
        self.settings, self.machine, self.town = settings, machine, town(0)
        self.folder = Path(settings.folder)
        self.found: dict[str, dict[str, Any]] = {}
        self.few = few = 10 if settings.quick else 1
        self.questions, self.asked, self.wishes = 1500 // few, 3000 // few, 1800 // few
        self.evaluation = prompts(self.town, self.questions, settings.seed, held=True)

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def answers(self, engine: Asking, prompts: Sequence[Example], n: int, seed: int) -> list[Example]:
        """`n` answers to each prompt, as text: token ids are those of this engine's tokenizer."""
        bar, done = Progress("answers", 0, n * len(prompts)), 0

        def on_progress(count: int) -> None:
            nonlocal done
            done += count
            bar.show({"step": done})

        sampling = Sampling(n=n, max_tokens=LONGEST, seed=self.settings.seed + seed)
        try:
            drawn = engine.sample([example.prompt for example in prompts], sampling, on_progress)
        finally:
            bar.close()
        return [replace(e, answers=tuple(Answer(a.text, by=a.by) for a in e.answers)) for e in drawn]

    def skills(self, engine: Asking) -> Found:
        """What it can do when it gives its likeliest answer."""
        found = capabilities(self.town, engine, self.settings.seed, self.questions // 10)
        return {"skills": {skill: share([float(r) for r in right]) for skill, right in found.items() if right}}

    def aligned(self, who: str, run: Run) -> Found:
        """What has become of the base model: gold, rewards and skills."""
        engine, judge = (open_engine(m, self.machine) for m in (run.model, self.place("preference-model/model")))
        answers = with_rewards(judge, self.answers(engine, self.evaluation, 1, 1))
        return evaluated(self.town, who, answers) | self.skills(engine) | {"runs": [run.folder.name]}

    def run(self, name: str) -> RunSettings:
        return RunSettings(name=name, folder=str(self.folder), seed=self.settings.seed, save_every=100)
