"""BPF instructions as values: opcode fields, decoding and encoding (RFC 9669 sections 3 to 5).

One `Insn` is one 8-byte slot, so positions in a list are the positions branches and the verifier count in.
A wide immediate takes two: the second slot has opcode 0 and holds the upper 32 bits in `imm`.
"""

from __future__ import annotations

import struct

from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

INSN_SIZE = 8

# Instruction classes: opcode & 7.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

# Source of the second operand: opcode & 8.
K, X = 0x00, 0x08

# Sizes of loads and stores: opcode & 0x18, and their bytes.
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
SIZE_BYTES = {W: 4, H: 2, B: 1, DW: 8}

# Modes of loads and stores: opcode & 0xe0.
IMM, ABS, IND, MEM, MEMSX, ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0

# Arithmetic: opcode & 0xf0.
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
NEG, MOD, XOR, MOV, ARSH, END = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0

# Jumps: opcode & 0xf0.
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE = 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70
CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND = 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0

# Whole opcodes that loaders look for.
LD_IMM64 = LD | IMM | DW
CALL_IMM = JMP | CALL | K
EXIT_INSN = JMP | EXIT

# Atomic operations, in `imm` of STX|ATOMIC. FETCH is or-ed to the first four.
FETCH = 0x01
XCHG, CMPXCHG, LOAD_ACQUIRE, STORE_RELEASE = 0xE1, 0xF1, 0x100, 0x110

# `src` of LD_IMM64: where the 64 bits come from.
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC = 1, 2, 3, 4
PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = 5, 6

# `src` of CALL_IMM: a helper (0), a subprogram, a kernel function.
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2

_LITTLE = struct.Struct("<BBhi")
_BIG = struct.Struct(">BBhi")


class Insn:
    """One slot. `dst` and `src` are register numbers, `off` is signed 16 bits, `imm` signed 32 bits."""

    __slots__ = ("dst", "imm", "off", "opcode", "src")

    def __init__(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.opcode = opcode
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm

    @property
    def is_wide(self) -> bool:
        """The first slot of a 64-bit immediate."""
        return self.opcode == LD_IMM64

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Insn):
            return NotImplemented
        return (self.opcode, self.dst, self.src, self.off, self.imm) == (
            other.opcode,
            other.dst,
            other.src,
            other.off,
            other.imm,
        )

    def __hash__(self) -> int:
        return hash((self.opcode, self.dst, self.src, self.off, self.imm))

    def __repr__(self) -> str:
        return f"Insn({self.opcode:#04x}, dst={self.dst}, src={self.src}, off={self.off}, imm={self.imm})"


def decode(code: bytes | bytearray | memoryview, endian: str = "little") -> list[Insn]:
    """The slots of `code`. Any 8 bytes decode; what they mean is for the disassembler and the verifier.

    Raises:
        ObjectError: the length is not a multiple of 8.
    """
    if len(code) % INSN_SIZE:
        raise ObjectError(f"{len(code)} bytes of BPF code: not whole instructions of 8 bytes")
    if endian == "little":
        return [Insn(op, regs & 15, regs >> 4, off, imm) for op, regs, off, imm in _LITTLE.iter_unpack(code)]
    return [Insn(op, regs >> 4, regs & 15, off, imm) for op, regs, off, imm in _BIG.iter_unpack(code)]


def encode(insns: Iterable[Insn], endian: str = "little") -> bytes:
    """The bytes of `insns`; the inverse of `decode`.

    Raises:
        ValueError: a field does not fit its bits.
    """
    out = bytearray()
    for i, insn in enumerate(insns):
        if not (0 <= insn.dst <= 15 and 0 <= insn.src <= 15):
            raise ValueError(f"instruction {i}: registers are 4 bits: {insn!r}")
        try:
            if endian == "little":
                out += _LITTLE.pack(insn.opcode, insn.src << 4 | insn.dst, insn.off, insn.imm)
            else:
                out += _BIG.pack(insn.opcode, insn.dst << 4 | insn.src, insn.off, insn.imm)
        except struct.error:
            raise ValueError(f"instruction {i}: a field is out of range: {insn!r}") from None
    return bytes(out)


def wide_imm(low: int, high: int) -> int:
    """The unsigned 64-bit value of a wide immediate from the `imm` of its two slots."""
    return (high & 0xFFFFFFFF) << 32 | (low & 0xFFFFFFFF)
