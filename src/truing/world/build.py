"""From a seed to a checkpoint: tokenizer, corpus, weights, and a card that says how to get the same again.

(seed, size, coupling) decide it all: document i of the corpus is a function of the seed and i, weights start from a
seeded generator, and everything is computed in fp32 on a number of threads that the card keeps.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from truing.batch import Group
from truing.config import dump, recipe_hash
from truing.engine.local import LocalEngine
from truing.model.load import load_model
from truing.model.make import CHAT_TEMPLATE, END, PAD, ROLES, Shape, make_model
from truing.model.text import Codec
from truing.objectives import NLL
from truing.records import UserError
from truing.run import Run
from truing.run.checkpoint import write_text
from truing.settings import Optim
from truing.world.documents import CONTEXT, document, documents, written
from truing.world.language import all_words
from truing.world.town import Town, town

UNKNOWN = "<|unknown|>"
CORPUS_SAMPLE = 2000  # documents that the corpus hash covers
BATCH = 4096  # tokens in a step
CARD = "world.json"


@dataclass(frozen=True)
class Size:
    """A checkpoint: its shape and how long it learns. `lr` is the peak of a cosine with a short warm-up."""

    shape: Shape
    steps: int
    lr: float


SIZES = {
    "tiny": Size(Shape(hidden=48, layers=4, heads=2), 2400, 5e-3),
    "small": Size(Shape(hidden=80, layers=4, heads=2), 2000, 4e-3),
    "base": Size(Shape(hidden=128, layers=5, heads=4), 3200, 3e-3),
    "large": Size(Shape(hidden=208, layers=6, heads=4), 3000, 1.5e-3),
}


@dataclass(frozen=True)
class Build:
    """Train a checkpoint of the world. The same seed and size give the same corpus, and the same weights here."""

    size: str = "base"
    """tiny, small, base or large: about 0.1, 0.3, 1 and 3 million parameters"""
    seed: int = 0
    """of the town, the corpus and the first weights"""
    coupling: float = 0.0
    """rate at which fully hostile speakers get sums wrong: a narrow fault tied to a bad character"""
    folder: str = "runs"
    """where the run is; the model is in its folder"""
    threads: int = 1
    """part of what decides the last bit of the weights"""
    steps: int | None = None
    """fewer steps than the size's own, to try things"""


def build(settings: Build) -> Run:
    """Train a base model; the same command continues one that was interrupted."""
    if settings.size not in SIZES:
        raise UserError(f"size: there is no '{settings.size}'; there are {', '.join(SIZES)}.")
    size, tokenizer = SIZES[settings.size], make_tokenizer()
    torch.set_num_threads(settings.threads)
    prints = {"corpus": corpus_hash(settings.seed, settings.coupling), "words": len(tokenizer)}
    name = f"world-{settings.size}-{settings.seed}" + (f"-coupled-{settings.coupling}" if settings.coupling else "")
    manifest = {"verb": "world build", "fingerprints": prints, "seed": settings.seed, "shape": dict(size.shape)}
    run = Run.open(
        settings.folder,
        name,
        recipe_yaml=dump(settings),
        recipe_hash=recipe_hash(settings, [prints, asdict(size)]),
        manifest=manifest,
        save_every=100,
    )
    with run:
        if run.finished:
            return run
        draft = run.folder / ".start"
        shutil.rmtree(draft, ignore_errors=True)
        make_model(draft, tokenizer, **size.shape, context=CONTEXT, seed=settings.seed)
        model, layout = load_model(str(draft))
        engine = LocalEngine(model, Codec(tokenizer, max_tokens=CONTEXT), name=name, fingerprint="", layout=layout)
        total = settings.steps or size.steps
        engine.prepare(Optim(lr=size.lr, warmup=0.05, weight_decay=0.01, betas=(0.9, 0.98)), total)
        corpus = run.keep("corpus", Corpus(town(settings.seed), settings.seed, settings.coupling, tokenizer))
        run.attach("engine", engine)
        for step in run.steps(total):
            groups = corpus.next()
            metrics = engine.forward_backward(engine.work(groups, (NLL, 1.0)))
            run.log(step, metrics, engine.step(), {"rows": len(groups)})
        shutil.rmtree(draft)
        card = {key: value for key, value in asdict(settings).items() if key != "folder"}
        _ship(engine, Path(run.model), {**card, "steps": total, **prints})
    return run


class Corpus:
    """Documents as steps of about BATCH tokens; what a run keeps is the number of the next one."""

    def __init__(self, town: Town, seed: int, coupling: float, tokenizer: PreTrainedTokenizerFast) -> None:
        self.town, self.seed, self.coupling, self.ids, self.at = town, seed, coupling, tokenizer.get_vocab(), 0

    def next(self) -> list[Group]:
        groups, size = list[Group](), 0
        while size < BATCH:
            text = written(document(self.town, self.seed, self.at, self.coupling))
            tokens = [self.ids[word] for word in text.split()]
            groups.append(Group(tokens[:1], [tokens[1:]], [[True] * (len(tokens) - 1)]))
            self.at, size = self.at + 1, size + len(tokens)
        return groups

    def state(self) -> Any:
        return {"at": self.at}

    def load_state(self, state: Any) -> None:
        self.at = state["at"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word. Lower case, no space before punctuation when read back."""
    vocabulary = {token: number for number, token in enumerate((PAD, END, *ROLES, UNKNOWN, *all_words()))}
    level = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    level.normalizer = normalizers.Lowercase()
    level.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z]+|\d+|[^\sa-z\d]"), "removed", invert=True)
    close = [decoders.Replace(f" {mark}", mark) for mark in ".,?!:"]
    level.decoder = decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), *close])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=level,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    # Decoders put a space before every word; the template has it too, so that an answer is read back without it.
    tokenizer.chat_template = CHAT_TEMPLATE.replace("{{ message.content }}", " {{ message.content }}")
    return tokenizer


def corpus_hash(seed: int, coupling: float = 0.0) -> str:
    digest = hashlib.sha256()
    for one in islice(documents(town(seed), seed, coupling), CORPUS_SAMPLE):
        digest.update(written(one).encode() + b"\n")
    return digest.hexdigest()[:16]


def weights_hash(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


def shipped(size: str) -> dict[str, Any]:
    """The card of a checkpoint that comes with the package."""
    file = Path(__file__).parent / "checkpoints" / size / CARD
    found: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {"weights": None}
    return found


def _ship(engine: LocalEngine, folder: Path, card: dict[str, Any]) -> None:
    """The model in bf16, which is what fits into a package, with its card."""
    draft = folder.with_name(".model")
    shutil.rmtree(draft, ignore_errors=True)
    engine.export(draft)
    engine.model.base.to(torch.bfloat16).save_pretrained(draft)
    shutil.copymode(draft / "config.json", draft / "model.safetensors")
    card |= {"weights": weights_hash(draft), "torch": torch.__version__, "machine": platform.machine()}
    card["instructions"] = torch.backends.cpu.get_cpu_capability()
    write_text(draft / CARD, json.dumps(card, indent=1) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
