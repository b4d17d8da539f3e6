"""The sections of a recipe that several verbs share. The text under a field is what `--help` shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from truing.config import observation
from truing.schema import Mistake, at_least


@dataclass(frozen=True)
class Data:
    """Where the examples come from."""

    path: str | tuple[str, ...]
    """file, folder or hub name; several make a mixture"""
    format: str = "auto"
    """name of the format; auto detects it from the first records and says so"""
    on_defect: Literal["stop", "drop"] = "stop"
    """a defective record stops the verb, or is dropped and counted"""
    limit: int | None = None
    """use only the first so many examples"""
    max_tokens: int = 1024
    """longest prompt and answer together; prompts are cut at a turn boundary, answers never"""
    weights: tuple[float, ...] | None = None
    """share of each path in the mixture; none takes them as large as they are"""
    loss_weights: tuple[float, ...] | None = None
    """how much a comparison of each path counts in the loss (pm); none takes them alike"""

    def __post_init__(self) -> None:
        at_least(self, 1, "limit", "max_tokens")
        paths = 1 if isinstance(self.path, str) else len(self.path)
        for name in ("weights", "loss_weights"):
            numbers = getattr(self, name)
            if numbers is not None and len(numbers) != paths:
                raise Mistake((name,), f"must be one number per path: {paths}, not {len(numbers)}.")
            if numbers is not None and not min(numbers) > 0:
                raise Mistake((name,), "must all be above 0.")


@dataclass(frozen=True)
class Optim:
    """How weights are changed (AdamW)."""

    lr: float = 1e-5
    """peak learning rate"""
    schedule: Literal["cosine", "linear", "constant", "inverse_sqrt"] = "cosine"
    """how the learning rate falls after the warm-up"""
    warmup: float = 0.0
    """below 1 a fraction of all steps, else a number of steps"""
    epochs: float = 1.0
    """passes over the data"""
    steps: int | None = None
    """number of steps, instead of epochs"""
    batch: int = 32
    """prompts (with all their answers) in one step"""
    clip: float = 1.0
    """largest gradient norm; 0 leaves gradients as they are"""
    weight_decay: float = 0.0
    """share of a weight that decays per step, times the learning rate"""
    betas: tuple[float, float] = (0.9, 0.999)
    """memory of the mean gradient and of its square"""
    eps: float = 1e-8
    """keeps the division by the gradient's size harmless"""
    micro_tokens: int = 16384
    """tokens in one forward pass: the dial for memory; the result does not depend on it"""

    def __post_init__(self) -> None:
        at_least(self, 0, "lr", "warmup", "epochs", "clip", "weight_decay")
        at_least(self, 1, "steps", "batch", "micro_tokens")


@dataclass(frozen=True)
class Lora:
    """Train a low-rank adapter instead of all weights."""

    rank: int = 0
    """0 trains all weights"""
    alpha: float | None = None
    """scale of the adapter is alpha / rank; none takes twice the rank"""
    stabilised: bool = False
    """alpha / √rank instead: without it adapters of high rank learn too little (rsLoRA)"""
    dropout: float = 0.0
    """of the adapter's input while training"""
    targets: tuple[str, ...] = ()
    """names of the adapted modules; none adapts all linear layers but the head"""

    def __post_init__(self) -> None:
        at_least(self, 0, "rank", "dropout")


@dataclass(frozen=True)
class Machine:
    """Where and how to compute. Not part of a run's identity; a resumed run keeps what was measured at its start."""

    dtype: Literal["auto", "fp32", "bf16"] = observation("auto")
    """auto takes what is fastest here, measured"""
    threads: int | Literal["auto"] = observation("auto")
    """auto takes what is fastest here, measured"""
    device: str = observation("auto")
    """auto takes the first GPU if there is one"""
    compile: bool = observation(False)
    """torch.compile the model"""
    layout: Literal["auto", "tree", "rows"] = observation("auto")
    """tree computes a shared prompt once; auto takes it where the architecture allows it"""

    def __post_init__(self) -> None:
        if self.threads != "auto":
            at_least(self, 1, "threads")


@dataclass(frozen=True)
class RunSettings:
    """The run's folder."""

    name: str | None = observation(None)
    """none takes the verb and a hash of the recipe, so that the same command resumes"""
    folder: str = observation("runs")
    """where run folders are"""
    save_every: int = observation(200)
    """steps between checkpoints; 0 saves only at the end"""
    keep: int = observation(2)
    """how many of the latest checkpoints are kept"""
    log_every: int = observation(1)
    """steps between lines of metrics"""
    tensorboard: bool = observation(False)
    """also write for TensorBoard (needs truing[track])"""
    seed: int = 0
    """of data order, initial heads, dropout and sampling"""

    def __post_init__(self) -> None:
        at_least(self, 0, "save_every")
        at_least(self, 1, "keep", "log_every")


@dataclass(frozen=True)
class Watch:
    """What is looked at while the run goes on."""

    every: int = observation(0)
    """steps between looks; 0 never looks"""
    probes: tuple[str, ...] = observation(("kl", "length", "entropy", "diversity"))
    """what is measured at a look"""
    prompts: str | None = observation(None)
    """file of prompts to answer at each look; none takes some of the data"""
    count: int = observation(16)
    """how many prompts"""
    max_tokens: int = observation(64)
    """longest answer at a look"""
    alarms: tuple[str, ...] = observation(())
    """what is listened to: reward_hacking, which follows the judges of truing ppo's test; persona_drift, which follows
    traits among the probes; collapse; or one of collapse alone: ref_perplexity, length, repetition, divergence,
    sameness"""
    healthy: tuple[str, ...] = observation(())
    """folders of runs that went well, which say how far numbers may move; collapse needs them"""
    on_alarm: Literal["warn", "stop", "rollback"] = observation("warn")
    """stop ends the run; rollback also leaves the last policy that was kept before the alarm (run.save_every), at worst
    the one that training began with"""

    def __post_init__(self) -> None:
        at_least(self, 0, "every")
        at_least(self, 1, "count", "max_tokens")
