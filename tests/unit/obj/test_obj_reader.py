"""Reading and linking objects that a small writer makes, in both byte orders, and what broken ones get."""

from __future__ import annotations

import struct

import pytest
from objwriter import GLOBAL, LOCAL, NOBITS, NOTYPE, OBJECT, SECTION, WEAK, BtfWriter, ElfWriter

from probee import obj
from probee.errors import ObjectError
from probee.isa import assemble, disassemble
from probee.obj import read_object
from probee.obj.listing import listing

ENDIAN = pytest.mark.parametrize("endian", ["little", "big"])
INSN_64, CALL_32 = 1, 10

MAIN = """
    r1 = 7
    call pc-1
    r2 = 0 ll
    r1 = 0 ll
    r3 = 0x8 ll
    r4 = 0x10 ll
    call pc-1
    exit
"""
TEXT = """
first:  r0 = 1
        exit
second: call third
        exit
third:  r0 = 3
        call first
        exit
"""


def sample(endian: str = "little") -> ElfWriter:
    """A program with two kinds of calls and a callback, a hash map, a ring buffer and three data sections."""
    w = ElfWriter(endian)
    text = w.code(".text", assemble(TEXT, endian=endian))
    main = w.code("tp/sched/sched_switch", assemble(MAIN, endian=endian))
    maps = w.section(".maps", bytes(48))
    rodata = w.section(".rodata", b"abcdefgh" + struct.pack(w.order + "II", 5, 0))
    data = w.section(".data", bytes(8))
    bss = w.section(".bss", b"", type=NOBITS, size=24)
    w.section("license", b"GPL\0")
    w.section("version", struct.pack(w.order + "I", 0x61200))

    b = BtfWriter(endian)
    u32 = b.int("unsigned int", 4)
    u64 = b.int("unsigned long", 8)
    number = {n: b.ptr(b.array(u32, n, u32)) for n in (1, 27, 100, 4096)}
    record = b.struct("Exec", 8, [("pid", u32, 0), ("tid", u32, 4)])
    ring_type = b.ptr(b.array(record, 27, u32))
    ring = b.struct("", 16, [("type", ring_type, 0), ("max_entries", number[4096], 8)])
    value = b.ptr(u64)
    members = [
        ("type", number[1], 0),
        ("max_entries", number[100], 8),
        ("key", b.ptr(u32), 16),
        ("value", value, 24),
    ]
    hash_type = b.struct("", 32, members)
    hash_var, ring_var = b.var("runs", hash_type), b.var("execs", ring)
    b.datasec(".maps", [(ring_var, 0, 16), (hash_var, 0, 32)])
    b.datasec(".rodata", [(b.var("limit", u32), 0, 4)])
    b.datasec(".data", [(b.var("hidden_state", u32, 0), 4, 4)])
    b.datasec(".bss", [(b.var("total", u64), 0, 8)])
    proto = b.proto()
    funcs = {n: b.func(n, proto) for n in ("main", "first", "second", "third")}
    places = [("first", 0), ("second", 16), ("third", 32)]
    core = {".text": [(16, record, "0:1", 0)], "tp/sched/sched_switch": [(0, record, "0:0", 0)]}
    ext = b.ext(
        {".text": [(o, funcs[n]) for n, o in places], "tp/sched/sched_switch": [(0, funcs["main"])]},
        {
            ".text": [(o, b.strings.add("a.py"), b.strings.add("x = 1"), 7 << 10) for _, o in places],
            "tp/sched/sched_switch": [(0, b.strings.add("a.py"), b.strings.add("y = 2"), 3 << 10 | 4)],
        },
        core,
    )
    w.section(".BTF", b.build())
    w.section(".BTF.ext", ext)

    section_symbol = w.symbol("", text, type=SECTION, bind=LOCAL)
    data_section = w.symbol("", bss, type=SECTION, bind=LOCAL)
    first = w.symbol("first", text, 0, 16, bind=LOCAL)
    second = w.symbol("second", text, 16, 16)
    w.symbol("third", text, 32, 24, bind=LOCAL)
    w.symbol("main", main, 0, len(assemble(MAIN)))
    w.symbol("execs", maps, 0, 16, type=OBJECT)
    runs = w.symbol("runs", maps, 16, 32, type=OBJECT)
    limit = w.symbol("limit", rodata, 8, 4, type=OBJECT)
    w.symbol("hidden_state", data, 4, 4, type=OBJECT, bind=LOCAL)
    total = w.symbol("total", bss, 16, 8, type=OBJECT)
    w.relocations(
        main,
        [
            (8, CALL_32, second),
            (16, INSN_64, runs),
            (32, INSN_64, limit),
            (48, INSN_64, data_section),  # a static variable: its place is in the instruction
            (64, INSN_64, total),
            (80, CALL_32, section_symbol),  # a static function
        ],
    )
    assert first
    return w


