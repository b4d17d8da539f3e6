"""A training command survives `kill -9` at any moment: repeated until it is done, it leaves what it leaves undisturbed.

Python and its libraries take seconds to start and a kill is worth little alone. So most commands here run in children
of one process (`python test_resume.py`) that has imported everything and computed nothing: a child is forked for each
command line, goes through the same `main` as the command `truing`, and dies as it is told. That this is the command
itself is checked against real ones.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
TEXT = "the a cat dog river stone blue warm slow small house light bread green window quiet"
KEYS, ROLES = ("prompt", "chosen", "rejected"), ("user", "assistant", "assistant")
TOUCHES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")

# 23 rows in steps of 4: epochs end inside a step and between two checkpoints, and the last step is smaller.
COMMON = "./model --data.path pairs.jsonl --optim.batch 4 --optim.epochs 3 --optim.lr 1e-2 --run.save_every 3 "
COMMON += "--machine.threads 1 --machine.dtype fp32"
PROMPTS, PASSES, ALONE = 4, 3, 1  # of an iteration of PPO: two steps a pass; iterations in which the critic is alone
COMMANDS = {
    "sft": f"sft {COMMON}",
    "pm": f"pm {COMMON}",
    "dpo": f"offline {COMMON} --method dpo --run.log_every 4",
    "a_lol": f"offline {COMMON} --method a_lol_seq --rewards lexical:tfidf lexical:distinct*0.5 --answers all "
    "--value.prompts 0.5 --value.epochs 3 --value.samples 2 --value.max_tokens 6",
    "kto": f"offline {COMMON} --method kto",
    "lora": f"sft {COMMON} --lora.rank 4 --lora.dropout 0.2",
    "bf16": f"offline {COMMON.replace('fp32', 'bf16')} --method dpo",
    "mixture": f"sft {COMMON.replace('pairs.jsonl', 'pairs.jsonl more.jsonl')} --data.weights 3 1 --optim.steps 17",
    "watched": f"sft {COMMON} --watch.every 4 --watch.count 3 --watch.max_tokens 6",
    # All that PPO carries from one iteration to the next: two optimisers, moments of the scores, a KL coefficient that
    # moves, prompts and mixed texts in an order, the best policy so far, a critic that begins before the policy.
    "ppo": "ppo ./model --data.path pairs.jsonl --rewards lexical:distinct lexical:length*-.1 --test lexical:length*-1 "
    f"--rollouts {PROMPTS} --optim.batch {PROMPTS // 2} --optim.epochs {PASSES} --iterations 5 --optim.lr 1e-2 "
    f"--critic.start policy --critic.lr 1e-2 --critic.pretrain {ALONE} --kl.target 0.5 --kl.horizon 20 "
    "--mix.path more.jsonl --sampling.max_tokens 6 --watch.every 2 --watch.count 2 --watch.max_tokens 6 "
    "--run.save_every 2 --machine.threads 1 --machine.dtype fp32",
}


# ── the program that forks, and dies on command ──────────────────────────────────────────────────────────────────────


def serve() -> None:
    """Each line on stdin asks for one command line and says how it dies; each line on stdout says how it ended."""
    import peft  # noqa: F401
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM  # noqa: F401

    import truing.align.offline
    import truing.align.preference
    import truing.align.sft
    import truing.commands.offline
    import truing.commands.ppo
    import truing.commands.report
    import truing.engine.open
    import truing.model.load  # noqa: F401

    touched = mmap.mmap(-1, 8)  # shared with the children
    for line in sys.stdin:
        order = json.loads(line)
        touched[:] = bytes(8)
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            run_and_die(order, touched)
        deadline = began + order.get("seconds", 600)
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.001)
        code = os.waitstatus_to_exitcode(ended[1])
        seconds, touches = time.monotonic() - began, int.from_bytes(touched[:], "little")
        print(json.dumps({"code": code, "seconds": seconds, "touches": touches}), flush=True)


def run_and_die(order: dict, touched: mmap.mmap) -> None:
    os.setsid()
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if "bytes" in order:  # the kernel ends the process in the middle of writing the first file that grows larger
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["bytes"], order["bytes"]))

    def before_touching(event: str, args: tuple) -> None:
        if event in TOUCHES or (event == "open" and order["folder"] in str(args[0])):
            number = int.from_bytes(touched[:], "little") + 1
            touched[:] = number.to_bytes(8, "little")
            if number == order.get("touch"):
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(before_touching)
    if "updates" in order:
        die_after(order["updates"])
    from truing.cli import main

    try:
        code = main(order["words"])
        sys.stderr.flush()
    except BaseException:
        code = 70
    os._exit(code)


def die_after(updates: int) -> None:
    """As soon as optimisers have moved weights so often."""
    from truing.engine.optim import Optimiser

    step, left = Optimiser.step, [None] * updates

    def last(self: Optimiser, norm: object) -> dict:
        told = step(self, norm)
        left.pop()
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return told

    Optimiser.step = last


# ── asking for it ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Ended:
    """How a command ended: killed by a signal, or by itself with what it said."""

    code: int
    seconds: float
    touches: int
    said: str

    @property
    def killed(self) -> bool:
        return self.code < 0


class Laboratory:
    """A folder with a model and data, and commands run in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.references: dict[str, tuple[Ended, dict]] = {}
        environment = {**os.environ, **ONE_THREAD, "XDG_CACHE_HOME": str(home / "cache")}
        self.place = {"cwd": home, "env": environment, "text": True}
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **self.place
        )

    def words(self, case: str, name: str) -> list[str]:
        return [*COMMANDS[case].split(), "--run.name", name]

    def __call__(self, case: str, name: str, **death: float) -> Ended:
        """Run a command; `seconds`, `touch`, `bytes` or `updates` say when it is killed."""
        log = self.home / f"{name}.log"
        order = {"words": self.words(case, name), "log": str(log), "folder": f"runs/{name}", **death}
        assert self.server.stdin and self.server.stdout
        print(json.dumps(order), file=self.server.stdin, flush=True)
        ended = Ended(**json.loads(self.server.stdout.readline()), said=log.read_text())
        assert ended.killed or ended.code == 0, ended.said
        return ended

    def undisturbed(self, case: str) -> tuple[Ended, dict]:
        if case not in self.references:
            ended = self(case, f"{case}-undisturbed")
            assert not ended.killed
            self.references[case] = ended, self.outcome(f"{case}-undisturbed")
        return self.references[case]

    def outcome(self, name: str) -> dict:
        """All that a run leaves behind as its result."""
        run = self.home / "runs" / name
        litter = [path.name for path in run.rglob(".*") if path.name != ".lock"]
        assert not litter and "finished" in json.loads((run / "manifest.json").read_text())
        metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for row in metrics:
            del row["seconds"]
        assert [row["step"] for row in metrics] == list(range(1, len(metrics) + 1))
        models = [file for name in ("model", "critic", "best") for file in sorted((run / name).glob("*"))]
        hashes = {str(f.relative_to(run)): hashlib.sha256(f.read_bytes()).hexdigest() for f in models}
        return {"metrics": metrics, "samples": (run / "samples.jsonl").read_text()} | hashes

    def close(self) -> None:
        assert self.server.stdin
        self.server.stdin.close()
        self.server.wait()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    from truing.model.make import make_model, make_tokenizer

    home = tmp_path_factory.mktemp("laboratory")
    rng = random.Random(0)
    for name, count in (("pairs", 23), ("more", 5)):
        rows = [{k: " ".join(rng.choices(TEXT.split(), k=rng.randint(1, 9))) for k in KEYS} for _ in range(count)]
        talk = [{k: [{"role": r, "content": row[k]}] for k, r in zip(KEYS, ROLES)} for row in rows]
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in talk))
    make_model(home / "model", make_tokenizer([TEXT], 300), hidden=32, layers=2, heads=2, context=128)
    (home / "runs").mkdir()  # by whichever command came first: it would have done more than the others
    lab = Laboratory(home)
    yield lab
    lab.close()


