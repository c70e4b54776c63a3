"""Variables that do not fit the stack: they live in per-CPU memory, which the compiler chooses."""

from __future__ import annotations

import pytest

import lang_module
from probee.errors import CompileError

pytestmark = pytest.mark.root

ABOVE = """
class Big(bp.Struct):
    numbers: u32[100]
    name: Char[256]


class Huge(bp.Struct):
    numbers: u64[700]


big = bp.Array[Big](2)
"""
BODY = """
a = Big(name="first")
b = Big(name="second")
for i in range(100):
    a.numbers[i] = number + i
b.numbers[7] = a.numbers[8]
big[0] = a
big[1] = b
return b.numbers[7] + a.numbers[99] + len(b.name)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, above=ABOVE) as build:
        yield build


def test_two_large_structs(build):
    run = build(BODY)
    for number in (0, 5, 1000):
        assert run(0, number) == number + 8 + number + 99 + 6
    first, second = (run.module.Big._unpack_(run.raw("big", i)) for i in (0, 1))
    assert first.numbers == [1000 + i for i in range(100)]
    assert (first.name, second.name) == ("first", "second")
    assert second.numbers == [0] * 7 + [1008] + [0] * 92


def test_its_part_is_given_back(build):
    run = build(BODY)
    for _ in range(10):
        assert run(0, 1) == 1 + 8 + 1 + 99 + 6
    depths = [
        bytes(v)[:8] if isinstance(v, (bytes, bytearray)) else v for v in run.maps["__scratch_program"][0]
    ]
    assert all((d.depth if hasattr(d, "depth") else int.from_bytes(d, "little")) == 0 for d in depths)


def test_programs_that_sleep_get_none(build):
    with pytest.raises(CompileError, match="bytes of stack"):
        build("number = 1" + BODY, hook='lsm("file_open", sleepable=True)', params="file")


def test_more_than_a_per_cpu_value_holds(build):
    with pytest.raises(CompileError, match="bytes of stack"):
        build(
            "a = Huge()\nb = Huge()\na.numbers[number & 511] = 1\nb.numbers[number & 255] = 2\n"
            "return a.numbers[3] + b.numbers[4]"
        )
