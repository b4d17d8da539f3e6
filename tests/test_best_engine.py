"""`+best:N:PM`: a model whose every answer is the best of N of the policy's own."""

from __future__ import annotations

from dataclasses import replace

import pytest
from judged import MACHINE, policy_and_judge, wide

from truing.cli import main
from truing.data import read
from truing.data.preface import Preface, write_preface
from truing.engine import AnswerScore, open_engine, open_local, require
from truing.engine.best import Best
from truing.engine.scripted import Scripted
from truing.records import Answer, Example, Message, Sampling, UserError
from truing.settings import Lora

ASKED = [(Message("user", f"paint it {colour}"),) for colour in ("red", "green", "blue")]
DRAW = Sampling(n=3, max_tokens=6, seed=5)
NUMBERS = Scripted("numbers", lambda prompt, number, random: str(random.randint(0, 99)))


class Liking:
    """A preference model that likes what `worth` says; it remembers what it was shown."""

    name, rewards, can = "liking", True, frozenset({"score"})

    def __init__(self, worth=float, fingerprint="liking"):
        self.worth, self.fingerprint, self.shown = worth, fingerprint, []

    def sample(self, prompts, sampling, on_progress=None):
        raise AssertionError("a judge is not asked for answers")

    def score(self, examples):
        self.shown += examples
        return [[AnswerScore(None, 1, reward=self.worth(a.text)) for a in e.answers] for e in examples]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A policy, a preference model, and an adapter that changes what the policy says."""
    home = policy_and_judge(tmp_path_factory.mktemp("models"))
    adapted = open_local(str(home / "lm"), MACHINE, lora=Lora(rank=2))
    wide(p for p in adapted.model.parameters() if p.requires_grad)
    adapted.export(home / "adapter")
    return home


def texts(drawn):
    return [[a.text for a in e.answers] for e in drawn]


def by_hand(policy, judge, n, sampling):
    """The best of each n of the policy's own answers, each scored alone."""
    found = []
    for example in policy.sample(ASKED, replace(sampling, n=sampling.n * n)):
        worth = [
            judge.score([Example(example.prompt, (Answer(a.text, finish=a.finish),))])[0][0].reward
            for a in example.answers
        ]
        rows = [range(k * n, k * n + n) for k in range(sampling.n)]
        best = [max(row, key=worth.__getitem__) for row in rows]
        found.append([(example.answers[i].text, pytest.approx(worth[i], abs=1e-5)) for i in best])
    return found


@pytest.mark.parametrize("on_top", ["", "+lora:{}/adapter", "+prompt:{}/kind.yaml"])
def test_answers_are_the_best_of_the_policys_own(models, on_top):
    write_preface(Preface("kind", "be kind"), models / "kind.yaml")
    under = f"{models / 'lm'}{on_top.format(models)}"
    policy, judge = (open_engine(spec, MACHINE) for spec in (under, str(models / "pm")))
    best = open_engine(f"{under}+best:4:{models / 'pm'}", MACHINE)
    drawn = best.sample(ASKED, DRAW)
    assert [[(a.text, a.reward) for a in e.answers] for e in drawn] == by_hand(policy, judge, 4, DRAW)
    assert texts(drawn) != texts(policy.sample(ASKED, DRAW)), "nothing was chosen"
    assert [e.prompt for e in drawn] == ASKED
    assert {a.by for e in drawn for a in e.answers} == {best.name}
    assert all(a.logps is None for e in drawn for a in e.answers), "those are the policy's, not this model's"


def test_the_best_of_one_is_the_policy(models):
    policy, one = (open_engine(f"{models / 'lm'}{top}", MACHINE) for top in ("", f"+best:1:{models / 'pm'}"))
    for sampling in (DRAW, replace(DRAW, temperature=0.0)):
        plain = [replace(a, by=None, reward=None) for e in one.sample(ASKED, sampling) for a in e.answers]
        assert plain == [replace(a, by=None) for e in policy.sample(ASKED, sampling) for a in e.answers]


def test_an_answer_depends_on_seed_prompt_and_number_alone(models):
    best = open_engine(f"{models / 'lm'}+best:3:{models / 'pm'}", MACHINE)
    whole = texts(best.sample(ASKED, DRAW))
    assert texts(best.sample([ASKED[2], ASKED[0], ASKED[2]], DRAW)) == [whole[2], whole[0], whole[2]]
    assert texts(best.sample(ASKED, replace(DRAW, n=1))) == [row[:1] for row in whole]
    assert texts(best.sample(ASKED, replace(DRAW, seed=6))) != whole


def test_rewards_are_kept_and_the_first_of_equals_is_taken():
    told = []
    best = Best(NUMBERS, Liking(), 8, "numbers+best")
    for example, drawn in zip(best.sample(ASKED, DRAW, told.append), NUMBERS.sample(ASKED, Sampling(n=24, seed=5))):
        own = [int(a.text) for a in drawn.answers]
        assert [a.reward for a in example.answers] == [max(own[k : k + 8]) for k in (0, 8, 16)]
    assert sum(told) == 3 * len(ASKED), "progress counts the answers that come back"
    same = Best(NUMBERS, Liking(lambda text: 1.0), 8, "numbers+best").sample(ASKED, DRAW)
    drawn = NUMBERS.sample(ASKED, Sampling(n=24, seed=5))
    assert texts(same) == [[e.answers[k].text for k in (0, 8, 16)] for e in drawn]


