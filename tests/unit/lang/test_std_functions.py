"""The library functions, run in CPython: they are the same text that runs in the kernel."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probee.lang import std

u64s = st.integers(0, 2**64 - 1)


@given(u64s)
def test_log2_is_the_highest_bit(x: int) -> None:
    assert std.log2(x) == max(0, x.bit_length() - 1)


def test_log2_at_every_power() -> None:
    for n in range(64):
        assert std.log2(1 << n) == n
        assert std.log2((2 << n) - 1) == n


@given(u64s, u64s, st.integers(0, 8))
def test_linear_buckets_keep_the_order_and_the_width(x: int, y: int, bits: int) -> None:
    small, large = sorted((x, y))
    a, b = std.log2_linear(small, bits), std.log2_linear(large, bits)
    assert a <= b
    if a == b:  # values of one bucket are at most 2**-bits of their size apart
        assert large - small <= small >> bits
    if small < 1 << bits:
        assert a == small


def test_linear_buckets_have_no_gaps() -> None:
    buckets = [std.log2_linear(x, 2) for x in range(1 << 10)]
    assert sorted(set(buckets)) == list(range(max(buckets) + 1))
