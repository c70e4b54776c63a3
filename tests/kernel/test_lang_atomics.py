"""Atomic operations: what they give and leave behind, in the kernel and in the machine."""

from __future__ import annotations

import pytest

import atomic_programs as p
from needs import needs
from services_module import attached


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def call(request):
    if request.param == "kernel":
        needs("arena")
    with attached(p, request.param) as call:
        yield call


def test_changes_give_what_was_there(call):
    p.wide.value, p.narrow.value, p.signed.value = 10, 10, -3
    result, a, b, c = call("change", 0, 0, 0)
    assert result == 97
    assert (a, b, c) == (10 * 100 + 14, 15 * 100 + 15, 6000 + 0xF9)
    assert (p.wide.value, p.narrow.value, p.signed.value) == (77, (10 - 11) & 0xFFFF_FFFF, -4)


def test_compare_and_exchange(call):
    p.wide.value = 77
    assert call("exchange", 76, 5, 0) == [0, 76, 5, 77]
    assert p.wide.value == 77
    assert call("exchange", 77, 5, 0) == [1, 77, 5, 77]
    assert p.wide.value == 5


def test_in_values_of_maps(call):
    assert call("in_a_value", 0, 2, 0) == [0, 0, 2, (1 << 64) - 7]
    assert call("in_a_value", 0, 2, 0)[1] == 3
    assert call("in_a_value", 5, 9, 0)[1] == 0  # outside of the array
    assert list(p.values[0].many) == [0, 0, 6, 0]
    assert p.values[0].narrow == -18
    assert call("by_key", 3, 0, 0)[2] == 0
    assert call("by_key", 3, 0, 0)[2] == 4
    assert p.counts[3] == 8


def test_ordered_loads_and_stores(call):
    assert call("ordered", 1 << 63, 0, 0) == [-5, 1 << 63, 0x2345FF, (1 << 63) + 1]
    value = p.values[0]
    assert (value.byte, value.half, value.narrow, value.wide) == (0xFF, 0x2345, -5, 1 << 63)


def test_in_an_arena(call):
    assert call("in_the_arena", 0, 0, 0) == [0, 43210, 5, 0]
    assert p.arena.at(p.top.value, p.Cell).n == 9
