"""A run's folder: recipe, manifest, logs, checkpoints, lock; exact resume; and what is shown while it goes.

start       the folder is locked, new or checked to be the same run
checkpoint  folders that are whole or absent
log         the JSON-lines files
view        `read_run`: all of it, read back
progress    bar, lines, JSON or TensorBoard
state       what goes into a checkpoint
run         `Run`, which ties them together
"""

from truing.run.progress import duration, say, set_output
from truing.run.run import Run
from truing.run.state import Savable, Stateful
from truing.run.view import RunView, differing_keys, flatten, read_run

__all__ = [
    "Run",
    "RunView",
    "Savable",
    "Stateful",
    "differing_keys",
    "duration",
    "flatten",
    "read_run",
    "say",
    "set_output",
]
