"""What an engine is: one model behind six verbs. Procedures, judges and benchmarks know models only through them.

Asking, which every engine can do to some degree:

sample            draw answers to prompts. Results come in the order of the prompts, n answers each, and answer i to a
                  prompt depends on (seed, prompt, i) alone: not on its neighbours, not on how many were drawn.
                  Every answer says who gave it (`by`) and how it ended (`finish`); tokens, the hash of their
                  tokenizer and log-probabilities are there when the engine knows them. Log-probabilities without
                  tokens (most remote servers) may be looked at, but cannot be matched with a tokenisation of ours.
score             say how likely given answers are (Σ log π over their tokens, natural logarithm, temperature 1)
                  and, where the model is a preference model, what reward it gives them.

Training, which only engines that own weights can do:

forward_backward  one whole optimiser step's worth of (batch, objective, weight): losses are summed, divided by the
                  step's *global* count of the objective's unit, and gradients added up. Nothing moves yet. The
                  metrics come back as means over the step.
step              clip, move the weights, clear the gradients. A gradient norm shared with another engine (a critic,
                  say) lets both be clipped together.
save, load        the whole state, such that load and continue is the same as never having stopped.

An engine lists in `can` the verbs it has, and may explain in `cannot` (verb → reason) the ones it lacks. Code that
needs a verb calls `require` before its first piece of work, so that nobody learns after an hour that the last step
is impossible. `fingerprint` names the weights and everything else that makes two engines answer differently
(tokenizer, template, adapters, steering; for a remote model its host, name and revision). Caches and result rows are
keyed by it; sampling settings are not part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from truing.records import Example, Prompt, Sampling, UserError

if TYPE_CHECKING:  # asking a remote model needs no torch
    from torch import Tensor

    from truing.batch import Batch, Objective

ASKING = frozenset({"sample", "score"})
TRAINING = frozenset({"forward_backward", "step", "save", "load"})


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """What an engine says about one given answer.

    `logp` is Σ_t log π(token t | prompt, tokens before t) over its `tokens` tokens, `logps` the summands.
    `reward` is what a preference model gives; an engine that is only a preference model has no `logp`.
    """

    logp: float | None
    tokens: int
    logps: tuple[float, ...] | None = None
    reward: float | None = None


class Engine(Protocol):
    """What every engine says about itself."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def can(self) -> frozenset[str]: ...


class Asking(Engine, Protocol):
    """An engine that can be asked: the first two verbs."""

    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, on_progress: Callable[[int], None] | None = None
    ) -> list[Example]:
        """One example per prompt, in order, with `sampling.n` answers. `on_progress` hears how many just came in."""
        ...

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        """One list per example, in order, with one score per answer."""
        ...


class Training(Engine, Protocol):
    """An engine that owns weights: the other four verbs."""

    def forward_backward(self, work: Sequence[tuple[Batch, Objective, float]]) -> Mapping[str, Tensor]: ...

    def step(self, grad_norm: Tensor | None = None) -> Mapping[str, Any]: ...

    def save(self, folder: Path) -> None: ...

    def load(self, folder: Path) -> None: ...


def require(engine: Engine, *verbs: str) -> None:
    """Refuse now, in one sentence, if the engine lacks a verb that will be needed later."""
    missing = [verb for verb in verbs if verb not in engine.can]
    if not missing:
        return
    reasons: Mapping[str, str] = getattr(engine, "cannot", {})
    why = " ".join(dict.fromkeys(f"{reasons[verb]}." for verb in missing if verb in reasons))
    has = ", ".join(sorted(engine.can)) or "do nothing"
    raise UserError(
        f"{engine.name} cannot {' or '.join(missing)}, which is needed here; it can {has}."
        + (f" {why}" if why else " Name a model that can, for instance a local folder.")
    )