@ENDIAN
def test_what_is_in_an_object(endian: str) -> None:
    spec = read_object(sample(endian).build(), "demo-app")
    assert (spec.endian, spec.license, spec.kernel_version) == (endian, "GPL", 0x61200)
    assert list(spec.programs) == ["main"]
    program = spec.programs["main"]
    assert (program.prog_type, program.attach_to, program.autoload) == (5, "sched/sched_switch", True)
    assert list(spec.maps) == ["execs", "runs", ".rodata", ".data", ".bss"]
    runs, execs = spec.maps["runs"], spec.maps["execs"]
    assert (runs.map_type, runs.key_size, runs.value_size, runs.max_entries) == (1, 4, 8, 100)
    assert spec.btf is not None
    assert spec.btf.type(runs.key_type_id).name == "unsigned int"
    assert (execs.map_type, execs.max_entries) == (27, 4096)
    assert spec.btf.type(execs.record_type_id).name == "Exec"
    assert runs.record_type_id == 0


@ENDIAN
def test_data_maps_and_globals(endian: str) -> None:
    spec = read_object(sample(endian).build(), "demo-app")
    rodata, data, bss = (spec.maps[n] for n in (".rodata", ".data", ".bss"))
    # User space may map what it can name: the section of a static variable stays closed.
    assert (rodata.readonly, rodata.mmapable, rodata.flags) == (True, True, 0x480)
    assert (data.readonly, data.mmapable, data.flags) == (False, False, 0)
    assert (bss.flags, bss.initial, bss.value_size) == (0x400, bytes(24), 24)
    assert rodata.kernel_name == "demo_app.rodata"
    assert rodata.initial is not None
    assert rodata.initial.startswith(b"abcdefgh")
    where = {g.name: (g.map, g.offset, g.size, g.const) for g in spec.globals.values()}
    # Offsets of global variables come from the symbol table: BTF has 0 for them.
    assert where == {
        "limit": (".rodata", 8, 4, True),
        "hidden_state": (".data", 4, 4, False),
        "total": (".bss", 16, 8, False),
    }
    assert spec.btf is not None
    section = spec.btf.type(spec.maps[".bss"].value_type_id)
    assert (section.name, section.size) == (".bss", 24)


@ENDIAN
def test_linking_appends_at_the_first_call_and_goes_deep_first(endian: str) -> None:
    linked = read_object(sample(endian).build()).programs["main"].link()
    assert linked.functions == [(0, "main"), (12, "second"), (14, "third"), (17, "first")]
    assert disassemble(linked.insns, endian=endian) == [
        "r1 = 0x7",
        "call pc+0xa",
        "r2 = map_fd(0x0, 0x0) ll",
        "r1 = map_value(0x0, 0x8) ll",
        "r3 = map_value(0x0, 0x8) ll",
        "r4 = map_value(0x0, 0x20) ll",
        "call pc+0x6",
        "exit",
        "call pc+0x1",
        "exit",
        "r0 = 0x3",
        "call pc+0x1",
        "exit",
        "r0 = 0x1",
        "exit",
    ]
    assert linked.relocs == [
        (2, obj.MAP_FD, "runs", 0),
        (4, obj.MAP_VALUE, ".rodata", 8),
        (6, obj.MAP_VALUE, ".bss", 8),
        (8, obj.MAP_VALUE, ".bss", 32),
    ]
    order = "<" if endian == "little" else ">"
    info = list(struct.iter_unpack(order + "II", linked.func_info))
    assert [at for at, _ in info] == [0, 12, 14, 17]
    lines = list(struct.iter_unpack(order + "4I", linked.line_info))
    assert [row[0] for row in lines] == [0, 12, 14, 17]
    assert lines[0][3] == 3 << 10 | 4
    assert [(r.insn_off, r.access_str) for r in linked.core] == [(0, "0:0"), (96, "0:1")]


