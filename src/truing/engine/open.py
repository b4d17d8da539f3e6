"""A model spec → an engine. The one place that knows which kinds of engines there are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from truing.data.preface import Preface, load_preface
from truing.engine.base import Asking
from truing.records import UserError, fingerprint
from truing.settings import Lora, Machine
from truing.spec import Adapter, BestOf, ModelSpec, SystemPrompt, Vector

UNBOUNDED = 1 << 30  # tokens, where an architecture has no last position


@dataclass(frozen=True)
class Place:
    """Where and how to compute, with nothing left open."""

    device: str
    dtype: str
    threads: int


def place(machine: Machine, probed: Mapping[str, Any] | None = None) -> Place:
    """What `machine` leaves open is taken from `probed`, or measured."""
    from truing.model.probe import probe, resolve_device

    device = resolve_device(machine.device)
    if probed:
        return Place(device, str(probed["dtype"]), int(probed["threads"]))
    if "auto" in (machine.dtype, machine.threads):
        best = probe(device)
        return Place(
            device,
            best.dtype if machine.dtype == "auto" else machine.dtype,
            best.threads if machine.threads == "auto" else machine.threads,
        )
    return Place(device, machine.dtype, int(machine.threads))


def open_engine(spec: str, machine: Machine | None = None, *, max_tokens: int | None = None) -> Asking:
    """Anything that can be asked: a local folder, a hub model, an endpoint, a scripted model. `max_tokens` is for local
    weights, which see what is cut off; endpoints know their own limits."""
    parsed = ModelSpec.parse(spec)
    if any(isinstance(m, BestOf) for m in parsed.modifiers):
        return _open_best(parsed, machine, max_tokens)
    bare, preface = without_preface(parsed)
    if preface:
        from truing.engine.prefaced import Prefaced

        return Prefaced(open_engine(str(bare), machine, max_tokens=max_tokens), preface, str(parsed))
    if parsed.kind not in ("api", "scripted"):
        return open_local(spec, machine or Machine(), max_tokens=max_tokens)
    if parsed.modifiers:
        raise UserError(f"model '{spec}': nothing can be put on top of {parsed.base} so far")
    if parsed.kind == "api":
        from truing.engine.http import HttpEngine

        return HttpEngine(parsed.name)
    from truing.engine.scripted import scripted

    return scripted(parsed.name)


def _open_best(spec: ModelSpec, machine: Machine | None, max_tokens: int | None) -> Asking:
    from truing.engine.best import Best

    *under, best = spec.modifiers
    if not isinstance(best, BestOf) or any(isinstance(m, BestOf) for m in under):
        raise UserError(
            rf"model '{spec}': +best: must be the last modifier; what belongs to the policy stands before it, what "
            r"belongs to the preference model behind it with a backslash: \+lora:DIR."
        )
    policy = ModelSpec(spec.kind, spec.name, spec.revision, tuple(under))
    judge = open_engine(str(best.judge), machine)
    return Best(open_engine(str(policy), machine, max_tokens=max_tokens), judge, best.n, str(spec))


def without_preface(spec: ModelSpec) -> tuple[ModelSpec, Preface | None]:
    """The model under `+prompt:FILE`, and the preface, read: a wrong name is said before weights are loaded."""
    files = [m.file for m in spec.modifiers if isinstance(m, SystemPrompt)]
    if len(files) > 1:
        raise UserError(f"model '{spec}': one preface is enough; put both into one file.")
    rest = tuple(m for m in spec.modifiers if not isinstance(m, SystemPrompt))
    return ModelSpec(spec.kind, spec.name, spec.revision, rest), load_preface(files[0]) if files else None


def open_local(
    spec: str,
    machine: Machine,
    *,
    probed: Place | None = None,
    max_tokens: int | None = None,
    head: str | None = None,
    eoc: bool = True,
    mean: bool = False,
    lora: Lora | None = None,
    seed: int = 0,
) -> Any:
    """Load weights into this process. `max_tokens` is the longest prompt with its answer; None means all positions.

    `head` puts a fresh scalar head on, `lora` a fresh adapter (an adapter of the spec is merged first, so that the new
    one off is the model one started from). A fresh "score" head brings the end-of-context token at which it is read,
    unless `eoc` is off; with `mean` it is read as the mean over the answer."""
    import torch

    from truing.engine.local import LocalEngine
    from truing.model.lm import compile_layers
    from truing.model.load import add_lora, check_vocabulary, load_model, load_tokenizer, merge
    from truing.model.proof import steer
    from truing.model.vectors import edits

    parsed = ModelSpec.parse(spec)
    where = probed or place(machine)
    torch.set_num_threads(where.threads)
    adapters = [m.folder for m in parsed.modifiers if isinstance(m, Adapter)]
    vectors = [m for m in parsed.modifiers if isinstance(m, Vector)]
    if parsed.kind not in ("folder", "hub", "world") or len(adapters) + len(vectors) != len(parsed.modifiers):
        raise UserError(
            f"model '{spec}': what is needed here is a local folder or a hub model, with +lora: and +vec: at most"
        )
    path = located(parsed)
    tokenizer = load_tokenizer(path, parsed.revision)
    model, layout = load_model(
        path,
        revision=parsed.revision,
        adapters=adapters,
        dtype={"fp32": torch.float32, "bf16": torch.bfloat16}[where.dtype],
        device=where.device,
        layout=machine.layout,
    )
    check_vocabulary(model, tokenizer, path)
    fresh = head is not None and head not in set(model.heads)
    if head is not None and fresh:
        _put_head(model, tokenizer, head, eoc)
        model.mean = mean
    if lora and lora.rank:
        torch.manual_seed(seed)
        merge(model)
        add_lora(model, lora.rank, lora.alpha, lora.dropout, lora.targets, lora.stabilised)
    if vectors:
        steer(model, [edit for m in vectors for edit in edits(m, model.owner)])
    if machine.compile:
        compile_layers(model)
    codec, eoc_id = codec_for(tokenizer, model.base.config, max_tokens, path, "score" in model.heads)
    engine = LocalEngine(
        model,
        codec,
        name=spec,
        fingerprint=fingerprint([model_fingerprint(parsed), where.dtype]),
        layout=layout,
        eoc=eoc_id,
    )
    engine.fresh_head, engine.compiled, engine.steered = fresh, machine.compile, bool(vectors)
    return engine


def _put_head(model: Any, tokenizer: Any, head: str, eoc: bool) -> None:
    from truing.model.lm import new_head
    from truing.model.load import grow_embeddings
    from truing.model.vocab import add_eoc, add_pad

    if head == "score":
        add_pad(tokenizer)
        if eoc:
            add_eoc(tokenizer)
        grow_embeddings(model, len(tokenizer))
    model.heads[head] = new_head(model)


def codec_for(
    tokenizer: Any, config: Any, max_tokens: int | None, name: str, scored: bool = False
) -> tuple[Any, int | None]:
    """Text to tokens for a model with this configuration, with room for the end-of-context token where a score is read
    at one (its id comes second)."""
    from truing.model.load import READ
    from truing.model.text import Codec
    from truing.model.vocab import EOC

    eoc_id = tokenizer.get_added_vocab().get(EOC) if scored else None
    if scored and eoc_id is None and getattr(config, READ, None) == "eoc":
        raise UserError(
            f"{name}: its scores are read at the token {EOC}, which its tokenizer does not have: put the tokenizer "
            "that the model was trained with back beside it."
        )
    longest = min(max_tokens or UNBOUNDED, positions(config.get_text_config()))
    try:
        return Codec(tokenizer, max_tokens=longest - (eoc_id is not None)), eoc_id
    except UserError as problem:
        raise UserError(f"{name}: {problem}") from None


def positions(config: Any) -> int:
    """The longest sequence. One beyond its original length makes longrope turn every token of the batch differently:
    the numbers of an answer would depend on its neighbours."""
    rope = getattr(config, "rope_parameters", None) or {}
    original = rope.get("original_max_position_embeddings") if rope.get("rope_type") == "longrope" else None
    return original or getattr(config, "max_position_embeddings", None) or UNBOUNDED


def model_fingerprint(spec: ModelSpec) -> str:
    """Hash of weights, configuration, tokenizer and template; of name and commit for a hub model."""
    from truing.model.load import check_adapter, check_folder
    from truing.model.vectors import vectors_hash

    adapters = [m.folder for m in spec.modifiers if isinstance(m, Adapter)]
    path = located(spec)
    if spec.kind in ("folder", "world"):
        check_folder(path)
    for folder in adapters:
        check_adapter(folder)
    if spec.kind == "hub":
        parts = [_on_hub(spec)]
    else:
        parts = [_folder_hash(Path(path)) if spec.kind in ("folder", "world") else str(spec.base)]
    parts += [_folder_hash(Path(folder)) for folder in adapters]
    parts += [f"{vectors_hash(m.file)} {replace(m, file='')}" for m in spec.modifiers if isinstance(m, Vector)]
    parts += [load_preface(m.file).fingerprint for m in spec.modifiers if isinstance(m, SystemPrompt)]
    return fingerprint(parts)


def located(spec: ModelSpec) -> str:
    """Folder or hub name of the weights; `world:NAME` is a folder in this package."""
    if spec.kind != "world":
        return spec.name
    shipped = Path(__file__).parents[1] / "world" / "checkpoints"
    names = sorted(folder.name for folder in shipped.glob("*/"))
    if spec.name not in names:
        raise UserError(f"model '{spec}': the world has no such checkpoint; there are {', '.join(names) or 'none'}.")
    return str(shipped / spec.name)


def _on_hub(spec: ModelSpec) -> str:
    """Name and commit: a branch moves, and what was computed with the old weights must not be taken for the new."""
    from transformers.utils.hub import cached_file

    from truing.model.load import load_config

    load_config(spec.name, spec.revision)  # says what is wrong if there is no such model
    return f"{spec.name}@{Path(str(cached_file(spec.name, 'config.json', revision=spec.revision))).parent.name}"


def _folder_hash(folder: Path) -> str:
    """Of the files that decide what the model says, by content: a copy elsewhere is the same model."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*")):
        if file.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt") and file.is_file():
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
