"""Who has the terminal: pytest captures it, and lends it to the debugger."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

taken: Callable[[], AbstractContextManager[object]] = nullcontext
script: list[str] = []  # commands that the next debugger takes first
