"""Integers, text, arrays and all that is not a struct: memory to Python values and back."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.btf.build import BtfBuilder
from probee.btf.values import Codec, codec
from probee.errors import ObjectError

SIGNED, BOOL = 1, 4


def of(make: Callable[[BtfBuilder], int], endian: str = "little") -> Codec:
    """The codec of the type that `make` adds to a builder."""
    b = BtfBuilder(endian=endian)
    type_id = make(b)
    return codec(b.btf(), type_id)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_integers_round_trip_at_their_limits(size: int, signed: bool, endian: str) -> None:
    c = of(lambda b: b.int_("n", size, SIGNED if signed else 0), endian)
    low, high = (-(1 << size * 8 - 1), (1 << size * 8 - 1) - 1) if signed else (0, (1 << size * 8) - 1)
    for n in (low, high, 0, 1):
        assert c.pack(n) == n.to_bytes(size, endian, signed=signed)  # type: ignore[arg-type]
        assert c.unpack(c.pack(n)) == n
    for n in (low - 1, high + 1):
        with pytest.raises(OverflowError, match="does not fit n"):
            c.pack(n)
    with pytest.raises(TypeError, match="not a value of type n"):
        c.pack("1")
    with pytest.raises(TypeError):
        c.pack(1.0)


def test_integers_take_what_has_an_index() -> None:
    c = of(lambda b: b.int_("u32", 4))
    assert c.pack(np.uint64(7)) == b"\7\0\0\0"


def test_unpacking_reads_at_an_offset_and_checks_the_end() -> None:
    c = of(lambda b: b.int_("u32", 4))
    assert c.unpack(b"\xff\1\0\0\0", 1) == 1
    for buffer, offset in ((b"\0\0\0", 0), (b"\0\0\0\0", 1), (b"", 0), (b"\0\0\0\0", 99)):
        with pytest.raises(ObjectError, match="takes 4 bytes"):
            c.unpack(buffer, offset)


def test_bool() -> None:
    c = of(lambda b: b.int_("_Bool", 1, BOOL))
    assert c.unpack(b"\1") is True
    assert c.unpack(b"\0") is False
    assert c.unpack(b"\2") is True
    assert (c.pack(True), c.pack(0)) == (b"\1", b"\0")
    with pytest.raises(OverflowError):
        c.pack(2)
    assert c.dtype() == np.dtype("?")


def test_floats() -> None:
    c = of(lambda b: b.float_("double", 8))
    assert c.unpack(struct.pack("<d", 1.5)) == 1.5
    assert math.isnan(c.unpack(c.pack(math.nan)))
    with pytest.raises(TypeError):
        c.pack("x")
    with pytest.raises(ObjectError, match="floating point of 16 bytes"):
        of(lambda b: b.float_("long double", 16))


def test_enums_and_pointers_are_integers() -> None:
    signed = of(lambda b: b.enum("e", [("MINUS", -1)]))
    assert signed.unpack(b"\xff\xff\xff\xff") == -1
    assert of(lambda b: b.enum("e", [("ONE", 1)])).unpack(b"\xff\xff\xff\xff") == (1 << 32) - 1
    assert of(lambda b: b.enum64("e", [("BIG", 1 << 40)])).size == 8
    assert of(lambda b: b.ptr(0)).unpack(b"\xff" * 8) == (1 << 64) - 1


def test_typedefs_qualifiers_and_variables_are_looked_through() -> None:
    c = of(lambda b: b.var("v", b.const(b.typedef("pid_t", b.volatile(b.int_("int", 4, SIGNED))))))
    assert c.unpack(b"\xff\xff\xff\xff") == -1


def test_char_arrays_are_text() -> None:
    c = of(lambda b: b.array(b.typedef("c", b.int_("char", 1, SIGNED)), 4))
    assert c.unpack(b"ab\0z") == "ab"
    assert c.unpack(b"abcd") == "abcd"
    assert c.unpack(b"\xffa\0\0") == "\ufffda"
    assert c.pack("ab") == b"ab\0\0"
    assert c.pack(b"abcd") == b"abcd"
    assert c.pack("é") == "é".encode() + b"\0\0"
    with pytest.raises(ValueError, match="5 bytes do not fit"):
        c.pack("abcde")
    with pytest.raises(TypeError):
        c.pack(5)
    assert c.dtype() == np.dtype("S4")
    assert np.frombuffer(b"ab\0\0", c.dtype())[0] == b"ab"


def test_file_names_that_are_not_utf8_can_be_packed() -> None:
    c = of(lambda b: b.array(b.int_("char", 1, SIGNED), 2))
    assert c.pack(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff\0"


def test_unsigned_bytes_are_bytes_and_signed_ones_numbers() -> None:
    c = of(lambda b: b.array(b.int_("unsigned char", 1), 4))
    assert c.unpack(b"a\0b\0") == b"a\0b\0"
    assert c.pack(b"ab") == b"ab\0\0"
    assert c.dtype() == np.dtype((np.uint8, (4,)))
    assert of(lambda b: b.array(b.int_("signed char", 1, SIGNED), 2)).unpack(b"\xff\1") == (-1, 1)
    assert of(lambda b: b.array(b.int_("_Bool", 1, BOOL), 2)).unpack(b"\0\1") == (False, True)


def test_arrays_are_tuples() -> None:
    c = of(lambda b: b.array(b.array(b.int_("u16", 2), 2), 3))
    raw = struct.pack("<6H", *range(6))
    assert c.unpack(raw) == ((0, 1), (2, 3), (4, 5))
    assert c.pack(((0, 1), (2, 3), (4, 5))) == raw
    assert c.pack([[1]]) == struct.pack("<6H", 1, 0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="takes 3 values, not 4"):
        c.pack([[0]] * 4)
    with pytest.raises(TypeError):
        c.pack("abc")
    with pytest.raises(TypeError):
        c.pack(3)
    assert np.frombuffer(raw, np.dtype([("a", c.dtype())]))["a"].tolist() == [[[0, 1], [2, 3], [4, 5]]]


def test_arrays_without_elements() -> None:
    assert of(lambda b: b.array(b.int_("u32", 4), 0)).unpack(b"") == ()
    assert of(lambda b: b.array(b.int_("char", 1, SIGNED), 0)).unpack(b"") == ""
    assert of(lambda b: b.array(b.struct("empty", 0), 3)).unpack(b"") == ()


def test_arrays_of_arrays_of_nothing_end() -> None:
    c = of(lambda b: b.array(b.array(b.int_("u32", 4), 0), 0xFFFFFFFF))
    assert c.size == 0
    assert c.unpack(b"") == ()


def test_unpack_many_with_padding_between() -> None:
    c = of(lambda b: b.int_("u32", 4))
    raw = struct.pack("<IIII", 1, 0, 2, 0)
    assert c.unpack_many(raw, 2, stride=8) == [1, 2]
    assert c.unpack_many(raw, 2, 8) == [2, 0]
    assert c.unpack_many(raw, 0) == []
    for count, offset, stride in ((5, 0, 0), (2, 4, 8), (1, 0, 2), (-1, 0, 0), (1, -4, 0)):
        with pytest.raises(ObjectError, match="do not hold"):
            c.unpack_many(raw, count, offset, stride)
    text = of(lambda b: b.array(b.int_("char", 1, SIGNED), 2))
    assert text.unpack_many(b"a\0bc", 2) == ["a", "bc"]


def test_streams_skip_what_is_around_the_value() -> None:
    c = of(lambda b: b.int_("u16", 2))
    assert list(c.stream(b"....\1\0..----\2\0--", 4, 2)) == [1, 2]
    with pytest.raises(ObjectError, match="no whole number"):
        c.stream(b"...", 4, 2)
    for tail in range(500):  # formats are kept for a while, not for ever
        assert list(c.stream(b"\1\0" + bytes(tail), 0, tail)) == [1]


def test_types_without_values() -> None:
    for make in (
        lambda b: 0,
        lambda b: b.func_proto(0),
        lambda b: b.fwd("later"),
        lambda b: b.array(0, 4),
        lambda b: b.int_("odd", 0),
    ):
        with pytest.raises(ObjectError):
            of(make)
    with pytest.raises(ObjectError):
        of(lambda b: 99)


def test_sizes_that_no_machine_has() -> None:
    with pytest.raises(ObjectError):
        of(lambda b: b.array(b.array(b.array(b.int_("u64", 8), 0xFFFFFFFF), 0xFFFFFFFF), 2))
    huge = of(lambda b: b.array(b.int_("u64", 8), 0xFFFFFFFF))
    with pytest.raises(ObjectError, match="takes"):
        huge.unpack(b"12345678")
    with pytest.raises(ObjectError, match="no NumPy dtype"):
        huge.dtype()


def test_wide_integers_are_bytes_in_numpy() -> None:
    assert of(lambda b: b.int_("__int128", 16, SIGNED)).dtype() == np.dtype("V16")


@given(st.binary(max_size=40), st.integers(-8, 50))
def test_any_bytes_give_a_value_or_an_object_error(raw: bytes, offset: int) -> None:
    for make in (
        lambda b: b.int_("u32", 4),
        lambda b: b.array(b.int_("char", 1, SIGNED), 5),
        lambda b: b.array(b.int_("u16", 2), 3),
        lambda b: b.float_("double", 8),
    ):
        c = of(make)
        try:
            c.unpack(raw, offset)
        except ObjectError:
            assert not 0 <= offset <= len(raw) - c.size


def test_importing_is_light() -> None:
    heavy = ["typing", "dataclasses", "inspect", "enum", "re", "collections", "functools", "pathlib", "numpy"]
    modules = (
        "probee.btf.values probee.btf.records probee.kernel.maps probee.kernel.ringbuf probee.kernel.globals"
    )
    code = f"import sys, {modules.replace(' ', ', ')}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    if "No module named 'probee'" in done.stderr:  # installed by a .pth file, which -S skips
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
        base = subprocess.run(
            [sys.executable, "-I", "-c", f"import sys; print([m for m in {heavy} if m in sys.modules])"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == base.stdout
    else:
        assert done.stdout.strip() == "[]", done.stderr
