"""Secrets of RLHF in Large Language Models Part I: PPO (Zheng et al., arXiv 2307.04964)."""

from truing.claims.ppomax import collapse, conditions, monitors, tricks

EVERY = (*collapse.CLAIMS, *monitors.CLAIMS, *tricks.CLAIMS, *conditions.CLAIMS)
CLAIMS = sorted(EVERY, key=lambda claim: int(claim.id[1:]))
