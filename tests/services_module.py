"""Programs of one module in the kernel and in the machine: the same calls, the same answers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import probee as bp

Call = Callable[..., list[int]]


@contextmanager
def attached(module: ModuleType, target: str) -> Iterator[Call]:
    """Load the syscall programs of a module. What is given calls one on numbers: `[result, *numbers]`."""
    if target == "kernel":
        with bp.attach(module, cache=False) as session:

            def call(name: str, *numbers: int) -> list[int]:
                form = f"<{len(numbers)}Q"
                out = session.programs[name].test_run(ctx=struct.pack(form, *numbers))
                return [_signed(out.retval), *struct.unpack(form, out.ctx)]

            for value in vars(module).values():
                if isinstance(value, bp.Global):
                    _ = value.value  # maps them now: tests are asked for descriptors that they leave open
            yield call
        return
    with bp.Machine(module, cache=False) as machine:

        def fire(name: str, *numbers: int) -> list[int]:
            form = f"<{len(numbers)}Q"
            result: Any = machine.fire(name, struct.pack(form, *numbers))[0]
            return [result.retval, *struct.unpack(form, result.output)]

        yield fire


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
