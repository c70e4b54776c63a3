"""A terminal taken over for a live table, and given back as it was, whatever ends it."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from types import FrameType
from typing import Any

_ENTER = "\x1b[?1049h\x1b[?25l"  # the alternate screen, no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """Use it in a `with` statement. Ctrl-Z gives the terminal back as well, and takes it again afterwards."""

    def __init__(self) -> None:
        self._before: list[Any] = []
        self._handler: Any = None

    def __enter__(self) -> Screen:
        self._before = termios.tcgetattr(0)
        self._handler = signal.signal(signal.SIGTSTP, self._suspend)
        self._enter()
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGTSTP, self._handler)
        self._leave()

    def _enter(self) -> None:
        tty.setcbreak(0)
        sys.stdout.write(_ENTER)
        sys.stdout.flush()

    def _leave(self) -> None:
        sys.stdout.write(_LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _suspend(self, number: int, stack: FrameType | None) -> None:
        self._leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # goes on here with SIGCONT
        signal.signal(signal.SIGTSTP, self._suspend)
        self._enter()

    def draw(self, lines: list[str]) -> None:
        """Show these lines and nothing else."""
        text = _HOME + "".join(f"{line}{_CLEAR_LINE}\r\n" for line in lines)
        sys.stdout.write(text.removesuffix("\r\n") + _CLEAR_REST)
        sys.stdout.flush()

    def wait(self, seconds: float) -> str:
        """The key that was pressed, "" if none was in that time."""
        ready, _, _ = select.select([0], [], [], seconds)
        if not ready:
            return ""
        data = os.read(0, 16)
        return data.decode(errors="replace")[:1] if data else "q"  # the terminal is gone
