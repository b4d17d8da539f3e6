"""The command as it is typed: real processes, a toy verb, every way to end."""

import json
import os
import subprocess
import sys

import pytest

from truing.cli import VERBS, main

TOY = '''
"""A verb that does what it is told."""
import errno, json, sys
from dataclasses import asdict, dataclass, field
from truing.cli import Verb, main
from truing.records import UserError
from truing.settings import Data, Optim, RunSettings

@dataclass(frozen=True)
class Toy:
    """Does what it is told."""
    model: str
    """which model"""
    data: Data
    optim: Optim = field(default_factory=lambda: Optim(lr=0.25))
    run: RunSettings = field(default_factory=RunSettings)
    files: tuple[str, ...] = ()
    loud: bool = True
    """say more"""
    note: str | None = "n"

def estimate(settings):
    return "cheap\\nfast"

def toy(settings):
    if settings.note == "user":
        raise UserError("d.jsonl line 3: 'text' is missing.")
    if settings.note == "bug":
        raise KeyError("oops")
    if settings.note == "stop":
        raise KeyboardInterrupt
    if settings.note == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")
    if settings.note == "package":
        import a_package_nobody_has
    if settings.note == "event":
        from truing.run.progress import emit
        return emit("metrics", "toy", {"step": 1})
    if settings.note == "flood":
        for i in range(100000):
            print(i)
    print(json.dumps(asdict(settings)))

def many(settings):
    print(settings.runs)

@dataclass(frozen=True)
class Many:
    runs: tuple[str, ...]
    out: str = "o.html"

if __name__ == "__main__":
    verbs = {"toy": Verb("toy:Toy", "toy:toy", "does it"), "many": Verb("toy:Many", "toy:many", "several"),
             "data inspect": Verb("toy:Many", "toy:many", "looks"),
             "gone": Verb("truing.nowhere:X", "truing.nowhere:x", "later")}
    sys.exit(main(None, verbs))
'''
NEEDED = ["./m", "--data.path", "d.jsonl"]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    file = tmp_path_factory.mktemp("toy") / "toy.py"
    file.write_text(TOY)

    def run(*words, cwd=None):
        return subprocess.run([sys.executable, file, *words], capture_output=True, text=True, cwd=cwd)

    run.file = file
    return run


def truing(*words, **env):
    command = [sys.executable, "-m", "truing", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env})


def settings(done) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done, code=2) -> str:
    assert (done.returncode, done.stdout) == (code, ""), done
    assert done.stderr.count("\n") == 1, done.stderr  # one sentence, no traceback
    return done.stderr.strip()


def test_help_lists_every_verb_and_needs_no_torch():
    done = truing("--help")
    assert done.returncode == 0 and all(f"  {verb} " in done.stdout for verb in VERBS)
    look = "import sys; from truing.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True).returncode == 0


