"""Loads and stores of contexts as registers: what `context_rules` allows becomes a type here."""

from __future__ import annotations

from probee.verifier import context_rules
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.scalars import S32_MAX, S32_MIN, U32, U64, sync
from probee.verifier.state import (
    BTF_ID,
    BUF,
    FLOW_KEYS,
    MAYBE_NULL,
    PACKET,
    PACKET_END,
    PACKET_META,
    SOCK_COMMON,
    SOCKET,
    TCP_SOCK,
    TP_BUFFER,
    TRUSTED,
    UNKNOWN_REG,
    Reg,
    pointer,
    scalar,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk

_KINDS = {
    "packet": PACKET,
    "packet_meta": PACKET_META,
    "packet_end": PACKET_END,
    "flow_keys": FLOW_KEYS,
    "sock": SOCKET,
    "sock_common": SOCK_COMMON,
    "tcp_sock": TCP_SOCK,
    "tp_buffer": TP_BUFFER,
    "buf": BUF,
}
TYPED = {"tracing", "lsm", "struct_ops", "ext"}


def access(
    context: Context, w: Walk, reg: Reg, off: int, size: int, *, write: bool, signed: bool
) -> Reg | None:
    """What a load of the context gives (None for a store).

    Raises:
        Reject: the program may not touch these bytes so.
        Unsupported: contexts of this type of program aren't known.
    """
    if context.kind in TYPED:
        from probee.verifier import typed_arguments

        return typed_arguments.access(context, w, off, size, write=write)
    if not context.kind or context.kind not in context_rules._RULES:
        raise Unsupported(f"contexts of program type {context.program.prog_type}")
    found = context_rules.access(
        context.kind, context.attach, off, size, write=write, signed=signed, kernel=context.kernel
    )
    if found is None:
        raise Reject(f"invalid bpf_context access off={off} size={size}")
    if write:
        return None
    return _reg(context, w, found)


def _reg(context: Context, w: Walk, found: context_rules.Access) -> Reg:
    kind = found.kind
    if kind == "scalar":
        return UNKNOWN_REG
    null = MAYBE_NULL if found.maybe_null else 0
    id = w.new_id() if null else 0
    if kind in _KINDS:
        return pointer(_KINDS[kind] | null, id=id)
    if kind == "btf":
        btf, type_id = context.kernel_type(found.name)
        return pointer(BTF_ID | null | (TRUSTED if found.trusted else 0), btf=btf, btf_id=type_id, id=id)
    raise Unsupported(f"a context field that gives {kind}")


def sock_access(context: Context, base: int, off: int, size: int) -> bool:
    """Whether these bytes of a socket may be read."""
    if base == TCP_SOCK:
        return context_rules.tcp_sock(off, size) is not None
    if base == SOCK_COMMON:
        return context_rules.sock(off, size, common=True) is not None
    if base == SOCKET:
        return context_rules.sock(off, size) is not None
    return context_rules.xdp_sock(off, size) is not None


def ranged(low: int, high: int) -> Reg:
    """A number in a range."""
    return scalar(sync(0, U64, low, high, 0, U64, max(low, S32_MIN), min(high, S32_MAX), 0, U32))
