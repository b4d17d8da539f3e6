"""What alarms do to a run, and which policies of it are kept: the best by a judge that nothing is learnt from, and the
last one before an alarm. Never the one with the highest reward: that is what a policy that cheats has."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from truing.align.job import Job
from truing.engine.local import LocalEngine
from truing.watch.alarms import Alarms

BEST, HEALTHY = "best", "healthy"


class Guard:
    """Called after every step with all that is known of it."""

    def __init__(self, job: Job, policy: LocalEngine) -> None:
        self.job, self.policy, watch = job, policy, job.settings.watch
        self.how = watch.on_alarm
        self.alarms = job.run.keep("alarms", Alarms(watch.alarms, watch.healthy))
        self.top: float | None = None
        job.run.keep("guard", self)

    def __call__(self, step: int, *rows: Mapping[str, Any]) -> None:
        run, metrics = self.job.run, {key: value for row in rows for key, value in row.items()}
        for alarm in self.alarms(metrics):
            run.event("alarm", name=alarm.name, message=f"alarm, {alarm.name}: {alarm.message}")
            if self.how != "warn":
                run.stop(f"alarm: {alarm.name}")
        tested = metrics.get("watch/test")
        if tested is not None and (self.top is None or tested > self.top):
            self.top = float(tested)
            self.job.export(self.policy, name=BEST, bare=True)
        if self.how == "rollback" and not self.alarms.sounding and step % (run.save_every or 1) == 0:
            self.job.export(self.policy, name=HEALTHY, bare=True)

    def leave(self) -> None:
        """The policy as it is, or the last healthy one."""
        run, healthy = self.job.run, self.job.run.folder / HEALTHY
        self.job.export(self.policy, bare=True)
        if self.how == "rollback" and self.alarms.sounding and healthy.exists():
            shutil.rmtree(run.model)
            shutil.copytree(healthy, run.model)
            run.event("rollback", message=f"model: {run.model} is the last one before the alarm")

    def state(self) -> dict[str, Any]:
        return {"top": self.top}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.top = state["top"]
