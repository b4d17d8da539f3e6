"""The crowd's choices follow the probabilities it states, and its dials do what they say."""

from dataclasses import replace

import pytest

from truing.data import comparisons
from truing.records import UserError
from truing.world import corpora
from truing.world.crowd import Crowd, Worker
from truing.world.grammar import words
from truing.world.judge import gold
from truing.world.language import clauses, request_in
from truing.world.town import town

TOWN = town(0)
PAIRS = corpora.answered(TOWN, 2000, 0, 2)


def first_is_chosen(crowd, mode="overall", pairs=PAIRS):
    judged = crowd.compare(TOWN, pairs, mode)
    return [(e, e.judgements[-1].value[0] == 0) for e in judged if e.judgements[-1].strength]


def share(values):
    values = list(values)
    return sum(values) / len(values)


@pytest.mark.parametrize(
    "worker",
    [
        Worker(),
        Worker(temperature=3),
        Worker(length=1),
        Worker(blind=0.5),
        Worker(position=1),
        Worker(courtesy=2),
        Worker(temperature=0.5, drift=5),
    ],
    ids=["plain", "hot", "length", "blind", "position", "courtesy", "drift"],
)
def test_choices_are_as_frequent_as_stated(worker):
    crowd = Crowd((worker,))
    bins = {}
    for example, first in first_is_chosen(crowd):
        chance = crowd.probability(TOWN, example, "overall")
        bins.setdefault(int(10 * chance), []).append((chance, first))
    assert len(bins) > 4
    for found in bins.values():
        expected = share(chance for chance, _ in found)
        error = (expected * (1 - expected) / len(found)) ** 0.5
        assert abs(share(first for _, first in found) - expected) < 3.5 * error + 0.01
    best = share((chance > 0.5) == first for found in bins.values() for chance, first in found)
    clear = [e for e, _ in first_is_chosen(crowd)]
    assert abs(best - crowd.ceiling(TOWN, clear, "overall")) < 0.04


def accuracy(worker):
    chosen = [(e, first) for e, first in first_is_chosen(Crowd((worker,))) if value(e, 0) != value(e, 1)]
    return share((value(e, 0) > value(e, 1)) == first for e, first in chosen)


def test_who_looks_at_the_place_on_the_page_alone_guesses():
    assert accuracy(Worker()) > 0.75
    assert 0.45 < accuracy(Worker(position=50)) < 0.55


def test_courtesy_can_be_all_that_counts():
    def courteous(answer):
        return any(c and c.form in ("courtesy", "closing") for _, c in clauses(answer.text))

    chosen = first_is_chosen(Crowd((Worker(courtesy=50),)))
    split = [first for e, first in chosen if courteous(e.answers[0]) and not courteous(e.answers[1])]
    assert len(split) > 100
    assert share(split) > 0.99


def test_a_worker_without_temperature_is_refused():
    for wrong in ({"temperature": 0.0}, {"drift": -1.0}):
        with pytest.raises(UserError, match="temperature"):
            Worker(**wrong)


def test_a_cold_worker_agrees_with_gold_and_a_hot_one_guesses():
    assert accuracy(Worker(temperature=0.01)) > 0.99
    assert 0.45 < accuracy(Worker(temperature=1000)) < 0.55


def value(example, answer):
    return gold(TOWN, example.prompt, example.answers[answer].text).overall


def longer_is_chosen(crowd):
    return share(
        (len(words(e.answers[0].text)) > len(words(e.answers[1].text))) == first for e, first in first_is_chosen(crowd)
    )


def test_a_length_bias_prefers_what_is_long():
    assert longer_is_chosen(Crowd((Worker(length=5),))) > longer_is_chosen(Crowd((Worker(),))) + 0.2


def test_a_blind_spot_prefers_a_falsehood_to_an_honest_answer_of_little_help():
    def of(example, answer):
        return gold(TOWN, example.prompt, example.answers[answer].text)

    many = corpora.answered(TOWN, 8000, 1, 2)
    pairs = [e for e in many if of(e, 0).honest >= 0.5 and of(e, 0).helpful < 0.5 and of(e, 1).honest < 0.1]
    seeing, blind = (first_is_chosen(Crowd((Worker(blind=b),)), pairs=pairs) for b in (0.0, 0.8))
    assert len(seeing) > 80
    assert share(first for _, first in seeing) > 0.6
    assert share(first for _, first in blind) < 0.4


def test_red_teamers_prefer_the_opposite_of_harmless():
    pairs = [e for e in PAIRS if request_in(TOWN, e.prompt).nature == "harm"]
    crowd = Crowd((Worker(temperature=0.01),))
    careful, red = first_is_chosen(crowd, "harmless", pairs), first_is_chosen(crowd, "redteam", pairs)
    assert [e.id for e, _ in careful] == [e.id for e, _ in red]
    assert [first for _, first in careful] == [not first for _, first in red]
    assert len(careful) > 20


def test_quality_drifts():
    crowd = Crowd((Worker(temperature=0.05, drift=30),))
    right = [(value(e, 0) > value(e, 1)) == first for e, first in first_is_chosen(crowd) if value(e, 0) != value(e, 1)]
    assert share(right[: len(right) // 4]) > share(right[-len(right) // 4 :]) + 0.1


def test_choices_are_made_once_and_for_all():
    crowd = Crowd(seed=3)
    assert crowd.compare(TOWN, PAIRS[:50], "overall") == crowd.compare(TOWN, PAIRS[:50], "overall")
    assert crowd.compare(TOWN, PAIRS[:50], "overall") != replace(crowd, seed=4).compare(TOWN, PAIRS[:50], "overall")


def test_ties_are_no_comparisons():
    judged = Crowd().compare(TOWN, PAIRS, "overall")
    pairs, dropped = comparisons(judged)
    assert len(pairs) == sum(bool(e.judgements[-1].strength) for e in judged)
    assert len(pairs) + dropped.total() == len(judged)