def deaths(few: int, many: int, *cases: str) -> list:
    """A few for every day; for the long suites, many of every command, and not so many of a slow one."""
    often = {case: many if case != "ppo" else many // 3 for case in COMMANDS}
    return [pytest.param(case, few) for case in cases] + [
        pytest.param(case, kills, marks=pytest.mark.slow, id=f"{case}-{kills}") for case, kills in often.items()
    ]


# ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("case", "kills"), deaths(3, 10, "sft", "pm", "dpo", "lora", "bf16"))
def test_killed_at_random_instants(lab, case, kills):
    whole, expected = lab.undisturbed(case)
    rng, left, number = random.Random(f"{case} {kills}"), kills, 0
    while left > 0:
        number += 1
        name = f"{case}-instants-{kills}-{number}"
        while lab(case, name, seconds=rng.uniform(0, 1.2 * whole.seconds) if left > 0 else 600).killed:
            left -= 1
        assert lab.outcome(name) == expected


@pytest.mark.parametrize(("case", "kills"), deaths(6, 25, "sft"))
def test_killed_before_a_file_operation(lab, case, kills):
    """The dangerous moments are between two changes to the folder: any of them, with certainty, not by luck."""
    whole, expected = lab.undisturbed(case)
    for touch in random.Random(case).sample(range(1, whole.touches + 1), kills):
        name = f"{case}-touch-{kills}-{touch}"
        assert lab(case, name, touch=touch).killed
        assert not lab(case, name).killed
        assert lab.outcome(name) == expected, f"killed before file operation {touch} of {whole.touches}"


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 3, 4])
def test_killed_between_two_passes_over_the_same_answers(lab, number):
    """Policy and critic have learnt from an iteration's answers, not as often as they shall: it is all done again."""
    _, expected = lab.undisturbed("ppo")
    assert {"model/model.safetensors", "critic/model.safetensors", "best/model.safetensors"} <= set(expected)
    moves = 2 * PASSES  # of each network in an iteration
    before = ALONE * moves + (number - 1 - ALONE) * 2 * moves
    name = f"ppo-passes-{number}"
    run = lab.home / "runs" / name
    assert lab("ppo", name, updates=before + moves + 1).killed  # the policy is a step ahead of the critic, in pass two
    done = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert done == list(range(1, number))
    ended = lab("ppo", name)
    assert not ended.killed and ("continues after step 2" if number > 2 else "begins again") in ended.said
    assert lab.outcome(name) == expected


