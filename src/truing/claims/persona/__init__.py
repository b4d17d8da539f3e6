"""Persona Vectors: Monitoring and Controlling Character Traits in Language Models (Chen et al., arXiv 2507.21509)."""

from truing.claims.persona import beyond, making, preventing, teaching, watching

ROOMS = (making, teaching, preventing, beyond, watching)
CLAIMS = sorted((claim for room in ROOMS for claim in room.CLAIMS), key=lambda claim: int(claim.id[1:]))
