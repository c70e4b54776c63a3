"""What the back end puts into the object: maps, globals, kernel types, places in the source."""

from __future__ import annotations

import struct
from pathlib import Path

import ir_samples as s
import pytest

from probee.btf import Btf
from probee.lang import ir, llvm
from probee.lang.builder import Builder
from probee.lang.types import (
    BOOL,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    VOID,
    Array,
    Chars,
    Member,
    Ptr,
    Space,
    Struct,
)
from probee.obj import MAP_FD, MAP_VALUE, ObjectSpec, read_object
from probee.obj.elf import Elf

EVENT = Struct("Event", 32, (Member("ns", U64, 0), Member("pid", U32, 64), Member("comm", Chars(16), 96)))


def btf_of(spec: ObjectSpec) -> Btf:
    assert spec.btf is not None
    return spec.btf


def struct_named(spec: ObjectSpec, name: str) -> dict[str, tuple[int, int]]:
    """Members of the one struct with that name: offset in bits, kind of the type."""
    btf = btf_of(spec)
    (found,) = btf.find_all(name)
    return {m.name: (m.bit_offset, btf.type(btf.strip(m.type)).kind) for m in btf.type(found).members}


def test_maps() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.maps += [
            ir.Map("counts", 1, U32, Array(U64, 3), 1024, flags=1, pinning=1),
            ir.Map("events", 27, None, EVENT, 4096),
            ir.Map("numbers", 27, None, U64, 8192),
            ir.Map("stacks", 7, U32, Array(U64, 127), 64),
            ir.Map("queue", 22, None, U64, 16),
        ]

    spec = s.build(body)
    counts, events = spec.maps["counts"], spec.maps["events"]
    assert (counts.map_type, counts.key_size, counts.value_size, counts.max_entries) == (1, 4, 24, 1024)
    assert (counts.flags, counts.pinning) == (1, 1)
    assert (events.map_type, events.key_size, events.value_size, events.max_entries) == (27, 0, 0, 4096)
    assert btf_of(spec).type(events.record_type_id).name == "Event"
    assert struct_named(spec, "Event") == {"ns": (0, 1), "pid": (64, 1), "comm": (96, 3)}
    assert spec.maps["numbers"].record_type_id == 0
    assert (spec.maps["stacks"].key_size, spec.maps["stacks"].value_size) == (4, 1016)
    assert (spec.maps["queue"].key_size, spec.maps["queue"].value_size) == (0, 8)


def test_types_carry_the_names_values_are_decoded_by() -> None:
    kinds = (BOOL, U8, U16, U32, U64, I32, I64, Chars(4), Array(U8, 4))
    members, at = [], 0
    for i, t in enumerate(kinds):
        at = (at + llvm.natural(t) - 1) // llvm.natural(t) * llvm.natural(t)
        members.append(Member(f"m{i}", t, at * 8))
        at += t.size

    def body(b: Builder, m: ir.Module) -> None:
        m.maps.append(ir.Map("all", 1, U32, Struct("All", 64, tuple(members)), 1))

    spec = s.build(body)
    btf = btf_of(spec)
    (all_,) = btf.find_all("All")
    types = [btf.type(m.type) for m in btf.type(all_).members]
    assert [t.name for t in types[:7]] == [
        "_Bool",
        "unsigned char",
        "unsigned short",
        "unsigned int",
        "unsigned long long",
        "int",
        "long long",
    ]
    assert [btf.type(t.array[0]).name for t in types[7:]] == ["char", "unsigned char"]


def test_globals() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        limit = ir.GlobalVar("limit", U32, struct.pack("<I", 5), const=True)
        zero = ir.GlobalVar("zero", U64, bytes(8), const=False)
        start = ir.GlobalVar("start", U64, struct.pack("<Q", 9), const=False)
        m.globals += [limit, zero, start]
        b.write(ir.GlobalRef(zero), b.arith("+", b.read(ir.GlobalRef(limit)), b.read(ir.GlobalRef(start))))

    spec = s.build(body)
    places = {name: (g.map, g.size, g.const) for name, g in spec.globals.items()}
    assert places == {
        "limit": (".rodata", 4, True),
        "zero": (".bss", 8, False),
        "start": (".data", 8, False),
    }
    assert spec.maps[".rodata"].initial == struct.pack("<I", 5)
    assert spec.maps[".data"].initial == struct.pack("<Q", 9)


