"""The command line: ``ntk-air``."""

from ._main import main

__all__ = ["main"]
