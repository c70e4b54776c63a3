"""Structs and unions as records."""

from __future__ import annotations

import contextlib
import copy
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import probee.lang.decl as bp
from probee.btf.build import BtfBuilder
from probee.btf.records import Record
from probee.btf.values import Codecs, codec
from probee.errors import ObjectError

SIGNED, BOOL = 1, 4
RAW = struct.pack("<QIi16s", 5, 7, -1, b"bash\0junk")


def exec_type(b: BtfBuilder) -> int:
    u64, u32, i32 = b.int_("u64", 8), b.int_("u32", 4), b.int_("int", 4, SIGNED)
    comm = b.array(b.int_("char", 1, SIGNED), 16)
    members = [("time_ns", u64, 0), ("pid", u32, 64), ("ret", i32, 96), ("comm", comm, 128)]
    return b.struct("Exec", 32, members)


def exec_codec(classes: dict[str, type] | None = None) -> Any:
    b = BtfBuilder()
    id = exec_type(b)
    return codec(b.btf(), id, classes)


def test_a_record_reads_like_a_named_tuple() -> None:
    r = exec_codec().unpack(RAW)
    assert (r.time_ns, r.pid, r.ret, r.comm) == (5, 7, -1, "bash")
    assert repr(r) == "Exec(time_ns=5, pid=7, ret=-1, comm='bash')"
    assert r._fields == ("time_ns", "pid", "ret", "comm")
    assert r._asdict() == {"time_ns": 5, "pid": 7, "ret": -1, "comm": "bash"}
    assert tuple(r) == (5, 7, -1, "bash") == r
    assert list(r) == [5, 7, -1, "bash"]
    assert r[3] == "bash"
    assert r[-2:] == (-1, "bash")
    assert len(r) == 4
    assert "bash" in r
    assert b"bash" not in r
    a, b, c, d = r
    assert (a, b, c, d) == r
    assert json.dumps(r) == '[5, 7, -1, "bash"]'
    assert r._raw == RAW
    assert sorted([r._replace(pid=9), r])[0] == r
    assert r < r._replace(pid=9) <= r._replace(pid=9)
    assert r._replace(pid=9) > r >= r


def test_equality_and_hash_are_of_the_values() -> None:
    c = exec_codec()
    r = c.unpack(RAW)
    clean = c.unpack(c.pack((5, 7, -1, "bash")))
    assert r._raw != clean._raw  # what follows the NUL is no part of the text
    assert r == clean
    assert (r != clean) is False
    assert hash(r) == hash(clean) == hash((5, 7, -1, "bash"))
    assert {r: 1}[clean] == 1
    assert r != exec_codec().unpack(bytes(32))
    assert exec_codec().unpack(RAW) == r  # of another codec
    assert r != 5
    assert r is not None
    assert (r == None) is False  # noqa: E711


def test_records_can_not_be_changed() -> None:
    r = exec_codec().unpack(RAW)
    with pytest.raises(AttributeError):
        r.pid = 8
    with pytest.raises(AttributeError):
        r.comm = "x"
    with pytest.raises(AttributeError):
        r.other = 1
    with pytest.raises(AttributeError, match="no field 'count'"):
        _ = r.count
    changed = r._replace(comm="vi", pid=8)
    assert (changed.comm, changed.pid, changed.time_ns) == ("vi", 8, 5)
    assert copy.copy(r) == r
    with pytest.raises(TypeError, match="no field 'nope'; it has time_ns, pid, ret, comm"):
        r._replace(nope=1)


def test_packing_takes_all_that_has_the_fields() -> None:
    c = exec_codec()
    clean = struct.pack("<QIi16s", 5, 7, -1, b"bash")
    assert c.pack((5, 7, -1, "bash")) == clean
    assert c.pack([5, 7, -1, b"bash"]) == clean
    assert c.pack({"time_ns": 5, "pid": 7, "ret": -1, "comm": "bash"}) == clean
    assert c.pack({"pid": 7}) == struct.pack("<QIi16s", 0, 7, 0, b"")
    assert c.pack(c.unpack(RAW)) == RAW
    assert c.pack(exec_codec().unpack(clean)) == clean  # a record of another codec
    assert c.pack(RAW) == RAW

    class Thing:
        time_ns, pid, ret, comm = 5, 7, -1, "bash"

    assert c.pack(Thing()) == clean
    for bad, error in (
        ((1, 2), ValueError),
        ({"nope": 1}, TypeError),
        (b"short", ValueError),
        (object(), TypeError),
        (5, TypeError),
        ({"pid": 1 << 32}, OverflowError),
        ({"comm": "x" * 17}, ValueError),
    ):
        with pytest.raises(error):
            c.pack(bad)


