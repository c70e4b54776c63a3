"""Programs of the network, of sockets and cgroups: one parameter, the packet or the socket."""

from __future__ import annotations

from ...errors import CompileError
from .. import ir
from ..diag import a
from ..hooks import ContextObject, Hook
from ..items import Item, Num, Ref
from ..types import I64, U8, U64, Ptr, Space, Type
from .contexts import layout
from .table import COPY, WRITE, NetKind, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Sequence

    from ..builder import Builder
    from ..decl import ProgramDecl, ScalarType
    from ..ktypes import KernelTypes
    from ..scope import Fn


class Packet(ContextObject):
    """A context with methods for the packet.

    `cursor` is where the next header is read: a pointer into the packet, or for COPY an offset.
    """

    __slots__ = ("ctx", "cursor", "kind")

    def __init__(self, kind: NetKind, ctx: ir.Value, cursor: ir.Value | None) -> None:
        self.kind = kind
        self.ctx = ctx
        self.cursor = cursor

    @property
    def near(self) -> list[str]:
        return [*self.names, *self.methods]

    def loader(self, f: Fn, node: ast.AST) -> Callable[[ir.Value, ir.Value, int], ir.Value]:
        """For COPY: what copies some bytes from an offset to a place, and gives 0 or an error."""
        return lambda offset, to, size: f.b.helper("skb_load_bytes", self.ctx, offset, to, f.b.const(size))

    @property
    def methods(self) -> frozenset[str]:
        if not self.kind.packet:
            return frozenset()
        from ..packets import methods

        return methods.names(self.kind)

    def length(self, f: Fn, node: ast.AST) -> Item:
        if not self.kind.packet:
            return super().length(f, node)
        from ..packets import methods

        return methods.length(f, self)

    def call(self, f: Fn, name: str, node: ast.Call) -> Item:
        from ..packets import methods

        return methods.call(f, self, name, node)


class NetContext(Packet):
    """The parameter of a network program: the context's fields, and methods for the packet."""

    __slots__ = ()

    @property
    def names(self) -> list[str]:
        return [n for n in layout(self.kind.context).names() if n not in self.kind.hidden]

    @property
    def what(self) -> str:
        return f"the argument of {a(self.kind.word)} program"

    def _attr(self, b: Builder, name: str) -> ir.Value:
        at = b.field(self.ctx, name)
        assert at is not None
        return b.read(at)

    def item(self, f: Fn, name: str, node: ast.AST) -> Item:
        value = self.attr(f.b, name)
        kind = value.type
        if not isinstance(kind, Ptr):
            return Num(value)
        if kind.nullable:
            return Ref(f.b.recast(value, Ptr(kind.to, kind.space)), maybe=f"{_shown(node)}")
        return Ref(value, writable=name in self.kind.writable)

    def place(self, f: Fn, name: str, node: ast.AST) -> Ref:
        """The field to be assigned."""
        kind = self.kind
        if name not in self.names:
            with f.placed(node):
                self.attr(f.b, name)  # says why
        if name not in kind.writable:
            can = ", ".join(sorted(kind.writable))
            f.fail(
                node,
                f"{name} can't be assigned in a {kind.word} program",
                f"it may assign {can}" if can else "keep the value in a local",
            )
        at = f.b.field(self.ctx, name)
        assert at is not None
        return Ref(at, writable=True)


def _shown(node: ast.AST) -> str:
    import ast

    return ast.unparse(node)


