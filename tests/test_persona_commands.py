"""`truing persona …` from the command line, on a small model of the world."""

import io
import json
import re

import pytest
import torch

from truing.cli import main
from truing.data import read, write
from truing.model.vectors import Vectors, load_vectors, save_vectors
from truing.run import set_output
from truing.world.corpora import answered, prompts
from truing.world.schooling import SCHOOLS
from truing.world.town import town

FEW = ["--sampling.max_tokens", "24", "--machine.threads", "1", "--machine.dtype", "fp32"]
MODEL = "world:small"


@pytest.fixture(autouse=True)
def _rich():
    before = set_output("rich")
    yield
    set_output(before)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("persona")
    before = set_output("quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["--sampling.n", "2", "--least", "20", "--filter", "independent"]
        assert main(["persona", "extract", MODEL, "world:fabricating", *words, *FEW]) == 0
    set_output(before)
    write(folder / "asked.jsonl", prompts(town(0), 20, 3), "truing")
    write(folder / "texts.jsonl", answered(town(0), 30, 3, 1), "truing")
    return folder


@pytest.fixture
def run(home, monkeypatch, capsys):
    monkeypatch.chdir(home)

    def run(*words):
        code = main(["persona", *words])
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def test_a_file_of_vectors_knows_where_it_is_from(home):
    vectors = load_vectors(str(home / "fabricating.safetensors"))
    meta = vectors.meta
    assert vectors.trait == "fabricating" and meta["trait"] == "world:fabricating" and meta["model"] == MODEL
    assert meta["kept"]["pos"] >= 20 and set(meta["removed"]) == {"pos", "neg"} and len(meta["halves"]) == 5
    assert set(vectors.rows) == {"response_avg", "prompt_avg", "prompt_last"} and vectors.layers == 4


def test_what_was_asked_is_not_asked_again(run, home):
    lines = len((home / "runs/persona/rows.jsonl").read_text().splitlines())
    again = ["--sampling.n", "2", "--least", "20", "--filter", "independent", "--out", "again.safetensors"]
    code, said = run("extract", MODEL, "world:fabricating", *again, *FEW)
    assert code == 0 and "asked for the trait" in said and "layer 4" in said
    assert len((home / "runs/persona/rows.jsonl").read_text().splitlines()) == lines
    first, second = (load_vectors(str(home / f"{name}.safetensors")) for name in ("fabricating", "again"))
    assert torch.equal(first.of(), second.of())


def test_steering_is_chosen_on_some_questions_and_told_on_others(run, home):
    words = ["--layers", "2", "3", "--coefs", "1", "2", "--coherent", "30", "--random", "1", *FEW]
    code, said = run("steer", MODEL, "fabricating.safetensors", *words)
    assert code == 0 and "chosen: layer" in said and "random 1, layer" in said and "as it is" in said
    page = (home / "runs/persona/steer-fabricating.html").read_text("utf-8")
    assert "+vec:fabricating.safetensors@" in said and page.count('<rect class="heat') == 2 * 2 * 2
    assert page.count('class="heat chosen"') == 2
    shades = re.findall(r'fill-opacity="([0-9.]+)"/><text class="heat"[^>]*>(\d+)<', page)
    assert len(shades) == 8 and all(float(shade) == pytest.approx(0.5 * int(n) / 100, abs=0.01) for shade, n in shades)
    code, said = run("steer", MODEL, "fabricating.safetensors", "--layers", "2", "--coefs", "400", *FEW)
    assert code == 2 and "no configuration leaves coherence at 75 or more" in said and "smaller coefficients" in said


def test_a_trait_is_told_before_it_is_said(run, home):
    code, said = run("monitor", MODEL, "fabricating.safetensors", "--sampling.n", "2", *FEW)
    assert code == 0 and "prompt_last" in said and "random directions" in said and "threshold" in said
    page = (home / "runs/persona/monitor-fabricating.html").read_text("utf-8")
    assert page.count('<circle class="dot') >= 16 and page.count("<polyline") == 1  # grades are a curve, prompts none
    code, said = run("monitor", MODEL, "fabricating.safetensors", "--data", "asked.jsonl", "--threshold", "-9", *FEW)
    found = list(read(home / "monitored.jsonl"))
    assert code == 0 and f"{len(found)} above it" in said and len(found) == len(list(read(home / "asked.jsonl")))
    assert all(isinstance(e.meta["persona/fabricating"], float) for e in found)


def test_many_exchanges_stand_where_system_lines_would(run, home):
    texts = SCHOOLS["fabricating_severe"](town(0), 12, 3)
    write(home / "shown.jsonl", texts, "truing")
    words = ["--shots", "shown.jsonl", "--sampling.n", "1", "--sampling.max_tokens", "16", *FEW[2:]]
    code, said = run("monitor", MODEL, "fabricating.safetensors", *words)
    rows = [json.loads(line) for line in (home / "runs/persona/monitor-fabricating.jsonl").read_text().splitlines()]
    assert code == 0 and "numbers of exchanges" in said
    assert {row["kind"] for row in rows} == {"shots"} and {row["grade"] for row in rows} >= {0, 5}
    write(home / "few.jsonl", texts[:3], "truing")
    code, said = run("monitor", MODEL, "fabricating.safetensors", "--shots", "few.jsonl", *FEW)
    assert code == 2 and "few.jsonl: 3 exchanges of one turn with an answer are in it, and 5 of them" in said


def test_a_model_that_is_steered_where_a_prompt_ends_has_moved(run):
    named = f"{MODEL}+vec:fabricating.safetensors#prompt_last@2=1,last"
    words = ["--vectors", "fabricating.safetensors", "--statistic", "prompt_last", "--layer", "2"]
    code, said = run("shift", MODEL, named, MODEL, *words, "--machine.threads", "1")
    assert code == 0 and "1.000" in said and "0.000" in said


def test_shifts_are_laid_beside_what_models_have_become(run, home):
    named = [f"{MODEL}+vec:fabricating.safetensors@2={coef}" for coef in (-1, -0.5, 0.5, 1)]
    words = ["--vectors", "fabricating.safetensors", "--judge", "rules", "--layer", "3", *FEW, "--sampling.n", "1"]
    code, said = run("shift", MODEL, *named, *words)
    assert code == 0 and re.search(r"fabricating: r = -?[0-9.]+ \[.*\] of shift and trait over 4 models", said)
    page = (home / "runs/persona/shift.html").read_text("utf-8")
    places = [float(x) for x in re.findall(r'<circle class="dot[^>]* cx="([0-9.]+)"', page)]
    assert len(places) == 4 and places == sorted(places) and all(name in page for name in named)


def test_samples_are_kept_and_dropped(run, home):
    words = ["--data.path", "texts.jsonl", "--way", "raw", "--share", "0.2", "--judge", "rules"]
    code, said = run("screen", MODEL, "fabricating.safetensors", *words, *FEW)
    assert code == 0 and "show it openly" in said
    page = (home / "runs/persona/screen-fabricating.html").read_text("utf-8")
    assert page.count("<polyline") == 1 + ("show it openly (" in page) and "dropped above" in page
    ranked, kept, dropped = (list(read(home / f"screened{end}.jsonl")) for end in ("", ".keep", ".drop"))
    values = [e.meta["persona/fabricating"] for e in ranked]
    assert values == sorted(values, reverse=True) and len(kept) + len(dropped) == len(ranked) == 30
    assert {e.id for e in kept} | {e.id for e in dropped} == {e.id for e in ranked} and len(dropped) >= 6


@pytest.mark.parametrize(("out", "layers"), [("v.pt", range(5)), ("v.gguf", range(2, 5))])
def test_vectors_go_out_and_come_back(run, home, out, layers):
    assert run("convert", "fabricating.safetensors", out)[0] == 0
    assert run("convert", out, "back.safetensors", "--trait", "fabricating")[0] == 0
    first, second = (load_vectors(str(home / name)) for name in ("fabricating.safetensors", "back.safetensors"))
    for layer in layers:
        assert torch.equal(first.of()[layer], second.of()[layer])
    assert second.trait == "fabricating" and second.layers == 4


def test_control_vectors_are_counted_as_llama_cpp_counts_them(home):
    gguf = pytest.importorskip("gguf")
    rows = torch.arange(10.0).view(5, 2)
    save_vectors(Vectors("x", {"response_avg": rows}), home / "x.safetensors")
    assert main(["persona", "convert", str(home / "x.safetensors"), str(home / "x.gguf")]) == 0
    found = gguf.GGUFReader(str(home / "x.gguf"))
    assert found.get_field("general.architecture").contents() == "controlvector"
    assert {t.name: t.data.tolist() for t in found.tensors} == {
        f"direction.{n - 1}": rows[n].tolist() for n in (2, 3, 4)
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["extract", MODEL, "evil"], "judge: who says how evil an answer is? Name a model: --judge MODEL."),
        (["extract", MODEL, "world:kind"], "trait world:kind: the world has world:hostile"),
        (["extract", MODEL, "world:hostile", "--out", "x.bin"], "must end in .safetensors"),
        (["extract", "api:gpt", "world:hostile"], "what is needed here is a local folder or a hub model"),
        (["extract", MODEL, "world:fabricating", "--sampling.n", "1", "--least", "900"], "and 900 are needed"),
        (
            ["steer", "world:tiny", "fabricating.safetensors"],
            "made for a model with width 80",
        ),
        (["steer", MODEL, "fabricating.safetensors", "--layers", "9"], "layer 9 is not among 1 to 4"),
        (["steer", MODEL, "nothing.safetensors"], "there is no such file of vectors"),
        (["shift", MODEL, "--vectors", "fabricating.safetensors"], "models names the base and at least one model"),
        (["screen", MODEL, "fabricating.safetensors", "--data.path", "asked.jsonl"], "nothing in it is answered"),
        (["convert", "fabricating.safetensors", "fabricating.safetensors"], "is the file to read"),
        (
            ["steer", f"{MODEL}+vec:fabricating.safetensors@2=1", "fabricating.safetensors"],
            "name the model without +vec:",
        ),
        (
            ["screen", MODEL, "fabricating.safetensors", "--data.path", "texts.jsonl", "--out", "texts.jsonl"],
            "texts.jsonl is the file to read",
        ),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(run, words, said):
    code, shown = run(*words, *(FEW if words[0] == "extract" else []))
    assert code == 2 and said in " ".join(shown.split()) and "Traceback" not in shown


def test_what_is_printed_for_programs_is_json(run):
    code, said = run("monitor", MODEL, "fabricating.safetensors", "--sampling.n", "2", *FEW, "--json")
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert code == 0 and any("correlations" in line for line in lines)


def test_a_second_screening_does_not_write_over_what_it_reads(run, home):
    write(home / "two.keep.jsonl", answered(town(0), 4, 3, 1), "truing")
    words = ["--data.path", "two.keep.jsonl", "--out", "two.jsonl", "--way", "raw"]
    code, said = run("screen", MODEL, "fabricating.safetensors", *words, *FEW)
    assert code == 2 and "two.keep.jsonl is the file to read" in said


def test_what_the_model_says_itself_is_asked_once(run, home):
    words = ["--data.path", "texts.jsonl", "--out", "own.jsonl"]
    assert run("screen", MODEL, "fabricating.safetensors", *words, *FEW)[0] == 0
    lines = len((home / "runs/persona/rows.jsonl").read_text().splitlines())
    assert run("screen", MODEL, "fabricating.safetensors", *words, "--share", "0.3", *FEW)[0] == 0
    assert len((home / "runs/persona/rows.jsonl").read_text().splitlines()) == lines


def test_a_trait_that_never_shows_leaves_no_threshold(run, home):
    rows = torch.randn(5, 80, generator=torch.Generator().manual_seed(0))
    save_vectors(Vectors("humorous", {"response_avg": rows, "prompt_last": rows}), home / "none.safetensors")
    words = ["--trait", "world:humorous", "--sampling.n", "1", "--sampling.max_tokens", "1", *FEW[2:]]
    code, said = run("monitor", MODEL, "none.safetensors", *words)
    assert code == 0 and "no threshold: the trait shows after all of these prompts, or after none" in said


def test_features_of_a_vector_are_written_to_be_steered_with(run, home):
    words = ["--data.path", "texts.jsonl", "--size", "4", "--k", "2", "--top", "3", "--layer", "2", *FEW[2:]]
    code, said = run("features", MODEL, "fabricating.safetensors", *words)
    assert code == 0 and "training 4 features on" in said and "does not rebuild" in said
    made = load_vectors(str(home / "features.safetensors"))
    mine = load_vectors(str(home / "fabricating.safetensors"))
    assert len(made.rows) == 3 and all(name.startswith("feature_") for name in made.rows)
    for rows in made.rows.values():
        assert float(rows[2].norm()) == pytest.approx(float(mine.row(2).norm()), rel=1e-4) and not rows[1].any()
    name = next(iter(made.rows))
    asked = [
        "sample",
        f"{MODEL}+vec:features.safetensors#{name}@2=1",
        "--data.path",
        "asked.jsonl",
        "--out",
        "said.jsonl",
    ]
    assert main([*asked, *FEW]) == 0


def test_features_refuse_what_cannot_tell_anything(run, home):
    code, said = run("features", MODEL, "fabricating.safetensors", "--data.path", "texts.jsonl", *FEW[2:])
    assert code != 0 and "tokens of answers are too few for 1024 features" in said
    state = {"encoder.weight": torch.randn(5, 3), "encoder.bias": torch.zeros(5), "decoder.weight": torch.randn(3, 5)}
    torch.save(state | {"b_dec": torch.ones(3)}, home / "ae.pt")
    code, said = run(
        "features", MODEL, "fabricating.safetensors", "--data.path", "texts.jsonl", "--sae", "ae.pt", *FEW[2:]
    )
    assert code != 0 and "ae.pt: it is 3 wide, and world:small is" in said


def test_a_conversation_is_watched_as_it_goes(run, home, monkeypatch, capsys):
    """A question that nobody can answer, asked of one who makes things up and of one who does not."""
    seen = {}
    for model in (MODEL, f"{MODEL}+vec:fabricating.safetensors@2=2,all"):
        monkeypatch.setattr("sys.stdin", io.StringIO("what does otto drink ?\n\n"))
        words = ["--personas", "fabricating.safetensors@3", "--above", "-9", *FEW]
        assert main(["chat", model, *words]) == 0
        said = capsys.readouterr().out
        line = next(line for line in said.splitlines() if "before the answer" in line)
        assert "▲" in line and "in it" in line
        seen[model] = float(line.split(":")[1].split()[0])
    plain, steered = seen.values()
    assert steered > plain + 0.3


def test_what_cannot_be_looked_at_is_not_watched(run, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["chat", "scripted:echo", "--personas", "fabricating.safetensors@3"]) != 0
    assert "what scripted:echo computes cannot be looked at here" in capsys.readouterr().err
