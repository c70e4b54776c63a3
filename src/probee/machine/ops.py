"""Instructions made plain: one `Op` says what to do, with signs extended, targets absolute and fields
checked.

The engines work from these, so that the encoding's rules are in one place.
"""

from __future__ import annotations

from ..errors import ObjectError
from ..isa import insn as i

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..isa.insn import Insn

    # What wide immediates with a `src` stand for: (slot, src, imm, imm of the second slot) -> 64 bits.
    Resolve = Callable[[int, int, int, int], int]

U64 = (1 << 64) - 1

_ALU = {
    i.ADD: "add",
    i.SUB: "sub",
    i.MUL: "mul",
    i.DIV: "div",
    i.OR: "or",
    i.AND: "and",
    i.LSH: "lsh",
    i.RSH: "rsh",
    i.NEG: "neg",
    i.MOD: "mod",
    i.XOR: "xor",
    i.MOV: "mov",
    i.ARSH: "arsh",
}
_COMPARE = {
    i.JEQ: "eq",
    i.JGT: "gt",
    i.JGE: "ge",
    i.JSET: "set",
    i.JNE: "ne",
    i.JSGT: "sgt",
    i.JSGE: "sge",
    i.JLT: "lt",
    i.JLE: "le",
    i.JSLT: "slt",
    i.JSLE: "sle",
}
_ATOMIC = {i.ADD: "add", i.OR: "or", i.AND: "and", i.XOR: "xor"}


class Op:
    """One operation, at slot `pc`; the next one is at `next`.

    `kind` is "alu", "load", "store", "atomic", "acquire", "release", "lddw", "ja", "jump" (conditional),
    "may_goto", "gotox", "helper", "local", "kfunc", "callx", "exit", "cast", "packet" or "trap" (a change of
    r10: the verifier takes programs that have such, where it sees that they are never reached). `op` names
    the operation of "alu", "jump" and "atomic". `src` is -1 where the operand is `imm`, which is unsigned and
    extended to 64 bits (32 if not `wide`). `size` is in bytes. `target` is the slot of a jump or call.
    """

    __slots__ = (
        "dst",
        "fetch",
        "imm",
        "kind",
        "next",
        "off",
        "op",
        "pc",
        "signed",
        "size",
        "src",
        "target",
        "wide",
    )

    def __init__(self, kind: str, pc: int) -> None:
        self.kind = kind
        self.pc = pc
        self.next = pc + 1
        self.op = ""
        self.dst = 0
        self.src = -1
        self.imm = 0
        self.off = 0
        self.size = 8
        self.wide = True
        self.signed = False
        self.fetch = False
        self.target = -1

    def __repr__(self) -> str:
        fields = ", ".join(f"{n}={getattr(self, n)!r}" for n in self.__slots__)
        return f"Op({fields})"


def decode_op(insns: Sequence[Insn], pc: int, base: int, resolve: Resolve | None) -> Op:
    """The operation at slot `pc`.

    Raises:
        ObjectError: it is none, or is cut off, or names a register that does not exist.
    """
    insn = insns[pc]
    cls = insn.opcode & 7
    if insn.dst > 10 or insn.src > 10:
        raise _bad(pc, insn, "there are registers 0 to 10")
    if cls in (i.ALU, i.ALU64):
        op = _alu(insn, pc)
    elif cls in (i.JMP, i.JMP32):
        op = _jump(insn, pc)
    elif cls == i.LD:
        op = _wide(insns, pc, base, resolve) if insn.opcode == i.LD_IMM64 else _packet(insn, pc)
    else:
        op = _memory(insn, pc)
    writes = op.kind in ("alu", "load", "lddw", "acquire", "cast")
    if (writes and op.dst == 10) or (op.fetch and op.src == 10):
        trap = Op("trap", pc)
        trap.next = op.next
        return trap
    return op


def _bad(pc: int, insn: Insn, why: str = "") -> ObjectError:
    note = f": {why}" if why else ""
    return ObjectError(f"instruction {pc} (opcode {insn.opcode:#04x}) is not a BPF instruction{note}")


def _alu(insn: Insn, pc: int) -> Op:
    wide = insn.opcode & 7 == i.ALU64
    code = insn.opcode & 0xF0
    op = Op("alu", pc)
    op.wide, op.dst = wide, insn.dst
    by_register = bool(insn.opcode & i.X)
    if code == i.END:
        if insn.imm not in (16, 32, 64) or (wide and by_register):
            raise _bad(pc, insn, "a byte swap is of 16, 32 or 64 bits")
        op.op = "bswap" if wide else ("be" if by_register else "le")
        op.imm = insn.imm
        op.wide = True
        return op
    name = _ALU.get(code)
    if name is None:
        raise _bad(pc, insn)
    op.op = name
    if name == "neg":
        if by_register:
            raise _bad(pc, insn)
        return op
    if by_register:
        op.src = insn.src
    else:
        op.imm = insn.imm & (U64 if wide else 0xFFFFFFFF)
    if name in ("div", "mod") and insn.off == 1:
        op.op = "s" + name
    elif name == "mov" and insn.off:
        if by_register and wide and insn.off == 1:
            op.kind, op.imm = "cast", insn.imm
            if insn.imm not in (1, 1 << 16):
                raise _bad(pc, insn, "casts are between address spaces 0 and 1")
            return op
        if not by_register or insn.off not in ((8, 16, 32) if wide else (8, 16)):
            raise _bad(pc, insn, "a sign extension is from 8, 16 or 32 bits")
        op.op, op.off = "movsx", insn.off
    elif insn.off:
        raise _bad(pc, insn, f"its offset is {insn.off}")
    return op


