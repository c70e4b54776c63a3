"""Functions that call each other share the stack: what is too much for that moves to per-CPU memory."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Big(bp.Struct):
    data: u64[40]


def leaf(n: u64) -> u64:
    b = Big()
    b.data[n & 31] = n + 1
    for i in range(4):
        b.data[(n + i) & 31] += i
    return b.data[n & 31]
"""
BODY = """
a = Big()
a.data[regs & 31] = 3
slots[0] = leaf(regs)

def visit(i):
    c = Big()
    c.data[i & 31] = i
    slots[1] = slots[1] + leaf(c.data[i & 31])

bp.loop(number & 7, visit)
slots[2] = a.data[regs & 31]
return 0
"""


@pytest.fixture
def build(tmp_path):
    with lang_module.builder(lang_module.kernel_types(), tmp_path) as build:
        yield build


def test_frames_of_a_chain(build):
    run = build(BODY.replace("regs", "bp.cpu()"), above=ABOVE)
    run(0, 5)
    cpu = run.maps["slots"][0] - 1
    assert cpu >= 0
    assert run.maps["slots"][1] == sum(i + 1 for i in range(5))
    assert run.maps["slots"][2] == 3
    assert any(name.startswith("__scratch_") for name in run.maps)
