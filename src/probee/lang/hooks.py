"""What a program's parameters mean on each kind of hook, and in which ELF section it goes.

`Hook.for_program` picks the kind. `params` are the parameters of the IR function, `bind` gives values to the
Python parameters. A hook whose `section` is "" makes no program of its own: its function is a subprogram, and
`merge` adds the one program that calls all of them (system calls).

Errors are CompileErrors without a place: whoever compiles the function knows it.
"""

from __future__ import annotations

from ..errors import CompileError
from . import ir
from .builder import Builder
from .decl import ProgramDecl, ScalarType
from .diag import nearest
from .ir import Block
from .ktypes import ARGUMENT, DATA_LOC, PLAIN, REL_LOC, KernelTypes, Tracepoint, TracepointField
from .types import I32, I64, U64, Array, Chars, Int, Member, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from .items import Item, Ref
    from .scope import Fn

# Offsets of the registers in `struct pt_regs` that hold the arguments of a function, its result, and the
# instruction pointer; and the size of what user space sees of it (UAPI asm/ptrace.h).
_REGISTERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "di": 112,
        "si": 104,
        "dx": 96,
        "cx": 88,
        "r8": 72,
        "r9": 64,
        "ax": 80,
        "ip": 128,
        "sp": 152,
        "size": 168,
    },
    "aarch64": {**{f"x{i}": 8 * i for i in range(8)}, "sp": 248, "pc": 256, "size": 272},
}
_ARGUMENTS = {
    "x86_64": ("di", "si", "dx", "cx", "r8", "r9"),
    "aarch64": tuple(f"x{i}" for i in range(8)),
}
_RESULT = {"x86_64": "ax", "aarch64": "x0"}
_POINTER = {"x86_64": "ip", "aarch64": "pc"}


_HIDDEN = {
    "common_type": "",
    "common_flags": "",
    "common_preempt_count": "",
    "common_pid": "; bp.tid() is the same number",
}


_NAMELESS = ["__syscall_nr", "args"]  # a system call's record as BTF alone knows it


def _nameless() -> str:
    from ..sys.caps import sudo_line

    return (
        "the arguments' names are in tracefs, which can't be read here: write args.args[0] for the first, "
        f"or run it as root: {sudo_line()}"
    )


class ContextObject:
    """A parameter with attributes (`args`, `ctx`). `names` are the attributes it has."""

    __slots__ = ()

    @property
    def names(self) -> list[str]:
        raise NotImplementedError

    @property
    def near(self) -> list[str]:
        """What may be meant by a name that it does not have."""
        return self.names

    @property
    def what(self) -> str:
        """What it is, in words."""
        raise NotImplementedError

    def attr(self, b: Builder, name: str, loc: ir.Loc | None = None) -> ir.Value:
        """The attribute: a number of 64 bits, a pointer, or a reference to text, an array or a struct.

        Raises CompileError, without a place, if there is no such attribute.
        """
        b.loc = loc or b.loc
        if name not in self.names:
            advice = nearest(name, self.near) or f"it has {', '.join(self.names) or 'none'}"
            if name in _HIDDEN:
                advice = f"the kernel hides the record's common fields from programs{_HIDDEN[name]}"
            elif self.names == _NAMELESS:
                advice = _nameless()
            raise CompileError(f"{self.what} has no field {name}", advice=advice)
        return self._attr(b, name)

    def _attr(self, b: Builder, name: str) -> ir.Value:
        raise NotImplementedError

    def item(self, f: Fn, name: str, node: ast.AST) -> Item:
        """The attribute as an expression's value."""
        from .convert import wrap

        return wrap(f, self.attr(f.b, name))

    def place(self, f: Fn, name: str, node: ast.AST) -> Ref:
        """The attribute as a place to assign to."""
        f.fail(node, "the program's argument can't be changed", "keep the value in a local")

    @property
    def methods(self) -> frozenset[str]:
        """Attributes that are called."""
        return frozenset()

    def call(self, f: Fn, name: str, node: ast.Call) -> Item:
        """A method's call."""
        raise NotImplementedError

    def length(self, f: Fn, node: ast.AST) -> Item:
        """`len(…)` of it."""
        f.fail(node, f"{self.what} has no length")


