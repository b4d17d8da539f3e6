"""What can be wrong with a recipe of PPO, its prompts, its judges: one sentence each, and no run folder left behind."""

import json
import shutil
from pathlib import Path

import pytest
from tiny import tiny, tiny_tokenizer

from truing.align.ingredients import Ppo
from truing.align.presets import INGREDIENTS, NAMES, described, preset, shown
from truing.cli import main
from truing.config import dump, load
from truing.schema import plain

CHAT = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A policy, prompts, and what judges may do wrong."""
    folder, tokenizer = tmp_path_factory.mktemp("place"), tiny_tokenizer()
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(folder / "policy")
    tiny("qwen3").save_pretrained(folder / "policy")
    (folder / "prompts.jsonl").write_text('{"prompt": [{"role": "user", "content": "say a"}]}\n' * 2)
    (folder / "judges.py").write_text(
        "def nan(prompts, completions, **columns):\n    return [float('nan')] * len(prompts)\n"
        "def broken(prompts, completions, **columns):\n    return [1 / 0 for _ in prompts]\n"
        "def good(prompts, completions, **columns):\n    return [1.0] * len(prompts)\n"
    )
    return folder


@pytest.fixture
def ppo(place, monkeypatch, capsys):
    def called(*words, data="prompts.jsonl", reward="good", keep=()):
        monkeypatch.chdir(place)
        given = {
            "model": "./policy",
            "data.path": data,
            "rewards": f"call:judges.py:{reward}",
            "critic.start": "policy",
            "critic.pretrain": "0",
            "rollouts": "2",
            "optim.batch": "2",
            "iterations": "1",
            "sampling.max_tokens": "4",
            "machine.dtype": "fp32",
            "machine.threads": "1",
        }
        line = [word for key, value in given.items() if key not in keep for word in (f"--{key}", value)]
        code = main(["ppo", *line, *words])
        return code, capsys.readouterr().err

    return called


def refused(found, *parts):
    code, said = found
    last = said.strip().splitlines()[-1]
    assert code == 2 and last.startswith("truing ppo: ") and "Traceback" not in said
    assert all(part in last for part in parts), last
    assert len(last) < 700


def test_judges_that_fail_are_shown_with_the_answer(ppo, place):
    refused(ppo(reward="nan"), "nan", "at the answer")
    refused(ppo(reward="broken"), "ZeroDivisionError", "at the answer")
    refused(ppo("--rewards", "call:judges.py:nothing", keep=("rewards",)), "there is no function 'nothing'")
    refused(ppo("--rewards", "call:judges.py:good if kind", keep=("rewards",)), "if COLUMN=VALUE")
    refused(ppo("--rewards", "call:judges.py:good if kind=a", keep=("rewards",)), "judges nothing")
    assert not list((place / "runs").glob("ppo-*"))


def test_prompts_that_cannot_be_asked(ppo, place):
    (place / "empty.jsonl").write_text('{"prompt": ""}\n')
    refused(ppo(data="empty.jsonl"), "empty")
    (place / "long.jsonl").write_text('{"prompt": [{"role": "user", "content": "%s"}]}\n' % ("a" * 40))
    refused(ppo("--data.max_tokens", "20", data="long.jsonl"), "prompt_too_long 1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sampling.top_p", "0.9"], "mismatch=ignore"),
        (["--sampling.temperature", "0"], "likeliest answer teaches nothing"),
        (["--rollouts", "3"], "rollouts must be a multiple of optim.batch (2)"),
        (["--advantage", "rloo"], "sampling.n must be at least 2"),
        (["--optim.steps", "5"], "optim passes over"),
        (["--optim.epochs", "0.5"], "optim passes over"),
        (["--critic.start", "reward"], "rewards name no preference model"),
        (["--critic.start", "shared", "--critic.pretrain", "2"], "needs a critic of its own"),
        (["--preset", "maximal"], "preset must be"),
        (["--update.clip", "0"], "update.clip"),
        (["--update.dual", "0.5"], "update.dual must be above 1"),
        (["--update.entropy_target", "50", "--update.entropy", "0.1"], "no entropy is ever above ln V"),
        (["--kl.place", "loss"], "kl.estimator is k1"),
        (["--kl.target", "3", "--kl.horizon", "1"], "at least the 2 answers"),
        (["--lora.rank", "2", "--lora.dropout", "0.1"], "lora.dropout must be 0"),
        (["--lora.rank", "2", "--critic.start", "fresh"], "critic.start is fresh"),
        (["--critic.pretrain", "1"], "leaves the policy none of 1 iterations"),
        (["--reward.unended", "mask", "--sampling.max_tokens", "1"], "none of 2 answers ended"),
        (["--watch.alarms", "colapse"], "did you mean collapse?"),
        (["--watch.healthy", "nowhere", "--watch.alarms", "collapse"], "nowhere"),
        (["--gae.lam", "2"], "gae.lam must lie between 0 and 1"),
        (["--kl.target", "3", "--kl.coefficient", "0"], "kl.target"),
        (["--test", "world:gold"], "test judges at the looks: set watch.every"),
        (["--mix.path", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--reward.penalty", "-5"], "reward.penalty must be at least 0"),
        (["--rewards", "world:gold*0"], "rewards have weight 0, all of them"),
        (["--test", "lexical:foo", "--watch.every", "1"], "test: there is no lexical:foo"),
        (["--test", "lexical:distinct if a=b", "--watch.every", "1"], "test: lexical:distinct if a=b judges nothing"),
        (["--test", "lexical:distinct", "--watch.every", "1"], "judges 1 of 1 prompts, and 2 are needed"),
        (["--watch.alarms", "reward_hacking"], "reward_hacking follows a judge of test"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_settings_that_do_not_go_together(words, said, ppo):
    named = {word.removeprefix("--") for word in words if word.startswith("--")}
    refused(ppo(*words, keep=named), said)


def test_a_critic_must_read_the_tokens_of_the_policy(ppo, place, monkeypatch):
    monkeypatch.chdir(place)
    shutil.copytree(place / "policy", place / "other", dirs_exist_ok=True)
    tokens = json.loads((place / "other" / "tokenizer.json").read_text())
    vocab = tokens["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (place / "other" / "tokenizer.json").write_text(json.dumps(tokens))
    (place / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n' * 4)
    words = "--optim.batch 4 --held_out 0 --machine.dtype fp32 --machine.threads 1 --run.name other-pm"
    assert main(["pm", "--model", "./other", "--data.path", "pairs.jsonl", *words.split()]) == 0
    words = ("--rewards", "runs/other-pm/model", "--critic.start")
    refused(ppo(*words, "reward", keep=("rewards", "critic.start")), "another tokenizer")
    assert ppo(*words, "policy", keep=("rewards", "critic.start"))[0] == 0, "it reads what the policy says as text"


# Presets


def test_every_preset_says_something_of_every_ingredient():
    for name in NAMES:
        how = load(Ppo, {"model": "m", "data": {"path": "d"}, "rewards": ["r"], "preset": name})
        assert not any("recipe" in said for _, said, _ in described(name, plain(how)))
        for row in INGREDIENTS:
            assert len(row.choices[name]) == len(row.keys) + 1, (name, row.name)


def test_a_preset_is_what_a_recipe_stands_on():
    given = {"model": "m", "data": {"path": "d"}, "rewards": ["r"]}
    assert load(Ppo, given) == Ppo("m", load(Ppo, given).data, ("r",)), "the settings' own defaults are those of max"
    how = load(Ppo, {**given, "preset": "nplus", "kl": {"coefficient": 0.7}})
    assert (how.kl.coefficient, how.gae.lam, how.optim.epochs, how.reward.unended) == (0.7, 0.95, 4.0, "replace")
    assert load(Ppo, plain(how)) == how and "coefficient: 0.7" in dump(how)
    changed = [said for _, said, _ in described("nplus", plain(how)) if "recipe" in said]
    assert changed == ["kl.coefficient 0.7 (recipe; nplus: 0.05), kl.estimator k1, kl.place reward"]
    assert preset("max")["kl"] == {"coefficient": 0.05, "estimator": "k1", "place": "reward"}


def test_the_page_shows_the_presets_as_they_are():
    page = (Path(__file__).parents[2] / "docs" / "ppo.md").read_text("utf-8")
    for row in INGREDIENTS:
        for place, key in enumerate(row.keys):
            values = " | ".join(shown(row.choices[name][place]) for name in NAMES)
            assert f"| `{key}` | {values} |" in page
