"""Means over parts of texts, at every layer. Numbered tests are golden vectors."""

import pytest
import torch
from tiny import NAMES, tiny
from torch import tensor

from truing.batch import Group
from truing.model.attention import NAME
from truing.model.decode import generate
from truing.model.lm import LanguageModel
from truing.model.pack import batches, pack
from truing.model.states import Moments, _Parts, means
from truing.model.vectors import LAST, PROMPT, RESPONSE
from truing.records import Sampling


def group(prompt, *answers):
    return Group([1] * prompt, [[2] * n for n in answers], [[True] * n for n in answers])


A, B = [[1.0, 0], [3, 2], [5, 4], [7, 0]], [[1.0, 1], [2, 2], [4, 0], [6, 6], [0, 3]]


@pytest.mark.parametrize(("layout", "states"), [("tree", [*A, *B]), ("rows", [*A, [9.0, 9.0], *B])])
def test_1_means_over_the_parts_of_a_text(layout, states):
    found = _Parts(pack([group(2, 2), group(3, 2)], layout)).of(tensor(states))
    torch.testing.assert_close(found[RESPONSE], tensor([[6.0, 2.0], [3.0, 4.5]]))
    torch.testing.assert_close(found[PROMPT], tensor([[2.0, 1.0], [7 / 3, 1.0]]))
    assert found[LAST].tolist() == [[3, 2], [4, 0]]
    assert found[RESPONSE].mean(0).tolist() == [4.5, 3.25]


def test_2_every_answer_weighs_the_same():
    batch = pack([group(1, 1, 3)], "tree")
    found = _Parts(batch).of(tensor([[9.0, 9], [2, 0], [0, 3], [0, 6], [3, 0]]))
    assert found[RESPONSE].mean(0).tolist() == [1.5, 1.5]


def test_15_sums_are_exact_whatever_the_model_computes_in():
    batch = pack([group(1, 1000), group(1, 300)], "tree")
    states = torch.cat([torch.ones(1001, 1), torch.full((301, 1), 0.1)]).bfloat16()
    found = _Parts(batch).of(states)[RESPONSE]
    assert found[0].item() == 1.0
    assert found[1].item() == pytest.approx(float(tensor(0.1).bfloat16()), rel=1e-6)


def test_16_two_halves_merge_to_the_whole():
    left, right = Moments(), Moments()
    left.add(tensor([1.0, 2, 3]))
    right.add(tensor([10.0, 20]))
    left.merge(right)
    assert float(left.mean) == pytest.approx(7.2) and float(left.variance) == pytest.approx(50.96)
    left.merge(Moments())
    assert left.count == 5


def texts():
    draw = torch.Generator().manual_seed(1)

    def ids(n):
        return torch.randint(1, 97, (n,), generator=draw).tolist()

    start = ids(36)
    shapes = ((3, (4, 1, 6)), (1, (2,)), (7, (5, 3)))
    made = [(start + ids(own), [ids(n) for n in lengths]) for own, lengths in shapes]
    return [Group(prompt, answers, [[True] * len(a) for a in answers]) for prompt, answers in made]


@pytest.mark.parametrize("name", NAMES)
def test_means_are_those_of_one_text_at_a_time(name):
    """In both layouts, from hidden states as transformers hands them out; the last one it norms."""
    owner = tiny(name)
    count = owner.config.get_text_config().num_hidden_layers
    rows = []
    for g in texts():
        for answer in g.answers:
            with torch.no_grad():
                own = owner(torch.tensor([g.prompt + answer]), output_hidden_states=True).hidden_states[:count]
            at = len(g.prompt)
            rows.append([(h[0, at:].mean(0), h[0, :at].mean(0), h[0, at - 1]) for h in own])
    owner.set_attn_implementation("sdpa" if name == "falcon" else NAME)
    model = LanguageModel(owner)
    first = [0, 3, 4]  # the first answer of each group
    for layout in ("rows",) if name == "falcon" else ("tree", "rows"):
        found = means(model, pack(texts(), layout), range(count))
        for layer in range(count):
            expected = [torch.stack(part) for part in zip(*(row[layer] for row in rows))]
            torch.testing.assert_close(found[RESPONSE][:, layer], expected[0], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found[PROMPT][:, layer], expected[1][first], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(found[LAST][:, layer], expected[2][first], atol=1e-4, rtol=1e-4)


def test_means_do_not_depend_on_batches_and_blocks_behind_the_deepest_layer_are_not_computed():
    owner = tiny("llama")
    owner.set_attn_implementation(NAME)
    model, calls = LanguageModel(owner), []
    owner.model.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    whole = means(model, pack(texts(), "tree"))
    assert whole[RESPONSE].shape == (6, 3, 48) and calls == [1]
    parts = [means(model, batch)[RESPONSE] for _, batch in batches(texts(), "tree", 60)]
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat(parts), whole[RESPONSE], atol=1e-5, rtol=1e-5)
    calls.clear()
    early = means(model, pack(texts(), "tree"), [1])
    torch.testing.assert_close(early[LAST][:, 0], whole[LAST][:, 1])
    assert not calls
    torch.testing.assert_close(means(model, pack(texts(), "tree"))[PROMPT], whole[PROMPT])


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral_window", "mixtral"])
def test_what_is_heard_while_answers_are_written_is_what_a_second_pass_says(name):
    """Rows come and go, some prompts are longer, some answers are cut off: their last token is read, too."""
    owner = tiny(name)
    owner.set_attn_implementation(NAME)
    model, prompts = LanguageModel(owner), [g.prompt for g in texts()] + [[5, 6]]
    sampling = Sampling(n=5, max_tokens=14, seed=2)
    drawn = generate(owner, prompts, sampling, end_ids=[0, 1, 2, 3, 4, 5, 6, 7], max_rows=4, listen=True)
    every = [(ids, one) for ids, row in zip(prompts, drawn) for one in row]
    assert {one.finish for _, one in every} == {"end", "length"}
    for ids, one in every:
        said = one.ids[:-1] if one.finish == "end" else one.ids
        found = means(model, pack([Group(ids, [said or [1]], [[True] * max(1, len(said))])], "rows"))
        torch.testing.assert_close(one.states[1], found[LAST][0], atol=1e-4, rtol=1e-4)
        if said:
            torch.testing.assert_close(one.states[0], found[RESPONSE][0], atol=1e-4, rtol=1e-4)
    plain = generate(owner, prompts, sampling, end_ids=[0, 1, 2, 3, 4, 5, 6, 7], max_rows=4)
    assert [[one.ids for one in row] for row in plain] == [[one.ids for one in row] for row in drawn]
