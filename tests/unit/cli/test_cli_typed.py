"""Values by their types, between bytes and JSON."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.btf import Btf, BtfBuilder
from probee.btf.kinds import INT_BOOL, INT_SIGNED
from probee.cli.code import signature
from probee.cli.grammar import Wrong
from probee.cli.map_data import prefix_bytes, prefix_text
from probee.cli.typed import from_json, text, to_json
from probee.errors import ObjectError


class Types:
    """A struct with one member of each sort, and what it is made of."""

    def __init__(self) -> None:
        b = BtfBuilder()
        self.u8 = b.int_("unsigned char", 1)
        self.char = b.int_("char", 1, INT_SIGNED)
        self.bool = b.int_("_Bool", 1, INT_BOOL)
        self.u16 = b.int_("unsigned short", 2)
        self.s32 = b.int_("int", 4, INT_SIGNED)
        self.u64 = b.int_("unsigned long long", 8)
        self.u128 = b.int_("unsigned __int128", 16)
        self.double = b.float_("double", 8)
        self.void_ptr = b.ptr(0)
        self.name = b.array(self.char, 16)
        self.raw = b.array(self.u8, 4)
        self.numbers = b.array(self.s32, 3)
        self.kind = b.enum("kind", [("SMALL", 1), ("LARGE", 2)])
        self.sign = b.enum("sign", [("LESS", -1), ("MORE", 1)])
        self.either = b.union("", 4, [("x", self.s32, 0), ("y", self.raw, 0)])
        self.inner = b.struct("inner", 8, [("a", self.u8, 0), ("b", self.u16, 16), ("c", self.s32, 32)])
        fields = [("low", self.u8, 0, 3), ("high", self.u8, 3, 5), ("wide", self.u16, 16, 9)]
        self.bits = b.struct("bits", 4, fields)
        self.all = b.struct(
            "all",
            96,
            [
                ("id", self.s32, 0),
                ("kind", self.kind, 32),
                ("bytes", self.u64, 64),
                ("comm", self.name, 128),
                ("raw", self.raw, 256),
                ("ok", self.bool, 288),
                ("sign", self.sign, 320),
                ("", self.either, 352),
                ("inner", self.inner, 384),
                ("bits", self.bits, 448),
                ("where", self.void_ptr, 512),
                ("numbers", self.numbers, 576),
            ],
        )
        variables = [b.var("hits", self.s32), b.var("greeting", self.name)]
        self.section = b.datasec(".data", 20, [(variables[0], 0, 4), (variables[1], 4, 16)])
        proto = b.func_proto(self.s32, [("ctx", self.void_ptr), ("n", self.u64), ("", 0)])
        self.function = b.func("on_enter", proto)
        self.no_args = b.func("nothing", b.func_proto(0, []))
        chain = b.struct("deep0", 4, [("v", self.s32, 0)])
        for n in range(1, 80):
            chain = b.struct(f"deep{n}", 4, [("v", chain, 0)])
        self.deep = chain
        self.btf: Btf = b.btf()


T = Types()


def there_and_back(type_id: int, value: Any) -> Any:
    raw = from_json(T.btf, type_id, value)
    return to_json(T.btf, type_id, raw)


def test_a_struct_both_ways() -> None:
    value = {
        "id": -7,
        "kind": "LARGE",
        "bytes": 1 << 40,
        "comm": "bash",
        "raw": [1, 2, 3, 255],
        "ok": True,
        "sign": "LESS",
        "": {"x": 513, "y": [1, 2, 0, 0]},
        "inner": {"a": 1, "b": 2, "c": -3},
        "bits": {"low": "0x5", "high": "0x1f", "wide": "0x101"},
        "where": 0xFFFF888000000000,
        "numbers": [1, -2, 3],
    }
    assert there_and_back(T.all, value) == value


def test_what_is_not_given_is_zero() -> None:
    got = there_and_back(T.all, {"bytes": 3})
    assert got["bytes"] == 3
    assert got["comm"] == ""
    assert got["kind"] == 0
    assert got["inner"] == {"a": 0, "b": 0, "c": 0}


def test_members_of_an_anonymous_union_stand_in_the_struct() -> None:
    assert there_and_back(T.all, {"x": 513})[""] == {"x": 513, "y": [1, 2, 0, 0]}
    assert there_and_back(T.all, {"y": [4]})[""]["x"] == 4


def test_bit_fields_keep_their_neighbours() -> None:
    assert there_and_back(T.bits, {"high": 31}) == {"low": "0x0", "high": "0x1f", "wide": "0x0"}
    assert there_and_back(T.bits, {"low": 1, "wide": 511}) == {"low": "0x1", "high": "0x0", "wide": "0x1ff"}
    with pytest.raises(Wrong, match="does not fit 3 bits"):
        from_json(T.btf, T.bits, {"low": 8})


@pytest.mark.parametrize(
    ("type_id", "value", "back"),
    [
        (T.s32, "0x10", 16),
        (T.s32, 5.0, 5),
        (T.kind, 2, "LARGE"),
        (T.kind, 77, 77),
        (T.kind, "3", 3),
        (T.sign, -1, "LESS"),
        (T.u128, 1 << 100, hex(1 << 100)),
        (T.double, 1.5, 1.5),
        (T.bool, 1, True),
        (T.raw, "0a0b", [10, 11, 0, 0]),
        (T.name, "x" * 16, [120] * 16),  # no NUL: no text
        (T.name, "", ""),
        (T.char, "A", 65),
    ],
)
def test_other_spellings(type_id: int, value: Any, back: Any) -> None:
    assert there_and_back(type_id, value) == back


@pytest.mark.parametrize(
    ("type_id", "value", "says"),
    [
        (T.s32, 1 << 31, "does not fit int"),
        (T.u64, -1, "does not fit unsigned long long"),
        (T.u8, "A", "is no unsigned char"),
        (T.s32, "seven", "'seven' is no int"),
        (T.s32, [1], "is no int"),
        (T.s32, None, "is no int"),
        (T.s32, 1.5, "is no int"),
        (T.kind, "HUGE", "'HUGE' is no kind"),
        (T.name, "x" * 17, "17 bytes do not fit 16"),
        (T.raw, "zz", "hexadecimal"),
        (T.raw, [256], "does not fit unsigned char"),
        (T.numbers, [1, 2, 3, 4], "4 elements do not fit 3"),
        (T.numbers, 5, "is no list"),
        (T.all, 5, "is no struct all"),
        (T.all, {"nope": 1}, "has no member 'nope'"),
        (T.all, {"inner": {"a": "x"}}, "value.inner.a"),
        (T.double, "x", "is no double"),
        (T.function, 1, "is no on_enter"),
    ],
)
def test_what_is_no_value_is_wrong(type_id: int, value: Any, says: str) -> None:
    with pytest.raises(Wrong, match=says.replace("(", r"\(")):
        from_json(T.btf, type_id, value)


def test_data_sections_are_lists_of_variables() -> None:
    raw = bytes([7, 0, 0, 0]) + b"hi".ljust(16, b"\0")
    assert to_json(T.btf, T.section, raw) == {".data": [{"hits": 7}, {"greeting": "hi"}]}


def test_types_without_end_are_refused() -> None:
    with pytest.raises(ObjectError, match="nested"):
        to_json(T.btf, T.deep, bytes(4))
    value: Any = 1
    for _ in range(80):
        value = {"v": value}
    with pytest.raises(ObjectError, match="nested"):
        from_json(T.btf, T.deep, value)


def test_types_without_values_are_refused() -> None:
    with pytest.raises(ObjectError, match="has no values"):
        to_json(T.btf, T.function, bytes(8))


@settings(max_examples=50)
@given(st.binary(min_size=96, max_size=96))
def test_any_bytes_have_json_and_it_gives_them_back(raw: bytes) -> None:
    value = to_json(T.btf, T.all, raw)
    json.dumps(value)
    again = to_json(T.btf, T.all, from_json(T.btf, T.all, value))
    value["ok"] = bool(value["ok"])
    assert again == value


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
NAMES = st.sampled_from([m.name for m in T.btf.type(T.all).members]) | st.text(max_size=3)
VALUES = st.recursive(LEAVES, lambda x: st.lists(x, max_size=5) | st.dictionaries(NAMES, x, max_size=5))


@settings(max_examples=50)
@given(VALUES | st.dictionaries(NAMES, VALUES, max_size=5))
def test_any_json_is_a_value_or_wrong(value: Any) -> None:
    with suppress(Wrong):
        assert len(from_json(T.btf, T.all, value)) == 96


def test_signatures_are_spelled_as_bpftool_does() -> None:
    assert signature(T.btf, T.function) == "int on_enter(void * ctx, unsigned long long n, ...)"
    assert signature(T.btf, T.no_args) == "void nothing()"


def test_values_for_people() -> None:
    assert text({"a": 1, "b": "x", "": {"c": True}}) == '{a: 1, b: "x", {c: true}}'
    assert text([1, 2]) == "[1, 2]"
    assert text(list(range(100))).endswith("15, … 100]")
    assert text("0x5") == "0x5"


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32"])
def test_prefixes(prefix: str) -> None:
    assert prefix_text(prefix_bytes(prefix, 8)) == prefix


def test_prefixes_of_ipv6_and_wrong_ones() -> None:
    assert prefix_text(prefix_bytes("fe80::/10", 20)) == "fe80::/10"
    for word, size in (("fe80::/10", 8), ("10.0.0.0/8", 20), ("10.0.0.0/99", 8), ("x/1", 8)):
        with pytest.raises(Wrong):
            prefix_bytes(word, size)
