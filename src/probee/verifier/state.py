"""What is known at one point of one path: registers, stack slots, frames, held references and locks.

`Reg` and `Slot` are immutable and shared between states; a `Frame` holds a list of one and a dict of the
other and is copied when the path forks.
"""

from __future__ import annotations

from probee.verifier.scalars import UNKNOWN, Num, const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.program import MapInfo

# What a register holds. The low byte of `Reg.type`.
(
    NOT_INIT,
    SCALAR,
    CTX,
    MAP_PTR,
    MAP_VALUE,
    MAP_KEY,
    STACK,
    PACKET,
    PACKET_META,
    PACKET_END,
    FLOW_KEYS,
    SOCKET,
    SOCK_COMMON,
    TCP_SOCK,
    TP_BUFFER,
    XDP_SOCK,
    BTF_ID,
    MEM,
    BUF,
    FUNC,
    DYNPTR,
    ARENA,
    INSN,
) = range(23)
BASE = 0xFF
# … and what qualifies it.
MAYBE_NULL = 1 << 8
RDONLY = 1 << 9
RINGBUF = 1 << 10
USER = 1 << 11
PERCPU = 1 << 12
RCU = 1 << 13
UNTRUSTED = 1 << 14
TRUSTED = 1 << 15
ALLOC = 1 << 16
NON_OWN_REF = 1 << 17
WRITE_ONLY = 1 << 18

_NAMES = {
    NOT_INIT: "?",
    SCALAR: "scalar",
    CTX: "ctx",
    MAP_PTR: "map_ptr",
    MAP_VALUE: "map_value",
    MAP_KEY: "map_key",
    STACK: "fp",
    PACKET: "pkt",
    PACKET_META: "pkt_meta",
    PACKET_END: "pkt_end",
    FLOW_KEYS: "flow_keys",
    SOCKET: "sock",
    SOCK_COMMON: "sock_common",
    TCP_SOCK: "tcp_sock",
    TP_BUFFER: "tp_buffer",
    XDP_SOCK: "xdp_sock",
    BTF_ID: "ptr_",
    MEM: "mem",
    BUF: "buf",
    FUNC: "func",
    DYNPTR: "dynptr_ptr",
    ARENA: "arena",
    INSN: "insn",
}
_PREFIXES = (
    (RDONLY, "rdonly_"),
    (RINGBUF, "ringbuf_"),
    (USER, "user_"),
    (PERCPU, "percpu_"),
    (RCU, "rcu_"),
    (UNTRUSTED, "untrusted_"),
    (TRUSTED, "trusted_"),
)


def type_name(type: int) -> str:
    """The kernel's word for a register's type: "map_value_or_null", "trusted_ptr_"."""
    prefix = "".join(text for flag, text in _PREFIXES if type & flag)
    base = type & BASE
    tail = ""
    if type & MAYBE_NULL:
        tail = "or_null_" if base == BTF_ID else "_or_null"
    return prefix + _NAMES[base] + tail


ADD_CONST = 1 << 31  # in the id of a scalar that is another one plus `off`
BEYOND_PACKET_END, AT_PACKET_END = -1, -2


