"""Truing: the laboratory in which a language model is made helpful, honest and harmless, and that is proved."""

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# PyTorch's threads wait for each other by spinning, for milliseconds: beside any other busy program a small model then
# trains up to sixty times slower. A short spin loses nothing on an idle machine. Read when PyTorch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    """`truing.sft` and all else in `truing.api`, imported when first used: the command line must start fast."""
    if name.startswith("_"):
        raise AttributeError(name)
    api = import_module("truing.api")
    if name not in api.__all__:
        raise AttributeError(f"module 'truing' has no attribute {name!r}")
    return getattr(api, name)
