"""CO-RE: each relocation kind against targets made for it, and the patching of instructions."""

from __future__ import annotations

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.btf import Btf, BtfBuilder, CoreReloc, core, kinds
from probee.btf.core import CoreResult, Relocator, patch, resolve
from probee.errors import LoadError, ObjectError, ProbeeError

SIGNED = kinds.INT_SIGNED


class Types(BtfBuilder):
    """A builder with the usual types in it."""

    def __init__(self, endian: str = "little", *, shift: int = 0) -> None:
        super().__init__(endian=endian)
        for n in range(shift):  # the target's ids differ from the program's
            self.fwd(f"unrelated{n}")
        self.i32 = self.int_("int", 4, SIGNED)
        self.u32 = self.int_("unsigned int", 4)
        self.u64 = self.int_("unsigned long", 8)
        self.i64 = self.int_("long", 8, SIGNED)
        self.u8 = self.int_("unsigned char", 1)
        self.char = self.int_("char", 1, SIGNED)


def ask(
    local: BtfBuilder, target: BtfBuilder, type_id: int, access: str, kind: int = core.FIELD_BYTE_OFFSET
) -> CoreResult:
    return resolve(local.btf(), target.btf(), CoreReloc(0, type_id, access, kind))


def answer(
    local: BtfBuilder, target: BtfBuilder, type_id: int, access: str, kind: int = core.FIELD_BYTE_OFFSET
) -> tuple[int, int]:
    result = ask(local, target, type_id, access, kind)
    assert not result.poison, result.why
    return result.orig_val, result.new_val


# --- fields ----------------------------------------------------------------------------------------


def test_a_field_that_moved() -> None:
    a, b = Types(), Types(shift=9)
    s = a.struct("task", 8, [("pid", a.i32, 0), ("tgid", a.i32, 32)])
    b.struct("task", 24, [("tgid", b.i32, 64), ("flags", b.u64, 128), ("pid", b.i32, 96)])
    assert answer(a, b, s, "0:0") == (0, 12)
    assert answer(a, b, s, "0:1") == (4, 8)
    result = ask(a, b, s, "0:1")
    assert result.validate
    assert (result.orig_sz, result.new_sz) == (4, 4)
    assert not result.fail_memsz_adjust
    assert result.text == "byte_off of struct task.tgid"
    assert result.why == ""


def test_size_existence_and_signedness() -> None:
    a, b = Types(), Types(shift=3)
    s = a.struct("task", 8, [("pid", a.u32, 0), ("gone", a.i32, 32)])
    b.struct("task", 8, [("pid", b.i64, 0)])
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_SIZE) == (4, 8)
    assert answer(a, b, s, "0:0", core.FIELD_SIGNED) == (0, 1)
    assert answer(a, b, s, "0:0", core.FIELD_EXISTS) == (1, 1)
    assert answer(a, b, s, "0:1", core.FIELD_EXISTS) == (1, 0)
    assert answer(a, b, s, "0:0", core.FIELD_LSHIFT_U64) == (32, 0)
    assert answer(a, b, s, "0:0", core.FIELD_RSHIFT_U64) == (32, 0)


def test_signedness_of_enums_is_their_kflag() -> None:
    a, b = Types(), Types(shift=3)
    s = a.struct("s", 4, [("e", a.enum("e", [("A", 0)]), 0)])
    b.struct("s", 4, [("e", b.enum("e", [("A", -1)]), 0)])
    assert answer(a, b, s, "0:0", core.FIELD_SIGNED) == (0, 1)


@pytest.mark.parametrize("kind", [core.FIELD_BYTE_OFFSET, core.FIELD_BYTE_SIZE, core.FIELD_SIGNED])
def test_a_missing_field_poisons(kind: int) -> None:
    a, b = Types(), Types()
    s = a.struct("task", 8, [("pid", a.i32, 0), ("gone", a.i32, 32)])
    b.struct("task", 8, [("pid", b.i32, 0)])
    result = ask(a, b, s, "0:1", kind)
    assert result.poison
    assert result.why == "this kernel's struct task has no field 'gone'"


def test_what_is_missing_is_named() -> None:
    a, b = Types(), Types()
    deep = a.struct("deep", 4, [("x", a.i32, 0)])
    mid = a.struct("mid", 40, [("deep", a.array(deep, 10), 0)])
    s = a.struct("top", 40, [("mid", mid, 0)])
    nowhere = a.struct("nowhere___old", 4, [("x", a.i32, 0)])
    ptr = a.struct("kindly", 8, [("x", a.ptr(0), 0)])

    deep_b = b.struct("deep", 4, [("y", b.i32, 0)])
    mid_b = b.struct("mid", 20, [("deep", b.array(deep_b, 5), 0)])
    b.struct("top", 20, [("mid", mid_b, 0)])
    b.struct("kindly", 8, [("x", b.u64, 0)])

    def why(type_id: int, access: str) -> str:
        return ask(a, b, type_id, access).why

    assert why(s, "0:0:0:2:0") == "this kernel's struct top.mid.deep[2] has no field 'x'"
    assert why(s, "0:0:0:7:0") == "this kernel's struct top.mid.deep is no array with an element [7]"
    assert why(nowhere, "0:0") == "this kernel has no struct nowhere"
    assert why(ptr, "0:0") == "this kernel's struct kindly has a field 'x' of another kind than the program's"


