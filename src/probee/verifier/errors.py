"""How the walk stops: refused, or at something that isn't modelled."""

from __future__ import annotations


class Stop(Exception):
    """`index` is the instruction, -1 for the one being looked at."""

    def __init__(self, message: str, index: int = -1) -> None:
        super().__init__(message)
        self.message = message
        self.index = index


class Reject(Stop):
    """Linux refuses the program; `message` is what it says."""


class Unsupported(Stop):
    """The verifier here doesn't know what Linux would do; `message` says what with."""
