"""DWARF 4 and 5 of clang's: variables by name, types, places; and whatever else calls itself DWARF."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.errors import ObjectError
from probee.obj import dwarf, read_object
from probee.obj.dwarf import Dwarf, Place, State, Variable
from probee.obj.dwarf.expressions import places
from probee.obj.dwarf.units import File, Unit
from probee.obj.elf import Elf
from variables_c import LINES, compile_variables


def nothing(address: int, size: int) -> bytes:
    raise AssertionError("no memory was to be read")


@pytest.fixture(scope="module", params=[4, 5])
def data(request: pytest.FixtureRequest) -> bytes:
    return compile_variables(request.param)


def offset_of(data: bytes, program: str, line: int) -> int:
    """The first instruction of a line, as a byte offset in the program's section."""
    spec = read_object(data)
    assert spec.btf_ext is not None
    section = spec.programs[program].section
    return next(at for at, _, _, place in spec.btf_ext.lines[section] if place >> 10 == line)


def test_variables_and_their_types(data: bytes) -> None:
    spec = read_object(data)
    found = dwarf.function(spec, "on_switch", "on_switch")
    assert found is not None
    function, code = found
    assert (code.name, function.size) == ("on_switch", 8)
    variables = function.variables(offset_of(data, "on_switch", LINES["if (!event)"]))
    kinds = {name: str(v.type) for name, v in variables.items() if name != "ctx"}
    assert kinds == {
        "zero": "unsigned int",
        "id": "unsigned long long",
        "pid": "unsigned int",
        "event": "struct event *",
        "weight": "unsigned long long",
    }
    event = variables["event"].type.to
    assert (event.kind, event.size) == ("struct", 72)
    assert [(f.name, str(f.type)) for f in event.fields] == [
        ("pid", "unsigned int"),
        ("comm", "char[16]"),
        ("kind", "enum kind"),
        ("at", "struct point"),
        ("args", "unsigned long long[3]"),
        ("text", "char *"),
    ]
    at = event.field("at")
    assert at is not None
    assert [(f.name, f.offset, f.bits) for f in at.type.fields][:4] == [
        ("x", 0, 0),
        ("y", 32, 0),
        ("lo", 64, 4),
        ("hi", 68, 12),
    ]
    inner = at.type.field("b")  # of the union without a name
    assert inner is not None
    assert (inner.offset, str(inner.type)) == (96, "char[4]")
    kind = event.field("kind")
    assert kind is not None
    assert kind.type.names == {0: "SMALL", 7: "LARGE"}


def test_places_by_location_lists(data: bytes) -> None:
    spec = read_object(data)
    found = dwarf.function(spec, "on_switch", "on_switch")
    assert found is not None
    function, _ = found

    def at(name: str, line: str) -> Place:
        offset = offset_of(data, "on_switch", LINES[line])
        registers = [10 * n for n in range(11)]
        state = State(registers, nothing, registers[10] - function.size)
        (only,) = function.variables(offset)[name].at(function.section, offset, state)
        return only

    zero = at("zero", "if (!event)")
    assert (zero.kind, zero.value) == ("memory", 100 - 4)  # the upper half of the word below r10
    assert at("event", "if (!event)").kind == "register"
    assert at("event", "u64 id").kind == "gone"
    pid = at("pid", "if (!event)")
    assert (pid.kind, pid.value) == ("value", 70 >> 32) or pid.kind == "register"


def test_inlined_functions(data: bytes) -> None:
    spec = read_object(data)
    found = dwarf.function(spec, "on_switch", "on_switch")
    assert found is not None
    function, _ = found
    offset = offset_of(data, "on_switch", LINES["int twice"])
    assert function.inlined(offset) == [("classify", LINES["event->kind"])]
    inside = function.variables(offset)
    limit = inside["limit"].at(function.section, offset, State([0] * 11, nothing, 0))
    assert [(p.kind, p.value) for p in limit] == [("value", 10)]
    assert function.inlined_at("classify") == [offset]
    assert inside["pid"].parameter
    assert "twice" in inside
    assert "twice" not in function.variables(offset_of(data, "on_switch", LINES["u64 weight"]))
    weigh = dwarf.function(spec, "on_switch", "weigh")
    assert weigh is not None
    assert {"sum", "event"} <= weigh[0].variables(8 * weigh[1].start).keys()
    assert dwarf.function(spec, "on_switch", "nobody") is None