def test_anonymous_members_do_not_matter() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.i32, 0), ("y", a.i32, 32)])
    inner = b.struct("", 8, [("z", b.i32, 0), ("y", b.i32, 32)])
    either = b.union("", 8, [("x", b.i32, 0), ("", inner, 0)])
    b.struct("s", 16, [("w", b.i64, 0), ("", b.const(either), 64)])
    assert answer(a, b, s, "0:0") == (0, 8)
    assert answer(a, b, s, "0:1") == (4, 12)

    # And the other way round: the path through the anonymous members is not part of the question.
    inner = a.struct("", 4, [("y", a.i32, 0)])
    t = a.struct("t", 8, [("", inner, 32)])
    b.struct("t", 4, [("y", b.i32, 0)])
    assert answer(a, b, t, "0:0:0") == (4, 0)


def test_flavours() -> None:
    a, b = Types(), Types()
    new = a.struct("task___new", 8, [("state", a.u32, 32)])
    old = a.struct("task___old", 8, [("state", a.u64, 0)])
    b.struct("task", 16, [("state", b.u32, 64)])
    assert answer(a, b, new, "0:0") == (4, 8)
    assert answer(a, b, old, "0:0") == (0, 8)
    assert ask(a, b, new, "0:0").text == "byte_off of struct task___new.state"


def test_typedefs_and_qualifiers_are_looked_through() -> None:
    a, b = Types(), Types()
    inner = a.struct("inner", 4, [("x", a.i32, 0)])
    s = a.struct("s", 4, [("inner", a.const(a.typedef("inner_t", inner)), 0)])
    t = a.typedef("s_t", s)
    inner_b = b.struct("inner", 8, [("x", b.volatile(b.i32), 32)])
    s_b = b.struct("s", 16, [("inner", b.type_tag("rcu", inner_b), 64)])
    b.typedef("s_t", s_b)
    assert answer(a, b, s, "0:0:0") == (0, 12)
    assert answer(a, b, t, "0:0:0") == (0, 12)


def test_a_typedef_is_no_candidate_for_a_struct() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 4, [("x", a.i32, 0)])
    b.typedef("s", b.struct("other", 4, [("x", b.i32, 0)]))
    assert ask(a, b, s, "0:0").why == "this kernel has no struct s"


def test_arrays() -> None:
    a, b = Types(), Types()
    elem = a.struct("elem", 8, [("x", a.i32, 32)])
    s = a.struct("s", 84, [("e", a.array(elem, 10), 32)])
    elem_b = b.struct("elem", 16, [("x", b.i32, 64)])
    b.struct("s", 168, [("e", b.array(elem_b, 10), 64)])
    assert answer(a, b, s, "0:0:3:0") == (4 + 24 + 4, 8 + 48 + 8)
    assert answer(a, b, s, "0:0:3") == (4 + 24, 8 + 48)
    assert answer(a, b, s, "0:0:3", core.FIELD_BYTE_SIZE) == (8, 16)
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_SIZE) == (80, 160)
    assert answer(a, b, s, "2:0") == (2 * 84 + 4, 2 * 168 + 8)
    with pytest.raises(ObjectError, match="array access"):
        ask(a, b, s, "0:0:3", core.FIELD_SIGNED)


def test_indexes_past_the_end() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 40, [("e", a.array(a.i32, 10), 0)])
    b.struct("s", 20, [("e", b.array(b.i32, 5), 0)])
    assert answer(a, b, s, "0:0:4") == (16, 16)
    assert ask(a, b, s, "0:0:5").poison
    with pytest.raises(ObjectError, match="index 10"):
        ask(a, b, s, "0:0:10")


def test_flexible_arrays() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 4, [("n", a.i32, 0), ("e", a.array(a.i32, 0), 32)])
    m = a.struct("m", 8, [("e", a.array(a.i32, 0), 0), ("n", a.i32, 32)])
    t = a.struct("t", 400, [("e", a.array(a.i32, 100), 0)])
    b.struct("s", 8, [("n", b.i64, 0), ("e", b.array(b.i32, 0), 64)])
    b.struct("t", 8, [("e", b.array(b.i32, 0), 0), ("n", b.i32, 32)])
    assert answer(a, b, s, "0:1:7") == (4 + 28, 8 + 28)
    with pytest.raises(ObjectError, match="index 1 of 0"):
        ask(a, b, m, "0:0:1")  # not the last member
    assert ask(a, b, t, "0:0:1").poison  # the target's is not the last member