def _jump(insn: Insn, pc: int) -> Op:
    wide = insn.opcode & 7 == i.JMP
    code = insn.opcode & 0xF0
    by_register = bool(insn.opcode & i.X)
    if code == i.JA:
        if by_register:
            if not wide:
                raise _bad(pc, insn)
            op = Op("gotox", pc)
            op.dst = insn.dst
            return op
        op = Op("ja", pc)
        op.target = pc + 1 + (insn.off if wide else insn.imm)
        return op
    if code == i.EXIT:
        if not wide or by_register:
            raise _bad(pc, insn)
        return Op("exit", pc)
    if code == i.CALL:
        if not wide:
            raise _bad(pc, insn)
        return _call(insn, pc, by_register)
    if code == i.JCOND:
        if not wide or by_register or insn.src:
            raise _bad(pc, insn)
        op = Op("may_goto", pc)
        op.target = pc + 1 + insn.off
        return op
    name = _COMPARE.get(code)
    if name is None:
        raise _bad(pc, insn)
    op = Op("jump", pc)
    op.op, op.wide, op.dst = name, wide, insn.dst
    op.target = pc + 1 + insn.off
    if by_register:
        op.src = insn.src
    else:
        op.imm = insn.imm & (U64 if wide else 0xFFFFFFFF)
    return op


def _call(insn: Insn, pc: int, by_register: bool) -> Op:
    if by_register:
        op = Op("callx", pc)
        # Compilers have put the register's number into dst, src and imm over the years.
        op.dst = insn.dst or insn.src or (insn.imm if 0 <= insn.imm <= 10 else 0)
        return op
    if insn.src == 0:
        op = Op("helper", pc)
        op.imm = insn.imm & 0xFFFFFFFF
    elif insn.src == i.PSEUDO_CALL:
        op = Op("local", pc)
        op.target = pc + 1 + insn.imm
    elif insn.src == i.PSEUDO_KFUNC_CALL:
        op = Op("kfunc", pc)
        op.imm, op.off = insn.imm, insn.off
    else:
        raise _bad(pc, insn, f"there are no calls of kind {insn.src}")
    return op


def _wide(insns: Sequence[Insn], pc: int, base: int, resolve: Resolve | None) -> Op:
    insn = insns[pc]
    if pc + 1 >= len(insns):
        raise _bad(pc, insn, "its second half is missing")
    second = insns[pc + 1]
    if second.opcode or second.dst or second.src or second.off:
        raise _bad(pc, insn, "its second half may hold nothing but an immediate")
    op = Op("lddw", pc)
    op.dst, op.next = insn.dst, pc + 2
    if insn.src == 0:
        op.imm = i.wide_imm(insn.imm, second.imm)
    elif insn.src == i.PSEUDO_FUNC:
        op.target = pc + 1 + insn.imm
        op.imm = base + 8 * op.target
    elif resolve is not None and insn.src <= i.PSEUDO_MAP_IDX_VALUE:
        op.imm = resolve(pc, insn.src, insn.imm, second.imm) & U64
    else:
        raise _bad(pc, insn, f"its reference (kind {insn.src}) is not resolved")
    return op


def _packet(insn: Insn, pc: int) -> Op:
    mode, size = insn.opcode & 0xE0, i.SIZE_BYTES[insn.opcode & 0x18]
    if mode not in (i.ABS, i.IND) or size == 8:
        raise _bad(pc, insn)
    op = Op("packet", pc)
    op.size, op.imm = size, insn.imm
    if mode == i.IND:
        op.src = insn.src
    return op


def _memory(insn: Insn, pc: int) -> Op:
    cls, mode = insn.opcode & 7, insn.opcode & 0xE0
    size = i.SIZE_BYTES[insn.opcode & 0x18]
    if cls == i.LDX and mode in (i.MEM, i.MEMSX):
        op = Op("load", pc)
        op.src, op.signed = insn.src, mode == i.MEMSX
        if op.signed and size == 8:
            raise _bad(pc, insn, "there is no sign-extending load of 8 bytes")
    elif cls == i.ST and mode == i.MEM:
        op = Op("store", pc)
        op.imm = insn.imm & ((1 << 8 * size) - 1)
    elif cls == i.STX and mode == i.MEM:
        op = Op("store", pc)
        op.src = insn.src
    elif cls == i.STX and mode == i.ATOMIC:
        op = _atomic(insn, pc, size)
    else:
        raise _bad(pc, insn)
    op.dst, op.off, op.size = insn.dst, insn.off, size
    return op


def _atomic(insn: Insn, pc: int, size: int) -> Op:
    if insn.imm in (i.LOAD_ACQUIRE, i.STORE_RELEASE):
        op = Op("acquire" if insn.imm == i.LOAD_ACQUIRE else "release", pc)
        op.src = insn.src
        return op
    if size < 4:
        raise _bad(pc, insn, "atomic operations are on 32 or 64 bits")
    op = Op("atomic", pc)
    op.src, op.wide = insn.src, size == 8
    if insn.imm == i.XCHG:
        op.op, op.fetch = "xchg", True
    elif insn.imm == i.CMPXCHG:
        op.op = "cmpxchg"
    else:
        name = _ATOMIC.get(insn.imm & ~i.FETCH)
        if name is None:
            raise _bad(pc, insn, f"there is no atomic operation {insn.imm:#x}")
        op.op, op.fetch = name, bool(insn.imm & i.FETCH)
    return op