def test_objects_without_and_with_other_code(data: bytes) -> None:
    spec = read_object(data)
    spec.debug = None
    assert dwarf.of(spec) is None
    spec.debug = lambda: data
    assert isinstance(dwarf.of(spec), Dwarf)
    spec.code = {index: code[:-8] + bytes(8) for index, code in spec.code.items()}
    spec.debug = lambda: data
    assert dwarf.of(spec) is None
    spec.debug = lambda: b"nonsense"
    assert dwarf.of(spec) is None


def walk(elf: Elf) -> None:
    """Everything that is read of DWARF."""
    found = Dwarf(elf)
    state = State([1] * 11, lambda address, size: bytes(size), 512, [2] * 11)
    for function in found._functions.values():
        todo = [function.scope]
        while todo:
            scope = todo.pop()
            todo += scope.inner
            for variable in scope.variables:
                _use(variable, function.section, function.low, state)


def _use(variable: Variable, section: int, offset: int, state: State) -> None:
    str(variable.type)
    for field in variable.type.to.fields if variable.type.kind == "pointer" else variable.type.fields:
        str(field.type)
    for range, _ in variable.where:
        variable.at(section, range[1] if range else offset, state)


def test_broken_dwarf_is_a_typed_error(data: bytes) -> None:
    whole = Elf(data)
    walk(whole)
    chance = random.Random(7)
    refused = 0
    for _ in range(400):
        elf = Elf(data)
        section = chance.choice([s for s in elf.sections if s.name.startswith(".debug_") and s.size])
        broken = bytearray(section.data)
        for _ in range(chance.choice((1, 1, 4, 20))):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        section.data = memoryview(
            bytes(broken[: chance.choice((len(broken), chance.randrange(len(broken)))) or 1])
        )
        try:
            walk(elf)
        except ObjectError:
            refused += 1
    assert refused > 50


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_as_an_expression(expression: bytes) -> None:
    file = File.__new__(File)
    file.endian, file.sections, file.dies, file._moved = "little", {}, {}, {}
    state = State(list(range(11)), lambda address, size: bytes(size), 64, [3] * 11)
    try:
        found = places(file, Unit(0, 5, False, 8), expression, state)
    except ObjectError:
        return
    assert all(isinstance(one, Place) for one in found)


def numbers(*steps: int) -> list[tuple[str, int]]:
    file = File.__new__(File)
    file.endian, file.sections, file.dies, file._moved = "little", {}, {}, {}
    memory = (1 << 40).to_bytes(8, "little")
    state = State([100 + n for n in range(11)], lambda address, size: memory[:size], 1000, [7] * 11)
    found = places(file, Unit(0, 5, False, 8), bytes(steps), state)
    return [(one.kind, one.value) for one in found]


def test_what_operations_do() -> None:
    value = 0x9F
    assert numbers(0x53) == [("register", 3)]
    assert numbers(0x91, 0x78) == [("memory", 992)]  # fbreg -8
    assert numbers(0x72, 0x01, 0x06, value) == [("value", 1 << 40)]  # what is at r2 + 1
    assert numbers(0x35, 0x33, 0x1C, value) == [("value", 2)]  # 5 - 3
    assert numbers(0x33, 0x35, 0x1C, value) == [("value", (1 << 64) - 2)]
    assert numbers(0x09, 0xF9, 0x32, 0x1B, value) == [("value", (1 << 64) - 3)]  # -7 / 2 truncates
    assert numbers(0x31, 0x28, 1, 0, 0x96, 0x34, value) == [("value", 4)]  # bra over a nop
    assert numbers(0xA3, 1, 0x51, value) == [("value", 7)]  # r1 when the function began
    assert numbers(0x50, 0x93, 4, 0x30, value, 0x93, 4) == [("register", 0), ("value", 0)]  # two pieces
    assert numbers(0x93, 4, 0x50, 0x93, 4)[0] == ("gone", 0)
    assert numbers(0x30, 0x30, 0x1B, value) == [("gone", 0)]  # a division by zero
    with pytest.raises(ObjectError, match="does not end"):
        numbers(0x2F, 0xFD, 0xFF)
    with pytest.raises(ObjectError, match="empty stack"):
        numbers(0x22)
