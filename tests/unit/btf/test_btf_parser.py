"""Parser and writer of BTF: round trips, split BTF, both byte orders, and garbage."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.btf import Btf, BtfBuilder, BtfMember, essential_name, kinds, render_c, render_python
from probee.btf.parser import scan_types
from probee.errors import ObjectError

ENDIANS = pytest.mark.parametrize("endian", ["little", "big"])


def every_kind(endian: str = "little") -> BtfBuilder:
    """A BTF with all nineteen kinds in it."""
    b = BtfBuilder(endian=endian)
    i32 = b.int_("int", 4, kinds.INT_SIGNED)  # 1
    u64 = b.int_("unsigned long", 8)  # 2
    char = b.int_("char", 1, kinds.INT_SIGNED | kinds.INT_CHAR)  # 3
    arr = b.array(char, 16)  # 4
    node = b.struct("node", 32, [("next", b.next_id + 1, 0), ("comm", arr, 64), ("v", u64, 192)])  # 5
    b.ptr(node)  # 6
    b.union("either", 8, [("a", i32, 0), ("b", u64, 0)])  # 7
    b.enum("colour", [("RED", 0), ("BLUE", 7)])  # 8
    b.enum("sign", [("MINUS", -1), ("PLUS", 1)])  # 9
    b.fwd("hidden")  # 10
    b.fwd("hidden_union", union=True)  # 11
    b.typedef("pid_t", i32)  # 12
    b.volatile(i32)  # 13
    b.const(12)  # 14
    b.restrict(6)  # 15
    proto = b.func_proto(i32, [("a", 6), ("b", 14), ("", 0)])  # 16
    b.func("do_it", proto, kinds.LINK_STATIC)  # 17
    var = b.var("counter", u64, kinds.LINK_GLOBAL)  # 18
    b.datasec(".bss", 8, [(var, 0, 8)])  # 19
    b.float_("double", 8)  # 20
    b.decl_tag("important", node, 2)  # 21
    b.decl_tag("all", node)  # 22
    b.type_tag("user", node)  # 23
    b.enum64("big", [("HUGE_ONE", (1 << 63) + 5), ("SMALL", 1)])  # 24
    b.enum64("big_sign", [("LOW", -(1 << 63))])  # 25
    b.struct("flags", 4, [("low", i32, 0, 3), ("high", i32, 3, 29)])  # 26
    return b


@ENDIANS
def test_every_kind_is_decoded(endian: str) -> None:
    btf = every_kind(endian).btf()
    assert btf.endian == endian
    assert {t.kind for t in btf.own_types()} == set(range(1, 20))
    assert len(btf) == 27

    i32 = btf.type(1)
    assert (i32.name, i32.size, i32.bits, i32.offset, i32.encoding) == ("int", 4, 32, 0, kinds.INT_SIGNED)
    assert btf.type(3).encoding == kinds.INT_SIGNED | kinds.INT_CHAR
    assert btf.type(4).array == (3, 1, 16)
    node = btf.type(5)
    assert node.members == (
        BtfMember("next", 6, 0, 0),
        BtfMember("comm", 4, 64, 0),
        BtfMember("v", 2, 192, 0),
    )
    assert (node.kind_name, node.size, node.vlen) == ("struct", 32, 3)
    assert btf.type(6).type == 5
    assert btf.type(7).kind == kinds.UNION
    assert btf.type(8).enumerators == (("RED", 0), ("BLUE", 7))
    assert btf.type(9).enumerators == (("MINUS", -1), ("PLUS", 1))
    assert not btf.type(10).kflag
    assert btf.type(11).kflag
    assert btf.type(16).params == (("a", 6), ("b", 14), ("", 0))
    assert btf.type(16).type == 1
    assert (btf.type(17).linkage, btf.type(18).linkage) == (kinds.LINK_STATIC, kinds.LINK_GLOBAL)
    assert btf.type(19).vars == ((18, 0, 8),)
    assert btf.type(21).component_idx == 2
    assert btf.type(22).component_idx == -1
    assert btf.type(24).enumerators == (("HUGE_ONE", (1 << 63) + 5), ("SMALL", 1))
    assert btf.type(25).enumerators == (("LOW", -(1 << 63)),)
    assert btf.type(26).members == (BtfMember("low", 1, 0, 3), BtfMember("high", 1, 3, 29))


def test_parts_of_other_kinds_are_empty() -> None:
    t = every_kind().btf().type(1)
    assert (t.members, t.enumerators, t.params, t.vars, t.component_idx) == ((), (), (), (), -1)
    with pytest.raises(ObjectError, match="not an array"):
        t.array  # noqa: B018


def test_chains_and_sizes() -> None:
    btf = every_kind().btf()
    assert btf.strip(14) == 1
    assert btf.strip(23) == 5
    assert [btf.size_of(i) for i in (4, 5, 6, 14, 18, 19, 24)] == [16, 32, 8, 4, 8, 8, 8]
    for sizeless in (0, 10, 16, 17):
        with pytest.raises(ObjectError, match="no size"):
            btf.size_of(sizeless)


def test_pointer_size_is_that_of_long() -> None:
    b = BtfBuilder()
    p = b.ptr(b.int_("long int", 4, 1))
    assert b.btf().size_of(p) == 4
    b = BtfBuilder()
    assert BtfBuilder.btf(b).ptr_size == 8


def test_find() -> None:
    b = BtfBuilder()
    i = b.int_("int", 4, 1)
    first = b.struct("task", 4, [("pid", i, 0)])
    b.typedef("task", first)
    second = b.struct("task", 8, [("pid", i, 32)])
    flavoured = b.struct("task___v2", 8)
    btf = b.btf()
    assert btf.find("task") == first
    assert btf.find("task", kinds.TYPEDEF) == first + 1
    assert btf.find("task", kinds.UNION) is None
    assert btf.find_all("task", kinds.STRUCT, kinds.UNION) == [first, second]
    assert btf.find("task___v2") == flavoured
    assert btf.find("task___v3") is None
    assert btf.ids_by_essential_name("task") == [first, first + 1, second, flavoured]
    assert btf.ids_by_essential_name("task___other") == [first, first + 1, second, flavoured]
    assert btf.find("") is None


@pytest.mark.parametrize(
    ("name", "essential"),
    [
        ("a", "a"),
        ("", ""),
        ("task___v2", "task"),
        ("task___v2___v3", "task___v2"),
        ("task__v2", "task__v2"),
        ("task____v2", "task____v2"),
        ("___task", "___task"),
        ("task___", "task___"),
        ("_____", "_____"),
        ("a___b____c", "a"),
        ("x___y", "x"),
    ],
)
def test_essential_name(name: str, essential: str) -> None:
    assert essential_name(name) == essential


@given(st.text("ab_", max_size=24))
def test_essential_name_is_the_last_triple_underscore(name: str) -> None:
    for i in range(len(name) - 5, -1, -1):
        if name[i] != "_" and name[i + 1 : i + 4] == "___" and name[i + 4] != "_":
            assert essential_name(name) == name[: i + 1]
            return
    assert essential_name(name) == name


@ENDIANS
def test_split_btf_continues_its_base(endian: str) -> None:
    base = every_kind(endian).btf()
    b = BtfBuilder(base)
    ptr = b.ptr(5)
    mine = b.struct("mine", 16, [("node", ptr, 0), ("colour", 8, 64)])
    assert ptr == len(base)
    split = b.btf()
    assert split.first_id == len(base)
    assert len(split) == len(base) + 2
    assert split.type(5) is base.type(5)
    assert [m.name for m in split.type(mine).members] == ["node", "colour"]
    assert split.find("mine") == mine
    assert split.find("node") == 5
    assert [t.id for t in split.own_types()] == [ptr, mine]
    assert split.size_of(ptr) == 8
    assert Btf.parse(split.raw, base).type(mine).name == "mine"
    with pytest.raises(ObjectError):
        Btf.parse(split.raw).type(1).name  # noqa: B018


def test_split_of_another_byte_order_is_refused() -> None:
    base = every_kind("big").btf()
    with pytest.raises(ObjectError, match="endian"):
        Btf.parse(every_kind("little").build(), base)


names = st.text(st.characters(min_codepoint=33, max_codepoint=0x24F), max_size=8)
ids = st.integers(0, 40)


@st.composite
def builders(draw: st.DrawFn) -> BtfBuilder:
    b = BtfBuilder(endian=draw(st.sampled_from(["little", "big"])))
    u8, u16, u32, u64 = (st.integers(0, (1 << n) - 1) for n in (8, 16, 32, 64))
    i32 = st.integers(-(1 << 31), (1 << 31) - 1)
    i64 = st.integers(-(1 << 63), (1 << 63) - 1)
    for _ in range(draw(st.integers(0, 12))):
        match draw(st.integers(1, 19)):
            case kinds.INT:
                b.int_(draw(names), draw(u32), draw(st.integers(0, 15)), bits=draw(u8), offset=draw(u8))
            case kinds.PTR:
                b.ptr(draw(ids))
            case kinds.ARRAY:
                b.array(draw(ids), draw(u32), draw(ids))
            case (kinds.STRUCT | kinds.UNION) as kind:
                make = b.struct if kind == kinds.STRUCT else b.union
                plain = st.tuples(names, ids, u32)
                bits = st.tuples(names, ids, st.integers(0, (1 << 24) - 1), u8)
                make(draw(names), draw(u32), draw(st.lists(plain, max_size=4) | st.lists(bits, max_size=4)))
            case kinds.ENUM:
                pairs = st.lists(st.tuples(names, i32), max_size=4) | st.lists(
                    st.tuples(names, u32), max_size=4
                )
                b.enum(draw(names), draw(pairs), size=draw(u8))
            case kinds.FWD:
                b.fwd(draw(names), union=draw(st.booleans()))
            case kinds.TYPEDEF:
                b.typedef(draw(names), draw(ids))
            case kinds.VOLATILE:
                b.volatile(draw(ids))
            case kinds.CONST:
                b.const(draw(ids))
            case kinds.RESTRICT:
                b.restrict(draw(ids))
            case kinds.FUNC:
                b.func(draw(names), draw(ids), draw(u16))
            case kinds.FUNC_PROTO:
                b.func_proto(draw(ids), draw(st.lists(st.tuples(names, ids), max_size=4)))
            case kinds.VAR:
                b.var(draw(names), draw(ids), draw(u32))
            case kinds.DATASEC:
                b.datasec(draw(names), draw(u32), draw(st.lists(st.tuples(ids, u32, u32), max_size=4)))
            case kinds.FLOAT:
                b.float_(draw(names), draw(u32))
            case kinds.DECL_TAG:
                b.decl_tag(draw(names), draw(ids), draw(i32), attribute=draw(st.booleans()))
            case kinds.TYPE_TAG:
                b.type_tag(draw(names), draw(ids), attribute=draw(st.booleans()))
            case kinds.ENUM64:
                pairs = st.lists(st.tuples(names, i64), max_size=4) | st.lists(
                    st.tuples(names, u64), max_size=4
                )
                b.enum64(draw(names), draw(pairs), size=draw(u8))
    return b


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(builders())
def test_what_is_written_is_read_and_written_again(builder: BtfBuilder) -> None:
    blob = builder.build()
    btf = Btf.parse(blob)
    again = BtfBuilder(endian=btf.endian)
    for t in btf.own_types():
        assert again.copy(t) == t.id
    assert again.build() == blob


def test_writer_refuses_what_does_not_fit() -> None:
    b = BtfBuilder()
    with pytest.raises(ValueError, match="enum64"):
        b.enum("e", [("A", 1 << 32)])
    with pytest.raises(ValueError, match="64 bits"):
        b.enum64("e", [("A", 1 << 63), ("B", -1)])
    with pytest.raises(ValueError, match="too large"):
        b.struct("s", 4, [("a", 1, 1 << 24, 3)])
    with pytest.raises(ValueError, match="zero byte"):
        b.typedef("a\0b", 1)
    with pytest.raises(ValueError, match="65535"):
        b.func_proto(0, [("", 1)] * 65536)
    assert b.next_id == 1


# --- garbage ---------------------------------------------------------------------------------------


def touch(btf: Btf) -> None:
    """Ask a BTF for everything. Only ObjectError may come of it."""
    for t in btf.own_types():
        for ask in (
            lambda t=t: t.name,
            lambda t=t: (t.members, t.enumerators, t.params, t.vars, t.bits, t.linkage, t.component_idx),
            lambda t=t: t.array,
            lambda t=t: btf.strip(t.id),
            lambda t=t: btf.size_of(t.id),
            lambda t=t: btf.find_all(t.name),
        ):
            try:
                ask()
            except ObjectError:
                continue
    for render in (render_c, render_python):
        try:
            render(btf)
        except ObjectError:
            continue


def patched(blob: bytes, *changes: tuple[int, bytes]) -> bytes:
    out = bytearray(blob)
    for at, data in changes:
        out[at : at + len(data)] = data
    return bytes(out)


GOOD = every_kind().build()


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "less than its header"),
        (GOOD[:23], "less than its header"),
        (b"\x7fELF" + GOOD[4:], "not BTF"),
        (patched(GOOD, (2, b"\x02")), "version 2"),
        (patched(GOOD, (3, b"\x01")), "flags"),
        (patched(GOOD, (4, b"\x08")), "header length"),
        (patched(GOOD, (4, b"\xff\xff\xff\xff")), "header length"),
        (patched(GOOD, (8, b"\x02")), "type section"),
        (patched(GOOD, (12, b"\xf0\xff\xff\xff")), "type section"),
        (patched(GOOD, (20, b"\xff\xff\xff\xff")), "string section"),
        (GOOD[:-1], "string section"),
        (patched(GOOD, (20, b"\0\0\0\0")), "string section"),
        (patched(GOOD, (len(GOOD) - 1, b"x")), "string section"),
        (patched(GOOD, (24 + 7, b"\x1f")), "unknown type kind 31"),
        (patched(GOOD, (24 + 7, b"\x00")), "unknown type kind 0"),
        (patched(GOOD, (24 + 4, b"\xff\xff\x00\x04")), "cut off"),
    ],
)
def test_broken_framing(blob: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        Btf.parse(blob)


def test_references_outside() -> None:
    b = BtfBuilder()
    b.typedef("t", 99)
    b.const(0xFFFFFFFF)
    btf = b.btf()
    for id in (1, 2):
        with pytest.raises(ObjectError, match="no type"):
            btf.strip(id)
    with pytest.raises(ObjectError, match="no type -1"):
        btf.type(-1)
    with pytest.raises(ObjectError, match="string offset"):
        btf.string(1000)
    with pytest.raises(ObjectError, match="string offset"):
        btf.string(-1)


def test_cycles_end() -> None:
    b = BtfBuilder()
    b.typedef("a", 2)
    b.typedef("b", 1)
    b.array(3, 1 << 31, 1)  # an array of itself, of unlimited size
    b.struct("s", 4, [("s", 4, 0)])  # a struct that contains itself
    b.struct("", 4, [("", 5, 0)] * 9)
    b.func_proto(6, [("a", 6), ("b", 6)])
    b.ptr(7)
    btf = b.btf()
    start = time.monotonic()
    for ask in (btf.strip, btf.size_of):
        with pytest.raises(ObjectError, match="does not end"):
            ask(1)
    with pytest.raises(ObjectError, match="does not end"):
        btf.size_of(3)
    for id in range(1, len(btf)):
        for render in (render_c, render_python):
            try:
                render(btf, [id])
            except ObjectError:
                continue
    touch(btf)
    assert time.monotonic() - start < 5


def test_a_hostile_count_allocates_nothing() -> None:
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1)
    blob = head + struct.pack("<III", 0, kinds.STRUCT << 24 | 0xFFFF, 0) + b"\0"
    with pytest.raises(ObjectError, match="cut off"):
        Btf.parse(blob)
    b = BtfBuilder()
    b.array(b.int_("int", 4, 1), 0xFFFFFFFF)
    assert b.btf().size_of(2) == 4 * 0xFFFFFFFF
    touch(b.btf())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    for blob in (data, GOOD[:24] + data):
        try:
            touch(Btf.parse(blob))
        except ObjectError:
            continue


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_mutated_bytes(changes: list[tuple[int, int]]) -> None:
    blob = patched(GOOD, *((at, bytes([value])) for at, value in changes))
    try:
        btf = Btf.parse(blob)
    except ObjectError:
        return
    touch(btf)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(builders())
def test_well_formed_nonsense(builder: BtfBuilder) -> None:
    touch(builder.btf())


def test_scan_gives_the_places_of_all_records() -> None:
    words = struct.unpack(f"<{(len(GOOD) - 24) // 4}I", GOOD[24 : 24 + (len(GOOD) - 24) // 4 * 4])
    count = struct.unpack_from("<I", GOOD, 12)[0] // 4
    places = scan_types(words[:count])
    assert len(places) == 26
    assert places[:4] == [0, 4, 8, 12]


def test_a_huge_gap_is_an_array() -> None:
    b = BtfBuilder()
    i32 = b.int_("int", 4, 1)
    b.struct("s", 0xFFFFFFF0, [("a", i32, 0, 3), ("b", i32, 0xFFFF00, 3)])
    text = render_c(b.btf())
    assert len(text) < 1000
    assert "char __pad_4[2097116];" in text


def test_types_that_double_at_each_level_do_not_hang() -> None:
    """Each type holds the next twice: 2**40 paths, 40 types."""
    b = BtfBuilder()
    i32 = b.int_("int", 4, 1)
    first = b.next_id
    for level in range(40):
        inner = b.next_id + 1 if level < 39 else i32
        b.struct("" if level else "top", 4, [("", inner, 0), ("", inner, 0)])
    function = b.next_id
    for level in range(40):
        inner = b.next_id + 2 if level < 39 else i32
        b.func_proto(0, [("a", b.next_id + 1), ("b", b.next_id + 1)])
        b.ptr(inner)
    b.func("f", function)
    btf = b.btf()
    start = time.monotonic()
    for id in (first, len(btf) - 1):
        for render in (render_c, render_python):
            try:
                render(btf, [id])
            except ObjectError:
                continue
    assert time.monotonic() - start < 5


def test_strings_that_are_mentioned() -> None:
    base = BtfBuilder()
    base.struct("here", 4, [("field", base.int_("int", 4), 0)])
    kernel = base.btf()
    split = BtfBuilder(kernel)
    split.struct("there", 4, [("field", 1, 0)])
    module = split.btf()
    assert kernel.mentions("here")
    assert kernel.mentions("fie")  # the beginning is enough: flavours follow a name
    assert not kernel.mentions("there")
    assert not kernel.mentions("ield")
    assert module.mentions("there")
    assert module.mentions("here")
    assert not module.mentions("nowhere")
