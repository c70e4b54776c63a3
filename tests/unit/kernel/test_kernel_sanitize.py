"""BTF for old kernels: newer kinds replaced, ids kept, the rest untouched."""

from __future__ import annotations

import errno
import struct

import pytest

from probee.btf import Btf, BtfBuilder
from probee.btf.kinds import (
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    INT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
)
from probee.kernel import sanitize as sanitizer
from probee.kernel.sanitize import ABILITIES, load_sanitized, sanitize
from probee.sys import use
from probee.sys.fake import FakeKernel


def btf(order: str = "<") -> bytes:
    texts = b"\0int\0float\0tag\0big\0ONE\0TWO\0small\0"

    def text(name: str) -> int:
        return texts.index(b"\0" + name.encode() + b"\0") + 1

    def head(name: int, kind: int, vlen: int, size: int, kflag: int = 0) -> bytes:
        return struct.pack(order + "III", name, kflag << 31 | kind << 24 | vlen, size)

    def words(*values: int) -> bytes:
        return struct.pack(f"{order}{len(values)}I", *values)

    types = head(text("int"), INT, 0, 4) + words(1 << 24 | 32)  # 1
    types += head(text("float"), FLOAT, 0, 8)  # 2
    types += head(text("tag"), DECL_TAG, 0, 1) + words(0)  # 3
    types += head(text("tag"), TYPE_TAG, 0, 1)  # 4
    types += head(text("big"), ENUM64, 2, 8) + words(text("ONE"), 1, 0, text("TWO"), 2, 7)  # 5
    types += head(text("small"), ENUM, 1, 4, kflag=1) + words(text("ONE"), 1)  # 6
    header = struct.pack(order + "HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(texts))
    return header + types + texts


@pytest.mark.parametrize("order", ["<", ">"])
def test_newer_kinds_become_older_ones_with_the_same_ids(order: str) -> None:
    before = btf(order)
    after = Btf.parse(sanitize(before))
    kinds = [after.type(id).kind for id in range(1, 7)]
    assert kinds == [INT, STRUCT, INT, CONST, UNION, ENUM]
    assert (after.type(1).name, after.type(1).size) == ("int", 4)
    assert (after.type(2).name, after.type(2).size, after.type(2).vlen) == ("", 8, 0)
    assert after.type(3).size == 1
    assert after.type(4).type == 1
    union = after.type(5)
    assert (union.name, union.size) == ("big", 8)
    assert [(member.name, member.bit_offset) for member in union.members] == [("ONE", 0), ("TWO", 0)]
    placeholder = after.type(union.members[0].type)
    assert (placeholder.kind, placeholder.size) == (INT, 1)
    assert not after.type(6).kflag


def test_old_btf_stays_as_it_is() -> None:
    once = sanitize(btf())
    assert sanitize(once) == once


def test_a_refused_btf_is_sanitized_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "abilities", set)
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fd, why = load_sanitized(btf(), OSError(errno.EINVAL, "no"))
        assert (fake.open[fd].facts["data"], why) == (sanitize(btf()), "")
        fake.close(fd)
        fake.refuse("btf_load", errno.EINVAL, "[1] INT int\nbad name\n", times=2)
        assert load_sanitized(btf(), OSError(errno.EINVAL, "no")) == (-1, "Invalid argument: bad name")


def test_what_the_kernel_knows_stays() -> None:
    assert sanitize(btf(), set(ABILITIES)) == btf()
    kinds = [t.kind for t in Btf.parse(sanitize(btf(), {"btf_float", "btf_enum64"})).own_types()]
    assert kinds == [INT, FLOAT, INT, CONST, ENUM64, ENUM]
    flagged = bytearray(btf())
    info = 24 + 16 + 12 + 16 + 4  # of the type tag, behind an int, a float and a declaration tag
    flagged[info + 3] |= 0x80  # an attribute (Linux 6.15)
    able = set(ABILITIES)
    assert sanitize(bytes(flagged), able) == bytes(flagged)
    assert Btf.parse(sanitize(bytes(flagged), able - {"btf_attributes"})).type(4).kind == CONST


@pytest.mark.parametrize("endian", ["little", "big"])
def test_sections_and_functions_of_kernels_before_5_2(endian: str) -> None:
    builder = BtfBuilder(endian=endian)
    number = builder.int_("int", 4)
    variable = builder.var("total", number, 1)
    builder.datasec("?.data.x", 8, [(variable, 4, 4)])
    proto = builder.func_proto(number, [("a", number)])
    builder.func("twice", proto, 1)
    raw = builder.build()
    old = Btf.parse(sanitize(raw))
    var, section, prototype, function = (old.type(id) for id in range(2, 6))
    assert (var.kind, var.name, var.size) == (INT, "total", 1)
    assert (section.kind, section.name, section.size) == (STRUCT, "__data_x", 8)
    assert [(m.name, m.type, m.bit_offset) for m in section.members] == [("total", 2, 32)]
    assert (prototype.kind, prototype.size) == (ENUM, 4)
    assert (function.kind, function.name, function.type) == (TYPEDEF, "twice", 4)
    newer = Btf.parse(sanitize(raw, {"btf_func", "btf_datasec"}))
    assert (newer.type(3).kind, newer.type(3).name) == (DATASEC, "_.data.x")
    assert (newer.type(5).kind, newer.type(5).linkage) == (FUNC, 0)
