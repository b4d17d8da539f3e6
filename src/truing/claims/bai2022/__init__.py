"""Training a Helpful and Harmless Assistant with RLHF (Bai et al., arXiv 2204.05862), the claims without RL."""

from truing.claims.bai2022 import choosing, knowledge, learning, prompts

_EVERY = [*learning.CLAIMS, *knowledge.CLAIMS, *choosing.CLAIMS, *prompts.CLAIMS]
CLAIMS = sorted(_EVERY, key=lambda claim: int(claim.id[1:]))
