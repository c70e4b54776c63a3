"""`.BTF.ext`: records by section, both byte orders, and garbage."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.btf import Btf, BtfBuilder, BtfExt, CoreReloc
from probee.errors import ObjectError

Table = list[tuple[int, list[tuple[int, ...]]]]


def table(order: str, words: int, sections: Table, extra: int = 0) -> bytes:
    out = struct.pack(order + "I", 4 * words + extra)
    for name, records in sections:
        out += struct.pack(order + "II", name, len(records))
        for record in records:
            out += struct.pack(f"{order}{words}I", *record) + bytes(extra)
    return out


def ext(order: str, funcs: bytes, lines: bytes, core: bytes | None) -> bytes:
    size = 24 if core is None else 32
    head = struct.pack(order + "HBBI", 0xEB9F, 1, 0, size)
    head += struct.pack(order + "4I", 0, len(funcs), len(funcs), len(lines))
    if core is not None:
        head += struct.pack(order + "2I", len(funcs) + len(lines), len(core))
    return head + funcs + lines + (core or b"")


def sample(endian: str = "little", extra: int = 0, with_core: bool = True) -> tuple[Btf, bytes]:
    order = "<" if endian == "little" else ">"
    b = BtfBuilder(endian=endian)
    xdp, tp, path = b.string("xdp"), b.string("tp/a/b"), b.string("0:1:2")
    b.int_("int", 4, 1)
    funcs = table(order, 2, [(xdp, [(0, 3), (16, 4)]), (tp, [(0, 5)])], extra)
    lines = table(order, 4, [(xdp, [(0, 1, 2, 5 << 10 | 3)])], extra)
    core = table(order, 4, [(tp, [(8, 1, path, 0), (24, 1, path, 2)]), (tp, [(32, 1, path, 1)])], extra)
    return b.btf(), ext(order, funcs, lines, core if with_core else None)


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("extra", [0, 8])
def test_records(endian: str, extra: int) -> None:
    btf, data = sample(endian, extra)
    found = BtfExt.parse(data, btf)
    assert found.funcs == {"xdp": [(0, 3), (16, 4)], "tp/a/b": [(0, 5)]}
    assert found.lines == {"xdp": [(0, 1, 2, 5 << 10 | 3)]}
    assert found.core == {
        "tp/a/b": [CoreReloc(8, 1, "0:1:2", 0), CoreReloc(24, 1, "0:1:2", 2), CoreReloc(32, 1, "0:1:2", 1)]
    }


def test_old_header_without_relocations() -> None:
    btf, data = sample(with_core=False)
    assert BtfExt.parse(data, btf).core == {}
    assert BtfExt.parse(ext("<", b"", b"", b""), btf).funcs == {}


def patched(at: int, value: bytes) -> bytes:
    data = bytearray(sample()[1])
    data[at : at + len(value)] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x9f\xeb", "shorter"),
        (b"\x7fELF" + bytes(40), "not .BTF.ext"),
        (patched(2, b"\x02"), "version 2"),
        (patched(4, b"\x08"), "header length"),
        (patched(4, b"\xff\xff"), "header length"),
        (patched(8, b"\x02"), "outside"),
        (patched(12, b"\xff\xff\xff\x7f"), "outside"),
        (patched(12, b"\x02"), "without record size"),
        (patched(32, b"\x06"), "record size 6"),
        (patched(32, b"\x04"), "record size 4"),
        (patched(32, b"\xfc\xff\xff\xff"), "record size"),
        (patched(40, b"\0\0\0\0"), "0 records"),
        (patched(40, b"\xff\xff\xff\xff"), "do not fit"),
        (patched(36, b"\xff\xff\xff\xff"), "string offset"),
        (sample("big")[1], "byte orders"),
        (patched(12, b"\x10"), "do not fit"),
    ],
)
def test_broken(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        BtfExt.parse(data, sample()[0])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes(data: bytes, headed: bool) -> None:
    btf, good = sample()
    try:
        BtfExt.parse(good[:32] + data if headed else data, btf)
    except ObjectError:
        return


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), min_size=1, max_size=5))
def test_mutated_bytes(changes: list[tuple[int, int]]) -> None:
    btf, good = sample()
    data = bytearray(good)
    for at, value in changes:
        data[at % len(data)] = value
    try:
        BtfExt.parse(data, btf)
    except ObjectError:
        return
