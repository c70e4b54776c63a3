"""How programs end: faults with their place, budgets, signals, tail calls, callbacks; what memory tells."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from probee.errors import ObjectError, ProbeeError, Unsupported
from probee.isa import assemble
from probee.machine import BareEnv, Code, Cpu, Fault, Memory
from probee.machine.memory import BASE, MemoryFull
from probee.machine.native import available, mode_of, native_of, repeat

ENGINES = ["step", "interpret", *(["jit-checked"] if available() else [])]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fault_says_where_and_what(engine: str) -> None:
    env = BareEnv()
    region = env.memory.alloc(16, "map_value", name="counts")
    code = Code(
        assemble("r6 = 7\nr2 = *(u64 *)(r1 + 8)\nr2 = *(u64 *)(r1 + 12)\nr0 = r6\nexit"),
        name="reader",
        lines={0: "reader.py:3", 2: "reader.py:5"},
    )
    with pytest.raises(Fault) as caught:
        Cpu(env, engine=engine).run(code, region.address)
    fault = caught.value
    assert (fault.program, fault.index, fault.line) == ("reader", 2, "reader.py:5")
    assert (fault.address, fault.size, fault.write) == (region.address + 12, 8, False)
    assert fault.registers["r1"] == region.address
    assert fault.registers["r6"] == 7
    assert "4 beyond the end of map_value 'counts' (16 bytes)" in str(fault)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["freed", "read-only", "handle", "null", "below", "frame"])
def test_what_may_not_be_accessed(engine: str, kind: str) -> None:
    env = BareEnv()
    region = env.memory.alloc(64, "handle" if kind == "handle" else "ctx", writable=kind != "read-only")
    address = {"null": 8, "below": BASE - 8}.get(kind, region.address)
    if kind == "freed":
        env.memory.free(region)
    place = "r10 + 0" if kind == "frame" else "r1 + 0"
    code = Code(assemble(f"*(u64 *)({place}) = 1\nr0 = 0\nexit"))
    with pytest.raises(Fault) as caught:
        Cpu(env, engine=engine).run(code, address)
    assert caught.value.index == 0
    assert caught.value.write


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_freed_by_a_helper_is_not_kept_in_mind(engine: str) -> None:
    env = BareEnv()
    region = env.memory.alloc(64, "ringbuf")

    def discard(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        env.memory.free(region)
        return 0

    env.helpers[133] = discard
    code = Code(assemble("r6 = r1\n*(u64 *)(r6 + 0) = 1\ncall 133\n*(u64 *)(r6 + 0) = 2\nr0 = 0\nexit"))
    with pytest.raises(Fault, match="ringbuf was freed") as caught:
        Cpu(env, engine=engine).run(code, region.address)
    assert caught.value.index == 3


@pytest.mark.parametrize("engine", ENGINES)
def test_an_endless_loop_ends(engine: str) -> None:
    cpu = Cpu(BareEnv(), engine=engine, budget=100_000)
    with pytest.raises(Fault, match="still running after 100000 instructions"):
        cpu.run(Code(assemble("r0 = 0\nagain:\nr0 += 1\ngoto again")))
    assert cpu.run(Code(assemble("r0 = 7\nexit"))) == 7


@pytest.mark.parametrize("engine", ENGINES)
def test_endless_recursion_ends(engine: str) -> None:
    with pytest.raises(Fault, match="stack frames"):
        Cpu(BareEnv(), engine=engine).run(Code(assemble("f:\ncall f\nexit")))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_signal_ends_a_program(engine: str) -> None:
    cpu = Cpu(BareEnv(), engine=engine, budget=1 << 60)
    code = Code(assemble("r0 = 0\nagain:\nr0 += 1\ngoto again"))
    if engine.startswith("jit"):
        native_of(code, "checked", cpu.env)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            cpu.run(code)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    assert cpu.run(Code(assemble("r0 = 7\nexit"))) == 7


@pytest.mark.skipif(not available(), reason="no native code for this system")
@pytest.mark.parametrize("many", [False, True])
def test_a_signal_ends_a_verified_program(many: bool) -> None:
    cpu = Cpu(BareEnv(), engine="jit-verified", budget=1 << 60)
    code = Code(assemble("again:\ncall f\ngoto again\nf:\nr0 = 0\nexit"), verified=True)
    if many:
        code = Code(assemble("r0 = 1\nexit"), verified=True)
    assert mode_of(cpu, code, "jit-verified") == ("verified" if many else "counted")
    native_of(code, mode_of(cpu, code, "jit-verified"), cpu.env, hot=many)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            repeat(cpu, code, (), 1 << 50 if many else 1)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(not available(), reason="no native code for this system")
def test_verified_mode_wants_a_verified_program() -> None:
    text = assemble("r0 = *(u8 *)(r1 + 0)\nexit")
    cpu = Cpu(BareEnv(), engine="jit-verified")
    with pytest.raises(ProbeeError, match="only if the verifier accepted it"):
        cpu.run(Code(text), 0)
    with pytest.raises(Fault, match="null pointer"):
        cpu.run(Code(text, unverified="it was not looked at"), 0)


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_r10_is_read_only(engine: str) -> None:
    code = Code(assemble("r0 = 5\nif r1 == 0 goto out\nr10 += 8\nr0 = 6\nout:\nexit"), verified=True)
    cpu = Cpu(BareEnv(), engine=engine)
    assert cpu.run(code, 0) == 5
    with pytest.raises(Fault, match="r10 is read-only") as caught:
        cpu.run(code, 1)
    assert caught.value.index == 2


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_a_stack_address_that_goes_far_and_comes_back(engine: str) -> None:
    text = """
        r2 = r10
        r2 += -100000
        r2 += 99992
        *(u64 *)(r2 + 0) = 7
        r0 = *(u64 *)(r10 - 8)
        exit
    """
    assert Cpu(BareEnv(), engine=engine).run(Code(assemble(text), verified=True)) == 7


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_may_goto_ends_by_itself(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("step", "python_text", "jit_text"):
        monkeypatch.setattr(f"probee.machine.{module}.MAY_GOTO_LIMIT", 1000)
    cpu = Cpu(BareEnv(), engine=engine)
    code = Code(assemble("r0 = 1\nagain:\nmay_goto out\nr0 += 1\ngoto again\nout:\nexit"), verified=True)
    assert cpu.run(code) == 1001
    assert cpu.instructions == 1 + 3 * 1000 + 2


@pytest.mark.parametrize("engine", ENGINES)
def test_what_helpers_raise_comes_through(engine: str) -> None:
    class Mine(Exception):
        pass

    def helper(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        raise Mine(r1)

    def bad(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        return cpu.memory.load(r1, 8)

    env = BareEnv(helpers={1: helper, 2: bad})
    with pytest.raises(Mine, match="5"):
        Cpu(env, engine=engine).run(Code(assemble("r1 = 5\ncall 1\nexit")))
    with pytest.raises(Fault, match="null pointer") as caught:
        Cpu(env, engine=engine).run(Code(assemble("r1 = 5\ncall 2\nexit")))
    assert caught.value.index == 1
    with pytest.raises(Unsupported, match="no helper 77"):
        Cpu(env, engine=engine).run(Code(assemble("call 77\nexit")))


LOOPING = """
    r6 = 0
    *(u64 *)(r10 - 8) = r6
    r1 = 10
    r2 = func(body) ll
    r3 = r10
    r3 += -8
    r4 = 0
    call 181
    r0 = *(u64 *)(r10 - 8)
    exit
    body:
    r3 = *(u64 *)(r2 + 0)
    r3 += r1
    *(u64 *)(r2 + 0) = r3
    r0 = 0
    exit
