"""Steps of loads, stores and atomic operations: one door to memory for them and for helpers' arguments."""

from __future__ import annotations

from probee.isa.insn import ADD as _ADD
from probee.isa.insn import AND as _AND
from probee.isa.insn import (
    ATOMIC,
    CMPXCHG,
    DW,
    FETCH,
    LOAD_ACQUIRE,
    MEM,
    MEMSX,
    SIZE_BYTES,
    STORE_RELEASE,
    STX,
    XCHG,
)
from probee.isa.insn import OR as _OR
from probee.isa.insn import XOR as _XOR
from probee.isa.insn import (
    W as WORD,
)
from probee.verifier import regions, stack
from probee.verifier.alu import check_writable, read
from probee.verifier.errors import Reject
from probee.verifier.scalars import UNKNOWN, Num, const, sign_extend, span, sync
from probee.verifier.state import (
    ARENA,
    BASE,
    BTF_ID,
    BUF,
    CTX,
    FLOW_KEYS,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    PACKET,
    PACKET_META,
    RDONLY,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TP_BUFFER,
    UNKNOWN_REG,
    UNTRUSTED,
    XDP_SOCK,
    ZERO_NUM,
    ZERO_REG,
    Reg,
    pointer,
    scalar,
    tied,
    type_name,
)
from probee.verifier.state import MEM as MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

_SOCKS = (SOCKET, SOCK_COMMON, TCP_SOCK, XDP_SOCK)


def make(w: Walk, index: int, insn: Insn) -> Step:
    """The step of a load, store or atomic instruction."""
    mode, kind = insn.opcode & 0xE0, insn.opcode & 7
    if kind == STX and mode == ATOMIC:
        return _atomic(w, index, insn)
    size = SIZE_BYTES[insn.opcode & 0x18]
    dst, src, off = insn.dst, insn.src, insn.off
    following = index + 1
    if kind == 1:
        if mode not in (MEM, MEMSX) or insn.imm or (mode == MEMSX and size == 8):
            return _refuse("BPF_LDX uses reserved fields")
        signed = mode == MEMSX
        whole = size == 8 and dst < 10 and src <= 10

        def load_step() -> int:
            if whole:
                reg = w.regs[src]
                if reg.type == STACK and reg.num is ZERO_NUM and stack.fill(w, reg, off, dst):
                    if w.insn_types.get(index) != STACK:
                        _remember_kind(w, index, reg)
                    return following
            reg = read(w.regs, src)
            if dst >= 10:
                check_writable(dst)
            value = access(w, reg, src, off, size, write=False, dst=dst, signed=signed)
            w.regs[dst] = value if value is not None else UNKNOWN_REG
            _remember_kind(w, index, reg)
            return following

        return load_step
    if mode != MEM:
        return _refuse("BPF_STX uses reserved fields" if kind == STX else "BPF_ST uses reserved fields")
    if kind == STX:
        if insn.imm:
            return _refuse("BPF_STX uses reserved fields")
        plain = size == 8 and dst <= 10 and src <= 10 and not w.context.old_stack

        def store_step() -> int:
            if plain:
                reg = w.regs[dst]
                if reg.type == STACK and reg.num is ZERO_NUM and stack.spill(w, reg, off, src):
                    if w.insn_types.get(index) != STACK:
                        _remember_kind(w, index, reg)
                    return following
            read(w.regs, src)
            reg = read(w.regs, dst)
            access(w, reg, dst, off, size, write=True, value=src)
            _remember_kind(w, index, reg)
            return following

        return store_step
    if src:
        return _refuse("BPF_ST uses reserved fields")
    imm = insn.imm

    def store_imm_step() -> int:
        reg = read(w.regs, dst)
        access(w, reg, dst, off, size, write=True, imm=imm)
        _remember_kind(w, index, reg)
        return following

    return store_imm_step


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


_MISMATCH = (CTX, SOCKET, SOCK_COMMON, TCP_SOCK, XDP_SOCK, BTF_ID, ARENA)