def test_a_constant_is_read_at_run_time() -> None:
    """A loader may set it before the program runs: its value must not be in the code."""

    def body(b: Builder, m: ir.Module) -> None:
        limit = ir.GlobalVar("limit", U32, struct.pack("<I", 5), const=True)
        m.globals.append(limit)
        b.ret(b.read(ir.GlobalRef(limit)))

    linked = s.build(body).programs["prog"].link()
    assert [r[1] for r in linked.relocs] == [MAP_VALUE]


def test_strings_share_one_rodata_and_have_no_type() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.globals.append(ir.GlobalVar("limit", U32, struct.pack("<I", 5), const=True))
        for text in (b"one %d\n", b"two\n", b"one %d\n"):
            b.helper("trace_printk", b.string(text), b.const(len(text) + 1), b.const(1))

    spec = s.build(body)
    assert list(spec.maps) == [".rodata"]
    initial = spec.maps[".rodata"].initial
    assert initial is not None
    assert initial.count(b"one %d\n\0") == 1
    assert initial.count(b"two\n\0") == 1
    assert list(spec.globals) == ["limit"]


@pytest.mark.parametrize("data", [b"text\0", b"abc", *(bytes(range(1, n + 1)) for n in (4, 8, 16, 32))])
def test_constants_lie_in_the_one_rodata(data: bytes) -> None:
    """LLVM likes to put such constants into a mergeable section of the same name, which loaders refuse."""

    def body(b: Builder, m: ir.Module) -> None:
        m.globals.append(ir.GlobalVar("limit", U32, struct.pack("<I", 5), const=True))
        index = b.arith("&", b.helper("get_prandom_u32"), b.const(3))
        b.write(s.sink(m), b.read(b.index(b.bytes(data), index)))

    m = s.module(body)
    made = llvm.emit(m)
    names = [x.name for x in Elf(made).sections]
    assert names.count(".rodata") == 1
    initial = read_object(made, "sample").maps[".rodata"].initial
    assert initial is not None
    assert data in initial


def test_license() -> None:
    assert s.build(lambda b, m: None).license == "Dual MIT/GPL"


def test_core_accesses() -> None:
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        out = s.sink(m)
        t = s.current(b, task)
        for chain in (["real_parent", "real_parent", "tgid"], ["narrow"], ["state"]):
            b.write(out, b.arith("+", b.read(out), b.read(s.at(b, t, *chain))))
        b.write(out, b.arith("+", b.read(out), b.read(b.index(s.at(b, t, "slots"), 3))))
        b.write(out, b.arith("+", b.read(out), b.read(s.at(b, s.at(b, t, "sched_info"), "run_delay"))))

    spec = s.build(body)
    # members used, in the struct's order: (union), state, tgid, real_parent, sched_info, slots
    assert core_of(spec) == ["0:3", "0:3", "0:2", "0:0:0", "0:1", "0:5:3", "0:4:0"]
    members = struct_named(spec, "task_struct")
    assert {k: v[0] for k, v in members.items()} == {
        "": 128,
        "state": 192,
        "tgid": 288,
        "real_parent": 320,
        "sched_info": 576,
        "slots": 832,
    }
    assert members["state"][1] == 6  # an enum, never an int: CO-RE compares kinds
    assert struct_named(spec, "sched_info") == {"run_delay": (64, 1)}
    assert btf_of(spec).type(btf_of(spec).find_all("task_struct")[0]).size == 4096


def core_of(spec: ObjectSpec) -> list[str]:
    return [access for _, access, _ in s.core(spec)]


def test_core_facts() -> None:
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        out = s.sink(m)
        total: ir.Value = b.const(0)
        has = b.has_field(task, "comm")
        assert has is not None
        field = s.at(b, b.null(Ptr(task, Space.KERNEL)), "comm")
        assert isinstance(field, ir.FieldAddr)
        facts = [has, b.field_info("byte_offset", field), b.field_info("byte_size", field)]
        pid = s.at(b, b.null(Ptr(task, Space.KERNEL)), "pid")
        assert isinstance(pid, ir.FieldAddr)
        facts += [b.field_info("signed", pid), b.type_info("exists", task), b.type_info("size", task)]
        facts += [b.enum_info("exists", "bpf_map_type", "BPF_MAP_TYPE_HASH", 1)]
        facts += [b.enum_info("value", "bpf_map_type", "BPF_MAP_TYPE_HASH", 1)]
        for fact in facts:
            total = b.arith("+", total, fact)
        b.write(out, total)

    spec = s.build(body)
    got = {(name, kind) for name, _, kind in s.core(spec)}
    assert got == {("task_struct", k) for k in (0, 1, 2, 3, 8, 9)} | {("bpf_map_type", k) for k in (10, 11)}


