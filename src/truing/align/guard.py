"""A run is looked at, listened to, and left: what alarms do to it, and which policies of it are kept.

The best is that of a judge from which nothing is learnt, and the healthy one the last that was kept before an alarm, at
worst the start; never the one with the highest reward, because that is what a policy that cheats has.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from truing.align.job import Job
from truing.engine.local import LocalEngine
from truing.watch import Rate
from truing.watch.alarms import Alarms

BEST, HEALTHY = "best", "healthy"


class Guard:
    """Called after every step with what is known of it; gives back what a look has added to that. `told`: the probes
    whose numbers are known at every step without a look, and `test` where `rate` asks such judges."""

    def __init__(self, job: Job, policy: LocalEngine, rate: Rate | None = None, told: Sequence[str] = ()) -> None:
        self.job, self.policy, watch = job, policy, job.settings.watch
        self.alarms = Alarms(watch.alarms, watch.healthy)
        self.alarms.check([*told, *(watch.probes if watch.every else ())])
        self.watcher = job.watcher(policy, rate)
        self.how = watch.on_alarm
        self.top: float | None = None
        job.run.keep("alarms", self.alarms)
        job.run.keep("guard", self)
        if self.how == "rollback" and not job.run.step:  # an alarm may sound before anything else is kept
            job.export(policy, name=HEALTHY, bare=True)

    def __call__(self, step: int, told: Mapping[str, Any] | None = None) -> dict[str, float]:
        run, seen = self.job.run, self.watcher(step, self.job.run)
        metrics = {**(told or {}), **seen}
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
        return seen

    def leave(self) -> None:
        """The policy as it is, or the last healthy one."""
        run, healthy = self.job.run, self.job.run.folder / HEALTHY
        self.job.export(self.policy, bare=True)
        if self.how != "rollback" or not self.alarms.sounding:
            return
        if not healthy.exists():  # a resume has asked for it too late
            run.event("rollback", message=f"no policy from before the alarm was kept: model: {run.model} is the last")
        else:
            shutil.rmtree(run.model)
            shutil.copytree(healthy, run.model)
            run.event("rollback", message=f"model: {run.model} is the last one before the alarm")

    def state(self) -> dict[str, Any]:
        return {"top": self.top}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.top = state["top"]
