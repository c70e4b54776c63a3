"""Instructions one by one in all engines: jumps by register, LD_ABS, arenas, atomics, byte swaps."""

from __future__ import annotations

import itertools
import struct

import pytest

from probee.isa import assemble
from probee.isa import insn as i
from probee.isa.insn import Insn
from probee.machine import BareEnv, Code, Cpu, Fault
from probee.machine.alu import U64
from probee.machine.code import CODE_BASE
from probee.machine.env import Helper
from probee.machine.memory import BASE, Memory
from probee.machine.native import NativeProgram, available, make, mode_of

ENGINES = ["step", "interpret", *(["jit-checked", "jit-verified"] if available() else [])]
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF80, 0x8000_0000, 0xFFFF_FFFF, 1 << 63, U64, 0x1122_3344_5566_7788)


class Env(BareEnv):
    def __init__(self, helpers: dict[int, Helper] | None = None) -> None:
        super().__init__(Memory(1 << 20), helpers)
        self.cpu = Cpu(self)


def run(engine: str, code: Code, *args: int, env: Env | None = None) -> int:
    cpu = (env or Env()).cpu
    cpu.engine = engine
    if engine.startswith("jit"):
        mode = mode_of(cpu, code, engine)
        code.native.setdefault(mode, NativeProgram(make(code, mode, quick=True)))
    return cpu.run(code, *args)


def run_all(insns: bytes | list[Insn], *args: int, env: Env | None = None, **options: object) -> set[int]:
    env = env or Env()
    code = Code(insns, verified=True, **options)  # type: ignore[arg-type]
    return {run(engine, code, *args, env=env) for engine in ENGINES}


# ---- jumps and calls by register


def jump_by_register(slot: int) -> list[Insn]:
    """r0 is 10, 20 or 30 by the slot that r2 leads to: 4, 6 or 8."""
    address = CODE_BASE + 8 * slot
    low, high = struct.unpack("<ii", struct.pack("<Q", address))
    out = [
        Insn(i.LD_IMM64, 2, 0, 0, low),
        Insn(0, imm=high),
        Insn(i.JMP | i.JA | i.X, 2),
        Insn(i.JMP | i.EXIT),
    ]
    for number in (10, 20, 30):
        out += [Insn(i.ALU64 | i.MOV, 0, imm=number), Insn(i.JMP | i.EXIT)]
    return out


def test_gotox() -> None:
    for slot, number in ((4, 10), (6, 20), (8, 30)):
        assert run_all(jump_by_register(slot), jump_targets=(4, 6, 8)) == {number}
        assert run_all(jump_by_register(slot)) == {number}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("slot", [1, 1000])
def test_gotox_to_no_instruction(engine: str, slot: int) -> None:
    with pytest.raises(Fault, match="gotox to") as caught:
        run(engine, Code(jump_by_register(slot), verified=True))
    assert caught.value.index == 2


def test_callx() -> None:
    """To a function of the program, and to a helper by its number."""
    env = Env(helpers={7: lambda cpu, r1, r2, r3, r4, r5: r1 + 100})
    code = assemble("r1 = 5\nr2 = func(f) ll\n.8byte 0x028d\nr0 += 1\nexit\nf:\nr0 = r1\nr0 *= 3\nexit")
    assert run_all(code, env=env) == {16}
    assert run_all(assemble("r1 = 5\nr2 = 7\n.8byte 0x028d\nr0 += 1\nexit"), env=env) == {106}


# ---- packets


class Packets(Env):
    data = bytes(range(1, 33))

    def packet_load(self, cpu: Cpu, ctx: int, offset: int, size: int) -> int | None:
        found = self.data[offset : offset + size] if offset >= 0 else b""
        return int.from_bytes(found, "big") if len(found) == size else None


