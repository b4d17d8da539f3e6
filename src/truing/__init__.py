"""Truing: the laboratory in which a language model is made helpful, honest and harmless, and that is proved."""

__version__ = "0.1.0"
