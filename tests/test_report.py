"""A report shows what is in run folders, all of it inert, the same bytes every time."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from truing.commands.report import Report, report, write_report
from truing.pages.charts import Axis, Line, chart, linear_ticks, number, smooth, thin
from truing.pages.escape import esc
from truing.pages.numbers import best, settled
from truing.pages.report import render
from truing.records import UserError
from truing.run import Run, read_run, set_output

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '"><img src=x onerror=alert(3)>',
    "' onmouseover='alert(4)",
    "</title></style><svg onload=alert(5)>",
    "<!-- <a href=javascript:alert(6)>",
    "]]><iframe src=//example.org>",
    "$style ${body} $$",
]
TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "main", "h1", "h2", "h3", "p", "b", "div", "span"),
    *(
        "dl",
        "dt",
        "dd",
        "small",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "article",
        "header",
        "details",
        "summary",
    ),
    *("pre", "figure", "figcaption", "output", "svg", "line", "polyline", "text", "circle"),
}


class Page(HTMLParser):
    """What a browser would make of the page, roughly: elements with attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    @property
    def text(self) -> str:
        return "".join(text for tag, texts in self.texts.items() if tag not in ("style", "script") for text in texts)

    def all(self, tag: str, css: str = "") -> list[dict[str, str]]:
        return [a for t, a in self.elements if t == tag and (not css or css in a.get("class", "").split())]


@pytest.fixture(autouse=True)
def _quiet():
    set_output("quiet")
    yield
    set_output("rich")


def make(folder: Path, name: str, metrics=(), samples=(), events=(), recipe: str = "model: m\n", **manifest) -> Path:
    with Run.open(folder, name, recipe_yaml=recipe, recipe_hash=recipe, manifest=manifest) as run:
        for event in events:
            run.event(*event[:1], **event[1])
        for step in run.steps(len(metrics)):
            run.log(step, metrics[step - 1])
        for step, row in samples:
            run.samples(step, [row])
    return run.folder


def test_nothing_that_others_wrote_comes_alive(tmp_path):
    rows = [{f"m {text}": float(i + j) for j, text in enumerate(HOSTILE)} for i in range(3)]
    samples = [
        (3, {"prompt": [{"role": text, "content": text}], "answer": text, "score": text, text: text})
        for text in HOSTILE
    ]
    samples += [(3, {"prompt": text, "answer": text}) for text in HOSTILE]
    recipe = "model: m\n" + "".join(f"{json.dumps(text)}: {json.dumps(text)}\n" for text in HOSTILE)
    events = [("alarm", {"message": text}) for text in HOSTILE] + [(text, {"field": text}) for text in HOSTILE]
    first = make(tmp_path, "a", rows, samples, events, recipe, verb=HOSTILE[0], model=HOSTILE[2], data=HOSTILE)
    second = make(tmp_path, "b", rows, samples, events, "model: other\n", verb=HOSTILE[1], model=HOSTILE[3])
    for runs in ([first], [first, second]):
        page = Page(render([read_run(run) for run in runs]))
        assert page.open == []
        assert {tag for tag, _ in page.elements} <= TAGS
        assert len(page.all("script")) == len(page.all("style")) == 1
        names = {name for _, attributes in page.elements for name in attributes}
        assert not {name for name in names if name.startswith("on")} | names & {"href", "src", "srcset", "style"}
        for text in HOSTILE:
            assert page.text.count(text) >= 5