def test_kinds_of_fields() -> None:
    def fits(make_a: str, make_b: str) -> bool:
        sides = []
        for which, make in (("a", make_a), ("b", make_b)):
            t = Types(shift=2 if which == "b" else 0)
            inner = t.struct("in", 8, [("z", t.i64, 0)])
            field = {
                "int": t.i32,
                "u64": t.u64,
                "ptr": t.ptr(0),
                "ptr2": t.ptr(t.u8),
                "struct": inner,
                "union": t.union("un", 8, [("q", t.i64, 0)]),
                "enum": t.enum("en", [("A", 1)]),
                "enum_flavour": t.enum("en___v2", [("A", 1)]),
                "enum64": t.enum64("en", [("A", 1)]),
                "enum_other": t.enum("other", [("A", 1)]),
                "enum_anonymous": t.enum("", [("A", 1)]),
                "float": t.float_("double", 8),
                "int[4]": t.array(t.i32, 4),
                "u64[2]": t.array(t.u64, 2),
                "ptr[2]": t.array(t.ptr(0), 2),
                "fwd": t.fwd("hidden"),
                "odd": t.int_("int", 4, bits=3, offset=5),
                "func": t.func_proto(0),
            }[make]
            id = t.struct("s", 16, [("f", field, 0)])
            sides.append((t, id))
        (a, id), (b, _) = sides
        return answer(a, b, id, "0:0", core.FIELD_EXISTS)[1] == 1

    for x, y in [
        ("int", "u64"),
        ("ptr", "ptr2"),
        ("struct", "union"),
        ("enum", "enum"),
        ("enum", "enum_flavour"),
        ("enum", "enum64"),
        ("enum", "enum_anonymous"),
        ("float", "float"),
        ("int[4]", "u64[2]"),
        ("fwd", "fwd"),
    ]:
        assert fits(x, y), (x, y)
        assert fits(y, x), (y, x)
    for x, y in [
        ("int", "ptr"),
        ("int", "enum"),
        ("enum", "enum_other"),
        ("struct", "ptr"),
        ("int[4]", "ptr[2]"),
        ("int[4]", "int"),
        ("float", "int"),
        ("int", "odd"),
        ("func", "func"),
        ("fwd", "struct"),
    ]:
        assert not fits(x, y), (x, y)
        assert not fits(y, x), (y, x)


@pytest.mark.parametrize(("endian", "lshift"), [("little", 64 - (3 + 5)), ("big", (8 - 4) * 8 + 3)])
def test_bitfields(endian: str, lshift: int) -> None:
    a, b = Types(endian), Types(endian)
    s = a.struct("s", 4, [("x", a.u32, 3, 5)])
    b.struct("s", 16, [("w", b.u64, 0), ("x", b.i32, 64 + 17, 6)])
    assert ask(a, b, s, "0:0", core.FIELD_LSHIFT_U64).orig_val == lshift
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_OFFSET) == (0, 8)
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_SIZE) == (4, 4)
    assert answer(a, b, s, "0:0", core.FIELD_RSHIFT_U64) == (59, 58)
    assert answer(a, b, s, "0:0", core.FIELD_SIGNED) == (0, 1)
    # Compilers choose other words to load from, so what they wrote is not checked; a few facts are sure.
    assert not ask(a, b, s, "0:0", core.FIELD_BYTE_OFFSET).validate
    assert not ask(a, b, s, "0:0", core.FIELD_BYTE_SIZE).validate
    assert not ask(a, b, s, "0:0", core.FIELD_LSHIFT_U64).validate
    assert ask(a, b, s, "0:0", core.FIELD_RSHIFT_U64).validate
    assert ask(a, b, s, "0:0", core.FIELD_SIGNED).validate


def test_a_bitfield_across_words_is_read_by_a_larger_one() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.u8, 6, 4)])
    b.struct("s", 8, [("x", b.u8, 30, 4)])
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_OFFSET) == (0, 0)
    assert answer(a, b, s, "0:0", core.FIELD_BYTE_SIZE) == (2, 8)
    assert answer(a, b, s, "0:0", core.FIELD_LSHIFT_U64) == (54, 30)
    c = Types()
    c.struct("s", 24, [("x", c.u64, 62, 4)])
    with pytest.raises(ObjectError, match="64-bit load"):
        ask(a, c, s, "0:0")


