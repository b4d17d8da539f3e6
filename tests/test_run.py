"""A run must survive anything: kills at any moment, damaged checkpoints, full disks, a second process, another recipe.

The file is also the program that is killed: `python test_run.py loop FOLDER` trains a toy model in a run folder.
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from truing.records import Message, UserError
from truing.run import Run, read_run, set_output
from truing.run.checkpoint import checkpoint_steps

TOTAL, SAVE_EVERY, ROWS, PER_STEP = 40, 3, 20, 3  # an epoch ends inside a step and between two checkpoints
RECIPE = "model: toy\noptimiser:\n  lr: 0.1\n"


class Order:
    """Every row once per epoch, shuffled anew for each."""

    def __init__(self) -> None:
        self.epoch, self.at = 0, 0

    def next(self) -> int:
        if self.at == ROWS:
            self.epoch, self.at = self.epoch + 1, 0
        row = np.random.default_rng(self.epoch).permutation(ROWS)[self.at]
        self.at += 1
        return int(row)

    def state(self) -> dict:
        return {"epoch": self.epoch, "at": self.at}

    def load_state(self, state: dict) -> None:
        self.epoch, self.at = state["epoch"], state["at"]


class Engine:
    """Two weights in two files, momentum, and a random stream: losing any of them changes the numbers that follow."""

    def __init__(self) -> None:
        self.weights, self.momentum, self.rng = np.zeros(2), np.zeros(2), np.random.default_rng(7)

    def step(self, rows: list[int]) -> float:
        gradient = self.weights - np.mean(rows) + self.rng.normal(size=2)
        self.momentum = 0.9 * self.momentum + gradient
        self.weights = self.weights - 0.1 * self.momentum
        return float(gradient @ gradient)

    def save(self, folder: Path) -> None:
        np.save(folder / "weights.npy", self.weights)
        np.save(folder / "momentum.npy", self.momentum)
        (folder / "rng.json").write_text(json.dumps(self.rng.bit_generator.state))

    def load(self, folder: Path) -> None:
        self.weights, self.momentum = np.load(folder / "weights.npy"), np.load(folder / "momentum.npy")
        self.rng.bit_generator.state = json.loads((folder / "rng.json").read_text())


def open_run(folder: Path, name: str = "toy", **more) -> Run:
    more = {"recipe_yaml": RECIPE, "recipe_hash": "abc", "save_every": SAVE_EVERY} | more
    return Run.open(folder, name, **more)


def loop(folder: Path, pause: float = 0.0, total: int = TOTAL, **more) -> tuple[Run, Engine]:
    with open_run(folder, **more) as run:
        order, engine = run.keep("order", Order()), run.attach("engine", Engine())
        if run.step == 0:
            run.log(0, {"loss": 100.0})
        for step in run.steps(total):
            rows = [order.next() for _ in range(PER_STEP)]
            run.event("rows", rows=rows, epoch=order.epoch)
            run.log(step, {"loss": engine.step(rows), "rows": len(rows)}, {"epoch": order.epoch})
            if step % 5 == 0:
                run.samples(step, [{"prompt": "p", "answer": f"{engine.weights[0]:.9f}", "score": float(step)}])
            time.sleep(pause)
        run.log(total, {"final": float(engine.weights.sum())})
    return run, engine


def lasting(folder: Path, total: int = TOTAL) -> dict[str, list]:
    """What must not depend on kills: all logs but for the clock and the history of the process, and the last state."""
    clock = ("seconds", "at")
    rows = {
        name: [
            {key: value for key, value in json.loads(line).items() if key not in clock}
            for line in (folder / "toy" / name).read_text().splitlines()
        ]
        for name in ("metrics.jsonl", "events.jsonl", "samples.jsonl")
    }
    rows["events.jsonl"] = [row for row in rows["events.jsonl"] if row["event"] in ("rows", "finished", "stopped")]
    for row in rows["events.jsonl"]:
        row.pop("message", None)
    last = folder / "toy" / "checkpoints" / f"step-{total}"
    rows["state"] = [(last / name).read_bytes() for name in ("engine/weights.npy", "engine/rng.json", "state.json")]
    return rows


@pytest.fixture(scope="module", autouse=True)
def _quick_and_quiet():
    """Syncs are slow, and only a power cut could tell whether they were there."""
    real, os.fsync = os.fsync, lambda handle: None
    set_output("quiet")
    yield
    os.fsync = real
    set_output("rich")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, list]:
    folder = tmp_path_factory.mktemp("whole")
    loop(folder)
    return lasting(folder)


def start(*words: object) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True)


def test_the_reference_loop_crosses_epochs_within_a_step_and_between_checkpoints(uninterrupted):
    epochs = [row["epoch"] for row in uninterrupted["events.jsonl"] if "epoch" in row]
    assert epochs[-1] >= 3 and epochs[6 - 1] == 0 and epochs[7 - 1] == 1
    for epoch in range(3):  # every row once per epoch
        drawn = [row for event in uninterrupted["events.jsonl"] for row in event.get("rows", ())]
        assert sorted(drawn[epoch * ROWS : (epoch + 1) * ROWS]) == list(range(ROWS))


def test_killed_at_random_instants_and_repeated_gives_the_same_run(tmp_path, uninterrupted):
    rng, kills = random.Random(1), 0
    while True:
        process = start("loop", tmp_path, 0.02 if kills < 10 else 0)
        assert process.stdout and process.stdout.readline() == "ready\n"
        try:
            assert process.wait(timeout=rng.uniform(0.02, 0.25) if kills < 10 else 60) == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
    assert kills == 10
    assert lasting(tmp_path) == uninterrupted


def test_killed_at_every_touch_of_the_disk_and_repeated_gives_the_same_run(tmp_path):
    """A process dies at its n-th write, sync, rename or removal and the command is repeated, for every n there is."""
    process = start("killed-everywhere", tmp_path)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert int(out.split()[-1]) > 50


def test_a_finished_run_is_not_repeated_but_gives_its_state_back(tmp_path):
    _, trained = loop(tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / "toy").rglob("*.json*")}
    run, engine = loop(tmp_path)
    assert run.finished and run.step == TOTAL
    assert engine.weights.tolist() == trained.weights.tolist()
    assert {path: path.read_bytes() for path in (tmp_path / "toy").rglob("*.json*")} == before


def test_a_finished_run_without_its_checkpoint_does_not_hand_out_an_untrained_model(tmp_path):
    loop(tmp_path)
    (tmp_path / "toy/checkpoints/step-40/engine/weights.npy").write_bytes(b"damaged")
    with pytest.raises(UserError, match="last checkpoint is gone"):
        loop(tmp_path)


def test_another_recipe_under_the_same_name_names_the_keys(tmp_path):
    loop(tmp_path, manifest={"fingerprints": {"data": "d1", "model": "m"}})
    other = {"recipe_yaml": RECIPE.replace("0.1", "0.2"), "recipe_hash": "xyz"}
    with pytest.raises(UserError, match=r"optimiser\.lr, fingerprint of data differ\."):
        open_run(tmp_path, **other, manifest={"fingerprints": {"data": "d2", "model": "m"}})
    assert "lr: 0.1" in (tmp_path / "toy/recipe.yaml").read_text()


def test_a_key_that_does_not_change_the_result_may_change(tmp_path):
    with pytest.raises(KeyError):
        fail_at(tmp_path, 8, KeyError)
    run, _ = loop(tmp_path, recipe_yaml=RECIPE + "color: red\n")
    assert run.view().recipe["color"] == "red" and run.finished


def fail_at(folder: Path, at: int, error: type[BaseException], **more) -> None:
    with open_run(folder, **more) as run:
        order, engine = run.keep("order", Order()), run.attach("engine", Engine())
        for step in run.steps(TOTAL):
            run.log(step, {"loss": engine.step([order.next() for _ in range(PER_STEP)])})
            if step == at:
                raise error("what went wrong")


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    process = start("hold", tmp_path)
    assert process.stdout and process.stdout.readline() == "ready\n"
    try:
        with pytest.raises(UserError) as refusal:
            open_run(tmp_path)
        assert f"process {process.pid} on {socket.gethostname()}" in str(refusal.value)
    finally:
        process.kill()
        process.wait()
    open_run(tmp_path).close()  # the lock died with its process


def test_a_damaged_checkpoint_is_passed_over(tmp_path, uninterrupted):
    with pytest.raises(KeyError):
        fail_at_with_logs(tmp_path, 20)
    weights = tmp_path / "toy/checkpoints/step-18/engine/weights.npy"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1  # one bit
    weights.write_bytes(data)
    with open_run(tmp_path) as run:
        assert run.step == 15
        run.keep("order", Order()), run.attach("engine", Engine())
        for _ in run.steps(TOTAL):
            break
    loop(tmp_path)
    assert lasting(tmp_path) == uninterrupted
    damage = [event for event in read_run(tmp_path / "toy").events if event["event"] == "damaged checkpoint"]
    assert len(damage) == 2 and "weights.npy has changed" in damage[0]["message"]


def fail_at_with_logs(folder: Path, at: int) -> None:
    real, count = Engine.step, [0]

    def step(self: Engine, rows: list[int]) -> float:
        count[0] += 1
        if count[0] == at:
            raise KeyError("stop here")
        return real(self, rows)

    Engine.step = step  # type: ignore[method-assign]
    try:
        loop(folder)
    finally:
        Engine.step = real  # type: ignore[method-assign]


def test_old_checkpoints_go_and_damaged_newer_ones_do_not_push_out_good_ones(tmp_path):
    with pytest.raises(KeyError):
        fail_at(tmp_path, 20, KeyError, keep=1)
    place = tmp_path / "toy/checkpoints"
    assert checkpoint_steps(place) == [18]
    (place / "step-30").mkdir()  # looks newer, holds nothing
    with pytest.raises(KeyError):
        fail_at(tmp_path, 22, KeyError, keep=1)
    assert sorted(checkpoint_steps(place)) == [21, 30]


def test_state_that_would_be_lost_or_is_not_there_is_named(tmp_path):
    with pytest.raises(KeyError):
        fail_at(tmp_path, 8, KeyError)
    with open_run(tmp_path) as run:
        run.attach("engine", Engine())
        with pytest.raises(UserError, match="also holds order"):
            next(run.steps(TOTAL))
    with pytest.raises(UserError, match="has no 'moments'"), open_run(tmp_path) as run:
        run.keep("moments", Order())


def test_stopping_early_is_final_even_when_killed_right_after(tmp_path):
    with open_run(tmp_path) as run:
        run.keep("order", Order()), run.attach("engine", Engine())
        for step in run.steps(TOTAL):
            if step == 7:
                run.stop("collapse")
        manifest = (tmp_path / "toy/manifest.json").read_bytes()
    assert run.finished and run.step == 7
    (tmp_path / "toy/manifest.json").write_bytes(manifest)  # as if killed between the last save and the end
    again, _ = loop(tmp_path)
    assert again.finished and again.step == 7
    assert [e["reason"] for e in again.view().events if e["event"] == "stopped"] == ["collapse"]


def test_leaving_the_loop_halfway_does_not_finish_the_run(tmp_path):
    with open_run(tmp_path) as run:
        for step in run.steps(10):
            if step == 4:
                break
    assert not run.finished
    with open_run(tmp_path) as run:
        assert list(run.steps(10)) == [4, 5, 6, 7, 8, 9, 10]


def test_how_a_run_ended_is_recorded_and_survives_the_resume(tmp_path):
    for error, name in ((KeyboardInterrupt, "interrupted"), (ValueError, "failed")):
        with pytest.raises(error):
            fail_at(tmp_path, 8, error)
        last = read_run(tmp_path / "toy").events[-1]
        assert last["event"] == name and last["step"] == 8 and error.__name__ in last["error"]
    loop(tmp_path)
    names = [event["event"] for event in read_run(tmp_path / "toy").events if event["event"] != "rows"]
    assert names == ["started", "interrupted", "resumed", "failed", "resumed", "finished"]


def test_what_was_probed_is_kept_by_a_resume(tmp_path):
    with open_run(tmp_path) as run:
        assert run.probe(lambda: {"dtype": "float32", "threads": 2}) == {"dtype": "float32", "threads": 2}
        for _ in run.steps(2):
            break
    with open_run(tmp_path, manifest={"probed": {"dtype": "bfloat16"}}) as run:
        assert run.probe(lambda: pytest.fail("measured again")) == run.probed == {"dtype": "float32", "threads": 2}


def test_the_manifest_says_with_what_the_run_was_made(tmp_path):
    run, _ = loop(tmp_path, manifest={"verb": "sft", "seeds": [1, 2]})
    manifest = run.view().manifest
    assert manifest["verb"] == "sft" and manifest["seeds"] == [1, 2] and manifest["recipe_hash"] == "abc"
    assert manifest["versions"]["python"].split(".")[0] == "3" and "torch" in manifest["versions"]
    assert manifest["machine"]["host"] and manifest["machine"]["cores"] >= 1


def test_numbers_that_are_not_finite_are_null_and_named(tmp_path):
    with open_run(tmp_path) as run:
        run.log(1, {"loss": np.float32("nan"), "kl": np.array(math.inf), "acc": np.float64(0.25)})
        run.samples(1, [{"prompt": (Message("user", "hi \ud83d"),), "score": -math.inf}])
    lines = (tmp_path / "toy/metrics.jsonl").read_bytes(), (tmp_path / "toy/samples.jsonl").read_bytes()
    metrics, sample = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert metrics["loss"] is None and metrics["kl"] is None and metrics["acc"] == 0.25
    assert metrics["nonfinite"] == {"loss": "nan", "kl": "inf"}
    assert sample["score"] is None and sample["prompt"][0] == {"role": "user", "content": "hi \ud83d"}
    assert read_run(tmp_path / "toy").nonfinite == [(1, "loss", "nan"), (1, "kl", "inf")]


class OnDevice:
    """A number whose value must not be asked for at every step."""

    asked: list[float] = []  # noqa: RUF012

    def __init__(self, value: float) -> None:
        self.value = value

    def tolist(self) -> float:
        self.asked.append(self.value)
        return self.value


def test_values_wait_on_the_device_until_log_every_rows_are_there(tmp_path):
    OnDevice.asked.clear()
    with open_run(tmp_path, log_every=4, save_every=6) as run:
        seen = []
        for step in run.steps(9):
            run.log(step, {"loss": OnDevice(step / 2)})
            seen.append(len(OnDevice.asked))
    assert seen == [0, 0, 0, 4, 4, 4, 6, 6, 6]  # after 4 rows, and before the checkpoint at 6
    assert run.view().series("loss") == [(step, step / 2) for step in range(1, 10)]


def test_a_metric_given_twice_or_not_a_number_is_refused(tmp_path):
    with open_run(tmp_path) as run:
        for bad in ({"loss": 1.0}, {"step": 3}, {"seconds": 1}, {"nonfinite": 1}):
            with pytest.raises(ValueError, match="twice"):
                run.log(1, {"loss": 1.0}, bad)
        with pytest.raises(TypeError, match="not a number"):
            run.log(1, {"method": "dpo"})
        with pytest.raises(TypeError, match="not a number"):
            run.log(1, {"histogram": [1, 2]})


@pytest.mark.parametrize("where", ["metrics", "checkpoint", "wrapped by a library", "without its number"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path, monkeypatch, uninterrupted, where):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    errors = {
        "checkpoint": full,
        "wrapped by a library": RuntimeError("I/O error: No space left on device (os error 28)"),
        "without its number": OSError("12000 requested and 3056 written"),
    }
    real_write, real_save = os.write, Engine.save

    def half_a_line(handle: int, data: bytes) -> int:
        if len(data) > 20 and (tmp_path / "toy/checkpoints/step-6").exists():
            real_write(handle, data[:20])
            raise full
        return real_write(handle, data)

    def half_a_model(self: Engine, folder: Path) -> None:
        real_save(self, folder)
        if "step-9" in str(folder):
            raise errors[where]

    if where == "metrics":
        monkeypatch.setattr(os, "write", half_a_line)
    else:
        monkeypatch.setattr(Engine, "save", half_a_model)
    if where == "without its number":
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="the disk is full"):
        loop(tmp_path)
    for log in (tmp_path / "toy").glob("*.jsonl"):
        assert log.read_bytes().endswith(b"\n")
    assert sorted(path.name for path in (tmp_path / "toy/checkpoints").iterdir()) == ["step-3", "step-6"]
    monkeypatch.undo()
    loop(tmp_path)
    assert lasting(tmp_path) == uninterrupted


def test_reading_a_run_that_is_being_written(tmp_path):
    run, _ = loop(tmp_path)
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b'{"step": 41, "lo')
    assert read_run(run.folder).metrics["step"][-1] == TOTAL
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl line 43"):
        read_run(run.folder)
    with pytest.raises(UserError, match="not a run folder"):
        read_run(tmp_path)


def test_columns_have_one_length_and_speed_leaves_the_start_out(tmp_path):
    run, _ = loop(tmp_path)
    (run.folder / "metrics.jsonl").write_text(
        '{"step": 1, "seconds": 50.0, "rows": 8, "loss": 2}\n{"step": 2, "seconds": 52.0, "rows": 8}\n'
        '{"step": 3, "seconds": 54.0, "rows": 8, "loss": 1}\n'
    )
    view = run.view()
    assert view.metrics == {
        "step": [1, 2, 3],
        "seconds": [50.0, 52.0, 54.0],
        "rows": [8, 8, 8],
        "loss": [2, None, 1],
    }
    assert view.series("loss") == [(1, 2.0), (3, 1.0)]
    assert view.rows_per_second == 4.0


def test_json_output_is_one_object_per_event_and_row(tmp_path, capsys):
    set_output("json")
    loop(tmp_path, total=4)
    set_output("quiet")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["run"] for row in rows} == {"toy"}
    assert [row["step"] for row in rows if row["type"] == "metrics"] == [0, 1, 2, 3, 4, 4]
    assert rows[0]["event"] == "started" and rows[-1]["event"] == "finished"


def test_lines_for_people_are_sparse_and_on_stderr_without_terminal_escapes(tmp_path, capsys):
    set_output("rich")
    with open_run(tmp_path, save_every=0) as run:
        run.event("alarm", message="\x1b]0;owned\x07the model said [bold]so[/bold]")
        for step in run.steps(1000):
            run.log(step, {"kl": 0.5, "loss": 1 / step})
    set_output("quiet")
    out, err = capsys.readouterr()
    assert out == ""
    assert "]0;ownedthe model said [bold]so[/bold]" in err and "\x1b" not in err and "\x07" not in err
    lines = [line for line in err.splitlines() if "/1000" in line]
    assert 2 <= len(lines) <= 14 and "loss 0.001  kl 0.5" in lines[-1]


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "-rf", "a\nb"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="cannot be a run's name"):
        open_run(tmp_path, name)


def test_tensorboard_files_are_a_view_of_the_metrics(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(KeyError):
        fail_at(tmp_path, 8, KeyError, tensorboard=True)
    run, _ = loop(tmp_path, tensorboard=True)
    events = accumulator.EventAccumulator(str(run.folder / "tensorboard"), {"tensors": 0})
    events.Reload()
    written = [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors("loss")]
    assert written == [(step, pytest.approx(value)) for step, value in run.view().series("loss")]


def killed_everywhere(folder: Path, total: int = 4) -> int:
    """How often the loop touches the disk. At each touch a child dies, and a second one must end as if nothing was."""
    touches = [os.write, os.fsync, os.rename, os.replace, os.rmdir, os.unlink, os.mkdir, os.ftruncate, np.save]

    def in_child(place: Path, die_at: int) -> int:
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        left = die_at

        def dying(real):
            def call(*values, **named):
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return None if real is fsync else real(*values, **named)  # a kill does not lose what was not synced

            return call

        fsync = os.fsync
        for real in touches:
            setattr(np if real is np.save else os, real.__name__, dying(real))
        loop(place, total=total, save_every=2, keep=1)
        os._exit(0)

    assert in_child(folder / "whole", 0) == 0
    for number in range(1, 10_000):
        place = folder / str(number)
        survived = in_child(place, number) == 0
        assert in_child(place, 0) == 0
        assert lasting(place, total) == lasting(folder / "whole", total), f"killed at touch {number}"
        assert "damaged" not in (place / "toy/events.jsonl").read_text(), f"half a checkpoint after touch {number}"
        assert [path.name for path in (place / "toy").rglob(".*")] == [".lock"], f"left over by touch {number}"
        if survived:
            return number
    raise AssertionError("never got through")


def main(what: str, folder: Path, pause: float = 0.0) -> None:
    set_output("quiet")
    if what == "killed-everywhere":
        print(killed_everywhere(folder))
    elif what == "hold":
        open_run(folder)
        print("ready", flush=True)
        time.sleep(60)
    else:
        print("ready", flush=True)
        loop(folder, pause)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:]))