def test_a_link_is_a_new_copy() -> None:
    program = read_object(sample().build()).programs["main"]
    first = program.link()
    first.insns[0] ^= 0xFF
    assert program.link().insns != first.insns


def test_listing_names_everything() -> None:
    lines = list(listing(read_object(sample().build())))
    text = "\n".join(lines)
    assert lines[0] == "main:  tp/sched/sched_switch  (19 instructions)"
    assert "; 3: y = 2" in lines
    for words in ("; map runs", "; limit", "; second", "second:", "struct Exec"):
        assert words in text, text


def test_listing_of_an_unknown_program_names_the_known() -> None:
    with pytest.raises(ObjectError, match="no program nope in object; there are: main"):
        list(listing(read_object(sample().build()), "nope"))


def test_callbacks() -> None:
    w = ElfWriter()
    text = w.code(".text", assemble("r0 = 0\nexit\nr0 = 1\nexit"))
    main = w.code("socket", assemble("r1 = 0 ll\nr2 = 0x10 ll\nr3 = 0 ll\nexit"))
    cb = w.symbol("cb", text, 0, 16)
    static = w.symbol("", text, type=SECTION, bind=LOCAL)
    w.symbol("other", text, 16, 16, bind=LOCAL)
    w.symbol("prog", main, 0, 56)
    w.relocations(main, [(0, INSN_64, cb), (16, INSN_64, static), (32, INSN_64, cb)])
    linked = read_object(w.build()).programs["prog"].link()
    assert linked.functions == [(0, "prog"), (7, "cb"), (9, "other")]
    assert disassemble(linked.insns)[:3] == [
        "r1 = func(0x6, 0x0) ll",
        "r2 = func(0x6, 0x0) ll",
        "r3 = func(0x2, 0x0) ll",
    ]


def test_programs_without_autoload_and_unknown_sections() -> None:
    w = ElfWriter()
    for name in ("?kprobe/x", "strange", "perf_event/cpu-clock:freq=99", "xdp.frags"):
        code = w.code(name, assemble("exit"))
        w.symbol(f"in{code}", code, 0, 8)
    spec = read_object(w.build())
    kprobe, strange, perf, xdp = spec.programs.values()
    assert (kprobe.autoload, kprobe.prog_type, kprobe.attach_to) == (False, 2, "x")
    assert (strange.prog_type, strange.section_kind) == (0, "")
    assert (perf.prog_type, perf.attach_to) == (7, "cpu-clock:freq=99")
    assert (xdp.flags, xdp.sleepable) == (1 << 5, False)


def test_a_lone_function_in_text_is_a_program() -> None:
    w = ElfWriter()
    code = w.code(".text", assemble("exit"))
    w.symbol("only", code, 0, 8)
    assert list(read_object(w.build()).programs) == ["only"]


