"""Steps of calls to helpers: their arguments are checked against the prototype, and what comes back is
known by it.
"""

from __future__ import annotations

from probee.isa.helpers import BY_ID, Prototype
from probee.isa.insn import CALL, JMP
from probee.verifier import regions, stack
from probee.verifier.access import access
from probee.verifier.alu import read
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.map_rules import check_map_for_helper
from probee.verifier.precision import Masks, mark_precise, trace
from probee.verifier.scalars import S32_MIN, U64, UNKNOWN, const, sync
from probee.verifier.state import (
    ALL_SPILL,
    ALLOC,
    BASE,
    BTF_ID,
    BUF,
    CTX,
    DYNPTR,
    FUNC,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NON_OWN_REF,
    NOT_INIT,
    PACKET,
    PACKET_META,
    PERCPU,
    RCU,
    RDONLY,
    REF_PTR,
    RINGBUF,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    SPILL,
    STACK,
    TCP_SOCK,
    TRUSTED,
    UNINIT,
    UNKNOWN_REG,
    XDP_SOCK,
    ZERO,
    Reg,
    pointer,
    scalar,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.fields import Field
    from probee.verifier.program import MapInfo
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

MAX_SIZE = 1 << 29
_MEM_TYPES = (STACK, PACKET, PACKET_META, MAP_KEY, MAP_VALUE, MEM, MEM | RINGBUF, BUF, BTF_ID | TRUSTED)
_SOCK_TYPES = (SOCK_COMMON, SOCKET, TCP_SOCK, XDP_SOCK)
_BTF_TYPES = (BTF_ID, BTF_ID | TRUSTED, BTF_ID | RCU)
ACCEPTED: dict[str, tuple[int, ...]] = {
    "map_key": _MEM_TYPES,
    "map_value": _MEM_TYPES,
    "mem": _MEM_TYPES,
    "size": (SCALAR,),
    "size_or_zero": (SCALAR,),
    "alloc_size_or_zero": (SCALAR,),
    "scalar": (SCALAR,),
    "const_map_ptr": (MAP_PTR,),
    "ctx": (CTX,),
    "sock_common": _SOCK_TYPES,
    "btf_sock_common": (*_SOCK_TYPES, BTF_ID, BTF_ID | TRUSTED),
    "socket": (SOCKET,),
    "btf": _BTF_TYPES,
    "spin_lock": (MAP_VALUE, BTF_ID | ALLOC),
    "ringbuf_mem": (MEM | RINGBUF,),
    "percpu": (BTF_ID | PERCPU, BTF_ID | PERCPU | RCU, BTF_ID | PERCPU | TRUSTED),
    "func": (FUNC,),
    "stack": (STACK,),
    "const_str": (MAP_VALUE,),
    "timer": (MAP_VALUE,),
    "kptr_xchg_dest": (MAP_VALUE, BTF_ID | ALLOC),
    "dynptr": (STACK, DYNPTR),
}
TAIL_CALL, SPIN_LOCK, SPIN_UNLOCK, KPTR_XCHG = 12, 93, 94, 194
GET_LOCAL_STORAGE, SK_RELEASE, SNPRINTF, LOOP = 81, 86, 165, 181
_MAY_UPDATE_MAP = {1, 2, 3, 12, 51, 87, 88, 89, 164, 195}
_CHANGING_MAP = {2, 3, 87, 88}
_CASTS = {96, 95, 136, 137, 138, 139, 140, 196}
_SIZED_RESULT = {67, 141, 45, 115, 114}
_STORAGE_GET = {107, 145, 156, 210}
SMP_PROCESSOR_ID = 8


class Arguments:
    """What checking the arguments of one call found out."""

    __slots__ = (
        "const_key",
        "dynptr_id",
        "dynptr_ref",
        "field",
        "func",
        "map",
        "mem_size",
        "name",
        "number",
        "proto",
        "raw",
        "raw_pending",
        "ref",
        "release",
        "ret_btf",
        "ret_btf_id",
        "size_max",
        "uid",
    )

    def __init__(self, proto: Prototype) -> None:
        self.proto = proto
        self.name = proto.name
        self.number = proto.id
        self.map: MapInfo | None = None
        self.uid = 0
        self.raw: list[tuple[int, int]] = []
        self.raw_pending = False
        self.release = 0
        self.ref = 0
        self.mem_size = 0
        self.size_max = 0
        self.func = -1
        self.const_key = -1
        self.field: Field | None = None
        self.dynptr_id = 0
        self.dynptr_ref = 0
        self.ret_btf: object = None
        self.ret_btf_id = 0


def check_memory(
    w: Walk,
    number: int,
    size: int,
    *,
    write: bool,
    zero_allowed: bool,
    raw: list[tuple[int, int]] | None = None,
) -> None:
    """A helper may read or write `size` bytes at the pointer in register `number`.

    Raises:
        Reject: it may not.
    """
    reg = w.regs[number]
    base = reg.type & BASE
    if base in (PACKET, PACKET_META):
        regions.check_packet(w, reg, number, reg.off, size, zero_allowed=zero_allowed)
    elif base == MAP_KEY:
        assert reg.map is not None
        if write:
            raise Reject(f"R{number} cannot write into {type_name(reg.type)}")
        regions.check_region(reg, number, reg.off, size, reg.map.key_size)
    elif base == MAP_VALUE:
        regions.check_map_flags(reg, reg.off, size, write)
        regions.check_map_value(w, reg, number, reg.off, size, zero_allowed=zero_allowed, helper=True)
    elif base == MEM:
        if write and reg.type & RDONLY:
            raise Reject(f"R{number} cannot write into {type_name(reg.type)}")
        regions.check_region(reg, number, reg.off, size, reg.size, zero_allowed=zero_allowed)
    elif base == BUF:
        if write and reg.type & RDONLY:
            raise Reject(f"R{number} cannot write into {type_name(reg.type)}")
        regions.check_buffer(reg, number, reg.off, size, zero_allowed=zero_allowed)
    elif base == STACK:
        stack.check_range(
            w, reg, number, reg.off, size, zero_allowed=zero_allowed, writes=write, raw=raw, helper=True
        )
    elif base == BTF_ID:
        w.context.btf_access(w, reg, number, reg.off, size, write=False, dst=-1, value=-1)
    elif base == CTX and w.context.ctx_is_memory:
        if size == 0:
            if zero_allowed:
                return
            raise Reject(f"R{number} invalid zero-sized read")
        access(w, reg, number, size - 1, 1, write=write)
    else:
        if zero_allowed and size == 0 and is_null(reg):
            return
        raise Reject(f"R{number} type={type_name(reg.type)} expected=fp")


def is_null(reg: Reg) -> bool:
    return reg.type == SCALAR and not reg.num.mask and not reg.num.value


def check_size(
    w: Walk, number: int, *, write: bool, zero_allowed: bool, raw: list[tuple[int, int]] | None
) -> int:
    """Register `number` is the size of the memory that the register before points to. Its greatest value.

    Raises:
        Reject: it may be negative, zero or too much.
    """
    num = w.regs[number].num
    if num.mask:
        raw = None
    if num.smin < 0:
        raise Reject(f"R{number} min value is negative, either use unsigned or 'var &= const'")
    if num.umin == 0 and not zero_allowed:
        raise Reject(f"R{number} invalid zero-sized read: u64=[{num.umin},{num.umax}]")
    if num.umax >= MAX_SIZE:
        raise Reject(f"R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'")
    check_memory(w, number - 1, num.umax, write=write, zero_allowed=zero_allowed, raw=raw)
    mark_precise(w, number)
    return num.umax


def check_kfunc_size(w: Walk, number: int) -> None:
    """Like `check_size`, for memory that a kernel function both reads and writes."""
    reg = w.regs[number - 1]
    if reg.type & MAYBE_NULL:
        from probee.verifier.jumps import not_null

        w.regs[number - 1] = not_null(w, reg)
    try:
        check_size(w, number, write=False, zero_allowed=True, raw=None)
        check_size(w, number, write=True, zero_allowed=True, raw=None)
    finally:
        w.regs[number - 1] = reg


def check_type(
    w: Walk, number: int, kind: str, nullable: bool, readonly: bool, args: Arguments | None
) -> None:
    """The register's type is one that the kind of argument takes.

    Raises:
        Reject: it isn't.
    """
    reg = w.regs[number]
    key = kind.partition(":")[0]
    type = reg.type
    if readonly:
        type &= ~RDONLY
    if nullable:
        type &= ~MAYBE_NULL
    if args is not None and args.number == KPTR_XCHG and number == 2 and type & ALLOC:
        type &= ~(ALLOC | PERCPU)
    allowed = ACCEPTED.get(key)
    if allowed is None:
        raise Unsupported(f"helper arguments of kind {kind}")
    if type not in allowed:
        names = ", ".join(type_name(item) for item in allowed)
        raise Reject(f"R{number} type={type_name(reg.type)} expected={names}")
    if reg.type & BASE != BTF_ID:
        return
    if allowed is _MEM_TYPES:
        if not readonly:
            name = args.name if args is not None else ""
            raise Reject(f"{name}() may write into memory pointed by R{number} type={type_name(reg.type)}")
        return
    if reg.type & (ALLOC | PERCPU):
        if args is not None and args.number == KPTR_XCHG and number == 2:
            w.context.kptr_match(w, args.field, reg, number)
        return
    release = args is not None and args.release == number
    if reg.type & MAYBE_NULL and (not nullable or release):
        raise Reject(f"Possibly NULL pointer passed to helper arg{number}")
    if args is not None and args.number == KPTR_XCHG:
        w.context.kptr_match(w, args.field, reg, number)
        return
    wanted = kind.partition(":")[2] or "sock_common"
    strict = release and args is not None and args.number != SK_RELEASE
    w.context.check_btf_type(reg, number, wanted, strict=strict)


_ANY_OFFSET = {
    STACK,
    PACKET,
    PACKET_META,
    MAP_KEY,
    MAP_VALUE,
    MEM,
    MEM | RDONLY,
    MEM | RINGBUF,
    BUF,
    BUF | RDONLY,
    21,
    SCALAR,
}
_FIXED_OFFSET = {
    BTF_ID,
    BTF_ID | ALLOC,
    BTF_ID | TRUSTED,
    BTF_ID | RCU,
    BTF_ID | ALLOC | NON_OWN_REF,
    BTF_ID | ALLOC | NON_OWN_REF | RCU,
}


def check_argument_offset(w: Walk, number: int, *, release: bool = False, dynptr: bool = False) -> None:
    """The pointer may be given with the offset it has."""
    reg = w.regs[number]
    if release:
        if dynptr and reg.type == STACK:
            return
        if reg.off:
            raise Reject(
                f"R{number} must have zero offset when passed to release func or trusted arg to kfunc"
            )
        regions.check_offset(reg, number)
        return
    if reg.type in _ANY_OFFSET:
        return
    regions.check_offset(reg, number, fixed_allowed=reg.type in _FIXED_OFFSET)


def make(w: Walk, index: int, insn: Insn) -> Step:
    """The step of a helper call."""
    number = insn.imm
    following = index + 1
    known = w.helpers.get(number)
    if known is not None:
        proto, name = known

        def known_step() -> int:
            return call(w, index, proto, name, following)

        return known_step
    return _first_of(w, index, number)


def _first_of(w: Walk, index: int, number: int) -> Step:
    """… where the helper is called for the first time: whether it may be."""
    proto = BY_ID.get(number)
    name = f"{'bpf_' + proto.name if proto else 'unknown'}#{number}"
    if proto is None or not w.context.knows_helper(proto):
        return _refuse(f"invalid func {name}")
    if not w.context.may_call(proto):
        return _refuse(f"program of this type cannot use helper {name}")
    proto = w.context.prototype(proto)
    if proto.gpl and not w.context.program.gpl:
        return _refuse("cannot call GPL-restricted function from non-GPL compatible program")
    w.helpers[number] = (proto, name)
    following = index + 1

    def step() -> int:
        return call(w, index, proto, name, following)

    return step


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


def call(w: Walk, index: int, proto: Prototype, name: str, following: int) -> int:
    """One call of a helper."""
    state = w.state
    if proto.sleeps:
        if not w.sleepable:
            raise Reject("helper call might sleep in a non-sleepable prog")
        if state.rcu:
            raise Reject(f"sleepable helper {name} in rcu_read_lock region")
        if state.preempt:
            raise Reject(f"sleepable helper {name} in non-preemptible region")
        if state.irq_id:
            raise Reject(f"sleepable helper {name} in IRQ-disabled region")
    args = Arguments(proto)
    kinds = proto.args
    for at, kind in enumerate(kinds):
        check_argument(w, at + 1, kind, kinds[at - 1] if at else "", args)
    _check_map_use(args)
    if proto.id == TAIL_CALL and args.map is not None:
        reg = w.regs[3]
        if reg.type == SCALAR and not reg.num.mask and reg.num.value < args.map.max_entries:
            mark_precise(w, 3)
    for number, size in args.raw:
        for at in range(size):
            access(w, w.regs[number], number, at, 1, write=True)
    return effects.apply(w, index, args, following)


def _check_map_use(args: Arguments) -> None:
    info = args.map
    if info is None or args.number not in _MAY_UPDATE_MAP:
        return
    if info.flags & regions.RDONLY_PROG and args.number in _CHANGING_MAP:
        raise Reject("write into map forbidden")


def check_argument(w: Walk, number: int, kind: str, before: str, args: Arguments) -> None:
    """Register `number` against one kind of argument."""
    reg = read(w.regs, number)
    if kind == "anything":
        return
    asked = _asked.get(kind)
    if asked is None:
        asked = _asked[kind] = _parse(kind)
    kind, release, nullable, raw, writes, key, fixed = asked
    if reg.type & BASE in (PACKET, PACKET_META) and not w.context.may_touch_packet(
        w, write=False, proto=args.proto
    ):
        raise Reject("helper access to the packet is not allowed")
    if key == "map_value":
        if args.map is None:
            raise Reject("invalid map_ptr to access map->type")
        if args.map.type in (15, 18) and not raw:
            key = "btf_sock_common"
        elif args.map.type == 30 and args.name == "map_peek_elem":
            raw = writes = False
    if release:
        args.release = number
    if nullable and is_null(reg):
        mark_precise(w, number)
    else:
        check_type(w, number, key, nullable, readonly=not writes and key in _READ_KINDS, args=args)
        check_argument_offset(w, number, release=release, dynptr=key.startswith("dynptr"))
    if release:
        if key.startswith("dynptr"):
            if reg.type != STACK:
                raise Reject("cannot release unowned const bpf_dynptr")
            slot = stack.frame_of(w, reg).stack.get((-(reg.off + reg.num.smin) - 1) >> 3)
            if slot is None or not slot.reg.ref or slot.kinds[0] != 4:
                raise Reject(f"arg {number} is an unacquired reference")
        elif not reg.ref and not is_null(reg):
            raise Reject(f"R{number} must be referenced when passed to release function")
    if reg.ref and key != "kptr_xchg_dest":
        args.ref = reg.ref
    if key == "const_map_ptr":
        if args.map is not None and (args.map is not reg.map or args.uid != reg.uid):
            raise Reject(
                f"timer pointer in R1 map_uid={args.uid} doesn't match map pointer in R2 map_uid={reg.uid}"
            )
        args.map, args.uid = reg.map, reg.uid
    elif key == "map_key":
        if args.map is None:
            raise Reject("invalid map_ptr to access map->key")
        check_memory(w, number, args.map.key_size, write=False, zero_allowed=False)
        if args.map.type in (2, 6) and w.context.at_least(6, 15):
            args.const_key = _constant_key(w, w.regs[number], args.map.key_size)
    elif key == "map_value":
        if nullable and is_null(reg):
            return
        assert args.map is not None
        check_memory(
            w,
            number,
            args.map.value_size,
            write=writes,
            zero_allowed=False,
            raw=args.raw if raw else None,
        )
    elif key == "mem":
        args.raw_pending = raw
        if fixed:
            check_memory(w, number, fixed, write=writes, zero_allowed=False, raw=args.raw if raw else None)
            if args.name in _ALIGNED:
                regions.check_alignment(w, reg, 0, fixed, strict_once=True)
    elif key in ("size", "size_or_zero"):
        pointed = before.rstrip("?")
        args.size_max = w.regs[number].num.umax
        check_size(
            w,
            number,
            write=pointed.startswith(("uninit_", "write_")),
            zero_allowed=key == "size_or_zero",
            raw=args.raw if args.raw_pending else None,
        )
    elif key == "alloc_size_or_zero":
        if reg.num.mask:
            raise Reject(f"R{number} is not a known constant'")
        args.mem_size = reg.num.value
        mark_precise(w, number)
    elif key == "func":
        assert reg.detail is not None
        args.func = int(str(reg.detail[0]))
    elif key == "percpu":
        args.ret_btf, args.ret_btf_id = reg.btf, reg.btf_id
    else:
        special.check(w, number, reg, key, kind, args)


_asked: dict[str, tuple[str, bool, bool, bool, bool, str, int]] = {}


def _parse(kind: str) -> tuple[str, bool, bool, bool, bool, str, int]:
    """(kind without its marks, "release:", "?", whether the memory is only written, whether written at all,
    the kind of memory, its size if that is fixed).
    """
    release = kind.startswith("release:")
    if release:
        kind = kind[8:]
    nullable = kind.endswith("?")
    kind = kind.rstrip("?")
    raw = kind.startswith("uninit_") and not kind.startswith("uninit_dynptr")
    writes = raw or kind.startswith("write_")
    key = kind
    if raw:
        key = kind[7:]
    elif kind.startswith("write_"):
        key = kind[6:]
    fixed = 0
    if key.startswith("mem["):
        fixed = int(key[4:-1])
        key = "mem"
    if key.startswith("uninit_dynptr"):
        key = key[7:]
    return kind, release, nullable, raw, writes, key, fixed


_READ_KINDS = {"mem", "map_key", "map_value"}
_ALIGNED = {"strtol", "strtoul", "check_mtu", "csum_diff", "get_func_arg", "get_func_ret"}


def _constant_key(w: Walk, reg: Reg, size: int) -> int:
    """The key that is on the stack, where it is a known number; -1 otherwise."""
    if reg.type != STACK or reg.num.mask:
        return -1
    off = reg.off + reg.num.smin
    spi = (-off - 1) >> 3
    frame = stack.frame_of(w, reg)
    slot = frame.stack.get(spi)
    if slot is None:
        return -1
    at = off & 7
    part = slot.kinds[at:]
    zeros = len(part) - len(part.lstrip(bytes([ZERO])))
    if zeros >= size:
        return 0
    if slot.kinds[0] != SPILL or slot.reg.type != SCALAR:
        return -1
    spilled = len(part) - len(part.lstrip(bytes([SPILL])))
    if spilled != size or slot.reg.num.mask:
        return -1
    masks = Masks(len(w.state.frames) - 1)
    masks.slots[frame.number] = 1 << spi
    trace(w, w.state, w.index, masks)
    return slot.reg.num.value


__all__ = [
    "ALL_SPILL",
    "CALL",
    "JMP",
    "NOT_INIT",
    "REF_PTR",
    "S32_MIN",
    "U64",
    "UNINIT",
    "UNKNOWN",
    "UNKNOWN_REG",
    "check_map_for_helper",
    "const",
    "pointer",
    "scalar",
    "sync",
]

from probee.verifier import effects, special  # noqa: E402 (they import this module)