def test_too_few_bytes() -> None:
    c = exec_codec()
    with pytest.raises(ObjectError, match="struct Exec takes 32 bytes"):
        c.unpack(RAW[:-1])
    with pytest.raises(ObjectError):
        c.unpack(RAW, 1)


class Exec(bp.Struct):
    time_ns: bp.u64
    pid: bp.u32
    ret: bp.i32
    comm: bp.Char[16]  # type: ignore[valid-type]

    @property
    def failed(self) -> bool:
        return self.ret < 0

    def __str__(self) -> str:
        return f"{self.comm}/{self.pid}"


def test_records_are_of_the_users_class() -> None:
    c = exec_codec({"Exec": Exec})
    r = c.unpack(RAW)
    assert isinstance(r, Exec)
    assert isinstance(r, Record)
    assert r.failed
    assert str(r) == "bash/7"
    assert repr(r) == "Exec(time_ns=5, pid=7, ret=-1, comm='bash')"
    assert type(r).__qualname__ == "Exec"
    mine = Exec(time_ns=5, pid=7, ret=-1, comm="bash")
    assert r == mine
    assert mine == r
    assert r != Exec()
    assert c.pack(mine) == c.pack((5, 7, -1, "bash"))
    assert list(c.stream(RAW * 2)) == [r, r]
    assert r._asdict() == mine._asdict()


def test_a_class_with_other_fields_is_not_used() -> None:
    class Exec(bp.Struct):
        pid: bp.u32

    r = exec_codec({"Exec": Exec}).unpack(RAW)
    assert not isinstance(r, Exec)
    assert r.pid == 7


def test_what_the_users_class_defines_goes_before_the_tuple() -> None:
    class Exec(bp.Struct):
        time_ns: bp.u64
        pid: bp.u32
        ret: bp.i32
        comm: bp.Char[16]  # type: ignore[valid-type]

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return other == "anything"

        def count(self) -> int:
            return 3

    r = exec_codec({"Exec": Exec}).unpack(RAW)
    assert repr(r) == "mine"
    assert r == "anything"
    assert r.count() == 3
    assert r.pid == 7


def nested(b: BtfBuilder) -> int:
    u32, u8 = b.int_("u32", 4), b.int_("u8", 1)
    point = b.struct("Point", 8, [("x", u32, 0), ("y", u32, 32)])
    members = [
        ("count", u32, 0),
        ("at", point, 32),
        ("path", b.array(point, 2), 96),
        ("mac", b.array(u8, 6), 224),
        ("words", b.array(u32, 2), 288),
    ]
    return b.struct("Nest", 44, members)


def test_nested_structs_and_arrays() -> None:
    b = BtfBuilder()
    id = nested(b)
    c = codec(b.btf(), id)
    value = (1, (2, 3), ((4, 5), (6, 7)), b"abcdef", (8, 9))
    raw = struct.pack("<7I6s2xII", 1, 2, 3, 4, 5, 6, 7, b"abcdef", 8, 9)
    assert c.pack(value) == raw
    r = c.unpack(raw)
    assert r == value
    assert r.at.y == 3
    assert [p.x for p in r.path] == [4, 6]
    assert r.count == 1
    assert r._asdict()["path"] == ({"x": 4, "y": 5}, {"x": 6, "y": 7})
    assert c.pack(r._asdict()) == raw
    assert type(r.at) is type(r.path[0])
    dtype = c.dtype()
    assert dtype.itemsize == 44
    array = np.frombuffer(raw, dtype)
    assert array["at"]["y"][0] == 3
    assert array["path"]["x"].tolist() == [[4, 6]]
    assert array["words"].tolist() == [[8, 9]]


def test_one_record_class_for_one_struct() -> None:
    b = BtfBuilder()
    id = nested(b)
    codecs = Codecs(b.btf())
    assert codecs.get(id) is codecs.get(id)
    assert codecs.get(b.btf().find("Point") or 0).record is codecs.get(id).fields["at"].codec.record  # type: ignore[attr-defined]


def test_unions_and_anonymous_members() -> None:
    b = BtfBuilder()
    u32, u16 = b.int_("u32", 4), b.int_("u16", 2)
    text = b.array(b.int_("char", 1, SIGNED), 4)
    inner = b.struct("", 4, [("low", u16, 0), ("high", u16, 16)])
    either = b.union("", 4, [("number", u32, 0), ("text", text, 0), ("", inner, 0)])
    id = b.struct("S", 12, [("first", u32, 0), ("", either, 32), ("last", u32, 64)])
    c = codec(b.btf(), id)
    r = c.unpack(struct.pack("<I4sI", 1, b"ab\0\0", 2))
    assert r._fields == ("first", "number", "text", "low", "high", "last")
    assert (r.text, r.number, r.low, r.high) == ("ab", 0x6261, 0x6261, 0)
    assert c.pack({"first": 1, "text": "ab", "last": 2}) == r._raw
    assert r._replace(high=0x6463).text == "abcd"
    assert np.frombuffer(r._raw, c.dtype())["text"][0] == b"ab"
    assert np.frombuffer(r._raw, c.dtype())["high"][0] == 0


