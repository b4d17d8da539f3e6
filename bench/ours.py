"""Our side of the bench: the engine as the procedures use it, on the rows and the model given."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import tyro
from data import WARMUP, Row, read
from job import ADAMW, BETA, CLIP, Job, Meter, finish
from torch import Tensor

from truing.batch import Batch, Group, Objective, Signals
from truing.engine.local import LocalEngine, attach
from truing.model.cache import Prefix
from truing.model.lm import LanguageModel
from truing.model.load import load_model, load_tokenizer
from truing.model.sampler import Prompt, Sampler
from truing.model.text import Codec
from truing.objectives import NLL, dpo, ranked, weighted
from truing.records import Sampling
from truing.settings import Optim

OBJECTIVES: dict[str, Objective] = {"sft": NLL, "pm": ranked(), "dpo": dpo(BETA)} | {
    name: weighted(name) for name in ("nll", "a_lol_seq")
}
SINGLE, CACHED = ("sft", "a_lol_seq"), ("dpo", "a_lol_seq")  # learns from chosen answers; reads the reference


def group(row: Row, task: str, number: int) -> Group:
    answers = [row["chosen_ids"]] if task in SINGLE else [row["chosen_ids"], row["rejected_ids"]]
    worth = {"reward": [1.0] * len(answers), "baseline": [0.5] * len(answers)}
    trained = [[True] * len(a) for a in answers]
    return Group(row["prompt_ids"], answers, trained, list(range(len(answers))), worth, id=str(number))


def train(job: Job) -> None:
    rows = read(job.data)
    meter = Meter()
    model, layout = load_model(str(job.model), dtype=precision(job), layout="rows" if job.off == "tree" else "auto")
    engine = LocalEngine(model, Codec(load_tokenizer(str(job.model))), name="ours", fingerprint="", layout=layout)
    meter.start()
    engine.prepare(Optim(lr=job.lr, schedule="constant", clip=CLIP, micro_tokens=MICRO, **ADAMW), WARMUP + job.steps)
    groups = [group(row, job.task, n) for n, row in enumerate(rows)]
    objective, losses, once = OBJECTIVES[job.task], [], 0.0
    if job.task in CACHED and job.off != "cache":
        start = time.perf_counter()
        reference(engine, groups)
        once = (time.perf_counter() - start) * job.steps / (WARMUP + job.steps)
    for step in range(WARMUP + job.steps):
        batch = groups[step * job.batch : (step + 1) * job.batch]
        if job.task == "dpo" and job.off == "cache":
            reference(engine, batch)  # what a second model costs at every step; its numbers are kept from the first
        metrics = engine.forward_backward(engine.work(batch, (objective, 1.0)))
        engine.step()
        losses.append(float(metrics["loss"]))
        if step >= WARMUP - 1:
            meter.mark()
    peak_mib = meter.peak_mib
    seconds = meter.marks[-1] - meter.marks[0]
    done = arithmetic(model, groups[WARMUP * job.batch :], job.task)
    finish(
        job,
        meter,
        settings={"layout": layout, "off": job.off},
        rows=job.steps * job.batch,
        losses=losses,
        once_s=once,
        peak_mib=peak_mib,
        share_of_peak=done / seconds / peak_rate(precision(job)),
    )


MICRO = 4096  # tokens of one forward pass


def reference(engine: LocalEngine, groups: Sequence[Group]) -> None:
    attach(groups, "ref_logps", engine.signals(groups, ["logps"])["logps"])


def precision(job: Job) -> torch.dtype:
    return torch.bfloat16 if job.dtype == "bf16" else torch.float32


def arithmetic(model: LanguageModel, groups: Sequence[Group], task: str) -> float:
    """Floating-point operations that a step cannot do without: 6 for each weight and token (forward 2, backward 4),
    with the output layer only where there is something to learn. Attention is left out."""
    body = sum(p.numel() for name, p in model.trunk.named_parameters() if "embed" not in name)
    flops = 6.0 * body * sum(g.tree_tokens for g in groups)
    if task != "pm":
        weight = model.base.get_input_embeddings().weight
        flops += 6.0 * weight.numel() * sum(len(answer) for g in groups for answer in g.answers)
    return flops


def peak_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 8) -> float:
    """Operations a second of a large matrix product: the best of several, as the machine's ceiling."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def full_head(self: LanguageModel, batch: Batch, needs: Any = (), temperature: float = 1.0) -> Signals:
    """In place of `forward`, without the lever: logits at every position, all at once, and autograd through them."""
    weight = self.base.get_output_embeddings().weight  # type: ignore[union-attr]
    logps = torch.log_softmax((self.hidden(batch) @ weight.T).float(), -1)[batch.source]
    return Signals(logps=logps.gather(1, batch.target[:, None])[:, 0])


class Scheduled(Sampler):
    """Ends each answer at the length it shall have."""

    wanted: dict[tuple[int, ...], list[int]]

    def _settle(self) -> None:
        super()._settle()
        self.lengths = torch.tensor([self.wanted[row.prompt.ids][row.index] for row in self.rows])

    def _ended(self, token: Tensor, drawn: Tensor) -> Tensor:
        return drawn + 1 >= self.lengths


@torch.inference_mode()
def sample(job: Job) -> None:
    rows = read(job.data)
    meter = Meter()
    model, _ = load_model(str(job.model), dtype=precision(job))
    meter.start()
    for step in range(WARMUP + job.steps):
        if step == WARMUP:
            meter.mark()
        answers(model.owner, rows[step * job.batch : (step + 1) * job.batch], shared=job.off != "prefill")
    meter.mark()
    timed = [length for row in rows[WARMUP * job.batch :] for length in row["lengths"]]
    finish(job, meter, settings={"off": job.off}, rows=len(timed), tokens=sum(timed))


def answers(model: Any, rows: Sequence[Row], shared: bool) -> None:
    """Every prompt with all its answers. Without the lever, each answer prefills the prompt for itself."""
    sampling = Sampling(n=len(rows[0]["lengths"]), max_tokens=max(max(row["lengths"]) for row in rows))
    sampler = Scheduled(model, sampling, (), None, None, None)
    prompts = [Prompt(tuple(row["prompt_ids"]), n, sampling.n) for n, row in enumerate(rows)]
    sampler.wanted = {prompt.ids: row["lengths"] for prompt, row in zip(prompts, rows)}
    if not shared:
        for prompt in prompts:
            Prefix(model.base_model, [prompt.ids] * (sampling.n - 1), model.device)
    sampler.run(prompts, 64)


def main(job: Job) -> None:
    torch.set_num_threads(job.threads)
    if job.off == "answer_head":
        LanguageModel.forward = full_head  # type: ignore[method-assign]
    (sample if job.task == "sample" else train)(job)


if __name__ == "__main__":
    main(tyro.cli(Job, description=__doc__))
