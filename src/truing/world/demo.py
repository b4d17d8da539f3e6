"""`truing demo`: the whole laboratory on the built-in world, stage by stage, with plain words on the way.

What a stage found is a file in the demo's folder, written as a whole when the stage is done. A repeated command reads
the files that are there and goes on.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

from truing.config import recipe_hash
from truing.records import UserError
from truing.run import say
from truing.run.checkpoint import write_text
from truing.settings import Machine
from truing.world.lab import Demo, Lab
from truing.world.measure import in_words
from truing.world.stages import STAGES


def demo(settings: Demo) -> Path:
    """Run the stages that are not done yet; returns the folder."""
    lab = Lab(settings, Machine(dtype="fp32"))
    lab.folder.mkdir(parents=True, exist_ok=True)
    _check_same(lab)
    for number, stage in enumerate(STAGES, 1):
        file = lab.folder / f"{number}-{stage.name}.json"
        words = " ".join((stage.function.__doc__ or "").split())
        if not file.exists():
            say(f"\n{number}. {stage.title}\n   {words}")
            began = time.monotonic()
            found = stage.function(lab)
            about = {"stage": stage.name, "title": stage.title, "words": words}
            write_text(file, json.dumps({**about, **found, "seconds": round(time.monotonic() - began, 1)}, indent=1))
            say(in_words(found))
        lab.found[stage.name] = json.loads(file.read_text("utf-8"))
    return lab.folder


def _check_same(lab: Lab) -> None:
    """A folder belongs to one set of settings, and of stages."""
    stages = [stage.name for stage in STAGES]
    file, identity = lab.folder / "demo.json", recipe_hash(replace(lab.settings, folder=""), stages)
    if not file.exists():
        write_text(file, json.dumps({"identity": identity, **asdict(lab.settings)}, indent=1))
    elif json.loads(file.read_text("utf-8"))["identity"] != identity:
        why = "with other settings, or made by another version"
        raise UserError(f"{lab.folder} holds a demo {why}: remove it, or choose another --folder.")