@pytest.mark.parametrize("width", ["80", "120"])
def test_help_of_a_verb_fits_the_terminal_and_shows_what_the_verb_declares(toy, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", width)
    done = toy("toy", "--help")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and max(map(len, lines)) <= int(width)
    assert lines[0].startswith("truing toy MODEL --data.path … [--config FILE.yaml]")
    assert "Does what it is told." in lines
    words = {line.split()[0]: line.split() for line in lines if line.startswith("--")}
    assert words["--model"] == ["--model", "needed", "which", "model"]
    assert words["--optim.lr"][:3] == ["--optim.lr", "0.25", "peak"]  # the verb's default, not the section's
    assert words["--loud"][1] == "true" and words["--data.path"][1] == "needed"
    assert "(or linear, constant, inverse_sqrt)" in " ".join(done.stdout.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    code = main([*verb.split(), "--help"])
    out, err = capsys.readouterr()
    if "not part of this version" in err:
        pytest.skip(err.strip())
    assert code == 0 and out.startswith(f"truing {verb}"), err


def test_values_come_from_the_command_line(toy):
    got = settings(
        toy("toy", "./m", "--data.path", "a", "b", "--optim.lr", "1e-4", "--optim.betas", "0.5", "-0.5", "--no-loud",
            "--data.max-tokens=7", "--data.on_defect", "drop", "--note", "none", "--run.save-every", "0")
    )  # fmt: skip
    assert got["model"] == "./m" and got["data"]["path"] == ["a", "b"] and got["data"]["max_tokens"] == 7
    assert got["optim"]["lr"] == 1e-4 and got["optim"]["betas"] == [0.5, -0.5] and got["optim"]["batch"] == 32
    assert (got["loud"], got["note"], got["run"]["save_every"]) == (False, None, 0)
    got = settings(toy("toy", "--loud", "false", *NEEDED, "--note=--x"))
    assert (got["loud"], got["note"], got["data"]["path"]) == (False, "--x", "d.jsonl")


def test_the_command_line_wins_over_the_file(toy, tmp_path):
    (tmp_path / "r.yaml").write_text("model: ./file\ndata: {path: d}\noptim: {lr: 1e-3, steps: 9}\n")
    got = settings(toy("toy", "--config", tmp_path / "r.yaml", "--optim.lr", "2"))
    assert (got["model"], got["optim"]["lr"], got["optim"]["steps"]) == ("./file", 2.0, 9)
    assert settings(toy("toy", f"--config={tmp_path / 'r.yaml'}", "./other"))["model"] == "./other"


def test_a_dry_run_prints_a_recipe_that_gives_the_same_settings(toy, tmp_path):
    done = toy("toy", *NEEDED, "--optim.lr", "1e-5", "--note", "bug", "--dry-run")
    assert done.returncode == 0 and done.stdout.endswith("# cheap\n# fast\n")
    (tmp_path / "r.yaml").write_text(done.stdout)
    assert settings(toy("toy", "--config", tmp_path / "r.yaml", "--note", "n"))["optim"]["lr"] == 1e-5


def test_a_list_without_its_name(toy):
    assert toy("many", "runs/a", "--out", "x", "runs/b").stdout == "('runs/a', 'runs/b')\n"
    assert toy("data", "inspect", "f").stdout == "('f',)\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tou"], "truing: 'tou' is not a verb; did you mean 'toy'?"),
        (["data"], "truing: 'data' needs one more word: inspect."),
        (["data", "inspct", "f"], "truing: 'data inspct' is not a verb; did you mean 'data inspect'?"),
        (["zzzzzz"], "truing: 'zzzzzz' is not a verb; 'truing --help' lists the verbs."),
        (["gone"], "truing gone: this verb is not part of this version yet."),
        (["many"], "truing many: runs is missing: a list (text each) is needed."),
        (["toy", "./m"], "truing toy: data.path is missing: text or a list (text each) is needed."),
        (["toy", *NEEDED, "--optim.lrr", "1"], "truing toy: --optim.lrr is not a known key; did you mean --optim.lr?"),
        (["toy", *NEEDED, "--lr", "1"], "truing toy: --lr is not a known key; did you mean --optim.lr?"),
        (["toy", *NEEDED, "--optim.lr", "x"], "truing toy: --optim.lr must be a number, not 'x'."),
        (["toy", *NEEDED, "--optim.lr"], "truing toy: --optim.lr needs a number after it."),
        (["toy", *NEEDED, "--optim.batch", "0"], "truing toy: --optim.batch must be at least 1, not 0."),
        (["toy", *NEEDED, "--optim", "3"], "truing toy: --optim is a section; set its keys, as in --optim.lr."),
        (["toy", *NEEDED, "--note", "a", "--note", "b"], "truing toy: --note is given twice."),
        (["toy", *NEEDED, "--note", "a", "b"], "truing toy: 'b' belongs to no option."),
        (["toy", *NEEDED, "-m", "b"], "truing toy: '-m': options are written in full, with two dashes."),
        (["toy", "--config"], "truing toy: --config needs the name of a YAML file after it."),
        (["toy", "--config", "no.yaml"], "truing toy: no.yaml: there is no such recipe file."),
        (["toy", *NEEDED, "--note", "user"], "truing toy: d.jsonl line 3: 'text' is missing."),
        (["toy", *NEEDED, "--note", "full"], "truing toy: runs/x/metrics.jsonl: no space left on device."),
        (["toy", *NEEDED, "--note", "package"],
         "truing toy: the package 'a_package_nobody_has' is needed for this and not installed: "
         "pip install a_package_nobody_has."),
    ],
)  # fmt: skip
def test_a_mistake_of_the_users_is_one_sentence(toy, words, sentence):
    assert refused(toy(*words)) == sentence


def test_an_interrupt_is_no_traceback(toy):
    assert refused(toy("toy", *NEEDED, "--note", "stop"), 130).startswith("truing toy: interrupted")


def test_a_bug_shows_its_traceback_and_asks_for_a_report(toy):
    done = toy("toy", *NEEDED, "--note", "bug")
    assert done.returncode == 1 and "KeyError: 'oops'" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("truing toy: this is a mistake in Truing, not yours")


def test_json_events_are_one_object_per_line(toy):
    done = toy("toy", *NEEDED, "--note", "event", "--json")
    assert json.loads(done.stdout) == {"type": "metrics", "run": "toy", "step": 1}
    assert toy("toy", *NEEDED, "--note", "event").stdout == ""


def test_a_reader_who_has_seen_enough_is_no_error(toy):
    command = f"'{sys.executable}' '{toy.file}' toy ./m --data.path d --note flood | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_doctor_says_what_to_use_and_why(tmp_path):
    done = truing("doctor", "--json", XDG_CACHE_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    fastest = max(row["gflops"].values())
    assert row["gflops"][f"{row['dtype']} x {row['threads']}"] * 1.15**2 >= fastest - 0.1


def test_doctor_tells_people_in_a_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert "usable core" in shown and "torch.compile" in shown
    assert "because" in shown.splitlines()[-1] and "thread" in shown.splitlines()[-1]
