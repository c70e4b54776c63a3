"""Text in the kernel: order, search, ends, slices, joining, f-strings, against what Python makes of it."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Line(bp.Struct):
    a: Char[16]
    b: Char[8]
    out: Char[32]
    n: i64
    address: u8[4]
    numbers: u16[6]


lines = bp.Array[Line](1)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, above=ABOVE) as build:
        yield build


HEAD = """
e = lines.get(0)
if e is None:
    return -1
"""
PAIRS = [
    ("", ""),
    ("a", ""),
    ("", "b"),
    ("abc", "abc"),
    ("abc", "abd"),
    ("abcd", "abc"),
    ("hello world", "o w"),
    ("aaab", "aab"),
    ("0123456789abcdef", "89abcdef"),
    ("0123456789abcdef", "cdef"),
    ("xyzxyz", "yz"),
    ("zz", "zzz"),
]


def put(run, a: str, b: str, n: int = 0) -> None:
    run.maps["lines"][0] = {"a": a, "b": b, "n": n}


@pytest.mark.parametrize(
    ("expression", "python"),
    [
        ("e.a < e.b", lambda a, b: a < b),
        ("e.a >= e.b", lambda a, b: a >= b),
        ("e.a <= 'abc'", lambda a, b: a <= "abc"),
        ("e.b in e.a", lambda a, b: b in a),
        ("'yz' in e.a", lambda a, b: "yz" in a),
        ("e.a.find(e.b)", lambda a, b: a.find(b)),
        ("e.a.find('aa')", lambda a, b: a.find("aa")),
        ("e.a.startswith(e.b)", lambda a, b: a.startswith(b)),
        ("e.a.startswith(('abc', 'xy'))", lambda a, b: a.startswith(("abc", "xy"))),
        ("e.a.endswith('def')", lambda a, b: a.endswith("def")),
        ("e.a.endswith(e.b)", lambda a, b: a.endswith(b)),
        ("e.b in ('b', 'abc', e.a)", lambda a, b: b in ("b", "abc", a)),
    ],
)
def test_questions(build, expression, python):
    run = build(HEAD + f"return int({expression})")
    for a, b in PAIRS:
        put(run, a, b)
        assert run() == int(python(a, b)), (a, b)


@pytest.mark.parametrize(
    ("expression", "python"),
    [
        ("e.a + e.b", lambda a, b, n: a + b),
        ("'<' + e.a + '>'", lambda a, b, n: "<" + a + ">"),
        ("e.a[2:5]", lambda a, b, n: a[2:5]),
        ("e.a[:3] + e.a[3:]", lambda a, b, n: a[:3] + a[3:]),
        ("e.a[-3:]", lambda a, b, n: a[-3:]),
        ("e.a[e.n:]", lambda a, b, n: a[n:]),
        ("e.a[e.n:-1]", lambda a, b, n: a[n:-1]),
        ("e.a[1:e.n] + '!'", lambda a, b, n: a[1:n] + "!"),
        ("f'{e.a}/{e.n}'", lambda a, b, n: f"{a}/{n}"),
        ("f'{e.n:5d}|{e.n:<5}|{e.n:05}|{u8(e.n):x}'", lambda a, b, n: f"{n:5d}|{n:<5}|{n:05}|{n & 255:x}"),
        ("f'{e.b:>8}:{u16(e.n):#x}%'", lambda a, b, n: f"{b:>8}:{n & 0xFFFF:#x}%"),
        ("'n=' + str(e.n)", lambda a, b, n: "n=" + str(n)),
        ("hex(u32(e.n))", lambda a, b, n: hex(n & 0xFFFFFFFF)),
    ],
)
def test_texts(build, expression, python):
    run = build(HEAD + f"e.out = {expression}\nreturn 0")
    for a, b in PAIRS:
        for n in (0, 2, -2, 7):
            put(run, a, b, n)
            assert run() == 0
            want = python(a, b, n)
            raw = run.module.Line._unpack_(run.raw("lines"))
            limit = 31 if expression[:2] == "f'" else 32
            assert raw.out == want[:limit], (a, b, n)


def test_every_byte_behind_the_end_is_zero(build):
    run = build(
        HEAD
        + """
        e.out = "0123456789012345678901234567890"
        e.out = f"{e.a}{e.n}"
        e.out = e.out[1:]
        return 0
        """.replace("\n        ", "\n")
    )
    put(run, "abc", "", 5)
    run()
    offset = run.module.Line.out.offset
    assert run.raw("lines")[offset : offset + 32] == b"bc5".ljust(32, b"\0")


def test_locals_of_text(build):
    run = build(
        HEAD
        + """
name = e.a + "." + e.b
path = f"/{name}"
e.out = path
return len(path) * 10 + int("." in name)
"""
    )
    put(run, "one", "two")
    assert run() == 81
    assert run.module.Line._unpack_(run.raw("lines")).out == "/one.two"


def test_slices_of_arrays(build):
    run = build(
        HEAD
        + """
e.numbers = (1, 2, 3, 4, 5, 6)
e.numbers[0:2] = e.numbers[4:]
e.numbers[2:4] = (9, 8)
tail = e.numbers[-2:]
tail[0] = 77
return tail[0] + tail[1]
"""
    )
    assert run() == 83
    assert run.module.Line._unpack_(run.raw("lines")).numbers == [5, 6, 9, 8, 5, 6]


def test_addresses_and_symbols(build):
    run = build(
        HEAD
        + """
e.address = (10, 0, 2, 15)
e.out = f"{e.address:ip}"
task = bp.current_task()
e.n = u64(task)
return int(f"{task}" == f"0x{e.n:x}")
"""
    )
    assert run() == 1
    assert run.module.Line._unpack_(run.raw("lines")).out == "10.0.2.15"
