"""Ctrl-C: while programs run it stops them at their next instruction; a second one goes through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .debugger import Debugger

_before: list[Any] = []  # the handler that was there, while ours is


def pause(debugger: Debugger) -> None:
    """From now on the next Ctrl-C pauses programs."""
    if threading.current_thread() is not threading.main_thread() or _before:
        return

    def stop(number: int, frame: Any) -> None:
        restore()
        debugger.pause("interrupted")

    _before.append(signal.signal(signal.SIGINT, stop))


def restore() -> None:
    """Ctrl-C does again what it did before."""
    if _before:
        signal.signal(signal.SIGINT, _before.pop())


@contextmanager
def default() -> Iterator[None]:
    """While commands are taken, Ctrl-C raises KeyboardInterrupt."""
    restore()
    yield
