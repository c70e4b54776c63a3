"""Instructions that LLVM's library can't be told of: it has no assembler for BPF.

The text for LLVM calls helpers that no kernel has, and in the finished object those calls are exchanged for
the instructions. A call is as wide as an instruction, and what it may change is more than they do.
"""

from __future__ import annotations

import struct

from ..errors import CompileError

# may_goto as a number in r0, 0 once the kernel has enough: three calls in a row, of which the last gives it
MAY_GOTO = (0x7B000001, 0x7B000002, 0x7B000003)

LOAD_ACQUIRE, STORE_RELEASE = 0x7B000100, 0x7B000200  # and the size in bytes: of what is at r1; of r2, to r1

_CALL = 0x85
_EXCHANGED = dict(
    zip(
        MAY_GOTO,
        (
            struct.pack("<BBhi", 0xB7, 0, 0, 0),  # r0 = 0
            struct.pack("<BBhi", 0xE5, 0, 1, 0),  # may_goto +1
            struct.pack("<BBhi", 0xB7, 0, 0, 1),  # r0 = 1
        ),
        strict=True,
    )
)
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_ALONE = {  # BPF_STX | BPF_ATOMIC with BPF_LOAD_ACQ and BPF_STORE_REL, which LLVM has for cpu v4 only
    **{LOAD_ACQUIRE + n: struct.pack("<BBhi", 0xC3 | size, 0x10, 0, 0x100) for n, size in _SIZES.items()},
    **{STORE_RELEASE + n: struct.pack("<BBhi", 0xC3 | size, 0x21, 0, 0x110) for n, size in _SIZES.items()},
}
_JUMPS = (0x05, 0x06)  # instruction classes
_WIDE = 0x18  # lddw: two instructions wide, and relocated


def exchange(data: bytes) -> bytes:
    """The object with the instructions that are meant."""
    out = bytearray(data)
    for start, size in _code(data):
        held: list[int] = []  # places of the calls that belong together
        at = start
        while at < start + size:
            opcode, registers, _, number = struct.unpack_from("<BBhi", out, at)
            if opcode == _CALL and not registers and number in _ALONE:
                out[at : at + 8] = _ALONE[number]
            elif opcode == _CALL and not registers and number in _EXCHANGED:
                held.append(at)
                if number == MAY_GOTO[-1]:
                    _together(out, held)
                    held = []
            elif held and (opcode == _WIDE or opcode & 7 in _JUMPS):
                raise CompileError(
                    "LLVM took a `bp.can_loop()` apart", advice="test it alone: `while bp.can_loop():`"
                )
            at += 16 if opcode == _WIDE else 8
    return bytes(out)


def _together(out: bytearray, calls: list[int]) -> None:
    """Exchange calls in a row. What LLVM moved between them comes first: it neither knows nor needs r0."""
    first, end = calls[0], calls[-1] + 8
    between = b"".join(bytes(out[at : at + 8]) for at in range(first, end, 8) if at not in calls)
    numbers = [struct.unpack_from("<i", out, at + 4)[0] for at in calls]
    out[first:end] = between + b"".join(_EXCHANGED[n] for n in numbers)


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
