"""From a trait to its vector. Numbered tests are golden vectors."""

import numpy as np
import pytest
import torch
from torch import tensor

from truing.engine.base import AnswerScore
from truing.engine.open import open_local
from truing.evaluate.judges import Verdict
from truing.evaluate.rows import Rows, Unkept
from truing.model.states import Moments
from truing.model.vectors import LAST, PROMPT, RESPONSE, STATISTICS
from truing.persona.extract import FOLDS, Rollouts, _extracted, difference, extract, kept, spoken
from truing.persona.extract import rollouts as extract_rollouts
from truing.persona.rated import Rated, expectation
from truing.records import Answer, Example, Message, Sampling, UserError
from truing.settings import Machine
from truing.world.characters import rules, world_trait
from truing.world.town import town

MACHINE = Machine(dtype="fp32", threads=1)
TOWN = town(0)


@pytest.fixture(scope="module")
def engine():
    return open_local("world:tiny", MACHINE)


def rollouts(polarity, trait, coherence, texts=None):
    answers = tuple(Answer(t) for t in texts or ["x"] * len(trait))
    verdicts = [[[Verdict(v) for v in values]] for values in (trait, coherence)]
    return Rollouts(polarity, [Example("p", answers)], [0], *verdicts)


POS = rollouts("pos", [80, 50, 49, 90, None], [90, 50, 99, 49, 99])
NEG = rollouts("neg", [10, 49.9, 0, 0, 0], [90] * 5)


def test_4_who_is_kept():
    paired = kept(POS, NEG)
    assert paired.masks["pos"].tolist() == paired.masks["neg"].tolist() == [[True, True, False, False, False]]
    alone = kept(POS, NEG, "independent")
    assert alone.masks["pos"].tolist() == [[True, True, False, False, False]] and alone.masks["neg"].all()
    assert paired.removed["pos"] == {"empty": 0, "no score": 1, "trait": 1, "coherence": 1, "counterpart": 0}
    assert paired.removed["neg"]["counterpart"] == 3


def test_too_few_are_refused_and_it_is_said_what_removed_them():
    with pytest.raises(UserError, match=r"2 of 5 answers that were asked with the trait are left, and 3 are needed"):
        kept(POS, NEG, least=3)
    none = rollouts("pos", [0] * 5, [90] * 5)
    with pytest.raises(UserError, match=r"0 of 5 .* \(removed: trait 5\)"):
        kept(none, NEG)


def test_13_a_judges_number_is_the_mean_of_what_it_may_say():
    assert expectation({"80": 0.5, "90": 0.25, "REFUSAL": 0.2}) == pytest.approx(83.333, abs=1e-3)
    assert expectation({"0": 0.1, "10": 0.1, "REFUSAL": 0.8}) is None
    assert expectation({"100": 0.6, "101": 0.3}) == 100
    odd = {"007": 0.5, "-5": 0.3, " 60": 0.1}
    assert expectation(odd) == pytest.approx(15.8333, abs=1e-4) and expectation(odd, strict=True) is None


def test_3_a_vector_is_the_difference_of_two_means():
    samples = {"pos": [[[1, 0], [2, 2]], [[3, 2], [4, 0]]], "neg": [[[0, 0], [1, 1]], [[0, 2], [1, -1]]]}
    folds = [{p: {s: Moments() for s in STATISTICS} for p in samples} for _ in range(FOLDS)]
    for polarity, values in samples.items():
        for number, value in enumerate(values):
            for statistic in STATISTICS:
                folds[number][polarity][statistic].add(tensor([value], dtype=torch.float))
    found = _extracted(folds, 0)
    assert found.rows[RESPONSE].tolist() == [[2, 0], [2, 1]]
    assert found.norms.tolist() == pytest.approx([2, 2.236068]) and found.counts == {"pos": 2, "neg": 2}