def test_the_judge_reads_texts_and_each_prompt_once():
    class Tokens(Scripted):
        def sample(self, prompts, sampling, on_progress=None):
            drawn = super().sample(prompts, sampling)
            return [replace(e, answers=tuple(replace(a, ids=(1,), logps=(-1.0,)) for a in e.answers)) for e in drawn]

    judge = Liking()
    drawn = Best(Tokens("tokens", lambda p, n, r: str(n)), judge, 2, "x").sample([ASKED[0]] * 3, Sampling())
    assert texts(drawn) == [["1"]] * 3 and drawn[0].answers[0].ids == (1,)
    assert [[(a.text, a.ids, a.logps) for a in e.answers] for e in judge.shown] == [
        [("0", None, None), ("1", None, None)]
    ]


def test_policy_judge_and_number_are_its_fingerprint():
    other = Scripted("others", lambda prompt, number, random: "1")
    engines = [
        Best(policy, Liking(fingerprint=judge), n, "x")
        for policy in (NUMBERS, other)
        for judge in ("a", "b")
        for n in (1, 2)
    ]
    assert len({e.fingerprint for e in engines} | {NUMBERS.fingerprint, other.fingerprint, "a", "b"}) == 12


def test_it_can_be_asked_for_answers_alone():
    best = Best(NUMBERS, Liking(), 2, "x+best:2:y")
    with pytest.raises(UserError, match=r"x.best:2:y cannot score.*How likely an answer is to be the best of several"):
        require(best, "score")


@pytest.mark.parametrize("worth", [float("nan"), float("inf"), None])
def test_a_reward_that_is_no_number_is_said_with_the_answer(worth):
    best = Best(Scripted("odd", lambda p, n, r: "odd"), Liking(lambda text: worth), 2, "x")
    with pytest.raises(UserError, match=f"liking gives the reward {worth} to the answer 'odd'"):
        best.sample(ASKED, Sampling())


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("lm+best:2:lm", "model './lm+best:2:./lm': ./lm is not a preference model, it gives no rewards"),
        ("scripted:echo+best:2:scripted:echo", "scripted:echo is not a preference model"),
        ("pm+best:2:pm", "./pm cannot sample, which is needed here"),
        ("lm+best:2:pm+prompt:hhh", "+best: must be the last modifier; what belongs to the policy stands before it"),
        ("lm+best:2:pm+best:2:pm", "+best: must be the last modifier"),
        ("lm+best:2:./gone", "./gone: "),
        ("lm+best:0:pm", "'+best:0:pm' is not N:PM, for instance +best:16:./pm."),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(models, monkeypatch, capsys, spec, sentence):
    monkeypatch.chdir(models)
    monkeypatch.setattr(Scripted, "sample", lambda *_: pytest.fail("something was drawn"))
    (models / "prompts.jsonl").write_text('{"prompt": [{"role": "user", "content": "hi"}]}\n')
    words = ["--data.path", "prompts.jsonl", "--machine.dtype", "fp32", "--machine.threads", "1"]
    assert main(["sample", spec, *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("truing")]
    assert len(said) == 1 and sentence in said[0] and not (models / "samples.jsonl").exists()


def test_greedy_answers_have_no_best():
    with pytest.raises(UserError, match=r"^x: at temperature 0 all 2 answers to a prompt are the same"):
        Best(NUMBERS, Liking(), 2, "x").sample(ASKED, Sampling(temperature=0.0))


@pytest.mark.parametrize("verb", ["sft", "pm", "offline"])
def test_it_has_no_weights_to_train(models, tmp_path, monkeypatch, capsys, verb):
    monkeypatch.chdir(tmp_path)
    turns = '"prompt": [{"role": "user", "content": "hi"}], "chosen": [{"role": "assistant", "content": "red"}]'
    (tmp_path / "pairs.jsonl").write_text(
        f'{{{turns}, "rejected": [{{"role": "assistant", "content": "blue"}}]}}\n' * 4
    )
    spec = f"{models / 'lm'}+best:2:{models / 'pm'}"
    assert main([verb, spec, "--data.path", "pairs.jsonl", "--machine.threads", "1", "--machine.dtype", "fp32"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "what is needed here is a local folder or a hub model, with +lora: and +vec: at most" in said
    assert not list(tmp_path.glob("runs/*"))


def test_a_model_without_tokens_can_be_sampled_behind_a_preface(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "asked.jsonl").write_text('{"prompt": [{"role": "user", "content": "hi"}]}\n')
    words = "sample --model scripted:echo+prompt:hhh --data.path asked.jsonl --out said.jsonl"
    assert main(words.split()) == 0
    assert read("said.jsonl")[0].answers[0].text == "hi"
