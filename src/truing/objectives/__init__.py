"""The mathematics: pure functions from the signals of a forward pass to one loss per unit. No model in sight."""

from truing.objectives.advantage import (
    AdaptiveKL,
    RunningMoments,
    fold_head,
    gae,
    group_normalised,
    leave_one_out,
    token_rewards,
    whiten,
)
from truing.objectives.distill import FULL_KL, TOPK_RENORMALISED, TOPK_REST
from truing.objectives.listwise import plackett_luce, pro
from truing.objectives.pairwise import dpo
from truing.objectives.policy import clipped_policy, clipped_value, entropy, kl_estimate, kl_penalty
from truing.objectives.preference import BINARY, ranked
from truing.objectives.unpaired import kto
from truing.objectives.weighted import METHODS, NLL, WeightedSettings, Weighting, surrogate, weighted

__all__ = [
    "BINARY",
    "FULL_KL",
    "METHODS",
    "NLL",
    "TOPK_RENORMALISED",
    "TOPK_REST",
    "AdaptiveKL",
    "RunningMoments",
    "WeightedSettings",
    "Weighting",
    "clipped_policy",
    "clipped_value",
    "dpo",
    "entropy",
    "fold_head",
    "gae",
    "group_normalised",
    "kl_estimate",
    "kl_penalty",
    "kto",
    "leave_one_out",
    "plackett_luce",
    "pro",
    "ranked",
    "surrogate",
    "token_rewards",
    "weighted",
    "whiten",
]