def test_unused_pointee_is_a_forward_declaration() -> None:
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        b.write(s.sink(m), b.truth(b.read(s.at(b, s.current(b, task), "mm"))))

    btf = btf_of(s.build(body))
    (mm,) = btf.find_all("mm_struct")
    assert btf.type(mm).kind == 7  # FWD


def test_bitfield_is_read_by_what_the_kernel_has() -> None:
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        b.write(s.sink(m), b.read(s.at(b, s.current(b, task), "flag")))

    spec = s.build(body)
    assert {kind for _, _, kind in s.core(spec)} == {0, 1, 4, 5}
    btf = btf_of(spec)
    (flag,) = btf.type(btf.find_all("task_struct")[0]).members
    assert (flag.bit_offset, flag.bit_size) == (67, 2)


def lines_of(spec: ObjectSpec) -> list[tuple[str, str, int, int]]:
    assert spec.btf_ext is not None
    btf = btf_of(spec)
    return [
        (btf.string(file), btf.string(text), at >> 10, at & 1023)
        for rows in spec.btf_ext.lines.values()
        for _, file, text, at in rows
    ]


def two_lines(b: Builder, m: ir.Module) -> None:
    b.loc = ir.Loc(2, 4)
    b.write(s.sink(m), b.helper("ktime_get_ns"))
    b.loc = ir.Loc(4, 8)
    b.write(s.sink(m), b.helper("get_current_pid_tgid"))
    b.ret()


def test_lines_of_a_file(tmp_path: Path) -> None:
    source = tmp_path / "program.py"
    source.write_text("def prog():\n    now = ktime()\n\n        pid = 'é\"\\'\n")
    rows = lines_of(s.build(two_lines, file=str(source)))
    assert rows[0] == (str(source), "    now = ktime()", 2, 5)
    assert rows[-1] == (str(source), "        pid = 'é\"\\'", 4, 9)


def test_lines_of_a_notebook_cell() -> None:
    m = s.module(two_lines, file="<cell 3>")
    m.sources["<cell 3>"] = ["def prog():\n", "    now = ktime()\n", "\n", "        pid = 'é\"\\'\n"]
    rows = lines_of(read_object(llvm.emit(m), "cell"))
    assert rows[0] == ("<cell 3>", "    now = ktime()", 2, 5)
    assert rows[-1] == ("<cell 3>", "        pid = 'é\"\\'", 4, 9)


def test_lines_of_a_cell_and_a_file_together(tmp_path: Path) -> None:
    source = tmp_path / "library.py"
    source.write_text("# one\n# two\n")
    m = s.module(two_lines, file="<cell 3>")
    m.sources["<cell 3>"] = ["a\n", "b\n", "c\n", "d\n"]
    other = s.program(name="other", file=str(source))
    b = Builder(other)
    b.loc = ir.Loc(2, 0)
    b.write(s.sink(m), b.helper("ktime_get_ns"))
    b.ret()
    m.functions.append(other)
    rows = lines_of(read_object(llvm.emit(m), "cell"))
    assert ("<cell 3>", "b", 2, 5) in rows
    assert (str(source), "# two", 2, 1) in rows


def subprogram_module(inline: bool) -> ir.Module:
    def body(b: Builder, m: ir.Module) -> None:
        sub = ir.Function(
            "twice",
            [ir.Param(0, "x", U64), ir.Param(1, "e", Ptr(EVENT, Space.STACK))],
            U64,
            line=9,
            inline=inline,
        )
        sub.file = b.fn.file
        inside = Builder(sub)
        inside.ret(inside.arith("*", sub.params[0], inside.const(3)))
        m.functions.append(sub)
        event = b.local("event", EVENT)
        b.write(s.sink(m), b.call(sub, b.helper("ktime_get_ns"), event))

    return s.module(body)


def test_subprogram_stays_a_function_if_asked() -> None:
    spec = read_object(llvm.emit(subprogram_module(inline=False)), "sub")
    btf = btf_of(spec)
    (twice,) = btf.find_all("twice")
    assert btf.type(twice).linkage == 0  # static
    assert [p[0] for p in btf.type(btf.type(twice).type).params] == ["x", "e"]
    linked = spec.programs["prog"].link()
    assert len(linked.func_info) == 16


