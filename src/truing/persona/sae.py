"""What a vector is made of: features of a sparse autoencoder, ranked by how far they point its way.

    f = relu(W_e (x − b_d) + b_e),  the k largest of each token kept in the mean (BatchTopK)        x̂ = W_d f + b_d

(Bussmann et al., arXiv 2412.06410.) Weights are read as `dictionary_learning` keeps them: encoder.weight [F, d],
encoder.bias, decoder.weight [d, F], b_dec (or bias), k, threshold. A small one can be trained here on the states of any
model; a layer is right for it where it rebuilds that layer's states, which `unexplained` tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.optimize import nnls
from torch import Tensor

from truing.batch import Group
from truing.engine.local import LocalEngine
from truing.model.hooks import reading
from truing.model.pack import batches
from truing.model.states import Enough
from truing.persona.project import unit
from truing.records import UserError


@dataclass(frozen=True)
class Sae:
    """`threshold`: what an activation has to exceed; below 0 the k largest of each token are kept."""

    encoder: Tensor
    bias: Tensor
    decoder: Tensor
    b_dec: Tensor
    k: int
    threshold: float = -1.0

    @property
    def width(self) -> int:
        return self.decoder.shape[0]

    def encode(self, states: Tensor) -> Tensor:
        """[N, d] → [N, F]"""
        raw = torch.relu((states - self.b_dec) @ self.encoder.T + self.bias)
        if self.threshold >= 0:
            return raw * (raw > self.threshold)
        values, places = raw.topk(min(self.k, raw.shape[1]), dim=1)
        return torch.zeros_like(raw).scatter(1, places, values)

    def decode(self, features: Tensor) -> Tensor:
        return features @ self.decoder.T + self.b_dec

    @torch.no_grad()
    def unexplained(self, states: Tensor) -> float:
        """Share of the states' variance that is not rebuilt."""
        left = (states - self.decode(self.encode(states))).pow(2).sum()
        return float(left / (states - states.mean(0)).pow(2).sum())

    def direction(self, feature: int) -> Tensor:
        """What a feature adds to the residual stream: it can be steered with like a vector."""
        return self.decoder[:, feature]


class Ranked(NamedTuple):
    feature: int
    cosine: float


def load_sae(path: str) -> Sae:
    """`ae.pt` of dictionary_learning."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"{path}: there is no such file of an autoencoder.")
    try:
        found = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as problem:  # pickles fail in every way there is
        raise UserError(f"{path}: no weights could be read from it ({type(problem).__name__}).") from None
    needed = ("encoder.weight", "encoder.bias", "decoder.weight")
    known = found if isinstance(found, dict) else {}
    if missing := [name for name in needed if name not in known]:
        raise UserError(f"{path}: it is no autoencoder of dictionary_learning; {missing[0]} is missing.")
    after = found.get("b_dec", found.get("bias"))
    if after is None:
        raise UserError(f"{path}: it is no autoencoder of dictionary_learning; b_dec is missing.")
    encoder, bias, decoder = (found[name].float() for name in needed)
    count = int(found["k"]) if "k" in found else encoder.shape[0]
    threshold = float(found["threshold"]) if "threshold" in found else 0.0 if "k" not in found else -1.0
    return Sae(encoder, bias, decoder, after.float(), count, threshold)


def ranked(sae: Sae, vector: Tensor) -> list[Ranked]:
    """All features, by the cosine between what they add and the vector."""
    if vector.shape != (sae.width,):
        raise UserError(f"the vector has {len(vector)} numbers, and the autoencoder is {sae.width} wide.")
    cosines = unit(vector) @ (sae.decoder / sae.decoder.norm(dim=0, keepdim=True).clamp_min(1e-12))
    order = cosines.argsort(descending=True)
    return [Ranked(int(n), float(cosines[n])) for n in order]


def rebuilt(sae: Sae, vector: Tensor, features: Sequence[int]) -> tuple[list[float], float]:
    """The vector as a sum of these features with weights of at least 0, and the share of its squared length that is
    left."""
    weights, left = nnls(sae.decoder[:, list(features)].double().numpy(), vector.double().numpy())
    return weights.tolist(), float((left / float(vector.norm())) ** 2)


@torch.no_grad()
def token_states(engine: LocalEngine, groups: Sequence[Group], layer: int) -> Tensor:
    """[N, d] what a layer says of every token of these answers."""
    found: list[Tensor] = []
    for _, batch in batches(groups, engine.layout, engine.micro_tokens):
        batch = batch.to(engine.model.device)

        def tell(_: int, states: Tensor, own: Tensor = batch.own) -> None:
            found.append(states.flatten(0, 1)[own].float().cpu())
            raise Enough

        try:
            with reading(engine.model.owner, [layer], tell):
                engine.model.hidden(batch)
        except Enough:
            pass
    return torch.cat(found)


def train(
    states: Tensor, features: int, k: int, *, steps: int = 2000, batch: int = 512, lr: float = 3e-3, seed: int = 0
) -> Sae:
    """A small one: as many activations are kept as tokens times k, wherever they are largest; what an activation has to
    exceed later is the mean of the least that was kept in the last tenth of the steps."""
    draw = torch.Generator().manual_seed(seed)
    decoder = torch.randn(states.shape[1], features, generator=draw)
    decoder /= decoder.norm(dim=0, keepdim=True)
    scale = states.std()
    weights = {
        "encoder": decoder.T.clone(),
        "bias": torch.zeros(features),
        "decoder": decoder,
        "b_dec": (states / scale).mean(0),
    }
    for weight in weights.values():
        weight.requires_grad_()
    optimiser = torch.optim.Adam(list(weights.values()), lr=lr)
    least: list[float] = []
    for step in range(steps):
        chosen = states[torch.randint(len(states), (batch,), generator=draw)] / scale
        raw = torch.relu((chosen - weights["b_dec"]) @ weights["encoder"].T + weights["bias"])
        bound = raw.detach().flatten().topk(k * batch).values[-1]
        kept = raw * (raw >= bound)
        loss = (kept @ weights["decoder"].T + weights["b_dec"] - chosen).pow(2).sum(1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            weights["decoder"] /= weights["decoder"].norm(dim=0, keepdim=True)
        if step >= 0.9 * steps:
            least.append(float(bound))
    found = {name: weight.detach() for name, weight in weights.items()}
    threshold = float(scale) * sum(least) / len(least)
    return Sae(found["encoder"], found["bias"] * scale, found["decoder"], found["b_dec"] * scale, k, threshold)
