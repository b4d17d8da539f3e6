"""Mistakes of the user's, made at the command line: each ends in one clear sentence, and nothing half-written stays.

The sentence is checked word by word: it is what the user gets instead of a traceback.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from truing.cli import main
from truing.model.make import make_model, make_tokenizer

PAIRS = [
    {
        "prompt": [{"role": "user", "content": f"hi {i}"}],
        "chosen": [{"role": "assistant", "content": f"yes {i}"}],
        "rejected": [{"role": "assistant", "content": f"no {i}"}],
    }
    for i in range(6)
]
PROMPTS = [{"prompt": row["prompt"]} for row in PAIRS]
ANSWERED = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
WEIGHT = "model.layers.0.mlp.up_proj.weight"
QUICK = ["--machine.dtype", "fp32", "--machine.threads", "1"]
TRAIN = ["--data.path", "pairs.jsonl", "--optim.batch", "2", *QUICK]
ASK = ["--data.path", "prompts.jsonl", "--sampling.max_tokens", "8", *QUICK]


# ── what is there before the mistake ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A language model, a preference model and an adapter made from it, and good data."""
    home = tmp_path_factory.mktemp("made")
    tokenizer = make_tokenizer(["hi yes no"], 300)
    make_model(home / "lm", tokenizer, hidden=16, layers=1, heads=2, context=64)
    make_model(home / "wide", tokenizer, hidden=32, layers=1, heads=2, context=64)
    lines(home / "pairs.jsonl", *PAIRS)
    lines(home / "prompts.jsonl", *PROMPTS)
    before = Path.cwd()
    os.chdir(home)
    try:
        assert main(["pm", "./lm", *TRAIN, "--run.name", "judge"]) == 0
        assert main(["sft", "./lm", *TRAIN, "--run.name", "adapter", "--lora.rank", "2"]) == 0
    finally:
        os.chdir(before)
    shutil.move(home / "runs/judge/model", home / "judge")
    shutil.move(home / "runs/adapter/model", home / "adapter")
    shutil.rmtree(home / "runs")
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch) -> Path:
    """A working directory of its own for every mistake."""
    for name in ("lm", "wide", "judge", "adapter"):
        shutil.copytree(made / name, tmp_path / name)
    for name in ("pairs.jsonl", "prompts.jsonl"):
        shutil.copy(made / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TRUING_API")]:
        monkeypatch.delenv(name)
    return tmp_path


def lines(path: str | Path, *rows: dict | str) -> None:
    Path(path).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def files(folder: Path) -> dict[str, bytes]:
    found = (f for f in folder.rglob("*") if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(folder)): b"" if f.is_symlink() else f.read_bytes() for f in found}


# ── what every refusal looks like ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def refused(home, capsys) -> Callable[..., str]:
    """Run a command that must fail; returns its sentence. What was there before is still there, and nothing else."""

    def run(*words: str) -> str:
        before = files(home)
        code = main(list(words))
        sentence = the_sentence(code, capsys.readouterr().err, words[0])
        assert files(home) == before, "something half-written was left"
        assert not list(home.glob("runs/*")), "a run that never began was left"
        return sentence

    return run