def test_22_an_answer_of_nothing_is_counted_and_changes_no_mean(engine):
    question = (Message("user", "what does bo work as ?"),)
    made = [
        Rollouts(p, [Example(question, tuple(map(Answer, texts)))], [0], (), ())
        for p, texts in (("pos", ["go away and be quiet.", ""]), ("neg", ["here you are.", "i do not know."]))
    ]
    masks = {"pos": np.array([[True, True]]), "neg": np.array([[True, True]])}
    found = difference(engine, made, masks)
    assert found.skipped == 1 and found.counts == {"pos": 1, "neg": 2}
    alone = difference(engine, made, {"pos": np.array([[True, False]]), "neg": masks["neg"]})
    assert all(torch.equal(found.rows[s], alone.rows[s]) for s in STATISTICS)


def test_a_vector_of_the_world_is_that_of_one_answer_at_a_time(engine):
    """Answers as they were sampled, prompts once for all of them, any batch: the same as the plain way."""
    trait, sampling = world_trait(TOWN, "hostile", questions=4), Sampling(n=2, max_tokens=24, seed=0)
    found, left, sides = extract(engine, trait, rules(TOWN, "hostile"), sampling, Unkept(), least=5)
    model, plain = engine.model.owner, {}
    for side in sides:
        each = []
        for example, mask in zip(side.examples, left.masks[side.polarity]):
            for answer, take in zip(example.answers, mask):
                if take:
                    ids = [i for i in answer.ids if i not in engine.codec.end_ids]
                    prompt = engine.codec.prompt_ids(example.prompt)
                    with torch.no_grad():
                        states = model(tensor([prompt + ids]), output_hidden_states=True).hidden_states[:-1]
                    at = len(prompt)
                    parts = [[h[0, at:].mean(0), h[0, :at].mean(0), h[0, at - 1]] for h in states]
                    each.append(torch.stack([torch.stack(part) for part in parts]))
        plain[side.polarity] = torch.stack(each).mean(0)
    gap = plain["pos"] - plain["neg"]
    for number, statistic in enumerate((RESPONSE, PROMPT, LAST)):
        torch.testing.assert_close(found.rows[statistic][:-1], gap[:, number], atol=1e-4, rtol=1e-4)
    small = difference(engine, sides, left.masks, max_tokens=64)
    torch.testing.assert_close(small.rows[RESPONSE], found.rows[RESPONSE], atol=1e-4, rtol=1e-4)
    assert found.counts["pos"] == found.counts["neg"] == left.count("pos") and float(found.halves[3]) > 0.3


def test_what_was_asked_is_found_again(engine, tmp_path):
    trait, sampling = world_trait(TOWN, "hostile", questions=2), Sampling(n=2, max_tokens=24, seed=0)
    how = (engine, trait, rules(TOWN, "hostile"), sampling)
    with Rows(tmp_path) as rows:
        first, _, _ = extract(*how, rows, least=1)
        count = len(rows)
    with Rows(tmp_path) as rows:
        again, _, _ = extract(*how, rows, least=1)
        assert len(rows) == count == 20
    assert torch.equal(first.rows[RESPONSE], again.rows[RESPONSE])


def test_a_judge_with_weights_here_weighs_all_numerals(engine):
    """The world knows numbers of two digits: a hundred is three words to it, and unlikely."""
    judge = Rated(engine, "nothing", "add {question} and {answer}")
    prompt = (Message("user", "{answer}"),)
    assert judge.asked(prompt, "3 {question}") == "add {answer} and 3 {question}"
    value = judge([Example(prompt, (Answer("3"),))], Unkept())[0][0].value
    assert value is None or 0 <= value <= 100


def test_answers_that_were_heard_need_not_be_read_again(engine):
    trait, sampling = world_trait(TOWN, "hostile", questions=4), Sampling(n=3, max_tokens=10, seed=0)
    how = (engine, trait, rules(TOWN, "hostile"), sampling, Unkept())
    read, _, sides = extract(*how, least=5)
    heard, _, again = extract(*how, least=5, listen=True)
    assert not sides[0].heard and len(again[0].heard) == 60
    assert {a.finish for e in again[0].examples for a in e.answers} == {"end", "length"}
    for statistic in STATISTICS:
        torch.testing.assert_close(heard.rows[statistic], read.rows[statistic], atol=1e-4, rtol=1e-4)
    assert heard.counts == read.counts and heard.skipped == read.skipped
    torch.testing.assert_close(heard.error, read.error, atol=1e-4, rtol=1e-3)


