"""Declared types: C layout, wrapping in CPython, errors that point at the declaration."""

from __future__ import annotations

import ctypes
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probee as bp
from probee import Char, i8, i16, i32, i64, u8, u16, u32, u64
from probee.errors import CompileError
from probee.lang import decl, types

SCALARS = [(u8, "B"), (u16, "H"), (u32, "I"), (u64, "Q"), (i8, "b"), (i16, "h"), (i32, "i"), (i64, "q")]
BY_CODE = {
    "B": ctypes.c_uint8,
    "H": ctypes.c_uint16,
    "I": ctypes.c_uint32,
    "Q": ctypes.c_uint64,
    "b": ctypes.c_int8,
    "h": ctypes.c_int16,
    "i": ctypes.c_int32,
    "q": ctypes.c_int64,
}


class Inner(bp.Struct):
    a: u8
    b: u32


class Outer(bp.Struct):
    flag: bool
    inner: Inner
    many: u16[3]
    grid: u8[2][3]
    pair: Inner[2]
    comm: Char[5]
    count: int

    def total(self) -> int:
        return self.count + self.inner.b


@pytest.mark.parametrize(("scalar", "code"), SCALARS)
@given(x=st.integers(-(2**70), 2**70))
def test_integers_wrap_as_ctypes_does(scalar, code: str, x: int) -> None:
    assert scalar(x) == BY_CODE[code](x).value
    assert type(scalar(x)) is int
    assert decl.pack(scalar, x) == struct.pack("<" + code, scalar(x))


def test_integer_facts() -> None:
    assert (u32.bits, u32.signed, u32.size) == (32, False, 4)
    assert u32() == 0
    assert u64("17") == 17
    assert i8(True) == 1
    assert repr(u32) == "u32"
    assert u32[4] == u32[4] != u32[5]
    assert len({u32[4], u32[4], i32[4]}) == 2
    assert decl.bool_(7) is True


def test_char() -> None:
    assert Char[5]("häßlich") == "häß"
    assert Char[4](b"ab\0cd") == "ab"
    assert Char[4]() == ""
    assert decl.pack(Char[4], "abcdef") == b"abcd"
    assert decl.pack(Char[4], "a") == b"a\0\0\0"
    assert Char[3]("aä") == "aä"
    assert Char[2]("aä") == "a�"  # cut inside a character, as the field would be
    assert Char[16] == Char[16]
    assert repr(Char[16]) == "Char[16]"


def test_layout_is_c() -> None:
    class CInner(ctypes.Structure):
        _fields_ = [("a", ctypes.c_uint8), ("b", ctypes.c_uint32)]

    class COuter(ctypes.Structure):
        _fields_ = [
            ("flag", ctypes.c_bool),
            ("inner", CInner),
            ("many", ctypes.c_uint16 * 3),
            ("grid", (ctypes.c_uint8 * 2) * 3),
            ("pair", CInner * 2),
            ("comm", ctypes.c_char * 5),
            ("count", ctypes.c_int64),
        ]

    assert Outer._size_ == ctypes.sizeof(COuter)
    assert Outer._align_ == ctypes.alignment(COuter)
    for f in Outer._fields_:
        c = getattr(COuter, f.name)
        assert (f.offset, f.size) == (c.offset, c.size), f.name
        assert getattr(Outer, f.name) is f


def test_struct_in_cpython() -> None:
    o = Outer(count=-1, inner=Inner(a=300, b=5), comm="abcdefgh", many=[1, 2**16 + 2])
    assert (o.inner.a, o.count, o.comm, list(o.many), o.flag) == (44, -1, "abcde", [1, 2, 0], False)
    assert o.total() == 4
    o.count = 2**63
    assert o.count == -(2**63)
    o.inner.b += 2**32
    assert o.inner.b == 5
    o.many[2] = -1
    assert o.many == [1, 2, 65535]
    o.grid[1][1] = 257
    assert o.grid == [[0, 0], [0, 1], [0, 0]]
    inner = Inner(b=9)
    o.inner = inner  # assignment copies, as it does in the kernel
    inner.b = 1
    assert o.inner.b == 9
    assert Inner(a=1) == Inner(a=1) != Inner(a=2)
    assert Inner() != object()
    assert repr(Inner(a=1)) == "Inner(a=1, b=0)"
    assert Inner(a=1)._asdict() == {"a": 1, "b": 0}
    assert o._asdict()["inner"] == {"a": 0, "b": 9}
    assert {Inner(a=1): "x"}[Inner(a=1)] == "x"
    assert hash(Outer()) == hash(Outer())


