"""What is read between the blocks of a model, and what is added there. Numbered tests are golden vectors."""

import pytest
import torch
from tiny import NAMES, tiny
from torch import tensor

from truing.batch import Group
from truing.model.attention import NAME
from truing.model.decode import generate
from truing.model.hooks import Edit, Places, Stage, Steering, decoder_blocks, places, reading, steered, unwrapped
from truing.model.lm import LanguageModel
from truing.model.pack import pack
from truing.model.proof import prove
from truing.records import Sampling, UserError

H = tensor([[[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]])  # three tokens of one row; the answer's first comes after the third
THREE = Places(tensor([[False, False, False]]), tensor([[False, False, True]]))


PLACES = [*({"at": at} for at in ("response", "answer", "last", "prompt", "all")), {"at": "response", "first": 3}]


def stage(*edits, configurations=None):
    count = configurations or len(edits)
    return Stage(list(enumerate(edits)) if configurations is None else [(0, e) for e in edits], count)


def test_6_steering_in_all_places_and_where_an_answer_is_predicted():
    vector = tensor([0.5, -1.0])
    everywhere = stage(Edit(1, vector, 2.0, at="all"))(H, THREE)
    assert everywhere.tolist() == [[[1, -2], [2, -1], [3, 0]]]
    response = stage(Edit(1, vector, 2.0))(H, THREE)
    assert response.tolist() == [[[0, 0], [1, 1], [3, 0]]]


def test_only_the_first_tokens_of_an_answer():
    """Two are predicted behind the prompt's last token and behind the first of the answer."""
    where, vector = Places(tensor([[0, 0, 1, 2, 3]]), tensor([[False, True, False, False, False]])), tensor([1.0])
    assert stage(Edit(1, vector, first=2))(torch.zeros(1, 5, 1), where).flatten().tolist() == [0, 1, 1, 0, 0]
    with steered(tiny("gpt2"), [[Edit(1, torch.ones(48), first=1), Edit(1, torch.ones(48))]]) as steering:
        assert len(steering.stages[1]) == 2


def test_7_every_row_has_a_configuration_of_its_own():
    h = torch.ones(3, 2, 2)
    masks = tensor([[True, True], [False, True], [True, True]])
    where = Places(masks, torch.zeros_like(masks), which=tensor([0, 1, 2]))
    v, w = tensor([1.0, 0.0]), tensor([0.0, 1.0])
    found = stage(Edit(1, v, 0.0, at="answer"), Edit(1, v, 1.0, at="answer"), Edit(1, w, -2.0, at="answer"))(h, where)
    assert found.tolist() == [[[1, 1], [1, 1]], [[1, 1], [2, 1]], [[1, -1], [1, -1]]]


def test_8_ablation_and_clamping():
    h, v = tensor([[[5.0, 0.0], [1.0, 2.0]]]), tensor([3.0, 4.0])
    where = Places(torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool))
    ablated = stage(Edit(1, v, how="ablate", at="all"))(h, where)
    torch.testing.assert_close(ablated, tensor([[[3.2, -2.4], [-0.32, 0.24]]]))
    clamped = stage(Edit(1, v, -1.5, how="clamp", at="all"))(h, where)
    torch.testing.assert_close(clamped, tensor([[[2.3, -3.6], [-1.22, -0.96]]]))


def test_turning_keeps_the_norm_and_takes_the_direction():
    h, v = tensor([[[3.0, 0.0]]]), tensor([0.0, 4.0])
    where = Places(torch.ones(1, 1, dtype=torch.bool), torch.zeros(1, 1, dtype=torch.bool))
    found = stage(Edit(1, v, how="turn"))(h, where)
    torch.testing.assert_close(found, tensor([[[1.8, 2.4]]]))


def test_a_configuration_without_an_edit_is_left_alone():
    h, where = torch.randn(2, 3, 4), Places(torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool))
    where = Places(where.answer, where.last, which=tensor([0, 1]))
    edit = Edit(1, torch.randn(4), how="ablate")
    found = Stage([(1, edit)], 2)(h, where)
    assert torch.equal(found[0], h[0]) and not torch.equal(found[1], h[1])


def ours(block):
    """Hooks of ours that a block has; transformers leaves some of its own there."""
    hooks = [*block._forward_hooks.values(), *block._forward_pre_hooks.values()]
    return [hook for hook in hooks if not hook.__module__.startswith("transformers")]


@pytest.mark.parametrize("name", NAMES)
def test_hooks_prove_themselves_on_every_architecture(name):
    model = tiny(name)
    count = model.config.get_text_config().num_hidden_layers
    assert len(decoder_blocks(model)) == count
    said = prove(model, range(1, count + 1))
    assert said.startswith("hooked and proven: layer 1 = what block 0 hands on")
    assert not any(map(ours, decoder_blocks(model)))


def test_20_layers_are_counted_from_the_embedding():
    model = tiny("qwen3")
    ids = torch.randint(97, (2, 7))
    told = {}
    with reading(model, range(3), told.__setitem__):
        own = model(ids, output_hidden_states=True).hidden_states
    assert len(told) == len(own) == 3
    torch.testing.assert_close(told[1], own[1])
    torch.testing.assert_close(model.model.norm(told[2]), own[2])  # transformers hands the last one out normed
    with steered(model, [[Edit(2, torch.ones(48))]]):
        assert [len(ours(block)) for block in decoder_blocks(model)] == [0, 1]


