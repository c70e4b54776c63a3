"""The user-space machine: runs BPF programs without a kernel and without privileges.

`Memory` is its address space, `Code` a program made ready, `Cpu` what runs it, `Env` what programs can call.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .code import Code
    from .engine import run
    from .env import BareEnv, Cpu, Env
    from .memory import Fault, Memory, Region

__all__ = ["BareEnv", "Code", "Cpu", "Env", "Fault", "Memory", "Region", "run"]

_HOME = {
    "BareEnv": "env",
    "Code": "code",
    "Cpu": "env",
    "Env": "env",
    "Fault": "memory",
    "Memory": "memory",
    "Region": "memory",
    "run": "engine",
}


def __getattr__(name: str) -> object:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