@pytest.mark.parametrize("size", [1, 2, 4])
def test_bytes_of_packets(size: int) -> None:
    opcode = i.LD | {1: i.B, 2: i.H, 4: i.W}[size]
    env = Packets()
    start, end = [Insn(i.ALU64 | i.MOV | i.X, 6, 1)], [Insn(i.JMP | i.EXIT)]
    for at in (0, 3, 32 - size):
        expected = int.from_bytes(env.data[at : at + size], "big")
        assert run_all([*start, Insn(opcode | i.ABS, imm=at), *end], env=env) == {expected}
        index = Insn(i.ALU64 | i.MOV, 7, imm=at + 2)
        assert run_all([*start, index, Insn(opcode | i.IND, src=7, imm=-2), *end], env=env) == {expected}
    # What the packet lacks ends the program with 0.
    one = Insn(i.ALU64 | i.MOV, 0, imm=1)
    outside = [*start, one, Insn(opcode | i.ABS, imm=33 - size), one, *end]
    assert run_all(outside, env=env) == {0}


# ---- memory


def test_casts_and_pages_that_an_arena_lacks() -> None:
    env = Env()
    arena = env.memory.alloc(8192, "arena", align=4096, readable=False, writable=False)
    env.memory.protect(arena, 0, 4096)
    cast = Insn(i.ALU64 | i.MOV | i.X, 2, 1, 1, 1)
    text = "*(u64 *)(r2 + {0}) = 77\nr0 = *(u64 *)(r2 + {0})\nr0 += 1\nexit"
    for offset, expected in ((8, 78), (4096, 1)):
        code = [cast, *i.decode(assemble(text.format(offset)))]
        assert run_all(code, arena.address & 0xFFFF_FFFF, env=env) == {expected}
    to_user = [cast, Insn(i.ALU64 | i.MOV | i.X, 0, 2), Insn(i.JMP | i.EXIT)]
    assert run_all(to_user, arena.address & 0xFFFF_FFFF, env=env) == {arena.address}
    assert run_all(to_user, BASE, env=env) == {0}


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_acquire_and_release(size: int) -> None:
    env = Env()
    region = env.memory.alloc(16, "ctx")
    opcode = i.STX | i.ATOMIC | {1: i.B, 2: i.H, 4: i.W, 8: i.DW}[size]
    code = [
        *i.decode(assemble("r3 = 0x1122334455667788 ll")),
        Insn(opcode, 1, 3, 8, i.STORE_RELEASE),
        Insn(opcode, 0, 1, 8, i.LOAD_ACQUIRE),
        Insn(i.JMP | i.EXIT),
    ]
    assert run_all(code, region.address, env=env) == {0x1122334455667788 & (1 << 8 * size) - 1}
    assert bytes(region.data[8 : 8 + size]) == bytes.fromhex("8877665544332211")[:size]


@pytest.mark.parametrize("wide", [False, True])
def test_atomics(wide: bool) -> None:
    """What is in memory, what is fetched, and the other half of the word."""
    size = 8 if wide else 4
    mask = (1 << 8 * size) - 1
    env = Env()
    region = env.memory.alloc(8, "ctx")
    results = {
        i.ADD: lambda old, new: old + new,
        i.OR: lambda old, new: old | new,
        i.AND: lambda old, new: old & new,
        i.XOR: lambda old, new: old ^ new,
        i.XCHG: lambda old, new: new,
    }
    finish = i.decode(assemble("r0 = r3\nexit"))
    for operation, fetch in itertools.product(results, (False, True)):
        if operation == i.XCHG and not fetch:
            continue
        insn = Insn(i.STX | i.ATOMIC | (i.DW if wide else i.W), 1, 3, 0, operation | (i.FETCH * fetch))
        code = Code([Insn(i.ALU64 | i.MOV | i.X, 3, 2), insn, *finish], verified=True)
        for old, new in ((0x1122_3344_FFFF_FFFF, 0x99AA_BBCC_8000_0001), (U64, 1), (0, U64)):
            for engine in ENGINES:
                region.data[:] = old.to_bytes(8, "little")
                r0 = run(engine, code, region.address, new, env=env)
                stored = results[operation](old & mask, new & mask) & mask
                assert int.from_bytes(region.data, "little") == (old & ~mask & U64) | stored
                assert r0 == (old & mask if fetch else new), (engine, operation)