class Record(ContextObject):
    """The record of a tracepoint, at the context pointer."""

    __slots__ = ("ctx", "tp")

    def __init__(self, tp: Tracepoint, ctx: ir.Value) -> None:
        self.tp = tp
        self.ctx = ctx

    @property
    def names(self) -> list[str]:
        return list(self.tp.fields)

    @property
    def what(self) -> str:
        return f"{self.tp.group}:{self.tp.event}"

    def _attr(self, b: Builder, name: str) -> ir.Value:
        f = self.tp.fields[name]
        at = self.ctx
        for index in f.path:
            at = b.emit(ir.FieldAddr(at, index))
        if f.how == PLAIN:
            if isinstance(f.type, (Chars, Array, Struct)):
                # Not loaded from the context but copied by probe_read: any size, any alignment.
                return b.recast(at, Ptr(f.type, Space.KERNEL))
            return b.read(at)
        if f.how == ARGUMENT:
            if isinstance(at.type, Ptr) and isinstance(at.type.to, Array):
                at = b.index(at, f.index)
                return as_type(b, b.load(at), f.type)
            # __syscall_nr is a long in BTF, but only its low half is written.
            assert f.type == I32
            return b.read(b.recast(at, Ptr(f.type, Space.CONTEXT)))
        return self._data(b, f, at)

    def _data(self, b: Builder, f: TracepointField, at: ir.Value) -> ir.Value:
        assert f.how in (DATA_LOC, REL_LOC)
        where = b.arith("&", b.read(at), b.const(0xFFFF))
        start = at if f.how == REL_LOC else self.ctx
        if f.how == REL_LOC:
            where = b.arith("+", where, b.const(4))
        return b.offset(b.recast(start, Ptr(f.type, Space.KERNEL)), where)


class Fixed(ContextObject):
    """A context with a layout of its own, the same on all kernels (UAPI)."""

    __slots__ = ("_what", "ctx", "struct")

    def __init__(self, what: str, ctx: ir.Value) -> None:
        assert isinstance(ctx.type, Ptr)
        assert isinstance(ctx.type.to, Struct)
        self._what = what
        self.struct = ctx.type.to
        self.ctx = ctx

    @property
    def names(self) -> list[str]:
        return self.struct.names()

    @property
    def what(self) -> str:
        return self._what

    def _attr(self, b: Builder, name: str) -> ir.Value:
        at = b.field(self.ctx, name)
        assert at is not None
        return b.read(at)


def as_type(b: Builder, value: ir.Value, type: Type) -> ir.Value:
    """A register's content as a value of `type`: cut and widened, or a pointer."""
    if isinstance(type, Int):
        return b.widen(b.cast(value, type)) if type.bits < 64 else b.cast(value, type)
    if isinstance(type, Ptr):
        return b.recast(value, type)
    return value


class Hook:
    """One program on one hook. `section` is its ELF section, "" for a subprogram of a dispatcher."""

    __slots__ = ("decl", "ktypes", "section")

    ret: Type = I32

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        self.decl = decl
        self.ktypes = ktypes
        self.section = ""

    @staticmethod
    def for_program(decl: ProgramDecl, ktypes: KernelTypes, merge_syscalls: bool = True) -> Hook:
        """The hook of a declaration. With `merge_syscalls`, `syscalls:` tracepoints share a dispatcher.

        Raises CompileError if the kernel has no such hook.
        """
        if decl.kind == "tracepoint":
            if merge_syscalls and decl.args[0] == "syscalls":
                merged = SyscallHook.make(decl, ktypes)
                if merged is not None:
                    return merged
            return TracepointHook(decl, ktypes)
        if decl.kind in ("tp_btf", "raw_tracepoint"):
            return RawHook(decl, ktypes)
        if decl.kind == "perf_event":
            return PerfEventHook(decl, ktypes)
        if decl.kind in ("uprobe", "uretprobe"):
            return UprobeHook(decl, ktypes)
        from .kinds import hook_of

        return hook_of(decl, ktypes)

    def params(self) -> list[ir.Param]:
        """The parameters of the IR function."""
        return [ir.Param(0, "ctx", self._context())]

    def _context(self) -> Type:
        raise NotImplementedError

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        """Values for the Python parameters `names`, at the start of the function that `b` builds.

        `types` are the annotated ones. Raises CompileError if the hook has fewer parameters.
        """
        raise NotImplementedError

    def takes(self, want: object) -> bool:
        """May a parameter be annotated with this declared type?"""
        return False

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value | None:
        """What the program gives the kernel where it returns `item`; None for 0."""
        return getattr(item, "v", None)

    def _check(
        self, names: Sequence[str], most: int, typed: bool, types: dict[str, ScalarType], advice: str
    ) -> None:
        if len(names) > most:
            count = f"{most} parameter{'' if most == 1 else 's'}"
            raise CompileError(f"{self.decl.hook} gives {count}, not {len(names)}", advice=advice)
        if types and not typed:
            raise CompileError(
                f"the type of {next(iter(types))} comes from {self.decl.hook}", advice="drop the annotation"
            )


