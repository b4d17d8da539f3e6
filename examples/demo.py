"""A model made on the spot learns to answer, in about a minute on a laptop: real training, nothing downloaded.

It reads some thousand small sums and capitals, trains on them with `truing sft`, and is asked questions it was trained
on and sums it has never seen, before and after. The report is in runs/demo/report.html.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

import truing
from truing.commands.report import write_report
from truing.model.make import make_model, make_tokenizer
from truing.records import Answer, Example, Message

CAPITALS = {
    "France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Norway": "Oslo", "Japan": "Tokyo", "Peru": "Lima",
    "Egypt": "Cairo", "Kenya": "Nairobi", "Cuba": "Havana", "Iraq": "Baghdad", "Nepal": "Kathmandu", "Ghana": "Accra",
}  # fmt: skip
WHERE = Path("runs/demo")


def question(text: str, answer: str) -> Example:
    return Example((Message("user", text),), (Answer(answer),))


def lessons() -> tuple[list[Example], list[Example]]:
    """(to train on, sums held out)."""
    sums = [question(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.") for a, b in product(range(30), repeat=2)]
    Random(0).shuffle(sums)
    capitals = [question(f"What is the capital of {c}?", f"The capital of {c} is {t}.") for c, t in CAPITALS.items()]
    return sums[60:] + 10 * capitals, sums[:60]


def ask(model: str, examples: list[Example]) -> list[str]:
    engine = truing.load(model)
    answers = engine.sample([e.prompt for e in examples], truing.Sampling(temperature=0, max_tokens=24))
    return [example.answers[0].text for example in answers]


def main() -> None:
    console = Console()
    train, held_out = lessons()
    shutil.rmtree(WHERE, ignore_errors=True)
    texts = [m.text for e in train for m in e.prompt if isinstance(m, Message)] + [e.answers[0].text for e in train]
    base = make_model(WHERE / "base", make_tokenizer(texts, 400), hidden=128, layers=2, heads=4, context=128)
    run = truing.sft(
        base,
        train,
        optim={"lr": 3e-3, "epochs": 25, "batch": 64, "warmup": 0.1},
        watch={"every": 60},
        run={"name": "sft", "folder": WHERE},
    )
    asked = [e for e in train if "capital" in str(e.prompt)][:3] + held_out
    before, after = ask(str(base), asked[:6]), ask(run.model, asked)
    table = Table("asked", "before", "after", title="The same model, before and after")
    for example, old, new in zip(asked[:6], before, after):
        prompt = example.prompt[0]
        table.add_row(prompt.text if isinstance(prompt, Message) else prompt, old[:40], new)
    console.print(table)
    right = sum(e.answers[0].text == said for e, said in zip(held_out, after[3:]))
    console.print(f"sums it has never seen: {right} of {len(held_out)} right")
    console.print(f"report: {write_report(run.folder, out=WHERE / 'report.html')}")


if __name__ == "__main__":
    main()
