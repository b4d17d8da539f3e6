"""What a stage of the demo reports: gold values with intervals, what a preference model says of pairs, and what the
best of k answers are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from truing.align.bestofn import best_of_weights
from truing.engine.base import Asking
from truing.records import Answer, Example, Sampling
from truing.stats.intervals import mean_t, wilson
from truing.world.corpora import prompts
from truing.world.grammar import pretty
from truing.world.judge import gold, read
from truing.world.language import KIND, request_in
from truing.world.town import Town

Found = dict[str, Any]
LONGEST = 48  # tokens of an answer
SCORES = ("reward", "gold")

VALUES = {  # what is reported, and over which requests
    "helpful": ("harmless requests", lambda nature: nature != "harm"),
    "honest": ("requests with a truth", lambda nature: nature in ("task", "unknown", "claim", "message")),
    "harmless": ("harmful requests and traps", lambda nature: nature in ("harm", "message")),
}


def evaluated(town: Town, who: str, examples: Sequence[Example]) -> Found:
    """Gold values of one answer to each held-out question, with intervals, and the answers themselves."""
    rows: list[dict[str, Any]] = []
    for example in examples:
        request = request_in(town, example.prompt)
        answer = example.answers[0]
        value = asdict(gold(town, example.prompt, answer.text))
        rows.append(
            {
                "prompt": pretty(example.prompt[-1].text),  # type: ignore[union-attr]
                "answer": answer.text,
                "reward": answer.reward,
                "kind": request.kind if request else None,
                "nature": request.nature if request else None,
                "gold": {name: round(v, 3) for name, v in value.items()},
            }
        )
    numbers = {
        name: {"of": of} | share([r["gold"][name] for r in rows if counts(r["nature"])])
        for name, (of, counts) in VALUES.items()
    }
    return {"who": who, "numbers": numbers, "answers": rows}


def capabilities(town: Town, engine: Asking, seed: int, count: int = 120) -> dict[str, list[bool]]:
    """skill: which of its held-out requests (so many, or all there are) the likeliest answer solves."""
    right = {}
    for kind in KIND.values():
        if kind.skill:
            asked = [e.prompt for e in prompts(town, count, seed, held=True, kinds=[kind.name])]
            asked = [p for p in asked if (r := request_in(town, p)) and r.nature not in ("unknown", "harm")]
            told = engine.sample(asked, Sampling(max_tokens=LONGEST, temperature=0)) if asked else []
            right[kind.skill] = [read(town, e.prompt, e.answers[0].text).verdict.solved > 0.6 for e in told]
    return right


def ordered(pair: Example) -> tuple[Answer, Answer]:
    """The preferred answer, and the other."""
    first = pair.judgements[-1].value[0] == 0
    return (pair.answers[0], pair.answers[1]) if first else (pair.answers[1], pair.answers[0])


def margins(judge: Asking, pairs: Sequence[Example]) -> list[float]:
    """Reward of the preferred answer minus reward of the other."""
    scores = judge.score([replace(pair, answers=ordered(pair), judgements=()) for pair in pairs])
    return [(best.reward or 0.0) - (other.reward or 0.0) for best, other in scores]


def best_of_curve(town: Town, rated: Sequence[Example]) -> list[dict[str, Any]]:
    """What the best of k is worth, to the preference model and in truth, for every k that is a power of two; each is
    the mean over all subsets of k of the answers there are. `gained` is against one answer to the same question."""
    n, values = len(rated[0].answers), _worth(town, rated)
    points = []
    for k in (2**i for i in range(n.bit_length())):
        best = {name: value @ best_of_weights(n, k) for name, value in values.items()}
        gained = {f"{name} gained": interval(best[name] - value.mean(1)) for name, value in values.items()}
        points.append({"k": k, **{name: interval(value) for name, value in best.items()}, **gained})
    return points


def typical(town: Town, rated: Sequence[Example]) -> list[tuple[float, float]]:
    """Mean reward and mean gold of the answers to each question."""
    reward, worth = (value.mean(1).round(4).tolist() for value in _worth(town, rated).values())
    return list(zip(reward, worth))


def _worth(town: Town, rated: Sequence[Example]) -> dict[str, np.ndarray]:
    """[questions, answers] to the preference model, and in truth."""
    return {
        "reward": np.array([[a.reward for a in e.answers] for e in rated], dtype=float),
        "gold": np.array([[gold(town, e.prompt, a.text).overall for a in e.answers] for e in rated]),
    }


def interval(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    found = mean_t(values)
    return {"mean": found.estimate, "low": found.low, "high": found.high, "n": found.n}


def share(values: Sequence[float]) -> dict[str, float]:
    """The mean of values in [0, 1] with Wilson's interval: they vary at most as much as coins with that mean do, so it
    is wide enough, and it does not shrink to nothing where all of a few values are 1."""
    found = wilson(sum(values), len(values))
    return {"mean": found.estimate, "low": found.low, "high": found.high, "n": found.n}


def with_rewards(judge: Asking, examples: Sequence[Example]) -> list[Example]:
    """With the preference model's rewards, worst answer first."""
    found = []
    for example, scores in zip(examples, judge.score(examples)):
        answers = [replace(a, reward=s.reward) for a, s in zip(example.answers, scores)]
        found.append(replace(example, answers=tuple(sorted(answers, key=lambda a: float(a.reward or 0)))))
    return found


def in_words(found: Found) -> str:
    """What a stage found, in a few lines for the terminal."""
    said = [f"   “{row['prompt']}” → “{row['answer']}”" for row in found.get("answers", ())[:3]]
    for name, v in found.get("numbers", {}).items():
        value = f"{v['mean']:.2f} [{v['low']:.2f}, {v['high']:.2f}]" if isinstance(v, dict) else f"{v:.2f}"
        said.append(f"   {name}: {value}")
    for way in found.get("ways", ()):
        gained = ", ".join(f"{name} {{mean:+.3f}} [{{low:+.3f}}, {{high:+.3f}}]".format(**way[name]) for name in SCORES)
        said.append(f"   {way['who']} gains {gained}")
    counts = ", ".join(f"{count} {name}" for name, count in found.get("counts", {}).items())
    return "\n".join([*said, f"   {counts}"] if counts else said)
