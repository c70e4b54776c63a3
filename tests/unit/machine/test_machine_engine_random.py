"""Random programs: all engines agree on results, memory, faults and the number of instructions."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine_programs import programs
from probee.isa.insn import Insn
from probee.machine import BareEnv, Code, Cpu, Fault
from probee.machine.native import NativeProgram, available, make, mode_of

Outcome = tuple[object, ...]


def outcome(cpu: Cpu, code: Code, data: bytes) -> Outcome:
    region = cpu.memory.alloc(64, "ctx")
    region.data[:] = data
    if cpu.engine.startswith("jit"):
        mode = mode_of(cpu, code, cpu.engine)
        code.native.setdefault(mode, NativeProgram(make(code, mode)))  # nothing of these in the cache
    try:
        result: Outcome = (cpu.run(code, region.address), cpu.instructions)
    except Fault as fault:
        place = fault.address - region.address if abs(fault.address - region.address) < 4096 else "stack"
        result = ("fault", fault.index, place, fault.size, fault.write)
    out = (*result, bytes(region.data))
    cpu.memory.free(region)
    return out


def agree(insns: list[Insn], data: bytes, *, verified: bool) -> None:
    env = BareEnv()
    code = Code(insns, verified=True)
    reference = outcome(Cpu(env, engine="step"), code, data)
    for engine in ("interpret", *(["jit-checked"] if available() else [])):
        assert outcome(Cpu(env, engine=engine), code, data) == reference, engine
    if verified and available():
        cpu = Cpu(env, engine="jit-verified")
        result = outcome(cpu, code, data)
        assert (result[0], result[2]) == (reference[0], reference[2])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(), st.binary(min_size=64, max_size=64))
def test_all_engines_give_the_same_results(insns: list[Insn], data: bytes) -> None:
    agree(insns, data, verified=True)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(stray=True), st.binary(min_size=64, max_size=64))
def test_checking_engines_fault_at_the_same_place(insns: list[Insn], data: bytes) -> None:
    agree(insns, data, verified=False)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(programs(stray=True), st.binary(min_size=64, max_size=64))
def test_the_interpreter_agrees_with_stepping(insns: list[Insn], data: bytes) -> None:
    env = BareEnv()
    code = Code(insns)
    assert outcome(Cpu(env, engine="interpret"), code, data) == outcome(Cpu(env, engine="step"), code, data)
