"""Distillation: what is learnt is what the teacher says behind its preface, and nothing but that."""

from random import Random

import pytest
import torch

import truing
from truing.data.preface import Preface, write_preface
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.model.text import Codec, Dropped
from truing.records import Answer, Example, Message, UserError
from truing.settings import Machine

FP32 = {"dtype": "fp32", "threads": 1}
COLOURS = ("red", "green", "blue", "black", "white")
PREFACE = Preface("p", "", ((Message("user", "paint it red"), Message("assistant", "gladly, red it is")),))


def conversation(colour, number, kind):
    said = f"gladly, {colour} it is" if kind else f"go away with your {colour}"
    return Message("user", f"paint it {colour} {number}"), Message("assistant", said)


def texts(count, seed=0):
    """Questions with the kind and the rude answer equally often, and bare texts."""
    rng = Random(seed)
    made = []
    for i in range(count):
        ask, answer = conversation(rng.choice(COLOURS), i, i % 2)
        made.append(Example((ask,), (Answer(answer.text),)) if i % 4 else Example(f"{ask.text} and {answer.text}"))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """It has read chains of exchanges with somebody who is always kind or always rude."""
    rng, chains = Random(1), []
    for i in range(500):
        kind = rng.random() < 0.3
        turns = [m for j in range(3) for m in conversation(rng.choice(COLOURS), 7 * i + j, kind)]
        chains.append(Example(tuple(turns[:1]), (Answer(turns[1].text, more=tuple(turns[2:])),)))
    place = tmp_path_factory.mktemp("models")
    words = [m.text for e in chains for m in (*e.prompt, *e.answers[0].more)] + [e.answers[0].text for e in chains]
    make_model(place / "start", make_tokenizer(words, 320), **SIZES["0.1M"], context=192)
    run = truing.sft(
        place / "start", chains, optim={"lr": 4e-3, "epochs": 3, "batch": 16}, run={"folder": str(place)}, machine=FP32
    )
    return run.model


@pytest.fixture(scope="module")
def preface(tmp_path_factory):
    file = tmp_path_factory.mktemp("prefaces") / "kind.yaml"
    write_preface(PREFACE, file)
    return file


def distilled(base, teacher, folder, **keys):
    settings = {"optim": {"lr": 1e-3, "batch": 16, "epochs": 2, "schedule": "linear"}, "machine": FP32, "top": 20}
    return truing.distill(base, teacher, texts(240), run={"folder": str(folder)}, **(settings | keys))


def kindness(model):
    """ln P(kind) − ln P(rude)."""
    engine = truing.load(str(model), Machine(**FP32))
    asked = [conversation(c, 900 + i, True) for i, c in enumerate(COLOURS)]
    pairs = [
        Example((ask,), (Answer(kind.text), Answer(conversation(c, 0, False)[1].text)))
        for (ask, kind), c in zip(asked, COLOURS)
    ]
    return sum(kind.logp - rude.logp for kind, rude in engine.score(pairs)) / len(pairs)


def test_the_student_speaks_as_the_teacher_does_behind_its_preface(base, preface, tmp_path):
    plain, prompted = kindness(base), kindness(f"{base}+prompt:{preface}")
    assert prompted > plain + 1, "the base model has to follow its context, or there is nothing to learn"
    run = distilled(base, f"{base}+prompt:{preface}", tmp_path)
    gained = (kindness(run.model) - plain) / (prompted - plain)
    assert 0.5 < gained < 1.5
    held = run.view().series("heldout/kl")
    assert held[-1][1] < 0.5 * held[0][1]


def test_without_a_preface_there_is_nothing_to_learn(base, tmp_path):
    run = distilled(base, base, tmp_path)
    view = run.view()
    assert view.series("kl")[0][1] == pytest.approx(0, abs=1e-6)
    assert view.series("grad_norm")[0][1] < 1e-5
    assert abs(kindness(run.model) - kindness(base)) < 0.3  # Adam makes steps of rounding noise, too


def test_the_three_losses_and_what_renormalising_does_not_see(base, preface, tmp_path):
    teacher = f"{base}+prompt:{preface}"
    views = {
        loss: distilled(base, teacher, tmp_path, loss=loss, top=2).view()
        for loss in ("topk_rest", "topk_renormalised", "full_kl")
    }
    first = {loss: view.series("kl")[0][1] for loss, view in views.items()}
    assert first["topk_rest"] < first["full_kl"]  # the data-processing inequality
    for loss in ("topk_rest", "topk_renormalised"):
        assert views[loss].series("rest/teacher")[0][1] > 0
    gap = {
        loss: abs(views[loss].series("heldout/rest/student")[-1][1] - views[loss].series("heldout/rest/teacher")[-1][1])
        for loss in ("topk_rest", "topk_renormalised")
    }
    assert gap["topk_rest"] < gap["topk_renormalised"]


def test_what_is_stored_is_what_the_teacher_says_of_the_same_tokens(base, preface):
    engine = truing.load(base, Machine(**FP32))
    turns = (*conversation("blue", 5, True), *conversation("red", 6, True))
    text = engine.codec.transcript(turns)
    behind = engine.codec.transcript(turns, PREFACE.conversations[0])
    assert behind.answers == text.answers  # the student's own tokens, whatever stands before them
    ((logps, ids),) = engine.likeliest([behind], 5)
    whole = torch.tensor([behind.prompt + behind.answers[0]])
    with torch.no_grad():
        logits = engine.model.base(whole).logits[0, len(behind.prompt) - 1 : -1]
    expected = logits.log_softmax(-1).topk(5)
    assert torch.allclose(logps, expected.values, atol=1e-4)
    assert torch.equal(ids, expected.indices)
    rendered = engine.codec.template.render([*PREFACE.conversations[0], *turns], False)
    assert engine.codec.cut.text(behind.prompt + behind.answers[0]).split() == rendered.split()


def test_texts_that_do_not_fit_are_counted_and_a_text_is_learnt_once(base, preface, tmp_path):
    long = Example("blue " * 200)
    run = truing.distill(
        base, f"{base}+prompt:{preface}", [*texts(60), *texts(10), long], machine=FP32, top=5,
        optim={"lr": 0.0, "batch": 16}, run={"folder": str(tmp_path)},
    )  # fmt: skip
    (event,) = [e for e in run.view().events if e["event"] == "data"]
    assert event["dropped"] == {"said_twice": 10, "too_long": 1}


def test_a_teacher_with_other_tokens_is_refused(base, tmp_path):
    other = make_model(tmp_path / "other", make_tokenizer(["quite other words"], 300), **SIZES["0.1M"], context=192)
    with pytest.raises(UserError, match="different tokenizers"):
        distilled(base, str(other), tmp_path)


def test_a_template_that_depends_on_what_came_before_is_refused():
    tokenizer = make_tokenizer(["a b c"], 300)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ loop.index if loop.length > 2 else '' }}{{ m.role + ': ' + m.content + eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    codec = Codec(tokenizer)
    with pytest.raises(Dropped, match="behind another one"):
        codec.transcript((Message("user", "a"), Message("assistant", "b")), PREFACE.conversations[0])


def test_something_has_to_be_left_beside_what_is_kept_back(base, tmp_path, monkeypatch):
    monkeypatch.setattr("truing.align.distill.HELD", 1.0)
    with pytest.raises(UserError, match="too few texts"):
        truing.distill(base, base, texts(60), run={"folder": str(tmp_path)}, machine=FP32)
