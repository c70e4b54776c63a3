"""Arguments of tracing, LSM and struct_ops programs as registers."""

from __future__ import annotations

from probee.verifier.errors import Reject, Unsupported
from probee.verifier.scalars import U32, U64, sync
from probee.verifier.state import (
    BTF_ID,
    BUF,
    MAYBE_NULL,
    PERCPU,
    RCU,
    RDONLY,
    TRUSTED,
    UNKNOWN_REG,
    USER,
    Reg,
    pointer,
    scalar,
)
from probee.verifier.typed_context import typed_access

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk

_TAGS = {"user": USER, "percpu": PERCPU, "rcu": RCU}


def access(context: Context, w: Walk, off: int, size: int, *, write: bool) -> Reg | None:
    """What a load of an argument gives.

    Raises:
        Reject: there is no such argument.
    """
    target = context.target
    if target is None:
        raise Unsupported("arguments of a function that the kernel's BTF doesn't have")
    found, words = typed_access(target, context.program, off, size, write=write)
    if found is None:
        before = f"{words}\n" if words else ""
        raise Reject(f"{before}invalid bpf_context access off={off} size={size}")
    if write:
        return None
    if found.kind == "scalar":
        if found.retval and target.kind == "lsm":
            low, high = context.retval_range() or (-(1 << 31), (1 << 31) - 1)
            return scalar(sync(0, U64, low, high, 0, U64, low, high, 0, U32))
        return UNKNOWN_REG
    flags = (MAYBE_NULL if found.maybe_null else 0) | (TRUSTED if found.trusted else 0)
    flags |= RDONLY if found.rdonly else 0
    id = w.new_id() if found.maybe_null else 0
    if found.kind == "buf":
        return pointer(BUF | flags, id=id)
    flags |= _TAGS.get(found.tag, 0)
    return pointer(BTF_ID | flags, btf=target.btf, btf_id=found.btf_id, id=id)
