"""AdamW over fp32 weights, learning-rate schedules as pure functions of the step, state as safetensors."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from truing.settings import Optim

STATE, STEPS = "optimiser.safetensors", "optimiser.json"


def multiplier(step: int, total: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate at `step` = 0, 1, …  `warmup` below 1 is a share of `total`, else steps."""
    warm = round(warmup * total) if warmup < 1 else round(warmup)
    if schedule == "inverse_sqrt":  # as in the code of Zheng et al. 2023: never below a tenth while warming up
        return max(step / warm, 0.1) if step < warm else math.sqrt(max(warm, 1) / max(step, 1))
    if step < warm:
        return (step + 1) / (warm + 1)
    done = (step - warm) / max(total - warm, 1)
    if schedule == "linear":
        return 1 - done
    return 0.5 * (1 + math.cos(math.pi * done)) if schedule == "cosine" else 1.0


class Optimiser:
    """Moves the trainable weights of a model. Weights in half precision get an fp32 master copy, so that no small
    step is lost in rounding; the model's own copy is refreshed after each step."""

    def __init__(self, model: nn.Module, settings: Optim, total: int) -> None:
        self.settings, self.total, self.steps = settings, total, 0
        self.weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self.masters: dict[str, Tensor] = {
            n: p if p.dtype == torch.float32 else p.detach().float() for n, p in self.weights.items()
        }
        decayed: list[Tensor] = [m for m in self.masters.values() if m.dim() > 1]
        plain: list[Tensor] = [m for m in self.masters.values() if m.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(
            groups,  # norms and biases are not decayed
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    @property
    def grads(self) -> list[Tensor]:
        return [p.grad for p in self.weights.values() if p.grad is not None]

    def grad_norm(self) -> Tensor:
        return nn.utils.get_total_norm(self.grads)

    def step(self, norm: Tensor) -> dict[str, float]:
        """One update with gradients scaled down to `clip` where their norm is above it."""
        if self.settings.clip:
            nn.utils.clip_grads_with_norm_(list(self.weights.values()), self.settings.clip, norm)
        lr = self.settings.lr * multiplier(self.steps, self.total, self.settings.warmup, self.settings.schedule)
        for group in self.adam.param_groups:
            group["lr"] = lr
        for name, weight in self.weights.items():
            if self.masters[name] is not weight and weight.grad is not None:
                self.masters[name].grad = weight.grad.float()
        self.adam.step()
        with torch.no_grad():
            for name, weight in self.weights.items():
                if self.masters[name] is not weight:
                    weight.copy_(self.masters[name])
                    self.masters[name].grad = None
                weight.grad = None
        self.steps += 1
        return {"lr": lr}

    @torch.no_grad()
    def assign(self, values: Mapping[str, Tensor]) -> None:
        """Weights that somebody else has computed, in full precision."""
        for name, value in values.items():
            self.masters[name].copy_(value)
            self.weights[name].copy_(self.masters[name])

    def unfold(self, model: nn.Module) -> None:
        """Training is over: the model itself takes the fp32 weights."""
        model.float()
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(self.masters[name])

    def save(self, folder: Path) -> None:
        state = {f"weight/{name}": master.detach().contiguous() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            state |= {f"{key}/{name}": value.contiguous() for key, value in self.adam.state[master].items()}
        save_file(state, folder / STATE)
        (folder / STEPS).write_text(json.dumps({"steps": self.steps}))

    def load(self, folder: Path) -> None:
        state = load_file(folder / STATE)
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(state.pop(f"weight/{name}"))
                self.weights[name].copy_(master)
        by_name: dict[str, dict[str, Tensor]] = {name: {} for name in self.masters}
        for key, value in state.items():
            kind, name = key.split("/", 1)
            by_name[name][kind] = value
        for name, master in self.masters.items():
            if by_name[name]:
                self.adam.state[master] = {k: v.to(master.device) for k, v in by_name[name].items()}
        self.steps = json.loads((folder / STEPS).read_text())["steps"]
