"""The table of kernel functions: name → function of the CPU and r1 to r5, as that of helpers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TABLE: dict[str, Callable[..., int]] = {}


def kfunc(*names: str) -> Callable[[Any], Any]:
    """Register a function under one or more names."""

    def register(function: Any) -> Any:
        for name in names:
            TABLE[name] = function
        return function

    return register