def test_the_policy_forbids_all_but_our_own_style_and_script(tmp_path):
    page = Page(render([read_run(make(tmp_path, "a", [{"loss": 1.0}, {"loss": 0.5}]))]))
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256("".join(page.texts[tag]).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(|fetch\(|XMLHttp", str(page.texts))


def test_the_same_folders_give_the_same_bytes_wherever_they_are(tmp_path):
    place = make(tmp_path, "a", [{"loss": 1 / k} for k in range(1, 60)], [(59, {"prompt": "p", "answer": "a"})])
    shutil.copytree(place, tmp_path / "elsewhere" / "a")
    assert render([read_run(place)]) == render([read_run(tmp_path / "elsewhere" / "a")])


def test_text_that_hides_or_reorders_is_made_visible():
    assert esc("a\u202eb\x1b[31m\ud83d\r\nc\td") == "a⟨U+202E⟩b⟨U+001B⟩[31m⟨U+D83D⟩\nc\td"
    assert esc("👩\u200d👧 नमस्ते") == "👩\u200d👧 नमस्ते"
    esc("".join(map(chr, range(0x11000)))).encode("utf-8")


def test_a_chart_puts_values_where_they_belong():
    page = Page(chart("loss", [Line("a", 0, [(0, 0.0), (5, 1.0), (10, 4.0)])]))
    (line,) = page.all("polyline")
    x, y = zip(*[map(float, point.split(",")) for point in line["points"].split()])
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.1)
    assert (y[0] - y[1]) * 4 == pytest.approx(y[0] - y[2], abs=0.4)  # up is more
    heights = [float(a["y"]) - 3.5 for a in page.all("text", "y")[:-1]]  # the last is the word under them
    ticks = {float(text): height for text, height in zip(page.texts["text"], heights)}
    assert ticks[0.0] == pytest.approx(y[0], abs=0.2) and ticks[4.0] == pytest.approx(y[2], abs=0.2)


def test_a_standard_error_is_an_interval_and_no_curve_of_its_own(tmp_path):
    name = "watch/persona/odd"
    rows = [{name: 0.5 + 0.01 * n, f"{name}/error": 0.1 * (n + 1), "watch/test_error": float(n)} for n in range(4)]
    page = render([read_run(make(tmp_path, "sure", rows))])
    assert "watch/persona/odd/error</b>" not in page and page.count('class="whisker') == 4
    lines = re.findall(r'class="whisker c0"[^>]* y1="([0-9.]+)" y2="([0-9.]+)"', page)
    lengths = [float(low) - float(high) for low, high in lines]  # pixels grow downwards
    assert lengths == pytest.approx([lengths[0] * n for n in (1, 2, 3, 4)], rel=0.02)
    assert '<div class="tile"><dt>watch' not in page


def test_a_chart_is_logarithmic_over_decades_but_not_for_a_schedule():
    points = [(k, 10.0**-k) for k in range(5)]
    (line,) = Page(chart("kl", [Line("a", 0, points)])).all("polyline")
    heights = [float(point.split(",")[1]) for point in line["points"].split()]
    gaps = [b - a for a, b in pairwise(heights)]
    assert gaps == [pytest.approx(gaps[0], abs=0.2)] * 4 and gaps[0] > 10
    assert "log scale" not in chart("lr", [Line("a", 0, points)])
    assert "log scale" not in chart("kl", [Line("a", 0, [*points, (5, 0.0)])])


@pytest.mark.parametrize("low", [-3.0, 0.0, 1e-9, 0.5, 99_990.0])
@pytest.mark.parametrize("width", [1e-9, 0.07, 1.0, 31.0, 4e6])
def test_ticks_are_few_round_and_inside(low, width):
    ticks = linear_ticks(low, low + width)
    assert 2 <= len(ticks) <= 7
    assert all(low - 1e-8 * width <= tick <= low + width * (1 + 1e-8) or width < 1e-8 for tick in ticks)


@pytest.mark.parametrize("value", [0.0, -2.5, 7, 1e-30])
def test_a_metric_that_stands_still_or_has_one_value_can_be_drawn(value):
    for points in ([(3, value)], [(3, value), (4, value)]):
        assert "nan" not in chart("m", [Line("a", 0, points)])
    low, high = Axis(0, 10, 100, 0)(0), Axis(1, 100, 100, 0, log=True)(10)
    assert (low, high) == (100, 50)


def test_numbers_are_short_and_right():
    values = {
        0.0: "0",
        0.03125: "0.03125",
        12.5: "12.5",
        1.2e-5: "1.2e-5",
        48000.4: "48000",
        -2e7: "-2e7",
        999.96: "1000",
    }
    assert {value: number(value) for value in values} == values
    assert number(None) == "–"


def test_long_curves_are_thinned_without_losing_their_mean_or_their_end():
    points = [(k, float(k % 7)) for k in range(1, 3001)]
    few = thin(points)
    assert len(few) == 300 and few[-1][0] == 3000
    assert sum(v for _, v in few) / 300 == pytest.approx(sum(v for _, v in points) / 3000)
    assert thin(points[:300]) == points[:300]


def test_only_noise_is_smoothed_and_by_the_mean_around_each_step():
    assert smooth([(k, k / 100) for k in range(100)]) is None
    assert smooth([(k, float(k % 2)) for k in range(39)]) is None
    noisy = [(k, float(k % 2)) for k in range(96)]
    calm = smooth(noisy)
    assert calm and [step for step, _ in calm] == list(range(96))
    assert calm[50][1] == pytest.approx(sum(v for _, v in noisy[46:55]) / 9)


def test_the_better_run_is_marked_only_where_the_name_says_what_better_is(tmp_path):
    assert best("watch/heldout_accuracy") is max and best("eval/loss") is min and best("kl") is None
    runs = [
        make(tmp_path, name, [{"loss": loss, "accuracy": acc, "kl": 1.0}] * 2, recipe=f"model: {name}\n")
        for name, loss, acc in (("a", 0.25, 0.5), ("b", 0.75, 0.875))
    ]
    page = render([read_run(run) for run in runs])
    assert re.findall(r"→</small> <b>([^<]+)</b>", page) == ["0.25", "0.875"]
    assert settled([(k, float(k)) for k in range(100)]) == 94.5


def test_several_runs_share_charts_and_their_recipes_are_compared(tmp_path):
    rows = [{"loss": 1 / k, "watch/kl": k / 10} for k in range(1, 11)]
    a = make(tmp_path / "x", "same", rows, recipe="lr: 0.1\nmodel: m\n")
    b = make(tmp_path / "y", "same", rows[:5], recipe="lr: 0.2\nmodel: m\n")
    page = Page(render([read_run(a), read_run(b)]))
    charts = page.all("figure", "chart")
    assert len(charts) == 2
    for figure in charts:
        lines = json.loads(figure["data-lines"])
        assert [line[0] for line in lines] == [str(a), str(b)]
        assert [line[2][-1][0] for line in lines] == [10, 5]
    cells = page.texts["td"]
    at = cells.index("lr")
    assert cells[at : at + 3] == ["lr", "0.1", "0.2"] and "model" not in cells


def test_what_went_wrong_is_on_top(tmp_path):
    rows = [{"loss": 1.0}, {"loss": float("nan")}, {"loss": float("inf")}]
    with Run.open(tmp_path, "a", recipe_yaml="m: 1", recipe_hash="") as run:
        for step in run.steps(3):
            run.log(step, rows[step - 1])
            if step == 3:
                run.stop("the loss is not finite")
    page = Page(render([run.view()]))
    assert "loss was nan (2 steps, first at step 2)" in page.text
    assert "stopped: the loss is not finite" in page.text


def test_samples_show_how_the_answer_to_a_prompt_changed_and_what_was_left_out(tmp_path):
    samples = [
        (step, {"prompt": f"question {q}", "answer": f"answer {q}.{step}"}) for step in (0, 5, 9) for q in range(14)
    ]
    page = Page(render([read_run(make(tmp_path, "a", [{"loss": 1.0}], samples))]))
    assert "answer 3.0" in page.text and "answer 3.9" in page.text and "answer 3.5" not in page.text
    assert len(page.all("article")) == 12 and "2 more prompts are in samples.jsonl" in page.text


def test_a_run_that_has_hardly_begun_has_a_report(tmp_path):
    run = Run.open(tmp_path, "a", recipe_yaml="", recipe_hash="")
    page = Page(render([run.view()]))
    run.close()
    assert "not finished" in page.text and "No metrics yet" in page.text


def test_the_verb_finds_runs_by_name_or_folder_and_says_what_it_cannot_find(tmp_path, monkeypatch):
    place = make(tmp_path / "runs", "dpo-1", [{"loss": 1.0}])
    assert report(Report(("dpo-1",), folder=str(tmp_path / "runs"))) == place / "report.html"
    assert report(Report((str(place),), out=str(tmp_path / "deep/page.html"))) == tmp_path / "deep/page.html"
    assert (tmp_path / "deep/page.html").read_text("utf-8") == (place / "report.html").read_text("utf-8")
    with pytest.raises(UserError, match=r"no run 'dpo-2'.*Runs there: dpo-1\."):
        report(Report(("dpo-2",), folder=str(tmp_path / "runs")))
    with pytest.raises(UserError, match="which run"):
        report(Report((), folder=str(tmp_path / "runs")))
    with pytest.raises(UserError, match="cannot be written"):
        write_report(place, out=place)
    monkeypatch.chdir(tmp_path)
    assert write_report(place, place) == Path("report.html")
