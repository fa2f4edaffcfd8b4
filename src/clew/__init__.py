"""Clew: see how a language model came to its answer, and check it."""

__version__ = "0.1.0"