class Reg:
    """What a register (or a spilled one) holds.

    `num` is the number of a scalar and the variable offset of a pointer, `off` a pointer's fixed
    offset. `id` ties together registers that hold the same, `ref` is the reference the pointer stands
    for. `range` counts the packet's bytes known to be there. `size` is that of a block of memory, `map`
    and `uid` those of map pointers, keys and values. `btf` and `btf_id` type a BTF pointer. `frame` is
    a stack pointer's frame. `detail` belongs to dynptrs, iterators and functions.
    """

    __slots__ = (
        "btf",
        "btf_id",
        "detail",
        "frame",
        "id",
        "map",
        "num",
        "off",
        "range",
        "ref",
        "size",
        "type",
        "uid",
    )

    def __init__(self, type: int, num: Num) -> None:
        self.type = type
        self.num = num
        self.off = 0
        self.id = 0
        self.ref = 0
        self.range = 0
        self.size = 0
        self.map: MapInfo | None = None
        self.uid = 0
        self.btf: Btf | None = None
        self.btf_id = 0
        self.frame = 0
        self.detail: tuple[object, ...] | None = None

    def but(self, **changes: object) -> Reg:
        """A copy with some fields changed."""
        new = self.moved(self.off)
        for name in changes:
            setattr(new, name, changes[name])
        return new

    def moved(self, off: int) -> Reg:
        """The same pointer at another fixed offset."""
        new = _new(Reg)
        new.type = self.type
        new.num = self.num
        new.off = off
        new.id = self.id
        new.ref = self.ref
        new.range = self.range
        new.size = self.size
        new.map = self.map
        new.uid = self.uid
        new.btf = self.btf
        new.btf_id = self.btf_id
        new.frame = self.frame
        new.detail = self.detail
        return new

    @property
    def base(self) -> int:
        return self.type & BASE

    def __repr__(self) -> str:
        if self.type == SCALAR:
            return f"Reg({self.num!r}, id={self.id & ~ADD_CONST})"
        return f"Reg({type_name(self.type)}, off={self.off}, num={self.num!r}, id={self.id}, ref={self.ref})"


_new = object.__new__
_scalars: dict[Num, Reg] = {}


def scalar(num: Num) -> Reg:
    """The scalar register with that number and no ties to others; one object for each number."""
    reg = _scalars.get(num)
    if reg is None:
        if len(_scalars) > 100_000:
            _scalars.clear()
        reg = _scalars[num] = Reg(SCALAR, num)
    return reg


_known: dict[int, Reg] = {}


def constant(value: int) -> Reg:
    """The scalar register that holds `value`, any integer of which the low 64 bits count."""
    reg = _known.get(value)
    if reg is None:
        if len(_known) > 50_000:
            _known.clear()
        reg = _known[value] = Reg(SCALAR, const(value))
    return reg


def tied(num: Num, id: int, off: int = 0) -> Reg:
    """A scalar register with an id."""
    if not id:
        return scalar(num)
    reg = Reg(SCALAR, num)
    reg.id = id
    reg.off = off
    return reg


ZERO_NUM = const(0)
UNINIT = Reg(NOT_INIT, UNKNOWN)
UNKNOWN_REG = scalar(UNKNOWN)
ZERO_REG = scalar(ZERO_NUM)


def pointer(type: int, **fields: object) -> Reg:
    """A pointer to the beginning of something."""
    reg = Reg(type, ZERO_NUM)
    for name in fields:
        setattr(reg, name, fields[name])
    return reg


# Kinds of the bytes of a stack slot.
INVALID, SPILL, MISC, ZERO, DYN, ITER, IRQ = range(7)
KIND_LETTERS = "?rm0dif"

_KINDS = {kind: bytes([kind]) * 8 for kind in range(7)}
ALL_SPILL, ALL_MISC, ALL_ZERO, ALL_INVALID = _KINDS[SPILL], _KINDS[MISC], _KINDS[ZERO], _KINDS[INVALID]


class Slot:
    """Eight bytes of stack: their kinds from the lowest address on, and what was spilled there."""

    __slots__ = ("kinds", "reg")

    def __init__(self, kinds: bytes, reg: Reg = UNINIT) -> None:
        self.kinds = kinds
        self.reg = reg

    @property
    def spilled(self) -> bool:
        """A register was spilled here, whole or its low bytes."""
        return self.kinds[0] == SPILL

    def __repr__(self) -> str:
        return f"Slot({''.join(KIND_LETTERS[kind] for kind in self.kinds)}, {self.reg!r})"


EMPTY_SLOT = Slot(ALL_INVALID)
MISC_SLOT = Slot(ALL_MISC)
ZERO_SLOT = Slot(ALL_ZERO)