def _remember_kind(w: Walk, index: int, reg: Reg) -> None:
    """An instruction that the kernel rewrites for its kind of pointer can't serve another kind."""
    kind = reg.type
    before = w.insn_types.get(index)
    if before is None:
        w.insn_types[index] = kind
        return
    if before == kind:
        return
    a, b = before & BASE, kind & BASE
    ok_a = a not in _MISMATCH
    ok_b = b not in _MISMATCH
    if not (ok_a and ok_b):
        if a == b == BTF_ID and w.context.trust_may_differ(index, before, kind):
            if not (before & UNTRUSTED):
                w.insn_types[index] = kind
            return
        raise Reject("same insn cannot be used with different pointers")


def access(
    w: Walk,
    reg: Reg,
    number: int,
    off: int,
    size: int,
    *,
    write: bool,
    dst: int = -1,
    value: int = -1,
    imm: int | None = None,
    signed: bool = False,
    strict_once: bool = False,
) -> Reg | None:
    """Loads or stores `size` bytes at register `number` + `off`. What a load gives, already narrowed.

    `value` is the register stored (-1: none), `imm` a constant stored.

    Raises:
        Reject: Linux doesn't allow it.
    """
    regions.check_alignment(w, reg, off, size, strict_once=strict_once)
    off += reg.off
    type = reg.type
    base = type & BASE
    found: Reg | None = None if write else UNKNOWN_REG
    if type == STACK:
        what = " write to" if write else " read from"
        stack.check_bounds(w, reg, number, off, size, what)
        if write:
            stack.write(w, reg, number, off, size, value, imm)
            return None
        found = stack.load(w, reg, number, off, size, dst)
    elif type == MAP_VALUE:
        found = _map_value(w, reg, number, off, size, write, dst, value, imm, signed)
    elif type == CTX:
        regions.check_offset(reg, number)
        found = w.context.ctx_access(w, reg, off, size, write=write, signed=signed)
    elif base in (PACKET, PACKET_META):
        if write and not w.context.may_touch_packet(w, write=True):
            raise Reject("cannot write into packet")
        regions.check_packet(w, reg, number, off, size)
    elif base == MEMORY:
        if type & MAYBE_NULL:
            raise Reject(f"R{number} invalid mem access '{type_name(type)}'")
        if write and type & RDONLY:
            raise Reject(f"R{number} cannot write into {type_name(type)}")
        if not type & UNTRUSTED:
            regions.check_region(reg, number, off, size, reg.size)
    elif type == MAP_KEY:
        assert reg.map is not None
        if write:
            raise Reject(f"write to change key R{number} not allowed")
        regions.check_region(reg, number, off, size, reg.map.key_size)
    elif type == FLOW_KEYS:
        if off < 0 or off + size > w.context.flow_keys_size:
            raise Reject(f"invalid access to flow keys off={off} size={size}")
    elif base in _SOCKS and not type & MAYBE_NULL:
        if write:
            raise Reject(f"R{number} cannot write into {type_name(type)}")
        _sock(w, reg, number, off, size)
    elif type == TP_BUFFER:
        regions.check_buffer(reg, number, off, size, zero_allowed=False, name="tracepoint")
    elif base == BTF_ID and not type & MAYBE_NULL:
        found = w.context.btf_access(w, reg, number, off, size, write=write, dst=dst, value=value)
    elif type == MAP_PTR:
        found = w.context.map_pointer_access(w, reg, number, off, size, write=write, dst=dst)
    elif base == BUF and not type & MAYBE_NULL:
        if write and type & RDONLY:
            raise Reject(f"R{number} cannot write into {type_name(type)}")
        regions.check_buffer(reg, number, off, size, zero_allowed=False)
    elif base == ARENA:
        pass
    else:
        raise Reject(f"R{number} invalid mem access '{type_name(type)}'")
    if write or found is None:
        return found
    if size < 8 and found.type == SCALAR:
        return _narrowed(w, found, size, signed)
    return found


def _narrowed(w: Walk, reg: Reg, size: int, signed: bool) -> Reg:
    if signed:
        return tied(sign_extend(reg.num, size), 0 if reg.num.umax >> size * 8 - 1 else reg.id, reg.off)
    return tied(w.context.numbers.truncate(reg.num, size), reg.id, reg.off)


