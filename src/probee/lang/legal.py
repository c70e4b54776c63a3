"""What BPF cannot do, found on the IR, where the place in the source is known.

LLVM's BPF back end ends the process on most of this, with a message about its own instructions.
"""

from __future__ import annotations

from ..errors import CompileError
from . import ir, scratch
from .types import VOID, Array, Int, Ptr, Space, Struct, Type
from .walk import Body, bodies_of, callee, operands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

MAX_ARGS = 5  # r1 to r5
MAX_STACK = 512  # MAX_BPF_STACK of linux/filter.h
MAX_DEPTH = 8  # MAX_CALL_FRAMES of linux/bpf_verifier.h

_ASCII = "the kernel takes ASCII letters, digits and _ in names only"
_OF_INTEGERS = ("signed", "lshift_u64", "rshift_u64")
_PROBED = (Space.KERNEL, Space.USER)
_FOREIGN = (*_PROBED, Space.TRUSTED)
_SHOWN = {Space.KERNEL: "kernel memory", Space.USER: "user memory"}


def check(module: ir.Module, bodies: dict[ir.Function, Body] | None = None) -> None:
    """Raise CompileError at the first thing in the module that cannot become BPF."""
    if bodies is None:
        bodies = bodies_of(module)
    _names(module)
    for m in module.maps:
        for t in (m.key, m.value):
            if t is not None:
                _layout(t, f"map {m.name}")
    needs = {fn: _Checker(module, fn, body).run() for fn, body in bodies.items()}
    calls = {fn: body.called() for fn, body in bodies.items()}
    for fn in module.functions:
        _depth(module, fn, [], calls)
    _chains(module, calls, needs)


def _identifier(name: str) -> bool:
    return (
        name.isascii()
        and all(c.isalnum() or c in "_." for c in name)
        and bool(name)
        and not name[0].isdigit()
    )


def _names(module: ir.Module) -> None:
    seen: dict[str, str] = {"_license": "the licence", "license": "the licence"}
    seen |= {fn.section: f"the section {fn.section}" for fn in module.functions if fn.section}
    things: list[tuple[str, str, ir.Function | None]] = []
    things += [(fn.name, f"function {fn.name}", fn) for fn in module.functions]
    things += [(m.name, f"map {m.name}", None) for m in module.maps]
    things += [(v.name, f"variable {v.name}", None) for v in module.globals]
    for name, what, fn in things:
        if not _identifier(name):
            raise _error(module, fn, f"{what}: {_ASCII}", "give it another name")
        if name in seen:
            raise _error(module, fn, f"{what} has the name of {seen[name]}", "give one of them another name")
        seen[name] = what


def _layout(t: Type, where: str) -> None:
    """A type in memory has a size, and names that BTF takes."""
    if isinstance(t, Array):
        _layout(t.elem, where)
    elif isinstance(t, Struct) and not t.core:
        for m in t.members:
            if m.name and not _identifier(m.name):
                raise CompileError(f"{where}: field {m.name} of {t!r}: {_ASCII}")
            _layout(m.type, where)
    elif isinstance(t, Int) and t.bits not in (1, 8, 16, 32, 64):
        raise CompileError(
            f"{where}: there is no integer of {t.bits} bits in BPF", advice="use two of 64 bits"
        )


