"""Random programs for the machine: arithmetic, jumps forward, loops that end, memory, subprograms."""

from __future__ import annotations

from hypothesis import strategies as st

from probee.isa import insn as i
from probee.isa.insn import Insn

ALU = [i.ADD, i.SUB, i.MUL, i.DIV, i.OR, i.AND, i.LSH, i.RSH, i.NEG, i.MOD, i.XOR, i.MOV, i.ARSH, i.END]
JUMPS = [i.JEQ, i.JGT, i.JGE, i.JSET, i.JNE, i.JSGT, i.JSGE, i.JLT, i.JLE, i.JSLT, i.JSLE]
ATOMICS = [0x00, 0x01, 0x40, 0x41, 0x50, 0x51, 0xA0, 0xA1, 0xE1, 0xF1]
SCRATCH = 9  # registers 0 to 8 are the programs'; r9 points to the context

immediates = st.one_of(
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.sampled_from([0, 1, -1, 2, 31, 32, 63, 64, 255, 0x7FFFFFFF, -0x80000000]),
)
numbers = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.sampled_from([0, 1, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1, (1 << 32) - 1, (1 << 63) - 1]),
)
registers = st.integers(0, SCRATCH - 1)


@st.composite
def alu(draw: st.DrawFn, kernel: bool = False) -> list[Insn]:
    """One arithmetic instruction. `kernel`: one that Linux takes."""
    cls = draw(st.sampled_from([i.ALU, i.ALU64]))
    code = draw(st.sampled_from(ALU))
    dst, src = draw(registers), draw(registers)
    if code == i.END:
        bits = draw(st.sampled_from([16, 32, 64]))
        return [Insn(cls | code | (0 if cls == i.ALU64 else draw(st.sampled_from([0, 8]))), dst, imm=bits)]
    if code == i.NEG:
        return [Insn(cls | code, dst)]
    if draw(st.booleans()):
        off = 0
        if code in (i.DIV, i.MOD):
            off = draw(st.sampled_from([0, 1]))
        elif code == i.MOV:
            off = draw(st.sampled_from([0, 8, 16] if cls == i.ALU else [0, 8, 16, 32]))
        return [Insn(cls | code | i.X, dst, src, off)]
    imm = draw(immediates)
    off = draw(st.sampled_from([0, 1])) if code in (i.DIV, i.MOD) else 0
    if kernel and code in (i.LSH, i.RSH, i.ARSH):
        imm &= 63 if cls == i.ALU64 else 31
    if kernel and code in (i.DIV, i.MOD) and not imm:
        imm = 1
    return [Insn(cls | code, dst, 0, off, imm)]


@st.composite
def wide(draw: st.DrawFn) -> list[Insn]:
    value = draw(numbers)
    low, high = (v - (1 << 32) if v >> 31 else v for v in (value & 0xFFFFFFFF, value >> 32))
    return [Insn(i.LD_IMM64, draw(registers), imm=low), Insn(0, imm=high)]


@st.composite
def memory(draw: st.DrawFn, stray: bool) -> list[Insn]:
    """A load, store or atomic operation on the context (64 bytes) or the stack. `stray`: or beside them."""
    size = draw(st.sampled_from([i.B, i.H, i.W, i.DW]))
    width = i.SIZE_BYTES[size]
    base = draw(st.sampled_from([9, 10]))
    low, high = (0, 64 - width) if base == 9 else (-64, -width)
    off = draw(st.integers(low - 8, high + 8) if stray else st.integers(low, high))
    reg = draw(registers)
    kind = draw(st.sampled_from(["load", "sload", "store", "imm", "atomic"]))
    if kind == "load" or (kind == "sload" and width == 8):
        return [Insn(i.LDX | i.MEM | size, reg, base, off)]
    if kind == "sload":
        return [Insn(i.LDX | i.MEMSX | size, reg, base, off)]
    if kind == "imm":
        return [Insn(i.ST | i.MEM | size, base, 0, off, draw(immediates))]
    if kind == "store" or width < 4:
        return [Insn(i.STX | i.MEM | size, base, reg, off)]
    off -= off % width
    return [Insn(i.STX | i.ATOMIC | size, base, reg, off, draw(st.sampled_from(ATOMICS)))]


@st.composite
def branch(draw: st.DrawFn) -> list[Insn]:
    """A conditional jump forward; how far is settled when the program is put together."""
    cls = draw(st.sampled_from([i.JMP, i.JMP32]))
    code = draw(st.sampled_from(JUMPS))
    if draw(st.booleans()):
        return [Insn(cls | code | i.X, draw(registers), draw(registers), draw(st.integers(1, 6)))]
    return [Insn(cls | code, draw(registers), 0, draw(st.integers(1, 6)), draw(immediates))]


def assembled(steps: list[list[Insn]]) -> list[Insn]:
    """The steps one after another; jumps skip as many steps as they say, at most to the end."""
    starts, at = [], 0
    for step in steps:
        starts.append(at)
        at += len(step)
    starts.append(at)
    out = []
    for n, step in enumerate(steps):
        for insn in step:
            if insn.opcode & 7 in (i.JMP, i.JMP32) and insn.opcode & 0xF0 not in (i.CALL, i.EXIT):
                target = starts[min(len(steps), n + 1 + insn.off)]
                insn = Insn(insn.opcode, insn.dst, insn.src, target - starts[n] - 1, insn.imm)
            out.append(insn)
    return out


def folded() -> list[Insn]:
    """r0 = a mixture of r0 to r8, then the end."""
    out = []
    for n in range(1, SCRATCH):
        out.append(Insn(i.ALU64 | i.MUL | i.K, 0, imm=0x01000193))
        out.append(Insn(i.ALU64 | i.XOR | i.X, 0, n))
    return [*out, Insn(i.EXIT_INSN)]


@st.composite
def programs(draw: st.DrawFn, stray: bool = False) -> list[Insn]:
    """A program that takes a context of 64 bytes in r1, 0 to 3 loops, and perhaps a subprogram."""
    start = [Insn(i.ALU64 | i.MOV | i.X, 9, 1)]
    for n in range(SCRATCH):
        start += draw(wide())
        start[-2].dst = n
    step = st.one_of(alu(), alu(), alu(), wide(), memory(stray), branch())
    body = assembled(draw(st.lists(step, min_size=1, max_size=14)))
    if draw(st.booleans()):
        times = draw(st.integers(1, 5))
        # The counter lives on the stack, below what the other instructions touch.
        body = [
            Insn(i.ST | i.MEM | i.DW, 10, 0, -200, times),
            *body,
            Insn(i.LDX | i.MEM | i.DW, 8, 10, -200),
            Insn(i.ALU64 | i.SUB | i.K, 8, imm=1),
            Insn(i.STX | i.MEM | i.DW, 10, 8, -200),
            Insn(i.JMP | i.JNE | i.K, 8, 0, -len(body) - 4, 0),
        ]
    end = folded()
    if draw(st.booleans()):
        inner = assembled(draw(st.lists(st.one_of(alu(), alu(), branch()), min_size=1, max_size=8)))
        call = Insn(i.CALL_IMM, src=i.PSEUDO_CALL, imm=len(end))
        return [*start, *body, call, *end, *inner, *folded()]
    return [*start, *body, *end]