"""


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_helpers_call_back(engine: str) -> None:
    def loop(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        for n in range(r1):
            if cpu.call(r2, n, r3):
                return n + 1
        return r1

    cpu = Cpu(BareEnv(helpers={181: loop}), engine=engine)
    assert cpu.run(Code(assemble(LOOPING), verified=True)) == 45
    assert cpu.depth == 0
    if engine != "jit-verified":
        assert cpu.instructions == 10 + 10 * 5


class Chain(BareEnv):
    """Each tail call leads to the same program."""

    target: Code | None = None

    def tail_call(self, cpu: Cpu, map_address: int, index: int) -> Code | None:
        return self.target if index == 0 else None


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_thirty_three_tail_calls(engine: str) -> None:
    env = Chain()
    counter = env.memory.alloc(8, "ctx")
    text = "r2 = *(u64 *)(r1 + 0)\nr2 += 1\n*(u64 *)(r1 + 0) = r2\nr2 = 0\nr3 = {}\ncall 12\nr0 = 5\nexit"
    env.target = Code(assemble(text.format(0)), verified=True)
    assert Cpu(env, engine=engine).run(env.target, counter.address) == 5
    assert env.memory.load(counter.address, 8) == 34
    absent = Code(assemble(text.format(1)), verified=True)
    assert Cpu(env, engine=engine).run(absent, counter.address) == 5
    assert env.memory.load(counter.address, 8) == 35


@pytest.mark.parametrize("engine", [*ENGINES, *(["jit-verified"] if available() else [])])
def test_loads_by_btf_pointers_read_zero_where_nothing_is(engine: str) -> None:
    code = Code(assemble("r0 = 3\nr0 = *(u64 *)(r1 + 16)\nexit"), probe_loads=[1], verified=True)
    env = BareEnv()
    region = env.memory.alloc(24, "kernel")
    env.memory.store(region.address + 16, 8, 99)
    cpu = Cpu(env, engine=engine)
    assert [cpu.run(code, a) for a in (region.address, 0, BASE - 64, region.address + 8)] == [99, 0, 0, 0]


@pytest.mark.skipif(not available(), reason="no native code for this system")
def test_native_code_comes_from_the_cache_without_llvm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path))
    env = BareEnv()
    text = assemble("r0 = r1\nr0 *= 3\nexit")
    native_of(Code(text), "checked", env)
    files = list((tmp_path / "native").iterdir())
    assert len(files) == 1
    monkeypatch.setattr("probee.machine.native.make", lambda *args, **options: pytest.fail("made anew"))
    assert Cpu(env, engine="jit-checked").run(Code(text), 14) == 42
    files[0].write_bytes(files[0].read_bytes()[:-1] + b"\x90")  # broken: not used
    monkeypatch.undo()
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path))
    assert Cpu(env, engine="jit-checked").run(Code(text), 14) == 42


@pytest.mark.skipif(not available(), reason="no native code for this system")
def test_hot_programs_get_native_code() -> None:
    cpu = Cpu(BareEnv(), engine="auto")
    code = Code(assemble("r0 = 0\nagain:\nr0 += 1\nif r0 != r1 goto again\nexit"))
    assert cpu.run(code, 1_100_000) == 1_100_000
    assert "checked" in code.native
    assert cpu.run(code, 1_000_000) == 1_000_000
    assert cpu.instructions == 2_000_002


@pytest.mark.parametrize(
    "text",
    ["goto +5\nexit", "r0 = 0", "r1 = 5 ll\ngoto -2", ".8byte 0xff\nexit", "r1 = map_fd(3) ll\nexit"],
)
def test_what_is_no_program(text: str) -> None:
    with pytest.raises(ObjectError):
        Code(assemble(text))


def test_regions_are_used_again_only_after_a_while() -> None:
    memory = Memory(1 << 20, quarantine=8192)
    first = memory.alloc(1000, "ctx")
    first.data[:] = b"x" * 1000
    memory.free(first)
    second = memory.alloc(1000, "ctx")
    assert second.address != first.address
    with pytest.raises(Fault, match="was freed"):
        memory.read(first.address, 1)
    with pytest.raises(ValueError, match="no live region"):
        memory.free(first)
    seen = set()
    for _ in range(2000):
        region = memory.alloc(1000, "ctx")
        assert bytes(region.data) == bytes(1000)
        seen.add(region.address)
        memory.free(region)
    assert len(seen) < 20
    with pytest.raises(MemoryFull):
        memory.alloc(2 << 20, "ctx")


def test_parts_of_a_region_can_be_closed() -> None:
    memory = Memory(1 << 20)
    region = memory.alloc(8192, "kernel")
    memory.protect(region, 4096, 4096, readable=True, writable=False)
    memory.store(region.address + 4088, 8, 1)
    with pytest.raises(Fault, match="not writable"):
        memory.store(region.address + 4092, 8, 1)
    assert memory.load(region.address + 8184, 8) == 0