class _Checker:
    def __init__(self, module: ir.Module, fn: ir.Function, body: Body) -> None:
        self.module = module
        self.fn = fn
        self.body = body

    def fail(self, message: str, loc: ir.Loc | None = None, advice: str = "") -> CompileError:
        line = loc.line if loc else self.fn.line
        lines = self.module.sources.get(self.fn.file, [])
        return CompileError(
            f"{message} (in {self.fn.name})",
            file=self.fn.file,
            line=line,
            column=loc.column if loc else 0,
            end_column=loc.column + 1 if loc else 0,
            source=lines[line - 1] if 0 < line <= len(lines) else "",
            advice=advice,
        )

    def run(self) -> int:
        """Raise what is wrong with the function. Returns the bytes of stack that its variables need."""
        fn = self.fn
        if len(fn.params) > MAX_ARGS:
            raise self.fail(
                f"{fn.name}() takes {len(fn.params)} arguments, BPF passes at most {MAX_ARGS}",
                advice="pass a struct that holds them",
            )
        for t in (fn.ret, *(p.type for p in fn.params)):
            if t is not VOID and not isinstance(t, (Int, Ptr)):
                raise self.fail(
                    f"a {t!r} is no argument or result of a BPF function", advice="pass a reference to it"
                )
        for block in self.body.blocks:
            if not block.ended:
                raise self.fail(f"the block {block.name!r} has no end")
            for op in block.ops:
                self.values(op)
                if (special := _SPECIAL.get(type(op))) is not None:
                    special(self, op)
        return self.stack()

    def values(self, op: ir.Op) -> None:
        """What an op gives and works on fits registers."""
        own = op.type
        if isinstance(own, Int):
            if own.bits > 64:
                raise self.wide(op)
        elif own is not VOID and not isinstance(own, Ptr):
            raise self.fail(f"a {own!r} is no value in a register", op.loc, "use a reference to it")
        for value in operands(op):
            t = value.type
            if isinstance(t, Int) and t.bits > 64:
                raise self.wide(op)

    def wide(self, op: ir.Op) -> CompileError:
        return self.fail("BPF has no integers over 64 bits", op.loc, "split the number")

    def call(self, op: ir.Helper | ir.Call | ir.Kfunc) -> None:
        if len(op.args) > MAX_ARGS:
            raise self.fail(
                f"{callee(op)}() gets {len(op.args)} arguments, BPF passes at most {MAX_ARGS}",
                op.loc,
                "pass a struct that holds them",
            )
        if type(op) is ir.Call and op.fn not in self.module.functions:
            raise self.fail(f"{op.fn.name}() is not in the module", op.loc)

    def read(self, op: ir.Op, ptr: ir.Value) -> None:
        if isinstance(ptr.type, Ptr) and ptr.type.space in _PROBED:
            raise self.fail(f"{_SHOWN[ptr.type.space]} is read through a helper only", op.loc)

    def write(self, op: ir.Op, ptr: ir.Value) -> None:
        if isinstance(ptr.type, Ptr) and ptr.type.space in _FOREIGN:
            raise self.fail(
                "a program cannot write to memory of the kernel or a process",
                op.loc,
                "keep the value in a map",
            )

    def load(self, op: ir.Load) -> None:
        self.read(op, op.ptr)

    def store(self, op: ir.Store | ir.Atomic) -> None:
        self.write(op, op.ptr)

    def copy(self, op: ir.Copy) -> None:
        self.read(op, op.src)
        self.write(op, op.dst)

    def zero(self, op: ir.Zero) -> None:
        self.write(op, op.dst)

    def fact(self, op: ir.FieldInfo) -> None:
        if op.kind in _OF_INTEGERS:
            member = op.field.struct.members[op.field.index]
            if not isinstance(member.type, Int):
                raise self.fail(
                    f"{member.name} is a {member.type!r}: only an integer has a {op.kind}", op.loc
                )

    def both(self, op: ir.Binary | ir.Compare) -> None:
        a, b = op.a.type, op.b.type
        if a is not b and a != b and isinstance(a, Int):
            raise self.fail(f"{op.op} of {a!r} and {b!r}", op.loc)

    def stack(self) -> int:
        """The variables that need memory; those whose life is one block share it."""
        need, largest = scratch.stack(self.fn, self.body)
        if largest is None or need <= MAX_STACK:
            return need
        first = self.body.of[largest][0][2]
        what = f"{largest.name} ({largest.of!r})" if largest.name else f"a {largest.of!r}"
        raise self.fail(
            f"the variables need {need} bytes of stack, BPF has {MAX_STACK}; "
            f"the largest is {what} with {largest.of.size}",
            first.loc,
            "keep it in a PerCpuArray of one element, or fill a ring buffer record in place",
        )


_SPECIAL: dict[type, Callable[[_Checker, Any], None]] = {
    ir.Helper: _Checker.call,
    ir.Call: _Checker.call,
    ir.Kfunc: _Checker.call,
    ir.Load: _Checker.load,
    ir.Store: _Checker.store,
    ir.Atomic: _Checker.store,
    ir.Copy: _Checker.copy,
    ir.Zero: _Checker.zero,
    ir.FieldInfo: _Checker.fact,
    ir.Binary: _Checker.both,
    ir.Compare: _Checker.both,
}


def _depth(
    module: ir.Module,
    fn: ir.Function,
    path: list[ir.Function],
    calls: dict[ir.Function, list[ir.Function]],
) -> None:
    if fn in path:
        chain = " -> ".join(f.name for f in [*path[path.index(fn) :], fn])
        raise _error(module, fn, f"{fn.name}() calls itself: {chain}", "write a loop with a bound")
    if len(path) >= MAX_DEPTH:
        raise _error(
            module,
            fn,
            f"{fn.name}() is called {len(path)} calls deep, BPF has {MAX_DEPTH} frames",
            f"it is called by {' -> '.join(f.name for f in path)}: put some of them together",
        )
    for deeper in calls.get(fn, ()):
        _depth(module, deeper, [*path, fn], calls)


def _chains(
    module: ir.Module, calls: dict[ir.Function, list[ir.Function]], needs: dict[ir.Function, int]
) -> None:
    """Functions that call each other share the stack."""
    for fn in module.functions:
        if not fn.section:
            continue
        frames = scratch.chain(fn, needs, calls)
        need = sum(needs[f] for f in frames)
        if need > MAX_STACK:
            largest = max(frames, key=lambda f: needs[f])
            shown = " -> ".join(f"{f.name} ({needs[f]})" for f in frames)
            raise _error(
                module,
                largest,
                f"functions that call each other share {MAX_STACK} bytes of stack, "
                f"and these need {need}: {shown}",
                "keep large values in a PerCpuArray of one element, or fill a ring buffer record in place",
            )


def _error(module: ir.Module, fn: ir.Function | None, message: str, advice: str) -> CompileError:
    """An error at the head of a function."""
    if fn is None:
        return CompileError(message, advice=advice)
    lines = module.sources.get(fn.file, [])
    source = lines[fn.line - 1].rstrip() if 0 < fn.line <= len(lines) else ""
    column = len(source) - len(source.lstrip())
    return CompileError(
        message,
        file=fn.file,
        line=fn.line,
        column=column,
        end_column=len(source.rstrip(":")),
        source=source,
        advice=advice,
    )
