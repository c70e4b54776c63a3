"""Globals, structs, bit fields, text, CO-RE, integers, atomics."""

from __future__ import annotations

import os

from selftest_ports import Live, Port, gives

import probee as bp
from probee import Bits, Char, i8, i16, i32, i64, u8, u16, u32, u64

# ---- globals


class Config(bp.Struct):
    a: u8
    b: u32
    name: Char[16]
    values: u16[4]


number64 = bp.Global[u64](0)
number8 = bp.Global[i8](-3)
flag = bp.Global[bool](False)
text16 = bp.Global[Char[16]]("first")
config = bp.Global[Config](Config(a=1, b=2, name="x", values=[1, 2, 3, 4]))
numbers = bp.Global[u32[16]]()
settings = bp.Const[Config](Config(a=9, b=70_000, name="const", values=[5, 6, 7, 8]))
small = bp.Const[u32](12)
large = bp.Const[u64](1 << 40)
added = bp.Global[u64](1)
anded = bp.Global[u64](0x110)
ored = bp.Global[u64](0x110)
xored = bp.Global[u64](0x110)
subtracted = bp.Global[i64](1)
keys = bp.Hash[u32, u64](64)


@bp.raw_tracepoint("sys_enter")
def globals_are_written(regs, number):
    number64.value = number
    number8.value = i8(number)
    flag.value = True
    text16.value = "second"
    config.value.b += 5
    config.value.values[3] = 99
    numbers.value[number & 15] = 7


@bp.raw_tracepoint("sys_enter")
def constants_decide(regs, number):
    if small != 12:
        return -1
    if settings.name == "const":
        return settings.values[number & 3] + settings.a
    return 0


@bp.raw_tracepoint("sys_enter")
def wide_constant(regs, number):
    return (large >> 38) + number


@bp.raw_tracepoint("sys_enter")
def atomics(regs, number):
    added.value += 2
    subtracted.value -= 2
    anded.value &= 0x011
    ored.value |= 0x011
    xored.value ^= 0x011


# ---- structs and bit fields


class Flags(bp.Struct):
    ub1: Bits[u8, 1]
    ub2: Bits[u8, 2]
    ub7: Bits[u32, 7]
    sb4: Bits[i8, 4]
    sb20: Bits[i32, 20]


class Inner(bp.Struct):
    x: i32
    y: i32[3]


class Nested(bp.Struct):
    head: u16
    first: Inner
    rest: Inner[2]


class Either(bp.Union):
    whole: u64
    halves: u32[2]
    bytes: u8[8]


class Packed(bp.Struct, packed=True):
    a: u8
    b: u64
    c: u16


@bp.raw_tracepoint("sys_enter")
def bit_fields(regs, number):
    f = Flags(ub1=1, ub2=number, ub7=200, sb4=-3, sb20=-70_000)
    return f.ub1 * 1_000_000 + f.ub2 * 100_000 + f.ub7 + f.sb4 + f.sb20


@bp.raw_tracepoint("sys_enter")
def nested_structs(regs, number):
    n = Nested(head=1)
    n.first.y[2] = 5
    n.rest[1].x = i32(number)
    n.rest[number & 1].y[1] = 30
    return n.head + n.first.y[2] + n.rest[1].x + n.rest[1].y[1] + n.rest[0].y[1]


@bp.raw_tracepoint("sys_enter")
def unions(regs, number):
    e = Either(whole=number)
    e.bytes[0] = 1
    return e.halves[0] + e.halves[1]


@bp.raw_tracepoint("sys_enter")
def packed_structs(regs, number):
    p = Packed(a=1, b=number, c=3)
    q = Packed(p)
    q.a = 2
    return bp.sizeof(p) * 100 + int(p == q) * 10 + int(p.b == q.b)


@bp.raw_tracepoint("sys_enter")
def array_by_number(regs, number):
    a = u32[8](1, 2, 4, 8, 16, 32, 64, 128)
    b = a[2:6]
    return a[number & 7] + b[number & 3]


# ---- integers


@bp.raw_tracepoint("sys_enter")
def sign_extension(regs, b):
    a = u64(regs)
    return i64(i8(a)) + i64(i16(b)) + i64(i32(a))


@bp.raw_tracepoint("sys_enter")
def signed_division(regs, b):
    a = u64(regs)
    return i64(a) // i64(b) * 100 + i64(a) % i64(b)


@bp.raw_tracepoint("sys_enter")
def byte_swaps(regs, number):
    return (u16(number) >> 8 | u16(number << 8)) & 0xFFFF


@bp.raw_tracepoint("sys_enter")
def shifts(regs, b):
    a = u64(regs)
    return (a << (b & 7)) + (i64(-64) >> (b & 3))


