"""A General Language Assistant as a Laboratory for Alignment (Askell et al., arXiv 2112.00861)."""

from truing.claims.askell2021 import models, objectives, pretraining, prompting

_EVERY = [*prompting.CLAIMS, *models.CLAIMS, *objectives.CLAIMS, *pretraining.CLAIMS]
CLAIMS = sorted(_EVERY, key=lambda claim: int(claim.id[1:]))
