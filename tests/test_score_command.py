"""`truing score`: a score belongs to a prompt and its answer alone, and what is said about all of them is true."""

import json
import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

import truing
from truing.cli import main
from truing.records import Answer, Example, Judgement, Message
from truing.run import set_output
from truing.settings import Machine
from truing.world import corpora
from truing.world.town import town

PAIRS = [replace(e, meta={}) for e in corpora.tranches(town(0), 150, 3)]


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """A preference model of the world, a few steps old: its scores differ, and that is all they need to do."""
    run = {"folder": str(tmp_path_factory.mktemp("runs"))}
    optim = {"lr": 3e-3, "batch": 8, "steps": 10}
    return truing.pm("world:tiny", PAIRS, optim=optim, machine={"dtype": "fp32", "threads": 1}, run=run).model


FP32 = ["--machine.dtype", "fp32", "--machine.threads", "1"]


def rewards(engine, examples):
    return {e.id: [s.reward for s in scores] for e, scores in zip(examples, engine.score(examples))}


@pytest.mark.parametrize("layout", ["tree", "rows"])
def test_a_score_is_the_same_alone_together_and_in_any_order(judge, layout):
    engine, examples = (
        truing.load(judge, Machine("fp32", 1, layout=layout)),
        list({e.id: e for e in PAIRS}.values())[:40],
    )
    together = rewards(engine, examples)
    assert np.std([r for pair in together.values() for r in pair]) > 0.01
    shuffled = Random(0).sample(examples, len(examples))
    engine.micro_tokens = 200  # several passes
    for other in (rewards(engine, shuffled), *(rewards(engine, [e]) for e in examples)):
        for key, values in other.items():
            assert values == pytest.approx(together[key], abs=1e-5)
    single = [Example(e.prompt, (answer,)) for e in examples for answer in e.answers]
    apart = [s.reward for scores in engine.score(single) for s in scores]
    assert apart == pytest.approx([r for e in examples for r in together[e.id]], abs=1e-5)


def test_pairs_are_scored_in_one_pass_over_each_prompt_and_both_answers(judge):
    engine, seen = truing.load(judge, Machine("fp32", 1, layout="tree")), []
    embedding = engine.model.base.get_input_embeddings()
    embedding.register_forward_hook(lambda _, given, made: seen.append(tuple(given[0].shape)))
    engine.score(PAIRS[:12])
    groups, _ = engine.encode(PAIRS[:12])
    assert seen == [(1, sum(len(g.prompt) + sum(map(len, g.answers)) for g in groups))]


def test_what_is_said_of_two_files_is_what_their_rows_say(judge, tmp_path, capsys):
    clear = [e for e in PAIRS if len(set(e.ranks())) == 2]
    files = {"first": clear[:20], "second": clear[20:45]}
    for name, examples in files.items():
        truing.write(tmp_path / f"{name}.jsonl", examples, "truing")
    out = tmp_path / "scored.jsonl"
    paths = [str(tmp_path / f"{name}.jsonl") for name in files]
    command = ["score", judge, "--data.path", *paths, "--out", str(out), *FP32]
    before = set_output("rich")
    try:
        assert main(command) == 0 and "win probability" in capsys.readouterr().out
        assert main([*command, "--json"]) == 0
    finally:
        set_output(before)
    said = json.loads(capsys.readouterr().out)
    scored = list(truing.read(str(out)))
    for name, part in {"first": scored[:20], "second": scored[20:], "all": scored}.items():
        best = [e.ranks().index(0) for e in part]
        gaps = np.array([e.answers[b].reward - e.answers[1 - b].reward for e, b in zip(part, best)])
        words = np.array([[len(e.answers[i].text.split()) for i in (b, 1 - b)] for e, b in zip(part, best)])
        found, chance = said[name], 1 / (1 + math.exp(-gaps.mean()))
        for key, values in (("right", gaps), ("longer is better", words[:, 0] - words[:, 1])):
            assert found[key]["estimate"] == pytest.approx(((np.sign(values) + 1) / 2).mean())
        assert found["pairs"] == len(part) and found["mean gap"] == pytest.approx(gaps.mean())
        assert found["mean score"] == pytest.approx(np.mean([a.reward for e in part for a in e.answers]))
        assert found["win probability"] == pytest.approx(chance)
        assert found["Elo"] == pytest.approx(400 * math.log10(chance / (1 - chance)))
    assert [e.meta for e in scored] == [{}] * 45


def test_without_judgements_there_are_scores_and_their_mean(judge, tmp_path, capsys):
    file = tmp_path / "answers.jsonl"
    truing.write(file, [Example((Message("user", "hi"),), (Answer("hello ."),))], "truing")
    assert main(["score", judge, "--data.path", str(file), "--out", str(tmp_path / "out.jsonl"), *FP32]) == 0
    said = capsys.readouterr()
    (reward,) = (answer["reward"] for answer in json.loads((tmp_path / "out.jsonl").read_text())["answers"])
    assert f"{reward:.4f} on average" in said.err and said.out == ""


