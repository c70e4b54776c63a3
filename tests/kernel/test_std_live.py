"""The library functions give in the kernel what they give in CPython."""

from __future__ import annotations

import random

import pytest

import probee as bp
from probee import u64

pytestmark = pytest.mark.root

x = bp.Global[u64](0)
bits = bp.Global[u64](0)
plain = bp.Global[u64](0)
linear = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def both():
    plain.value = bp.log2(x.value)
    linear.value = bp.log2_linear(x.value, bits.value)


def test_log2_in_the_kernel() -> None:
    rng = random.Random(1)
    with bp.attach(both, cache=False) as session:
        for link in session.links:
            link.close()
        (program,) = session.programs.values()
        for n in range(65):
            for value in ((1 << n) - 1, (1 << n) & (2**64 - 1), rng.getrandbits(n)):
                x.value, bits.value = value, n % 9
                program.test_run()
                assert plain.value == bp.log2(value)
                assert linear.value == bp.log2_linear(value, n % 9)
