"""Order, split, cache and description."""

import json
from collections import Counter
from itertools import chain

import numpy as np
import pytest

from truing.data import Cache, Order, describe, read, split, write
from truing.data.split import first_turn
from truing.records import Answer, Example, Judgement, Message, UserError


def test_every_row_comes_once_an_epoch_in_another_order_each_time():
    order = Order([3, 5], seed=1)
    rows = [(0, row) for row in range(3)] + [(1, row) for row in range(5)]
    epochs = [order.next(8) for _ in range(4)]
    assert all(sorted(epoch) == rows for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert Order([3, 5], seed=2).next(8) != epochs[0]


@pytest.mark.parametrize("weights", [None, [1, 3, 0.5]])
def test_the_order_does_not_depend_on_how_much_is_taken_at_a_time(weights):
    """Batches span the end of an epoch: nothing is dropped or repeated there."""
    whole = Order([7, 11, 2], weights, seed=3).next(100)
    order = Order([7, 11, 2], weights, seed=3)
    assert [pair for k in (1, 6, 13, 30, 50) for pair in order.next(k)] == whole


@pytest.mark.parametrize("weights", [None, [1, 3, 0.5]])
@pytest.mark.parametrize("stop", [0, 5, 19, 20, 21, 40, 99])
def test_resuming_continues_the_same_order(weights, stop):
    whole = Order([7, 11, 2], weights, seed=3).next(120)
    before = Order([7, 11, 2], weights, seed=3)
    before.next(stop)
    state = json.loads(json.dumps(before.state()))
    after = Order([7, 11, 2], weights, seed=3)
    after.next(31)  # wherever it stood
    after.load_state(state)
    assert after.next(120 - stop) == whole[stop:]
    assert before.next(120 - stop) == whole[stop:]


def test_a_mixture_keeps_its_weights_everywhere_and_shuffles_each_dataset():
    weights = [0.6, 0.3, 0.1]
    order = Order([10, 50, 5], weights, seed=0)
    drawn = order.next(1000)
    for start in range(0, 1000, 50):
        counts = Counter(dataset for dataset, _ in drawn[start : start + 50])
        assert all(abs(counts[d] - 50 * weights[d]) <= 1 for d in range(3))
    of_first = [row for dataset, row in drawn if dataset == 0]
    assert all(sorted(of_first[i : i + 10]) == list(range(10)) for i in range(0, 600, 10))
    assert of_first[:10] != of_first[10:20]


def test_another_mixture_is_not_continued():
    state = Order([3, 5], [1, 1], seed=0).state()
    for other in (Order([3, 6], [1, 1]), Order([3, 5], [1, 2]), Order([3, 5]), Order([3, 5], [1, 1], seed=1)):
        with pytest.raises(UserError, match=r"the order cannot continue: its (sizes|weights|seed) were"):
            other.load_state(state)


def test_impossible_mixtures_are_refused():
    for sizes, weights in [([], None), ([3, 0], None), ([3], [0]), ([3], [1, 1]), ([3], [float("nan")])]:
        with pytest.raises(UserError, match="mixture"):
            Order(sizes, weights)


def talk(*texts, system=None):
    roles = ("user", "assistant")
    start = (Message("system", system),) if system else ()
    return (*start, *(Message(roles[i % 2], text) for i, text in enumerate(texts)))


def test_a_conversation_lies_in_one_part_whatever_its_form():
    """One first human turn: as messages, later in the chat, under a system line, as a transcript, with other spaces."""
    for n in range(40):
        question = f"What is {n}?"
        examples = [
            Example(talk(question)),
            Example(talk(question, "A number.", "Sure?")),
            Example(talk(question, system="Be brief.")),
            Example(f"\n\nHuman: {question}\n\nAssistant: A number.\n\nHuman: Sure?\n\nAssistant:"),
            Example(question.upper().replace(" ", "  ")),
        ]
        assert sorted(map(len, split(examples, {"train": 0.5, "test": 0.5}).values())) == [0, 5]


def test_split_shares_seeds_and_order():
    examples = [Example(talk(f"question {n}"), (Answer("a"),)) for n in range(2000)]
    parts = split(examples, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=1)
    assert list(parts) == ["train", "dev", "test"]
    assert sorted(id(example) for part in parts.values() for example in part) == sorted(map(id, examples))
    assert parts["train"] == [example for example in examples if example in parts["train"]]
    # Binomial: four standard deviations around the shares.
    for name, share in {"train": 0.7, "dev": 0.1, "test": 0.2}.items():
        assert abs(len(parts[name]) - 2000 * share) < 4 * (2000 * share * (1 - share)) ** 0.5
    assert split(examples, {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=2) != parts
    fewer = split(examples[500:], {"train": 0.7, "dev": 0.1, "test": 0.2}, seed=1)
    assert fewer["test"] == [e for e in parts["test"] if e in examples[500:]]  # does not depend on the other rows


def test_texts_without_a_prompt_are_split_by_themselves():
    examples = [Example("", (Answer(f"story {n}"),)) for n in range(50)]
    assert all(split(examples, {"a": 0.5, "b": 0.5}).values())


def test_shares_that_do_not_add_up_are_refused():
    for parts in ({}, {"a": 0.5}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}):
        with pytest.raises(UserError, match="add up to 1"):
            split([], parts)


class Model:
    """Stands for a slow pass: per-token numbers and one number for each answer."""

    def __init__(self, ids):
        self.ids, self.asked = ids, []

    def __call__(self, positions):
        self.asked.append([self.ids[p] for p in positions])
        return [self.says(self.ids[p]) for p in positions]

    @staticmethod
    def says(id):
        size = int(id)
        return {
            "logps": np.arange(size, dtype=np.float32) - size,
            "at": np.full((size, 3), size, dtype=np.float16),
            "reward": np.array([size, -size], dtype=np.float64),
        }


def same(found, ids):
    return all(
        arrays[name].dtype == expected.dtype and np.array_equal(arrays[name], expected)
        for arrays, id in zip(found, ids, strict=True)
        for name, expected in Model.says(id).items()
    )


def test_cache_computes_each_example_once(tmp_path):
    ids = ["3", "0", "5", "3", "2"]
    model, cache = Model(ids), Cache(tmp_path, {"model": "m"})
    assert same(cache.fetch(ids, model, chunk=2), ids)
    assert sorted(chain(*model.asked)) == ["0", "2", "3", "5"] and max(map(len, model.asked)) == 2
    assert (cache.hits, cache.misses) == (1, 4)

    others = ["7", "2", "0"]  # a new process, other rows, another order
    model, cache = Model(others), Cache(tmp_path, {"model": "m"})
    assert same(cache.fetch(others, model), others)
    assert model.asked == [["7"]] and (cache.hits, cache.misses) == (2, 1)


def test_cache_of_another_model_is_another_cache(tmp_path):
    Cache(tmp_path, {"model": "m"}).fetch(["3"], Model(["3"]))
    model = Model(["3"])
    Cache(tmp_path, {"model": "n"}).fetch(["3"], model)
    assert model.asked == [["3"]]


def test_cache_keeps_the_chunks_done_before_a_kill(tmp_path):
    ids = ["1", "2", "3", "4"]
    model = Model(ids)

    def dies_later(positions):
        if len(model.asked) == 1:
            raise KeyboardInterrupt
        return model(positions)

    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path, {}).fetch(ids, dies_later, chunk=2)
    again = Model(ids)
    assert same(Cache(tmp_path, {}).fetch(ids, again, chunk=2), ids)
    assert sorted(chain(*model.asked, *again.asked)) == ids


