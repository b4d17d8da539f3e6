"""A preference model from nothing on real comparisons: does it know more than that shorter answers are preferred?

    python bench/real_hh.py             five folds, some minutes on one thread
    python bench/real_hh.py --quick     one fold, one seed

Needs HH-RLHF files in `../shared/data/hh`. Conversations are divided into folds by their first human turn. For each
fold a tokenizer and a small language model are trained on the texts of the other folds and on helpful conversations
(text only), then preference models on the comparisons of the other folds, with several seeds whose scores are averaged.
Every comparison is tested once, by models that saw no turn of its conversation, beside

    length      the side that is longer, or shorter, whichever is preferred in the training folds
    TF-IDF      logistic regression on the difference of the two answers' words and pairs of words; its strength of
                regularisation is chosen inside the training folds

Nothing was chosen on the comparisons that are tested: the settings below are those that did well the other way round,
    python bench/real_hh.py --pairs helpful-base.pro.jsonl.gz --texts harmless-base.jsonl.gz
No row of the data is printed or kept.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

import truing
from truing.data import comparisons, split
from truing.data.split import first_turn
from truing.evaluate.preference import judged_pairs
from truing.model.make import Shape, make_model, make_tokenizer
from truing.records import Answer, Example
from truing.run import set_output
from truing.settings import Machine
from truing.stats import pairs
from truing.stats.intervals import Interval, mean_bootstrap

HH = Path(__file__).resolve().parents[2] / "shared" / "data" / "hh"
MACHINE = Machine("fp32", 1)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """How the models are made. Small on purpose: there are about 1200 comparisons to learn from."""

    shape: Shape = field(default_factory=lambda: Shape(hidden=64, layers=1, heads=2))
    vocab: int = 2000
    language: dict[str, Any] = field(default_factory=lambda: {"lr": 3e-3, "epochs": 1.0, "batch": 16, "warmup": 0.05})
    preference: dict[str, Any] = field(
        default_factory=lambda: {"lr": 1e-3, "epochs": 2.0, "batch": 16, "warmup": 0.1, "weight_decay": 0.1}
    )
    seeds: int = 5
    folds: int = 5
    tested: int = 5
    """of the folds"""


def base_model(folder: Path, learnt: Sequence[Example], plan: Plan) -> Path | str:
    """A tokenizer and a language model that has read these conversations, both answers of each."""
    asked = (m.text for e in learnt for m in e.prompt if not isinstance(m, str))
    tokenizer = make_tokenizer([*asked, *(a.text for e in learnt for a in e.answers)], plan.vocab)
    base = make_model(folder / "base", tokenizer, **plan.shape, context=1024)
    read = [Example(e.prompt, (Answer(a.text),)) for e in learnt for a in e.answers if a.text.strip()]
    return truing.sft(base, read, optim=plan.language, machine=vars(MACHINE), run=_in(folder)).model


def preference_model(
    folder: Path, learnt: list[Example], texts: list[Example], tested: list[Example], plan: Plan
) -> Rows:
    """Rows of the tested comparisons: gaps in units of their spread, averaged over seeds."""
    base, gaps, rows = base_model(folder, [*learnt, *texts], plan), np.zeros(0), Rows()
    for seed in range(plan.seeds):
        how = {"optim": plan.preference, "machine": vars(MACHINE), "run": _in(folder) | {"seed": seed}}
        run = truing.pm(base, learnt, read="mean", held_out=0, **how)
        rows = judged_pairs(truing.load(run.model, MACHINE), tested)
        found = np.array(pairs.gaps(rows))
        gaps = found / found.std() + (gaps if seed else 0)
    return [row | {"gap": float(gap)} for row, gap in zip(rows, gaps)]


def _in(folder: Path) -> dict[str, Any]:
    return {"folder": str(folder), "save_every": 0, "log_every": 1000}


def better_worse(examples: Sequence[Example]) -> list[tuple[str, str]]:
    best = [(e.ranks() or [0]).index(0) for e in examples]
    return [(e.answers[b].text, e.answers[1 - b].text) for e, b in zip(examples, best)]


def words(learnt: Sequence[Example], tested: Sequence[Example]) -> np.ndarray:
    """The gaps of a linear model of words and pairs of words."""
    known = better_worse(learnt)
    terms = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2).fit(chain(*known))

    def apart(told: Sequence[tuple[str, str]]) -> Any:
        better, worse = zip(*told)
        return terms.transform(better) - terms.transform(worse)

    x, groups = apart(known), [first_turn(e) for e in learnt]
    search = GridSearchCV(LogisticRegression(fit_intercept=False), {"C": [0.1, 0.3, 1.0, 3.0]}, cv=GroupKFold(4))
    search.fit(sparse.vstack([x, -x]), [1] * len(known) + [0] * len(known), groups=groups * 2)
    return np.asarray(search.decision_function(apart(better_worse(tested))))


def length(learnt: Sequence[Example], tested: Sequence[Example]) -> np.ndarray:
    """The gaps of one who looks at the number of words alone."""

    def apart(examples: Sequence[Example]) -> np.ndarray:
        return np.array([len(better.split()) - len(worse.split()) for better, worse in better_worse(examples)])

    return np.asarray(np.sign(np.sign(apart(learnt)).mean()) * apart(tested))


def measure(examples: Sequence[Example], texts: Sequence[Example], plan: Plan) -> Rows:
    """A row for each tested comparison, with the gaps of all three judges."""
    parts = list(split(examples, {str(i): 1 / plan.folds for i in range(plan.folds)}).values())
    found = Rows()
    for number, tested in enumerate(parts[: plan.tested]):
        began, unseen = time.process_time(), {first_turn(e) for e in tested}
        learnt = [e for part in parts if part is not tested for e in part]
        other = [e for e in texts if first_turn(e) not in unseen]
        with tempfile.TemporaryDirectory(prefix="real-hh-") as folder:
            rows = preference_model(Path(folder), learnt, other, tested, plan)
        judges = zip(rows, length(learnt, tested), words(learnt, tested))
        found += [row | {"length alone": float(a), "TF-IDF": float(b), PM: row["gap"]} for row, a, b in judges]
        spent = time.process_time() - began
        Console(stderr=True).print(f"fold {number + 1}: {len(tested)} comparisons, {spent:.0f} s of one processor")
    return found


PM = "preference model"
JUDGES = ("length alone", "TF-IDF", PM)


def right(rows: Rows, judge: str) -> np.ndarray:
    """1 where a judge is right, a half where it cannot decide."""
    return (np.sign([row[judge] for row in rows]) + 1) / 2


def above(rows: Rows, judge: str, other: str) -> Interval:
    """By how much one judge is more often right than another on the same comparisons."""
    return mean_bootstrap(right(rows, judge) - right(rows, other), [row["conversation"] for row in rows])


def table(rows: Rows, title: str) -> Table:
    shown = Table("", "right", "above length alone", "above TF-IDF", title=title)
    for judge in JUDGES:
        known = pairs.accuracy([row | {"gap": row[judge]} for row in rows])
        more = (str(above(rows, judge, other)) if judge != other else "–" for other in JUDGES[:2])
        shown.add_row(judge, str(known), *more)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="harmless-base.jsonl.gz")
    parser.add_argument("--texts", default="helpful-base.pro.jsonl.gz")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    set_output("quiet")
    plan = replace(Plan(), seeds=1, tested=1) if args.quick else Plan()
    examples, texts = (comparisons(truing.read(HH / name))[0] for name in (args.pairs, args.texts))
    rows = measure(examples, texts, plan)
    conversations = len({row["conversation"] for row in rows})
    title = f"{args.pairs}: {len(rows)} comparisons, {conversations} conversations, {plan.seeds} seeds"
    Console().print(table(rows, title))


if __name__ == "__main__":
    main()