class NetHook(Hook):
    """A program of the table's kinds. A program that returns nothing lets the kernel go on as without it."""

    __slots__ = ("kind",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = decl.args[0]
        kind = find(self.section)
        assert kind is not None, self.section
        self.kind: NetKind = kind

    def _context(self) -> Type:
        return Ptr(layout(self.kind.context), Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        self._check(names, 1, False, types, "its fields are attributes of one parameter")
        ctx = params[0]
        if not names:
            return {}
        cursor: ir.Value | None = None
        if self.kind.packet == COPY:
            cursor = b.local("offset", U64)
            b.store(cursor, b.const(0, U64))
        elif self.kind.packet:
            cursor = b.local("cursor", packet_pointer(self.kind))
            b.store(cursor, packet_end(b, self.kind, ctx, 0))
        return {names[0]: NetContext(self.kind, ctx, cursor)}

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value:
        b = f.b
        if not isinstance(item, Num):
            if self.section == "sk_skb/stream_parser":
                assert f.ctx is not None
                at = b.field(f.ctx, "len")
                assert at is not None
                return b.read(at)
            return b.const(self._default())
        value = item.v
        if isinstance(value, ir.Const):
            self._check_result(f, value.value, node)
        return value

    def _default(self) -> int:
        if self.kind.default == 129:  # the kernel's own dissector goes on, where it can be told so
            codes = self.ktypes.enum("bpf_ret_code") or {}
            return 129 if "BPF_FLOW_DISSECTOR_CONTINUE" in codes else 0
        return self.kind.default

    def _check_result(self, f: Fn, value: int, node: ast.AST) -> None:
        kind = self.kind
        if kind.range is not None:
            low, high = kind.range
            if low <= value <= high:
                return
            names = _words(kind, lambda v: low <= v <= high)
            what = f"{low} to {high}" if low < high else f"{low} only"
            f.fail(node, f"{a(kind.word)} program returns {what}, not {value}", f"return {names}")
        if kind.results and value not in kind.results.values():
            names = _words(kind, lambda v: True)
            f.fail(node, f"{a(kind.word)} program does not return {value}", f"return {names}")


class Replacement(NetHook):
    """`freplace/func`: as the program whose function it stands in for, a whole program of the network."""

    __slots__ = ()

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        Hook.__init__(self, decl, ktypes)
        self.section, like = decl.args
        kind = find(like)
        if kind is None:
            raise CompileError(
                f"what {self.section.partition('/')[2]} is like can't be told",
                advice='say the section of the program that is replaced: freplace("name", like="xdp")',
            )
        self.kind = kind


class FunctionReplacement(Hook):
    """`freplace/func` for a function of numbers: the parameters are its own."""

    __slots__ = ("given",)

    ret: Type = I64

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section = decl.args[0]
        self.given: list[ir.Param] = []

    def params(self) -> list[ir.Param]:
        self.given = []
        return self.given

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        for name in names:
            if name not in types:
                raise CompileError(
                    f"{name} needs the type that it has in {self.section.partition('/')[2]}",
                    advice="annotate it with an integer type, or say the section of the program that is "
                    'replaced: freplace("name", program, like="xdp")',
                )
            self.given.append(ir.Param(len(self.given), name, types[name]._ir_()))
        return dict(zip(names, self.given, strict=True))


def _words(kind: NetKind, allowed: object) -> str:
    from . import verdicts

    owner = next(
        (n for n, c in vars(verdicts).items() if isinstance(c, type) and set(kind.results) <= set(vars(c))),
        "",
    )
    if not kind.results:
        return "1"
    seen: dict[int, str] = {}
    for name, value in kind.results.items():
        if callable(allowed) and allowed(value):
            seen.setdefault(value, f"bp.{owner}.{name}")
    return " or ".join(seen.values())


def packet_pointer(kind: NetKind) -> Ptr:
    return Ptr(U8, Space.PACKET if kind.packet == WRITE else Space.PACKET_READ)


def packet_end(b: Builder, kind: NetKind, ctx: ir.Value, which: int | str) -> ir.Value:
    """The packet's start (0), its end (1), or another field that is such a pointer."""
    name = which if isinstance(which, str) else kind.ends[which]
    at = b.field(ctx, name)
    assert at is not None
    want = packet_pointer(kind)
    assert isinstance(at.type, Ptr)
    if isinstance(at.type.to, Ptr):
        return b.load(at, want)
    return b.recast(b.load(at), want)