def test_a_field_that_became_a_bitfield() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 4, [("x", a.u32, 0)])
    b.struct("s", 4, [("y", b.u32, 0, 4), ("x", b.u32, 4, 4)])
    result = ask(a, b, s, "0:0")
    assert (result.new_val, result.orig_sz, result.new_sz) == (0, 4, 0)
    assert result.fail_memsz_adjust


@pytest.mark.parametrize(
    ("x", "y", "fails"),
    [
        ("u32", "u64", False),
        ("u64", "u8", False),
        ("i32", "i64", True),
        ("i32", "u64", True),
        ("u32", "i64", True),
        ("i32", "u32", False),  # no change of size
    ],
)
def test_only_unsigned_integers_change_their_size(x: str, y: str, fails: bool) -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("f", getattr(a, x), 0)])
    b.struct("s", 8, [("f", getattr(b, y), 0)])
    assert ask(a, b, s, "0:0").fail_memsz_adjust == fails


def test_pointers_change_their_size() -> None:
    a = Types()
    s = a.struct("s", 8, [("p", a.ptr(0), 0)])
    b = BtfBuilder()
    b.int_("long", 4, SIGNED)
    b.struct("s", 4, [("p", b.ptr(0), 0)])
    result = ask(a, b, s, "0:0")
    assert (result.orig_sz, result.new_sz, result.fail_memsz_adjust) == (8, 4, False)


def test_the_size_of_a_load_from_an_array_is_that_of_an_element() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 32, [("e", a.array(a.array(a.u32, 4), 2), 0)])
    b.struct("s", 128, [("e", b.array(b.array(b.u32, 4), 8), 0)])
    for access in ("0:0", "0:0:1", "0:0:1:2"):
        result = ask(a, b, s, access)
        assert (result.orig_sz, result.new_sz, result.fail_memsz_adjust) == (4, 4, False)


# --- types -----------------------------------------------------------------------------------------


def test_type_ids() -> None:
    a, b = Types(), Types(shift=5)
    s = a.struct("s", 4, [("x", a.i32, 0)])
    t = b.struct("s", 12, [("y", b.i32, 0)])
    result = ask(a, b, s, "0", core.TYPE_ID_LOCAL)
    assert (result.orig_val, result.new_val, result.validate) == (s, s, False)
    result = ask(a, b, s, "0", core.TYPE_ID_TARGET)
    assert (result.orig_val, result.new_val, result.validate) == (s, t, False)
    assert answer(a, b, s, "0", core.TYPE_SIZE) == (4, 12)
    assert answer(a, b, s, "0", core.TYPE_EXISTS) == (1, 1)


@pytest.mark.parametrize("kind", [core.TYPE_ID_TARGET, core.TYPE_SIZE, core.TYPE_EXISTS, core.TYPE_MATCHES])
def test_questions_about_missing_types_are_answered_with_zero(kind: int) -> None:
    a, b = Types(), Types()
    s = a.struct("s", 4, [("x", a.i32, 0)])
    result = ask(a, b, s, "0", kind)
    assert (result.new_val, result.poison) == (0, False)
    assert result.why == "this kernel has no struct s"


def test_local_id_of_an_anonymous_type() -> None:
    a, b = Types(), Types()
    s = a.struct("", 4, [("x", a.i32, 0)])
    assert answer(a, b, s, "0", core.TYPE_ID_LOCAL) == (s, s)
    with pytest.raises(ObjectError, match="anonymous"):
        ask(a, b, s, "0", core.TYPE_EXISTS)


def test_existence_compares_shapes() -> None:
    def exists(make: str) -> bool:
        a, b = Types(), Types(shift=2)
        protos = {}
        for t in (a, b):
            protos[t] = {
                "i(i)": t.func_proto(t.i32, [("a", t.i32)]),
                "i(u,p)": t.func_proto(t.i32, [("a", t.u64), ("b", t.ptr(t.char))]),
                "i(u,p)2": t.func_proto(t.i64, [("c", t.u32), ("d", t.ptr(t.u8))]),
                "i(u,s)": t.func_proto(t.i32, [("a", t.u64), ("b", t.struct("q", 1))]),
                "v()": t.func_proto(0, []),
                "double": t.float_("double", 8),
                "int": t.i32,
                "int[]": t.array(t.i32, 3),
                "u64[]": t.array(t.u64, 9),
                "ptr": t.ptr(t.i32),
                "ptr_s": t.ptr(t.struct("q", 1)),
            }
        x, y = make.split(" ~ ")
        id = a.typedef("t", protos[a][x])
        b.typedef("t", protos[b][y])
        return answer(a, b, id, "0", core.TYPE_EXISTS)[1] == 1

    for same in ["i(i) ~ i(i)", "i(u,p) ~ i(u,p)2", "int[] ~ u64[]", "v() ~ v()", "ptr ~ ptr", "int ~ int"]:
        assert exists(same), same
    for other in [
        "i(i) ~ i(u,p)",
        "i(u,p) ~ i(u,s)",
        "int ~ ptr",
        "ptr ~ ptr_s",
        "double ~ double",
        "v() ~ i(i)",
    ]:
        assert not exists(other), other


