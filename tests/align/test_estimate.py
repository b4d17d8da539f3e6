"""What `--dry-run` says a run will cost is what the run then does."""

from __future__ import annotations

import re

import pytest
import yaml

import truing
from truing.align.distill import Distill
from truing.align.distill import estimate as estimate_distill
from truing.align.estimate import cost
from truing.align.methods import Offline
from truing.align.offline import estimate
from truing.align.sft import Sft
from truing.cli import main
from truing.config import load
from truing.data import demonstrations
from truing.model.load import load_model
from truing.model.make import SIZES, make_model, make_tokenizer
from truing.records import Answer, Example, Judgement, Message
from truing.world.corpora import CORPORA
from truing.world.town import town


def numbers(text: str, pattern: str) -> list[float]:
    found = re.search(pattern, text)
    assert found, text
    return [float(one.replace(",", "")) for one in found.groups()]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pairs of one length, so that every epoch has the same number of tokens; one has no order."""
    pairs = [
        Example(
            (Message("user", f"paint it {'red' if i % 2 else 'tan'}"),),
            (Answer("gladly so"), Answer("go away!!")),
            (Judgement("order", (0, 1)),) if i else (),
        )
        for i in range(21)
    ]
    folder = tmp_path_factory.mktemp("estimate")
    truing.write(folder / "pairs.jsonl", pairs, "truing")
    texts = [a.text for e in pairs for a in e.answers] + [e.prompt[0].text for e in pairs]
    base = make_model(folder / "base", make_tokenizer(texts, 300), **SIZES["0.1M"], context=96)
    return {"model": str(base), "data": {"path": str(folder / "pairs.jsonl")}, "optim": {"batch": 8, "epochs": 3.0}}


def test_examples_steps_and_tokens_are_those_of_the_run(data, tmp_path):
    settings = load(Sft, data)
    said = cost(settings, demonstrations)
    assert "20 examples, 1 dropped" in said
    tokens, steps = numbers(said, r"([\d,]+) tokens in (\d+) steps")
    run = truing.sft(settings.model, settings.data.path, optim=settings.optim, run={"folder": str(tmp_path)})
    rows = [rows for _, rows in run.view().series("rows")]
    engine = truing.load(settings.model)
    groups, _ = engine.encode(demonstrations(truing.read(settings.data.path))[0])
    assert steps == len(rows)
    assert tokens == pytest.approx(sum(rows) * groups[0].tree_tokens)


def test_arithmetic_follows_from_parameters_tokens_and_a_reference(data):
    settings = load(Offline, data)
    parameters = sum(weight.numel() for weight in load_model(settings.model)[0].base.parameters())
    for method, per_token in (("dpo", 6 + 2 / settings.optim.epochs), ("nll", 6)):
        said = estimate(load(Offline, data, {"method": method}))
        tokens, _ = numbers(said, r"([\d,]+) tokens in (\d+) steps")
        (operations,) = numbers(said, r"([\d.e+]+) operations")
        assert operations == pytest.approx(per_token * parameters * tokens, rel=0.05), "printed with two digits"


def test_a_teacher_passes_once_and_what_is_kept_back_is_not_learnt(tmp_path):
    texts = str(tmp_path / "texts.jsonl")
    truing.write(texts, CORPORA["demonstrations"](town(0), 200, 0), "truing")
    recipe = {"model": "world:tiny", "teacher": "world:small", "data": {"path": texts}, "optim": {"batch": 8}}
    settings = load(Distill, recipe)
    said = estimate_distill(settings)
    run = truing.distill(
        settings.model,
        settings.teacher,
        texts,
        optim=settings.optim,
        machine={"dtype": "fp32", "threads": 1},
        run={"folder": str(tmp_path)},
    )
    tokens, steps = numbers(said, r"([\d,]+) tokens in (\d+) steps")
    rows = [rows for _, rows in run.view().series("rows")]
    assert steps == len(rows) and f"{sum(rows):.0f} examples" in said
    small, tiny = (
        sum(w.numel() for w in truing.load(model).model.base.parameters()) for model in ("world:small", "world:tiny")
    )
    (operations,) = numbers(said, r"([\d.e+]+) operations")
    assert operations == pytest.approx((6 * tiny + 2 * small) * tokens, rel=0.05), "printed with two digits"


def test_the_output_of_a_dry_run_is_still_a_recipe(data, capsys):
    main(["sft", "--model", data["model"], "--data.path", data["data"]["path"], "--dry-run"])
    printed = capsys.readouterr().out
    assert "# 20 examples" in printed
    assert yaml.safe_load(printed)["model"] == data["model"]
