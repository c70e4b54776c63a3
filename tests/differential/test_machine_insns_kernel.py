"""Instructions that engines get wrong, in all engines and in the running kernel: the same r0."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from probee.cli.verify_live import LiveKernel
from probee.isa import assemble
from probee.isa import insn as i
from probee.isa.insn import Insn
from probee.machine.cases import CaseRunner
from probee.machine.native import available
from probee.verifier.cases import Case
from probee.verifier.program import Program

pytestmark = pytest.mark.root

ENGINES = ["step", "interpreter", *(["jit", "verified"] if available() else [])]
SOCKET_FILTER = 1
DATA = bytes(range(200, 200 + 50)) + bytes(range(14))
OLD, NEW = 0x1122_3344_FFFF_FFF0, 0x99AA_BBCC_8000_0011


def text(source: str) -> list[Insn]:
    return i.decode(assemble(source))


EXIT = text("exit")
FOLD = text("r1 = r0\nr1 >>= 32\nr0 ^= r1\nexit")  # both halves of r0 in the 32 bits that are told


def atomics() -> Iterator[tuple[str, list[Insn]]]:
    for size in (i.W, i.DW):
        for operation in (0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1):
            for expected in (OLD, OLD ^ 1):
                if expected != OLD and operation != 0xF1:
                    continue
                yield (
                    f"atomic {operation:#x} {size:#x} {expected & 1}",
                    [
                        *text(f"r1 = {OLD} ll\n*(u64 *)(r10 - 8) = r1\nr2 = {NEW} ll\nr0 = {expected} ll"),
                        Insn(i.STX | i.ATOMIC | size, 10, 2, -8, operation),
                        *text("r3 = *(u64 *)(r10 - 8)\nr0 *= 7\nr0 += r2\nr0 *= 5\nr0 ^= r3"),
                        *FOLD,
                    ],
                )


def memory() -> Iterator[tuple[str, list[Insn]]]:
    for size, bits in ((i.B, 8), (i.H, 16), (i.W, 32), (i.DW, 64)):
        start = text(f"r1 = {NEW} ll\n*(u64 *)(r10 - 8) = r1\nr2 = r10")
        if bits < 64:
            yield f"ldsx {bits}", [*start, Insn(i.LDX | i.MEMSX | size, 0, 10, -8), *FOLD]
        yield f"acquire {bits}", [*start, Insn(i.STX | i.ATOMIC | size, 0, 2, -8, i.LOAD_ACQUIRE), *FOLD]
        yield (
            f"release {bits}",
            [
                *start,
                *text("r3 = 0x7766554433221100 ll"),
                Insn(i.STX | i.ATOMIC | size, 2, 3, -8, i.STORE_RELEASE),
                *text("r0 = *(u64 *)(r10 - 8)"),
                *FOLD,
            ],
        )


def operations() -> Iterator[Insn]:
    for cls in (i.ALU, i.ALU64):
        for bits in (8, 16, *([32] if cls == i.ALU64 else [])):
            yield Insn(cls | i.MOV | i.X, 0, 1, bits)
        for operation in (i.DIV, i.MOD):
            for register in (2, 3, 4):
                yield Insn(cls | operation | i.X, 0, register, 1)
    for opcode in (i.ALU | i.END, i.ALU | i.END | i.X, i.ALU64 | i.END):
        for bits in (16, 32, 64):
            yield Insn(opcode, 0, imm=bits)


def arithmetic() -> Iterator[tuple[str, list[Insn]]]:
    """All operations on one number; r9 holds what came out of them so far."""
    for number in (NEW, OLD, 0x80, 0x8000, 0x8000_0000, 1 << 63, (1 << 64) - 1):
        insns = text(f"r1 = {number} ll\nr2 = -1\nr3 = -3\nr4 = 0\nr9 = 0")
        for operation in operations():
            insns += [*text("r0 = r1"), operation, *text("r9 *= 31\nr9 += r0")]
        yield f"arithmetic on {number:#x}", [*insns, *text("r0 = r9"), *FOLD]


def packets() -> Iterator[tuple[str, list[Insn]]]:
    start = text("r6 = r1\nr7 = 9\nr0 = 77")
    for size in (i.B, i.H, i.W):
        for offset in (0, 5, 46, 47, 50, -0x100000, -0x200000, -0x200000 + 60, -1):
            yield f"abs {size:#x} {offset}", [*start, Insn(i.LD | i.ABS | size, imm=offset), *EXIT]
            index = Insn(i.LD | i.IND | size, 0, 7, 0, offset)
            yield f"ind {size:#x} {offset}", [*start, index, *EXIT]


def loops() -> Iterator[tuple[str, list[Insn]]]:
    yield "may_goto", text("r0 = 0\nagain:\nmay_goto out\nr0 += 1\nif r0 < 1000 goto again\nout:\nexit")
    skip = Insn(i.JMP32 | i.JA, imm=1)
    yield "gotol", [*text("r0 = 4\nif r0 == 5 goto +1"), skip, *text("r0 = 9\nexit")]


PROGRAMS = {group.__name__: list(group()) for group in (atomics, memory, arithmetic, packets, loops)}


@pytest.mark.parametrize("group", PROGRAMS)
def test_all_engines_give_what_the_kernel_gives(group: str) -> None:
    cases, expected = [], []
    with LiveKernel() as live:
        for name, insns in PROGRAMS[group]:
            program = Program(insns, SOCKET_FILTER)
            case = Case(name, group, program)
            case.runs = [(DATA, 0)]
            verdict, values = live.verify(program, case.runs)
            assert verdict.accepted, (name, verdict.message)
            cases.append(case)
            expected.append((name, values))
    for engine in ENGINES:
        with CaseRunner(engine, memory=16 << 20) as runner:
            assert [(case.id, runner.run(case, verified=True)) for case in cases] == expected, engine
