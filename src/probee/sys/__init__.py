"""The kernel's surface: bpf(2), perf_event_open(2), tracefs, capabilities. Thin, typed, no policy.

Everything above asks `kernel()` for the current `Kernel`; unit tests put a `FakeKernel` there.
"""

from __future__ import annotations

from probee.sys.bpf import Kernel

_current = Kernel()


def kernel() -> Kernel:
    """The kernel in use: the real one, unless a test replaced it."""
    return _current


class use:
    """`with use(FakeKernel()) as fake:` makes `fake` the current kernel inside the block."""

    __slots__ = ("_before", "_kernel")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def __enter__(self) -> Kernel:
        global _current
        self._before = _current
        _current = self._kernel
        return self._kernel

    def __exit__(self, *exc: object) -> None:
        global _current
        _current = self._before