def test_struct_misuse_in_cpython() -> None:
    with pytest.raises(TypeError, match="no field 'c'; it has a, b"):
        Inner(c=1)
    with pytest.raises(TypeError, match="expected Inner"):
        Outer(inner=5)
    with pytest.raises(ValueError, match="takes 3 elements"):
        Outer(many=[1, 2, 3, 4])
    o = Outer()
    with pytest.raises(TypeError, match="keeps its length"):
        o.many.append(1)
    with pytest.raises(ValueError, match="keeps its length"):
        o.many[:2] = [1]
    o.many[:2] = [7, 65536]
    assert o.many == [7, 0, 0]


def test_pack() -> None:
    data = decl.pack(Outer, Outer(flag=True, inner=Inner(a=1, b=2), pair=[Inner(b=3)], comm="hi", count=-2))
    f = {f.name: f for f in Outer._fields_}
    assert data[0] == 1
    assert data[f["inner"].offset :][:8] == struct.pack("<BxxxI", 1, 2)
    assert data[f["pair"].offset :][:16] == struct.pack("<BxxxIBxxxI", 0, 3, 0, 0)
    assert data[f["comm"].offset :][:5] == b"hi\0\0\0"
    assert data[f["count"].offset :] == struct.pack("<q", -2)


def test_inheritance_puts_the_base_first() -> None:
    class More(Inner):
        c: u64

    assert [(f.name, f.offset) for f in More._fields_] == [("a", 0), ("b", 4), ("c", 8)]
    assert More(a=1, c=2).c == 2
    with pytest.raises(CompileError, match="already has this field"):
        type(Inner)("Again", (Inner,), {"__annotations__": {"a": u8}})


def test_ir_types() -> None:
    t = decl.ir_type(Outer)
    assert isinstance(t, types.Struct)
    assert decl.ir_type(Outer) is t
    assert (t.name, t.size, t.core, t.union) == ("Outer", Outer._size_, False, False)
    assert [m.bit_offset for m in t.members] == [f.offset * 8 for f in Outer._fields_]
    by_name = {m.name: m.type for m in t.members}
    assert by_name["flag"] == types.BOOL
    assert by_name["inner"] is decl.ir_type(Inner)
    assert by_name["many"] == types.Array(types.U16, 3)
    assert by_name["grid"] == types.Array(types.Array(types.U8, 2), 3)
    assert by_name["comm"] == types.Chars(5)
    assert by_name["count"] == types.I64


def test_fields_in_the_spelling_of_type_checkers() -> None:
    class Short(bp.Struct):
        comm: Char[16]
        low: bp.Bits[u8, 3]
        high: bp.Bits[u8, 5]
        sizes: u32[4]

    class Long(bp.Struct):
        comm: bp.Annotated[str, 16]
        low: bp.Annotated[int, bp.Bits[u8, 3]]
        high: bp.Annotated[int, bp.Bits[u8, 5]]
        sizes: bp.Annotated[list[u32], 4]

    assert Short._fields_ == Long._fields_
    assert Long._unpack_(Short._pack_(Short(comm="a", low=5, high=17, sizes=[1, 2, 3, 4]))).high == 17


def test_patterns_by_position() -> None:
    match Inner(a=1, b=2):
        case Inner(0, _):
            raise AssertionError
        case Inner(1, b):
            assert b == 2


def test_annotations_as_strings_see_locals() -> None:
    class Local(bp.Struct):
        x: u8

    class Uses(bp.Struct):
        one: Local
        two: Local[2]

    assert Uses._size_ == 3


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        ("float", "scaled integer"),
        ("str", "Char\\[16\\]"),
        ("Char", "Char\\[16\\]"),
        ("bytes", "Char\\[16\\]"),
        ("list", "not a type that programs have"),
        ("u33", "can't evaluate the type 'u33'"),
        ("u8[0]", "positive integer"),
        ("u8[-1]", "positive integer"),
        ("Char[0]", "number of bytes"),
        ("Char[True]", "number of bytes"),
    ],
)
def test_bad_field_types(annotation: str, words: str) -> None:
    with pytest.raises(CompileError, match=r"Bad|Char|u8") as e:
        type(Inner)("Bad", (bp.Struct,), {"__annotations__": {"x": annotation}})
    import re

    assert re.search(words, str(e.value))
    assert e.value.file == __file__
    assert "type(Inner)(" in e.value.source


def test_other_bad_structs() -> None:
    with pytest.raises(CompileError, match="no other default"):

        class WithDefault(bp.Struct):
            x: u8 = 3

    class Empty(bp.Struct):
        pass

    with pytest.raises(CompileError, match="no fields"):
        bp.Hash[u32, Empty](1)

    with pytest.raises(CompileError, match="taken"):

        class Reserved(bp.Struct):
            _asdict: u8

    with pytest.raises(CompileError, match="needs a length"):
        Char("x")


def test_without_string_annotations() -> None:
    text = "import probee as bp\nclass S(bp.Struct):\n  a: bp.u8\n  b: bp.Char[3]\nprint(S._size_, S())"
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert run.stdout == "4 S(a=0, b='')\n", run.stderr
