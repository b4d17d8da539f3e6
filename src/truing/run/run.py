"""A run: the folder `runs/NAME/`, and everything in it that must survive a kill.

    with Run.open("runs", name, recipe_yaml=…, recipe_hash=…, manifest={…}, save_every=100) as run:
        order = run.keep("order", order)             # small state as JSON: RNG, schedules, running moments
        engine = run.attach("engine", engine)        # big state as files: weights, optimiser
        for step in run.steps(total):                # 1 … total; continues after the newest whole checkpoint
            run.log(step, {"loss": loss})
            run.samples(step, [{"prompt": …, "answer": …, "score": …}])

Repeating the command continues the run. The logs are cut back to the checkpoint from which it continues, so that after
`kill -9` and a second start `metrics.jsonl` is what an uninterrupted run writes, but for the key "seconds".
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from truing.records import UserError
from truing.run.checkpoint import disk_full_is_said, newest_checkpoint, prune_checkpoints, save_checkpoint, write_text
from truing.run.log import Logs
from truing.run.progress import Progress, Tracker, duration, emit, say
from truing.run.start import Lock, begin_or_check, make_folder
from truing.run.state import Attached, Kept, State
from truing.run.view import MANIFEST, RunView, read_run

MODEL = "model"


class Run:
    """Made by `Run.open`; holds the lock on its folder until it is closed."""

    def __init__(self, folder: Path, lock: Lock, manifest: dict[str, Any], save_every: int, keep: int, log_every: int):
        self.folder, self.manifest = folder, manifest
        self.save_every, self.keep_checkpoints, self.log_every = save_every, keep, log_every
        self.step = 0
        """the step that is going on, or the last one that is done; 0 before the first"""
        self._lock, self._began, self._seconds_before = lock, time.monotonic(), 0.0
        self._state = State(None)
        self._pending: list[dict[str, Any]] = []
        self._stopped: str | None = None
        self._looping = self._new = self._logged = False
        self._progress: Progress | None = None
        self._tracker: Tracker | None = None
        self._logs = Logs(folder)

    @classmethod
    def open(
        cls,
        folder: str | Path,
        name: str,
        *,
        recipe_yaml: str,
        recipe_hash: str,
        manifest: Mapping[str, Any] | None = None,
        save_every: int = 0,
        keep: int = 2,
        log_every: int = 1,
        tensorboard: bool = False,
    ) -> Self:
        """Begin `folder/name`, or continue it where its newest whole checkpoint stands.

        manifest        what the caller knows: verb, model, data, seeds, fingerprints, probed
        save_every      steps between checkpoints; 0 saves at the end only
        keep            checkpoints that stay
        log_every       rows of metrics that wait before they are written: reading a tensor's value waits for the device
        """
        new = not (Path(folder) / name).exists()
        place = make_folder(Path(folder), name)
        with disk_full_is_said(place):
            lock = Lock(place)
        try:
            known, before = begin_or_check(place, recipe_yaml, recipe_hash, {"name": name, **(manifest or {})})
            run = cls(place, lock, known, save_every, max(keep, 1), max(log_every, 1))
            run._new = new
            run._continue(before)
            if tensorboard and not run.finished:
                run._tracker = Tracker(place / "tensorboard", run._logs.metrics.rows())
        except BaseException:
            lock.release()
            raise
        return run

    # What a run carries from one process to the next

    def keep(self, name: str, thing: Kept) -> Kept:
        """Save `thing.state()` in every checkpoint; on a resume, load it now."""
        self._check_loadable()
        return self._state.keep(name, thing)

    def attach(self, name: str, thing: Attached) -> Attached:
        """Let `thing.save(folder)` write files into every checkpoint; on a resume, load them now."""
        self._check_loadable()
        return self._state.attach(name, thing)

    def probe(self, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What was measured on this machine when the run began (dtype, threads …): a resume keeps it."""
        if "probed" not in self.manifest:
            self._note(probed=dict(measure()))
        return self.probed

    @property
    def probed(self) -> dict[str, Any]:
        return dict(self.manifest.get("probed", {}))

    # The loop

    def steps(self, total: int) -> Iterator[int]:
        """The numbers of the steps that are left, the first step being 1. Saves as it goes, and after the last."""
        if self.finished:
            return
        self._state.check_nothing_is_lost()
        self._looping = True
        self._progress = Progress(self.folder.name, self.step, total)
        for step in range(self.step + 1, total + 1):
            if self._stopped:
                break
            self.step = step
            yield step
            if step == total or self._stopped or (self.save_every and step % self.save_every == 0):
                self.save()
        self._looping = False
        self._progress.close()

    def stop(self, reason: str) -> None:
        """End after this step, as if it were the last: it is saved, and a resume does not go on."""
        self._stopped = reason
        self.event("stopped", reason=reason)

    def save(self) -> None:
        """Write a checkpoint of all that is kept and attached, as things stand after step `self.step`."""
        self._flush()
        about = {"step": self.step, "seconds": self.seconds, "stopped": self._stopped, "logs": self._logs.mark()}

        def fill(folder: Path) -> None:
            self._state.write(folder)
            (folder / "run.json").write_text(json.dumps(about), "utf-8")

        save_checkpoint(self.folder / "checkpoints", self.step, fill)
        prune_checkpoints(self.folder / "checkpoints", self.step, self.keep_checkpoints)

    # The logs. A finished run is not written to again: repeating a command must not add to its results.

    def log(self, step: int, *metrics: Mapping[str, Any] | None) -> None:
        """One row of metrics.jsonl. Values are numbers or 0-dim tensors; `rows` = rows trained on gives rows/s."""
        row: dict[str, Any] = {"step": step, "seconds": round(self.seconds, 3)}
        for name, value in (item for group in metrics if group for item in group.items()):
            if name in row or name == "nonfinite":
                raise ValueError(f"metric {name!r} was given twice for step {step}, or has a reserved name")
            if isinstance(value, str | Mapping | Sequence):
                raise TypeError(f"metric {name!r} is not a number: {value!r}")
            row[name] = value
        self._pending.append(row)
        self._logged = True
        if len(self._pending) >= self.log_every:
            self._flush()

    def event(self, name: str, /, **fields: Any) -> None:
        """One line of events.jsonl. A field `message` is also shown to people."""
        if self.finished:
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"event": name, "step": self.step, **fields, "at": now, "seconds": round(self.seconds, 3)}
        emit("event", self.folder.name, self._logs.events.append(row))
        if message := fields.get("message"):
            say(str(message))

    def samples(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """What the model said at this step: `prompt`, `answer`, `score` and whatever else belongs to a sample."""
        if not self.finished:
            for row in rows:
                self._logs.samples.append({"step": step, **row})

    def _flush(self) -> None:
        rows, self._pending = self._pending, []
        for row in rows if not self.finished else ():
            written = self._logs.metrics.append(row)
            emit("metrics", self.folder.name, written)
            if self._progress:
                self._progress.show(written)
            if self._tracker:
                self._tracker.add(written)

    # Its state

    @property
    def seconds(self) -> float:
        """Time spent so far; after a resume it goes on from the checkpoint's."""
        return self._seconds_before + time.monotonic() - self._began

    @property
    def resumed(self) -> bool:
        return self._state.checkpoint is not None

    @property
    def model(self) -> str:
        """The folder of the model that a training run leaves: a model spec."""
        return str(self.folder / MODEL)

    @property
    def finished(self) -> bool:
        """True from the clean end of the `with` block, also when the command is repeated: `steps` is empty then."""
        return "finished" in self.manifest

    def view(self) -> RunView:
        """All that is written so far."""
        return read_run(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """The last checkpoint stays as it is; how the run ended is recorded, and it is finished if its loop ended.
        A run refused before its first row of metrics was a mistake: its new folder goes away again."""
        try:
            if kind is None and not self._looping and not self.finished:
                self._flush()
                self.event(
                    "finished", message=f"{self.folder.name} finished: step {self.step}, {duration(self.seconds)}"
                )
                self._note(finished={"step": self.step} | ({"stopped": self._stopped} if self._stopped else {}))
            elif kind is not None:
                with suppress(UserError):  # a full disk must not hide what went wrong
                    self._flush()
                    what = "failed" if issubclass(kind, Exception) else "interrupted"
                    self.event(what, error=f"{kind.__name__}: {error}".splitlines()[0])
        finally:
            self.close()
        if self._new and not self._logged and kind and issubclass(kind, UserError):
            shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Let go of the folder."""
        for part in (self._progress, self._tracker, self._logs):
            if part:
                part.close()
        self._lock.release()

    # Beginning and continuing

    def _continue(self, before: bool) -> None:
        """Find the newest whole checkpoint and cut the logs back to it."""
        damages: list[str] = []
        self.step, checkpoint = newest_checkpoint(self.folder / "checkpoints", damages.append)
        self._state, about = State(checkpoint), dict[str, Any]()
        if checkpoint:
            about = json.loads((checkpoint / "run.json").read_text("utf-8"))
            self._seconds_before, self._stopped = about["seconds"], about["stopped"]
        if self.finished:
            say(f"{self.folder} is finished: its results are there, nothing is done again.")
            emit("event", self.folder.name, {"event": "already finished", **self.manifest["finished"]})
            return
        self._logs.cut_back(about.get("logs", {}))
        for damage in damages:
            self.event("damaged checkpoint", message=damage)
        if before:
            where = f"continues after step {self.step}" if checkpoint else "begins again: it had no checkpoint yet"
            self.event("resumed", message=f"{self.folder.name} {where}")
        else:
            self.event("started")

    def _check_loadable(self) -> None:
        """A finished run whose last checkpoint is gone must not hand out things in their first, untrained state."""
        if self.finished and self.manifest["finished"]["step"] != self.step:
            raise UserError(f"{self.folder} is finished, but its last checkpoint is gone. Remove it to begin anew.")

    def _note(self, **facts: Any) -> None:
        """Add to the manifest."""
        self.manifest |= facts
        write_text(self.folder / MANIFEST, json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n")