def groups():
    draw = torch.Generator().manual_seed(3)

    def ids(n):
        return torch.randint(1, 97, (n,), generator=draw).tolist()

    start = ids(40)
    shapes = ((2, (5, 1)), (0, (4,)), (9, (3, 7, 2)))
    made = [(start + ids(own), [ids(n) for n in answers]) for own, answers in shapes]
    return [Group(prompt, answers, [[True] * len(a) for a in answers]) for prompt, answers in made]


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral_window", "gemma3"])
@pytest.mark.parametrize("at", PLACES)
def test_steered_trees_equal_steered_rows(name, at):
    """Groups share a start and answers share a prompt; each place is steered once, and no neighbour's."""
    owner = tiny(name)
    owner.set_attn_implementation(NAME)
    model, draw = LanguageModel(owner), torch.Generator().manual_seed(0)
    edits = [
        Edit(1, torch.randn(48, generator=draw), 0.5, **at),
        Edit(2, torch.randn(48, generator=draw), -0.5, **at),
    ]
    plain = model(pack(groups(), "tree")).logps
    with model.steered([edits]):
        tree, rows = (model(pack(groups(), layout)).logps for layout in ("tree", "rows"))
    torch.testing.assert_close(tree, rows, atol=2e-5, rtol=1e-5)
    assert (tree - plain).abs().max() > 0.05
    assert torch.equal(model(pack(groups(), "tree")).logps, plain)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral_window", "gpt_neox", "mixtral"])
def test_what_is_drawn_under_steering_is_what_teacher_forcing_says(name):
    """Every place, and every configuration beside the others as by itself: the cache knows nothing of the edits."""
    owner, draw = tiny(name), torch.Generator().manual_seed(0)
    owner.set_attn_implementation(NAME)
    model, sampling = LanguageModel(owner), Sampling(n=3, max_tokens=9, seed=4)
    prompts = [g.prompt for g in groups()]
    vectors = torch.randn(2, 48, generator=draw)
    for at in PLACES:
        configurations = [
            [],
            [Edit(1, vectors[0], 0.6, **at)],
            [Edit(n, v, -0.4, **at) for n, v in zip((1, 2), vectors)],
        ]
        with model.steered(configurations):
            both = [(ids, which) for which in range(3) for ids in prompts]
            drawn = generate(
                owner, [b[0] for b in both], sampling, end_ids=[0], steering=model.steering, which=[b[1] for b in both]
            )
        for which, edits in enumerate(configurations):
            of_it = [one for one, (_, w) in zip(drawn, both) if w == which]
            told = [
                Group(ids, [s.ids for s in row], [[True] * len(s.ids) for s in row]) for ids, row in zip(prompts, of_it)
            ]
            with model.steered([edits]):
                forced = model(pack(told, "tree")).logps
                alone = generate(owner, prompts, sampling, end_ids=[0], steering=model.steering)
            torch.testing.assert_close(
                tensor([x for row in of_it for s in row for x in s.logps]), forced, atol=1e-4, rtol=0
            )
            assert [[s.ids for s in row] for row in alone] == [[s.ids for s in row] for row in of_it]


def test_places_of_trees_and_of_rows():
    made = groups()
    tree, rows = (places(pack(made, layout)) for layout in ("tree", "rows"))
    for found in (tree, rows):
        counted = [n for g in made for a in g.answers for n in range(1, len(a) + 1)]
        assert found.answer[found.answer > 0].tolist() == counted
    assert int(tree.last.sum()) == len(made) and int(rows.last.sum()) == sum(len(g.answers) for g in made)
    batch = pack(made, "tree")
    last = batch.tokens[tree.last].tolist()
    assert last == [g.prompt[-1] for g in made]


def test_a_hook_that_is_not_told_where_it_is_refuses_and_is_gone_after_an_error():
    model = tiny("llama")
    ids = torch.randint(97, (1, 5))
    before = model(ids).logits
    with pytest.raises(RuntimeError, match="does not know where"), steered(model, [[Edit(1, torch.ones(48))]]):
        model(ids)
    assert torch.equal(model(ids).logits, before)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit(1, torch.ones(47)), "the vector has 47 numbers and the model is 48 wide"),
        (Edit(3, torch.ones(48)), "layer 3: there are layers 1 to 2 to steer"),
        (Edit(0, torch.ones(48)), "layer 0: there are layers 1 to 2"),
        (Edit(1, torch.zeros(48)), "the vector is zero"),
        (Edit(1, torch.full((48,), float("nan"))), "not finite"),
    ],
)
def test_what_cannot_be_added_is_refused_in_one_sentence(edit, said):
    with pytest.raises(UserError, match=said):
        Steering(tiny("llama"), [[edit]])


def test_blocks_are_found_under_wrappers_and_refused_where_they_are_uncertain():
    model = tiny("mixtral")
    blocks = decoder_blocks(model)
    wrapped = torch.nn.parallel.DataParallel(torch.compile(model))
    assert unwrapped(wrapped) is model and decoder_blocks(wrapped) is blocks
    model.model.more = torch.nn.ModuleList([torch.nn.Linear(2, 2) for _ in blocks])
    with pytest.raises(UserError, match="which modules are its 2 decoder blocks is not certain"):
        decoder_blocks(model)
