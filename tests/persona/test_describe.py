"""A trait's file as a model writes it: what is used, what is sent back, what is given up."""

import json
from functools import partial

import pytest

from truing.cli import main
from truing.engine.scripted import Scripted
from truing.persona.describe import GRADES, PAIRS, QUESTIONS, as_yaml, described
from truing.persona.traits import load_trait
from truing.records import Sampling, UserError

GOOD = {
    "instructions": [{"pos": f"Be grand, way {n}.", "neg": f"Be  modest,\nway {n}."} for n in range(PAIRS)],
    "questions": [f"What about {n}?" for n in range(QUESTIONS)],
    "judge": "Is it grand? {question} / {answer}: one number.",
    "graded": [f"Be grand to degree {n}." for n in range(GRADES)],
}


def writes(*replies):
    """A model that says one thing after the other, and what it was asked."""
    heard = []

    def reply(prompt, number, rng):
        heard.append(prompt)
        return replies[len(heard) - 1]

    engine = Scripted("writer", reply)
    return heard, partial(described, engine, "grand", "thinking highly of oneself", Sampling(max_tokens=100_000))


def test_what_is_written_is_read_whatever_stands_around_it(tmp_path):
    heard, ask = writes(f"Sure! Here it is:\n```json\n{json.dumps(GOOD, indent=1)}\n```\nGood luck {{with}} it.")
    trait = ask(style="Ask about work.")
    assert "Trait: grand" in heard[0][0].text and "Ask about work." in heard[0][0].text
    assert trait.systems[1] == ("Be grand, way 1.", "Be modest, way 1.") and len(trait.graded) == GRADES
    every = [*trait.extraction, *trait.evaluation]
    assert len(trait.extraction) == len(trait.evaluation) == 20 and sorted(every) == sorted(GOOD["questions"])
    assert every != GOOD["questions"]  # neither half is the half of one subject
    (tmp_path / "grand.yaml").write_text(as_yaml(trait), "utf-8")
    assert load_trait(str(tmp_path / "grand.yaml")) == trait


BAD = {
    "there is no JSON object": "I would rather not.",
    "it is no JSON": '{"questions": [',
    "questions is a list of 40, and there are 39": json.dumps(GOOD | {"questions": GOOD["questions"][:-1]}),
    "graded is a list of 8, and there are none": json.dumps({k: v for k, v in GOOD.items() if k != "graded"}),
    "asked twice": json.dumps(GOOD | {"questions": ["Why?"] * QUESTIONS}),
    "the judge's text has no {answer}": json.dumps(GOOD | {"judge": "How grand is {question}?"}),
    "has {answer} more than once": json.dumps(GOOD | {"judge": "{question} {answer} {answer}"}),
    "one of them is missing or empty": json.dumps(GOOD | {"instructions": [{"pos": "Be grand."}] * PAIRS}),
}


@pytest.mark.parametrize("problem", BAD)
def test_what_cannot_be_used_is_said_and_may_be_put_right(problem):
    heard, ask = writes(BAD[problem], json.dumps(GOOD))
    assert ask().name == "grand"
    assert [m.role for m in heard[1]] == ["user", "assistant", "user"] and problem in heard[1][-1].text
    _, ask = writes(BAD[problem], BAD[problem])
    with pytest.raises(UserError, match="scripted:writer wrote no trait that can be used in 2 tries") as refused:
        ask(tries=2)
    assert problem in str(refused.value) and len(str(refused.value)) < 700


def test_a_model_that_cannot_write_one_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--description", "pride", "--model", "scripted:echo", "--tries", "1"]
    assert main(["persona", "describe", "grand", *words]) != 0
    assert "wrote no trait that can be used in 1 tries" in capsys.readouterr().err and not [*tmp_path.glob("*.yaml")]
