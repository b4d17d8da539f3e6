"""From a score per answer to an advantage per token, and what keeps the scores on a steady scale.

    ρ_t = −η·k_t + 1[t = T]·R        δ_t = ρ_t + γ V_{t+1} − V_t        Â_t = δ_t + γλ Â_{t+1}        Ĝ_t = Â_t + V_t

(Schulman et al., arXiv 1506.02438; conventions of Zheng et al., arXiv 2307.04964.) V_t is read at the position before
token t. All vectors are flat over tokens, answer after answer; `lengths` [A] says where one ends.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor


def token_rewards(score: Tensor, kl: Tensor, lengths: Tensor, kl_coefficient: float) -> Tensor:
    """[A], [N] → [N]: a KL cost at every token, the (already transformed) score at the last one."""
    rewards = -kl_coefficient * kl
    rewards[_last(lengths)] += score
    return rewards


@torch.no_grad()
def gae(
    rewards: Tensor,
    values: Tensor,
    lengths: Tensor,
    gamma: float = 1.0,
    lam: float = 0.95,
    bootstrap: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """(advantages, returns) [N]. `bootstrap` [A] is the value after the last token: 0 where an answer really ended."""
    following = values.roll(-1)
    following[_last(lengths)] = values.new_zeros(len(lengths)) if bootstrap is None else bootstrap
    delta = rewards + gamma * following - values
    # Only this scan needs answers side by side; padding is on the right, δ = 0, and nothing flows out of it.
    inside = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
    scan = delta.new_zeros(inside.shape).masked_scatter(inside, delta)
    for t in range(scan.shape[1] - 2, -1, -1):
        scan[:, t] += gamma * lam * scan[:, t + 1]
    advantage = scan[inside]
    return advantage, advantage + values


def leave_one_out(scores: Tensor, group_of: Tensor) -> Tensor:
    """[A] each answer's score above the mean of the other answers to its prompt (Ahmadian et al., arXiv 2402.14740)."""
    count = _counts(group_of)
    others = (_sums(scores, group_of) - scores) / (count - 1)
    return scores - others


def group_normalised(scores: Tensor, group_of: Tensor, eps: float = 1e-6) -> Tensor:
    """[A] each answer's score in standard deviations above the mean of its prompt (Shao et al., arXiv 2402.03300)."""
    count = _counts(group_of)
    apart = scores - _sums(scores, group_of) / count
    return apart / ((_sums(apart.square(), group_of) / (count - 1)).sqrt() + eps)


def _counts(group_of: Tensor) -> Tensor:
    count = group_of.bincount()[group_of]
    if (count < 2).any():
        raise ValueError("an answer without others to its prompt cannot be compared with them")
    return count


def _sums(scores: Tensor, group_of: Tensor) -> Tensor:
    """[A] of each answer's group."""
    return scores.new_zeros(int(group_of.max()) + 1).index_add(0, group_of, scores)[group_of]


def _last(lengths: Tensor) -> Tensor:
    if (lengths < 1).any():
        raise ValueError("an answer without tokens has no last token to carry its score")
    return lengths.cumsum(0) - 1


def whiten(values: Tensor, shift_mean: bool = True, unbiased: bool = False, eps: float = 1e-8) -> Tensor:
    """(x − mean)/√(var + eps); without `shift_mean` the mean stays where it was."""
    mean = values.mean()
    white = (values - mean) * torch.rsqrt(values.var(correction=int(unbiased)) + eps)
    return white if shift_mean else white + mean


@dataclass
class RunningMoments:
    """Mean and spread of everything seen so far, merged batch by batch (Chan et al.). In PPO: update, then apply."""

    mean: float = 0.0
    var: float = 0.0
    """population variance"""
    count: int = 0

    def update(self, values: Tensor) -> None:
        values = values.detach().double()
        self.merge(RunningMoments(values.mean().item(), values.var(correction=0).item(), values.numel()))

    def merge(self, other: RunningMoments) -> None:
        """Also joins the moments that several workers found apart."""
        count = self.count + other.count
        if not other.count:
            return
        apart = other.mean - self.mean
        squares = self.var * self.count + other.var * other.count + apart**2 * self.count * other.count / count
        self.mean += apart * other.count / count
        self.var, self.count = squares / count, count

    @property
    def std(self) -> float:
        """Of the sample; 1 as long as there is no spread to divide by."""
        return (self.var * self.count / (self.count - 1)) ** 0.5 if self.count > 1 and self.var > 0 else 1.0

    def scale(self, values: Tensor) -> Tensor:
        return values / self.std

    def normalise(self, values: Tensor, clip: float | None = None) -> Tensor:
        values = (values - self.mean) / self.std
        return values if clip is None else values.clamp(-clip, clip)

    def state(self) -> dict[str, float]:
        return asdict(self)

    def load_state(self, state: dict[str, float]) -> None:
        self.mean, self.var, self.count = state["mean"], state["var"], int(state["count"])


@dataclass
class AdaptiveKL:
    """A KL coefficient that follows the observed KL to a target (Ziegler et al., arXiv 1909.08593)."""

    coefficient: float
    target: float
    horizon: float = 10_000
    """answers after which a steady error of 20 % has changed the coefficient by about 20 %"""

    def update(self, observed: float, answers: int) -> None:
        error = min(max(observed / self.target - 1, -0.2), 0.2)
        self.coefficient *= 1 + error * answers / self.horizon

    def state(self) -> dict[str, float]:
        return {"coefficient": self.coefficient}

    def load_state(self, state: dict[str, float]) -> None:
        self.coefficient = state["coefficient"]


def fold_head(weight: Tensor, bias: Tensor, moments: RunningMoments) -> tuple[Tensor, Tensor]:
    """A critic that predicted raw scores now predicts normalised ones: (w/σ, (b − μ)/σ)."""
    return weight / moments.std, (bias - moments.mean) / moments.std
