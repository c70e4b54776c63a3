"""The kernel's types by name, for annotations and casts: `vmlinux.task_struct` is `struct task_struct`.

`probee stubs` writes `vmlinux.pyi` beside this file, which tells editors and type checkers the fields of the
running kernel's types, its functions for programs (`vmlinux.kfunc`) and its tracepoints (`vmlinux.events`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class KernelName:
    """A struct of the kernel by its name; what it is like is found out when a program is compiled."""

    __slots__ = ("kernel_name",)

    def __init__(self, name: str) -> None:
        self.kernel_name = name

    def __repr__(self) -> str:
        return f"vmlinux.{self.kernel_name}"


class _Events(type):
    def __getattr__(cls, name: str) -> KernelName:
        if name[:2] == "__":
            raise AttributeError(name)
        return KernelName(f"trace_event_raw_{name}")


class events(metaclass=_Events):
    """What tracepoints tell, by their names: `def on_exec(args: vmlinux.events.sched_process_exec):`."""


def __getattr__(name: str) -> Any:
    if name[:2] == "__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "kfunc":
        from .lang.builtins import kfunc

        return kfunc
    return KernelName(name)
