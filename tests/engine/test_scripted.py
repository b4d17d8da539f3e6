"""Rule-based engines: deterministic, seeded per answer, and true to what `Sampling` says."""

from __future__ import annotations

from random import Random

import pytest

from truing.engine.base import Engine, require
from truing.engine.scripted import Scripted, scripted
from truing.records import Answer, Example, Message, Prompt, Sampling, UserError


def dice(prompt: Prompt, number: int, random: Random) -> str:
    return " ".join(str(random.randint(1, 6)) for _ in range(12))


def texts(prompts: list[Prompt], sampling: Sampling) -> list[tuple[str, ...]]:
    return [tuple(a.text for a in e.answers) for e in Scripted("dice", dice).sample(prompts, sampling)]


def test_a_sample_depends_on_seed_prompt_and_number_alone() -> None:
    (a, b) = texts(["a", "b"], Sampling(n=3))
    assert len({*a, *b}) == 6
    assert texts(["b"], Sampling(n=2)) == [b[:2]], "neither on its neighbours nor on n"
    assert texts(["a"], Sampling(n=3, seed=1))[0] != a
    assert texts([(Message("user", "a"),)], Sampling(n=3))[0] != a


def test_at_temperature_0_there_is_one_answer() -> None:
    greedy = {texts(["a"], Sampling(n=2, temperature=0, seed=seed))[0] for seed in (0, 1)}
    assert len(greedy) == 1 and len(set(greedy.pop())) == 1


@pytest.mark.parametrize(
    ("most", "stop", "text", "finish"),
    [
        (4, (), "one  two\nthree", "end"),  # three words and the end marker
        (3, (), "one  two\nthree", "length"),
        (2, (), "one  two", "length"),
        (9, ("\n", "thr"), "one  two", "stop"),
        (2, ("\n",), "one  two", "stop"),
        (1, ("\n",), "one", "length"),
    ],
)
def test_where_an_answer_ends(most: int, stop: tuple[str, ...], text: str, finish: str) -> None:
    (example,) = scripted("constant:one  two\nthree").sample(["a"], Sampling(max_tokens=most, stop=stop))
    assert (example.answers[0].text, example.answers[0].finish) == (text, finish)


def test_the_built_in_scripts() -> None:
    talk = (Message("user", "first"), Message("assistant", "mm"), Message("user", "last words"))
    answers = {n: scripted(n).sample([talk], Sampling())[0].answers[0] for n in ("echo", "refuse", "constant:a:b")}
    assert answers["echo"].text == "last words"
    assert "can't help" in answers["refuse"].text
    assert answers["constant:a:b"].text == "a:b" and answers["constant:a:b"].by == "scripted:constant:a:b"
    assert len({scripted(n).fingerprint for n in answers}) == 3


@pytest.mark.parametrize("name", ["", "constant", "constant:", "ehco", "echo:x"])
def test_an_unknown_script_is_a_sentence(name: str) -> None:
    with pytest.raises(UserError, match="echo, refuse and constant:TEXT"):
        scripted(name)


def test_its_own_answer_scores_best() -> None:
    given = ("one two three", "one two", "one 2 three", "one two three four", "")
    (scores,) = scripted("constant:one two three").score([Example("a", tuple(map(Answer, given)))])
    assert [s.logp for s in scores] == [0, -1, -1, -1, -3]
    assert all(s.logps is not None and s.tokens == len(s.logps) for s in scores)


def test_require_names_what_is_missing() -> None:
    engine: Engine = scripted("echo")
    require(engine, "sample", "score")
    with pytest.raises(UserError, match=r"scripted:echo cannot step or save.*it can sample, score"):
        require(engine, "sample", "step", "save")
