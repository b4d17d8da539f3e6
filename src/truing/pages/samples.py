"""What the model said: by prompt, so that answers early and late, and of different runs, stand beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from truing.pages.charts import number
from truing.pages.escape import esc
from truing.run import RunView

MOST_PROMPTS = 12


def samples_section(runs: Sequence[RunView], names: Sequence[str]) -> str:
    """The prompts of the last samples: what one run said the first time and the last, or what several said at last."""
    asked: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for run, name in zip(runs, names):
        for sample in _first_and_last(run.samples) if len(runs) == 1 else _last(run.samples):
            asked.setdefault(json.dumps(sample.get("prompt")), []).append((name, sample))
    if not asked:
        return ""
    cards = [
        _card(json.loads(prompt), answers, len(runs) > 1) for prompt, answers in list(asked.items())[:MOST_PROMPTS]
    ]
    left = len(asked) - len(cards)
    note = f'<p class="note">{left} more prompts are in samples.jsonl.</p>' if left else ""
    return f"<h2>Samples</h2>{''.join(cards)}{note}"


def _last(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [sample for sample in samples if sample["step"] == samples[-1]["step"]]


def _first_and_last(samples: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for prompt in dict.fromkeys(json.dumps(sample.get("prompt")) for sample in _last(samples)):
        same = [sample for sample in samples if json.dumps(sample.get("prompt")) == prompt]
        yield from (sample for sample in same if sample["step"] in (same[0]["step"], same[-1]["step"]))


def _card(prompt: Any, answers: Sequence[tuple[str, Mapping[str, Any]]], several: bool) -> str:
    said = "".join(_answer(name if several else "", sample) for name, sample in answers)
    asked = f'<div class="said prompt">{_prompt(prompt)}</div>'
    return f'<article class="sample">{asked}<div class="answers">{said}</div></article>'


def _prompt(prompt: Any) -> str:
    if not isinstance(prompt, list):
        return esc("" if prompt is None else prompt)
    return "".join(f"<b>{esc(turn.get('role', ''))}</b>{esc(_text(turn.get('content', '')))}" for turn in prompt)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(str(part["value"]) if part.get("kind") == "text" else f"[{part.get('kind')}]" for part in content)


def _answer(run: str, sample: Mapping[str, Any]) -> str:
    facts = {k: v for k, v in sample.items() if k not in ("prompt", "answer", "step", "nonfinite") and v is not None}
    words = [f"<b>{esc(run)}</b>"] if run else []
    words += [f"step {esc(sample['step'])}"]
    words += [f"{esc(name)} {esc(number(v) if isinstance(v, int | float) else v)}" for name, v in facts.items()]
    return f'<div><header>{" · ".join(words)}</header><div class="said">{esc(sample.get("answer", ""))}</div></div>'
