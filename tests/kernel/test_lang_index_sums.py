"""Indexes that are sums: LLVM would take them apart, and the verifier knows the bounds of the sum only."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Line(bp.Struct):
    data: u8[200]
    start: u64
    count: u64
    total: u64


lines = bp.Array[Line](1)
"""

BODY = """
e = lines.get(0)
if e is None:
    return -1
first = e.start
total = 0
for i in range(min(e.count, 100)):
    total += e.data[first + i]
e.total = total
"""


def test_a_sum_of_an_index_and_a_counter_in_a_loop(tmp_path):
    with lang_module.builder(lang_module.kernel_types(), tmp_path, above=ABOVE) as build:
        run = build(BODY)
        data = [n * 7 % 251 for n in range(200)]
        for start, count in ((0, 0), (0, 100), (50, 100), (150, 90), (199, 3), (250, 4), (1 << 63, 5)):
            run.maps["lines"][0] = {"data": data, "start": start, "count": count}
            run()
            assert run.maps["lines"][0].total == sum(data[start : start + count]), (start, count)
