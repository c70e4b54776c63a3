"""Slices that begin anywhere: in the kernel, in the machine, and in CPython."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Wide(bp.Struct):
    a: u32[16]
    b: u32[4]


wides = bp.Hash[u32, Wide](4)
"""
BODY = """
w = Wide()
for k in range(16):
    w.a[k] = k * k
i = number
if not 0 <= i <= 10:
    return 1
p = w.a[i:i + 4]
counts[1] = p[0] + p[3]
w.b = w.a[i:i + 4]
counts[2] = w.b[1]
w.a[i:i + 2] = (7, 8)
w.a[i + 2:i + 2 + 2] = w.b[1:3]
if w.a[i:i + 2] == w.a[3:5]:
    counts[3] = 1
total = 0
for x in w.a[i:i + 3]:
    total += x
counts[4] = total
q = w.a[number & 7:(number & 7) + 8]
counts[5] = q[7]
for k in range(16):
    counts[10 + k] = w.a[k]
"""


def test_slices_of_arrays_as_in_python(tmp_path):
    model = "import probee as bp\nfrom probee import u32\n" + ABOVE.replace("wides", "# wides")
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as build:
        run = build(BODY, above=ABOVE)
        for n in (0, 1, 3, 7, 10, 11, 1 << 40, -1):
            found = lang_module.python(BODY, n, model)
            assert run(n) == found, n


def test_slices_of_values_of_maps_and_of_kernel_memory(tmp_path):
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as build:
        run = build(
            """
            v = wides.get(1)
            i = u64(number)
            if v is not None and i <= 12:
                v.a[i:i + 4] = (1, 2, 3, 4)
                q = v.a[i:i + 4]
                counts[1] = q[2]
            """,
            above=ABOVE,
        )
        for where in (run.kernel, run.machine):
            where.maps["wides"][1] = (list(range(16)), [0] * 4)
        assert run(5)[1] == {1: 3}
        assert run(13)[1] == {}
        for where in (run.kernel, run.machine):
            assert list(where.maps["wides"][1].a) == [0, 1, 2, 3, 4, 1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15]