def test_matching_compares_members() -> None:
    def matches(a: Types, b: Types, id: int) -> bool:
        return answer(a, b, id, "0", core.TYPE_MATCHES)[1] == 1

    a, b = Types(), Types(shift=4)
    subset = a.struct("s", 8, [("x", a.i32, 0), ("p", a.ptr(a.struct("q", 4, [("gone", a.i32, 0)])), 64)])
    b.struct(
        "s", 24, [("p", b.ptr(b.struct("q", 8, [("z", b.i32, 0)])), 0), ("w", b.i64, 64), ("x", b.i32, 128)]
    )
    assert matches(a, b, subset)  # behind the pointer only the name of q counts
    for members in (
        [("x", a.u32, 0)],  # signedness
        [("x", a.i64, 0)],  # size
        [("no", a.i32, 0)],
        [("x", a.i32, 0), ("p", a.ptr(a.struct("r", 4)), 64)],  # another struct behind the pointer
        [("x", a.i32, 0), ("w", a.i64, 0), ("p", a.ptr(0), 64)],
    ):
        assert not matches(a, b, a.struct("s___v2", 8, members))

    # Forward declarations stand for structs behind pointers only.
    id = a.struct("f", 8, [("p", a.ptr(a.fwd("q")), 0)])
    b.struct("f", 8, [("p", b.ptr(b.struct("q", 8)), 0)])
    assert matches(a, b, id)
    id = a.struct("g", 8, [("p", a.ptr(a.fwd("q", union=True)), 0)])
    b.struct("g", 8, [("p", b.ptr(b.struct("q", 8)), 0)])
    assert not matches(a, b, id)
    id = a.struct("h", 8, [("p", a.ptr(a.struct("q", 8)), 0)])
    b.struct("h", 8, [("p", b.ptr(b.fwd("q")), 0)])
    assert matches(a, b, id)

    # Enumerators by name, values don't count; sizes do.
    id = a.enum("e", [("A", 5)])
    b.enum("e", [("B", 1), ("A___v2", 2)])
    assert matches(a, b, id)
    assert not matches(a, b, a.enum("e___v2", [("A", 1), ("C", 1)]))
    assert not matches(a, b, a.enum("e___v3", [("A", 1)], size=1))

    # Arrays by length and functions by their parameters.
    id = a.struct("i", 8, [("e", a.array(a.i32, 2), 0)])
    b.struct("i", 12, [("e", b.array(b.i32, 3), 0)])
    assert not matches(a, b, id)
    id = a.struct("k", 8, [("f", a.ptr(a.func_proto(0, [("x", a.i32)])), 0)])
    b.struct("k", 8, [("f", b.ptr(b.func_proto(0, [("y", b.i32)])), 0)])
    assert matches(a, b, id)
    id = a.struct("l", 8, [("f", a.ptr(a.func_proto(0, [("x", a.i32)])), 0)])
    b.struct("l", 8, [("f", b.ptr(b.func_proto(0, [("x", b.i64)])), 0)])
    assert not matches(a, b, id)


# --- enumerators -----------------------------------------------------------------------------------


def test_enumerators() -> None:
    a, b = Types(), Types(shift=2)
    e = a.enum("e", [("A", 1), ("B___old", 2), ("GONE", 3)])
    b.enum("e", [("Z", 0), ("B", 20), ("A", -3)])
    assert answer(a, b, e, "0", core.ENUMVAL_VALUE) == (1, (1 << 64) - 3)
    assert answer(a, b, e, "1", core.ENUMVAL_VALUE) == (2, 20)
    assert answer(a, b, e, "0", core.ENUMVAL_EXISTS) == (1, 1)
    assert answer(a, b, e, "2", core.ENUMVAL_EXISTS) == (1, 0)
    result = ask(a, b, e, "2", core.ENUMVAL_VALUE)
    assert result.poison
    assert result.why == "this kernel's enum e has no GONE"
    assert ask(a, b, e, "0", core.ENUMVAL_VALUE).text == "enumval_value of A in enum e"


def test_enumerators_of_64_bits() -> None:
    a, b = Types(), Types()
    e = a.enum("e", [("A", 1)])
    b.enum64("e", [("A", 1 << 40), ("B", 0)])
    assert answer(a, b, e, "0", core.ENUMVAL_VALUE) == (1, 1 << 40)
    f = a.enum64("f", [("A", (1 << 64) - 1)])
    b.enum("f", [("A", 0xFFFFFFFF)])
    # A 32-bit value is sign-extended whatever the enum's own sign, which is what libbpf does.
    assert answer(a, b, f, "0", core.ENUMVAL_VALUE) == ((1 << 64) - 1, (1 << 64) - 1)


