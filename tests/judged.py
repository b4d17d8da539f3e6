"""A tiny policy, and a tiny preference model whose rewards differ from answer to answer. Nothing is trained."""

from __future__ import annotations

from pathlib import Path

import torch

from truing.engine import open_local
from truing.model.make import make_model, make_tokenizer
from truing.settings import Machine

MACHINE = Machine("fp32", 1)
PPO = {
    "model": "./lm",
    "data": {"path": "(examples)"},
    "rewards": ["./pm"],
    "preset": "vanilla",
    "critic": {"start": "policy", "lr": 1e-3},
    "iterations": 2,
    "rollouts": 4,
    "optim": {"lr": 1e-2, "batch": 4, "schedule": "constant", "warmup": 0},
    "sampling": {"max_tokens": 6},
    "machine": {"dtype": "fp32", "threads": 1},
}
"""a recipe that takes a second"""


def policy_and_judge(home: Path) -> Path:
    """Folders `lm` and `pm` in `home`."""
    tokenizer = make_tokenizer(["gladly red green blue it is", "go away"] * 3, 300)
    make_model(home / "lm", tokenizer, hidden=16, layers=1, heads=2, context=256)
    judge = open_local(str(home / "lm"), MACHINE, head="score")
    wide(judge.model.heads["score"].parameters())
    judge.export(home / "pm")
    return home


def wide(parameters) -> None:
    """A fresh head or adapter is nearly nothing; now it is not."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.randn(parameter.shape, generator=random))
