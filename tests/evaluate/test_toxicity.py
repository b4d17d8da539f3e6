"""Toxicity: k samples each, cut alike, graded once; and text classifiers as judges, as transformers computes them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_tokenizer
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from truing.engine.scripted import Scripted
from truing.evaluate.classify import Classifier
from truing.evaluate.judges import Rule
from truing.evaluate.rows import Rows
from truing.evaluate.toxicity import first, grades, measured
from truing.model.vocab import EOC
from truing.records import Answer, Example, Message, Sampling, UserError
from truing.settings import Machine

PROMPTS = [Example((Message("user", text),)) for text in ("one", "two", "three")]
FOUR = Sampling(n=4, max_tokens=20)
RUDE = Rule("rude", lambda prompt, answer: float("fool" in answer.split()))


def test_mean_worst_and_any():
    values = np.array([[0.0, 1.0], [0.2, 0.4], [0.6, 0.0]])
    found = {name: one.estimate for name, one in measured(values, PROMPTS).items()}
    assert found == pytest.approx({"mean": 2.2 / 6, "worst": 2.0 / 3, "any": 2 / 3})


def test_prompts_of_one_conversation_are_one_piece_of_evidence():
    values = np.array([[1.0]] * 20 + [[0.0]] * 20)
    talks = [Example((Message("user", "a" if i < 20 else "b"), *[Message("user", "more")] * i)) for i in range(40)]
    assert measured(values, talks)["mean"].n == 2


def test_answers_are_cut_to_so_many_words_as_they_were_written():
    assert first(" one  two\nthree four", 3) == " one  two\nthree"
    assert first("one two", 2) == "one two"
    assert first("one one one", 2) == "one one"
    assert first("", 2) == ""


def test_what_stands_behind_the_cut_is_not_graded(tmp_path):
    polite = Scripted("late", lambda prompt, number, random: "you are right you fool")
    with Rows(tmp_path) as rows:
        assert grades(polite, PROMPTS, RUDE, FOUR, 5, rows).tolist() == [[1.0] * 4] * 3
        assert grades(polite, PROMPTS, RUDE, FOUR, 4, rows).tolist() == [[0.0] * 4] * 3


def test_samples_are_drawn_once(tmp_path):
    asked = []

    def reply(prompt, number, random):
        asked.append(number)
        return "fool" if number == 2 else "friend"

    for _ in range(2):
        with Rows(tmp_path) as rows:
            found = grades(Scripted("mixed", reply), PROMPTS, RUDE, FOUR, 9, rows)
    assert found.tolist() == [[0, 0, 1, 0]] * 3
    assert asked == [0, 1, 2, 3] * 3


def test_no_verdict_is_not_a_clean_one(tmp_path):
    class Silent:
        name = fingerprint = "silent"

        def __call__(self, examples, rows):
            from truing.evaluate.judges import Verdict

            return [[Verdict(None if a.text == "b" else 0.0) for a in e.answers] for e in examples]

    said = Scripted("ab", lambda prompt, number, random: "ab"[number % 2])
    with Rows(tmp_path) as rows, pytest.raises(UserError, match="silent says nothing about 6 of 12"):
        grades(said, PROMPTS, Silent(), FOUR, 9, rows)


def classifier(folder, labels, kind=None, pad=True):
    """A tiny encoder with wide random weights."""
    tokenizer = tiny_tokenizer()
    if pad:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    names = dict(enumerate(labels))
    torch.manual_seed(1)
    model = BertForSequenceClassification(
        BertConfig(vocab_size=97, **sizes, id2label=names, label2id={n: i for i, n in names.items()}, problem_type=kind)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return str(folder)


SAID = ["hello", "you are a fool, and a very long one at that!", "x"]


@pytest.mark.parametrize(
    ("labels", "kind", "wanted", "share"),
    [
        (["fine", "toxic"], None, "#toxic", lambda z: z.softmax(-1)[1]),
        (["toxic", "threat", "insult"], "multi_label_classification", "#Threat", lambda z: z.sigmoid()[1]),
        (["toxic"], None, "", lambda z: z.sigmoid()[0]),
    ],
)
@pytest.mark.parametrize("pad", [True, False])
def test_probabilities_are_those_of_each_text_alone(tmp_path, labels, kind, wanted, share, pad):
    folder = classifier(tmp_path / "c", labels, kind, pad)
    judge = Classifier.load(folder + wanted, Machine("fp32", 1))
    with Rows(tmp_path / "rows") as rows:
        (found,) = judge([Example("q", tuple(Answer(text) for text in SAID))], rows)
        judge([Example("another question", (Answer(SAID[0]), Answer(SAID[0])))], rows)
        assert len(rows) == 3  # a text is graded once
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for text, verdict in zip(SAID, found):
        with torch.no_grad():
            own = share(model(torch.tensor([tiny_tokenizer()(text)["input_ids"]])).logits[0])
        assert verdict.value == pytest.approx(float(own), abs=1e-5)
    assert len({round(verdict.value, 4) for verdict in found}) == 3


def test_the_prompt_is_read_too_if_asked_for(tmp_path):
    """The tokenizer here marks no pairs: the end-of-text token stands between, as decoders have learnt it."""
    folder = classifier(tmp_path / "c", ["fine", "toxic"])
    asked = (Message("user", "who?"), Message("assistant", "me"), Message("user", "no"))
    both = Classifier.load(f"{folder}#toxic+prompt", Machine("fp32", 1))
    alone = Classifier.load(f"{folder}#toxic", Machine("fp32", 1))
    assert both.fingerprint != alone.fingerprint
    tokenizer = tiny_tokenizer()
    joined = f"who?\nme\nno{tokenizer.eos_token}fool"
    with Rows(tmp_path / "rows") as rows:
        ((found,),) = both([Example(asked, (Answer("fool"),))], rows)
        ((same,),) = alone([Example("q", (Answer(joined),))], rows)
        ((other,),) = both([Example(asked[:1], (Answer("fool"),))], rows)
    assert found.value == pytest.approx(same.value, abs=1e-6) and abs(found.value - other.value) > 1e-4

    pairs = replace(both, tokenizer=BertLike(tokenizer))
    assert pairs._read(Example("q", (Answer("a"),)), "a") == ("q", "a")


class BertLike:
    """Knows pairs."""

    def __init__(self, tokenizer):
        self.eos_token = tokenizer.eos_token

    def num_special_tokens_to_add(self, pair):
        return 3 if pair else 2


def test_a_label_is_named_and_not_guessed(tmp_path):
    folder = classifier(tmp_path / "c", ["fine", "toxic"])
    for wanted in ("", "#rude"):
        with pytest.raises(UserError, match=r"name one of its labels behind a #: fine, toxic"):
            Classifier.load(folder + wanted, Machine("fp32", 1))
    with pytest.raises(UserError, match="not a text classifier"):
        Classifier.load("world:tiny", Machine("fp32", 1))


def test_a_preference_model_is_no_classifier(tmp_path):
    folder = classifier(tmp_path / "c", ["reward"])
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([EOC])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="a preference model compares"):
        Classifier.load(folder, Machine("fp32", 1))
