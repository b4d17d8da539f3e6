"""Diversity and length of texts: golden vectors and properties."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from truing.stats import text


@pytest.mark.parametrize(("per", "expected"), [("ngram", (0.6, 1.0, 1.0)), ("word", (0.6, 0.6, 0.2))])
def test_g13_distinct_n_in_both_conventions(per: str, expected: tuple[float, ...]) -> None:
    corpus = ["a b a", "b c"]
    assert [text.distinct(corpus, n, per=per) for n in (1, 2, 3)] == pytest.approx(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_distinct_n_counts_as_sacrebleu_extracts(n: int) -> None:
    """A counter of the n-grams of each line, added up: how BLEU counts them."""
    rng = random.Random(n)
    corpus = [" ".join(rng.choices("abcde", k=rng.randint(0, 9))) for _ in range(50)]
    counts: Counter[tuple[str, ...]] = Counter()
    for line in corpus:
        words = line.split()
        counts += Counter(zip(*(words[i:] for i in range(n))))
    assert text.distinct(corpus, n) == pytest.approx(len(counts) / counts.total())
    words_in_all = sum(len(line.split()) for line in corpus)
    assert text.distinct(corpus, n, per="word") == pytest.approx(len(counts) / words_in_all)


def test_no_ngram_crosses_from_one_text_into_the_next() -> None:
    assert text.distinct(["a b", "c a", "b"], 2) == 1.0  # across texts, "a b" would come twice
    assert list(text.ngrams("a", 2)) == []


def test_token_ids_count_like_words() -> None:
    assert text.distinct([(1, 2, 1), (2, 3)], 1) == text.distinct(["a b a", "b c"], 1)
    assert text.lengths([[5, 6], [], "one two three"]).tolist() == [2, 0, 3]


def test_nothing_to_divide_by_is_nan_and_not_zero() -> None:
    for value in (text.distinct([], 1), text.distinct(["a"], 2), text.distinct([""], 1, "word"), text.unique_rate([])):
        assert math.isnan(value)
    assert text.distinct(["a"], 2, "word") == 0.0


def test_unique_rate() -> None:
    assert text.unique_rate(["a b", "a c", "a b", "a  b"]) == 0.5
    assert text.unique_rate(["ab", "a b"]) == 1.0


def test_repetition_is_per_text() -> None:
    one = text.repetition(["a a a a", "a b c d", "a b a b", ""])
    assert one[:3] == pytest.approx([0.75, 0.0, 0.5]) and np.isnan(one[3])
    assert text.repetition(["a b a b", "a"], n=2)[0] == pytest.approx(1 / 3)


def test_summary() -> None:
    found = text.summary([1, 2, 3, 4, 10])
    assert found == pytest.approx(
        {"n": 5, "mean": 4, "sd": math.sqrt(12.5), "min": 1, "median": 3, "p90": 7.6, "max": 10}
    )
    assert text.summary([]) == {"n": 0}
    assert math.isnan(text.summary([3.0])["sd"])


def test_where_no_space_stands_between_words_every_character_is_one() -> None:
    assert text.tokens("水温八十度，泡 green tea 吧。") == [*"水温八十度泡", "green", "tea", "吧"]
    assert text.lengths(["カナ", "“très  bien” — oui!", "naïve"]).tolist() == [2, 4, 1]
    assert text.distinct(["好好学习"], 1) == 0.75


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["你好", "今天下雨"], "zh"),
        (["hello", "naïve"], "en"),
        (["use 的 as a word"], "en"),
        ([], "en"),
        (["1 + 1"], "en"),
    ],
)
def test_the_language_is_that_of_most_letters(texts: list[str], expected: str) -> None:
    assert text.language(texts) == expected


@pytest.mark.parametrize(
    ("answer", "declines"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m not able to provide instructions for this.", True),
        ("As an AI language model, I must decline.", True),
        ("i can not help with that .", True),
        ("i will not do that .", True),
        ("抱歉，我不能帮助你做这件事。", True),
        ("很遗憾，这个我无法回答", True),
        ("Sure! You can not only boil it but fry it, too.", False),
        ("The capital is Paris.", False),
        ("我可以帮助你。首先打开门。", False),
        ("I am not sure.", False),
        ("First do this. " * 20 + "I cannot say more.", False),  # an answer that ends so has been given
        ("", False),
    ],
)
def test_a_refusal_is_known_by_its_opening(answer: str, declines: bool) -> None:
    assert text.refusals([answer]) == declines


def test_refusals_are_a_share() -> None:
    assert text.refusals(["I cannot do that.", "Yes.", "No.", "Gladly."]) == 0.25
    assert math.isnan(text.refusals([]))
