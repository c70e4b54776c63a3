"""Random arithmetic in all engines of the machine, with the running kernel as the judge."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine_programs import SCRATCH, alu, folded, wide
from probee.errors import LoadError
from probee.isa import encode
from probee.isa import insn as i
from probee.isa.insn import Insn
from probee.machine import BareEnv, Code, Cpu
from probee.machine.native import NativeProgram, available, make
from probee.sys.bpf import Kernel, ProgAttr

pytestmark = pytest.mark.root
SOCKET_FILTER = 1


@st.composite
def straight(draw: st.DrawFn) -> list[Insn]:
    """Numbers in r0 to r8, some arithmetic, and both halves of the mixture of all as the result."""
    out: list[Insn] = []
    for n in range(SCRATCH):
        out += draw(wide())
        out[-2].dst = n
    for step in draw(st.lists(alu(kernel=True), min_size=1, max_size=20)):
        out += step
    end = folded()
    high = [
        Insn(i.ALU64 | i.MOV | i.X, 1, 0),
        Insn(i.ALU64 | i.RSH | i.K, 1, imm=32),
        Insn(i.ALU64 | i.XOR | i.X, 0, 1),
    ]
    return [*out, *end[:-1], *high, end[-1]]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(straight())
def test_the_kernel_gives_the_same(insns: list[Insn]) -> None:
    kernel = Kernel()
    code = encode(insns)
    try:
        fd = kernel.prog_load(ProgAttr(SOCKET_FILTER, code, "GPL", "alu"))
    except LoadError as error:
        pytest.fail(f"the kernel refuses a program of arithmetic: {error}")
    try:
        expected = kernel.prog_test_run(fd, bytes(64)).retval
    finally:
        kernel.close(fd)
    env = BareEnv()
    for engine in ("step", "interpret", *(["jit-checked", "jit-verified"] if available() else [])):
        program = Code(insns, verified=True)
        if engine.startswith("jit"):
            mode = engine.removeprefix("jit-")
            program.native[mode] = NativeProgram(make(program, mode))
        assert Cpu(env, engine=engine).run(program) & 0xFFFFFFFF == expected, engine
