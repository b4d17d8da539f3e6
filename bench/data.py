"""What both sides of the bench are fed: comparisons as token ids in one fixed order, and small models to train.

Rows come from HH-RLHF files beside the repository (`../shared/data/hh`) where there are any, else from a generator with
a similar spread of lengths. Every row is tokenised here, once; neither side ever sees text.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from truing.model.make import SIZES, make_model, make_tokenizer

HH = Path(__file__).resolve().parents[2] / "shared" / "data" / "hh"
ASSISTANT, HUMAN = "\n\nAssistant:", "\n\nHuman:"
WARMUP = 1  # steps that are run but not timed
LONGEST = 1024  # tokens of prompt and answer: where TRL cuts by default. Few rows are longer, and those are left out


class Pair(NamedTuple):
    prompt: str
    chosen: str
    rejected: str


Row = dict[str, list[int]]


def pairs() -> tuple[str, list[Pair]]:
    """Where the comparisons come from, and the comparisons in a fixed shuffled order."""
    files = sorted(HH.glob("*.jsonl.gz"))
    if files:
        found = [pair for file in files for pair in _read(file)]
        name = "HH-RLHF, " + " and ".join(file.name.removesuffix(".jsonl.gz") for file in files)
    else:
        found, name = list(_synthetic(3000)), "synthetic comparisons"
    random.Random(0).shuffle(found)
    return name, found


def _read(file: Path) -> Iterator[Pair]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            if "prefix" in record:  # ranked lists: the first answer is the preferred one
                turns = "".join(record["prefix"][0])
                prompt = turns.replace("<|prompter|>", f"{HUMAN} ").replace("<|assistant|>", ASSISTANT)
                pair = Pair(prompt, *(f" {answer.strip()}" for answer in record["suffix"][:2]))
            else:
                chosen, rejected = (record[side].rpartition(ASSISTANT) for side in ("chosen", "rejected"))
                if chosen[0] != rejected[0]:  # the transcripts part before the last answer: not one prompt
                    continue
                pair = Pair(chosen[0] + ASSISTANT, chosen[2], rejected[2])
            if pair.chosen.strip() and pair.rejected.strip():
                yield pair


def _synthetic(count: int) -> Iterator[Pair]:
    """Words by Zipf's law; lengths of prompts and answers log-normal, as in real comparisons."""
    rng = random.Random(0)
    syllables = [c + v + end for c in "bdfgklmnprstvz" for v in "aeiou" for end in ("", "n", "r", "s")]
    words = ["".join(rng.choices(syllables, k=rng.choice((1, 2, 2, 3)))) for _ in range(20_000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]

    def text(median: float, shortest: int, longest: int) -> str:
        length = min(max(rng.lognormvariate(math.log(median), 0.8), shortest), longest)
        return " " + " ".join(rng.choices(words, weights, k=round(length)))

    for _ in range(count):
        yield Pair(HUMAN + text(70, 15, 220) + ASSISTANT, text(30, 4, 110), text(30, 4, 110))


def tokenise(found: Sequence[Pair], tokenizer: PreTrainedTokenizerBase) -> list[Row]:
    """Prompt and answers tokenised apart, the end marker after each answer; rows longer than LONGEST are left out."""

    def ids(texts: list[str]) -> list[list[int]]:
        return tokenizer(texts, add_special_tokens=False)["input_ids"]

    columns = zip(*(ids([pair[i] for pair in found]) for i in range(3)))
    end = [tokenizer.eos_token_id]
    rows = [{"prompt_ids": p, "chosen_ids": c + end, "rejected_ids": r + end} for p, c, r in columns]
    return [row for row in rows if _length(row) <= LONGEST]


def _length(row: Row) -> int:
    return len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def given(rows: Sequence[Row], steps: int, batch: int) -> list[Row]:
    """The rows of a run, warm-up included, in the order that was drawn."""
    need = (WARMUP + steps) * batch
    if len(rows) < need:
        raise SystemExit(f"{steps} steps of {batch} need {need} rows, and there are {len(rows)}.")
    return list(rows[:need])


def grouped(rows: Sequence[Row], batch: int) -> list[Row]:
    """The same rows with alike lengths in one batch: the most that length grouping can do. Warm-up stays as it is."""
    first, rest = list(rows[: WARMUP * batch]), sorted(rows[WARMUP * batch :], key=_length)
    batches = [rest[i : i + batch] for i in range(0, len(rest), batch)]
    random.Random(0).shuffle(batches)
    return first + [row for rows_of_batch in batches for row in rows_of_batch]


def with_lengths(rows: Sequence[Row], answers: int = 8) -> list[Row]:
    """Prompts to sample from, each with how many tokens its answers shall have: spread evenly from 8 to 128."""
    rng = random.Random(0)
    return [{"prompt_ids": row["prompt_ids"], "lengths": [rng.randint(8, 128) for _ in range(answers)]} for row in rows]


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_models(folder: Path, found: Sequence[Pair], size: str, vocab: int) -> tuple[Path, Path]:
    """A language model and a preference model of this size, its head seeded too, under `folder`; made once."""
    policy, preference = folder / f"{size}-{vocab}", folder / f"{size}-{vocab}-pm"
    if not policy.exists():
        tokenizer: Any = make_tokenizer((text for pair in found for text in pair), vocab)
        make_model(policy, tokenizer, vocab=vocab, **SIZES[size])
    if not preference.exists():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1, dtype=torch.float32)
        model.save_pretrained(preference)
        AutoTokenizer.from_pretrained(policy).save_pretrained(preference)
    return policy, preference