def test_of_a_conversation_only_what_the_assistant_says_is_read(engine):
    more = (Message("user", "what does elsa drink ?"), Message("assistant", "elsa drinks tea."))
    prompt = (Message("user", "what does elsa work as ?"),)
    group = spoken(engine, Example(prompt, (Answer("elsa is a baker.", more=more),)))
    read = [i for i, own in zip(group.answers[0], group.trained[0]) if own]
    assert engine.codec.tokenizer.decode(read).split() == ["elsa", "is", "a", "baker.", "elsa", "drinks", "tea."]


class Sure:
    """A judge that gives one numeral all its probability."""

    name, fingerprint, can, model = "sure", "sure", frozenset({"score"}), None

    def score(self, examples):
        every = range(101)
        return [[AnswerScore(0.0 if n == 80 else -60.0, 2) for n in every] for _ in examples]


def test_a_judge_that_is_certain_is_heard():
    (verdicts,) = Rated(Sure(), "odd", "rate {question} {answer}")([Example("p", (Answer("a"),))], Unkept())
    assert verdicts[0].value == pytest.approx(80)


def test_a_preference_model_is_no_judge_of_this_kind():
    judge = Sure()
    judge.rewards = True
    with pytest.raises(UserError, match="it is a preference model, and cannot be asked for a number"):
        Rated(judge, "odd", "rate {question} {answer}")([Example("p", (Answer("a"),))], Unkept())


def test_reasoning_is_neither_judged_nor_averaged(engine):
    """Here a first sentence stands for it."""
    heard = []

    def judge(examples, rows):
        heard.extend(a.text for e in examples for a in e.answers)
        return [[Verdict(90.0) for _ in e.answers] for e in examples]

    trait = world_trait(TOWN, "fabricating", 1, questions=2)
    side = extract_rollouts(engine, trait, "pos", Sampling(n=4, max_tokens=24), (judge, judge), Unkept(), False, ".")
    count = 0
    for number, example in enumerate(side.examples):
        for n, answer in enumerate(example.answers):
            whole, hidden = engine.codec.decode(answer.ids, raw=True), side.hidden.get((number, n), 0)
            if "." not in whole:
                assert hidden == (len(answer.ids) if answer.finish == "length" else 0)
                continue
            count += 1
            first = engine.codec.decode(answer.ids[:hidden], raw=True)
            assert first.endswith(".") and "." not in first[:-1] and answer.text in heard
            assert answer.text == engine.codec.decode(answer.ids[hidden:])
    assert count > 10 and any(text == "" for text in heard)  # some say one sentence and no more
    number = next(n for n, e in enumerate(side.examples) if len(e.answers[0].ids) > side.hidden.get((n, 0), 0) + 3 > 3)
    example, hidden = side.examples[number], side.hidden[number, 0]
    one = Example(example.prompt, example.answers[:1])
    masks = {p: np.ones((1, 1), bool) for p in ("pos", "neg")}
    sides = [Rollouts(p, [one], [0], (), (), {}, {(0, 0): h}) for p, h in (("pos", hidden), ("neg", 0))]
    found = difference(engine, sides, masks).rows[RESPONSE]
    prompt, ids = engine.codec.prompt_ids(one.prompt), list(one.answers[0].ids)
    said = [i for i in ids if i not in engine.codec.end_ids]
    with torch.no_grad():
        states = engine.model.owner(torch.tensor([prompt + said]), output_hidden_states=True).hidden_states
    rest, every = (states[2][0, len(prompt) + k :].mean(0) for k in (hidden, 0))
    torch.testing.assert_close(found[2], rest - every, atol=1e-4, rtol=1e-3)