@pytest.mark.parametrize("case", ["sft", pytest.param("dpo", marks=pytest.mark.slow)])
def test_killed_in_the_middle_of_writing_a_checkpoint(lab, case):
    _, expected = lab.undisturbed(case)
    name = f"{case}-torn"
    assert lab(case, name, bytes=200_000).code == -signal.SIGXFSZ  # half of the optimiser's moments
    assert any((lab.home / "runs" / name / "checkpoints").glob(".writing-step-3/engine/*"))
    assert not lab(case, name).killed
    assert lab.outcome(name) == expected


def test_the_real_command_in_two_processes(lab):
    """The second process is refused; the first is stopped meanwhile, dies, and its command is repeated."""
    _, expected = lab.undisturbed("sft")
    command = [sys.executable, "-m", "truing", *lab.words("sft", "two")]
    run = lab.home / "runs" / "two"
    first = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL, **lab.place)
    try:
        while not (run / "checkpoints" / "step-3").exists():
            assert first.poll() is None
            time.sleep(0.001)
        first.send_signal(signal.SIGSTOP)
        second = subprocess.run(command, capture_output=True, **lab.place)
        assert second.returncode == 2 and "Traceback" not in second.stderr
        assert second.stderr.splitlines()[-1].startswith(f"truing sft: runs/two is in use by process {first.pid} on ")
    finally:
        first.kill()
        first.wait()
    assert "two continues after step" in lab("sft", "two").said
    assert lab.outcome("two") == expected


def test_a_finished_command_repeated_does_nothing(lab):
    lab.undisturbed("pm")
    run = lab.home / "runs" / "pm-undisturbed"
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"}
    ended = lab("pm", run.name)
    assert ended.code == 0 and "is finished: its results are there" in ended.said
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != ".lock"} == before


if __name__ == "__main__":
    serve()
