"""Wrong uses of data: each is refused at its place, with what to write instead."""

from __future__ import annotations

import pytest

import lang_module
from probee.errors import CompileError

ABOVE = """
class Config(bp.Struct):
    limit: u32
    bits: bp.Bits[u8, 3]


class Either(bp.Union):
    a: u32
    b: u64


class Prefix(bp.Struct):
    prefixlen: u32
    address: u8[4]


class task_struct___mine(bp.KernelStruct):
    tgid: i32


queue = bp.Queue[u64](4)
bloom = bp.BloomFilter[u64](4)
routes = bp.LpmTrie[Prefix, u64](4)
storage = bp.TaskStorage[u64]()
outer = bp.ArrayOfMaps[bp.Array[u64](4)](4)
events = bp.PerfEventArray[Config]()
ports = bp.DevMap(4)
config = bp.Const[Config]()
state = bp.Global[Config]()
"""
PROGRAM = [
    ("x = queue[1]", "queue[1]", "a queue, which has no entries", "push"),
    ("queue.get(1)", "queue.get(1)", "has no get", "push"),
    ("x = queue.pop()\nreturn x", "x", "may be None", "is None"),
    ("bloom[1] = 2", "bloom[1]", "a Bloom filter", "add"),
    ("x = storage[5]", "storage[5]", "a pointer to a task_struct", "current_task"),
    ("storage.update(bp.current_task(), 1)", "storage.update", "no update", "storage[object]"),
    ("x = outer.get(1)\nreturn x[2]", "x[2]", "may be None", "is None"),
    ("outer[1] = 5", "outer[1] = 5", "holds maps", "Python"),
    ("del outer[1]", "outer[1]", "holds maps", "Python"),
    ("x = counts.get(1, cpu=2)", "counts.get", "one value for all CPUs", "get"),
    ("x = counts.get(1, create=True)", "counts.get", "create", "="),
    ("ports.redirect()", "ports.redirect()", "takes 1 to 2 arguments", ""),
    ("rb2.discard()", "rb2.discard()", "no record", "with"),
    ("events.reserve()", "events.reserve()", "has no reserve", "output"),
    ("config.limit = 3", "config.limit", "Const", "Global"),
    ("state.limit = 3", "state.limit", "no attribute", "state.value"),
    ("e = Either(a=1)\nreturn e.c", "e.c", "no field", "a, b"),
    ("t = task_struct___mine(tgid=1)", "task_struct___mine(tgid=1)", "kernel struct", "cast"),
    ("p = Point(Config())", "Config()", "takes its fields by name", "Point("),
    ("a = u32[2](1, 2, 3)", "u32[2](1, 2, 3)", "do not fit", ""),
    (
        'x = bp.enum_value("pid_type", "PIDTYPE_TGIT")',
        '"PIDTYPE_TGIT"',
        "has no PIDTYPE_TGIT",
        "PIDTYPE_TGID",
    ),
    ('x = bp.enum_value("pid_typ", "A")', '"pid_typ"', "no enum", ""),
    ('x = bp.offsetof("task_struct", "tgit")', '"tgit"', "no field", "tgid"),
    ("x = bp.addr(number)", "bp.addr(number)", "no address", "addr(task.field)"),
    ("x = bp.deref(number)", "bp.deref(number)", "takes a pointer", ""),
    ('x = bp.container_of(number, "task_struct", "tasks")', "number", "takes a pointer", ""),
    ("e = Exec()\nreturn e.comm.endswith(number)", "e.comm.endswith(number)", "text is needed", "literal"),
    ('x = f"{number:.2f}"', "number", "can't be printed", "width"),
    ('x = f"ü{number}"', 'f"ü{number}"', "ASCII", ""),
    ('x = f"{number:ip}"', "number", "4 or 16 bytes", "kernel"),
]
DECLARED = [
    ("class S(bp.Struct):\n    a: bp.Bits[u8, 9]", "1 to 8 bits"),
    ("class S(bp.Struct):\n    a: bp.Bits[Char[4], 2]", "of integers"),
    ("class S(bp.Struct, align=3):\n    a: u8", "power of two"),
    ("class S(bp.Struct):\n    a: Plain", "IntEnum"),
    ("class S(bp.Struct):\n    a: bp.Ptr", "not a type"),
    ("m = bp.LpmTrie[u32, u32](4)", "begins with a u32"),
    ("m = bp.ArrayOfMaps[u32](4)", "described by one"),
    ("m = bp.ArrayOfMaps[bp.RingBuf[Point](4096)](4)", "can't be inside"),
    ("m = bp.BloomFilter[u32](4, hashes=99)", "1 to 15"),
    ("m = bp.Queue[u32](0)", "the size is"),
    ("m = bp.PerfEventArray[u32]()", "records are structs"),
    ("m = bp.Array[u32](4, numa_node=-1)", "numa_node"),
    ("jumps = bp.ProgArray(2)\n@bp.raw_tracepoint('sys_enter')\ndef p(): pass\njumps[2] = p", "0 to 1"),
]


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.mark.parametrize(("body", "at", "message", "advice"), PROGRAM)
def test_in_a_program(body, at, message, advice, ktypes, tmp_path):
    module = lang_module.make(lang_module.program(body, above=ABOVE), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert message in e.message
    assert advice in e.advice
    assert e.source[e.column : e.end_column].startswith(at) or at in e.source[e.column : e.end_column]


@pytest.mark.parametrize(("text", "message"), DECLARED)
def test_in_a_declaration(text, message, tmp_path):
    with pytest.raises(CompileError) as caught:
        lang_module.make(lang_module.program("pass", above=text), tmp_path)
    assert message in f"{caught.value.message} {caught.value.advice}"
    assert caught.value.line
