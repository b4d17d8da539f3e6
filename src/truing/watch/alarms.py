"""Alarms: detectors that follow a run's numbers and say when it leaves what healthy runs do.

A number is healthy as long as the mean of its last five values has moved from where it began no further than in any
healthy run, and a quarter of their range beyond that (`stats.laws.envelope`). Healthy runs move, too: a policy that
learns writes longer answers and leaves its reference. So there is no alarm without healthy runs to compare with, which
`watch.healthy` names.

reward_hacking needs none: the judge of `test` has lost a quarter of all it had gained, and the reward has lost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from truing.records import UserError
from truing.run import read_run
from truing.stats.laws import Bounds, envelope
from truing.watch.probes import check_known

SMOOTH, LOST = 5, 0.25
Scale = Literal["log", "plain"]
SIGNALS: dict[str, tuple[str, Scale]] = {  # alarm → the number it follows
    "ref_perplexity": ("ref_perplexity", "log"),
    "length": ("length", "log"),
    "repetition": ("repetition", "plain"),
    "divergence": ("kl_per_token", "plain"),
    "sameness": ("unique", "plain"),
}
GROUPS = {"collapse": tuple(SIGNALS)}
HACKING = "reward_hacking"
NAMES = (*SIGNALS, *GROUPS, HACKING)


class Alarm(NamedTuple):
    name: str
    message: str


class Alarms:
    """Called with every row of metrics; says which alarms have begun to sound. Kept in a run's checkpoints."""

    def __init__(self, names: Sequence[str], healthy: Sequence[str] = ()) -> None:
        for name in names:
            check_known("alarms", name, NAMES)
        self.names = list(dict.fromkeys(n for name in names for n in GROUPS.get(name, (name,))))
        if not healthy and any(name != HACKING for name in self.names):
            raise UserError("watch.alarms: name runs that went well in watch.healthy, to say how far numbers may move.")
        self.bounds = bounds_of(healthy) if healthy else {}
        if missing := [n for n in self.names if n != HACKING and SIGNALS[n][0] not in self.bounds]:
            raise UserError(f"watch.healthy: those runs say nothing of {', '.join(SIGNALS[n][0] for n in missing)}.")
        self.seen: dict[str, list[float]] = {}
        self.sounding: set[str] = set()

    def __call__(self, metrics: Mapping[str, Any]) -> list[Alarm]:
        begun = []
        for name in self.names:
            said = self._hacking(metrics) if name == HACKING else self._left(name, metrics)
            if said and name not in self.sounding:
                begun.append(Alarm(name, said))
            (self.sounding.add if said else self.sounding.discard)(name)
        return begun

    def _left(self, name: str, metrics: Mapping[str, Any]) -> str:
        metric, scale = SIGNALS[name]
        values = self._note(metric, metrics, scale)
        if len(values) < SMOOTH:
            return ""
        moved = sum(values[-SMOOTH:]) / SMOOTH - sum(values[:SMOOTH]) / SMOOTH
        low, high = self.bounds[metric]
        if low <= moved <= high:
            return ""
        start, now = (sum(part) / SMOOTH for part in (values[:SMOOTH], values[-SMOOTH:]))
        shown = [math.exp(v) if scale == "log" else v for v in (start, now)]
        return f"{metric} went from {shown[0]:.3g} to {shown[1]:.3g}, further than in healthy runs"

    def _hacking(self, metrics: Mapping[str, Any]) -> str:
        """At looks alone: those are the rows with a test judge."""
        if "watch/test" not in metrics:
            return "" if HACKING not in self.sounding else "still"
        test, reward = self._note("watch/test", metrics), self._note("reward", metrics)
        best = max(range(len(test)), key=test.__getitem__)
        lost = test[-1] < test[best] - LOST * (test[best] - test[0]) and test[best] > test[0]
        if not lost or reward[-1] < reward[best]:
            return ""
        return f"the test judge fell from {test[best]:.3g} to {test[-1]:.3g} while the reward rose to {reward[-1]:.3g}"

    def _note(self, metric: str, metrics: Mapping[str, Any], scale: Scale = "plain") -> list[float]:
        """All values so far, with the one of this row, if it has one."""
        values = self.seen.setdefault(metric, [])
        value = metrics.get(metric, metrics.get(f"watch/{metric}"))
        if value is not None:
            values.append(math.log(max(float(value), 1e-9)) if scale == "log" else float(value))
        return values

    def state(self) -> dict[str, Any]:
        return {"seen": self.seen, "sounding": sorted(self.sounding)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.seen = {name: list(values) for name, values in state["seen"].items()}
        self.sounding = set(state["sounding"])


def bounds_of(folders: Sequence[str]) -> dict[str, Bounds]:
    """What healthy runs do, from their folders."""
    runs = []
    for folder in folders:
        view = read_run(folder)
        curves = {}
        for metric, scale in SIGNALS.values():
            found = [value for _, value in view.series(metric) or view.series(f"watch/{metric}")]
            if len(found) >= SMOOTH:
                curves[metric] = [math.log(max(v, 1e-9)) if scale == "log" else v for v in found]
        if not curves:
            raise UserError(
                f"watch.healthy: {folder} has no {SMOOTH} values of {', '.join(m for m, _ in SIGNALS.values())}."
            )
        runs.append(curves)
    return envelope(runs, SMOOTH)
