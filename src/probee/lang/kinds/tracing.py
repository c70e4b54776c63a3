"""Programs on the kernel's own functions and hooks: fentry, fexit, fmod_ret, LSM, iterators, kprobes."""

from __future__ import annotations

from ...errors import CompileError
from .. import ir
from ..hooks import ContextObject, Hook, RawHook, UprobeHook, as_type
from ..items import Item, Num, Pointer, Ref
from ..types import I64, U32, U64, VOID, Array, Int, Ptr, Space, Struct, Type
from .network import Packet
from .prototypes import Prototype, function, needed
from .table import COPY, NetKind
from .verdicts import NF

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence

    from ..builder import Builder
    from ..decl import ProgramDecl, ScalarType
    from ..ktypes import KernelTypes
    from ..scope import Fn

    Bound = dict[str, ir.Value | ContextObject | Item]

RETURNED = "ret"  # the parameter's name that stands for what the function returned


def trusted(b: Builder, slot: ir.Value, type: Type, name: str = "") -> ir.Value | Item:
    """An argument of a BTF-typed hook: pointers to structs are read without a helper."""
    if isinstance(type, Ptr) and isinstance(type.to, Struct):
        value = b.load(slot, Ptr(type.to, Space.TRUSTED))
        return Ref(value, maybe=name.removesuffix("__nullable")) if name.endswith("__nullable") else value
    return as_type(b, b.load(slot), type)


