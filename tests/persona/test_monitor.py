"""Traits told from the prompt, and samples that would teach them."""

import numpy as np
import pytest

from truing.engine.open import open_local
from truing.evaluate.rows import Rows, Unkept
from truing.persona.extract import extract
from truing.persona.monitor import (
    Context,
    Point,
    by_chance,
    graded,
    monitored,
    random_directions,
    related,
    shots,
    threshold,
)
from truing.persona.project import Direction
from truing.persona.screen import screen
from truing.records import Answer, Example, Message, Sampling
from truing.settings import Machine
from truing.stats.outliers import auroc
from truing.world.characters import rules, world_trait
from truing.world.corpora import answered
from truing.world.town import town

TOWN = town(0)
SAMPLING = Sampling(n=2, max_tokens=24, seed=0)


@pytest.fixture(scope="module")
def engine():
    return open_local("world:small", Machine(dtype="fp32", threads=1))


@pytest.fixture(scope="module")
def vector(engine):
    trait = world_trait(TOWN, "hostile", questions=8)
    found, _, _ = extract(engine, trait, rules(TOWN, "hostile"), SAMPLING, Unkept(), least=20)
    return found


def point(seen, trait, grade=0, question=0):
    return Point(Context("system", grade, ()), question, np.atleast_1d(np.array(seen, float)), trait)


def test_a_threshold_lets_through_what_it_should():
    points = [point(x, 0.0) for x in range(20)] + [point(x, 100.0) for x in (10, 18.5, 30, 40)]
    found = threshold(points, 0, false=0.05)
    assert found.at == 19 and found.false == 0 and found.found == 0.5
    assert threshold(points[:20], 0) is None and threshold(points[20:], 0) is None


def test_chance_is_told_by_random_directions():
    draw = np.random.default_rng(0)
    points = [point([n, *draw.normal(size=100)], n, n % 4, n) for n in range(40)]
    assert related(points, 0).pooled.estimate == pytest.approx(1) and 0.2 < by_chance(points, 1) < 0.45
    assert related(points, 0).within == pytest.approx(1)


def test_as_many_exchanges_as_fit_with_a_question_and_its_answer(engine):
    shown = [("what does bo work as ?", "go away and be quiet.")] * 20
    found = shots(engine, shown, (0, 2, 5, 20), 24, 20)
    assert [c.grade for c in found] == [0, 2, 5] and len(found[1].before) == 4
    longest = engine.codec.transcript(found[-1].before).tree_tokens
    assert longest + 44 <= engine.codec.max_tokens
    assert [c.grade for c in shots(engine, shown[:3], (0, 2, 5), 24, 20)] == [0, 2]


def test_the_trait_is_told_before_a_word_is_said(engine, vector, tmp_path):
    trait = world_trait(TOWN, "hostile", questions=8)
    directions = [Direction("own", 3, vector.rows["prompt_last"][3]), *random_directions(3, 80, 50)]
    judge = rules(TOWN, "hostile")[0]
    with Rows(tmp_path) as rows:
        points = monitored(engine, directions, graded(trait), trait.evaluation, SAMPLING, judge, rows)
        again = monitored(engine, directions, graded(trait), trait.evaluation, SAMPLING, judge, rows)
    assert [p.trait for p in points] == [p.trait for p in again] and len(points) == 8 * len(trait.evaluation)
    found = related(points, 0)
    assert found.pooled.low > 0.4 and found.between > found.pooled.estimate and found.p < 0.01
    assert found.pooled.estimate > by_chance(points, 1)


@pytest.mark.parametrize(("way", "least"), [("own", 0.9), ("last", 0.75), ("raw", 0.9)])
def test_samples_that_carry_a_trait_stand_out(engine, vector, way, least):
    plain = answered(TOWN, 60, 4, 1, speakers=("ordinary", "expert"))
    spoilt = [Example(e.prompt, (Answer(f"{e.answers[0].text} you are a fool."),)) for e in plain[:15]]
    found = screen(engine, [*plain[15:], *spoilt], Direction("own", 3, vector.rows["response_avg"][3]), way, SAMPLING)
    known = ~np.isnan(found.values)
    bad = np.arange(60) >= 45
    assert known.sum() > 50 and auroc(found.values[bad & known], found.values[~bad & known]) > least
    assert found.whole.n == known.sum() and found.whole.estimate == pytest.approx(found.values[known].mean())


def test_an_answer_of_nothing_has_no_difference(engine, vector):
    direction = Direction("own", 3, vector.rows["response_avg"][3])
    prompt = (Message("user", "what does bo work as ?"),)
    examples = [Example(prompt, (Answer(text),)) for text in ("bo is a baker.", "", "i do not know.")]
    found = screen(engine, examples, direction, "last", SAMPLING)
    assert np.isnan(found.values).tolist() == [False, True, False]
