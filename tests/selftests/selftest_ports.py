"""Runs ports of the kernel's selftest programs: a family is a module, compiled and loaded as one object.

A row of its table `PORTS` names the selftest that a program stands for, the program, and a check of its
effect. Checks get a `Live`, the loaded family.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import lang_module
from probee import lang
from probee.kernel.load import Collection, load
from probee.lang import decl
from probee.obj import read_object


class Live:
    """A loaded family."""

    def __init__(self, collection: Collection, module: ModuleType) -> None:
        self.collection = collection
        self.module = module
        self.maps = collection.maps
        self.globals = collection.globals

    def run(self, program: str, a: int = 0, b: int = 0) -> int:
        """Run a raw tracepoint's program on two numbers."""
        mask = (1 << 64) - 1
        value = self.collection.programs[program].test_run(ctx=struct.pack("<QQ", a & mask, b & mask)).retval
        return value - (1 << 32) if value >> 31 else value

    def call(self, program: str, *numbers: int) -> tuple[int, list[int]]:
        """Run a syscall program on a struct of u64s: its result, and the struct afterwards."""
        form = f"<{len(numbers)}Q"
        result = self.collection.programs[program].test_run(ctx=struct.pack(form, *numbers))
        return result.retval, list(struct.unpack(form, result.ctx))

    def packet(self, program: str, data: bytes, ctx: bytes = b"") -> tuple[int, bytes]:
        """Run a packet's program: its verdict, and the packet afterwards."""
        result = self.collection.programs[program].test_run(data, ctx)
        value = result.retval
        return value - (1 << 32) if value >> 31 else value, result.data


class Port(NamedTuple):
    """A program that shows what a program of the selftests shows."""

    selftest: str
    program: Any
    check: Callable[[Live, str], None]

    @property
    def name(self) -> str:
        return str(self.program.name)

    def __str__(self) -> str:
        return f"{self.selftest}-{self.name}"


def gives(*cases: tuple[int, ...]) -> Callable[[Live, str], None]:
    """A check: each case is the arguments of a run, and in the end its result."""

    def check(live: Live, program: str) -> None:
        for *arguments, want in cases:
            assert live.run(program, *arguments) == want, arguments

    return check


def leaves(name: str, want: object, *arguments: int) -> Callable[[Live, str], None]:
    """A check: after a run with these arguments the global has this value."""

    def check(live: Live, program: str) -> None:
        live.run(program, *arguments)
        assert live.globals[name] == want

    return check


@contextmanager
def loaded(family: str) -> Iterator[Live]:
    """A family's module, compiled and loaded."""
    module = importlib.import_module(family)
    programs = decl.programs_in(vars(module))
    data = lang.compile(programs, ktypes=lang_module.kernel_types(), merge_syscalls=False)
    with load(read_object(data)) as collection:
        for name in collection.globals:
            collection.globals[name]  # maps their memory, which the family keeps as long as it lives
        live = Live(collection, module)
        if hasattr(module, "prepare"):
            module.prepare(live)
        yield live


def table(family: str) -> Any:
    """Parametrise a test by the rows of a family's table."""
    rows = importlib.import_module(family).PORTS
    return pytest.mark.parametrize("port", rows, ids=[str(row) for row in rows])
