"""Merging BTF: equal types become one, however their references run."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.btf.build import BtfBuilder
from probee.btf.kinds import FWD, INT, INT_SIGNED, PTR, STRUCT
from probee.btf.merge import Merge, dedup
from probee.btf.parser import Btf
from probee.errors import ObjectError


def linked_list(builder: BtfBuilder, name: str, extra: str = "value") -> int:
    """struct NAME { struct NAME *next; int EXTRA; }, whose pointer comes before it."""
    number = builder.int_("int", 4, INT_SIGNED)
    pointer = builder.ptr(builder.next_id + 1)
    return builder.struct(name, 16, [("next", pointer, 0), (extra, number, 64)])


def merged(*btfs: Btf) -> Btf:
    merge = Merge(btfs[0].endian)
    for btf in btfs:
        merge.add(btf)
    merge.unify()
    return Btf.parse(merge.write()[0])


def test_types_that_refer_to_themselves_are_recognised() -> None:
    one, two = BtfBuilder(), BtfBuilder()
    linked_list(one, "node")
    two.int_("long", 8, INT_SIGNED)  # other ids
    linked_list(two, "node")
    both = merged(one.btf(), two.btf())
    assert len(both.find_all("node", STRUCT)) == 1
    assert len(both) == 1 + 4  # void; int, pointer, struct, long
    node = both.type(both.find("node", STRUCT) or 0)
    assert both.type(node.members[0].type).type == node.id


def test_what_differs_only_behind_a_pointer_stays_apart() -> None:
    one, two = BtfBuilder(), BtfBuilder()
    one.struct("outer", 8, [("inner", one.ptr(linked_list(one, "node")), 0)])
    two.struct("outer", 8, [("inner", two.ptr(linked_list(two, "node", "number")), 0)])
    both = merged(one.btf(), two.btf())
    assert len(both.find_all("outer", STRUCT)) == 2
    assert len(both.find_all("int", INT)) == 1


def test_forward_declarations_stand_for_the_struct() -> None:
    one, two = BtfBuilder(), BtfBuilder()
    one.struct("outer", 8, [("inner", one.ptr(one.fwd("node")), 0)])
    two.struct("outer", 8, [("inner", two.ptr(linked_list(two, "node")), 0)])
    both = merged(one.btf(), two.btf())
    assert both.find("node", FWD) is None
    assert len(both.find_all("outer", STRUCT)) == 1
    pointers = list(both.own_types(PTR))
    assert [both.type(p.type).name for p in pointers] == ["node"]


def test_a_forward_declaration_of_two_structs_stays() -> None:
    one = BtfBuilder()
    linked_list(one, "node")
    linked_list(one, "node", "other")
    one.ptr(one.fwd("node"))
    assert dedup(one.btf()).find("node", FWD) is not None


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 5)), max_size=12))
def test_merging_twice_changes_nothing(parts: list[tuple[str, int]]) -> None:
    builder = BtfBuilder()
    ids = [builder.int_("int", 4, INT_SIGNED)]
    for name, target in parts:
        pointer = builder.ptr(ids[target % len(ids)])
        ids += [pointer, builder.struct(name, 8, [("p", pointer, 0)])]
    once = dedup(builder.btf())
    assert len(dedup(once)) == len(once)
    doubled = merged(builder.btf(), builder.btf())
    assert len(doubled) == len(once)


@given(st.data())
def test_broken_references_are_typed_errors(data: st.DataObject) -> None:
    builder = BtfBuilder()
    linked_list(builder, "node")
    raw = bytearray(builder.build())
    at = data.draw(st.integers(24, len(raw) - 1))
    raw[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ObjectError):
        dedup(Btf.parse(bytes(raw)))


def test_byte_orders_do_not_mix() -> None:
    merge = Merge("big")
    with pytest.raises(ObjectError, match="little-endian"):
        merge.add(BtfBuilder().btf())
