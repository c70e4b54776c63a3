"""Types as the kernel numbers them, and pointers that it takes a program's word for."""

from __future__ import annotations

import ast

from .. import core, decl
from ..convert import describe, number, refuse_maybe, resolve
from ..items import Item, Num, Pointer, Py, Ref
from ..scope import Fn
from ..types import U64, VOID, Ptr, Space, Struct
from . import kfuncs


def type_id(f: Fn, node: ast.Call) -> Item:
    """`bp.type_id("task_struct")`: its id in the kernel that loads the program; of a declared struct, its id
    in the object."""
    from ..calls import arguments

    (item,) = arguments(f, node, "type_id(type)", 1, 1)
    if isinstance(item, Py) and isinstance(item.obj, decl.StructType) and not item.obj._core_:
        own = decl.ir_type(item.obj)
        assert isinstance(own, Struct)
        return Num(f.b.type_info("local_id", own))
    return Num(f.b.type_info("kernel_id", core.struct_of(f, item, node.args[0])))


def rdonly_cast(f: Fn, node: ast.Call) -> Item:
    """`bp.rdonly_cast("sk_buff", p)`: read directly, with the kernel's checks of each load."""
    from ..calls import arguments

    of, address = arguments(f, node, "rdonly_cast(type, address)", 2, 2)
    if isinstance(of, Py) and isinstance(of.obj, decl.StructType) and not of.obj._core_:
        f.fail(
            node.args[0],
            f"rdonly_cast is for structs of the kernel, and {of.obj.__name__} is yours",
            f"write bp.cast({of.obj.__name__}, p)",
        )
    struct = core.struct_of(f, of, node.args[0])
    address = resolve(f, address, node.args[1])
    refuse_maybe(f, address, node.args[1])
    if isinstance(address, (Pointer, Ref)):
        value = address.v if isinstance(address, Pointer) else address.ptr
        assert isinstance(value.type, Ptr)
        if value.type.space not in (Space.KERNEL, Space.TRUSTED):
            f.fail(
                node.args[1],
                f"rdonly_cast takes an address in the kernel, and this is {describe(address)} "
                f"in {value.type.space.value}",
            )
    else:
        value = number(f, address, node.args[1])
    extern, _ = kfuncs.checked(f, "bpf_rdonly_cast", node)
    b = f.b
    at = b.recast(b.recast(value, U64), Ptr(VOID, Space.KERNEL))
    return Pointer(b.kfunc(extern, at, b.type_info("kernel_id", struct), type=Ptr(struct, Space.TRUSTED)))
