"""What objects hold beyond programs and plain maps: struct_ops, arenas, jump tables, kconfig, old maps."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objwriter import NOTYPE, OBJECT, WEAK, BtfWriter, ElfWriter

from probee.btf.kinds import ARRAY, DATASEC, VAR
from probee.errors import ObjectError
from probee.isa.sections import SECTIONS, match
from probee.obj import JUMP_TABLE, KCONFIG, MAP_FD, MAP_VALUE, read_object
from probee.obj.foreign import by_function, loose

ARENA, HASH, PROG_ARRAY, STRUCT_OPS = 33, 1, 3, 26
HIDDEN = 2


def insn(order: str, opcode: int, registers: int = 0, off: int = 0, imm: int = 0) -> bytes:
    if order == ">":
        registers = registers >> 4 | (registers & 15) << 4
    return struct.pack(order + "BBhi", opcode, registers, off, imm)


def sample(endian: str = "little") -> ElfWriter:
    """One of all: an arena with variables, a struct_ops map, a jump table, kconfig values, an old map."""
    btf, elf = BtfWriter(endian), ElfWriter(endian)
    order = elf.order
    wide = insn(order, 0x18, 1) + insn(order, 0)
    leave = insn(order, 0x95)
    u32, char, u64 = btf.int("u32", 4), btf.int("char", 1, 1), btf.int("u64", 8)
    main = elf.code("xdp", wide * 4 + leave * 4)  # arena variable, table, kconfig value, old map
    method = elf.code("struct_ops/run", leave)
    maps = elf.section(".maps", bytes(16))
    arena_data = elf.section(".addr_space.1", struct.pack(order + "IIQ", 5, 6, 7))
    tables = elf.section(".jumptables", struct.pack(order + "QQQ", 9 * 8, 8 * 8, 10 * 8))
    ops = elf.section("?.struct_ops.link", bytes(8) + struct.pack(order + "I", 3) + b"name\0\0\0\0")
    old = elf.section("maps", struct.pack(order + "5I", HASH, 4, 8, 9, 1))
    elf.section("license", b"GPL\0")

    def number(value: int) -> int:
        return btf.ptr(btf.array(u32, value, u32))

    proto = btf.proto()
    arena = btf.struct("", 16, [("type", number(ARENA), 0), ("max_entries", number(4), 8)])
    my_ops = btf.struct(
        "my_ops___v2",
        20,
        [("run", btf.ptr(proto), 0), ("flags", u32, 8), ("name", btf.array(char, 8, u32), 12)],
    )
    btf.datasec(".maps", [(btf.var("room", arena), 0, 16)])
    shared, extra = btf.var("shared", u32), btf.var("extra", u64)
    btf.datasec(".addr_space.1", [(shared, 0, 4), (extra, 0, 8)])
    btf.datasec("?.struct_ops.link", [(btf.var("table", my_ops), 0, 20)])
    kconfig = [("CONFIG_TEXT", btf.array(char, 9, u32)), ("CONFIG_BIG", u64), ("CONFIG_SMALL", char)]
    btf.datasec(".kconfig", [(btf.var(name, type, 2), 0, 0) for name, type in kconfig])
    elf.symbol("main", main, 0, 12 * 8)
    elf.symbol("run", method, 0, 8)
    elf.symbol("room", maps, 0, 16, type=OBJECT)
    elf.symbol("shared", arena_data, 4, 4, type=OBJECT)
    elf.symbol("extra", arena_data, 8, 8, type=OBJECT)
    elf.symbol("table", ops, 0, 20, type=OBJECT)
    elf.symbol("older", old, 0, 20, type=OBJECT)
    table = elf.symbol("JT", tables, 0, 24, type=OBJECT)
    small = elf.symbol("CONFIG_SMALL", 0, 0, 0, type=NOTYPE)
    elf.symbol("CONFIG_BIG", 0, 0, 0, type=NOTYPE, bind=WEAK)
    elf.symbol("CONFIG_TEXT", 0, 0, 0, type=NOTYPE)
    elf.relocations(main, [(0, 1, 4), (16, 1, table), (32, 1, small), (48, 1, 7)])
    elf.relocations(ops, [(0, 2, 2)])
    elf.section(".BTF", btf.build())
    return elf


@pytest.mark.parametrize("endian", ["little", "big"])
def test_what_is_in_the_object(endian: str) -> None:
    spec = read_object(sample(endian).build(), lenient=True)
    assert list(spec.maps) == ["room", "older", ".kconfig", "table"]
    room, older, table = spec.maps["room"], spec.maps["older"], spec.maps["table"]
    order = "<" if endian == "little" else ">"
    assert (room.map_type, room.arena_data) == (ARENA, struct.pack(order + "IIQ", 5, 6, 7))
    places = {g.name: (g.map, g.offset, g.size) for g in spec.globals.values()}
    assert places == {"shared": ("room", 4, 4), "extra": ("room", 8, 8)}
    fields = (older.map_type, older.key_size, older.value_size, older.max_entries, older.flags)
    assert fields == (HASH, 4, 8, 9, 1)
    assert (table.map_type, table.value_size, table.flags, table.autocreate) == (
        STRUCT_OPS,
        20,
        1 << 13,
        False,
    )
    ops = table.struct_ops
    assert ops is not None
    assert (ops.type_name, ops.link, ops.programs, list(ops)) == (
        "my_ops",
        True,
        {"run": "run"},
        ["run", "flags", "name"],
    )
    assert (ops["run"], ops["flags"], ops["name"]) == ("run", 3, "name")
    ops["flags"], ops["run"] = 9, None
    assert (ops["flags"], ops["run"], ops.declared) == (9, None, {"run": "run"})
    with pytest.raises(KeyError):
        _ = ops["walk"]
    assert spec.maps["room"].copy().arena_data == room.arena_data


@pytest.mark.parametrize("endian", ["little", "big"])
def test_linked_programs_name_what_they_want(endian: str) -> None:
    linked = read_object(sample(endian).build(), lenient=True).programs["main"].link()
    assert [(at, kind, symbol) for at, kind, symbol, _ in linked.relocs] == [
        (0, MAP_VALUE, "room"),
        (2, JUMP_TABLE, "JT"),
        (4, KCONFIG, "CONFIG_SMALL"),
        (6, MAP_FD, "older"),
    ]
    order = "<" if endian == "little" else ">"
    assert struct.unpack_from(order + "I", linked.insns, 12) == (4,)  # where the variable is in the arena
    assert linked.jump_tables == [(9, 8, 10)]


def test_values_of_the_configuration_are_laid_out_by_alignment_size_and_name() -> None:
    spec = read_object(sample().build(), lenient=True)
    places = {x.name: (x.offset, x.size, x.weak) for x in spec.externs.values()}
    # A text is aligned as a char is: it comes behind the smaller char.
    assert places == {"CONFIG_BIG": (0, 8, True), "CONFIG_SMALL": (8, 1, False), "CONFIG_TEXT": (9, 9, False)}
    assert spec.maps[".kconfig"].value_size == 18


def test_old_maps_are_refused_unless_asked_for() -> None:
    with pytest.raises(ObjectError, match="lenient=True reads them"):
        read_object(sample().build())


def old_maps(definitions: bytes, symbols: int = 1, sections: tuple[str, ...] = ("xdp",)) -> ElfWriter:
    elf = ElfWriter()
    maps = elf.section("maps", definitions)
    for i in range(symbols):
        elf.symbol(f"m{i}", maps, i * (len(definitions) // max(1, symbols)), 4, type=OBJECT)
    for i, name in enumerate(sections):
        elf.symbol(f"f{i}", elf.code(name, insn("<", 0x95)), 0, 8)
    return elf


def test_maps_of_iproute2() -> None:
    rows = [
        (PROG_ARRAY, 4, 4, 5, 0, 7, 0, 0, 0),
        (12, 4, 4, 2, 0, 0, 2, 9, 0),
        (HASH, 4, 8, 3, 1, 9, 0, 0, 0),
    ]
    raw = b"".join(struct.pack("<9I", *row) for row in rows)
    spec = read_object(old_maps(raw, 3, ("7/0x2", "7/3", "8/1", "7/x")).build(), lenient=True)
    assert spec.maps["m0"].slots == [(2, "f0"), (3, "f1")]
    assert (spec.maps["m1"].pinning, spec.maps["m1"].inner) == (1, spec.maps["m2"])
    assert {p.section_kind for p in spec.programs.values()} == {"tc"}


@pytest.mark.parametrize(
    ("definitions", "symbols", "message"),
    [
        (bytes(20), 0, "no symbols that name its maps"),
        (bytes(16), 1, "has 16 bytes for 1 maps"),
        (bytes(41), 2, "has 41 bytes for 2 maps"),
        (bytes(20) + b"\1\0\0\0", 1, "has fields that are not known here"),
    ],
)
def test_broken_old_maps(definitions: bytes, symbols: int, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        read_object(old_maps(definitions, symbols).build(), lenient=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("xdp_filter", "xdp"),
        ("xdp/prog0", "xdp"),
        ("xdp.frags_x", "xdp.frags"),
        ("classifier/ingress", "classifier"),
        ("classifier_egress", "classifier"),
        ("tc_mark", "tc"),
        ("socket1", "socket"),
        ("socket/http", "socket"),
        ("sk_msg1", "sk_msg"),
        ("cgroup/skb1", "cgroup/skb"),
        ("cgroup/connect4_redirect", "cgroup/connect4"),
        ("kprobe_do_exit", "kprobe"),
        ("prog", "xdp"),
        ("ingress", "tc"),
        ("egress", "tc"),
        ("2/0x5", "tc"),
        ("from-netdev", "tc"),
        ("kfunc/vfs_read", "fentry/vfs_read"),
        ("cgroup_device", "cgroup/dev"),
        ("tcp_probe", ""),
        ("fentry_vfs_read", ""),
        ("xdpfilter", ""),
        ("whatever", ""),
        ("", ""),
    ],
)
def test_loose_section_names(name: str, kind: str) -> None:
    assert loose(name) == kind
    assert not kind or match(kind) is not None


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("kprobe__do_exit", "kprobe/do_exit"),
        ("kprobe____x64_sys_open", "kprobe/__x64_sys_open"),
        ("tracepoint__sched__sched_switch", "tracepoint/sched/sched_switch"),
        ("raw_tracepoint__sys_enter", "raw_tracepoint/sys_enter"),
        ("kfunc__vmlinux__vfs_read", "fentry/vfs_read"),
        ("kretfunc__nf_tables__nft_do_chain", "fexit/nf_tables:nft_do_chain"),
        ("syscall__execve", "ksyscall/execve"),
        ("lsm__file_open", "lsm/file_open"),
        ("do_exit", ""),
    ],
)
def test_functions_named_as_bcc_names_them(name: str, section: str) -> None:
    assert by_function(name) == section
    elf = ElfWriter()
    elf.symbol(name, elf.code(f".bpf.fn.{name}", insn("<", 0x95)), 0, 8)
    (program,) = read_object(elf.build(), lenient=True).programs.values()
    kind = section.partition("/")
    assert (program.section_kind, program.attach_to) == (kind[0], kind[2])


def test_every_section_is_as_it_says() -> None:
    assert len(SECTIONS) == 116
    for name, (program, attach, flags) in SECTIONS.items():
        sleepable = name.endswith(".s") or name == "syscall"
        assert bool(flags & 4) == sleepable, name
        assert bool(flags & 16) == name.startswith("xdp.frags"), name
        assert bool(flags & 2) == name.startswith("usdt"), name
        tracing = program in (26, 28, 29) and ".multi" not in name  # tracing, freplace, LSM
        assert bool(flags & 8) == tracing, name
        base = name.removesuffix(".s")
        if base != name:
            assert SECTIONS[base][:2] == (program, attach), name


def test_programs_change_their_kind() -> None:
    program = read_object(sample().build(), lenient=True).programs["main"]
    program.load_as("fentry.s/vfs_read")
    facts = (program.prog_type, program.attach_type, program.attach_to, program.sleepable)
    assert facts == (26, 24, "vfs_read", True)
    with pytest.raises(ObjectError, match="'nothing' names no kind of program"):
        program.load_as("nothing")
    assert program.section_kind == "xdp"


def data_object(endian: str = "little", last: int = 3) -> ElfWriter:
    btf, elf = BtfWriter(endian), ElfWriter(endian)
    u32 = btf.int("u32", 4)
    data = elf.section(".data.items", struct.pack(elf.order + "4I", 7, 1, 2, 3), flags=3)
    count, items = btf.var("count", u32), btf.var("items", btf.array(u32, last, u32) if last else u32)
    btf.datasec(".data.items", [(count, 0, 4), (items, 4, 4 * last or 4)])
    elf.symbol("count", data, 0, 4, type=OBJECT)
    elf.symbol("items", data, 4, 4 * last, type=OBJECT, other=HIDDEN)
    elf.symbol("main", elf.code("xdp", insn(elf.order, 0x95)), 0, 8)
    elf.section(".BTF", btf.build())
    return elf


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("count", [1, 2, 1000])
def test_data_maps_of_another_size(endian: str, count: int) -> None:
    spec = read_object(data_object(endian).build())
    spec.resize(".data.items", 4 + 4 * count)
    data, btf = spec.maps[".data.items"], spec.btf
    assert btf is not None
    assert data.initial is not None
    assert len(data.initial) == data.value_size == 4 + 4 * count
    section = btf.type(data.value_type_id)
    assert (section.kind, section.size, section.vars[1][1:]) == (DATASEC, 4 + 4 * count, (4, 4 * count))
    array = btf.type(btf.type(section.vars[1][0]).type)
    assert (array.kind, array.array[2]) == (ARRAY, count)
    assert (spec.globals["items"].size, spec.globals["items"].type_id) == (4 * count, array.id)


def test_sizes_that_do_not_fit() -> None:
    spec = read_object(data_object().build())
    for size, message in [(6, "not made of whole"), (4, "not made of whole"), (0, "can't have 0 bytes")]:
        with pytest.raises(ObjectError, match=message):
            spec.resize(".data.items", size)
    with pytest.raises(ObjectError, match=r"no data map nothing in .*; there are: \.data\.items"):
        spec.resize("nothing", 8)
    with pytest.raises(ObjectError, match="its last variable, items, is no array"):
        read_object(data_object(last=0).build()).resize(".data.items", 16)


def test_hidden_variables_are_nobodys_business() -> None:
    """They become static ones in the BTF, so that a map with no others is not mapped."""
    spec = read_object(data_object().build())
    assert spec.btf is not None
    kinds = {t.name: t.linkage for t in spec.btf.own_types() if t.kind == VAR}
    assert kinds == {"count": 1, "items": 0}
    assert spec.maps[".data.items"].mmapable


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no arena", r"\.addr_space\.1 needs one arena in \.maps to be in; there are 0"),
        ("odd table", "refers to JT, which is no table of .jumptables"),
        ("beyond", "refers to JT, which is no table of .jumptables"),
        ("no function", "its member flags is no function"),
        ("no member", "has no member at byte 4"),
        ("outside", "relocates byte 24, which is in no struct_ops map"),
        ("data", "room is no program"),
    ],
)
def test_broken_objects(change: str, message: str) -> None:
    elf = sample()
    places = {"no function": (8, 2), "no member": (4, 2), "outside": (24, 2), "data": (0, 3)}
    if change == "no arena":
        btf = elf.sections[-1][3]
        assert isinstance(btf, bytes)
        elf.sections[-1][3] = btf.replace(struct.pack("<3I", 1, 1, ARENA), struct.pack("<3I", 1, 1, 2))
    elif change in places:
        offset, symbol = places[change]
        for section in elf.sections:
            if section[0] == ".rel?.struct_ops.link":
                section[3] = struct.pack("<QQ", offset, symbol << 32 | 2)
    else:
        row = list(elf.symbols[8])
        row[5 if change == "odd table" else 6] = 4 if change == "odd table" else 800
        elf.symbols[8] = tuple(row)
    with pytest.raises(ObjectError, match=message):
        read_object(elf.build(), lenient=True)


VALUE = st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
CHANGE = st.tuples(st.floats(0, 1, exclude_max=True), VALUE, st.sampled_from([1, 2, 4, 8]))
GOOD = {endian: sample(endian).build() for endian in ("little", "big")}


@settings(max_examples=200)
@given(
    endian=st.sampled_from(["little", "big"]),
    changes=st.lists(CHANGE, min_size=1, max_size=6),
    size=st.integers(0, 1 << 33),
)
def test_whatever_the_bytes_reading_ends_in_a_result_or_an_object_error(
    endian: str, changes: list[tuple[float, int, int]], size: int
) -> None:
    data = bytearray(GOOD[endian])
    for where, value, width in changes:
        at = int(where * len(data))
        data[at : at + width] = bytes([value]) * len(data[at : at + width])
    try:
        spec = read_object(bytes(data), lenient=True)
    except ObjectError:
        return
    for program in spec.programs.values():
        with contextlib.suppress(ObjectError):
            program.link()
    for map_ in spec.maps.values():
        if map_.struct_ops is not None:
            for name in map_.struct_ops:
                with contextlib.suppress(ObjectError):
                    _ = map_.struct_ops[name]
    for name in list(spec.maps):
        if size < 1 << 20:
            with contextlib.suppress(ObjectError):
                spec.resize(name, size)


@settings(max_examples=100)
@given(definitions=st.binary(max_size=120), symbols=st.integers(0, 4))
def test_any_bytes_as_old_maps(definitions: bytes, symbols: int) -> None:
    with contextlib.suppress(ObjectError):
        read_object(old_maps(definitions, symbols, ("7/1", "xdp")).build(), lenient=True)