@bp.raw_tracepoint("sys_enter")
def zero_divisor(regs, b):
    a = u64(regs)
    return (a // b) * 1000 + a % b


@bp.raw_tracepoint("sys_enter")
def bounds_from_tests(regs, number):
    index = i64(number)
    if index < 0 or index > 15:
        return -1
    numbers.value[index] = 5
    return i32(numbers.value[index])


# ---- text


@bp.raw_tracepoint("sys_enter")
def compare_text(regs, number):
    name = bp.comm()
    same = name == bp.comm()
    return int(same) * 10 + int(name < "zzzz") + int(name == "no such thread")


@bp.raw_tracepoint("sys_enter")
def format_numbers(regs, number):
    text = Char[64](f"{i64(number)} {number:x} {number & 255:04x} {-5:d}")
    if number == 255:
        return int(text == "255 ff 00ff -5")
    return len(text)


@bp.raw_tracepoint("sys_enter")
def format_text(regs, number):
    text = Char[48](f"<{'ab':>5}|{'cd':<4}>")
    return int(text == "<   ab|cd  >")


@bp.raw_tracepoint("sys_enter")
def parts_of_text(regs, number):
    path = Char[32]("/usr/lib/python3")
    end = path[-7:]
    return (
        int(end == "python3")
        + int(path.startswith("/usr")) * 2
        + int("lib" in path) * 4
        + int(path.endswith((".so", "3"))) * 8
        + path.find("/lib") * 16
    )


@bp.raw_tracepoint("sys_enter")
def strings_of_the_kernel(regs, number):
    task = bp.current_task()
    name = Char[16](bp.kernel_str(u64(bp.addr(task.comm))))
    return int(name == bp.comm())


@bp.raw_tracepoint("sys_enter")
def strings_of_users(regs, number):
    text = Char[32](bp.user_str(number))
    return len(text) if text.startswith("probee ") else -1


@bp.raw_tracepoint("sys_enter")
def joined_text(regs, number):
    text = Char[40]("a" + f"{number}" + "/" + bp.comm())
    return int(text.startswith("a7/")) * 100 + len(text) - len(bp.comm())


# ---- CO-RE


class task_struct___mine(bp.KernelStruct):
    tgid: i32
    pid: i32


class task_struct___never(bp.KernelStruct):
    no_such_field: i64


class no_such_struct(bp.KernelStruct):
    x: i32


@bp.raw_tracepoint("sys_enter")
def core_flavour(regs, number):
    task = bp.cast(task_struct___mine, bp.current_task())
    return task.tgid


@bp.raw_tracepoint("sys_enter")
def core_existence(regs, number):
    task = bp.cast(task_struct___never, bp.current_task())
    if hasattr(task, "no_such_field"):
        return -1
    return int(hasattr(bp.current_task(), "tgid"))


@bp.raw_tracepoint("sys_enter")
def core_size(regs, number):
    return bp.sizeof("task_struct") + bp.field_size("task_struct", "comm")


@bp.raw_tracepoint("sys_enter")
def core_types(regs, number):
    return int(bp.kernel_type_exists("task_struct")) * 2 + int(bp.kernel_type_exists("no_such_struct"))


@bp.raw_tracepoint("sys_enter")
def core_matches(regs, number):
    return int(bp.kernel_type_matches(task_struct___mine)) * 2 + int(
        bp.kernel_type_matches(task_struct___never)
    )


@bp.raw_tracepoint("sys_enter")
def core_enumerators(regs, number):
    exists = bp.enum_exists("bpf_map_type", "BPF_MAP_TYPE_HASH")
    return int(exists) * 100 + bp.enum_value("bpf_map_type", "BPF_MAP_TYPE_PERF_EVENT_ARRAY")


@bp.raw_tracepoint("sys_enter")
def core_enumerator_missing(regs, number):
    return int(bp.enum_exists("bpf_map_type", "BPF_MAP_TYPE_NO_SUCH"))


@bp.raw_tracepoint("sys_enter")
def core_array(regs, number):
    task = bp.current_task()
    return task.comm[0]


@bp.raw_tracepoint("sys_enter")
def core_nesting(regs, number):
    task = bp.current_task()
    return int(task.group_leader.signal.group_exec_task is None) + int(task.se.vruntime > 0) * 2


@bp.raw_tracepoint("sys_enter")
def core_pointer_as_array(regs, number):
    task = bp.current_task()
    again = bp.cast("task_struct", u64(task))
    return again[0].tgid


@bp.raw_tracepoint("sys_enter")
def core_offset(regs, number):
    task = bp.current_task()
    member = bp.addr(task.tgid)
    return int(u64(member) - u64(task) == bp.offsetof("task_struct", "tgid"))


@bp.raw_tracepoint("sys_enter")
def core_container(regs, number):
    task = bp.current_task()
    back = bp.container_of(bp.addr(task.tasks), "task_struct", "tasks")
    return back.tgid


@bp.raw_tracepoint("sys_enter")
def core_bit_field(regs, number):
    task = bp.current_task()
    return task.in_execve


@bp.raw_tracepoint("sys_enter")
def null_pointers(regs, number):
    nothing = bp.cast("task_struct", number)
    return nothing.tgid + int(nothing.mm is None)


@bp.raw_tracepoint("sys_enter")
def parents(regs, number):
    task = bp.current_task()
    return task.real_parent.tgid


def _globals(live: Live, program: str) -> None:
    live.run(program, 0, 5)
    assert live.globals["number64"] == 5
    assert live.globals["number8"] == 5
    assert live.globals["flag"]
    assert live.globals["text16"] == "second"
    assert live.globals["config"].b == 7
    assert list(live.globals["config"].values) == [1, 2, 3, 99]
    assert live.globals["numbers"][5] == 7


def _atomics(live: Live, program: str) -> None:
    live.run(program)
    found = [live.globals[name] for name in ("added", "subtracted", "anded", "ored", "xored")]
    assert found == [3, -1, 0x010, 0x111, 0x101]


def _mine(live: Live, program: str) -> None:
    assert live.run(program) == os.getpid()


def _parent(live: Live, program: str) -> None:
    assert live.run(program) == os.getppid()


def _comm(live: Live, program: str) -> None:
    with open("/proc/thread-self/comm", "rb") as file:
        assert live.run(program) == file.read()[0]


def _size(live: Live, program: str) -> None:
    assert live.run(program) > 1000


def _user_text(live: Live, program: str) -> None:
    import ctypes

    place = ctypes.create_string_buffer(b"probee is here")
    assert live.run(program, 0, ctypes.addressof(place)) == len("probee is here")


PORTS = [
    Port("test_global_data.c", globals_are_written, _globals),
    Port("test_skeleton.c", constants_decide, gives((0, 0, 14), (0, 3, 17))),
    Port("test_rdonly_maps.c", wide_constant, gives((0, 3, 7))),
    Port("atomics.c", atomics, _atomics),
    Port("test_core_reloc_bitfields_direct.c", bit_fields, gives((0, 3, 1_300_000 + 72 - 3 - 70_000))),
    Port("test_core_reloc_nesting.c/own structs", nested_structs, gives((0, 1, 37), (0, 2, 38))),
    Port("btf__core_reloc_mods.c/unions", unions, gives((0, 5 << 32 | 0x300, 5 + 0x301))),
    Port("test_core_autosize.c/packed", packed_structs, gives((0, 1, 1101))),
    Port("test_access_variable_array.c", array_by_number, gives((0, 1, 10), (0, 7, 160))),
    Port("test_ldsx_insn.c", sign_extension, gives((255, 65535, 253), (1, 0x8000, 2 - 0x8000))),
    Port("verifier_sdiv.c", signed_division, gives((-7, 2, -399), (7, -2, -401), (42, 5, 802))),
    Port("verifier_bswap.c", byte_swaps, gives((0, 0x1234, 0x3412))),
    Port("verifier_value_or_null.c/shifts", shifts, gives((3, 2, 12 - 16), (1, 4, 16 - 64))),
    Port("verifier_div0.c", zero_divisor, gives((5, 0, 5), (7, 2, 3001))),
    Port("verifier_bounds.c", bounds_from_tests, gives((0, 3, 5), (0, 16, -1), (0, -1, -1))),
    Port("strncmp_test.c", compare_text, gives((0, 0, 11))),
    Port("test_snprintf.c", format_numbers, gives((0, 255, 1), (0, 1, len("1 1 0001 -5")))),
    Port("test_snprintf_single.c", format_text, gives((0, 0, 1))),
    Port("profiler1.c/parts of paths", parts_of_text, gives((0, 0, 15 + 4 * 16))),
    Port("test_probe_read_user_str.c/kernel", strings_of_the_kernel, gives((0, 0, 1))),
    Port("test_probe_read_user_str.c", strings_of_users, _user_text),
    Port("test_varlen.c", joined_text, gives((0, 7, 103))),
    Port("test_core_reloc_flavors.c", core_flavour, _mine),
    Port("test_core_reloc_existence.c", core_existence, gives((0, 0, 1))),
    Port("test_core_reloc_size.c", core_size, _size),
    Port("test_core_reloc_type_based.c", core_types, gives((0, 0, 2))),
    Port("test_core_reloc_type_based.c/matches", core_matches, gives((0, 0, 2))),
    Port("test_core_reloc_enumval.c", core_enumerators, gives((0, 0, 104))),
    Port("test_core_reloc_enum64val.c/missing", core_enumerator_missing, gives((0, 0, 0))),
    Port("test_core_reloc_arrays.c", core_array, _comm),
    Port("test_core_reloc_nesting.c", core_nesting, gives((0, 0, 3))),
    Port("test_core_reloc_ptr_as_arr.c", core_pointer_as_array, _mine),
    Port("test_core_reloc_misc.c", core_offset, gives((0, 0, 1))),
    Port("type_cast.c", core_container, _mine),
    Port("test_core_reloc_bitfields_probed.c", core_bit_field, gives((0, 0, 0))),
    Port("exhandler_kern.c", null_pointers, gives((0, 0, 1))),
    Port("test_core_read_macros.c", parents, _parent),
]
