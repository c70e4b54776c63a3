"""Bounds of what pointers point to: map values, memory, packets, contexts, buffers, sockets."""

from __future__ import annotations

from probee.verifier import tnum
from probee.verifier.errors import Reject
from probee.verifier.scalars import S64_MIN, U64
from probee.verifier.state import (
    ARENA,
    BASE,
    CTX,
    FLOW_KEYS,
    MAP_KEY,
    MAP_VALUE,
    PACKET,
    PACKET_END,
    PACKET_META,
    RDONLY,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    XDP_SOCK,
    Reg,
    type_name,
)
from probee.verifier.text import bits_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

MAX_OFFSET = 1 << 29
_ALIGNED_WORDS = {
    FLOW_KEYS: "flow keys ",
    MAP_KEY: "key ",
    MAP_VALUE: "value ",
    CTX: "context ",
    STACK: "stack ",
    SOCKET: "sock ",
    SOCK_COMMON: "sock_common ",
    TCP_SOCK: "tcp_sock ",
    XDP_SOCK: "xdp_sock ",
}
RDONLY_PROG, WRONLY_PROG = 1 << 7, 1 << 8  # BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG


def check_alignment(w: Walk, reg: Reg, off: int, size: int, *, strict_once: bool = False) -> None:
    """Raises Reject for a misaligned access, where alignment is asked for (the stack always does)."""
    base = reg.type & BASE
    strict = w.context.strict_alignment or strict_once or base == STACK
    if not strict or size == 1 or base == ARENA:
        return
    num = reg.num
    fixed = reg.off + off
    packet = base in (PACKET, PACKET_META)
    if packet:
        fixed += 2
    if not num.mask:
        aligned = not num.value + fixed & size - 1
    else:
        aligned = tnum.is_aligned(tnum.add((num.value, num.mask), (fixed & U64, 0)), size)
    if not aligned:
        word = "packet " if packet else _ALIGNED_WORDS.get(base, "")
        two = "2+" if packet else ""
        raise Reject(f"misaligned {word}access off {two}{bits_text(num)}+{reg.off}+{off} size {size}")


def _inside(off: int, size: int, limit: int, zero_allowed: bool) -> bool:
    return off >= 0 and (size > 0 or (size == 0 and zero_allowed)) and off + size <= limit


def _outside(reg: Reg, number: int, off: int, size: int, limit: int) -> str:
    base = reg.type & BASE
    if base == MAP_KEY:
        return f"invalid access to map key, key_size={limit} off={off} size={size}"
    if base == MAP_VALUE:
        return f"invalid access to map value, value_size={limit} off={off} size={size}"
    if base in (PACKET, PACKET_META, PACKET_END):
        return f"invalid access to packet, off={off} size={size}, R{number}(id={reg.id},off={off},r={limit})"
    return f"invalid access to memory, mem_size={limit} off={off} size={size}"


def check_region(
    reg: Reg, number: int, off: int, size: int, limit: int, *, zero_allowed: bool = False
) -> None:
    """[pointer + off, + size) is within a region of `limit` bytes, for every value of the variable offset."""
    num = reg.num
    low = num.smin
    if low < 0 and (low == S64_MIN or not -(1 << 31) <= off + low < 1 << 31 or low + off < 0):
        raise Reject(
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check."
        )
    if not _inside(low + off, size, limit, zero_allowed):
        raise Reject(
            f"{_outside(reg, number, low + off, size, limit)}\n"
            f"R{number} min value is outside of the allowed memory range"
        )
    if num.umax >= MAX_OFFSET:
        raise Reject(f"R{number} unbounded memory access, make sure to bounds check any such access")
    if not _inside(num.umax + off, size, limit, zero_allowed):
        raise Reject(
            f"{_outside(reg, number, num.umax + off, size, limit)}\n"
            f"R{number} max value is outside of the allowed memory range"
        )