@pytest.mark.parametrize("wide", [False, True])
def test_compare_and_exchange(wide: bool) -> None:
    mask = U64 if wide else 0xFFFF_FFFF
    env = Env()
    region = env.memory.alloc(8, "ctx")
    insn = Insn(i.STX | i.ATOMIC | (i.DW if wide else i.W), 1, 3, 0, i.CMPXCHG)
    code = Code(
        [Insn(i.ALU64 | i.MOV | i.X, 0, 2), *i.decode(assemble("r3 = 42")), insn, Insn(i.JMP | i.EXIT)],
        verified=True,
    )
    old = 0xAAAA_BBBB_CCCC_DDDD
    for expected in (old, old ^ (1 << 63), old ^ 1):
        for engine in ENGINES:
            region.data[:] = old.to_bytes(8, "little")
            assert run(engine, code, region.address, expected, env=env) == old & mask
            same = expected & mask == old & mask
            assert int.from_bytes(region.data, "little") == ((old & ~mask & U64) | 42 if same else old)


# ---- arithmetic against what Python says


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


@pytest.mark.parametrize(("wide", "bits"), [(False, 8), (False, 16), (True, 8), (True, 16), (True, 32)])
def test_moves_that_extend_signs(wide: bool, bits: int) -> None:
    code = [Insn((i.ALU64 if wide else i.ALU) | i.MOV | i.X, 0, 1, bits), Insn(i.JMP | i.EXIT)]
    for number in NUMBERS:
        assert run_all(code, number) == {signed(number, bits) & (U64 if wide else 0xFFFF_FFFF)}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_loads_that_extend_signs(size: int) -> None:
    env = Env()
    region = env.memory.alloc(8, "ctx")
    opcode = i.LDX | i.MEMSX | {1: i.B, 2: i.H, 4: i.W}[size]
    code = Code([Insn(opcode, 0, 1), Insn(i.JMP | i.EXIT)], verified=True)
    for number in NUMBERS:
        region.data[:] = number.to_bytes(8, "little")
        for engine in ENGINES:
            assert run(engine, code, region.address, env=env) == signed(number, 8 * size) & U64


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_byte_swaps(bits: int) -> None:
    for opcode, swaps in ((i.ALU | i.END, False), (i.ALU | i.END | i.X, True), (i.ALU64 | i.END, True)):
        code = [Insn(i.ALU64 | i.MOV | i.X, 0, 1), Insn(opcode, 0, imm=bits), Insn(i.JMP | i.EXIT)]
        for number in NUMBERS[-2:]:
            low = (number & (1 << bits) - 1).to_bytes(bits // 8, "little")
            assert run_all(code, number) == {int.from_bytes(low, "big" if swaps else "little")}


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("operation", [i.DIV, i.MOD])
def test_signed_division(operation: int, wide: bool) -> None:
    bits = 64 if wide else 32
    mask = (1 << bits) - 1
    opcode = (i.ALU64 if wide else i.ALU) | operation | i.X
    code = Code(
        [Insn(i.ALU64 | i.MOV | i.X, 0, 1), Insn(opcode, 0, 2, 1), Insn(i.JMP | i.EXIT)], verified=True
    )
    env = Env()
    for a, b in itertools.product((*NUMBERS, 7, -7 & U64), (0, 1, 2, -2 & U64, U64, 1 << bits - 1)):
        x, y = signed(a, bits), signed(b, bits)
        if not y:
            expected = 0 if operation == i.DIV else x
        else:
            quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            expected = quotient if operation == i.DIV else x - quotient * y
        for engine in ENGINES:
            assert run(engine, code, a, b, env=env) == expected & mask, (engine, x, y)