class Frame:
    """A function's frame: `regs` (R0 to R10), `stack` (slot number -> Slot, 0 is fp-8), who called it and
    how.
    """

    __slots__ = (
        "allocated",
        "async_count",
        "callback_depth",
        "callsite",
        "in_async",
        "in_callback",
        "in_exception",
        "number",
        "precise",
        "precise_slots",
        "regs",
        "ret_range",
        "stack",
        "subprog",
    )

    def __init__(self, number: int, subprog: int, callsite: int) -> None:
        self.number = number
        self.subprog = subprog
        self.callsite = callsite
        self.regs: list[Reg] = [UNINIT] * 11
        self.stack: dict[int, Slot] = {}
        self.allocated = 0  # slots that were touched so far, counted from the top
        self.precise = 0  # of a remembered state: bits of registers whose value mattered
        self.precise_slots = 0
        self.callback_depth = 0
        self.in_callback = False
        self.in_async = False
        self.in_exception = False
        self.async_count = 0
        self.ret_range: tuple[int, int] = (-(1 << 31), (1 << 31) - 1)
        self.regs[10] = pointer(STACK, frame=number)

    def copy(self) -> Frame:
        new = _new(Frame)
        new.number = self.number
        new.subprog = self.subprog
        new.callsite = self.callsite
        new.regs = self.regs[:]
        new.stack = self.stack.copy()
        new.allocated = self.allocated
        new.precise = 0
        new.precise_slots = 0
        new.callback_depth = self.callback_depth
        new.in_callback = self.in_callback
        new.in_async = self.in_async
        new.in_exception = self.in_exception
        new.async_count = self.async_count
        new.ret_range = self.ret_range
        return new


# Kinds of what a program holds.
REF_PTR, REF_IRQ, REF_LOCK, REF_RES_LOCK, REF_RES_LOCK_IRQ = 1, 2, 4, 8, 16

Held = tuple[int, int, int, object]  # kind, id, instruction, what a lock is in


class State:
    """Everything at one point of a path. `held` lists references and locks in the order they were taken."""

    __slots__ = (
        "backedges",
        "branches",
        "callback_unroll",
        "cleaned",
        "depth",
        "differs",
        "equal_to",
        "first_insn",
        "frames",
        "held",
        "hint",
        "history",
        "hits",
        "in_sleepable",
        "insn",
        "irq_id",
        "last_insn",
        "lock_id",
        "lock_what",
        "locks",
        "loop",
        "may_goto_depth",
        "misses",
        "parent",
        "preempt",
        "rcu",
        "traced",
    )

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.held: tuple[Held, ...] = ()
        self.locks = 0
        self.lock_id = 0
        self.lock_what: object = None
        self.irq_id = 0
        self.preempt = 0
        self.rcu = 0
        self.in_sleepable = False
        self.callback_unroll = 0
        self.may_goto_depth = 0
        self.parent: State | None = None
        self.branches = 0
        self.insn = 0
        self.first_insn = 0
        self.last_insn = 0
        self.history: list[tuple[int, int, int, int, tuple[tuple[int, bool, int], ...]]] = []
        self.depth = 0
        self.hint = 0  # where states compared with this one differed last: the register of endless loops,
        # and (last frame, frame, slot or ~register, number) of a number that counts in this one.
        self.differs: tuple[int, int, int, Num] | None = None
        self.loop: tuple[tuple[int, ...], int] | None = None  # of a remembered state: the loop it is in
        self.hits = 0
        self.misses = 0
        self.cleaned = False
        self.backedges: list[State] = []
        self.equal_to: State | None = None
        self.traced: dict[tuple[int, int, int], int] = {}

    def copy(self) -> State:
        new = _new(State)
        new.frames = [frame.copy() for frame in self.frames]
        new.held = self.held
        new.locks = self.locks
        new.lock_id = self.lock_id
        new.lock_what = self.lock_what
        new.irq_id = self.irq_id
        new.preempt = self.preempt
        new.rcu = self.rcu
        new.in_sleepable = self.in_sleepable
        new.callback_unroll = self.callback_unroll
        new.may_goto_depth = self.may_goto_depth
        new.parent = self.parent
        new.branches = self.branches
        new.insn = self.insn
        new.first_insn = self.first_insn
        new.last_insn = self.last_insn
        new.history = self.history[:]
        new.depth = self.depth
        new.hint = 0
        new.differs = None
        new.loop = None
        new.hits = 0
        new.misses = 0
        new.cleaned = False
        new.backedges = []
        new.equal_to = None
        new.traced = self.traced.copy()
        return new


__all__ = [name for name in dir() if not name.startswith("_")]