def test_an_enum_behind_a_typedef() -> None:
    a, b = Types(), Types()
    t = a.typedef("e_t", a.enum("", [("A", 1)]))
    b.typedef("e_t", b.enum("", [("A", 9)]))
    assert answer(a, b, t, "0", core.ENUMVAL_VALUE) == (1, 9)


# --- candidates ------------------------------------------------------------------------------------


def test_candidates_must_agree() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.i32, 0), ("y", a.i32, 32)])
    b.struct("s", 8, [("x", b.i32, 32)])
    b.struct("s", 8, [("x", b.i32, 32), ("y", b.i32, 0)])
    assert answer(a, b, s, "0:0") == (0, 4)
    assert answer(a, b, s, "0:1") == (4, 0)
    b.struct("s___other", 16, [("x", b.i32, 64)])
    with pytest.raises(LoadError, match=r"ambiguous byte_off of struct s\.x.*at bit 32 and at bit 64"):
        ask(a, b, s, "0:0")


def test_candidates_may_differ_in_place_only_if_nothing_depends_on_it() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.i32, 0)])
    b.struct("s", 8, [("x", b.i32, 32)])
    b.struct("s", 8, [("x", b.i32, 0)])
    for kind in (core.FIELD_BYTE_SIZE, core.FIELD_EXISTS, core.FIELD_SIGNED):
        with pytest.raises(LoadError, match="ambiguous"):
            ask(a, b, s, "0:0", kind)
    with pytest.raises(LoadError, match="ambiguous target_type_id"):
        ask(a, b, s, "0", core.TYPE_ID_TARGET)
    assert answer(a, b, s, "0", core.TYPE_SIZE) == (8, 8)


def test_candidates_in_which_a_field_was_found_stay() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.i32, 0), ("y", a.i32, 32)])
    b.struct("s", 8, [("x", b.i32, 32)])
    b.struct("s", 16, [("x", b.i32, 64), ("y", b.i32, 0)])
    relocator = Relocator(a.btf(), b.btf())
    assert relocator.resolve(CoreReloc(0, s, "0:1", 0)).new_val == 0
    # Only the second has y, so x is no longer ambiguous.
    assert relocator.resolve(CoreReloc(8, s, "0:0", 0)).new_val == 8
    assert relocator.resolve(CoreReloc(16, s, "0", core.TYPE_SIZE)).new_val == 16


def test_candidates_that_lack_the_field_do_not_crowd_out() -> None:
    a, b = Types(), Types()
    s = a.struct("s", 8, [("x", a.i32, 0), ("gone", a.i32, 32)])
    b.struct("s", 8, [("x", b.i32, 32)])
    relocator = Relocator(a.btf(), b.btf())
    assert relocator.resolve(CoreReloc(0, s, "0:1", 0)).poison
    assert relocator.resolve(CoreReloc(0, s, "0:0", 0)).new_val == 4


def test_modules_are_searched_only_for_what_the_kernel_lacks() -> None:
    a, b = Types(), Types()
    mine = a.struct("mine", 4, [("x", a.i32, 0)])
    both = a.struct("both", 4, [("x", a.i32, 0)])
    b.struct("both", 8, [("x", b.i32, 32)])
    base = b.btf()
    module = BtfBuilder(base)
    module.struct("mine", 24, [("x", b.i32, 128)])
    module.struct("both", 24, [("x", b.i32, 128)])
    asked = []

    def modules(name: str) -> list[Btf]:
        asked.append(1)
        return [module.btf()]

    relocator = Relocator(a.btf(), base, modules)
    assert relocator.resolve(CoreReloc(0, both, "0:0", 0)).new_val == 4
    assert not asked
    assert relocator.resolve(CoreReloc(0, mine, "0:0", 0)).new_val == 16


# --- broken relocations ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "kind"),
    [
        ("", 0),
        (":", 0),
        ("0:", 0),
        ("x", 0),
        ("0:-1", 0),
        ("0:99", 0),
        ("0:0:0", 0),
        ("0:0", 13),
        ("0:0", 0xFFFFFFFF),
        ("1", core.TYPE_SIZE),
        ("0:0", core.TYPE_EXISTS),
        ("0", core.ENUMVAL_VALUE),
        ("0:" * 70 + "0", 0),
        ("9" * 5000, 0),
        ("²", 0),
    ],
)
def test_broken_relocations(access: str, kind: int) -> None:
    a, b = Types(), Types()
    s = a.struct("s", 4, [("x", a.i32, 0)])
    b.struct("s", 4, [("x", b.i32, 0)])
    with pytest.raises(ObjectError):
        ask(a, b, s, access, kind)
    with pytest.raises(ObjectError):
        ask(a, b, 999, "0:0")


