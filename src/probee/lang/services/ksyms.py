"""Variables of the kernel by name: `bp.ksym("runqueues")`, per CPU or not."""

from __future__ import annotations

import ast

from ...btf.kinds import VAR
from .. import ir
from ..diag import nearest
from ..items import Item, Num, Pointer, Py, Ref
from ..scope import Fn
from ..types import U64, VOID, Array, Int, Ptr, Space, Struct


def variable(f: Fn, node: ast.Call) -> Item:
    """A typed reference to a variable that the kernel's BTF has: per-CPU variables, in kernels so far."""
    from ..calls import arguments

    (item,) = arguments(f, node, 'ksym("name")', 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str):
        f.fail(node, "the variable's name is a literal", 'write bp.ksym("runqueues")')
    ktypes = f.unit.ktypes
    id = ktypes.btf.find(item.obj, VAR)
    if id is None:
        names = [t.name for t in ktypes.btf.own_types(VAR)]
        f.fail(node, f"this kernel's BTF has no variable {item.obj}", nearest(item.obj, names))
    kind = ktypes.type(ktypes.btf.type(id).type)
    ref = ir.KsymRef(ir.Ksym(item.obj, kind))
    if isinstance(kind, (Struct, Array, Int)):
        return Ref(ref)
    return Pointer(f.b.recast(ref, Ptr(kind, Space.TRUSTED)))


def address(f: Fn, node: ast.Call) -> Item:
    """`bp.ksym_address("name")`: where the kernel's symbol of that name is (/proc/kallsyms)."""
    from ..calls import arguments

    (item,) = arguments(f, node, 'ksym_address("name")', 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str) or not item.obj.isidentifier():
        f.fail(node, "the symbol's name is a literal", 'write bp.ksym_address("bpf_link_fops")')
    known = f.unit.ksyms.setdefault(item.obj, ir.Ksym(item.obj, VOID))
    return Num(f.b.recast(ir.KsymRef(known), U64))
