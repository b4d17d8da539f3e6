"""Persona vectors for and from other people's tools.

.pt      a bare tensor [L + 1, d] of one statistic, as the authors of Chen et al. (arXiv 2507.21509) keep them
.gguf    control vectors of llama.cpp and repeng: direction.N is added to what block N (from 0) hands on, which is
         our layer N + 1; llama.cpp leaves block 0 alone. Those of repeng have length 1: their coefficients are others
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from truing.model.vectors import RESPONSE, STATISTICS, Vectors
from truing.records import UserError

ARCHITECTURE, DIRECTION = "controlvector", "direction."


def of_authors(file: Path) -> Vectors:
    """`TRAIT_response_avg_diff.pt`: hidden states of transformers, so the last row is behind the final norm."""
    try:
        rows = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as problem:  # pickles fail in every way there is
        raise UserError(f"{file}: no tensor could be read from it ({type(problem).__name__}).") from None
    if not isinstance(rows, Tensor) or rows.dim() != 2:
        raise UserError(f"{file}: it holds no tensor with a row for each layer.")
    name = file.stem.removesuffix("_diff")
    statistic = next((s for s in STATISTICS if name.endswith(s)), RESPONSE)
    trait = name.removesuffix(statistic).rstrip("_") or file.stem
    return Vectors(trait, {statistic: rows.float()}, post_norm=True, meta={"from": file.name})


def to_authors(vectors: Vectors, file: Path, statistic: str = RESPONSE) -> None:
    torch.save(vectors.of(statistic).float().clone(), file)


def of_gguf(file: Path) -> Vectors:
    """Rows that it does not have are zero, which nothing can be steered with."""
    gguf = _gguf()
    try:
        found = gguf.GGUFReader(str(file))
        architecture = found.get_field("general.architecture").contents()
    except Exception as problem:
        raise UserError(f"{file}: it is no GGUF file that could be read ({type(problem).__name__}).") from None
    rows = {
        int(tensor.name.removeprefix(DIRECTION)) + 1: torch.tensor(tensor.data).float()
        for tensor in found.tensors
        if tensor.name.startswith(DIRECTION)
    }
    if architecture != ARCHITECTURE or not rows:
        raise UserError(f"{file}: it is a GGUF file of {architecture}, and no control vector.")
    count, width = max(rows), len(next(iter(rows.values())))
    table = torch.stack([rows.get(layer, torch.zeros(width)) for layer in range(count + 1)])
    return Vectors(file.stem, {RESPONSE: table}, whole=False, meta={"from": file.name})


def to_gguf(vectors: Vectors, file: Path, statistic: str = RESPONSE) -> None:
    """All layers from the second on. A layer by itself: llama.cpp's --control-vector-layer-range N N."""
    gguf, rows = _gguf(), vectors.of(statistic).float()
    writer = gguf.GGUFWriter(str(file), ARCHITECTURE)
    writer.add_string(f"{ARCHITECTURE}.model_hint", str(vectors.family.get("type", "")))
    last = vectors.layers - 1 if vectors.post_norm else vectors.layers
    writer.add_uint32(f"{ARCHITECTURE}.layer_count", last - 1)
    for layer in range(2, last + 1):
        writer.add_tensor(f"{DIRECTION}{layer - 1}", rows[layer].contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf() -> Any:
    try:
        import gguf
    except ImportError:
        raise UserError("GGUF files need one more package: pip install 'truing[gguf]'.") from None
    return gguf
