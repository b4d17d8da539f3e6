"""The settings of PPO: every ingredient is a switch of its own, and a preset is a set of values for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from truing.align.presets import preset
from truing.objectives.policy import Estimator
from truing.records import Sampling
from truing.schema import Mistake, at_least
from truing.settings import Data, Lora, Machine, Optim, RunSettings, Watch

OPTIM = Optim(lr=5e-7, betas=(0.9, 0.95), eps=1e-6, schedule="constant", batch=32)


@dataclass(frozen=True)
class Kl:
    """What keeps the policy near the model it started from."""

    coefficient: float = 0.05
    """cost of a nat; 0 lets the policy go where it wants"""
    estimator: Estimator = "k1"
    place: Literal["reward", "loss"] = "reward"
    """a cost of every token in the reward, or a term of the loss"""
    target: float | None = None
    """nats per answer that an adaptive coefficient steers to; none keeps the coefficient as it is"""
    horizon: float = 10_000
    """answers in which an adaptive coefficient changes by a fifth, at most"""

    def __post_init__(self) -> None:
        at_least(self, 0, "coefficient")
        if self.target is not None and not (self.target > 0 and self.coefficient > 0):
            raise Mistake(("target",), "needs a coefficient above 0 to begin with, and must be above 0 itself.")
        if self.place == "loss" and self.estimator == "k1":
            raise Mistake(("estimator",), "is k1, whose gradient is 0 on average: as a term of the loss take k2 or k3.")


@dataclass(frozen=True)
class Reward:
    """What becomes of a judge's score before it is learnt from."""

    transform: Literal["raw", "scale", "normalise"] = "normalise"
    """scale divides by the spread of all scores so far, normalise also takes their mean off"""
    clip: float | None = 0.8
    """bound of a score after that; none has no bound"""
    unended: Literal["score", "subtract", "replace", "mask"] = "score"
    """answers that were cut off, or went on with the other side's turn: scored as they are, with `penalty` taken off,
    given minus `penalty` instead, or not learnt from"""
    penalty: float = 1.0

    def __post_init__(self) -> None:
        at_least(self, 0, "penalty")
        if self.clip is not None and not self.clip > 0:
            raise Mistake(("clip",), "must be above 0; none has no bound.")


@dataclass(frozen=True)
class Gae:
    """Generalised advantage estimation."""

    gamma: float = 1.0
    lam: float = 0.9

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise Mistake((name,), "must lie between 0 and 1.")


@dataclass(frozen=True)
class Critic:
    """Who says what a state is worth (advantage gae)."""

    start: Literal["reward", "policy", "fresh", "shared"] = "reward"
    """the first preference model among the rewards that count; the policy with a new head; random weights; a head on
    the policy itself, which shares its trunk and its optimiser"""
    fold: bool = True
    """what the first scores say of mean and spread goes into its head, so that it begins on the scale it shall learn"""
    pretrain: int = 10
    """iterations at the start in which it learns and the policy does not"""
    clip: float | None = 0.2
    """how far a value may move from what it was when the answers were drawn; none lets it"""
    weight: float = 1.0
    """of its loss, where it shares the policy's trunk"""
    lr: float = 1.65e-6
    eps: float | None = 1e-8
    """of its optimiser; none takes the policy's"""

    def __post_init__(self) -> None:
        at_least(self, 0, "pretrain", "weight", "lr")


