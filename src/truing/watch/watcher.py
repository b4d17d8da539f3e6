"""The watcher: asks the policy the same prompts at every look, runs the probes, and keeps account of its own time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from random import Random

from torch import Tensor

from truing.batch import Group
from truing.data import read
from truing.engine.local import LocalEngine
from truing.records import Example, Prompt, Sampling
from truing.run import Run
from truing.settings import Watch
from truing.watch.alarms import NAMES
from truing.watch.personas import PREFIX, Personas, files
from truing.watch.probes import PROBES, Look, check_known

Rate = Callable[[Sequence[Example]], Mapping[str, float]]
SMALL = 4096  # tokens: a vocabulary over which divergence is summed at every look


def check_names(settings: Watch) -> None:
    for probe in settings.probes:
        if probe.startswith(PREFIX):
            files(probe)
        else:
            check_known("probes", probe, [*PROBES, f"{PREFIX}FILE@LAYER"])
    for alarm in settings.alarms:
        check_known("alarms", alarm, NAMES)


class Watcher:
    """Called once a step; looks every `settings.every` steps and returns metrics named watch/…

    `reference` is the model the run started from; None means that it is the policy with its adapter off. `rate` says
    what the answers are worth, where somebody knows; it sees the columns that the prompts come with.
    """

    def __init__(
        self,
        settings: Watch,
        policy: LocalEngine,
        reference: LocalEngine | None,
        examples: Sequence[Example],
        seed: int,
        rate: Rate | None = None,
    ) -> None:
        self.settings, self.policy, self.reference, self.seed, self.rate = settings, policy, reference, seed, rate
        self.seconds = 0.0
        if not settings.every:
            return
        self.personas = Personas([p for p in settings.probes if p.startswith(PREFIX)], policy)
        distinct = {e.prompt: e for e in reversed(list(read(settings.prompts)) if settings.prompts else examples)}
        every = list(distinct.values())[::-1]
        self.asked = Random(seed).sample(every, min(settings.count, len(every)))

    def __call__(self, step: int, run: Run) -> dict[str, float]:
        if not self.settings.every or step % self.settings.every:
            return {}
        with self.policy.plainly(), self.reference.plainly() if self.reference else nullcontext():
            return self._looked(step, run)

    def _looked(self, step: int, run: Run) -> dict[str, float]:
        began = time.monotonic()
        prompts = [example.prompt for example in self.asked]
        drawn = self.policy.sample(prompts, Sampling(max_tokens=self.settings.max_tokens, seed=self.seed))
        drawn = [replace(e, meta=known.meta) for e, known in zip(drawn, self.asked, strict=True)]
        look, texts = self._look(drawn)
        metrics = {f"watch/{name}": value for name, value in self.rate(drawn).items()} if self.rate else {}
        found = self.personas(drawn)
        for name in self.settings.probes:
            found |= PROBES[name](look) if name in PROBES else {}
        metrics |= {f"watch/{key}": value for key, value in found.items()}
        run.samples(step, texts)
        self.seconds += time.monotonic() - began
        run.event("watched", share=round(self.seconds / max(run.seconds, 1e-9), 3))
        return metrics

    def _look(self, drawn: Sequence[Example]) -> tuple[Look, list[dict[str, str]]]:
        groups, _ = self.policy.encode(drawn, on_drop="stop")
        said = self.policy.signals(groups, ["logps", "entropy"])
        if self.reference is None:
            before = self.policy.signals(groups, ["logps"], adapter=False)["logps"]
        else:
            before = self.reference.signals(groups, ["logps"])["logps"]
        look = Look(
            answers=[example.answers[0] for example in drawn],
            logps=[answers[0] for answers in said["logps"]],
            entropy=[answers[0] for answers in said["entropy"]],
            ref_logps=[answers[0] for answers in before],
            divergence=[answers[0] for answers in self._divergence(groups)],
        )
        texts = [{"prompt": plain(example.prompt), "answer": example.answers[0].text} for example in drawn]
        return look, texts

    def _divergence(self, groups: Sequence[Group]) -> list[list[Tensor]]:
        """One more pass through both models: dear where the vocabulary is large."""
        size = self.policy.model.base.get_input_embeddings().weight.shape[0]
        if "kl" not in self.settings.probes or size > SMALL:
            return []
        return self.policy.divergence(groups, self.reference)


def plain(prompt: Prompt) -> str:
    """A prompt to read."""
    return prompt if isinstance(prompt, str) else "\n".join(f"{m.role}: {m.text}" for m in prompt)