# Preferences in Chinese

CHINESE = [  # a question, a better answer, a worse one
    ("怎么泡绿茶？", "水温八十度左右，泡两三分钟就好。", "不知道。"),
    ("北京的冬天冷吗？", "比较冷，常常在零度以下，要穿厚衣服。", "随便。"),
    ("请推荐一种早餐。", "可以喝豆浆，吃包子和一个鸡蛋。", "别问我。"),
    ("一年有几个季节？", "一年有四个季节：春、夏、秋、冬。", "没有。"),
    ("苹果怎么保存？", "放进冰箱，最好和别的水果分开。", "扔掉。"),
    ("怎么学好游泳？", "先练呼吸，再练腿，最后把动作连起来。", "不想说。"),
    ("什么时候种土豆？", "春天种，夏天就可以收。", "不关我的事。"),
    ("猫为什么喜欢晒太阳？", "因为暖和，它们可以省下力气。", "谁知道。"),
    ("雨伞坏了怎么办？", "先看看骨架，小毛病可以自己修好。", "算了吧。"),
    ("请说一个颜色。", "蓝色，像晴天的天空一样。", "不说。"),
    ("怎样记住生词？", "每天复习几次，用它们写句子。", "记不住。"),
    ("面条要煮多久？", "水开以后煮五到八分钟，尝一尝软硬。", "自己想。"),
    ("坐火车要带什么？", "带好车票和证件，再带一点水。", "什么都不带。"),
    ("月亮为什么会变形状？", "因为太阳照亮的部分从地上看去每天不同。", "它坏了。"),
    ("怎么洗羊毛衫？", "用冷水轻轻手洗，平放着晾干。", "不用洗。"),
    ("周末可以做什么？", "可以去公园散步，或者在家看书。", "无聊。"),
    ("怎么照顾一盆花？", "三四天浇一次水，放在有光的地方。", "让它死。"),
    ("十加五是多少？", "十加五等于十五。", "很多。"),
    ("图书馆几点开门？", "多数图书馆早上九点开门，最好先查一下。", "不开。"),
    ("睡不着怎么办？", "睡前少看手机，听一点安静的音乐。", "别睡了。"),
    ("怎么做番茄炒蛋？", "先炒鸡蛋盛出来，再炒番茄，最后放在一起。", "去饭馆。"),
    ("感冒了要注意什么？", "多喝水，多休息，发烧就去看医生。", "没事。"),
]


def test_chinese_pairs_from_the_file_to_the_score(tmp_path, capsys, monkeypatch):
    """Lengths are in characters there, tokens give every one back, and the card says which language it was."""
    from truing.commands.inspect import Inspect, inspect
    from truing.model.make import SIZES, make_model, make_tokenizer

    monkeypatch.setenv("COLUMNS", "200")
    pairs, folder = tmp_path / "pairs.jsonl", tmp_path / "base"
    rows = [
        Example((Message("user", q),), (Answer(good), Answer(bad)), (Judgement("order", (0, 1)),))
        for q, good, bad in CHINESE
    ]
    truing.write(pairs, rows, "preference")
    make_model(folder, make_tokenizer([text for row in CHINESE for text in row], 600), **SIZES["0.1M"], context=128)
    inspect(Inspect(str(pairs), show=1))
    assert "怎么泡绿茶？" in capsys.readouterr().out
    (found,) = inspect(Inspect(str(pairs), model=str(folder)))["files"].values()
    assert found["length_only"] == np.mean([(len(good) > len(bad)) for _, good, bad in CHINESE]) == 1.0
    assert found["words"]["rank 0"]["max"] == max(sum(c.isalpha() for c in good) for _, good, _ in CHINESE)
    assert found["tokens"]["dropped"] == {}
    learn = ["--optim.lr", "3e-3", "--optim.epochs", "4", "--optim.batch", "4", "--held_out", "0.2"]
    run = ["--run.folder", str(tmp_path / "runs"), "--run.name", "zh"]
    assert main(["pm", str(folder), "--data.path", str(pairs), *learn, *run, *FP32]) == 0
    judge = tmp_path / "runs" / "zh" / "model"
    card = (judge / "README.md").read_text("utf-8")
    assert "\nlanguage: zh\n" in card and "| language | zh" in card
    out = tmp_path / "scored.jsonl"
    assert main(["score", str(judge), "--data.path", str(pairs), "--out", str(out), *FP32]) == 0
    scored = list(truing.read(str(out)))
    assert [(e.prompt[0].text, *(a.text for a in e.answers)) for e in scored] == CHINESE
    assert np.mean([e.answers[0].reward > e.answers[1].reward for e in scored]) > 0.9
