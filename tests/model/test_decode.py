"""The sampler against the slow and obvious: one teacher-forced forward pass per answer, without cache or padding."""

import random
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from scipy.stats import chisquare
from tiny import END_ID, NAMES, tiny, tiny_tokenizer
from torch import nn

from truing.model import cache
from truing.model.decode import cut, generate
from truing.model.draw import draw, uniform
from truing.records import Sampling, UserError

VOCAB = 97


def prompts(count, shortest=1, longest=50, seed=0):
    """Very unequal ones, among them a single token, without the end marker."""
    chance = random.Random(seed)
    lengths = [shortest, longest, *(chance.randint(shortest, longest) for _ in range(count - 2))]
    return [[chance.randrange(1, VOCAB) for _ in range(length)] for length in lengths]


@torch.no_grad()
def forced(model, prompt, ids, temperature=1.0):
    """[len(ids), V] log softmax(logits / T) where each token of the answer is predicted."""
    logits = model(torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(dim=1)


def gap(model, asked, answered, temperature):
    """Largest difference between recorded and teacher-forced log-probabilities."""
    worst = 0.0
    for prompt, answers in zip(asked, answered):
        for answer in answers:
            expected = forced(model, prompt, answer.ids, temperature)[range(len(answer.ids)), answer.ids]
            worst = max(worst, (expected - torch.tensor(answer.logps)).abs().max().item())
    return worst


def flat(answered):
    return [answer for answers in answered for answer in answers]


def ids(answered):
    return [[answer.ids for answer in answers] for answers in answered]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_is_teacher_forced_at_batch_1_and_64(name):
    """And the same sample comes out. 22 prompts × 3 answers of 1 to 32 tokens: rows leave, are moved and replaced."""
    model, asked = tiny(name), prompts(22, longest=40)
    for temperature in (1.0, 0.7):
        settings = Sampling(n=3, max_tokens=32, temperature=temperature, seed=3)
        many = generate(model, asked, settings, end_ids=[END_ID, 5, 6, 7], max_rows=64)
        assert gap(model, asked, many, temperature) < 1e-4
        some = asked[:3]
        assert ids(generate(model, some, settings, end_ids=[END_ID, 5, 6, 7], max_rows=1)) == ids(many[:3])


@pytest.mark.parametrize("name", NAMES)
def test_what_all_prompts_begin_with_is_run_once_and_changes_nothing(name):
    model, preface = tiny(name), prompts(1, shortest=50, longest=50, seed=9)[0]
    asked = [preface + own for own in prompts(7, longest=40)] + [preface]
    settings = Sampling(n=2, max_tokens=20, seed=3)
    seen = []
    hook = model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    many = generate(model, asked, settings, end_ids=[END_ID, 5, 6, 7])
    hook.remove()
    assert [shape for shape in seen if shape[0] == 1 and shape[1] == 49] == [(1, 49)]  # each keeps a token of its own
    assert max(width for rows, width in seen if rows > 1) <= 41
    assert gap(model, asked, many, 1.0) < 1e-4
    assert ids([generate(model, [p], settings, end_ids=[END_ID, 5, 6, 7])[0] for p in asked]) == ids(many)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2"])
def test_many_generations_of_rows_share_a_small_cache(name, monkeypatch):
    """So many that the cache's last column is reached and everything moves back to the front, several times."""
    monkeypatch.setattr(cache, "SLACK", 4)
    model, asked = tiny(name), prompts(30, longest=30)
    settings = Sampling(n=4, max_tokens=24, seed=1)
    few = generate(model, asked, settings, end_ids=range(0, VOCAB, 8), max_rows=5)
    lengths = [len(answer.ids) for answer in flat(few)]
    assert min(lengths) == 1 and max(lengths) == 24
    assert sum(lengths) / 5 > 2 * (30 + 24)
    assert gap(model, asked, few, 1.0) < 1e-4
    assert ids(few) == ids(generate(model, asked, settings, end_ids=range(0, VOCAB, 8), max_rows=64))


def test_a_sample_depends_on_seed_prompt_and_number_only():
    model, asked = tiny("qwen3"), prompts(6)
    settings = Sampling(n=4, max_tokens=20, seed=1)
    answered = ids(generate(model, asked, settings, end_ids=[]))
    assert ids(generate(model, asked[::-1], settings, end_ids=[]))[::-1] == answered
    assert ids(generate(model, [asked[2]], replace(settings, n=2), end_ids=[])) == [answered[2][:2]]
    assert ids(generate(model, [asked[2], asked[0], asked[2]], settings, end_ids=[])) == [
        answered[i] for i in (2, 0, 2)
    ]
    drawn = [tuple(answer) for answer in flat(answered)]
    assert len(set(drawn)) == len(drawn)
    torch.manual_seed(99)
    other = ids(generate(model, asked, replace(settings, seed=2), end_ids=[]))
    assert not {tuple(answer) for answer in flat(other)} & set(drawn)


def test_every_distinct_prompt_is_run_once():
    """Its n answers, and a second asking, add one token each and never the prompt again."""
    model, asked = tiny("llama"), prompts(4, shortest=20)
    fed = []
    model.model.register_forward_pre_hook(lambda m, a, kw: fed.append(kw["input_ids"].numel()), with_kwargs=True)
    answered = generate(model, asked + asked[:2], Sampling(n=8, max_tokens=6), end_ids=[])
    drawn = sum(len(answer.ids) for answer in flat(answered[:4]))
    assert fed[0] <= 4 * 50 and sum(fed[1:]) == drawn


def test_finished_rows_leave():
    model = tiny("llama")
    rows = []
    model.register_forward_pre_hook(lambda m, a, kw: rows.append(len(kw["input_ids"])), with_kwargs=True)
    (answers,) = generate(model, prompts(2)[1:], Sampling(n=16, max_tokens=60), end_ids=range(0, VOCAB, 6))
    living = [sum(len(answer.ids) > step for answer in answers) for step in range(len(rows))]
    assert rows == living and rows[-1] < 16


@pytest.mark.parametrize("settings", [Sampling(), Sampling(top_k=5), Sampling(top_p=0.6), Sampling(top_k=9, top_p=0.7)])
def test_frequencies_are_the_softmax(settings):
    """20 000 first tokens from one distribution: χ² against the exact one, and nothing outside the support."""
    model, prompt = tiny("llama"), [3, 14, 15, 92]
    settings = replace(settings, n=20_000, max_tokens=1, temperature=0.8, seed=5)
    (answers,) = generate(model, [prompt], settings, end_ids=[], max_rows=20_000)
    exact = forced(model, prompt, [0], 0.8)[0].exp().double()
    ordered, order = exact.sort(descending=True)
    keep = torch.ones(VOCAB, dtype=torch.bool)
    if settings.top_k:
        keep[settings.top_k :] = False
    share = ordered * keep / (ordered * keep).sum()
    keep &= share.cumsum(0) - share < settings.top_p
    expected = torch.zeros(VOCAB, dtype=torch.float64).scatter(0, order, ordered * keep / (ordered * keep).sum())
    counts = torch.bincount(torch.tensor([answer.ids[0] for answer in answers]), minlength=VOCAB)
    assert not counts[expected == 0].any()
    common = expected * 20_000 > 5
    seen = [*counts[common].tolist(), counts[~common].sum().item()]
    wanted = [*(expected[common] * 20_000).tolist(), expected[~common].sum().item() * 20_000]
    bins = [(s, w) for s, w in zip(seen, wanted) if w > 0]
    assert chisquare(*zip(*bins)).pvalue > 1e-3
    # Recorded before truncation: what teacher forcing gives.
    assert max(abs(answer.logps[0] - exact[answer.ids[0]].log().item()) for answer in answers) < 1e-4


def test_uniform_numbers_are_uniform_and_unrelated():
    keys, steps = torch.arange(1000).repeat_interleave(100), torch.arange(100).repeat(1000)
    u = uniform(keys, steps).double()
    assert u.min() >= 0 and u.max() < 1
    assert chisquare(torch.histc(u, 50, 0, 1).numpy()).pvalue > 1e-3
    table = u.view(1000, 100)
    for a, b in ((table[1:], table[:-1]), (table[:, 1:], table[:, :-1])):  # neighbouring streams, neighbouring steps
        assert abs(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) < 4 / 99_000**0.5


def test_uniform_is_splitmix64():
    """The first three outputs of the published generator at seed 1234567, top 23 bits: streams must not change."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    u = uniform(torch.full((3,), 1234567), torch.arange(3))
    assert u.tolist() == [(x >> 41) / 2**23 for x in published]


def test_draw_at_the_edges():
    logits = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf]]).repeat(3, 1)
    token, logps = draw(logits, Sampling(), torch.tensor([0.0, 0.5, 1 - 2**-23]))
    assert token.tolist() == [0, 2, 2]
    assert logps.exp().tolist() == pytest.approx([0.5] * 3)
    # bf16 logits, log-softmax in fp32
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(0)).bfloat16()
    token, logps = draw(logits, Sampling(temperature=0.7), torch.rand(4))
    expected = (logits.double() / 0.7).log_softmax(1)[range(4), token]
    assert (logps - expected).abs().max() < 1e-5


def test_greedy_takes_the_likeliest_and_records_temperature_1():
    model, asked = tiny("gpt_neox"), prompts(5)
    answered = generate(model, asked, Sampling(n=2, max_tokens=15, temperature=0.0), end_ids=[END_ID])
    for prompt, (one, two) in zip(asked, answered):
        assert one.ids == two.ids == forced(model, prompt, one.ids).argmax(1).tolist()
    assert gap(model, asked, answered, 1.0) < 1e-4


def test_ends():
    """The end marker is kept and stops; max_tokens counts it; without any the answer is as long as allowed."""
    model, asked = tiny("llama"), prompts(8)
    free = generate(model, asked, Sampling(n=4, max_tokens=30), end_ids=[])
    assert {(len(a.ids), a.finish) for a in flat(free)} == {(30, "length")}
    ends = {END_ID, 17, 40, 41}
    ended = generate(model, asked, Sampling(n=4, max_tokens=30), end_ids=ends)
    at_last = Sampling(n=4, max_tokens=1)
    for prompt, long, short in zip(asked, free, ended):
        for a, b in zip(long, short):
            at = next((i for i, token in enumerate(a.ids) if token in ends), None)
            assert b.ids == (a.ids if at is None else a.ids[: at + 1])
            assert b.finish == ("length" if at is None else "end")
            assert b.logps == pytest.approx(a.logps[: len(b.ids)], abs=1e-4)
        (first,) = generate(model, [prompt], at_last, end_ids=[long[0].ids[0]])
        assert first[0].finish == "end"


def test_stop_texts_that_span_tokens():
    """Cut at the token that completes the first stop text, wherever it falls between two looks, also before an end."""
    model, tokenizer, asked = tiny("llama"), tiny_tokenizer(), prompts(10)
    settings = Sampling(n=6, max_tokens=40, temperature=0.9, seed=2)
    free = flat(generate(model, asked, settings, end_ids=[END_ID]))
    texts = [tokenizer.decode([i for i in answer.ids if i != END_ID]) for answer in free]
    long = [text for text in texts if len(text) > 30]
    stop = (long[0][-3:], *(text[2 * i : 2 * i + 2 + i % 2] for i, text in enumerate(long[1:15])))
    settings = replace(settings, stop=stop)
    stopped = flat(generate(model, asked, settings, end_ids=[END_ID], decode=tokenizer.decode, max_rows=7))
    assert {"stop", "end", "length"} == {answer.finish for answer in stopped}
    for text, a, b in zip(texts, free, stopped):
        count = min((text.find(s) + len(s) for s in stop if s in text), default=None)
        assert b.ids == a.ids[:count]  # one token is one character
        assert len(b.logps) == len(b.ids)
        assert b.finish == (a.finish if count is None else "stop")
        assert cut(tokenizer.decode(b.ids), stop) == cut(tokenizer.decode(a.ids), stop)


def test_cut():
    assert cut("a Human: b User: c", ("User:", "Human:")) == "a "
    assert cut("nothing here", ("User:",)) == "nothing here"
    assert cut("User:", ("User:",)) == ""


def test_values_are_read_where_the_token_is_predicted():
    model, asked = tiny("qwen2"), prompts(5)
    head = nn.Linear(48, 1)
    answered = generate(model, asked, Sampling(n=3, max_tokens=20), end_ids=[END_ID, 8], value_head=head, max_rows=4)
    for prompt, answers in zip(asked, answered):
        for answer in answers:
            with torch.no_grad():
                hidden = model.model(torch.tensor([[*prompt, *answer.ids]])).last_hidden_state[0, len(prompt) - 1 : -1]
                assert answer.values == pytest.approx(head(hidden)[:, 0].tolist(), abs=1e-4)
    assert generate(model, asked[:1], Sampling(), end_ids=[])[0][0].values is None
    assert not model.lm_head._forward_pre_hooks


def test_lora_is_on_and_training_mode_comes_back():
    """Adapters with dropout: the sampler must see them, without the dropout."""
    plain, asked = tiny("llama"), prompts(5)
    without = ids(generate(plain, asked, Sampling(n=2, max_tokens=20), end_ids=[END_ID]))
    settings = LoraConfig(target_modules=["q_proj", "v_proj"], lora_dropout=0.5, init_lora_weights=False)
    model = get_peft_model(plain, settings).train()
    answered = generate(model, asked, Sampling(n=2, max_tokens=20), end_ids=[END_ID])
    assert model.training and ids(answered) != without
    assert gap(model.eval(), asked, answered, 1.0) < 1e-4
    with model.disable_adapter():
        assert ids(generate(model, asked, Sampling(n=2, max_tokens=20), end_ids=[END_ID])) == without


def test_pad_is_irrelevant():
    """A pad id that is the end marker, and one that occurs inside prompts, change nothing."""
    model, asked = tiny("mistral_window"), prompts(6)
    settings = Sampling(n=2, max_tokens=20)
    answered = ids(generate(model, asked, settings, end_ids=[END_ID]))
    for pad in (END_ID, asked[0][0]):
        model.config.pad_token_id = pad
        assert ids(generate(model, asked, settings, end_ids=[END_ID])) == answered


def test_progress_adds_up():
    heard = []
    generate(
        tiny("phi"), prompts(7), Sampling(n=3, max_tokens=12), end_ids=[3, 4, 5], max_rows=4, on_progress=heard.append
    )
    assert sum(heard) == 21 and min(heard) > 0
    assert generate(tiny("phi"), [], Sampling(), end_ids=[]) == []


def test_bad_input_gets_a_sentence():
    model = tiny("gpt2")
    fits = Sampling(max_tokens=12)
    assert len(generate(model, [[1] * 500], fits, end_ids=[])[0][0].ids) == 12
    for asked, settings, words in [
        ([[1], [1] * 501], fits, "Prompt 1 has 501 tokens.*512 positions"),
        ([[1], []], fits, "Prompt 1 is empty"),
        ([[1]], Sampling(n=0), "at least 1"),
        ([[1]], Sampling(top_p=0.0), "top_p"),
        ([[1]], Sampling(stop=("x", "")), "empty stop text"),
    ]:
        with pytest.raises(UserError, match=words):
            generate(model, asked, settings, end_ids=[], decode=str)
    model = tiny("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[42] = torch.nan
    with pytest.raises(UserError, match=r"not finite for token 1 .* prompt 1"):
        generate(model, [[1, 2, 3], [1, 42, 3]], replace(fits, top_k=2), end_ids=[])
