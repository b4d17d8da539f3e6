"""Training a Helpful and Harmless Assistant with RLHF (Bai et al., arXiv 2204.05862), the claims without RL."""

from truing.claims.base import Claim

CLAIMS: list[Claim] = []
