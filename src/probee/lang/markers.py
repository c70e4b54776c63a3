"""Instructions that LLVM's library can't be told of: it has no assembler for BPF.

The text for LLVM calls helpers that no kernel has, and in the finished object those calls are exchanged for
the instructions. A call is as wide as an instruction, and what it may change is more than they do.
"""

from __future__ import annotations

import struct

from ..errors import CompileError

# may_goto as a number in r0, 0 once the kernel has enough. It takes three instructions, and so does a call
# with two constants: LLVM puts others between two calls, but hardly any between a call and its arguments.
MAY_GOTO = 0x7B000001
ARGUMENTS = (0x7B000011, 0x7B000012)

LOAD_ACQUIRE, STORE_RELEASE = 0x7B000100, 0x7B000200  # and the size in bytes: of what is at r1; of r2, to r1

_CALL = 0x85
_MOVES = (0xB7, 0xB4)  # of a constant, to a register of 64 or 32 bits
_MAY_GOTO = (
    struct.pack("<BBhi", 0xB7, 0, 0, 0)  # r0 = 0
    + struct.pack("<BBhi", 0xE5, 0, 1, 0)  # may_goto +1
    + struct.pack("<BBhi", 0xB7, 0, 0, 1)  # r0 = 1
)
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_ALONE = {  # BPF_STX | BPF_ATOMIC with BPF_LOAD_ACQ and BPF_STORE_REL, which LLVM has for cpu v4 only
    **{LOAD_ACQUIRE + n: struct.pack("<BBhi", 0xC3 | size, 0x10, 0, 0x100) for n, size in _SIZES.items()},
    **{STORE_RELEASE + n: struct.pack("<BBhi", 0xC3 | size, 0x21, 0, 0x110) for n, size in _SIZES.items()},
}
# arithmetic with another register, or with a constant that no relocation changes: and, or, xor, mul
_HARMLESS = frozenset(
    [op | 8 | cls for op in range(0, 0xC1, 0x10) if op not in (0x80,) for cls in (4, 7)]
    + [op | cls for op in (0x50, 0x40, 0xA0, 0x20) for cls in (4, 7)]
)
_WIDE = 0x18  # lddw: two instructions wide


def exchange(data: bytes) -> bytes:
    """The object with the instructions that are meant."""
    out = bytearray(data)
    for start, size in _code(data):
        at = start
        while at < start + size:
            opcode, registers, _, number = struct.unpack_from("<BBhi", out, at)
            if opcode == _CALL and not registers and number in _ALONE:
                out[at : at + 8] = _ALONE[number]
            elif opcode == _CALL and not registers and number == MAY_GOTO:
                _may_goto(out, start, at)
            at += 16 if opcode == _WIDE else 8
    return bytes(out)


def _may_goto(out: bytearray, start: int, call: int) -> None:
    """Exchange a call and its arguments. Copies of registers that LLVM put among them come first."""
    missing = set(enumerate(ARGUMENTS, 1))
    between = b""
    at = call
    while missing:
        at -= 8
        opcode, registers, _, number = struct.unpack_from("<BBhi", out, at) if at >= start else (0, 0, 0, 0)
        if opcode in _MOVES and (registers, number) in missing:
            missing.remove((registers, number))
        elif _harmless(opcode, registers & 15, registers >> 4, {to for to, _ in missing}):
            between = bytes(out[at : at + 8]) + between
        else:
            raise CompileError(
                "LLVM took a `bp.can_loop()` apart", advice="put less into the loop that it is for"
            )
    out[at : call + 8] = between + _MAY_GOTO


def _harmless(opcode: int, dst: int, src: int, passed: set[int]) -> bool:
    """Can the instruction stand before the arguments too? It is not relocated, and leaves them be.

    `passed` are the registers that have their arguments here already.
    """
    spills = (opcode in (0x7B, 0x63) and dst == 10) or (opcode in (0x79, 0x61) and src == 10)
    return (spills or opcode in _HARMLESS) and dst > 2 and src not in passed


def _code(data: bytes) -> list[tuple[int, int]]:
    """Where the sections with instructions are: offset and size."""
    (table,) = struct.unpack_from("<Q", data, 0x28)
    width, count = struct.unpack_from("<HH", data, 0x3A)
    found = []
    for i in range(count):
        _, kind, flags, _, offset, size = struct.unpack_from("<IIQQQQ", data, table + i * width)
        if kind == 1 and flags & 4:  # SHT_PROGBITS, SHF_EXECINSTR
            found.append((offset, size))
    return found
