"""struct_ops: a class whose methods are the functions of a kernel struct, `tcp_congestion_ops` for example.

The struct is looked up in the kernel's BTF: each method is typed by the member of its name.
"""

from __future__ import annotations

from ...errors import CompileError
from .. import ir
from ..diag import nearest
from ..hooks import ContextObject, Hook, as_type
from ..items import Item, Num, Ref
from ..types import I64, U64, VOID, Array, Chars, Int, Member, Ptr, Space, Struct, Type
from .prototypes import Prototype, member

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

    from ..builder import Builder
    from ..decl import ProgramDecl, ScalarType
    from ..ktypes import KernelTypes
    from ..scope import Fn


class StructOpsHook(Hook):
    """A function of the struct: its arguments by position, typed by BTF; structs of the kernel may be written
    where the kernel lets such programs."""

    __slots__ = ("prototype",)

    def __init__(self, decl: ProgramDecl, ktypes: KernelTypes) -> None:
        super().__init__(decl, ktypes)
        self.section, struct, name = decl.args[0], decl.args[1], decl.args[2]
        found = member(ktypes, struct, name)
        if found is None:
            known = ktypes.find(f"struct {struct}")
            if known is None:
                raise CompileError(f"this kernel has no struct {struct}")
            raise CompileError(
                f"struct {struct} has no function {name}", advice=nearest(name, known.names()) or ""
            )
        self.prototype: Prototype = found

    @property
    def ret(self) -> Type:  # type: ignore[override]
        kind = self.prototype.ret
        return Int(64, kind.signed) if isinstance(kind, Int) and kind.bits == 64 else Int(32, True)

    def _context(self) -> Type:
        return Ptr(Array(U64, max(1, len(self.prototype.params))), Space.CONTEXT)

    def bind(
        self, b: Builder, params: Sequence[ir.Value], names: Sequence[str], types: dict[str, ScalarType]
    ) -> dict[str, ir.Value | ContextObject | Item]:
        given = self.prototype.params
        names = [n for n in names if n != "self"]
        self._check(names, len(given), False, types, f"it gives ({', '.join(repr(t) for _, t in given)})")
        out: dict[str, ir.Value | ContextObject | Item] = {"self": Num(b.const(0, I64))}
        for i, (name, (theirs, type)) in enumerate(zip(names, given, strict=False)):
            slot = b.index(params[0], i)
            if isinstance(type, Ptr) and isinstance(type.to, Struct):
                # Loads and stores are direct, as in memory of the program's own: the verifier knows the type.
                to = type.to
                if to.name == "sock" and self.decl.args[1] == "tcp_congestion_ops":
                    to = self.ktypes.struct("tcp_sock")
                value = b.load(slot, Ptr(to, Space.MAP))
                out[name] = Ref(value, maybe=name if theirs.endswith("__nullable") else "")
            else:
                out[name] = as_type(b, b.load(slot), type)
        return out

    def result(self, f: Fn, item: Item | None, node: ast.AST) -> ir.Value | None:
        if isinstance(item, Num) and self.prototype.ret is VOID:
            f.fail(node, f"{self.decl.args[2]} returns nothing", "drop the value")
        return getattr(item, "v", None)


def variable(
    ktypes: KernelTypes,
    name: str,
    struct: str,
    values: tuple[tuple[str, object], ...],
    programs: dict[str, str],
) -> ir.StructOps:
    """The variable of a struct_ops class: the members that it sets, and what they are.

    Raises CompileError for a member that the kernel's struct has not.
    """
    known = ktypes.struct(struct)
    members: list[Member] = []
    data: list[bytes | str] = []
    at = 0
    for word, function in programs.items():
        members.append(Member(word, Ptr(VOID, Space.KERNEL), at * 8))
        data.append(function)
        at += 8
    for word, value in sorted(values, key=lambda v: -_width(known, struct, v[0])):
        kind = _member_type(known, struct, word)
        if isinstance(kind, Chars) and isinstance(value, str) and len(value.encode()) < kind.n:
            raw = value.encode().ljust(kind.n, b"\0")
        elif isinstance(kind, Int) and isinstance(value, int):
            raw = (value & ((1 << kind.size * 8) - 1)).to_bytes(kind.size, "little")
        else:
            raise CompileError(f"{struct}.{word} is a {kind!r}, and {value!r} does not fit there")
        members.append(Member(word, kind, at * 8))
        data.append(raw)
        at += kind.size
    size = (at + 7) // 8 * 8
    return ir.StructOps(name, Struct(struct, size, tuple(members)), data)


def _member_type(known: Struct, struct: str, name: str) -> Type:
    for m in known.members:
        if m.name == name:
            return m.type
    raise CompileError(f"struct {struct} has no member {name}", advice=nearest(name, known.names()))


def _width(known: Struct, struct: str, name: str) -> int:
    kind = _member_type(known, struct, name)
    return kind.size if isinstance(kind, Int) else 1


def add_variables(
    module: ir.Module, ktypes: KernelTypes, programs: Sequence[ProgramDecl], names: dict[int, str]
) -> None:
    """Add the variables of the struct_ops classes that programs are methods of."""
    groups: dict[tuple[object, ...], list[ProgramDecl]] = {}
    for p in programs:
        if p.kind == "struct_ops":
            groups.setdefault((p.args[1], p.args[3], p.args[4]), []).append(p)
    for (struct, variable_name, values), methods in groups.items():
        functions = {p.args[2]: names[id(p)] for p in methods}
        made = variable(ktypes, str(variable_name), str(struct), values, functions)  # type: ignore[arg-type]
        module.struct_ops.append(made)