def _map_value(
    w: Walk,
    reg: Reg,
    number: int,
    off: int,
    size: int,
    write: bool,
    dst: int,
    value: int,
    imm: int | None,
    signed: bool,
) -> Reg | None:
    info = reg.map
    assert info is not None
    regions.check_map_flags(reg, off, size, write)
    regions.check_map_value(w, reg, number, off, size)
    if not reg.num.mask:
        field = w.context.record(info).at(off + reg.num.smin, "kptr", "uptr")
        if field is not None:
            return w.context.kptr_access(w, reg, field, write=write, value=value, imm=imm)
        if (
            not write
            and dst >= 0
            and info.data is not None
            and info.flags & regions.RDONLY_PROG
            and info.type == 2
        ):
            at = off + reg.num.smin
            part = info.data[at : at + size]
            if len(part) == size:
                return scalar(const(int.from_bytes(part, "little", signed=signed)))
    return None if write else UNKNOWN_REG


def _sock(w: Walk, reg: Reg, number: int, off: int, size: int) -> None:
    if reg.num.smin < 0:
        raise Reject(
            f"R{number} min value is negative, either use unsigned index or do a if (index >=0) check."
        )
    if not w.context.sock_access(reg.type & BASE, off, size):
        raise Reject(f"R{number} invalid {type_name(reg.type)} access off={off} size={size}")


# Atomic operations

_FETCHING = {op | FETCH for op in (_ADD, _AND, _OR, _XOR)}
_PLAIN = {_ADD, _AND, _OR, _XOR}


def _atomic(w: Walk, index: int, insn: Insn) -> Step:
    size_bits, op = insn.opcode & 0x18, insn.imm
    dst, src, off, following = insn.dst, insn.src, insn.off, index + 1
    size = SIZE_BYTES[size_bits]
    ordered = w.context.at_least(6, 15)
    if op == LOAD_ACQUIRE and ordered:

        def acquire_step() -> int:
            reg = read(w.regs, src)
            check_writable(dst)
            if not _atomic_pointer(w, reg):
                raise Reject(f"BPF_ATOMIC loads from R{src} {type_name(reg.type)} is not allowed")
            found = access(w, reg, src, off, size, write=False, dst=dst, strict_once=True)
            w.regs[dst] = found if found is not None else UNKNOWN_REG
            _remember_kind(w, index, reg)
            return following

        return acquire_step
    if op == STORE_RELEASE and ordered:

        def release_step() -> int:
            read(w.regs, src)
            reg = read(w.regs, dst)
            if not _atomic_pointer(w, reg):
                raise Reject(f"BPF_ATOMIC stores into R{dst} {type_name(reg.type)} is not allowed")
            access(w, reg, dst, off, size, write=True, value=src, strict_once=True)
            _remember_kind(w, index, reg)
            return following

        return release_step
    if op not in (*_PLAIN, *_FETCHING, XCHG, CMPXCHG):
        return _refuse(f"BPF_ATOMIC uses invalid atomic opcode {op & 0xFFFFFFFF:02x}")
    if size_bits not in (WORD, DW):
        return _refuse("invalid atomic operand size")

    def step() -> int:
        regs = w.regs
        read(regs, src)
        reg = read(regs, dst)
        if op == CMPXCHG:
            read(regs, 0)
        if not _atomic_pointer(w, reg):
            raise Reject(f"BPF_ATOMIC stores into R{dst} {type_name(reg.type)} is not allowed")
        target = -1
        if op & FETCH:
            target = 0 if op == CMPXCHG else src
            check_writable(target)
        found = access(w, reg, dst, off, size, write=False, dst=-1, strict_once=True)
        if target >= 0:
            found = access(w, reg, dst, off, size, write=False, dst=target, strict_once=True)
        if target >= 0:
            regs[target] = found if found is not None else UNKNOWN_REG
        access(w, reg, dst, off, size, write=True, value=-1, strict_once=True)
        _remember_kind(w, index, reg)
        return following

    return step


def _atomic_pointer(w: Walk, reg: Reg) -> bool:
    base = reg.type & BASE
    return base not in (CTX, PACKET, PACKET_META, FLOW_KEYS, *_SOCKS)


__all__ = ["UNKNOWN", "ZERO_REG", "Num", "access", "make", "pointer", "span", "sync"]
