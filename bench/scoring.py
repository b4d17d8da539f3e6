"""Speed of preference scores against the text-classification pipeline of transformers: one exported preference model,
the same pairs, in one run.

    python bench/scoring.py [--pairs 24] [--size 6M] [--vocab 4000] [--threads 1]

What is counted are pairs a second, from text to two scores. The pipeline runs as it is called plainly (one text at a
time), and in batches of several sizes on texts sorted by length; its texts are put together beforehand, Truing's while
the clock runs. In fp32 the scores of both sides must be the same to 1e-4; in bf16 it is said by how much they differ.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from data import Pair, make_models, pairs
from transformers import pipeline

import truing
from truing.model.vocab import EOC
from truing.records import Answer, Example, Judgement, Message
from truing.settings import Machine

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES = (1, 4, 16)  # 1 is what the pipeline does unasked
LEARNT = 16  # pairs from which the preference model learns: scores that are all zero would compare nothing
Scores = list[float]


def example(pair: Pair) -> Example:
    answers = Answer(pair.chosen.strip()), Answer(pair.rejected.strip())
    return Example((Message("user", pair.prompt),), answers, (Judgement("order", (0, 1)),))


def preference_model(folder: Path, found: Sequence[Pair], size: str, vocab: int, machine: dict[str, Any]) -> str:
    """Trained for two steps and exported: an ordinary folder that both sides load."""
    policy, _ = make_models(folder, found, size, vocab)
    learn, where = {"lr": 1e-3, "batch": LEARNT // 2}, {"folder": str(folder / "runs")}
    run = truing.pm(policy, [example(p) for p in found[:LEARNT]], held_out=0, optim=learn, machine=machine, run=where)
    return str(run.model)


def ours(engine: Any, examples: Sequence[Example]) -> Scores:
    return [float(score.reward) for scores in engine.score(examples) for score in scores]


def theirs(pipe: Any, texts: Sequence[str], batch: int) -> Scores:
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]) if batch > 1 else i)
    told = pipe([texts[i] for i in order], batch_size=batch, function_to_apply="none")
    found = dict(zip(order, (one["score"] for one in told)))
    return [found[i] for i in range(len(texts))]


def whole(tokenizer: Any, one: Example, answer: Answer) -> str:
    talk = [*one.prompt, Message("assistant", answer.text)]
    said = [{"role": m.role, "content": m.content} for m in talk if isinstance(m, Message)]
    return str(tokenizer.apply_chat_template(said, tokenize=False)) + EOC


def measure(model: str, examples: Sequence[Example], dtype: str, threads: int, repeats: int = 2) -> dict[str, Any]:
    """Pairs a second of each side, the best of so many repeats, and by how much their scores differ."""
    # Processor time, not wall time, when threads are fewer than cores: a busy machine then tells the same ratio.
    clock = time.process_time if threads == 1 else time.perf_counter
    engine: Any = truing.load(model, Machine(dtype, threads))  # type: ignore[arg-type]
    pipe = pipeline("text-classification", model=model, device="cpu", dtype=DTYPES[dtype])
    texts = [whole(pipe.tokenizer, one, answer) for one in examples for answer in one.answers]
    expected = ours(engine, examples)
    off = 0.0

    def speed(side: Callable[[], Scores]) -> float:
        nonlocal off
        best = 0.0
        for _ in range(repeats):
            begin = clock()
            scores = side()
            best = max(best, len(examples) / (clock() - begin))
            off = max(off, *(abs(a - b) for a, b in zip(scores, expected, strict=True)))
        return best

    rate = speed(lambda: ours(engine, examples))
    rates = {batch: speed(lambda b=batch: theirs(pipe, texts, b)) for batch in BATCHES}  # type: ignore[misc]
    assert dtype == "bf16" or off < 1e-4, f"the scores differ by {off}"
    ratios = {"plain": rate / rates[1], "best": rate / max(rates.values())}
    return {"ours": rate, "pipeline, by batch size": rates, "ratio to": ratios, "scores differ by": off}


def lengths(model: str, examples: Sequence[Example]) -> dict[str, float]:
    groups, _ = truing.load(model, Machine("fp32", 1)).encode(examples)  # type: ignore[attr-defined]
    answers = [len(answer) for group in groups for answer in group.answers]
    return {"prompt": sum(len(g.prompt) for g in groups) / len(groups), "answer": sum(answers) / len(answers)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--size", default="6M")
    parser.add_argument("--vocab", type=int, default=4000)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    source, found = pairs()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        model = preference_model(Path(folder), found, args.size, args.vocab, {"dtype": "fp32", "threads": args.threads})
        examples = [example(pair) for pair in found[LEARNT : LEARNT + args.pairs]]
        result = {dtype: measure(model, examples, dtype, args.threads) for dtype in DTYPES}
        tokens = lengths(model, examples)
    across = result["bf16"]["ours"] / result["fp32"]["pipeline, by batch size"][1]
    about = {"source": source, "model": f"{args.size}, {args.vocab} tokens", "pairs": args.pairs, "tokens": tokens}
    print(json.dumps({**about, **result, "bf16 to plain fp32": across}, indent=1))


if __name__ == "__main__":
    main()
