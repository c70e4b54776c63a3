"""What iterators print: a line for their reader, as bpf_seq_printf formats it."""

from __future__ import annotations

import ast

from .. import ir
from ..types import U64, Array, Int, Ptr, Space, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..scope import Fn


def is_iterator(f: Fn) -> bool:
    return f.program is not None and f.program.kind == "iter"


def emit(f: Fn, format: str, args: list[ir.Value], node: ast.AST) -> None:
    """Write a line, or a part of one, to the iterator's output."""
    from ..subprograms import context

    b = f.b
    if len(args) > 12:
        f.fail(node, f"{len(args)} values: the kernel prints at most 12 in a line", "print two lines")
    ctx = context(f, node, "print")
    meta = b.field(ctx, "meta")
    assert meta is not None
    struct = f.unit.ktypes.struct("bpf_iter_meta")
    seq = b.field(b.load(meta, Ptr(struct, Space.TRUSTED)), "seq")
    assert seq is not None
    assert isinstance(seq.type, Ptr)
    to = seq.type.to
    assert isinstance(to, Ptr)
    assert isinstance(to.to, Struct)
    where = b.load(seq, Ptr(to.to, Space.TRUSTED))
    data = format.encode()
    values: ir.Value = ir.Const(Ptr(U64, Space.STACK), 0)
    if args:
        values = f.temp("printed", Array(U64, len(args)))
        for i, arg in enumerate(args):
            b.write(b.index(values, i), arg if isinstance(arg.type, Int) else b.recast(arg, U64))
    b.helper("seq_printf", where, b.string(data), b.const(len(data) + 1), values, b.const(8 * len(args)))