def the_sentence(code: int, said: str, verb: str) -> str:
    """The last line said, which is the only one about the mistake."""
    assert code == 2, said
    assert "Traceback" not in said
    own = [line for line in said.splitlines() if line.startswith("truing")]
    assert own == said.splitlines()[-1:], said
    start, sentence = f"truing {verb}: ", own[0]
    assert sentence.startswith(start) and len(sentence) < 700, sentence
    return sentence.removeprefix(start)


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SECTIONS = "model: ./lm\ndata: {path: pairs.jsonl}\noptim:\n"


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        (SECTIONS + "  lrr: 1\n", "r.yaml line 4: optim.lrr is not a known key; did you mean optim.lr?"),
        (SECTIONS + "  lr: fast\n", "r.yaml line 4: optim.lr must be a number, not 'fast'."),
        (SECTIONS + "  batch: 0\n", "r.yaml line 4: optim.batch must be at least 1, not 0."),
        ("model: ./lm\ndata: {path: x\noptim:\n", "r.yaml line 3: not valid YAML: expected ',' or '}', but got ':'."),
        ("model: ./lm\n", "r.yaml: data.path is missing: text or a list (text each) is needed."),
        ("- ./lm\n", "r.yaml: a recipe holds keys and values, not the list ['./lm']."),
    ],
)
def test_a_recipe_with_a_mistake(refused, recipe, sentence):
    Path("r.yaml").write_text(recipe)
    assert refused("sft", "--config", "r.yaml") == sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "offline ./lm --method dppo",
            "--method must be 'nll', 'filtered_nll', 'wbc', 'r_gold', 'r_lol', 'a_lol', 'a_lol_seq', 'a_lol_ref_free', "
            "'a_lol_kl', 'dpo', 'dpo_ref_free', 'pro' or 'kto', not 'dppo'.",
        ),
        ("sft ./lm --optim.lr nan", "--optim.lr must be a number, not 'nan'."),
        (
            "sft ./lm --optim.epochs 0.01",
            "optim.epochs is 0.01: of 6 examples that is none to train on.",
        ),
        (
            "sft ./lm --watch.probes klx",
            "watch.probes: there is no probe 'klx'; did you mean kl? "
            "(there are kl, length, entropy, ref_perplexity, composite, diversity, repetition, refusals, "
            "persona:FILE@LAYER)",
        ),
        (
            "pm ./lm --watch.every 1",
            "watch.every: a preference model writes nothing that could be looked at; leave it at 0.",
        ),
        ("sft ./lm --lora.rank 2 --lora.targets nope", "lora.targets: the model has no module nope"),
        ("sft ./lm --machine.device tpu9", "device 'tpu9' cannot be used here: Invalid device string: 'tpu9'"),
        (
            "sft ./lm --run.name a/b",
            "'a/b' cannot be a run's name: use letters, digits and . _ - + = (it names a folder).",
        ),
    ],
)
def test_a_setting_that_cannot_be(refused, words, sentence):
    assert refused(*words.split(), *TRAIN) == sentence


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

DROP = "Fix the row, or drop such rows with data.on_defect=drop."
DETECTED = "(TRL preference format, detected from line 1)"


def without_rejected() -> None:
    lines("d.jsonl", PAIRS[0], {k: v for k, v in PAIRS[1].items() if k != "rejected"})


def cut_off() -> None:
    Path("d.jsonl.gz").write_bytes(gzip.compress(Path("pairs.jsonl").read_bytes())[:-20])


@pytest.mark.parametrize(
    ("verb", "make", "sentence"),
    [
        ("sft", lambda: lines("d.jsonl", PAIRS[0], '{"prompt": '), f"d.jsonl line 2: not JSON {DETECTED}. {DROP}"),
        ("pm", without_rejected, f"d.jsonl line 2: 'rejected' is missing {DETECTED}. {DROP}"),
        ("sft", lambda: lines("d.jsonl"), "d.jsonl: no example in it (line 1 is already its end)."),
        ("sft", lambda: None, "d.jsonl: there is no such file."),
        ("sft", lambda: os.symlink("/proc/self/mem", "d.jsonl"), "d.jsonl cannot be read: Input/output error."),
        (
            "sft",
            cut_off,
            "d.jsonl.gz line 5: the gzip data is damaged or cut off (Compressed file ended before the end-of-stream "
            "marker was reached). Fetch the file again.",
        ),
        (
            "pm",
            lambda: lines("d.jsonl", *ANSWERED),
            "d.jsonl: there are no comparisons in it to train on (not_ordered 6).",
        ),
        (
            "offline",
            lambda: lines("d.jsonl", *ANSWERED),
            "d.jsonl: there are no comparisons in it to train on (not_ordered 6).",
        ),
        (
            "sft",
            lambda: lines("d.jsonl", *PROMPTS),
            "d.jsonl: there are no demonstrations in it to train on (no_answer 6).",
        ),
        (
            "sft",
            lambda: lines("d.jsonl", {"prompt": "a", "answers": [{"text": "b", "ids": [1], "tokenizer": "else"}]}),
            re.compile(
                r"Example 1 \(d.jsonl line 1\): An answer brings token ids of tokenizer else, this model's is "
                r"\w{16}: use the model it was sampled from, or remove 'ids' to have its text tokenised."
            ),
        ),
    ],
)
def test_data_that_cannot_be_used(refused, verb, make, sentence):
    make()
    path = "d.jsonl.gz" if Path("d.jsonl.gz").exists() else "d.jsonl"
    said = refused(verb, "./lm", "--data.path", path, *QUICK)
    assert sentence.fullmatch(said) if isinstance(sentence, re.Pattern) else said == sentence


