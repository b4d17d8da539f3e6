"""The demo on the shipped checkpoint: runs, resumes, and its page is made from its files alone."""

import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from truing.pages.story import render_story
from truing.records import UserError
from truing.settings import Machine
from truing.world import stages
from truing.world.demo import demo
from truing.world.lab import Demo, Lab
from truing.world.stages import STAGES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return demo(Demo(quick=True, folder=str(tmp_path_factory.mktemp("demo") / "demo")))


def files(folder):
    return {f.name: f.stat().st_mtime_ns for f in folder.glob("[0-9]-*.json")}


def test_every_stage_leaves_its_file_and_its_numbers(folder):
    assert len(files(folder)) == len(STAGES)
    for number, stage in enumerate(STAGES, 1):
        found = json.loads((folder / f"{number}-{stage.name}.json").read_text())
        assert found["words"]
        assert found["seconds"] > 0
        for value in found["numbers"].values():
            if isinstance(value, dict):
                assert value["low"] <= value["mean"] <= value["high"]


def test_what_went_in_is_what_is_counted(folder):
    counts = json.loads((folder / "2-collect.json").read_text())["counts"]
    counts.pop("questions")
    pairs = counts.pop("pairs of answers")
    assert pairs == sum(counts.values())


def test_ways_are_compared_with_the_base_models_answers_to_the_same_questions(folder):
    chosen, found = (json.loads((folder / f"{name}.json").read_text()) for name in ("4-choose", "6-reinforce"))
    last, ways = chosen["curve"][-1], {way["who"]: way for way in found["ways"]}
    assert list(ways) == ["best of 16", "aligned", "PPO-max"]
    for name in ("reward", "gold"):  # the best of all sixteen is the end of the curve, found in another way
        assert ways["best of 16"][name] == pytest.approx(last[f"{name} gained"], abs=1e-3)
        assert {way[name]["n"] for way in ways.values()} == {len(chosen["answers"])}
    assert ways["PPO-max"]["cost"]["drawn"] == found["course"][-1]["drawn"]


def test_the_truth_is_only_looked_at(folder):
    """Rewards of PPO are the preference model's alone: gold is a column of its own."""
    rows = [json.loads(line) for line in (folder / "ppo-max" / "metrics.jsonl").read_text().splitlines()]
    liked = next(name for name in rows[0] if name.startswith("reward/") and name.endswith("model"))
    assert all(row["reward"] == pytest.approx(row[liked], abs=1e-4) for row in rows)
    assert any(abs(row["reward"] - row["reward/gold"]) > 0.01 for row in rows)


def test_repeating_does_nothing_again_and_a_missing_stage_alone_is_redone(folder):
    settings = Demo(quick=True, folder=str(folder))
    before = files(folder)
    demo(settings)
    assert files(folder) == before
    last = max(before)
    old = json.loads((folder / last).read_text())
    (folder / last).unlink()
    demo(settings)
    assert {n: t for n, t in files(folder).items() if n != last} == {n: t for n, t in before.items() if n != last}
    new = json.loads((folder / last).read_text())
    assert {**new, "seconds": 0} == {**old, "seconds": 0}


def test_what_learning_took_is_the_runs_own_and_not_the_last_processs(tmp_path, monkeypatch):
    """A run that was killed and goes on tells of all its seconds; the answers are drawn anew."""
    lab = Lab(Demo("world:tiny", quick=True, folder=str(tmp_path)), Machine(dtype="fp32"))
    lab.wishes = 20
    monkeypatch.setattr(lab, "place", lambda name: "world:tiny" if name.endswith("model") else str(tmp_path / name))
    monkeypatch.setattr(lab, "aligned", lambda who, run: {})
    monkeypatch.setattr(stages, "with_rewards", lambda judge, drawn: drawn)
    monkeypatch.setattr(stages, "offline", lambda how: SimpleNamespace(view=lambda: SimpleNamespace(seconds=5000.0)))
    assert 5000 < stages.align(lab)["cost"]["seconds"] < 5900


def test_another_recipe_in_the_same_folder_is_refused(folder):
    with pytest.raises(UserError, match="other settings"):
        demo(Demo(quick=True, seed=1, folder=str(folder)))


class Page(HTMLParser):
    """What a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.links, self.marks = [], 0

    def handle_starttag(self, tag, attrs):
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        self.marks += tag == "mark"


def test_the_page_is_one_small_file_without_links(folder):
    html = render_story(folder)
    assert len(html.encode()) < 2_000_000
    page = Page()
    page.feed(html)
    assert page.links == []
    assert page.marks > 0
    assert not re.search(r"url\(|https?://(?!www\.w3\.org)", html)
    assert render_story(folder) == html


def test_the_page_says_who_reaches_what_and_why(folder):
    html = render_story(folder)
    for word in (
        "base",
        "best of 16",
        "aligned",
        "PPO-max",
        "helpful",
        "honest",
        "harmless",
        "held-out",
        "Best of k",
        "Counts",
    ):
        assert word in html


def test_what_models_say_is_shown_and_never_run(folder, tmp_path):
    copy = tmp_path / "demo"
    shutil.copytree(folder, copy)
    file = copy / "5-align.json"
    found = json.loads(file.read_text())
    for row in found["answers"]:
        row["answer"] = "<script>alert(1)</script> " + row["answer"]
        row["gold"] = dict.fromkeys(row["gold"], 1.0)
    file.write_text(json.dumps(found))
    html = render_story(copy)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html


def test_a_folder_without_stages_is_no_demo(tmp_path):
    with pytest.raises(UserError, match="not the folder of a demo"):
        render_story(tmp_path)
