"""PPO beside the trainer that TRL had until its 1.12: answers a second, end to end, and peak memory.

    python bench/ppo.py                         in the environment of `make bench`; some minutes

Four networks of 0.9 M parameters (policy, reference, critic, preference model) of random weights, prompts of 24 words,
answers of 16, batches of 128 in four steps of 32, four passes: 16 updates an iteration on both sides. Ours is the verb
itself, with its logs and checks. The exact algorithm comes first; then its shortcuts: bf16, a trunk that policy and
critic share, several answers a prompt, and these together.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch
import tyro
from job import Meter
from rich.console import Console
from rich.table import Table
from run import HERE, environment
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, PreTrainedTokenizerFast

PEER = HERE.parent / ".venv-bench" / "trl-ppo"  # the last TRL that has the trainer; `make bench` puts it there
WORDS, PROMPT, ANSWER, BATCH, STEP, PASSES, LR, KL = 1000, 24, 16, 128, 32, 4, 1e-5, 0.05
SIDES: dict[str, dict[str, Any]] = {
    "TRL default": {},
    "TRL best": {"gradient_checkpointing": False},
    "exact": {},
    "bf16": {"machine": {"dtype": "bf16"}},
    "shared trunk": {"critic": {"start": "shared"}},
    "four answers a prompt": {"sampling": {"n": 4}, "rollouts": BATCH // 4, "optim": {"batch": STEP // 4}},
}
SIDES["shared trunk, four answers"] = SIDES["shared trunk"] | SIDES["four answers a prompt"]
EIGHT = {"sampling": {"n": 8}, "rollouts": BATCH // 8, "optim": {"batch": STEP // 8}}
SIDES["shared trunk, eight answers"] = SIDES["shared trunk"] | EIGHT
SIDES["all three"] = SIDES["shared trunk, four answers"] | SIDES["bf16"]


@dataclass(frozen=True)
class Options:
    iterations: int = 5
    """timed ones; one more comes first"""
    threads: int = os.cpu_count() or 1
    rounds: int = 2
    side: str = ""
    """run this one here, in `folder`: what the script asks of itself"""
    folder: Path = Path()


def make(folder: Path) -> None:
    """Policy, preference model and prompts. A word is a token, so that both sides judge the same tokens."""
    words = {"<pad>": 0, "<end>": 1, "<unk>": 2} | {f"w{n}": n for n in range(3, WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>", padding_side="left"
    )
    sizes = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=WORDS, **sizes, pad_token_id=0, eos_token_id=1, bos_token_id=None)
    config.tie_word_embeddings, config.num_labels = True, 1
    for name, kind in (("policy", AutoModelForCausalLM), ("pm", AutoModelForSequenceClassification)):
        torch.manual_seed(0)
        kind.from_config(config, dtype=torch.float32).save_pretrained(folder / name)
        fast.save_pretrained(folder / name)
    random = torch.Generator().manual_seed(0)
    asked = torch.randint(3, WORDS, (BATCH * 64, PROMPT), generator=random).tolist()
    rows = [json.dumps({"prompt": " ".join(f"w{n}" for n in ids)}) for ids in asked]
    (folder / "prompts.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def ours(options: Options, meter: Meter) -> list[float]:
    import truing
    import truing.commands.ppo
    import truing.commands.report
    from truing.engine import local, open, prefaced
    from truing.run import set_output

    assert local and open and prefaced  # what is imported only when it is needed belongs to the floor, as TRL's does

    set_output("quiet")
    folder, optim = (
        str(options.folder),
        {"lr": LR, "batch": STEP, "epochs": PASSES, "clip": 1.0, "schedule": "constant"},
    )
    keys: dict[str, Any] = {
        "rewards": [f"{folder}/pm"],
        "preset": "nplus",
        "rollouts": BATCH,
        "iterations": options.iterations + 1,
        "kl": {"coefficient": KL},
        "optim": optim,
        "critic": {"start": "reward", "lr": LR},
        "reward": {"unended": "score"},
        "sampling": {"max_tokens": ANSWER, "temperature": 1.0},
        "machine": {"dtype": "fp32", "threads": options.threads},
        "run": {"folder": f"{folder}/runs", "name": "bench"},
    }
    for key, value in SIDES[options.side].items():
        keys[key] = {**keys[key], **value} if isinstance(value, dict) else value
    meter.start()
    run = truing.ppo(f"{folder}/policy", f"{folder}/prompts.jsonl", **keys)
    return [json.loads(line)["seconds"] for line in (run.folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def theirs(options: Options, meter: Meter) -> list[float]:
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Marks(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            meter.mark()

    folder = options.folder
    tokenizer = AutoTokenizer.from_pretrained(folder / "policy", padding_side="left")
    rows = [json.loads(line)["prompt"] for line in (folder / "prompts.jsonl").read_text("utf-8").splitlines()]
    data = Dataset.from_list([{"input_ids": tokenizer(row)["input_ids"]} for row in rows])
    meter.start()
    scorers = [AutoModelForSequenceClassification.from_pretrained(folder / "pm", num_labels=1) for _ in range(2)]
    policies = [AutoModelForCausalLM.from_pretrained(folder / "policy") for _ in range(2)]
    config = PPOConfig(
        output_dir=str(folder / "trl"),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        per_device_train_batch_size=BATCH,
        gradient_accumulation_steps=1,
        num_mini_batches=BATCH // STEP,
        num_ppo_epochs=PASSES,
        total_episodes=BATCH * (options.iterations + 1),
        response_length=ANSWER,
        temperature=1.0,
        kl_coef=KL,
        learning_rate=LR,
        lr_scheduler_type="constant",
        num_sample_generations=0,
        **SIDES[options.side],
    )
    PPOTrainer(
        args=config,
        processing_class=tokenizer,
        model=policies[0],
        ref_model=policies[1],
        reward_model=scorers[0],
        value_model=scorers[1],
        train_dataset=data,
        callbacks=[Marks()],
    ).train()
    return meter.marks


def measured(side: str, folder: Path, options: Options) -> dict[str, float]:
    """In a process of its own."""
    flags = ["--side", side, "--folder", str(folder), "--iterations", str(options.iterations)]
    path = {"PYTHONPATH": str(PEER)} if side.startswith("TRL") else {}
    command = [sys.executable, str(HERE / "ppo.py"), *flags, "--threads", str(options.threads)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, env=environment() | path).stdout
    return dict(json.loads(told.splitlines()[-1]))


def main(options: Options) -> None:
    if options.side:
        torch.set_num_threads(options.threads)
        meter = Meter()
        marks = (theirs if options.side.startswith("TRL") else ours)(options, meter)
        rate = BATCH * options.iterations / (marks[-1] - marks[0])
        print(json.dumps({"rate": rate, "peak_mib": meter.peak_mib}))
        return
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            with tempfile.TemporaryDirectory(prefix="bench-ppo-") as scratch:
                make(Path(scratch))
                found[side].append(measured(side, Path(scratch), options))
    best = {side: max(each["rate"] for each in rounds) for side, rounds in found.items()}
    table = Table("", "answers a second", "× default", "× best", "peak MiB", title="PPO, four networks of 0.9 M")
    for side, rounds in found.items():
        ratios = [f"{best[side] / best[peer]:.2f}" for peer in ("TRL default", "TRL best")]
        table.add_row(side, f"{best[side]:.1f}", *ratios, f"{min(each['peak_mib'] for each in rounds):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
