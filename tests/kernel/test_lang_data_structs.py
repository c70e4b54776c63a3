"""Structs in the kernel: unions, bit fields, enums, pointers, packed and aligned ones, nested ones."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Kind(enum.IntEnum):
    FILE = 1
    SOCKET = 7


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Bits(bp.Struct):
    low: bp.Bits[u8, 3]
    high: bp.Bits[u8, 5]
    wide: bp.Bits[u32, 17]
    signed: bp.Bits[i32, 4]
    after: u16


class Packed(bp.Struct, packed=True):
    a: u8
    b: u32
    c: u64
    d: u16


class Inner(bp.Union):
    number: u32
    halves: u16[2]
    bytes: u8[4]


class Outer(bp.Struct, align=16):
    kind: Kind
    mode: Mode
    inner: Inner
    packed: Packed
    points: Point[3]
    grid: u16[2][3]
    task: bp.Ptr["task_struct"]
    names: Char[8][2]


out_bits = bp.Array[Bits](1)
out = bp.Array[Outer](1)
out_packed = bp.Array[Packed](2)
by_kind = bp.Hash[Kind, u64](8)
unions = bp.Array[Inner](1)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, above=ABOVE) as build:
        yield build


def test_bit_fields(build):
    run = build(
        """
        v = Bits(low=5, after=0xBEEF)
        v.high = 21
        v.wide = 0x1ABCD
        v.signed = -3
        v.low += 1
        v.wide ^= number
        out_bits[0] = v
        return v.low * 1000 + v.high + (1 if v.signed == -3 else 0)
        """
    )
    assert run(0, 1) == 6022
    module = run.module
    value = module.Bits._unpack_(run.raw("out_bits"))
    assert (value.low, value.high, value.wide, value.signed, value.after) == (6, 21, 0x1ABCC, -3, 0xBEEF)
    assert module.Bits._pack_(value) == run.raw("out_bits")


def test_bit_field_in_a_map_keeps_its_neighbours(build):
    run = build(
        """
        out_bits[0].low = 7
        out_bits[0].high = 9
        out_bits[0].low = 2
        out_bits[0].signed -= 1
        v = out_bits.get(0)
        if v is None:
            return 1
        v.wide = 70000
        v.high += 1
        return v.low
        """
    )
    assert run() == 2
    value = run.module.Bits._unpack_(run.raw("out_bits"))
    assert (value.low, value.high, value.wide, value.signed, value.after) == (2, 10, 70000, -1, 0)


def test_packed_struct(build):
    run = build(
        """
        v = Packed(a=1, b=0x11223344, c=number, d=7)
        v.b += 1
        out_packed[1] = v
        w = out_packed.get(1)
        if w is None:
            return 1
        w.c += 2
        return w.b & 0xFF
        """
    )
    assert run(0, 0x8877665544332211) == 0x45
    want = b"\x01" + (0x11223345).to_bytes(4, "little") + (0x8877665544332213).to_bytes(8, "little") + b"\7\0"
    assert run.raw("out_packed", 1) == want


def test_nested_with_union_enums_arrays_and_pointer(build):
    run = build(
        """
        o = out.get(0)
        if o is None:
            return 1
        o.kind = Kind.SOCKET
        o.mode = Mode.READ | Mode.WRITE
        o.inner.number = 0x01020304
        o.packed.c = 5
        o.points[1].y = -2
        o.points[2] = o.points[1]
        o.grid[2][1] = 9
        o.task = bp.current_task()
        o.names[1] = "second"
        if o.kind == Kind.FILE or o.mode & Mode.WRITE == 0:
            return 2
        if o.inner.halves[0] != 0x0304 or o.inner.bytes[3] != 1:
            return 3
        if o.task.tgid != bp.pid():
            return 4
        by_kind[o.kind] += 1
        by_kind[Kind.FILE] += 2
        return 0
        """
    )
    assert run() == 0
    o = run.module.Outer._unpack_(run.raw("out"))
    assert o.kind is run.module.Kind.SOCKET
    assert o.mode == run.module.Mode.READ | run.module.Mode.WRITE
    assert o.inner.bytes == [4, 3, 2, 1]
    assert o.packed.c == 5
    assert [(p.x, p.y) for p in o.points] == [(0, 0), (0, -2), (0, -2)]
    assert o.grid == [[0, 0], [0, 0], [0, 9]]
    assert o.task >> 63
    assert o.names == ["", "second"]
    assert dict(run.maps["by_kind"].items()) == {1: 2, 7: 1}


def test_union_made_in_a_program(build):
    run = build(
        """
        u = Inner(halves=(1, 2))
        u.bytes[0] = 5
        unions[0] = u
        return u.number
        """
    )
    assert run() == 0x20005
    assert run.raw("unions") == b"\5\0\2\0"


def test_same_memory_as_in_python(build):
    run = build("pass")
    module = run.module
    o = module.Outer(kind=7, mode=3, packed=module.Packed(b=7), names=["a", "b"])
    o.inner.halves[1] = 3
    assert o.inner.number == 0x30000
    assert module.Outer._size_ % 16 == 0
    assert module.Outer._unpack_(module.Outer._pack_(o)) == o


def test_comparison_and_copies(build):
    run = build(
        """
        a = Packed(a=1, b=2, c=number)
        b = Packed(a=1, b=2, c=7)
        p = Padded(a=1, b=number)
        q = Padded(a=1, b=7)
        p2 = Padded()
        p2.a = 1
        p2.b = number
        n = int(a == b) + 2 * int(p == q) + 4 * int(p != p2) + 8 * int(by_number.get(1) is None)
        by_number[1] = p
        n += 16 * int(by_number[1] == q)
        e = Exec(sizes=(1, 2, 3, 4))
        n += 32 * int(e.sizes == (1, 2, 3, number))
        big[0].numbers[99] = number
        n += 64 * int(big[0].numbers == big[1].numbers)
        return n
        """,
        above=ABOVE
        + """
class Big(bp.Struct):
    numbers: u32[100]

by_number = bp.Array[Padded](2)
big = bp.Array[Big](2)
""".replace("by_number = bp.Array[Padded](2)", "by_number = bp.Hash[u32, Padded](2)"),
    )
    assert run(0, 7) == 1 + 2 + 8 + 16
    assert run(0, 4) == 32
    assert run(0, 0) == 64