def test_columns_of_no_known_format_are_told_which_there_are(refused):
    lines("d.jsonl", {"question": "a", "reply": "b"})
    said = refused("sft", "./lm", "--data.path", "d.jsonl", *QUICK)
    assert said.startswith("d.jsonl line 1: its columns (question, reply) are of no known format. Rename them as in")
    assert "preference: prompt, chosen, rejected;" in said
    lines("d.jsonl", {"instructions": "a", "inputs": "", "outputs": "b"})
    assert "alpaca: instruction, input, output" in refused("sft", "./lm", "--data.path", "d.jsonl", *QUICK)


def test_a_context_too_short_for_every_answer(refused):
    assert refused("sft", "./lm", *TRAIN, "--data.max_tokens", "3") == (
        "No example is left to work with (answer_too_long 6). "
        "The first one, Example 1 (pairs.jsonl line 1): an answer of 4 tokens and its prompt exceed 3."
    )


def test_a_prompt_too_long_for_the_model(refused):
    lines("long.jsonl", PROMPTS[0], {"prompt": [{"role": "user", "content": "x" * 100}]})
    assert refused("sample", "./lm", "--data.path", "long.jsonl", "--sampling.max_tokens", "8", *QUICK) == (
        "prompt 2: its last turn and 8 tokens of answer exceed 64 tokens (prompt_too_long)"
    )


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def no_end(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


TORN = "Error while deserializing header: incomplete metadata, file not fully covered"
MODELS = [
    (shutil.rmtree, "./lm: there is no such model folder"),
    (lambda lm: (lm / "config.json").unlink(), "./lm: not a model folder (config.json is missing)"),
    (
        lambda lm: config(lm, '{"model_type": "nope"}'),
        "./lm: no model could be loaded from it (The checkpoint you are trying to load has model type `nope` but "
        "Transformers does not recognize this architecture)",
    ),
    (lambda lm: truncate(lm / "model.safetensors"), f"./lm: no model could be loaded from it ({TORN})"),
    (
        lambda lm: (lm / "model.safetensors").unlink(),
        "./lm: no model could be loaded from it (Error no file named model.safetensors found in directory ./lm)",
    ),
    (
        lambda lm: weights(lm, lambda state: state.pop(WEIGHT)),
        f"./lm: the weights of {WEIGHT} are missing; fetch or save the model again",
    ),
    (
        lambda lm: weights(lm, lambda state: state.update({WEIGHT: torch.zeros(3, 3)})),
        f"./lm: {WEIGHT} has shape (3, 3); by its config.json it must be (64, 16)",
    ),
    (
        lambda lm: weights(lm, lambda state: state[WEIGHT].fill_(float("nan"))),
        f"./lm: the weights of {WEIGHT} are not finite; fetch or save the model again",
    ),
    (
        no_end,
        "./lm: Nothing says where an answer ends: the tokenizer has no end-of-text token and the chat template no end "
        "marker. Set tokenizer.eos_token and save the tokenizer again.",
    ),
    (no_tokenizer, "./lm: there is no tokenizer in it (tokenizer.json is missing); save the model's own there"),
    (
        lambda lm: (lm / "tokenizer.json").write_text("{"),
        "./lm: no tokenizer could be loaded from it (Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1))",
    ),
    (
        lambda lm: (lm / "chat_template.jinja").write_text("{% for %}"),
        "./lm: The chat template cannot show one question and its answer: the chat template refuses this "
        "conversation: Expected an expression, got 'end of statement block'.",
    ),
]


@pytest.mark.parametrize("verb", ["sft", "sample"])
@pytest.mark.parametrize(("damage", "sentence"), MODELS, ids=[str(i) for i in range(len(MODELS))])
def test_a_model_folder_that_cannot_be_loaded(refused, home, verb, damage, sentence):
    damage(home / "lm")
    assert refused(verb, "./lm", *(TRAIN if verb == "sft" else ASK)) == sentence


def test_a_tokenizer_that_knows_more_than_the_model(refused, home):
    make_tokenizer(["hi yes no and many others"] * 3, 310).save_pretrained(home / "lm")
    assert "./lm: the model has embeddings for 267 tokens and none for" in refused("sft", "./lm", *TRAIN)


def other_adapter(adapter: Path) -> None:
    truncate(adapter / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("spec", "damage", "sentence"),
    [
        ("./lm+lora:./gone", None, "./gone: there is no adapter in it (adapter_config.json is missing)"),
        ("./lm+lora:./adapter", other_adapter, f"./adapter: this adapter cannot be put on this model ({TORN})"),
        ("./wide+lora:./adapter", None, "./adapter: this adapter cannot be put on this model (Error(s) in loading"),
        ("./adapter", None, "./adapter: not a model folder (config.json is missing); it is an adapter: name it as "),
    ],
)
def test_an_adapter_that_cannot_be_loaded(refused, home, spec, damage, sentence):
    if damage:
        damage(home / "adapter")
    assert refused("sample", spec, *ASK).startswith(sentence)
    assert refused("sft", spec, *TRAIN).startswith(sentence)


NO_TOKENS = (
    "./judge gives scores and no probabilities of tokens (it is a preference model, say), and those are needed "
    "here: start from a language model."
)
NEEDS = "a local folder or a hub model, with +lora: and +vec: at most"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["sft", "./judge", *TRAIN], NO_TOKENS),
        (["offline", "./judge", *TRAIN], NO_TOKENS),
        (["pm", "./judge", *TRAIN, "--lm_weight", "0.1"], NO_TOKENS),
        (
            ["sample", "./judge", *ASK],
            "./judge cannot sample, which is needed here; it can forward_backward, load, save, score, step. "
            "It gives scores and no tokens (it is a preference model, say).",
        ),
        (
            ["bestofn", "./lm", "./lm", *ASK],
            "judge: ./lm is not a preference model, it gives no rewards; train one with pm.",
        ),
        (["bestofn", "./lm", "./judge", *ASK, "--sampling.n", "1"], "--sampling.n is 1: the best of n needs n of at"),
        (["sample", "api:gpt", *ASK], "api:gpt: set TRUING_API_BASE to the server's address, up to /v1"),
        (["sft", "api:gpt", *TRAIN], f"model 'api:gpt': what is needed here is {NEEDS}"),
        (["sample", "scripted:ecko", *ASK], "scripted:ecko: there is no such script; there are echo, refuse and"),
    ],
)
def test_a_model_of_the_wrong_kind(refused, words, sentence):
    assert refused(*words).startswith(sentence)


