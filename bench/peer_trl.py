"""The peer's side of the bench: TRL's own trainers and transformers' `generate`, on the rows and the model given.

Only two things of TRL are touched: it is handed token ids instead of text (so that both sides train on the same ones),
and the loss of every step is noted down unrounded. What `default` and `best` stand for is written in README.md.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import transformers
import tyro
from data import WARMUP, Row, read
from datasets import Dataset
from job import ADAMW, BETA, CLIP, Job, Meter, finish
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    StoppingCriteria,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

# Without a GPU, TRL refuses to start with its own defaults (bf16 on, use_cpu off): those two are set for it.
COMMON: dict[str, Any] = {
    "use_cpu": True,
    "gradient_accumulation_steps": 1,
    "train_sampling_strategy": "sequential",
    "lr_scheduler_type": "constant",
    "adam_beta1": ADAMW["betas"][0],
    "adam_beta2": ADAMW["betas"][1],
    "adam_epsilon": ADAMW["eps"],
    "weight_decay": ADAMW["weight_decay"],
    "max_grad_norm": CLIP,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
BEST: dict[str, dict[str, Any]] = {
    "sft": {"gradient_checkpointing": False},
    "pm": {"gradient_checkpointing": False},
    "dpo": {"gradient_checkpointing": False, "precompute_ref_log_probs": True, "precompute_ref_batch_size": 2},
    "sample": {"prompts_a_call": 4, "cache_implementation": "static"},
}


class Noting:
    """Mixed into a trainer: keeps the loss of each step."""

    noted: list[float]

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        self.noted.append(loss.item())
        return loss


class SFT(Noting, SFTTrainer):
    pass


class PM(Noting, RewardTrainer):
    pass


class DPO(Noting, DPOTrainer):
    """DPOTrainer always tokenises; ours come tokenised. It also computes the reference log-probs while it is built."""

    reference_s = 0.0

    def _prepare_dataset(self, dataset: Dataset, *args: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, *args: Any) -> Dataset:
        start = time.perf_counter()
        dataset = super()._precompute_ref_logps(*args)
        self.reference_s = time.perf_counter() - start
        return dataset


class Clock(TrainerCallback):
    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= WARMUP:
            self.meter.mark()


def rows_of(job: Job) -> list[Row]:
    """Exactly the rows that are used: a reference pass over more would be charged to these."""
    rows, need = read(job.data), (WARMUP + job.steps) * job.batch
    if len(rows) < need:
        raise SystemExit(
            f"{job.data} has {len(rows)} rows; {job.steps} steps of {job.batch} and the warm-up need {need}."
        )
    return rows[:need]


def columns(task: str, rows: Sequence[Row]) -> list[dict[str, list[int]]]:
    """The columns that each trainer takes as already tokenised."""
    if task == "sft":
        return [
            {
                "input_ids": row["prompt_ids"] + row["chosen_ids"],
                "labels": [-100] * len(row["prompt_ids"]) + row["chosen_ids"],
            }
            for row in rows
        ]
    if task == "pm":
        return [{side: row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")} for row in rows]
    return [dict(row) for row in rows]


def train(job: Job) -> None:
    config, trainer_of = {"sft": (SFTConfig, SFT), "pm": (RewardConfig, PM), "dpo": (DPOConfig, DPO)}[job.task]
    loader = AutoModelForSequenceClassification if job.task == "pm" else AutoModelForCausalLM
    rows = rows_of(job)
    settings = dict(BEST[job.task]) if job.settings == "best" else {}
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    with tempfile.TemporaryDirectory() as folder:
        args = config(
            output_dir=folder,
            per_device_train_batch_size=job.batch,
            max_steps=WARMUP + job.steps,
            learning_rate=job.lr,
            bf16=job.dtype == "bf16",
            **({"beta": BETA} if job.task == "dpo" else {}),
            **COMMON,
            **settings,
        )
        meter = Meter()
        model = loader.from_pretrained(job.model, dtype=torch.float32)
        meter.start()
        trainer: Any = trainer_of(
            model=model,
            args=args,
            train_dataset=Dataset.from_list(columns(job.task, rows)),
            processing_class=tokenizer,
            callbacks=[Clock(meter)],
        )
        trainer.noted = []
        trainer.train()
    finish(
        job,
        meter,
        settings={**settings, "bf16": args.bf16, "gradient_checkpointing": args.gradient_checkpointing},
        rows=job.steps * job.batch,
        losses=trainer.noted,
        once_s=getattr(trainer, "reference_s", 0.0) * job.steps / (WARMUP + job.steps),
        versions=versions(),
    )


class AtLength(StoppingCriteria):
    """Ends each answer at the length it shall have."""

    def __init__(self, lengths: torch.Tensor, prompt: int) -> None:
        self.lengths, self.prompt = lengths, prompt

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return input_ids.shape[1] - self.prompt >= self.lengths


@torch.inference_mode()
def sample(job: Job) -> None:
    rows = rows_of(job)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    meter = Meter()
    dtype = torch.bfloat16 if job.dtype == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=dtype).eval()
    # Lengths are given, so that the work is the same on both sides: the end marker is an id that is never drawn.
    model.generation_config.eos_token_id = model.config.vocab_size
    meter.start()
    torch.manual_seed(0)
    settings = dict(BEST["sample"]) if job.settings == "best" else {}
    options = dict(settings)
    call = options.pop("prompts_a_call", job.batch)
    for step in range(WARMUP + job.steps):
        if step == WARMUP:
            meter.mark()
        for start in range(step * job.batch, (step + 1) * job.batch, call):
            answers(model, tokenizer, rows[start : start + call], options)
    meter.mark()
    timed = [length for row in rows[WARMUP * job.batch :] for length in row["lengths"]]
    finish(job, meter, settings=settings, rows=len(timed), tokens=sum(timed), versions=versions())


def answers(model: Any, tokenizer: Any, rows: Sequence[Row], options: dict[str, Any]) -> torch.Tensor:
    """One call of `generate`: every prompt with all its answers, at temperature 1 over the whole vocabulary."""
    batch = tokenizer.pad({"input_ids": [row["prompt_ids"] for row in rows]}, return_tensors="pt")
    lengths = torch.tensor([length for row in rows for length in row["lengths"]])
    return model.generate(
        **batch,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        num_return_sequences=len(rows[0]["lengths"]),
        max_new_tokens=int(lengths.max()),
        pad_token_id=tokenizer.pad_token_id,
        stopping_criteria=[AtLength(lengths, batch["input_ids"].shape[1])],
        **options,
    )


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("trl", "transformers", "torch")}


def main(job: Job) -> None:
    torch.set_num_threads(job.threads)
    transformers.logging.set_verbosity_error()
    (sample if job.task == "sample" else train)(job)


if __name__ == "__main__":
    main(tyro.cli(Job, description=__doc__))
