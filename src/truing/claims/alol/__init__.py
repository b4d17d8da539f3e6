"""Leftover Lunch: Advantage-based Offline Policy Gradients for Language Models (Baheti et al., arXiv 2305.14718)."""

from truing.claims.alol import data, ladder, methods, online

CLAIMS = sorted([*methods.CLAIMS, *ladder.CLAIMS, *data.CLAIMS, *online.CLAIMS], key=lambda claim: int(claim.id[1:]))