# ── results that cannot be written ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("x.txt", "x.txt: the name of a data file must end in .jsonl, .jsonl.gz, .json, .json.gz, .parquet."),
        ("folder.jsonl", "folder.jsonl is a folder: name a file to write."),
        ("pairs.jsonl/x.jsonl", "pairs.jsonl/x.jsonl cannot be written: {home}/pairs.jsonl is no folder in which "),
    ],
)
@pytest.mark.parametrize("words", [["sample", "./gone"], ["score", "./gone"], ["bestofn", "./gone", "./gone"]])
def test_an_output_that_cannot_be_is_refused_before_any_work(refused, home, words, out, sentence):
    (home / "folder.jsonl").mkdir()
    assert refused(*words, "--data.path", "prompts.jsonl", "--out", out).startswith(sentence.format(home=home))


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As if every file met the end of the disk after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_for_the_answers(home, capsys):
    with files_at_most(500):
        code = main(["sample", "./lm", *ASK])
    assert the_sentence(code, capsys.readouterr().err, "sample").startswith("samples.jsonl: the disk is full (file too")
    assert not list(home.glob("*samples*")) and not list(home.glob(".*"))


def whole_or_absent(run: Path) -> None:
    """Checkpoints and model are as they should be, or not there."""
    for checkpoint in (run / "checkpoints").iterdir():
        assert re.fullmatch(r"step-\d+", checkpoint.name) and (checkpoint / "manifest.json").exists()
    assert not (run / ".model").exists()
    if (run / "model").exists():
        assert {"config.json", "model.safetensors", "tokenizer.json"} <= {f.name for f in (run / "model").iterdir()}
    elif (run / "manifest.json").exists():
        assert "finished" not in json.loads((run / "manifest.json").read_text())


@pytest.fixture
def small_disk(home) -> Iterator[Path]:
    """A real disk of 600 kB, where the machine lets us have one."""
    place = home / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", [300, 3_000, 60_000])
def test_no_room_for_the_checkpoint(home, capsys, size):
    """Of the recipe, of the optimiser; and when there is room again, the same command does it."""
    command = ["sft", "./lm", *TRAIN, "--run.name", "full"]
    with files_at_most(size):
        code = main(command)
    sentence = the_sentence(code, capsys.readouterr().err, "sft")
    assert re.match(r"runs/full\S*: the disk is full \(file too large\), so this was not written", sentence)
    if (home / "runs/full").exists():
        whole_or_absent(home / "runs/full")
    assert main(command) == 0 and (home / "runs/full/model/config.json").exists()


