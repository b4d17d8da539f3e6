"""Engines: one model behind six verbs, wherever it runs."""

from truing.engine.base import AnswerScore, Asking, Engine, Training, require
from truing.engine.open import open_engine, open_local

__all__ = ["AnswerScore", "Asking", "Engine", "Training", "open_engine", "open_local", "require"]