def test_small_subprogram_is_inlined() -> None:
    spec = read_object(llvm.emit(subprogram_module(inline=True)), "sub")
    assert btf_of(spec).find_all("twice") == []


def test_the_same_module_gives_the_same_object() -> None:
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        m.maps.append(s.hash_map())
        b.write(s.sink(m), b.read(s.at(b, s.current(b, task), "tgid")))
        b.helper("map_lookup_elem", ir.MapRef(m.maps[0]), s.sink(m), type=Ptr(U64, Space.MAP, True))

    m = s.module(body)
    assert llvm.emit(m) == llvm.emit(m)


def test_map_references() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        m.maps += [s.hash_map(), s.hash_map("others")]
        key = b.local("key", U32)
        b.write(key, b.const(1))
        b.helper("map_delete_elem", ir.MapRef(m.maps[1]), key)

    linked = s.build(body).programs["prog"].link()
    assert [(r[1], r[2]) for r in linked.relocs] == [(MAP_FD, "others")]


def test_temporaries_share_the_stack() -> None:
    """Two hundred probed reads one after the other: their slots do not add up to more than 512 bytes."""
    task = s.task_struct()

    def body(b: Builder, m: ir.Module) -> None:
        t = b.recast(b.helper("get_current_task"), Ptr(task, Space.KERNEL))
        for i in range(200):
            b.write(s.sink(m, f"g{i}"), b.read(s.at(b, t, "tgid")))

    assert "prog" in s.build(body).programs


def test_a_variable_of_a_loop_keeps_its_value() -> None:
    """A slot used in one block only, but in each round of a loop: its life is not that block."""

    def body(b: Builder, m: ir.Module) -> None:
        buffer = b.local("buffer", Array(U64, 2))
        loop, done = b.new_block("loop"), b.new_block("done")
        b.jump(loop)
        b.at(loop)
        b.helper("probe_read_kernel", buffer, b.const(8), b.recast(b.const(0), Ptr(VOID, Space.KERNEL)))
        value = b.read(b.index(buffer, 1))
        b.write(s.sink(m), value)
        b.branch(b.compare("==", value, b.const(9)), done, loop)
        b.at(done)

    assert "lifetime.start.p0(ptr %l" not in llvm.to_text(s.module(body))


@pytest.mark.parametrize("size", [8, 64, 512, 1024, 4096, 4100])
def test_large_zeroing_and_copies(size: int) -> None:
    big = Struct("Big", size, (Member("all", Array(U32, size // 4), 0),))

    def body(b: Builder, m: ir.Module) -> None:
        m.maps.append(ir.Map("big", 1, U32, big, 1))
        key = b.local("key", U32)
        b.write(key, b.const(0))
        found = b.helper("map_lookup_elem", ir.MapRef(m.maps[0]), key, type=Ptr(big, Space.MAP, True))
        other = b.helper("map_lookup_elem", ir.MapRef(m.maps[0]), key, type=Ptr(big, Space.MAP, True))
        some, both, end = b.new_block(), b.new_block(), b.new_block()
        b.branch(found, some, end)
        b.at(some)
        b.branch(other, both, end)
        b.at(both)
        b.zero(found)
        b.copy(found, other, size)
        b.jump(end)
        b.at(end)

    spec = s.build(body)
    assert len(spec.programs["prog"].link().insns) // 8 < 350


def test_code_after_a_return_is_left_out() -> None:
    def body(b: Builder, m: ir.Module) -> None:
        b.ret(b.const(7))
        b.write(s.sink(m), b.const(1))
        b.ret()

    linked = s.build(body).programs["prog"].link()
    assert len(linked.insns) == 16


def test_misplaced_field_is_not_accessed_as_aligned() -> None:
    packed = Struct("Packed", 12, (Member("tag", U32, 0), Member("number", U64, 32)))

    def body(b: Builder, m: ir.Module) -> None:
        local = b.local("p", packed)
        b.write(s.at(b, local, "number"), b.const(1))

    assert "align 4" in llvm.to_text(s.module(body)).split("store i64")[1].splitlines()[0]


def test_blocks_in_any_order() -> None:
    """A value made in a block that the function lists after its user."""

    def body(b: Builder, m: ir.Module) -> None:
        end, middle = b.new_block("end"), b.new_block("middle")
        b.jump(middle)
        b.at(middle)
        value = b.recast(b.helper("get_current_task"), Ptr(VOID, Space.KERNEL))
        b.jump(end)
        b.at(end)
        b.write(s.sink(m), value)

    assert "prog" in s.build(body).programs
