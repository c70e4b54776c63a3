"""Calls that stand for instructions are exchanged in the object."""

from __future__ import annotations

import struct

import pytest

from probee.errors import CompileError
from probee.isa.disasm import disassemble
from probee.lang import markers


def elf(code: bytes) -> bytes:
    """As much of an object as has a section of instructions."""
    head = bytearray(64)
    head[:4] = b"\x7fELF"
    struct.pack_into("<Q", head, 0x28, 64 + len(code))
    struct.pack_into("<HH", head, 0x3A, 64, 1)
    section = struct.pack("<IIQQQQIIQQ", 0, 1, 4, 0, 64, len(code), 0, 0, 8, 0)
    return bytes(head) + code + section


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, src << 4 | dst, off, imm)


FIRST, SECOND = insn(0xB7, 1, imm=markers.ARGUMENTS[0]), insn(0xB7, 2, imm=markers.ARGUMENTS[1])
CALL = insn(0x85, imm=markers.MAY_GOTO)
EXIT = insn(0x95)
MEANT = ["r0 = 0x0", "may_goto +0x1", "r0 = 0x1"]


def exchanged(code: bytes) -> list[str]:
    made = markers.exchange(elf(code))
    assert len(made) == len(elf(code))
    return list(disassemble(made[64 : 64 + len(code)]))


@pytest.mark.parametrize("arguments", [FIRST + SECOND, SECOND + FIRST])
def test_a_call_becomes_three_instructions(arguments):
    assert exchanged(arguments + CALL + EXIT) == [*MEANT, "exit"]


def test_copies_among_the_arguments_come_first():
    copy, spill = insn(0xBF, 6, 3), insn(0x7B, 10, 3, -24)
    assert exchanged(FIRST + copy + SECOND + spill + CALL + EXIT) == [
        "r6 = r3",
        "*(u64 *)(r10 - 0x18) = r3",
        *MEANT,
        "exit",
    ]


def test_a_copy_of_what_an_argument_replaces_comes_first():
    assert exchanged(FIRST + insn(0xBF, 8, 2) + SECOND + CALL + EXIT) == ["r8 = r2", *MEANT, "exit"]


@pytest.mark.parametrize(
    "code",
    [
        CALL + EXIT,
        FIRST + CALL + EXIT,
        FIRST + insn(0x05, off=1) + SECOND + CALL + EXIT,  # a jump
        FIRST + SECOND + insn(0xBF, 1, 3) + CALL + EXIT,  # over an argument
        FIRST + SECOND + insn(0xBF, 6, 1) + CALL + EXIT,  # of an argument
        FIRST + SECOND + insn(0x07, 6, imm=8) + CALL + EXIT,  # may be relocated
    ],
)
def test_what_can_not_be_exchanged_is_refused(code):
    with pytest.raises(CompileError, match="took a `bp"):
        markers.exchange(elf(code))
