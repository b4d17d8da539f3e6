"""Training a Helpful and Harmless Assistant with RLHF (Bai et al., arXiv 2204.05862), the claims without RL."""

from truing.claims.bai2022 import prompts

CLAIMS = sorted(prompts.CLAIMS, key=lambda claim: int(claim.id[1:]))