def test_bitfields_in_both_byte_orders() -> None:
    # unsigned a:3, signed b:5, unsigned c:9 in one 32-bit unit, as gcc lays them out
    for endian, raw in (("little", 0b101010101_11110_101), ("big", 0b101_11110_101010101 << 15)):
        b = BtfBuilder(endian=endian)
        u32, i32 = b.int_("u32", 4), b.int_("int", 4, SIGNED)
        id = b.struct("B", 8, [("a", u32, 0, 3), ("b", i32, 3, 5), ("c", u32, 8, 9), ("d", u32, 32, 0)])
        c = codec(b.btf(), id)
        memory = raw.to_bytes(4, endian) + (77).to_bytes(4, endian)  # type: ignore[arg-type]
        r = c.unpack(memory)
        assert (r.a, r.b, r.c, r.d) == (0b101, -2, 0b101010101, 77)
        assert c.pack(tuple(r)) == memory
        assert r._replace(b=1)._asdict() == {"a": 5, "b": 1, "c": 0b101010101, "d": 77}
        with pytest.raises(OverflowError, match="a:3"):
            c.pack((8, 0, 0, 0))
        assert c.dtype().names == ("d", "_bits_0")
        assert np.frombuffer(memory, c.dtype())["d"][0] == 77


def test_bitfields_as_old_compilers_describe_them() -> None:
    b = BtfBuilder()
    three = b.int_("unsigned int", 4, bits=3)
    five = b.int_("unsigned int", 4, bits=5, offset=3)
    id = b.struct("B", 4, [("a", three, 0), ("b", five, 0)])
    assert tuple(codec(b.btf(), id).unpack(b"\xf5\0\0\0")) == (5, 0b11110)


def test_a_boolean_bitfield_is_a_bool() -> None:
    b = BtfBuilder()
    flag = b.int_("_Bool", 1, BOOL)
    id = b.struct("B", 1, [("on", flag, 0, 1), ("off", flag, 1, 1)])
    r = codec(b.btf(), id).unpack(b"\1")
    assert (r.on, r.off) == (True, False)
    assert r.on is True


def test_flexible_arrays_have_no_bytes() -> None:
    b = BtfBuilder()
    u32, char = b.int_("u32", 4), b.int_("char", 1, SIGNED)
    id = b.struct("F", 4, [("n", u32, 0), ("data", b.array(char, 0), 32), ("rest", b.array(u32, 0), 32)])
    c = codec(b.btf(), id)
    r = c.unpack(b"\1\0\0\0")
    assert (r.n, r.data, r.rest) == (1, "", ())
    assert c.pack((1, "", ())) == b"\1\0\0\0"
    assert c.dtype().names == ("n",)


def test_names_that_are_taken_stay_reachable() -> None:
    b = BtfBuilder()
    u32 = b.int_("u32", 4)
    names = ["_fields", "__class__", "_asdict", "class", "index", "__init__"]
    id = b.struct("odd name", 24, [(n, u32, 32 * i) for i, n in enumerate(names)])
    r = codec(b.btf(), id).unpack(struct.pack("<6I", *range(6)))
    assert r._asdict() == dict(zip(names, range(6), strict=True))
    assert r.index == 4
    assert getattr(r, "class") == 3
    assert isinstance(r, Record)
    assert type(r).__name__ == "record" or type(r).__name__ == "name"


@pytest.mark.parametrize(
    ("size", "members", "why"),
    [
        (4, [("a", 1, 0), ("a", 1, 0)], "two fields named 'a'"),
        (4, [("a", 1, 8)], "ends outside"),
        (4, [("a", 1, 40)], "outside"),
        (8, [("a", 1, 3)], "no bitfield"),
        (8, [("a", 1, 0, 33)], "33 bits"),
        (4, [("a", 2, 0)], "nested more than|ends outside|no values|larger"),
        (4, [("", 2, 0)], "larger"),
        (4, [("a", 99, 0)], "no type 99"),
        (4, [("a", 0, 0)], "no values"),
    ],
)
def test_structs_that_contradict_themselves(size: int, members: list[Any], why: str) -> None:
    b = BtfBuilder()
    b.int_("u32", 4)
    id = b.struct("S", size, members)
    assert id == 2
    with pytest.raises(ObjectError, match=why):
        codec(b.btf(), id)


