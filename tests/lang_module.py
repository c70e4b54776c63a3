"""Makes modules with programs for tests: written to a file, imported, compiled."""

from __future__ import annotations

import importlib.util
import itertools
import struct
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent, indent
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from probee.errors import Unsupported
from probee.lang import decl, ir

if TYPE_CHECKING:
    from probee.lang.ktypes import KernelTypes

_serial = itertools.count()

PRELUDE = """\
import enum
import os
import struct
import time

import probee as bp
from probee import Char, i8, i16, i32, i64, u8, u16, u32, u64


class Point(bp.Struct):
    x: i32
    y: i32


class Exec(bp.Struct):
    time_ns: u64
    pid: u32
    kind: u8
    comm: Char[16]
    at: Point
    sizes: u32[4]


class Padded(bp.Struct):
    a: u8
    b: u32
    c: u8


class Color(enum.IntEnum):
    RED = 1
    BLUE = 2


class Plain(enum.Enum):
    ONE = 1


class Thing:
    pass


counts = bp.Hash[u32, u64](64)
points = bp.Hash[u32, Point](64)
execs_by_pid = bp.Hash[u32, Exec](64)
names = bp.Hash[Char[16], u64](64)
by_struct = bp.Hash[Padded, u64](64)
slots = bp.Array[u64](8)
percpu = bp.PerCpuArray[u64](8)
rb = bp.RingBuf[Exec](4096)
rb2 = bp.RingBuf[Point](4096)
stacks = bp.StackTrace(64)
programs = bp.ProgArray(4)
limit = bp.Const[u32](7)
name = bp.Const[Char[16]]("bash")
total = bp.Global[u64](0)
signed_total = bp.Global[i64](0)
current = bp.Global[Point]()
N = 10
NAMES = ("zero", "one")
NUMBERS = (3, 5, 7)
TABLE = {1: 10, 2: 20}
thing = Thing()
"""


def make(text: str, path: Path) -> ModuleType:
    """Import `text` as a module of its own."""
    module = f"lang_case_{next(_serial)}"
    file = path / f"{module}.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None
    assert spec.loader is not None
    out = importlib.util.module_from_spec(spec)
    sys.modules[module] = out
    try:
        spec.loader.exec_module(out)
    finally:
        del sys.modules[module]
    return out


def program(
    body: str, *, hook: str = 'raw_tracepoint("sys_enter")', params: str = "regs, number", above: str = ""
) -> str:
    """The text of a module with one program."""
    body = indent(dedent(body).strip("\n"), "    ")
    return f"{PRELUDE}\n\n{dedent(above)}\n\n@bp.{hook}\ndef program({params}):\n{body}\n"


def kernel_types() -> KernelTypes:
    """The running kernel's types; skips where it has none."""
    from probee.btf import kernel_btf
    from probee.lang.ktypes import KernelTypes

    try:
        return KernelTypes(kernel_btf())
    except Unsupported as e:
        pytest.skip(str(e))


def to_ir(module: ModuleType, ktypes: KernelTypes, *, merge_syscalls: bool = True) -> ir.Module:
    """The IR of a module's programs."""
    from probee.lang.frontend import compile_module

    return compile_module(decl.programs_in(vars(module)), ktypes=ktypes, merge_syscalls=merge_syscalls)


class Run:
    """A loaded module; calling it runs its program once with two numbers as the hook's arguments."""

    def __init__(self, collection: Any, module: ModuleType) -> None:
        self.collection = collection
        self.module = module
        self.maps = collection.maps
        self.globals = collection.globals

    def __call__(self, a: int = 0, b: int = 0) -> int:
        ctx = struct.pack("<QQ", a & (1 << 64) - 1, b & (1 << 64) - 1)
        value: int = self.collection.programs["program"].test_run(ctx=ctx)[0]
        return value - (1 << 32) if value >> 31 else value

    def raw(self, name: str, key: int = 0) -> bytes:
        """The memory of an array map's entry."""
        live = self.maps[name]
        data = live._kernel.map_lookup(live.fd, key.to_bytes(4, "little"), live.span)
        assert data is not None
        return bytes(data)


@contextmanager
def builder(ktypes: KernelTypes, tmp_path: Path, **always: Any) -> Iterator[Callable[..., Run]]:
    """A function that compiles and loads the body of a program; all of them are closed in the end."""
    from probee import lang
    from probee.kernel.load import load
    from probee.obj import read_object

    with ExitStack() as stack:

        def build(body: str, *, values: dict[str, bytes] | None = None, **more: Any) -> Run:
            module = make(program(body, **{**always, **more}), tmp_path)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes, merge_syscalls=False)
            return Run(stack.enter_context(load(read_object(data), values=values)), module)

        yield build


class Both:
    """A program in the kernel and in the machine; they do the same."""

    def __init__(self, data: bytes, stack: ExitStack) -> None:
        from probee.kernel.load import load
        from probee.machine.machine import Machine
        from probee.obj import read_object

        self.spec = read_object(data)
        self.kernel = stack.enter_context(load(read_object(data)))
        self.machine = stack.enter_context(Machine(read_object(data)))

    def __call__(self, number: int = 0) -> tuple[int, dict[int, int]]:
        """The program's result, and what it left in `counts`."""
        for maps in (self.kernel.maps, self.machine.maps):
            maps["counts"].clear()
        ctx = struct.pack("<QQ", 0, number & (1 << 64) - 1)
        out = self.kernel.programs["program"].test_run(ctx=ctx)[0]
        (other,) = self.machine.fire("program", 0, number)
        assert other.retval & 0xFFFFFFFF == out
        left = dict(self.kernel.maps["counts"].items())
        assert dict(self.machine.maps["counts"].items()) == left
        return out - (1 << 32) if out >> 31 else out, left


@contextmanager
def both(btf: Any, tmp_path: Path) -> Iterator[Callable[..., Both]]:
    """A function that compiles the body of a program, for a kernel `without` some things, and loads it."""
    from probee import lang
    from probee.lang.ktypes import KernelTypes

    with ExitStack() as stack:

        def build(body: str, without: tuple[str, ...] = (), **more: Any) -> Both:
            module = make(program(body, **more), tmp_path)
            ktypes = KernelTypes(btf, without=without)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes, merge_syscalls=False)
            return Both(data, stack)

        yield build


def python(body: str, number: int, above: str = "") -> tuple[int, dict[int, int]]:
    """What CPython makes of the same text."""
    space: dict[str, Any] = {"counts": defaultdict(int)}
    exec(above + "\ndef program(number):\n" + indent(body, "    "), space)
    return space["program"](number) or 0, dict(space["counts"])


def fire(run: Run) -> None:
    """Attach the program to its hook and make a system call."""
    import os

    with run.collection.programs["program"].attach():
        os.getppid()


def records(ring: Any) -> list[Any]:
    """What is in a ring buffer now."""
    return list(ring.poll(0))