def test_kernel_names() -> None:
    """Kernel functions, typed and typeless symbols and configuration values, and their BTF."""
    w = ElfWriter()
    main = w.code("socket", assemble("call pc-1\nr1 = 0 ll\nr2 = 0 ll\nr3 = 0 ll\nr4 = 0 ll\nexit"))
    b = BtfWriter()
    u32, u64, proto = b.int("unsigned int", 4), b.int("unsigned long long", 8), b.proto()
    kfunc = b.func("bpf_thing___v2", proto, 2)
    typed, void = b.var("runqueues", b.struct("rq", 4, []), 2), b.var("init_task", 0, 2)
    hz, clang = b.var("CONFIG_HZ", u32, 2), b.var("CONFIG_BIG", u64, 2)
    b.datasec(".ksyms", [(kfunc, 0, 0), (typed, 0, 4), (void, 0, 0)])
    b.datasec(".kconfig", [(hz, 0, 4), (clang, 0, 8)])
    w.section(".BTF", b.build())
    names = ["bpf_thing___v2", "runqueues", "init_task", "CONFIG_HZ", "CONFIG_BIG"]
    symbols = [w.symbol(n, 0, type=NOTYPE, bind=WEAK if n == "CONFIG_HZ" else GLOBAL) for n in names]
    w.symbol("prog", main, 0, 80)
    types = [CALL_32] + [INSN_64] * 4
    w.relocations(main, list(zip([0, 8, 24, 40, 56], types, symbols, strict=True)))
    spec = read_object(w.build(), "k")
    kinds = {x.name: (x.kind, x.weak) for x in spec.externs.values()}
    assert kinds == {
        "bpf_thing___v2": (obj.KFUNC, False),
        "runqueues": (obj.KSYM_TYPED, False),
        "init_task": (obj.KSYM, False),
        "CONFIG_HZ": (obj.KCONFIG, True),
        "CONFIG_BIG": (obj.KCONFIG, False),
    }
    assert spec.externs["bpf_thing___v2"].essential_name == "bpf_thing"
    # Larger alignment first: the 8-byte value comes before the 4-byte one.
    assert (spec.externs["CONFIG_BIG"].offset, spec.externs["CONFIG_HZ"].offset) == (0, 8)
    kconfig = spec.maps[".kconfig"]
    assert (kconfig.value_size, kconfig.kernel_name, kconfig.flags) == (12, "k.kconfig", 0x480)
    linked = spec.programs["prog"].link()
    assert [(kind, name, addend) for _, kind, name, addend in linked.relocs] == [
        (obj.KFUNC, "bpf_thing___v2", 0),
        (obj.KSYM_TYPED, "runqueues", 0),
        (obj.KSYM, "init_task", 0),
        (obj.KCONFIG, "CONFIG_HZ", 8),
        (obj.KCONFIG, "CONFIG_BIG", 0),
    ]
    assert disassemble(linked.insns)[:2] == ["call kfunc(0x0, 0x0)", "r1 = btf_id(0x0, 0x0) ll"]
    # The kernel takes variables only, with a size.
    assert spec.btf is not None
    ksyms = spec.btf.type(spec.btf.find(".ksyms", 15) or 0)
    assert ksyms.size == 12
    assert [(offset, size) for _, offset, size in ksyms.vars] == [(0, 4), (4, 4), (8, 4)]
    assert {spec.btf.type(id).kind for id, _, _ in ksyms.vars} == {14}
    assert {spec.btf.type(id).linkage for id, _, _ in ksyms.vars} == {1}


def test_maps_of_maps_and_static_programs() -> None:
    w = ElfWriter()
    main = w.code("socket", assemble("exit"))
    maps = w.section(".maps", bytes(16 + 32 + 48))
    b = BtfWriter()
    u32 = b.int("int", 4)
    number = {n: b.ptr(b.array(u32, n, u32)) for n in (2, 3, 4, 12)}
    sizes = [("key_size", number[4], 8), ("max_entries", number[2], 16)]
    inner = b.struct(
        "inner_map",
        16,
        [
            ("type", number[2], 0),
            ("max_entries", number[3], 8),
            ("key_size", number[4], 8),
            ("value_size", number[4], 8),
        ],
    )
    outer_values = b.array(b.ptr(inner), 0, u32)
    outer = b.struct("", 24, [("type", number[12], 0), *sizes, ("values", outer_values, 24)])
    prog_values = b.array(b.ptr(b.proto(u32)), 0, u32)
    progs = b.struct("", 24, [("type", number[3], 0), *sizes, ("values", prog_values, 24)])
    rows = [(b.var("in1", inner), 0, 16), (b.var("outer", outer), 0, 32), (b.var("progs", progs), 0, 48)]
    b.datasec(".maps", rows)
    w.section(".BTF", b.build())
    in1 = w.symbol("in1", maps, 0, 16, type=OBJECT)
    w.symbol("outer", maps, 16, 32, type=OBJECT)
    w.symbol("progs", maps, 48, 48, type=OBJECT)
    prog = w.symbol("prog", main, 0, 8)
    w.relocations(maps, [(16 + 24, 2, in1), (48 + 24 + 8, 2, prog)])
    spec = read_object(w.build())
    made = spec.maps["outer"]
    assert made.inner is not None
    assert (made.inner.map_type, made.inner.max_entries, made.value_size) == (2, 3, 4)
    assert made.slots == [(0, "in1")]
    assert spec.maps["progs"].slots == [(1, "prog")]