def test_no_room_at_any_stage(small_disk, capsys):
    """From a disk on which nothing fits to one on which all does: each stage of a run meets the end of the disk."""
    command, places = ["sft", "./lm", *TRAIN, "--run.folder", str(small_disk), "--run.name", "full"], set()
    for free in range(0, 260_000, 12_000):
        (small_disk / "ballast").write_bytes(bytes(590_000 - free))
        code, said = main(command), capsys.readouterr().err
        if code:
            place = re.match(r"(\S+): the disk is full", the_sentence(code, said, "sft"))
            assert place, said
            places.add(Path(place[1]).name)
        if (small_disk / "full").exists():
            whole_or_absent(small_disk / "full")
        (small_disk / "ballast").unlink()
        assert main(command) == 0, capsys.readouterr().err
        capsys.readouterr()
        shutil.rmtree(small_disk / "full")
    assert {"step-3", "model"} <= places


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["sft", "offline"])
def test_a_loss_that_explodes_names_its_step(home, capsys, verb):
    code = main([verb, "./lm", *TRAIN, "--optim.lr", "1e30", "--run.name", "wild"])
    sentence = the_sentence(code, capsys.readouterr().err, verb)
    assert re.fullmatch(
        r"step 2: the (loss|gradient) is not finite( at pairs.jsonl line \d, pairs.jsonl line \d)?; "
        r"nothing was changed in this step. Lower optim.lr, or raise optim.warmup.",
        sentence,
    )
    events = [json.loads(line) for line in (home / "runs/wild/events.jsonl").read_text().splitlines()]
    assert events[-1]["event"] == "failed" and "step 2" in events[-1]["error"]
    whole_or_absent(home / "runs/wild")
    assert not (home / "runs/wild/model").exists()


def test_a_row_whose_loss_is_not_finite_is_named(home, capsys):
    """Its gradient is finite: looking at the gradient alone would go on and learn from it."""
    lines("d.jsonl", *({**row, "margin": 1e39 if number == 4 else 0.5} for number, row in enumerate(PAIRS, 1)))
    code = main(["pm", "./lm", "--data.path", "d.jsonl", "--margin", "--run.name", "wild", *QUICK])
    assert the_sentence(code, capsys.readouterr().err, "pm") == (
        "step 1: the loss is not finite at d.jsonl line 4; nothing was changed in this step. "
        "Look at the data: nothing was learnt yet."
    )
    assert not (home / "runs/wild/model").exists()


def test_a_folder_holds_one_run(home, capsys):
    command = ["sft", "./lm", *TRAIN, "--run.name", "one"]
    assert main(command) == 0
    before, _ = files(home), capsys.readouterr()
    code = main([*command, "--optim.lr", "1"])
    assert the_sentence(code, capsys.readouterr().err, "sft") == (
        "runs/one holds a run with a different recipe: optim.lr differs. "
        "Give this run another name, or remove the folder."
    )
    weights(home / "lm", lambda state: state[WEIGHT].add_(1))
    code = main(command)
    assert "fingerprint of model differs" in the_sentence(code, capsys.readouterr().err, "sft")
    shutil.rmtree(home / "lm")
    assert the_sentence(main(command), capsys.readouterr().err, "sft") == "./lm: there is no such model folder"
    assert {k: v for k, v in files(home).items() if k.startswith("runs")} == {
        k: v for k, v in before.items() if k.startswith("runs")
    }


# ── the real command ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pm", "./lm", "--data.path", "d.jsonl"], f"d.jsonl line 2: not JSON {DETECTED}. {DROP}"),
        (["sample", "./torn", *ASK], f"./torn: no model could be loaded from it ({TORN})"),
    ],
)
def test_the_real_command_says_the_same(home, words, sentence):
    lines("d.jsonl", PAIRS[0], "{")
    shutil.copytree(home / "lm", home / "torn")
    truncate(home / "torn" / "model.safetensors")
    before = files(home)
    done = subprocess.run(
        [sys.executable, "-m", "truing", *words], capture_output=True, text=True, env={**os.environ, **ENVIRONMENT}
    )
    assert the_sentence(done.returncode, done.stderr, words[0]) == sentence and done.stdout == ""
    assert files(home) == before and not list(home.glob("runs/*"))
