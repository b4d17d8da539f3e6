"""Training a Helpful and Harmless Assistant with RLHF (Bai et al., arXiv 2204.05862)."""

from truing.claims.bai2022 import after, bias, choosing, knowledge, learning, prompts, robustness, scaling, tension

_ROOMS = (learning, knowledge, choosing, prompts, scaling, robustness, tension, after, bias)
CLAIMS = sorted([claim for room in _ROOMS for claim in room.CLAIMS], key=lambda claim: int(claim.id[1:]))
