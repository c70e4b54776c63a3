"""The eBPF programs of a kernel tree's lib/test_bpf.c, in all engines.

The kernel's file stays where it is: with PROBEE_TEST_BPF naming it, it is compiled as a program of its own
that prints its tables. Long programs are only stepped and interpreted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from probee.machine import BareEnv, Code, Cpu, Memory
from probee.machine.native import NativeProgram, available, make, mode_of

HERE = Path(__file__).resolve().parent
ENGINES = ["step", "interpret", *(["jit-checked", "jit-verified"] if available() else [])]
SLOTS = {"step": 5000, "interpret": 600, "jit-checked": 100, "jit-verified": 100}


class Listed:
    """A program: its name, its instructions, and (data, r0) of its runs."""

    def __init__(self, line: str) -> None:
        self.name, _, insns, *runs = line.split("\t")
        self.insns = bytes.fromhex(insns)
        parts = [run.split(":") for run in runs]
        self.runs = [(bytes.fromhex(data), int(result)) for _, result, data in parts]


@cache
def listed() -> list[Listed]:
    path, compiler = os.environ.get("PROBEE_TEST_BPF", ""), shutil.which("gcc") or shutil.which("clang")
    if not os.path.exists(path):
        pytest.skip("PROBEE_TEST_BPF names no lib/test_bpf.c of a kernel tree")
    if compiler is None:
        pytest.skip("there is no C compiler")
    source = Path(path).read_text()
    end = source.index("\n};", source.index("static struct bpf_test tests[]")) + 4
    lines = [line for line in source[:end].splitlines() if not line.startswith("#include")]
    text = "\n".join(
        [(HERE / "kernel_bpf_tests.h").read_text(), *lines, (HERE / "kernel_bpf_tests.c").read_text()]
    )
    program = Path(os.environ.get("TMPDIR", "/tmp")) / f"probee-test-bpf-{os.getpid()}"
    try:
        subprocess.run([compiler, "-w", "-x", "c", "-", "-o", program], input=text, text=True, check=True)
        output = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    finally:
        program.unlink(missing_ok=True)
    return [Listed(line) for line in output.splitlines()]


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_of_the_kernel(engine: str) -> None:
    env = BareEnv(Memory(16 << 20))
    cpu = Cpu(env, engine=engine)
    wrong, count = [], 0
    for one in listed():
        if len(one.insns) // 8 > SLOTS[engine]:
            continue
        code = Code(one.insns, name=one.name, verified=True)
        if engine.startswith("jit"):
            mode = mode_of(cpu, code, engine)
            code.native[mode] = NativeProgram(make(code, mode, quick=True))
        for data, expected in one.runs:
            region = env.memory.alloc(max(8, len(data)), "ctx")
            region.data[: len(data)] = data
            result = cpu.run(code, region.address) & 0xFFFF_FFFF
            if result != expected:
                wrong.append((one.name, hex(result), hex(expected)))
            env.memory.free(region)
            count += 1
    assert not wrong
    assert count > 600
