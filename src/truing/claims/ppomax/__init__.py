"""Secrets of RLHF in Large Language Models Part I: PPO (Zheng et al., arXiv 2307.04964)."""

from truing.claims.ppomax import collapse

CLAIMS = sorted([*collapse.CLAIMS], key=lambda claim: int(claim.id[1:]))
