"""Library functions written in the language itself: they run in programs and, the same, in CPython."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    u64 = int
else:
    from .decl import u64


def log2(x: u64) -> int:
    """Position of the highest set bit: the bucket of a power-of-two histogram. 0 for 0 and 1."""
    n = (x > 0xFFFF_FFFF) << 5  # a comparison is 0 or 1: this halves the rest without a branch for each bit
    x >>= n
    step = (x > 0xFFFF) << 4
    x >>= step
    n |= step
    step = (x > 0xFF) << 3
    x >>= step
    n |= step
    step = (x > 0xF) << 2
    x >>= step
    n |= step
    step = (x > 0x3) << 1
    x >>= step
    n |= step
    return n | (x >> 1)


def log2_linear(x: u64, bits: int) -> int:
    """Bucket of a histogram with 2**bits equal steps in each power of two, as HDR histograms have.

    Values below 2**bits have a bucket of their own; a bucket is at most 2**-bits of its value wide.
    """
    n = log2(x)
    if n < bits:
        return x
    shift = (n - bits) & 63  # it is below 64; the mask tells the compiler
    return ((shift + 1) << bits) + ((x >> shift) - (1 << bits))
