"""The table of helpers: name → function of the CPU and r1 to r5, with r0 as its result.

A family's module registers its functions with `@helper("name")`. What they return may be a negative errno.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Function = Callable[..., int]

TABLE: dict[str, Function] = {}
_FAMILIES = (
    "maps",
    "reading",
    "printing",
    "tasks",
    "time",
    "loops",
    "rings",
    "dynptrs",
    "packets",
    "checksums",
    "sockets",
    "tracing",
    "storages",
    "locks",
    "strings",
    "system",
    "cgroups",
    "noted",
    "messages",
    "btf_show",
    "tcp_options",
    "encapsulation",
    "cookies",
)
_loaded = False


def helper(*names: str) -> Callable[[Any], Any]:
    """Register a function under one or more names, without `bpf_`."""

    def register(function: Any) -> Any:
        for name in names:
            TABLE[name] = function
        return function

    return register


def all_helpers() -> dict[str, Function]:
    """The table, with all families loaded."""
    global _loaded
    if not _loaded:
        _loaded = True
        for family in _FAMILIES:
            import_module(f".{family}", __package__)
    return TABLE
