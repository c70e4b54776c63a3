"""Types as users write them: layout as in C, and every slip a ValueError or TypeError."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import probee as bp
from probee.btf.values import Codecs
from probee.kernel.describe import Types, record_codec


def codec(what: Any) -> Any:
    return record_codec(what, None)


@pytest.mark.parametrize(
    ("what", "size", "value", "raw"),
    [
        ("u8", 1, 255, b"\xff"),
        ("s16", 2, -2, b"\xfe\xff"),
        ("i32", 4, -1, b"\xff" * 4),
        ("u64", 8, 1, b"\1" + bytes(7)),
        ("bool", 1, True, b"\1"),
        ("f32", 4, 0.5, b"\0\0\0\x3f"),
        ("f64", 8, 0.5, b"\0" * 6 + b"\xe0\x3f"),
        ("char[4]", 4, "ab", b"ab\0\0"),
        ("u8[3]", 3, b"\1\2\3", b"\1\2\3"),
        ("u16[2]", 4, (1, 2), b"\1\0\2\0"),
        ("u16[2][2]", 8, ((1, 2), (3, 4)), b"\1\0\2\0\3\0\4\0"),
        (2, 2, 258, b"\2\1"),
        (3, 3, b"\1\2\3", b"\1\2\3"),
        (bp.u32, 4, 7, b"\7\0\0\0"),
        (bp.Char[4], 4, "x", b"x\0\0\0"),
        (bp.i16[2], 4, (-1, 1), b"\xff\xff\1\0"),
    ],
)
def test_plain_types(what: Any, size: int, value: Any, raw: bytes) -> None:
    c = codec(what)
    assert c.size == size
    assert c.pack(value) == raw
    assert c.unpack(raw) == value


def test_structs() -> None:
    c = codec({"a": "u8", "b": "u32", "inner": {"x": "u16", "y": "u8"}, "name": "char[3]"})
    assert c.size == 16
    assert c.pack({"a": 1, "b": 2, "inner": (3, 4), "name": "ab"}) == (
        b"\1\0\0\0" + b"\2\0\0\0" + b"\3\0\4\0" + b"ab\0\0"
    )
    record = c.unpack(bytes(range(12)) + b"ab\0\0")
    assert (record.inner.x, record.name) == (0x0908, "ab")


def test_the_users_structs_keep_their_class() -> None:
    class Point(bp.Struct):
        x: bp.i32
        y: bp.i32

        def total(self) -> int:
            return int(self.x + self.y)

    assert codec(Point).unpack(bytes([1, 0, 0, 0, 2, 0, 0, 0])).total() == 3
    assert codec({"p": Point, "n": "u8"}).unpack(bytes(12)).p.total() == 0


def test_names_of_the_objects_types() -> None:
    types = Types()
    types.builder.struct("event", 4, [("n", types.add("u32")[0], 0)])
    codecs = Codecs(types.builder.btf())
    for name in ("event", "struct event"):
        assert record_codec(name, codecs) is codecs.get(2)
    assert record_codec("u16", codecs).size == 2
    assert record_codec(codecs.get(2), None) is codecs.get(2)
    with pytest.raises(ValueError, match="no type 'nothing'"):
        record_codec("nothing", codecs)


@pytest.mark.parametrize(
    "what", ["", "u", "u7", "u32[", "u32[]", "u32[x]", "u32[0]", "char[-1]", "[4]", "int", {}, 0, -1, 1 << 40]
)
def test_what_is_no_type(what: Any) -> None:
    with pytest.raises(ValueError, match=r"type|struct|bytes"):
        codec(what)


@pytest.mark.parametrize("what", [None, 1.5, True, object(), [], b"u32", {"a": None}])
def test_what_is_no_description(what: Any) -> None:
    with pytest.raises(TypeError, match="no type of a map"):
        codec(what)


@given(st.text(alphabet="uisfchar[]0123456789 x", max_size=20))
def test_any_text_is_a_type_or_a_value_error(text: str) -> None:
    try:
        c = codec(text)
    except ValueError:
        return
    assert c.size > 0


NUMBERS = {"u8": ctypes.c_uint8, "u16": ctypes.c_uint16, "u32": ctypes.c_uint32, "i64": ctypes.c_int64}


@given(st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1, max_size=8))
def test_structs_are_laid_out_as_c_does(kinds: list[str]) -> None:
    fields = [(f"f{i}", NUMBERS[kind]) for i, kind in enumerate(kinds)]
    in_c: Any = type("InC", (ctypes.Structure,), {"_fields_": fields})
    c = codec({f"f{i}": kind for i, kind in enumerate(kinds)})
    assert c.size == ctypes.sizeof(in_c)
    for name, _ in fields:
        assert c.fields[name].start == getattr(in_c, name).offset