def test_damaged_cache_is_named(tmp_path):
    Cache(tmp_path, {}).fetch(["3"], Model(["3"]))
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError, match=f"{file.name} is damaged.*Delete it"):
        Cache(tmp_path, {}).fetch(["3"], Model(["3"]))


def test_description(tmp_path):
    better_first = (Judgement("order", (0, 1)),)
    examples = [
        Example(talk("one two three"), (Answer("a b"), Answer("c")), better_first),
        Example(talk("one two three", "c", "more"), (Answer("a"), Answer("b c d")), better_first),
        Example(talk("else"), (Answer("a"), Answer("b")), (Judgement("order", (1, 0)),)),
    ]
    write(tmp_path / "t.jsonl", [*examples, examples[0]], "truing")
    found = describe(read(str(tmp_path / "t.jsonl")))
    assert found["rows"] == {"read": 4, "kept": 4, "dropped": {}}
    assert found["answers"] == {2: 4} and found["judgements"] == {"order": 4}
    assert found["words"]["prompt"] == {"mean": 3.0, "median": 3.0, "p90": pytest.approx(4.4), "max": 5}
    assert found["words"]["rank 0"]["mean"] == 1.5 and found["words"]["rank 1"]["max"] == 3
    assert found["length_only"] == (1 + 0 + 0.5 + 1) / 4
    assert found["continues_with_rank"] == {1: 2}  # "c", the worse one, in the first row and in its repetition
    assert (found["same_first_turn"], found["same_prompt"]) == (3, 1)
    assert found["defects"] == {"repeated example": 1}
    json.dumps(found)


def test_first_turn_of_a_text_is_the_text():
    assert first_turn(Example("Two  and two is")) == "two and two is"
    assert first_turn(Example("\n\nHuman: Hi there\n\nAssistant:")) == "hi there"
    assert first_turn(Example((), (Answer("said"),))) == "said"