def test_static_maps_are_found_by_the_place_in_the_instruction() -> None:
    w = ElfWriter()
    main = w.code("socket", assemble("r1 = 0x10 ll\nr2 = 0 ll\nexit"))
    maps = w.section(".maps", bytes(32))
    b = BtfWriter()
    u32 = b.int("int", 4)
    array = b.struct("", 16, [("type", b.ptr(b.array(u32, 2, u32)), 0)])
    b.datasec(".maps", [(b.var("one", array, 0), 0, 16), (b.var("two", array, 0), 16, 16)])
    w.section(".BTF", b.build())
    section = w.symbol("", maps, type=SECTION, bind=LOCAL)
    w.symbol("prog", main, 0, 40)
    w.relocations(main, [(0, INSN_64, section), (16, INSN_64, section)])
    linked = read_object(w.build()).programs["prog"].link()
    assert [name for _, _, name, _ in linked.relocs] == ["two", "one"]
    assert disassemble(linked.insns)[0] == "r1 = map_fd(0x0, 0x0) ll"


def test_exception_callbacks_come_last() -> None:
    w = ElfWriter()
    text = w.code(".text", assemble("r0 = 1\nexit\nr0 = 2\nexit"))
    main = w.code("tc", assemble("call pc-1\nexit"))
    b = BtfWriter()
    prog = b.func("prog", b.proto())
    b.decl_tag("exception_callback:on_throw", prog)
    w.section(".BTF", b.build())
    w.symbol("on_throw", text, 0, 16)
    called = w.symbol("called", text, 16, 16)
    w.symbol("prog", main, 0, 16)
    w.relocations(main, [(0, CALL_32, called)])
    linked = read_object(w.build()).programs["prog"].link()
    assert linked.functions == [(0, "prog"), (2, "called"), (4, "on_throw")]


def test_hidden_functions_become_static_in_btf() -> None:
    w = ElfWriter()
    text = w.code(".text", assemble("exit"))
    main = w.code("socket", assemble("call pc-1\nexit"))
    b = BtfWriter()
    proto = b.proto()
    helper, prog = b.func("helper", proto, 1), b.func("prog", proto, 1)
    w.section(".BTF", b.build())
    target = w.symbol("helper", text, 0, 8, other=2)
    w.symbol("prog", main, 0, 16)
    w.relocations(main, [(0, CALL_32, target)])
    spec = read_object(w.build())
    assert spec.btf is not None
    assert (spec.btf.type(helper).linkage, spec.btf.type(prog).linkage) == (0, 1)