class FunctionHook(Hook):
    """fentry, fexit, fmod_ret and LSM: the function's arguments by position, what it returned as `ret`."""

    __slots__ = ("prototype",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = decl.args[0]
        _, _, name = self.section.partition("/")
        if decl.kind in ("lsm", "lsm_cgroup"):
            self.prototype = needed(ktypes, f"bpf_lsm_{name}", "LSM hook")
        else:
            self.prototype = needed(ktypes, name, "function")

    @property
    def _has_ret(self) -> bool:
        return self.decl.kind != "fentry" and self.prototype.ret is not VOID

    def _context(self) -> Type:
        return Ptr(Array(U64, max(1, len(self.prototype.params) + 1)), Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        given = self.prototype.params
        by_place = [n for n in names if n != RETURNED]
        if RETURNED in names and not self._has_ret:
            why = "it runs before the function does" if self.decl.kind == "fentry" else "it returns nothing"
            raise CompileError(
                f"{self.decl.hook} has no returned value: {why}",
                advice="" if self.decl.kind != "fentry" else "use @bp.fexit",
            )
        advice = f"it gives ({', '.join(n or repr(t) for n, t in given)})"
        self._check(by_place, len(given), False, types, advice)
        out: Bound = {}
        for i, (name, (theirs, type)) in enumerate(zip(by_place, given, strict=False)):
            if isinstance(type, Struct):
                raise CompileError(
                    f"{name} is a {type!r} passed by value, which programs can't read",
                    advice="leave this parameter out and name those before it",
                )
            out[name] = trusted(b, b.index(params[0], i), type, theirs)
        if RETURNED in names:
            out[RETURNED] = trusted(b, b.index(params[0], len(given)), self.prototype.ret)
        return out

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value | None:
        kind = self.decl.kind
        if not isinstance(item, Num):
            return f.b.const(1) if kind == "lsm_cgroup" else None
        if isinstance(item.v, ir.Const):
            low, high = {"fentry": (0, 0), "fexit": (0, 0), "lsm": (-4095, 0), "lsm_cgroup": (0, 1)}.get(
                kind, (-(1 << 31), (1 << 32) - 1)
            )
            if kind == "lsm" and self.prototype.ret is VOID:
                low = 0
            if not low <= item.v.value <= high:
                advice = {
                    "lsm": "return 0, or a negative errno as in `return -errno.EPERM`",
                    "lsm_cgroup": "return 1 to allow, 0 to deny",
                }.get(kind, "drop the value")
                f.fail(node, f"a {kind} program can't return {item.v.value}", advice)
        return item.v


class TrustedContext(ContextObject):
    """A context that is a struct of the kernel whose pointers are trusted."""

    __slots__ = ("_what", "ctx")

    def __init__(self, what: str, ctx: ir.Value) -> None:
        self._what = what
        self.ctx = ctx

    @property
    def names(self) -> list[str]:
        assert isinstance(self.ctx.type, Ptr)
        assert isinstance(self.ctx.type.to, Struct)
        return self.ctx.type.to.names()

    @property
    def what(self) -> str:
        return self._what

    def _attr(self, b: Builder, name: str) -> ir.Value:
        at = b.field(self.ctx, name)
        assert at is not None
        assert isinstance(at.type, Ptr)
        to = at.type.to
        if isinstance(to, Ptr):
            return b.load(at, Ptr(to.to, Space.TRUSTED if isinstance(to.to, Struct) else Space.KERNEL))
        return b.read(at)


class IterContext(TrustedContext):
    """The parameter of an iterator: the object that is shown, None after the last one."""

    __slots__ = ()

    def item(self, f: Fn, name: str, node: ast.AST) -> Item:
        value = self.attr(f.b, name)
        if not isinstance(value.type, Ptr):
            return Num(value)
        if name != "meta" and isinstance(value.type.to, Struct):
            import ast

            return Ref(value, maybe=ast.unparse(node))
        return Pointer(value)


class IterHook(Hook):
    """`iter/task`: what it prints is what the reader of the iterator gets."""

    __slots__ = ("struct",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = decl.args[0]
        word = self.section.partition("/")[2]
        found = ktypes.find(f"struct bpf_iter__{word}")
        if found is None:
            from ..diag import nearest

            names = [n for n in ktypes._names("bpf_iter__") if "__" not in n]
            raise CompileError(
                f"this kernel has no iterator over {word}",
                advice=nearest(word, names) or f"it has {', '.join(sorted(names))}",
            )
        self.struct = found

    def _context(self) -> Type:
        return Ptr(self.struct, Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        self._check(names, 1, False, types, "the object is an attribute of one parameter, as in `ctx.task`")
        word = self.section.partition("/")[2]
        return {name: IterContext(f"the argument of an iterator over {word}", params[0]) for name in names}

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value | None:
        if isinstance(item, Num) and isinstance(item.v, ir.Const) and item.v.value not in (0, 1):
            f.fail(
                node,
                f"an iterator can't return {item.v.value}",
                "return 0, or 1 to show this object again when there is more room",
            )
        return getattr(item, "v", None)


class KprobeHook(UprobeHook):
    """kprobes: the function's arguments in registers, typed where BTF knows the function."""

    __slots__ = ("prototype",)

    prototype: Prototype | None

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        Hook.__init__(self, decl, ktypes)
        self.section = decl.args[0]
        kind, _, name = self.section.partition("/")
        self.prototype = None
        if kind in ("kprobe", "kretprobe"):
            self.prototype = function(ktypes, name.partition("+")[0].rpartition(":")[2])
        elif kind == "ksyscall":
            tp = ktypes.tracepoint("syscalls", f"sys_enter_{name}")
            params = [(f.name, f.type) for f in tp.fields.values() if f.name != "__syscall_nr"]
            self.prototype = Prototype(params, I64)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        kind = self.section.partition("/")[0]
        if self.decl.kind == "ksyscall":
            return self._syscall(b, params[0], names, types)
        if "ret" in kind:
            registers: tuple[str, ...] = (self.result_register,)
            known = [self.prototype.ret] if self.prototype else [I64]
            advice = "the parameter is the returned value; keep arguments in a map from a kprobe"
        else:
            registers = self.argument_registers
            known = [t for _, t in self.prototype.params] if self.prototype else []
            advice = f"{self.ktypes.arch} passes {len(registers)} integer arguments in registers"
            if self.prototype:
                registers = registers[: len(known)]
                advice = f"it gives ({', '.join(n or repr(t) for n, t in self.prototype.params)})"
        self._check(names, len(registers), True, types, advice)
        out: Bound = {}
        for i, (name, register) in enumerate(zip(names, registers, strict=False)):
            at = b.field(params[0], register)
            assert at is not None
            value = b.read(at)
            out[name] = as_type(b, value, self._type(name, types, known[i] if i < len(known) else U64))
        return out

    def _type(self, name: str, types: dict[str, ScalarType], known: Type) -> Type:
        annotated = types.get(name)
        if annotated is not None:
            return Int(annotated.bits, annotated.signed)
        return known if isinstance(known, (Int, Ptr)) else U64

    def _syscall(
        self, b: Builder, ctx: ir.Value, names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        """A system call's function takes one argument, the registers of the caller, on x86_64 and aarch64."""
        assert self.prototype is not None
        given = self.prototype.params
        self._check(names, len(given), True, types, f"it gives ({', '.join(n for n, _ in given)})")
        first = b.field(ctx, self.argument_registers[0])
        regs = self.ktypes.struct("pt_regs")
        assert first is not None
        inner = b.recast(b.read(first), Ptr(regs, Space.KERNEL))
        order = self.syscall_registers
        out: Bound = {}
        for i, name in enumerate(names):
            at = b.field(inner, order[i]) if self.ktypes.arch == "x86_64" else b.field(inner, "regs")
            assert at is not None
            if self.ktypes.arch != "x86_64":
                at = b.index(at, i)
            out[name] = as_type(b, b.read(at), self._type(name, types, given[i][1]))
        return out


class WritableHook(RawHook):
    """`raw_tp.w/event`: as a raw tracepoint; the first argument is memory that may be written: a struct,
    or a number, `error[0]`.
    """

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        Hook.__init__(self, decl, ktypes)
        self.section = decl.args[0]
        self.types = [type for _, type in ktypes.raw_params(self.section.partition("/")[2])]

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        out: Bound = dict(super().bind(b, params, names, types))
        first = self.types[0] if self.types else None
        if names and isinstance(first, Ptr) and isinstance(first.to, Struct):
            out[names[0]] = Ref(b.load(b.index(params[0], 0), Ptr(first.to, Space.MAP)))
        elif names and isinstance(first, Ptr) and isinstance(first.to, Int):
            out[names[0]] = Ref(b.load(b.index(params[0], 0), Ptr(Array(first.to, 1), Space.MAP)))
        return out


class SyscallHook(Hook):
    """`syscall`: the context is memory of the caller, of the type that the parameter is annotated with."""

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = "syscall"

    def takes(self, want: object) -> bool:
        from ..decl import StructType

        return isinstance(want, StructType)

    def _context(self) -> Type:
        return Ptr(VOID, Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        self._check(names, 1, True, types, "the context is one parameter, annotated with a Struct")
        if not names:
            return {}
        kind = types.get(names[0])
        if kind is None or not self.takes(kind):
            raise CompileError(
                "the parameter of a syscall program needs a type",
                advice="annotate it with a Struct: what test_run(ctx=…) is given",
            )
        # Memory that may be written and loaded from directly, as a map's value.
        return {names[0]: Ref(b.recast(params[0], Ptr(kind._ir_(), Space.CALLER)))}


class NetfilterContext(Packet):
    """The parameter of a netfilter program: `skb`, `state`, and the packet from its IP header on."""

    __slots__ = ()

    @property
    def names(self) -> list[str]:
        return TrustedContext(self.what, self.ctx).names

    @property
    def what(self) -> str:
        return "the argument of a netfilter program"

    def _attr(self, b: Builder, name: str) -> ir.Value:
        return TrustedContext(self.what, self.ctx).attr(b, name)

    def loader(self, f: Fn, node: ast.AST) -> Callable[[ir.Value, ir.Value, int], ir.Value]:
        from ..services.dynptrs import DYNPTR

        b = f.b
        view = b.local("packet", DYNPTR)
        f.kfunc(node, "6.4", "bpf_dynptr_from_skb", self.attr(b, "skb"), b.const(0), view)
        return lambda offset, to, size: b.helper("dynptr_read", to, b.const(size), view, offset, b.const(0))


class NetfilterHook(Hook):
    """`netfilter`: the packet, as the kernel has it in `ctx.skb`, and where it is, `ctx.state`."""

    __slots__ = ("struct",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = "netfilter"
        self.struct = ktypes.struct("bpf_nf_ctx")

    def _context(self) -> Type:
        return Ptr(self.struct, Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        self._check(names, 1, False, types, "the packet is an attribute of one parameter, as in `ctx.skb`")
        if not names:
            return {}
        cursor = b.local("offset", U64)
        b.store(cursor, b.const(0, U64))
        kind = NetKind("netfilter", "bpf_nf_ctx", NF, 1, packet=COPY, ends=("", ""))
        return {names[0]: NetfilterContext(kind, params[0], cursor)}

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value | None:
        if not isinstance(item, Num):
            return f.b.const(1)
        if isinstance(item.v, ir.Const) and item.v.value not in (0, 1):
            f.fail(
                node,
                f"a netfilter program can't return {item.v.value}",
                "return bp.NF.ACCEPT or bp.NF.DROP",
            )
        return item.v


class LircHook(Hook):
    """`lirc_mode2`: the parameter is the sample."""

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = "lirc_mode2"

    def _context(self) -> Type:
        return Ptr(U32, Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> Bound:
        self._check(names, 1, False, types, "the sample is one parameter, a number")
        return {name: b.read(params[0]) for name in names}
