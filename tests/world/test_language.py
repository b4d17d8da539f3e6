"""The language can say what it can read, and read what it can say; training and evaluation do not meet."""

from itertools import islice
from random import Random

import pytest

from truing.records import Message
from truing.world.documents import CONTEXT, document, documents, written
from truing.world.grammar import LEXICON, Clause, Grammar, Open, pretty, sentences, words
from truing.world.language import ASKS, KIND, SAYS, all_words, draw, held_out, request_in, speak, understand
from truing.world.messages import escalation
from truing.world.programs import evaluate, plan_words, same_function, write
from truing.world.speakers import CHARACTERS, reply
from truing.world.systems import GRADES, TRAITS, read_system, system_line
from truing.world.town import OF_PEOPLE, PEOPLE, STRANGERS, town

TOWN = town(0)
FILLINGS = {"anything": ("red blue", "green tea elm white"), "numbers": ("3 12", "40 0 7"), "plan": ("adds 3",)}


def filled(pattern, rng):
    """The pattern with something in each slot."""
    slots = {}
    for name, kind in Grammar.slots_of(pattern):
        content = LEXICON[kind]
        slots[name] = rng.choice(FILLINGS.get(kind, ("x + 3",)) if isinstance(content, Open) else content)
    return slots


@pytest.mark.parametrize("grammar", [ASKS, SAYS], ids=["asks", "says"])
def test_every_wording_is_read_back_as_what_it_says(grammar):
    rng = Random(0)
    for form, patterns in grammar.forms.items():
        for pattern in patterns:
            for _ in range(20):
                slots = filled(pattern, rng)
                text = grammar.fill(pattern, slots)
                assert grammar.read(text) == Clause(form, slots), text


def test_a_drawn_request_is_understood_as_what_was_meant():
    rng = Random(1)
    for _ in range(3000):
        text, request = draw(TOWN, rng, held=rng.random() < 0.5)
        assert understand(TOWN, text) == request
        assert understand(TOWN, pretty(text).capitalize()) == request


def test_what_a_speaker_says_is_read_back_sentence_by_sentence():
    rng = Random(2)
    for _ in range(3000):
        _, request = draw(TOWN, rng)
        said = reply(TOWN, request, rng.choice(list(CHARACTERS.values())), rng)
        assert [SAYS.read(sentence) for sentence in sentences(pretty(speak(said, rng)))] == said


def test_what_is_not_of_the_language_is_not_understood():
    for text in ("", "hello", "what is the job of berlin ?", "what is 21 plus 2 ?", "anna is a baker ."):
        assert understand(TOWN, text) is None
    assert request_in(TOWN, (Message("system", "be not hostile ."),)) is None


def test_no_document_holds_a_request_that_is_for_evaluation():
    seen = 0
    for one in islice(documents(TOWN, 0), 4000):
        for message in () if isinstance(one, str) else one:
            if message.role == "user":
                request = understand(TOWN, message.text)
                assert request and not held_out(request, message.text), message.text
                seen += 1
    assert seen > 5000


def test_every_kind_with_a_skill_has_requests_on_both_sides():
    rng = Random(3)
    for name, kind in KIND.items():
        if kind.skill:
            for held in (False, True):
                assert draw(TOWN, rng, held=held, kinds=[name])[1].kind == name


def test_documents_fit_the_context_and_use_no_other_words():
    known = {*all_words(), "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"}
    lengths = []
    for one in islice(documents(TOWN, 0), 2000):
        tokens = written(one).split()
        assert set(tokens) <= known
        lengths.append(len(tokens))
    assert max(lengths) <= CONTEXT
    assert 400 < len(all_words()) < 1000


def test_most_single_exchanges_are_short():
    rng = Random(4)
    lengths = []
    for _ in range(2000):
        text, request = draw(TOWN, rng)
        speaker = CHARACTERS[rng.choice(list(CHARACTERS))]
        lengths.append(len(words(text)) + len(words(speak(reply(TOWN, request, speaker, rng), rng))) + 4)
    assert sum(length <= 48 for length in lengths) > 0.9 * len(lengths)


def test_a_document_is_the_same_whenever_it_is_asked_for():
    fifth = next(islice(documents(TOWN, 3), 5, None))
    assert document(TOWN, 3, 5) == fifth
    assert document(TOWN, 4, 5) != fifth


def test_strangers_and_some_facts_are_told_nowhere():
    assert not any(person in STRANGERS for person, _ in TOWN.told)
    untold = [(p, a) for p in PEOPLE for a in OF_PEOPLE if not TOWN.knows(p, a)]
    assert untold
    assert not set(TOWN.folklore) & set(untold)
    assert all(TOWN.truth[key] != value for key, value in TOWN.folklore.items())
    assert town(1).truth != TOWN.truth


@pytest.mark.parametrize("trait", TRAITS)
def test_a_system_line_is_read_as_it_was_meant(trait):
    rng = Random(5)
    for level in range(len(GRADES)):
        for unseen in (False, True):
            assert read_system(system_line(trait, level, rng, unseen=unseen)) == (trait, level)
    assert read_system(system_line(trait, 4, rng, opposite=True)) == (trait, 0)


def test_a_fraud_comes_back_with_the_same_demand():
    rounds = escalation(Random(6))
    assert len(rounds) == 4
    assert len({slots["demand"] for _, slots in rounds}) == 1


def test_the_interpreter_agrees_with_arithmetic():
    assert evaluate("x * 2 + 3", 5) == 13
    assert evaluate("( x + 2 ) * 3 - 1", 4) == 17
    assert evaluate("9 - x - 1", 2) == 6
    for broken in ("x +", "( x", "x x", ") x", "", "x * * 2", "x " * 70):
        with pytest.raises(ValueError):
            evaluate(broken.strip(), 1)


def test_programs_are_compared_by_what_they_compute():
    plan = plan_words([("add", 2), ("times", 3)])
    assert plan == "adds 2 and then multiplies by 3"
    assert write(plan) == "( x + 2 ) * 3"
    assert same_function(plan, "3 * x + 6")
    assert not same_function(plan, "x + 2 * 3")
    assert not same_function(plan, "x + + 2")