def check_map_flags(reg: Reg, off: int, size: int, write: bool) -> None:
    """Raises Reject for what the map's flags keep programs from."""
    assert reg.map is not None
    flags, value_size = reg.map.flags, reg.map.value_size
    if write and flags & RDONLY_PROG:
        raise Reject(f"write into map forbidden, value_size={value_size} off={off} size={size}")
    if not write and flags & WRONLY_PROG:
        raise Reject(f"read from map forbidden, value_size={value_size} off={off} size={size}")


def check_map_value(
    w: Walk, reg: Reg, number: int, off: int, size: int, *, zero_allowed: bool = False, helper: bool = False
) -> None:
    """The bytes are in the map's value and touch none of its special fields (kernel pointers may be loaded
    whole).
    """
    assert reg.map is not None
    check_region(reg, number, off, size, reg.map.value_size, zero_allowed=zero_allowed)
    record = w.context.record(reg.map)
    if not record.fields:
        return
    low, high = reg.num.smin + off, reg.num.umax + off + size
    for field in record.fields:
        if low < field.offset + field.size and field.offset < high:
            if field.kind.startswith(("kptr", "uptr")):
                if helper:
                    raise Reject(f"{_kptr_word(field.kind)} cannot be accessed indirectly by helper")
                if reg.num.mask:
                    raise Reject(f"{_kptr_word(field.kind)} access cannot have variable offset")
                if field.offset != off + reg.num.smin:
                    raise Reject(
                        f"{_kptr_word(field.kind)} access misaligned expected={field.offset} "
                        f"off={off + reg.num.smin}"
                    )
                if size != 8:
                    raise Reject(f"{_kptr_word(field.kind)} access size must be BPF_DW")
                continue
            raise Reject(f"{FIELD_NAMES[field.kind]} cannot be accessed directly by load/store")


def _kptr_word(kind: str) -> str:
    return "uptr" if kind == "uptr" else "kptr"


FIELD_NAMES = {
    "spin_lock": "bpf_spin_lock",
    "res_spin_lock": "bpf_res_spin_lock",
    "timer": "bpf_timer",
    "wq": "bpf_wq",
    "task_work": "bpf_task_work",
    "list_head": "bpf_list_head",
    "list_node": "bpf_list_node",
    "rb_root": "bpf_rb_root",
    "rb_node": "bpf_rb_node",
    "refcount": "bpf_refcount",
    "kptr_unref": "kptr",
    "kptr_ref": "kptr",
    "kptr_percpu": "percpu_kptr",
    "uptr": "uptr",
}


def check_packet(w: Walk, reg: Reg, number: int, off: int, size: int, *, zero_allowed: bool = False) -> None:
    if reg.num.smin < 0:
        raise Reject(
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check."
        )
    if reg.range < 0 or not _inside(off, size, reg.range, zero_allowed):
        raise Reject(
            f"{_outside(reg, number, off, size, reg.range)}\nR{number} offset is outside of the packet"
        )


def check_offset(reg: Reg, number: int, *, fixed_allowed: bool = False) -> None:
    """The pointer points to the object's beginning (or a fixed place in it)."""
    name = type_name(reg.type)
    if reg.off < 0:
        raise Reject(f"negative offset {name} ptr R{number} off={reg.off} disallowed")
    if not fixed_allowed and reg.off:
        raise Reject(f"dereference of modified {name} ptr R{number} off={reg.off} disallowed")
    if reg.num.mask or reg.num.value:
        raise Reject(f"variable {name} access var_off={bits_text(reg.num)} disallowed")


def check_buffer(reg: Reg, number: int, off: int, size: int, *, zero_allowed: bool, name: str = "") -> None:
    """A buffer whose size the kernel checks when the program is attached: only fixed places."""
    word = name or ("rdonly" if reg.type & RDONLY else "rdwr")
    if off < 0:
        raise Reject(f"R{number} invalid {word} buffer access: off={off}, size={size}")
    if reg.num.mask or reg.num.value:
        raise Reject(f"R{number} invalid variable buffer offset: off={off}, var_off={bits_text(reg.num)}")
