"""The local engine: one process, one trunk with its heads, one optimiser, six verbs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from truing.batch import Batch, Group, Metrics, Objective
from truing.engine.base import AnswerScore
from truing.engine.flat import add, by_group, group_of, means
from truing.engine.optim import Optimiser
from truing.model.decode import Sampled, cut, generate
from truing.model.hooks import Edit
from truing.model.lm import LanguageModel
from truing.model.pack import batches
from truing.model.proof import steer
from truing.model.save import save_model
from truing.model.text import Codec, encode_all, with_eoc
from truing.records import Answer, Example, Prompt, Sampling, UserError, fingerprint
from truing.settings import Optim

Work = Sequence[tuple[Batch, Objective, float]]
PER_ANSWER = ("scores",)


class LocalEngine:
    """Weights in this process. `codec` says how text becomes its tokens, `layout` how groups are packed, `eoc` is the
    end-of-context token at which a preference score is read."""

    def __init__(
        self, model: LanguageModel, codec: Codec, *, name: str, fingerprint: str, layout: str, eoc: int | None = None
    ) -> None:
        self.model, self.codec, self.layout, self.eoc, self.micro_tokens = model, codec, layout, eoc, 16384
        self.name, self.fingerprint = name, fingerprint
        self.optimiser: Optimiser | None = None
        self._done: list[tuple[Batch, Tensor]] = []
        self.passed = Counter[str]()
        """what went through the model so far: answers and tokens, forward and backward; tokens that were sampled"""
        self._loss = torch.zeros((), device=model.device)
        self.fresh_head = self.compiled = self.steered = False
        asks, self.cannot = {"sample", "score"}, dict[str, str]()
        if model.output is None:
            asks, self.cannot = {"score"}, {"sample": "It gives scores and no tokens (it is a preference model, say)"}
        self.rewards = "score" in model.heads
        self.can = frozenset(asks | {"forward_backward", "step", "save", "load"})

    # Asking

    def sample(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        on_progress: Callable[[int], None] | None = None,
        which: Sequence[int] | None = None,
        hear: Callable[[int, int, Tensor], None] | None = None,
    ) -> list[Example]:
        """n answers to each prompt, with their tokens and log-probabilities. A prompt that leaves no room for the
        answer is shortened at a turn boundary (`codec.notes` counts it). `which`: see `draw`. `hear` is told prompt,
        answer and what the layers said while it was written (`Sampled.states`), unless a stop text cut it."""
        ids = [self._prompt_ids(number, prompt, sampling) for number, prompt in enumerate(prompts, 1)]
        sampling = self.stopping(prompts, sampling)
        drawn = self.draw(ids, sampling, on_progress, which, listen=hear is not None)
        for prompt, samples in enumerate(drawn if hear else ()):
            for number, one in enumerate(samples):
                if hear and one.states is not None:
                    hear(prompt, number, one.states)
        return [
            Example(prompt, tuple(self.answer(prompt, one, sampling) for one in samples), source=self.name)
            for prompt, samples in zip(prompts, drawn)
        ]

    def stopping(self, prompts: Sequence[Prompt], sampling: Sampling) -> Sampling:
        """Where a template writes turns as plain text, the next one of the other side ends an answer."""
        if any(isinstance(prompt, str) for prompt in prompts):
            return sampling
        return replace(sampling, stop=tuple(dict.fromkeys((*sampling.stop, *self.codec.template.stop))))

    def draw(
        self,
        ids: Sequence[list[int]],
        sampling: Sampling,
        on_progress: Callable[[int], None] | None = None,
        which: Sequence[int] | None = None,
        listen: bool = False,
    ) -> list[list[Sampled]]:
        """Tokens to tokens: what `sample` is made of. With a value head each token comes with its value. `which`
        configuration each prompt is answered under, where the model is steered."""
        # What is compiled is compiled for training; the sampler's shapes change at every step.
        with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
            drawn = generate(
                self.model.owner,
                ids,
                sampling,
                end_ids=self.codec.end_ids,
                decode=partial(self.codec.decode, raw=True),
                value_head=dict(self.model.heads).get("value"),
                on_progress=on_progress,
                steering=self.model.steering,
                which=which,
                listen=listen,
            )
        self.passed["sampled"] += sum(len(one.ids) for samples in drawn for one in samples)
        return drawn

    def _prompt_ids(self, number: int, prompt: Prompt, sampling: Sampling) -> list[int]:
        try:
            return self.codec.prompt_ids(prompt, room=sampling.max_tokens)
        except UserError as problem:
            raise UserError(f"prompt {number}: {problem}") from None

    def answer(self, prompt: Prompt, one: Sampled, sampling: Sampling) -> Answer:
        """What was drawn, as a record."""
        text = self.codec.decode(one.ids, raw=isinstance(prompt, str))
        return Answer(
            cut(text, sampling.stop),
            (),
            self.name,
            tuple(one.ids),
            self.codec.tokenizer_hash,
            tuple(one.logps),
            one.finish,
        )

    def score(self, examples: Sequence[Example]) -> list[list[AnswerScore]]:
        """Σ log π of every answer's tokens, or its reward if this is a preference model."""
        groups, _ = self.encode(examples, on_drop="stop")
        if "score" in self.model.heads:
            scores = self.signals(groups, ["scores"])["scores"]
            return [
                [AnswerScore(None, len(a), reward=float(s)) for a, s in zip(g.answers, row)]
                for g, row in zip(groups, scores)
            ]
        return [
            [AnswerScore(float(t.sum()), len(t), tuple(t.tolist())) for t in row]
            for row in self.signals(groups, ["logps"])["logps"]
        ]

    def encode(
        self, examples: Sequence[Example], *, on_drop: Literal["count", "stop"] = "count", allow_empty: bool = True
    ) -> tuple[list[Group], Counter[str]]:
        """Examples as this model's tokens, and how many were dropped for which reason."""
        groups, dropped = encode_all(examples, self.codec, on_drop=on_drop, allow_empty=allow_empty)
        return (groups if self.eoc is None else [with_eoc(group, self.eoc) for group in groups]), dropped

    @torch.no_grad()
    def signals(
        self, groups: Sequence[Group], needs: Collection[str], *, adapter: bool = True, temperature: float = 1.0
    ) -> dict[str, list[list[Tensor]]]:
        """What a forward pass says about given answers: name → group → answer → tensor. No gradients, no dropout.

        `adapter=False` asks the frozen base under the adapter.
        """
        result: dict[str, list[Any]] = {name: [None] * len(groups) for name in needs}
        with nullcontext() if adapter else self.model.without_adapter():
            for numbers, batch in batches(groups, self.layout, self.micro_tokens):
                out = self.model(batch.to(self.model.device), needs, temperature)
                self._count(batch, "forward")
                for name in needs:
                    for number, part in zip(numbers, by_group(getattr(out, name), batch, name in PER_ANSWER)):
                        result[name][number] = part
        return result

    def divergence(self, groups: Sequence[Group], reference: LocalEngine | None) -> list[list[Tensor]]:
        """KL(π ‖ π_ref) of the next token at every place of given answers, over the whole vocabulary: group → answer →
        [T]. `reference` None: the base under the adapter."""
        result: list[list[Tensor]] = [[] for _ in groups]
        for numbers, batch in batches(groups, self.layout, self.micro_tokens):
            found = self.model.divergence(batch.to(self.model.device), reference.model if reference else None)
            for engine in (self, reference or self):
                engine._count(batch, "forward")
            for number, part in zip(numbers, by_group(found, batch)):
                result[number] = part
        return result

    def likeliest(self, groups: Sequence[Group], count: int) -> list[tuple[Tensor, Tensor]]:
        """For each group the `count` likeliest tokens at every trained place: (log-probabilities, ids), [N, count]."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for numbers, batch in batches(groups, self.layout, self.micro_tokens):
            logps, ids = self.model.likeliest(batch.to(self.model.device), count)
            sizes = batch.per_group_sum(batch.lengths().to("cpu")).tolist()
            found |= dict(zip(numbers, zip(logps.cpu().split(sizes), ids.cpu().split(sizes))))
        return [found[number] for number in range(len(groups))]

    @torch.no_grad()
    def measure(self, groups: Sequence[Group], objective: Objective) -> dict[str, Tensor]:
        """What `forward_backward` would say of these groups, and nothing is learnt."""
        sums: Metrics = {}
        for _, batch in batches(groups, self.layout, self.micro_tokens):
            batch = batch.to(self.model.device)
            losses, metrics = objective(self.model(batch, objective.needs), batch)
            self._count(batch, "forward")
            add(sums, {"loss": (losses.sum(), batch.count(objective.unit)), **metrics})
        return means(sums)

    # Training

    def prepare(self, optim: Optim, total: int) -> None:
        """Make the optimiser for a run of `total` steps."""
        if self.steered:
            raise UserError(
                f"model '{self.name}': what is learnt with a vector added would be saved without it. Train the model "
                "without +vec:; prevent: adds one while it learns."
            )
        self.micro_tokens = optim.micro_tokens
        self.optimiser = Optimiser(self.model, optim, total)

    def prevent(self, edits: Sequence[Edit], prints: Sequence[str]) -> str:
        """With these edits in whatever is computed from now on, but for what is done `plainly`. What was proven."""
        self.fingerprint = fingerprint([self.fingerprint, *prints])
        return steer(self.model, edits)

    @contextmanager
    def plainly(self) -> Iterator[None]:
        """The model without what is added to it while it learns."""
        with ExitStack() as stack:
            for each in self.model.steering if not self.steered else ():
                stack.enter_context(each.off())
            yield

    def work(
        self, groups: Sequence[Group], *objectives: tuple[Objective, float], temperature: float = 1.0
    ) -> list[tuple[Batch, Objective, float]]:
        """One step's groups under these weighted objectives, cut into forward passes."""
        packed = [batch for _, batch in batches(groups, self.layout, self.micro_tokens)]
        for batch in packed:
            batch.temperature = temperature
        return [(batch, objective, weight) for batch in packed for objective, weight in objectives]

    def forward_backward(self, work: Work) -> dict[str, Tensor]:
        """Gradients of Σ weight · Σ_units loss / (units in the whole step). Returns metrics as means over the step.

        Units are counted per objective: one that comes with several batches is one mean over all of them.
        """
        units = {objective: 0 for _, objective, _ in work}
        for batch, objective, _ in work:
            units[objective] += batch.count(objective.unit)
        passes: dict[int, list[tuple[Batch, Objective, float]]] = {}
        for entry in work:  # objectives on the same batch share its forward pass
            passes.setdefault(id(entry[0]), []).append(entry)
        total = torch.zeros((), device=self.model.device)
        sums: Metrics = {}
        for entries in passes.values():
            batch = entries[0][0].to(self.model.device)
            with self.model.learning():
                needs = frozenset().union(*(objective.needs for _, objective, _ in entries))
                signals = self.model(batch, needs, batch.temperature)
            loss = torch.zeros((), device=self.model.device)
            for _, objective, weight in entries:
                losses, metrics = objective(signals, batch)
                loss = loss + weight * losses.sum() / units[objective]
                self._done.append((batch, losses.detach()))
                add(sums, metrics)
            loss.backward()
            self._count(batch, "forward", "backward")
            total = total + loss.detach()
        self._loss = self._loss + total
        return {"loss": total} | means(sums)

    def grad_norm(self) -> Tensor:
        """Of what `forward_backward` has left."""
        if self.optimiser is None:
            raise RuntimeError("prepare() comes before the first step")
        return self.optimiser.grad_norm()

    def step(self, grad_norm: Tensor | None = None) -> dict[str, Any]:
        """Clip, move, clear. `grad_norm` from outside lets several engines be clipped together."""
        norm = self.grad_norm() if grad_norm is None else grad_norm
        assert self.optimiser
        if not torch.isfinite(norm.to(self._loss.device) + self._loss):  # an infinite loss may have a finite gradient
            raise UserError(self._blame(self.optimiser.steps + 1))
        self._done.clear()
        self._loss.zero_()
        return {"grad_norm": norm} | self.optimiser.step(norm)

    def _count(self, batch: Batch, *ways: str) -> None:
        for way in ways:
            self.passed[way] += batch.answers
            self.passed[f"{way} tokens"] += batch.tokens.numel()

    def _blame(self, step: int) -> str:
        rows = [
            batch.ids[group_of(batch, losses, unit)]
            for batch, losses in self._done
            for unit in (~torch.isfinite(losses)).nonzero()[:, 0].tolist()
        ]
        named, what = list(dict.fromkeys(rows)), "the loss" if rows else "the gradient"
        where = f" at {', '.join(named[:3])}" + (f" and {len(named) - 3} more" if named[3:] else "") if named else ""
        remedy = "Lower optim.lr, or raise optim.warmup" if step > 1 else "Look at the data: nothing was learnt yet"
        return f"step {step}: {what} is not finite{where}; nothing was changed in this step. {remedy}."

    def save(self, folder: Path) -> None:
        """Everything needed to go on exactly: weights that move, optimiser, random state."""
        if self.optimiser is None:
            raise RuntimeError("nothing is being trained")
        self.optimiser.save(folder)
        state = {"cpu": torch.get_rng_state()}
        if self.model.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.model.device)
        save_file(state, folder / "random.safetensors")

    def load(self, folder: Path) -> None:
        if self.optimiser is None:
            raise RuntimeError("prepare() comes before load()")
        self.optimiser.load(folder)
        state = load_file(folder / "random.safetensors")
        torch.set_rng_state(state["cpu"])
        if "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self.model.device)

    def export(self, folder: Path, bare: bool = False) -> str | None:
        """An ordinary model folder that transformers loads, in the precision the weights were trained in; training can
        go on. `bare`: without heads, as the language model that is under them."""
        if self.codec.tokenizer.chat_template is None:  # others shall talk to it as it was trained
            self.codec.tokenizer.chat_template = self.codec.template.source
        heads, dtypes = self.model.heads, [(p, p.dtype) for p in self.model.parameters()]
        if self.optimiser is not None:
            self.optimiser.unfold(self.model)
        self.model.heads = nn.ModuleDict() if bare else heads
        try:
            return save_model(self.model, self.codec.tokenizer, folder, self.codec.pad_id)
        finally:
            self.model.heads = heads
            for parameter, dtype in dtypes:
                parameter.data = parameter.data.to(dtype)


def attach(groups: Sequence[Group], name: str, values: Sequence[Sequence[Tensor]]) -> None:
    """Hand per-token numbers (reference log-probabilities, say) to the groups they belong to."""
    for group, tensors in zip(groups, values, strict=True):
        group.per_token[name] = list(tensors)