def test_hostile_targets_end() -> None:
    """Types that contain themselves, or each the next twice, in the target and in the program."""
    start = time.monotonic()
    for cycle in (True, False):
        sides = []
        for shift in (0, 3):
            t = Types(shift=shift)
            first = t.next_id
            for level in range(60):
                inner = first if cycle else t.next_id + 1
                t.struct("" if level else "s", 4, [("", inner, 0)] * 4 + [("q" if shift else "x", t.i32, 0)])
            last = t.next_id
            t.struct("", 4, [("never", t.i32, 0)])
            proto = t.next_id
            for _ in range(60):
                t.func_proto(0, [("a", t.next_id + 1), ("b", t.next_id + 1)])
                t.ptr(proto if cycle else t.next_id + 1)
            t.func_proto(0)
            t.typedef("fn", proto)
            sides.append((t.btf(), first, t.next_id - 1))
            assert last > first
        (a, struct_id, fn), (b, _, _) = sides
        for reloc in (
            CoreReloc(0, struct_id, "0:4", core.FIELD_BYTE_OFFSET),
            CoreReloc(0, struct_id, "0", core.TYPE_MATCHES),
            CoreReloc(0, fn, "0", core.TYPE_EXISTS),
            CoreReloc(0, fn, "0", core.TYPE_MATCHES),
        ):
            try:
                resolve(a, b, reloc)
            except ObjectError:
                continue
    assert time.monotonic() - start < 5


def _sample(endian: str = "little") -> tuple[Btf, Btf]:
    out = []
    for shift in (0, 2):
        t = Types(endian, shift=shift)
        inner = t.struct("", 4, [("deep", t.i32, 0)])
        t.struct(
            "s", 48, [("x", t.i32, 0), ("", inner, 64), ("e", t.array(t.u8, 9), 128), ("b", t.u32, 256, 3)]
        )
        t.enum("e", [("A", 1), ("B", -5)])
        t.typedef("fn", t.func_proto(t.i32, [("a", t.ptr(t.i32))]))
        out.append(t.btf())
    return out[0], out[1]


LOCAL, TARGET = _sample()
access_strings = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(lambda p: ":".join(map(str, p)))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 40), access_strings | st.text("0123:x-", max_size=6), st.integers(0, 14))
def test_any_relocation_is_answered_or_refused(type_id: int, access: str, kind: int) -> None:
    try:
        result = resolve(LOCAL, TARGET, CoreReloc(0, type_id, access, kind))
    except ProbeeError:
        return
    assert 0 <= result.new_val < 1 << 64
    assert 0 <= result.orig_val < 1 << 64


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(24, len(TARGET.raw) - 1), st.integers(0, 255)), min_size=1, max_size=5),
    st.integers(1, 20),
    access_strings,
    st.integers(0, 12),
    st.booleans(),
)
def test_broken_types_are_answered_or_refused(
    changes: list[tuple[int, int]], type_id: int, access: str, kind: int, broken_local: bool
) -> None:
    raw = bytearray(LOCAL.raw if broken_local else TARGET.raw)
    for at, value in changes:
        raw[at % len(raw)] = value
    try:
        broken = Btf.parse(raw)
        pair = (broken, TARGET) if broken_local else (LOCAL, broken)
        resolve(*pair, CoreReloc(0, type_id, access, kind))
    except ProbeeError:
        return


# --- instructions ----------------------------------------------------------------------------------


def insn(opcode: int, regs: int = 0, off: int = 0, imm: int = 0, order: str = "<") -> bytes:
    return struct.pack(order + "BBhi", opcode, regs, off, imm)


def outcome(new: int, orig: int = 0, **facts: object) -> CoreResult:
    result = CoreResult()
    result.new_val, result.orig_val, result.text = new, orig, "text"
    for name, value in facts.items():
        setattr(result, name, value)
    return result


MOV, ADD_X, LDX_W, LDX_DW, LDXS_H, ST_B, STX_W, LDDW, JA = (
    0xB7,
    0x0F,
    0x61,
    0x79,
    0x89,
    0x72,
    0x63,
    0x18,
    0x05,
)
POISON = insn(0x85, imm=195896080)
HERE = CoreReloc(8, 1, "0:0", 0)


def apply(code: bytes, result: CoreResult, endian: str = "little") -> bytes:
    order = "<" if endian == "little" else ">"
    data = bytearray(insn(MOV, order=order) + code + insn(MOV, order=order))
    assert patch(data, HERE, result, endian) == ""
    assert data[:8] == insn(MOV, order=order) == data[-8:]
    return bytes(data[8:-8])


