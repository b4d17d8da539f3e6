"""Persona Vectors: Monitoring and Controlling Character Traits in Language Models (Chen et al., arXiv 2507.21509)."""

from truing.claims.persona import beyond, making, preventing, teaching

CLAIMS = sorted([*making.CLAIMS, *teaching.CLAIMS, *preventing.CLAIMS, *beyond.CLAIMS], key=lambda c: int(c.id[1:]))