@dataclass(frozen=True)
class Update:
    """How advantages become a step."""

    clip: float | None = 0.2
    """bound of a token's ratio of new and old probability; none has no bound"""
    dual: float | None = None
    """bound of the loss of a bad token that has become likely, in advantages"""
    ratio: Literal["old", "reference"] = "old"
    """to the policy that drew the answers, or to the one that training began with"""
    whiten: bool = False
    """advantages of an iteration are brought to mean 0 and spread 1"""
    bound: float | None = None
    """of an advantage, after that; none has no bound"""
    entropy: float = 0.0
    """weight of a bonus for entropy"""
    entropy_target: float | None = None
    """pull towards this entropy instead; it must be below the logarithm of the vocabulary"""
    joint_norm: bool = False
    """clip the gradients of policy and critic by their joint norm, as one network"""

    def __post_init__(self) -> None:
        at_least(self, 0, "entropy")
        for name in ("clip", "bound"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise Mistake((name,), "must be above 0; none has no bound.")
        if self.dual is not None and not self.dual > 1:
            raise Mistake(("dual",), "must be above 1; none has no bound.")


@dataclass(frozen=True)
class Mix:
    """Texts that are imitated beside it, so that what they hold is not forgotten."""

    path: str | None = None
    """file of demonstrations or plain texts; none mixes nothing in"""
    weight: float = 0.05
    format: str = "auto"

    def __post_init__(self) -> None:
        at_least(self, 0, "weight")


@dataclass(frozen=True)
class Ppo:
    """Reinforcement learning from what judges say of the policy's own answers."""

    model: str
    """the policy to start from; as it is before the first step, it is also the reference"""
    data: Data
    """prompts; answers they already have are not looked at"""
    rewards: tuple[str, ...]
    """judges, each with *WEIGHT if it is not 1 and with `if COLUMN=VALUE` if it is for some prompts alone: ./PM,
    world:gold, call:MODULE:FUNCTION, lexical:distinct"""
    preset: Literal["vanilla", "max", "bai2022", "moss-release", "nplus"] = "max"
    """values for everything that the recipe does not set itself; see docs/ppo.md"""
    advantage: Literal["gae", "rloo", "group"] = "gae"
    """with a critic; above the mean of the other answers to the prompt; the same in standard deviations"""
    iterations: int = 200
    """times that answers are drawn and learnt from"""
    rollouts: int = 128
    """prompts in an iteration; one that comes twice is answered twice"""
    kl: Kl = field(default_factory=Kl)
    reward: Reward = field(default_factory=Reward)
    gae: Gae = field(default_factory=Gae)
    critic: Critic = field(default_factory=Critic)
    update: Update = field(default_factory=Update)
    mix: Mix = field(default_factory=Mix)
    sampling: Sampling = Sampling()  # noqa: RUF009 - frozen
    """how answers are drawn; the seed is that of the run"""
    mismatch: Literal["refuse", "ignore"] = "refuse"
    """a sampler that leaves likely tokens alone (top_p, top_k) draws from another policy than the one that learns"""
    test: tuple[str, ...] = ()
    """judges of the answers at a look, from which nothing is learnt; the policy that the first of them likes best is
    kept as `best`"""
    optim: Optim = OPTIM
    """batch: prompts in a step; epochs: passes over an iteration's answers"""
    lora: Lora = field(default_factory=Lora)
    prevent: tuple[str, ...] = ()
    """vectors that are added in all places while it learns, FILE@LAYER=COEF each; what is left is without them"""
    machine: Machine = field(default_factory=Machine)
    watch: Watch = field(default_factory=Watch)
    run: RunSettings = RunSettings(save_every=20)  # noqa: RUF009 - frozen

    @classmethod
    def below(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """For `config.load`: the values of its preset are what a recipe stands on. The defaults here are max's."""
        return preset(str(values.get("preset", "max")))

    def __post_init__(self) -> None:
        at_least(self, 1, "iterations", "rollouts")
        if not self.rewards:
            raise Mistake(("rewards",), "names no judge: who says what answers are worth?")
        if self.watch.every == 0 and self.test:
            raise Mistake(("test",), "judges at the looks: set watch.every.")
        self._check_buffer()
        self._check_sampler()
        if self.advantage == "gae":
            self._check_critic()

    def _check_buffer(self) -> None:
        optim, answers = self.optim, self.rollouts * self.sampling.n
        if self.rollouts % optim.batch:
            raise Mistake(("rollouts",), f"must be a multiple of optim.batch ({optim.batch}), not {self.rollouts}.")
        if optim.steps is not None or optim.epochs != round(optim.epochs) or optim.epochs < 1:
            raise Mistake(("optim",), "passes over each iteration's answers: set whole epochs, and no steps.")
        if self.kl.target is not None and self.kl.horizon < answers:
            raise Mistake(("kl", "horizon"), f"must be at least the {answers} answers of an iteration.")
        if self.lora.dropout:
            raise Mistake(("lora", "dropout"), "must be 0: the policy that learns has to be the one that answered.")

    def _check_sampler(self) -> None:
        drawn = self.sampling
        if self.advantage != "gae" and drawn.n < 2:
            raise Mistake(("sampling", "n"), f"must be at least 2: {self.advantage} compares answers to one prompt.")
        if drawn.temperature <= 0:
            raise Mistake(("sampling", "temperature"), "must be above 0: the likeliest answer teaches nothing.")
        if self.mismatched and self.mismatch == "refuse":
            raise Mistake(
                ("sampling",),
                "leaves tokens out (top_p, top_k), and the policy that learns does not: its ratios and its divergence "
                "would be wrong. Draw from all tokens, or set mismatch=ignore.",
            )

    def _check_critic(self) -> None:
        start, alone = self.critic.start, self.critic.pretrain
        if start == "shared" and alone:
            raise Mistake(("critic", "pretrain"), "needs a critic of its own: with start=shared, set it to 0.")
        if start == "fresh" and self.lora.rank:
            raise Mistake(("critic", "start"), "is fresh, and an adapter alone cannot teach random weights anything.")
        if alone >= self.iterations:
            raise Mistake(
                ("critic", "pretrain"), f"is {alone} and leaves the policy none of {self.iterations} iterations."
            )

    @property
    def alone(self) -> int:
        """Iterations at the start in which the critic learns and the policy does not."""
        return self.critic.pretrain if self.advantage == "gae" else 0

    @property
    def moves(self) -> int:
        """Optimiser steps in an iteration."""
        return self.rollouts // self.optim.batch * round(self.optim.epochs)

    def at_updates(self, looks: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        """Looks after iterations as looks after steps of the policy, which takes none while its critic learns alone."""
        return [((step - self.alone) * self.moves, value) for step, value in looks if step >= self.alone]

    @property
    def mismatched(self) -> bool:
        """Answers are drawn from another policy than the one that learns."""
        return (self.sampling.top_p, self.sampling.top_k) != (1.0, 0)
