"""A General Language Assistant as a Laboratory for Alignment (Askell et al., arXiv 2112.00861)."""

from truing.claims.askell2021 import models, pretraining, prompting

CLAIMS = sorted([*prompting.CLAIMS, *models.CLAIMS, *pretraining.CLAIMS], key=lambda claim: int(claim.id[1:]))
