"""Members without a name: in the kernel, in the machine, in CPython, and in what is read out of maps."""

from __future__ import annotations

import pytest

import lang_module
import probee as bp
from probee import u8, u16, u32

pytestmark = pytest.mark.root


class Pair(bp.Struct):
    low: u16
    high: u16


class Address(bp.Union):
    number: u32
    bytes: u8[4]
    pair: Pair


class Extra(bp.Struct):
    flags: u8
    level: bp.Bits[u8, 4]


class Event(bp.Struct):
    kind: u32
    _: Address
    pid: u32
    _1: Extra


ABOVE = """
class Pair(bp.Struct):
    low: u16
    high: u16


class Address(bp.Union):
    number: u32
    bytes: u8[4]
    pair: Pair


class Extra(bp.Struct):
    flags: u8
    level: bp.Bits[u8, 4]


class Event(bp.Struct):
    kind: u32
    _: Address
    pid: u32
    _1: Extra


seen = bp.Hash[u32, Event](8)
"""
BODY = """
e = Event(kind=number, number=0x7f000001, flags=3, level=2)
e.bytes[0] = 2
e.pair.high = 9
e.level += 1
counts[1] = e.number
counts[2] = e.bytes[2]
counts[3] = e.flags * 16 + e.level
f = Event(e)
if f == e:
    counts[4] = 1
f.number = 5
if f != e:
    counts[5] = f.pair.low
match e:
    case Event(kind=7, flags=3):
        counts[6] = 1
"""


def test_in_programs_as_in_python(tmp_path):
    model = "import probee as bp\nfrom probee import u8, u16, u32\n" + ABOVE.replace("seen", "# seen")
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as build:
        run = build(BODY, above=ABOVE)
        for n in (7, 8):
            assert run(n) == lang_module.python(BODY, n, model), n


def test_in_maps(tmp_path):
    with lang_module.both(lang_module.kernel_types().btf, tmp_path) as build:
        run = build(
            """
            v = seen.get(2)
            if v is not None:
                v.number += 5
                counts[1] = v.pair.low
            """,
            above=ABOVE,
        )
        for where in (run.kernel, run.machine):
            where.maps["seen"][2] = Event(kind=7, number=70000, flags=2)
        assert run()[1] == {1: 70005 & 0xFFFF}
        for where in (run.kernel, run.machine):
            found = where.maps["seen"][2]
            assert (found.kind, found.number, found.pair.high, found.flags) == (7, 70005, 1, 2)


def test_in_python():
    e = Event(kind=1, number=0x7F000001, level=2)
    assert (Event._size_, Event.number.offset, Event.level.offset) == (16, 4, 13)
    assert (e.bytes, e.pair.high, e.level, e.pid) == ([1, 0, 0, 127], 0x7F00, 2, 0)
    e.pair = Pair(low=3)
    assert e.number == 3
    assert e == Event(kind=1, bytes=[3], level=2)
    assert "number=3" in repr(e)
    assert e._asdict()["number"] == 3
    with pytest.raises(
        TypeError, match="has no field 'port'; it has kind, number, bytes, pair, pid, flags, level"
    ):
        Event(port=1)
