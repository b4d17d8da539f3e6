"""`truing ppo`: the judges that a recipe names, and the procedure."""

from __future__ import annotations

from collections.abc import Sequence

from truing.align.estimate import rollout_cost as estimate
from truing.align.ingredients import Ppo
from truing.align.ppo import ppo as train
from truing.commands.offline import judges
from truing.evaluate.judges import Scorer
from truing.records import Example
from truing.run import Run

__all__ = ["Ppo", "estimate", "ppo"]


def ppo(settings: Ppo, examples: Sequence[Example] | None = None) -> Run:
    """A preference model's score is taken as it is."""
    rewards, tests = (
        judges(names, settings.data, settings.machine, examples, squash=False, key=key)
        for key, names in (("rewards", settings.rewards), ("test", settings.test))
    )
    models = [(part.judge.name, part.weight) for part in rewards if part.weight and isinstance(part.judge, Scorer)]
    return train(settings, rewards, models, tests, examples)
