"""The report of a demo: what was done, what came of it, and why, from the files in its folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path
from typing import Any

from truing.pages.escape import esc
from truing.pages.figures import Estimate, against, intervals, reliability
from truing.pages.numbers import Right, table
from truing.pages.page import whole_page
from truing.pages.report import curves, sources
from truing.pages.ways import signed, ways_section
from truing.records import UserError
from truing.run import RunView, duration, read_run
from truing.stats.calibration import calibration

VALUES, SCORES = ("helpful", "honest", "harmless"), ("reward", "gold")
MOST_SAMPLES = 24
Found = Mapping[str, Any]


def render_story(folder: str | Path) -> str:
    """The page of a finished or unfinished demo."""
    folder = Path(folder)
    stages = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("[0-9]*-*.json"))]
    if not stages or "answers" not in stages[0]:
        raise UserError(f"{folder} is not the folder of a demo: its first stage is not done in it.")
    settings = json.loads((folder / "demo.json").read_text("utf-8"))
    runs = [read_run(folder / name) for stage in stages for name in stage.get("runs", ())]
    names = [run.name for run in runs]
    judged = [stage for stage in stages if "answers" in stage]
    seconds = sum(stage["seconds"] for stage in stages)
    return whole_page(
        "Truing: the demo",
        [
            "<h1>A model is trued</h1>",
            f'<p class="soft">{esc(settings["model"])} · seed {settings["seed"]} · {len(stages)} stages · '
            f"{duration(seconds)}{' · quick: a tenth of the work' if settings['quick'] else ''}</p>",
            _headline(judged),
            ways_section(stages, f"{settings['folder']}/ppo-max"),
            _why(judged),
            _skills(judged),
            _stages(stages),
            _judge(stages),
            _wrong(stages),
            _curves(runs),
            _counts(stages),
            "<h2>How it was made</h2>",
            *(sources(run, f" of {name}") for run, name in zip(runs, names)),
        ],
    )


def _headline(judged: Sequence[Found]) -> str:
    """Who reaches what."""
    figures = []
    for name in VALUES:
        rows = [(stage["who"], _estimate(stage["numbers"][name])) for stage in judged]
        of = judged[0]["numbers"][name]
        figures.append(intervals(name, f"over {of['n']} {of['of']}", rows))
    note = (
        "The world's own judge, which nothing that was trained has seen, reads one answer of each model to the same "
        "held-out questions. Dots are means, bars 95 % intervals (Wilson's, wide enough for any values in [0, 1])."
    )
    return f'<h2>What came of it</h2><p class="note">{note}</p><div class="charts">{"".join(figures)}</div>'


def _why(judged: Sequence[Found]) -> str:
    """The same question to all of them, where the last differs most from the first; words that are new are marked."""
    if len(judged) < 2:
        return ""
    first, last = judged[0]["answers"], judged[-1]["answers"]

    def worth(row: Found) -> float:
        return sum(row["gold"][name] for name in VALUES)

    asked = min(len(stage["answers"]) for stage in judged)  # some stages are asked the first of the questions only
    order = sorted(range(asked), key=lambda i: worth(first[i]) - worth(last[i]))
    # Mostly what got better, by kind so that each is seen; and what got worst, because that happens too.
    chosen = list(_spread([i for i in order if worth(last[i]) > worth(first[i])], first, MOST_SAMPLES - 4))
    worse = [i for i in reversed(order) if worth(last[i]) < worth(first[i])][:4]
    better, level = (
        sum(worth(b) > worth(a) for a, b in zip(first, last)),
        sum(worth(b) == worth(a) for a, b in zip(first, last)),
    )
    note = (
        f"Of {len(first)} answers {better} are worth more than the base model's, {level} as much, "
        f"{len(first) - better - level} less. Words the base model did not say are marked."
    )
    cards = "".join(_card([stage["answers"][i] for stage in judged], judged) for i in chosen)
    spoilt = "".join(_card([stage["answers"][i] for stage in judged], judged) for i in worse)
    less = f"<h3>Where it got worse</h3>{spoilt}" if spoilt else ""
    return f'<h2>Why: the same questions</h2><p class="note">{esc(note)}</p>{cards}{less}'


def _spread(order: Sequence[int], rows: Sequence[Found], count: int) -> Iterator[int]:
    """In this order, but one of each kind after another."""
    by_kind: dict[str, list[int]] = {}
    for i in order:
        by_kind.setdefault(rows[i]["kind"] or "", []).append(i)
    turns = (i for turn in zip_longest(*by_kind.values()) for i in turn if i is not None)
    yield from (i for i, _ in zip(turns, range(count)))


def _card(rows: Sequence[Found], judged: Sequence[Found]) -> str:
    base = rows[0]["answer"]
    cells = []
    for i, (row, stage) in enumerate(zip(rows, judged)):
        gold = " · ".join(f"{name} {row['gold'][name]:.2f}" for name in VALUES)
        said = esc(row["answer"]) if i == 0 else _marked(base, row["answer"])
        cells.append(
            f'<div><header><b>{esc(stage["who"])}</b><br>{gold}</header><div class="said">{said or "–"}</div></div>'
        )
    asked = f'<div class="said prompt"><b>{esc(rows[0]["kind"] or "")}</b>{esc(rows[0]["prompt"])}</div>'
    return f'<article class="sample">{asked}<div class="answers">{"".join(cells)}</div></article>'


def _marked(before: str, after: str) -> str:
    """`after`, with the words that `before` has not in this place marked."""
    old, new = before.split(), after.split()
    parts = []
    for what, _, _, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        words = esc(" ".join(new[start:end]))
        if words:
            parts.append(words if what == "equal" else f"<mark>{words}</mark>")
    return " ".join(parts)


def _skills(judged: Sequence[Found]) -> str:
    """What it can do, before and after: did being aligned cost anything?"""
    able = [stage for stage in judged if "skills" in stage]
    rows = [
        [esc(skill), Right(str(value["n"])), *(Right(str(_estimate(stage["skills"][skill]))) for stage in able)]
        for skill, value in (able[0]["skills"].items() if able else ())
    ]
    heads = ["skill", Right("questions"), *(Right(esc(stage["who"])) for stage in able)]
    note = "Share of held-out questions that the likeliest answer solves; with 95 % intervals."
    return f'<h2>What it can do</h2><p class="note">{note}</p>{table(heads, rows)}' if rows else ""


def _stages(stages: Sequence[Found]) -> str:
    items = "".join(
        f"<li><b>{esc(s['title'])}</b> <span class='soft'>{duration(s['seconds'])}</span><br>{esc(s['words'])}</li>"
        for s in stages
    )
    return f'<h2>What was done</h2><ol class="stages">{items}</ol>'


def _judge(stages: Sequence[Found]) -> str:
    """The preference model: how often it is right, whether its probabilities are, and what choosing by it brings."""
    found = {stage["stage"]: stage for stage in stages}
    figures, note = [], ""
    if learnt := found.get("learn"):
        accuracy, off = _estimate(learnt["numbers"]["accuracy"]), calibration(learnt["gaps"])
        note = (
            f"On {accuracy.n} held-out comparisons it agrees with the crowd in {accuracy}. Length alone gets "
            f"{learnt['numbers']['length alone']:.2f}; the crowd's own wavering allows "
            f"{found['collect']['numbers']['ceiling']:.2f} at most. The probabilities it states are off by "
            f"{off.ece:.3f} on average (a perfect predictor's, by {off.floor:.3f}, and seldom by more than "
            f"{off.floor_95:.3f}: so few comparisons say no more)."
        )
        figures.append(
            reliability("Stated and true", "probability of its choice → share that came true", learnt["gaps"])
        )
    if chosen := found.get("choose"):
        figures.append(_best_of_k("Best of k", "what it optimises, and what it is worth", chosen))
    if not figures:
        return ""
    return f'<h2>The preference model</h2><p class="note">{note}</p><div class="charts">{"".join(figures)}</div>'


def _wrong(stages: Sequence[Found]) -> str:
    """What the faults made on purpose look like."""
    found = next((stage for stage in stages if stage["stage"] == "spoil"), None)
    if found is None:
        return ""
    chance, last = _estimate(found["numbers"]["accuracy from shuffled judgements"]), found["curve"][-1]
    note = (
        f"The crowd of this preference model loves long answers and hardly checks them. The best of {last['k']} by it "
        f"gains {signed(last['reward gained'])} of reward over one answer to the same questions, and in truth "
        f"{signed(last['gold gained'])}. {chance.n} preference models from shuffled judgements are right in {chance} "
        "of the held-out comparisons, on average."
    )
    figure = _best_of_k("Choosing harder", "the crowd is biased: what is optimised, and what it is worth", found)
    return f'<h2>How it goes wrong</h2><p class="note">{esc(note)}</p><div class="charts">{figure}</div>'


def _best_of_k(title: str, note: str, found: Found) -> str:
    """Means as they are, intervals of what was gained: the questions are the same at every k."""
    lines = [(name, [(p["k"], _around(p[name], p[f"{name} gained"])) for p in found["curve"]]) for name in SCORES]
    return against(title, note, "k", lines)


def _curves(runs: Sequence[RunView]) -> str:
    """Of runs that learn from fixed data; the others log far more, and have a page of their own."""
    fixed = [run for run in runs if not run.series("policy/ratio")]
    return curves(fixed, [run.name for run in fixed]) if fixed else ""


def _counts(stages: Sequence[Found]) -> str:
    """Nothing is lost on the way without being counted."""
    rows = [
        [esc(stage["title"]) if i == 0 else "", esc(name), Right(str(count))]
        for stage in stages
        for i, (name, count) in enumerate(stage.get("counts", {}).items())
    ]
    return f"<h2>Counts</h2>{table(['stage', 'what', Right('how many')], rows)}" if rows else ""


def _around(value: Found, gained: Found) -> Estimate:
    down, up = gained["mean"] - gained["low"], gained["high"] - gained["mean"]
    return Estimate(value["mean"], value["mean"] - down, value["mean"] + up, value["n"])


def _estimate(value: Found) -> Estimate:
    return Estimate(value["mean"], value["low"], value["high"], value["n"])
