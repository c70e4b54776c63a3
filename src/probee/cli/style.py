"""Colours, on a terminal only; never when NO_COLOR is set (no-color.org) or the terminal is dumb."""

from __future__ import annotations

import os
import sys


def coloured() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def bold(text: str) -> str:
    return f"\x1b[1m{text}\x1b[0m" if coloured() else text


def dim(text: str) -> str:
    return f"\x1b[2m{text}\x1b[0m" if coloured() else text