def test_anonymous_members_that_multiply_are_refused_quickly() -> None:
    b = BtfBuilder()
    inner = b.struct("", 4, [("", b.struct("", 0), 0)])
    for _ in range(20):
        inner = b.struct("", 4, [("", inner, 0)] * 200)
    with pytest.raises(ObjectError, match="more than 65535 members"):
        codec(b.btf(), inner)


def test_deep_nesting_is_refused() -> None:
    b = BtfBuilder()
    inner = b.struct("s", 4, [("n", b.int_("u32", 4), 0)])
    for _ in range(40):
        inner = b.struct("s", 4, [("n", inner, 0)])
    with pytest.raises(ObjectError, match="deep"):
        codec(b.btf(), inner)


# ---- any struct


@st.composite
def types(draw: Any, b: BtfBuilder, depth: int = 0) -> tuple[int, int, Any]:
    """A random type: its id, size in bytes, and a strategy of its values."""
    kind = draw(st.sampled_from(["int", "bool", "text", "bytes", "array", "struct"][: 6 if depth < 3 else 4]))
    if kind == "int":
        size, signed = draw(st.sampled_from([1, 2, 4, 8, 16])), draw(st.booleans())
        low, high = (-1 << size * 8 - 1, (1 << size * 8 - 1) - 1) if signed else (0, (1 << size * 8) - 1)
        return b.int_("number", size, SIGNED if signed else 0), size, st.integers(low, high)
    if kind == "bool":
        return b.int_("_Bool", 1, BOOL), 1, st.booleans()
    n = draw(st.integers(0, 5))
    if kind == "text":
        value = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=n)
        return b.array(b.int_("char", 1, SIGNED), n), n, value
    if kind == "bytes":
        return b.array(b.int_("unsigned char", 1), n), n, st.binary(min_size=n, max_size=n)
    if kind == "array":
        # Bytes and characters in arrays are other kinds.
        elem, size, value = draw(types(b, depth + 1).filter(lambda t: t[1] != 1))
        n = n if size else 0
        return b.array(elem, n), size * n, st.lists(value, min_size=n, max_size=n).map(tuple)
    members, values, at = [], [], 0
    for i in range(n):
        member, size, value = draw(types(b, depth + 1))
        at += draw(st.integers(0, 3))
        members.append((f"f{i}", member, at * 8))
        values.append(value)
        at += size
    at += draw(st.integers(0, 3))
    return b.struct(f"s{b.next_id}", at, members), at, st.tuples(*values)


@settings(max_examples=150)
@given(st.data(), st.sampled_from(["little", "big"]))
def test_any_type_packs_and_unpacks(data: Any, endian: str) -> None:
    b = BtfBuilder(endian=endian)
    id, size, values = data.draw(types(b))
    c = codec(b.btf(), id)
    assert c.size == size
    value = data.draw(values)
    raw = c.pack(value)
    assert len(raw) == size
    assert c.unpack(raw) == value
    assert c.pack(c.unpack(raw)) == raw
    lead, tail, n = data.draw(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 4)))
    if lead + size + tail:
        around = bytes([0xAA]) * lead + raw + bytes([0xBB]) * tail
        assert list(c.stream(around * n, lead, tail)) == [value] * n
    assert c.unpack(b"x" * lead + raw, lead) == value
    if size:
        memory = data.draw(st.binary(min_size=size, max_size=size))
        assert c.dtype().itemsize == size
        found = c.unpack(memory)
        if "\ufffd" not in repr(found):  # bytes that are no text are shown as that, and can't come back
            assert c.unpack(c.pack(found)) == found


@settings(max_examples=200)
@given(st.data())
def test_any_struct_of_nonsense_gives_a_codec_or_an_object_error(data: Any) -> None:
    b = BtfBuilder()
    ids = st.integers(0, 9)
    for i in range(8):
        kind = data.draw(st.integers(0, 5))
        if kind == 0:
            b.int_(
                "i",
                data.draw(st.integers(0, 20)),
                data.draw(st.integers(0, 7)),
                bits=data.draw(st.integers(0, 128)),
            )
        elif kind == 1:
            b.array(data.draw(ids), data.draw(st.sampled_from([0, 1, 3, 1 << 16, 0xFFFFFFFF])), 1)
        elif kind == 2:
            b.typedef("t", data.draw(ids))
        else:
            member = st.tuples(
                st.sampled_from(["", "a", "b", "_raw", "__eq__"]), ids, st.integers(0, 80), st.integers(0, 40)
            )
            make = b.struct if kind < 5 else b.union
            make(f"s{i}", data.draw(st.integers(0, 16)), data.draw(st.lists(member, max_size=4)))
    btf = b.btf()
    for id in range(11):
        try:
            c = codec(btf, id)
        except ObjectError:
            continue
        if c.size <= 4096:
            value = c.unpack(bytes(range(256)) * 16)
            repr(value)
            with contextlib.suppress(ObjectError):
                c.dtype()