@pytest.mark.parametrize("endian", ["little", "big"])
def test_patching(endian: str) -> None:
    order = "<" if endian == "little" else ">"

    def op(opcode: int, regs: int = 0, off: int = 0, imm: int = 0) -> bytes:
        # The two registers change places in their byte.
        swapped = regs if endian == "little" else regs >> 4 | (regs & 15) << 4
        return insn(opcode, swapped, off, imm, order)

    def go(code: bytes, new: int, orig: int, **facts: object) -> bytes:
        return apply(code, outcome(new, orig, **facts), endian)

    assert go(op(MOV, 1, 0, 4), 1000, 4) == op(MOV, 1, 0, 1000)
    assert go(op(MOV, 1, 0, 4), 1 << 31, 4) == op(MOV, 1, 0, -(1 << 31))
    assert go(op(MOV, 1, 0, -1), 7, (1 << 64) - 1) == op(MOV, 1, 0, 7)
    assert go(op(LDX_W, 0x21, 4), 1000, 4) == op(LDX_W, 0x21, 1000)
    assert go(op(LDX_W, 0x21, 4), 8, 4, orig_sz=4, new_sz=8) == op(LDX_DW, 0x21, 8)
    assert go(op(LDXS_H, 0x21, 4), 8, 4, orig_sz=2, new_sz=1) == op(0x91, 0x21, 8)
    assert go(op(ST_B, 1, 4, 9), 0x7FFF, 4) == op(ST_B, 1, 0x7FFF, 9)
    assert go(op(STX_W, 0x21, 4), 8, 4) == op(STX_W, 0x21, 8)
    wide = op(LDDW, 1, 0, 5) + op(0, 0, 0, 1)
    assert go(wide, 1 << 63 | 3, 1 << 32 | 5) == op(LDDW, 1, 0, 3) + op(0, 0, 0, -(1 << 31))
    assert go(op(MOV, 1, 0, 77), 5, 4, validate=False) == op(MOV, 1, 0, 5)


@pytest.mark.parametrize(
    ("code", "result", "message"),
    [
        (insn(MOV, imm=5), outcome(1, 4), "holds 5, expected 4"),
        (insn(ADD_X), outcome(1, 0), "no immediate"),
        (insn(LDX_W, off=5), outcome(1, 4), "offset 5, expected 4"),
        (insn(LDX_W, off=4), outcome(0x8000, 4), "more than 32767"),
        (insn(LDX_W, off=4), outcome(8, 4, orig_sz=8, new_sz=4), "accesses 4 bytes, expected 8"),
        (insn(LDX_W, off=4), outcome(8, 4, orig_sz=4, new_sz=3), "cannot access 3 bytes"),
        (insn(LDDW, imm=5) + insn(0), outcome(1, 4), "loads 5, expected 4"),
        (insn(LDDW, 0x10) + insn(0), outcome(1, 0), "unexpected form"),
        (insn(LDDW) + insn(1), outcome(1, 0), "unexpected form"),
        (insn(LDDW), outcome(1, 0), "cut off"),
        (insn(JA), outcome(1, 0), "opcode 0x05"),
        (insn(0x20), outcome(1, 0), "opcode 0x20"),
    ],
)
def test_instructions_that_do_not_fit(code: bytes, result: CoreResult, message: str) -> None:
    data = bytearray(insn(MOV) + code)
    before = bytes(data)
    with pytest.raises(ObjectError, match=message):
        patch(data, HERE, result)
    assert data == before


@pytest.mark.parametrize("at", [-8, 4, 16, 1 << 40])
def test_relocations_outside_the_program(at: int) -> None:
    with pytest.raises(ObjectError, match="outside"):
        patch(bytearray(16), CoreReloc(at, 1, "0", 0), outcome(0))


def test_poison() -> None:
    missing = outcome(0, 0, poison=True, why="this kernel's struct s has no field 'x'")
    for code in (insn(MOV, 1, 0, 4), insn(LDX_W, 0x21, 4), insn(JA)):
        data = bytearray(insn(MOV) + code + insn(MOV))
        assert patch(data, HERE, missing) == missing.why
        assert data == insn(MOV) + POISON + insn(MOV)
    data = bytearray(insn(MOV) + insn(LDDW, 1) + insn(0) + insn(MOV))
    assert patch(data, HERE, missing) == missing.why
    assert data == insn(MOV) + POISON + POISON + insn(MOV)


def test_a_size_that_cannot_be_adjusted_poisons_loads_only() -> None:
    result = outcome(8, 4, orig_sz=4, new_sz=8, fail_memsz_adjust=True)
    data = bytearray(insn(MOV) + insn(LDX_W, 0x21, 4))
    assert "8 bytes on this kernel and 4 in the program" in patch(data, HERE, result)
    assert data == insn(MOV) + POISON
    assert apply(insn(MOV, 1, 0, 4), result) == insn(MOV, 1, 0, 8)
