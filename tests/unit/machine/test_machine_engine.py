"""All engines on the 313 vectors of bpf_conformance."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from probee.machine import BareEnv, Code, Cpu
from probee.machine.native import available, mode_of, native_of

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "conformance.json"
ENGINES = ["step", "interpret", *(["jit-checked", "jit-verified"] if available() else [])]


@cache
def vectors() -> list[dict[str, Any]]:
    if not DATA.exists():
        pytest.skip(f"there is no {DATA}, the vectors of bpf_conformance")
    found: list[dict[str, Any]] = json.loads(DATA.read_text())
    return found


def unwind(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return r1


@pytest.mark.parametrize(("engine", "optimised"), [(e, e == "jit-verified") for e in ENGINES])
def test_conformance(engine: str, optimised: bool) -> None:
    env = BareEnv(helpers={5: unwind})
    cpu = Cpu(env, engine=engine)
    wrong = []
    for vector in vectors():
        code = Code(bytes.fromhex(vector["insns"]), name=vector["name"], verified=True)
        args: tuple[int, ...] = ()
        memory = bytes.fromhex(vector["mem"])
        if memory:
            region = env.memory.alloc(len(memory), "ctx")
            region.data[:] = memory
            args = (region.address, len(memory))
        if optimised:
            native_of(code, mode_of(cpu, code, engine), env, hot=True)
        result = cpu.run(code, *args)
        if result != int(vector["result"]) & (1 << 64) - 1:
            wrong.append((vector["name"], hex(result), vector["result"]))
    assert not wrong
    assert len(vectors()) == 313
