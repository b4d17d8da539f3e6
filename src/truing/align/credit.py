"""What every training answer is worth before training begins: its reward R, the value V of its prompt, A = R − V.

All three are constants of the data, the judges and the reference model, and are kept by content. What an answer has to
be worth more than is what the model would say itself: answers with A ≤ 0 are left over, and dropped (Baheti et al.,
arXiv 2305.14718: a third of the chosen answers of HH).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from truing.align.rewards import Rewards, as_text
from truing.align.values import Fitted, Tested, Value, fit, prompt_states
from truing.batch import Group
from truing.data import Cache, Draws, Order, split
from truing.engine.local import LocalEngine
from truing.model.text import Codec
from truing.records import Example, Judgement, Prompt, Sampling, UserError, fingerprint
from truing.run.checkpoint import write_text

Sampler = Literal["uniform", "filter", "corrected", "priority"]
FILE, SHOWN, BARS = "advantages.json", 20, 40


class Credited(NamedTuple):
    """The answers that are left, what each is worth, and how many there were."""

    pools: list[list[Group]]
    worth: list[list[float]]
    of: int

    @property
    def kept(self) -> int:
        return sum(map(len, self.pools))


class Credit:
    """Rewards and values for one run. `apart` are the examples whose prompts the value is learnt from."""

    def __init__(self, engine: LocalEngine, rewards: Rewards | None, settings: Value, cache: Path, seed: int) -> None:
        self.engine, self.rewards, self.settings, self.cache, self.seed = engine, rewards, settings, cache, seed
        self.apart: list[Example] = []
        self.columns: list[np.ndarray] = []  # what each judge said of the answers to learn from
        self.test = Tested()

    def set_apart(self, examples: Sequence[Example]) -> tuple[list[Example], Counter[str]]:
        """Those to learn from; whole conversations go to the other side."""
        share = self.settings.prompts
        parts = split(examples, {"value": share, "learnt": 1 - share}, self.seed)
        self.apart += parts["value"]
        return parts["learnt"], Counter({"set_apart_for_the_value": len(parts["value"])})

    def rated(self, examples: Sequence[Example], raw: bool = False) -> list[Example]:
        """With a reward for each answer: what the judges say, or what the data have. Answers that nobody has
        ordered are ranked by it. `raw` ranks all by it, and leaves the scores of preference models as they are."""
        if self.rewards is None:
            return [_with(example, _own(example), raw) for example in examples]
        rewards = self.rewards
        if raw:
            rewards = replace(rewards, parts=[p._replace(squash=False, bounds=None) for p in rewards.parts])
        self.columns += (values := rewards.of(examples))
        totals = map(rewards.total, values)
        return [_with(example, total.tolist(), raw) for example, total in zip(examples, totals)]

    def baseline(self, groups: Sequence[Group]) -> None:
        """The value of each prompt, beside its answers."""
        key = {
            "what": "value and its test",
            "model": self.engine.fingerprint,
            "codec": self.engine.codec.hash,
            "rewards": self.rewards.fingerprint if self.rewards else None,
            "settings": asdict(self.settings),
            "seed": self.seed,
            "apart": [fingerprint([e.id, dict(e.meta)]) for e in self.apart],
        }
        prompts = {fingerprint(g.prompt): g.prompt for g in groups}
        names = list(prompts)

        def ask(positions: list[int]) -> list[dict[str, np.ndarray]]:
            values = self.value(prompt_states(self.engine, [prompts[names[p]] for p in positions]))
            return [{"value": np.array([v]), "test": np.array(self.value.test)} for v in values]

        found = dict(zip(names, Cache(self.cache, key).fetch(names, ask)))
        self.test = Tested(*(float(v) for v in found[names[0]]["test"]))
        for group in groups:
            group.per_answer["baseline"] = [float(found[fingerprint(group.prompt)]["value"][0])] * len(group.answers)

    @cached_property
    def value(self) -> Fitted:
        """Learnt from what the reference says to the prompts that were set apart."""
        if self.rewards is None:
            raise UserError("value: the model's own answers have to be judged: name judges with --rewards.")
        few = self.settings
        asked = {e.prompt: e for e in self.apart if self._fits(e.prompt)}
        prompts = list(asked)
        if len(asked) < len(every := {e.prompt for e in self.apart}) / 2:
            raise UserError(
                f"value.max_tokens: {len(every) - len(asked)} of {len(every)} prompts leave no room for answers of "
                f"{few.max_tokens} tokens; take fewer, or raise data.max_tokens."
            )
        sampling = Sampling(
            n=1 if few.greedy else few.samples,
            max_tokens=few.max_tokens,
            temperature=0.0 if few.greedy else 1.0,
            seed=self.seed,
        )
        texts = as_text(self.engine.sample(prompts, sampling), list(asked.values()))
        targets = [float(self.rewards.total(values).mean()) for values in self.rewards.of(texts)]
        states = prompt_states(self.engine, [self.engine.codec.prompt_ids(p, room=few.max_tokens) for p in prompts])
        return fit(states, targets, few, self.rewards.bounds, self.seed)

    def _fits(self, prompt: Prompt) -> bool:
        try:
            return bool(self.engine.codec.prompt_ids(prompt, room=self.settings.max_tokens))
        except UserError:
            return False


def left_over(pools: Sequence[Sequence[Group]], by: Literal["advantage", "reward"]) -> Credited:
    """The answers that are worth more than nothing: A > 0, or R > 0 (no reward may be below)."""
    worth = [[_worth(group, by) for group in pool] for pool in pools]
    every = [w for pool in worth for w in pool]
    if by == "reward" and min(every) < 0:
        raise UserError(
            f"rewards: the lowest is {min(every):.3g}; answers are drawn in proportion to rewards, and none may be "
            "below 0. Squash or shift them, or take a method with a baseline."
        )
    kept = [[g for g, w in zip(pool, values) if w > 0] for pool, values in zip(pools, worth)]
    if not any(kept):
        raise UserError(
            f"nothing is left to learn from: none of {len(every)} answers has {by} above 0 (the highest is "
            f"{max(every):.3g}). What the model says itself is judged to be as good; take other data or another judge."
        )
    positive = [[w for w in values if w > 0] for values in worth]
    pairs = [(pool, values) for pool, values in zip(kept, positive) if pool]
    return Credited([pool for pool, _ in pairs], [values for _, values in pairs], len(every))


def drawn(credited: Credited, sampler: Sampler, weights: Sequence[float] | None, seed: int) -> Order | Draws:
    """In which order, or how often, answers are learnt from. Corrected, an answer that comes twice as often counts half
    as much: the gradient is that of the uniform order, and each draw carries as much of it."""
    if sampler in ("uniform", "filter"):
        return Order([len(pool) for pool in credited.pools], weights, seed)
    if weights:
        raise UserError(
            f"data.weights and sampler {sampler} both say how often an answer is drawn: take --sampler filter, or no "
            "weights."
        )
    if sampler == "corrected":
        mean = float(np.mean([w for values in credited.worth for w in values]))
        for pool, values in zip(credited.pools, credited.worth):
            for group, worth in zip(pool, values):
                group.per_answer["undrawn"] = [mean / worth]
    return Draws(credited.worth, seed)


def write_advantages(folder: Path, groups: Sequence[Group], codec: Codec) -> dict[str, Any]:
    """How they are distributed, and the best and the worst to read."""
    rows = sorted(groups, key=lambda group: -_worth(group, "advantage"))
    advantages = np.array([_worth(group, "advantage") for group in rows])

    def read(group: Group) -> dict[str, Any]:
        values = {"R": group.per_answer["reward"][0], "V": group.per_answer["baseline"][0]}
        return {"prompt": codec.decode(group.prompt), "answer": codec.decode(group.answers[0]), **values}

    counts, edges = np.histogram(advantages, bins=BARS)
    found = {
        "answers": len(rows),
        "kept": float((advantages > 0).mean()),
        "mean": float(advantages.mean()),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "ids": [group.id for group in rows],
        "A": [round(float(a), 5) for a in advantages],
        "best": [read(group) for group in rows[:SHOWN]],
        "worst": [read(group) for group in rows[: -SHOWN - 1 : -1]],
    }
    write_text(folder / FILE, json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    return found


def _worth(group: Group, by: str) -> float:
    reward = group.per_answer["reward"][0]
    return reward - group.per_answer["baseline"][0] if by == "advantage" else reward


def _own(example: Example) -> list[float]:
    """What the data say: the answers' rewards, or their scores."""
    for values in ([a.reward for a in example.answers], *(j.value for j in example.judgements if j.kind == "scores")):
        if len(values) == len(example.answers) and None not in values:
            return [float(value) for value in values]
    raise UserError(
        "rewards: an answer has none: name judges with --rewards (world:gold, a preference model, …), or give data "
        "whose answers have scores."
    )


def _with(example: Example, rewards: list[float], ranked: bool) -> Example:
    """Which answer is best the data say, where they do: a method with rewards shall have no other answers to learn from
    than one without. `ranked`: the rewards say it in any case."""
    answers = tuple(replace(a, reward=r) for a, r in zip(example.answers, rewards))
    if not ranked and example.ranks() is not None:
        return replace(example, answers=answers)
    return replace(example, answers=answers, judgements=(Judgement("scores", tuple(rewards)),) if answers[1:] else ())
