"""Any text classifier as a judge: an encoder or a decoder with labels, in a folder or on the hub, `NAME#LABEL`.

What it is given is the answer alone, or, as `NAME#LABEL+prompt`, the prompt and the answer: as a pair of texts where
its tokenizer knows pairs, else with its end-of-text token between them. What it says is the probability of the label:
the sigmoid of its logit where there is one output or labels do not exclude each other, the softmax otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from truing.engine.open import located, model_fingerprint, place
from truing.evaluate.judges import Verdict
from truing.evaluate.rows import Asker
from truing.model.load import load_config, load_tokenizer
from truing.model.vocab import EOC
from truing.records import Example, UserError, fingerprint
from truing.settings import Machine
from truing.spec import ModelSpec

Texts = tuple[str, ...]
BATCH, LONGEST = 32, 512  # texts at a time; tokens of each


@dataclass(frozen=True)
class Classifier:
    """`label` is the number of its output that counts; `both`: it reads the prompt, too."""

    name: str
    fingerprint: str
    model: Any
    tokenizer: Any
    label: int
    both: bool = False

    @classmethod
    def load(cls, text: str, machine: Machine) -> Classifier:
        named, behind, _ = text.partition("+prompt")
        where, _, wanted = named.partition("#")
        spec = ModelSpec.parse(where)
        path = located(spec)
        tokenizer, config = load_tokenizer(path, spec.revision), load_config(path, spec.revision)
        if not (config.architectures or [""])[0].endswith("ForSequenceClassification"):
            raise UserError(f"{text}: not a text classifier; its architecture is {config.architectures}.")
        if EOC in tokenizer.get_added_vocab():
            raise UserError(f"{text}: a preference model compares answers to one prompt; it has no label.")
        label = _label(text, wanted, config.id2label)
        model = AutoModelForSequenceClassification.from_pretrained(
            path, revision=spec.revision, use_safetensors=True, dtype=torch.float32
        )
        model.to(place(machine).device).eval()
        mark = fingerprint([model_fingerprint(spec), label, *([behind] if behind else [])])
        return cls(text, mark, model, tokenizer, label, bool(behind))

    def __call__(self, examples: Sequence[Example], rows: Asker) -> list[list[Verdict]]:
        def ask(texts: list[Texts]) -> list[Mapping[str, Any]]:
            return [{"judge": self.name, "text": t, "value": v} for t, v in zip(texts, self._probabilities(texts))]

        read = [[self._read(e, a.text) for a in e.answers] for e in examples]
        keys = [[fingerprint(["classify", self.fingerprint, *texts]) for texts in row] for row in read]
        wanted = {key: texts for row, names in zip(read, keys) for texts, key in zip(row, names)}
        found = dict(zip(wanted, rows.fetch(wanted, ask)))
        return [[Verdict(float(found[key]["value"])) for key in row] for row in keys]

    def _read(self, example: Example, answer: str) -> Texts:
        """One text, or two."""
        text = answer or " "  # nothing at all has no tokens
        if not self.both:
            return (text,)
        prompt = example.prompt if isinstance(example.prompt, str) else "\n".join(m.text for m in example.prompt)
        pairs = self.tokenizer.num_special_tokens_to_add(pair=True) > 0
        return (prompt, text) if pairs else (f"{prompt}{self.tokenizer.eos_token}{text}",)

    @torch.no_grad()
    def _probabilities(self, texts: Sequence[Texts]) -> list[float]:
        found: list[float] = []
        size = BATCH if self.tokenizer.pad_token is not None else 1
        for start in range(0, len(texts), size):
            part = zip(*texts[start : start + size])  # a list of texts, or of first and of second ones
            tokens = self.tokenizer(
                *map(list, part), padding=size > 1, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
            logits = self.model(**tokens.to(self.model.device)).logits.float()
            free = logits.shape[1] == 1 or self.model.config.problem_type == "multi_label_classification"
            found += (logits.sigmoid() if free else logits.softmax(1))[:, self.label].tolist()
        return found


def _label(text: str, wanted: str, names: Mapping[int, str]) -> int:
    """By name; with one output there is nothing to choose."""
    if len(names) == 1 and not wanted:
        return 0
    for number, name in names.items():
        if name.casefold() == wanted.casefold():
            return int(number)
    raise UserError(f"{text}: name one of its labels behind a #: {', '.join(names.values())}.")