class TracepointHook(Hook):
    """`tp/group/event`: one parameter, whose attributes are the record's fields."""

    __slots__ = ("tp",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        group, event = decl.args
        self.tp = ktypes.tracepoint(group, event)
        self.section = f"tp/{group}/{event}"

    def _context(self) -> Type:
        return Ptr(self.tp.struct, Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        self._check(names, 1, False, types, "the fields are attributes of one parameter, as in `args.pid`")
        return {name: Record(self.tp, params[0]) for name in names}


class RawHook(Hook):
    """`tp_btf/event` and `raw_tp/event`: the kernel's own arguments by position, typed by BTF."""

    __slots__ = ("types",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        (event,) = decl.args
        self.types = [type for _, type in ktypes.raw_params(event)]
        self.section = f"{'tp_btf' if decl.kind == 'tp_btf' else 'raw_tp'}/{event}"

    def _context(self) -> Type:
        return Ptr(Array(U64, max(1, len(self.types))), Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        advice = f"it gives ({', '.join(map(_c_name, self.types))})"
        self._check(names, len(self.types), False, types, advice)
        trusted = self.decl.kind == "tp_btf"
        out: dict[str, ir.Value | ContextObject | Item] = {}
        for i, (name, type) in enumerate(zip(names, self.types, strict=False)):
            slot = b.index(params[0], i)
            if isinstance(type, Ptr) and isinstance(type.to, Struct) and trusted:
                out[name] = b.load(slot, Ptr(type.to, Space.TRUSTED))
            else:
                out[name] = as_type(b, b.load(slot), type)
        return out


def _c_name(type: Type) -> str:
    return f"{type.to!r} *" if isinstance(type, Ptr) else repr(type)


class PerfEventHook(Hook):
    """`perf_event`: one parameter with `sample_period`, `addr`, `ip` and `sp` (`struct bpf_perf_event_data`).

    What to sample stands behind the slash, `perf_event/cpu-clock:freq=99`, unless it is just that.
    """

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        event, word, number = decl.args
        usual = (event, word, number) == ("cpu-clock", "freq", 99)
        self.section = "perf_event" if usual else f"perf_event/{event}:{word}={number}"

    def _context(self) -> Type:
        registers = _registers(self.ktypes.arch, self.decl)
        size = registers["size"]
        members = [
            Member("sp", U64, registers["sp"] * 8),
            Member("ip", U64, registers[_POINTER[self.ktypes.arch]] * 8),
            Member("sample_period", U64, size * 8),
            Member("addr", U64, size * 8 + 64),
        ]
        members.sort(key=lambda m: m.bit_offset)
        return Ptr(Struct("bpf_perf_event_data", size + 16, tuple(members)), Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        self._check(names, 1, False, types, "the sample is one parameter, as in `ctx.addr`")
        return {name: Fixed("the sample of a perf event", params[0]) for name in names}


class UprobeHook(Hook):
    """`uprobe/binary:symbol`: the function's arguments by position; `uretprobe/…`: what it returns.

    They are u64 unless annotated with another integer type.
    """

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        binary, symbol, offset = decl.args
        self.section = f"{decl.kind}/{binary}:{symbol}" + (f"+{offset:#x}" if offset else "")

    def _context(self) -> Type:
        registers = _registers(self.ktypes.arch, self.decl)
        places = sorted((offset * 8, name) for name, offset in registers.items() if name != "size")
        members = tuple(Member(name, U64, offset) for offset, name in places)
        return Ptr(Struct("pt_regs", registers["size"], members), Space.CONTEXT)

    @property
    def argument_registers(self) -> tuple[str, ...]:
        return _ARGUMENTS[self.ktypes.arch]

    @property
    def result_register(self) -> str:
        return _RESULT[self.ktypes.arch]

    @property
    def syscall_registers(self) -> tuple[str, ...]:
        """Names of the caller's registers with a system call's arguments, in `struct pt_regs` of BTF."""
        return _ENTER_REGISTERS.get(self.ktypes.arch, ())

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        arch = self.ktypes.arch
        if self.decl.kind == "uretprobe":
            registers: tuple[str, ...] = (_RESULT[arch],)
            advice = "the parameter is the returned value; keep arguments in a map from a uprobe"
        else:
            registers = _ARGUMENTS[arch]
            advice = f"{arch} passes {len(registers)} integer arguments in registers; others are on the stack"
        self._check(names, len(registers), True, types, advice)
        out: dict[str, ir.Value | ContextObject | Item] = {}
        for name, register in zip(names, registers, strict=False):
            at = b.field(params[0], register)
            assert at is not None
            type = types.get(name)
            out[name] = as_type(b, b.read(at), Int(type.bits, type.signed) if type else U64)
        return out


def _registers(arch: str, decl: ProgramDecl) -> dict[str, int]:
    if arch not in _REGISTERS:
        raise CompileError(
            f"{decl.kind} programs read registers, which probee knows on x86_64 and aarch64, not on {arch}"
        )
    return _REGISTERS[arch]


# ---- system calls ----

# Where the kernel says that a task is in a 32-bit system call: a field of thread_info, and the bit.
_COMPAT = {"x86_64": ("status", 2), "aarch64": ("flags", 1 << 22)}
_ENTER_REGISTERS = {"x86_64": ("di", "si", "dx", "r10", "r8", "r9")}
_NUMBER = {"x86_64": "orig_ax", "aarch64": "syscallno"}


class SyscallHook(Hook):
    """A `syscalls:` tracepoint as a subprogram of the dispatcher on `tp_btf/sys_enter` or `tp_btf/sys_exit`.

    One such program costs less for each event than perf-attached tracepoints do, and detaches at once.
    """

    __slots__ = ("enter", "nr", "regs", "tp")

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes, tp: Tracepoint, nr: int, regs: Struct) -> None:
        super().__init__(decl, ktypes)
        self.tp = tp
        self.nr = nr
        self.regs = regs
        self.enter = tp.event.startswith("sys_enter_")

    @staticmethod
    def make(decl: ProgramDecl, ktypes: KernelTypes) -> SyscallHook | None:
        """The hook, or None if this system call, architecture or kernel can't be merged."""
        from ..isa.syscalls import SYSCALLS, TRACEPOINT_NAMES

        tp = ktypes.tracepoint(*decl.args)
        enter, _, name = tp.event.removeprefix("sys_").partition("_")
        nr = SYSCALLS.get(ktypes.arch, {}).get(TRACEPOINT_NAMES.get(name, name))
        regs = ktypes.find("struct pt_regs")
        task = ktypes.find("struct task_struct")
        if nr is None or regs is None or task is None or enter not in ("enter", "exit"):
            return None
        if "args" in tp.fields or not ktypes.has_raw(f"sys_{enter}"):
            return None  # the fields' names are unknown, or there is nothing to attach to
        thread = task.find("thread_info")
        info = ktypes.find("struct thread_info")
        if thread is None or info is None or info.find(_COMPAT[ktypes.arch][0]) is None:
            return None
        return SyscallHook(decl, ktypes, tp, nr, regs)

    def params(self) -> list[ir.Param]:
        if self.enter:
            return [ir.Param(0, "regs", Ptr(self.regs, Space.TRUSTED))]
        return [ir.Param(0, "ret", I64)]

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        self._check(names, 1, False, types, "the arguments are attributes of one parameter, as in `args.fd`")
        return {name: Syscall(self, params[0]) for name in names}


class Syscall(ContextObject):
    """A system call as a merged program sees it: arguments in registers, or the result."""

    __slots__ = ("hook", "value")

    def __init__(self, hook: SyscallHook, value: ir.Value) -> None:
        self.hook = hook
        self.value = value

    @property
    def names(self) -> list[str]:
        return list(self.hook.tp.fields)

    @property
    def what(self) -> str:
        return f"{self.hook.tp.group}:{self.hook.tp.event}"

    def _attr(self, b: Builder, name: str) -> ir.Value:
        if name == "__syscall_nr":
            return b.const(self.hook.nr)
        if not self.hook.enter:
            return self.value
        f = self.hook.tp.fields[name]
        return as_type(b, b.read(self._register(b, f.index)), f.type)

    def _register(self, b: Builder, i: int) -> ir.Value:
        arch = self.hook.ktypes.arch
        if arch == "aarch64":
            # x0 is already overwritten by the time some calls are traced; the kernel keeps the original.
            at = b.field(self.value, "regs" if i else "orig_x0")
            if i and at is not None:
                at = b.index(at, i)
        else:
            at = b.field(self.value, _ENTER_REGISTERS[arch][i])
        if at is None:
            raise CompileError(f"struct pt_regs of this kernel has no register for argument {i + 1}")
        return at


def merge(module: ir.Module, programs: Sequence[tuple[Hook, ir.Function]]) -> list[ir.Function]:
    """Add the dispatchers that the functions of merged hooks need, and return them.

    One program for all entries into system calls, one for all exits: they switch on the number and call every
    function that wants it, except in tasks that make 32-bit calls, whose numbers mean something else.
    """
    out = []
    for enter in (True, False):
        chosen = [(h, fn) for h, fn in programs if isinstance(h, SyscallHook) and h.enter is enter]
        if chosen:
            taken = {fn.name for fn in module.functions}
            taken |= {m.name for m in module.maps} | {g.name for g in module.globals}
            name = "syscalls_enter" if enter else "syscalls_exit"
            while name in taken:
                name += "_"
            out.append(_dispatcher(name, chosen))
            module.functions.append(out[-1])
    return out


def _dispatcher(name: str, programs: list[tuple[SyscallHook, ir.Function]]) -> ir.Function:
    hook, first = programs[0]
    arch, enter = hook.ktypes.arch, hook.enter
    ctx = ir.Param(0, "ctx", Ptr(Array(U64, 2), Space.CONTEXT))
    section = "tp_btf/sys_enter" if enter else "tp_btf/sys_exit"
    fn = ir.Function(name, [ctx], I32, section=section, file=first.file, line=first.line)
    b = Builder(fn)
    regs = b.load(b.index(ctx, 0), Ptr(hook.regs, Space.TRUSTED))
    second = b.cast(b.load(b.index(ctx, 1)), I64)  # the number, or the result
    if enter:
        number, passed = second, regs
    else:
        at = b.field(regs, _NUMBER[arch])
        assert at is not None
        number, passed = b.cast(b.read(at), I64), second
    end = Block("end")
    cases: dict[int, list[ir.Function]] = {}
    for h, wanted in programs:
        cases.setdefault(h.nr, []).append(wanted)
    blocks = [(nr, b.new_block(f"call {nr}")) for nr in cases]
    b.switch(number, blocks, end)
    for nr, block in blocks:
        b.at(block)
        _unless_compat(b, hook, end)
        for wanted in cases[nr]:
            b.call(wanted, passed)
        b.jump(end)
    fn.blocks.append(end)
    b.at(end)
    b.ret()
    return fn


def current_task(b: Builder, ktypes: KernelTypes) -> ir.Value:
    """The running task: before Linux 5.11 a pointer that the verifier does not trust."""
    task = ktypes.struct("task_struct")
    if ktypes.has_helper("get_current_task_btf"):
        return b.helper("get_current_task_btf", type=Ptr(task, Space.TRUSTED))
    return b.helper("get_current_task", type=Ptr(task, Space.KERNEL))


def _unless_compat(b: Builder, hook: SyscallHook, end: Block) -> None:
    """Go on only if the current task is not in a 32-bit system call."""
    field, bit = _COMPAT[hook.ktypes.arch]
    task = current_task(b, hook.ktypes)
    info = b.field(task, "thread_info")
    at = b.field(info, field) if info is not None else None
    assert at is not None
    native = b.new_block("native")
    b.branch(b.arith("&", b.read(at), b.const(bit)), end, native)
    b.at(native)