def _broken(change: str) -> ElfWriter:
    w = ElfWriter()
    text = w.code(".text", assemble("r0 = 0\nexit\nexit"))
    main = w.code("socket", assemble("call pc-1\nr1 = 0 ll\nr2 = r1\nexit"))
    sub = w.symbol("sub", text, 0, 16)
    end = w.symbol("end", text, 16, 8)
    data = w.section(".data", bytes(8))
    strange = w.section("strange", bytes(8))
    variable = w.symbol("v", data, 0, 8, type=OBJECT)
    odd = w.symbol("odd", strange, 0, 8, type=OBJECT)
    missing = w.symbol("missing", 0, type=NOTYPE) if change == "extern" else 0
    bind = LOCAL if change == "static" else GLOBAL
    size = {"beyond": 48, "half": 44}.get(change, 40)
    w.symbol("prog", main, 0, size, bind=bind)
    if change == "twice":
        w.symbol("prog", main, 32, 8)
    rows = {
        "type": [(0, 3, sub)],
        "call of data": [(0, CALL_32, variable)],
        "no instruction": [(4, CALL_32, sub)],
        "after the end": [(800, CALL_32, sub)],
        "mov": [(24, INSN_64, variable)],
        "odd section": [(8, INSN_64, odd)],
        "same twice": [(0, CALL_32, sub), (0, CALL_32, end)],
        "extern": [(0, CALL_32, missing)],
        "symbol": [(0, CALL_32, 99)],
    }.get(change, [(0, CALL_32, sub)])
    w.relocations(main, rows)
    if change == "old maps":
        w.section("maps", bytes(20))
    if change == "version":
        w.section("version", b"123")
    if change == "btf":
        w.section(".BTF", b"\x9f\xeb\x01")
    if change == ".maps":
        w.section(".maps", bytes(8))
    if change == "code":
        w.code("tc", bytes(12))
    return w


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("static", "prog is static"),
        ("beyond", "prog reaches beyond"),
        ("half", "does not begin and end at an instruction"),
        ("twice", "prog is defined twice"),
        ("type", "type 3 in .relsocket is not one of code"),
        ("call of data", "subprograms must be in section .text"),
        ("no instruction", "relocates byte 4 of socket"),
        ("after the end", "relocates byte 800"),
        ("mov", "neither loads a wide immediate nor calls"),
        ("odd section", "section strange, which is neither data nor code"),
        ("same twice", "relocates instruction 0 twice"),
        ("extern", "missing is defined nowhere"),
        ("symbol", "names symbol 99"),
        ("old maps", "of the time before BTF"),
        ("version", "3 bytes instead of 4"),
        ("btf", "broken BTF"),
        (".maps", "without BTF"),
        ("code", "no whole number of instructions"),
    ],
)
def test_broken_objects_say_what_is_wrong(change: str, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_object(_broken(change).build())


def test_the_base_of_the_broken_objects_is_sound() -> None:
    assert read_object(_broken("nothing").build()).programs["prog"].link().functions[1] == (5, "sub")


def test_a_call_to_nowhere_is_found_when_linking() -> None:
    w = ElfWriter()
    text = w.code(".text", assemble("call pc+100\nexit"))
    w.symbol("a", text, 0, 16)
    main = w.code("socket", assemble("call pc-1\nexit"))
    w.symbol("prog", main, 0, 16)
    w.relocations(main, [(0, CALL_32, 1)])
    program = read_object(w.build()).programs["prog"]
    with pytest.raises(ObjectError, match="instruction 0 of a refers to no subprogram"):
        program.link()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "truncated"),
        (b"#!/bin/sh\n", "not an ELF file"),
        (ElfWriter(machine=62).build(), "machine 62, not BPF"),
        (ElfWriter(type=3).build(), "type 3"),
        (b"\x7fELF\x01" + bytes(80), "32-bit"),
    ],
)
def test_foreign_files(data: bytes, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_object(data)


def test_a_huge_bss_is_refused_before_it_is_made() -> None:
    w = ElfWriter()
    w.section(".bss", b"", type=NOBITS, size=1 << 60)
    with pytest.raises(ObjectError, match="over the limit"):
        read_object(w.build())


@ENDIAN
def test_every_truncation_is_an_object_error(endian: str) -> None:
    data = sample(endian).build()
    for length in range(len(data)):
        with pytest.raises(ObjectError):
            read_object(data[:length])


def test_reads_from_a_path(tmp_path: object) -> None:
    path = f"{tmp_path}/my-tool.bpf.o"
    with open(path, "wb") as f:
        f.write(sample().build())
    spec = read_object(path)
    assert spec.name == "my-tool"
    assert spec.maps[".bss"].kernel_name == "my_tool.bss"
