"""Globals of every type, results that are tuples, arrays on the stack, CO-RE: what programs make of them."""

from __future__ import annotations

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
class Config(bp.Struct):
    limit: u32
    name: Char[16]
    ports: u16[4]
config = bp.Const[Config](Config(limit=5, name="abc", ports=[1,2,3]))
state = bp.Global[Config]()
numbers = bp.Global[u64[8]]()
label = bp.Global[Char[32]]("start")
table = bp.Const[u32[16]]()
flag = bp.Global[bool](True)
inner = bp.Global[Point[3]]()
def pair(a: u64, b: u64):
    return a + b, a - b
class task_struct___mine(bp.KernelStruct):
    tgid: i32
    pid: i32
class task_struct___old(bp.KernelStruct):
    state: i64
"""
CASES = [
    pytest.param(
        'return config.limit * 100 + config.ports[1] * 10 + int(config.name == "abc")', 521, id="const struct"
    ),
    pytest.param("return config.value.limit", 5, id="const struct .value"),
    pytest.param(
        'state.value.limit = 7\nstate.value.limit += 1\nstate.value.name = "xy"\n'
        "return state.value.limit + len(state.value.name)",
        10,
        id="global struct",
    ),
    pytest.param(
        "c = Config(limit=3)\nstate.value = c\nreturn state.value.limit", 3, id="global struct whole"
    ),
    pytest.param(
        "numbers.value[2] += 5\nnumbers.value[number & 7] += 1\nreturn numbers.value[2]", 5, id="global array"
    ),
    pytest.param("label.value = bp.comm()\nreturn int(label.value == bp.comm())", 1, id="global text"),
    pytest.param('label.value = f"n={number}"\nreturn len(label.value)', 3, id="global text f"),
    pytest.param("return table[number] + table.value[3]", 0, id="const array"),
    pytest.param("if flag.value:\n    flag.value = False\n    return 1\nreturn 2", 1, id="flag"),
    pytest.param("inner.value[1].x = 4\nreturn inner.value[1].x", 4, id="array of struct"),
    pytest.param("s = state.value\ns.limit = 9\nreturn state.value.limit", 9, id="local global ref"),
    pytest.param("a, b = pair(number + 9, 3)\nreturn a * 10 + b", 126, id="tuple result"),
    pytest.param("a = u32[4](1, 2, 3, 4)\na[2] = 9\nreturn a[2] + a[number & 3]", 10, id="local array"),
    pytest.param("a = u32[4]()\na[number & 3] = 7\nreturn a[0]", 7, id="local array2"),
    pytest.param(
        "t = bp.cast(task_struct___mine, bp.current_task())\nreturn int(t.tgid == bp.pid())", 1, id="flavour"
    ),
    pytest.param(
        't = bp.cast(task_struct___old, bp.current_task())\nif hasattr(t, "state"):\n    return 1\nreturn 2',
        2,
        id="flavour hasattr",
    ),
    pytest.param('return bp.enum_value("pid_type", "PIDTYPE_TGID")', 1, id="enum_value"),
    pytest.param(
        't = bp.current_task()\np = bp.container_of(bp.addr(t.tasks), "task_struct", "tasks")\n'
        "return int(p.tgid == t.tgid)",
        1,
        id="container_of",
    ),
    pytest.param('return int(bp.offsetof("task_struct", "tgid") > 0)', 1, id="offsetof"),
    pytest.param('return bp.field_size("task_struct", "comm")', 16, id="field_size"),
    pytest.param("return int(bp.kernel_type_matches(task_struct___mine))", 1, id="matches"),
    pytest.param("x: Color = Color.BLUE\nreturn x", 2, id="enumann"),
    pytest.param("p = Point(x=1,y=2)\nq = Point(x=p.x)\nq = p\nreturn q.y", 2, id="copystruct"),
    pytest.param("p = Point(x=1,y=2)\nq = Point(p)\nq.x = 5\nreturn p.x", 1, id="copycall"),
]


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, above=ABOVE) as build:
        yield build


@pytest.mark.parametrize(("body", "result"), CASES)
def test_result(build, body, result):
    assert build(body)(0, 0) == result


def test_globals_from_python(build):
    run = build("state.value.limit += config.limit\nreturn state.value.limit")
    assert run() == 5
    assert run.globals.state.limit == 5
    run.globals.state = {"limit": 40, "name": "x", "ports": [1, 2, 3, 4]}
    assert run() == 45


def test_constant_struct_set_before_the_load(build):
    config = build("pass").module.Config(limit=77, name="set")
    packed = type(config)._pack_(config)
    run = build('return config.limit + int(config.name == "set")', values={"config": packed})
    assert run() == 78


def test_enumerators_that_this_kernel_lacks(build):
    assert build('return int(bp.enum_exists("pid_type", "PIDTYPE_NONE_SUCH")) + 1')() == 1
    assert build('return int(bp.enum_exists("pid_type", "PIDTYPE_TGID")) + 1')() == 2
    assert build('return int(bp.enum_exists("no_such_enum", "X")) + 1')() == 1


def test_flavours_choose_at_load_time(build):
    run = build(
        """
        old = bp.cast(task_struct___old, bp.current_task())
        new = bp.cast(task_struct___new, bp.current_task())
        if hasattr(old, "state"):
            return 1
        if hasattr(new, "__state"):
            return 2 if new.__state == 0 else 3
        return 4
        """,
        above=ABOVE + "class task_struct___new(bp.KernelStruct):\n    __state: u32\n",
    )
    assert run() == 2
