"""Library functions written in the language itself: they run in programs and, the same, in CPython."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    u64 = int
else:
    from .decl import u64


def log2(x: u64) -> int:
    """Position of the highest set bit: the bucket of a power-of-two histogram. 0 for 0 and 1."""
    n = 0
    if x >> 32:
        x >>= 32
        n = 32
    if x >> 16:
        x >>= 16
        n += 16
    if x >> 8:
        x >>= 8
        n += 8
    if x >> 4:
        x >>= 4
        n += 4
    if x >> 2:
        x >>= 2
        n += 2
    if x >> 1:
        n += 1
    return n


def log2_linear(x: u64, bits: int) -> int:
    """Bucket of a histogram with 2**bits equal steps in each power of two, as HDR histograms have.

    Values below 2**bits have a bucket of their own; a bucket is at most 2**-bits of its value wide.
    """
    n = log2(x)
    if n < bits:
        return x
    return ((n - bits + 1) << bits) + ((x >> (n - bits)) - (1 << bits))
