"""Loading against the fake kernel: what this machine's kernel has not got, or would not refuse."""

from __future__ import annotations

import errno
import hashlib
import struct
from collections.abc import Iterator

import pytest
from test_kernel_load import EXIT, LDDW, object_spec

from probee.btf import BtfBuilder
from probee.btf.kinds import FUNC
from probee.errors import LoadError, Unsupported
from probee.kernel import features
from probee.kernel.arg_ctx import fix_arguments
from probee.kernel.load import load
from probee.kernel.modules import Module, Modules
from probee.obj.spec import (
    JUMP_TABLE,
    KFUNC,
    KFUNC_ADDR,
    KSYM_TYPED,
    ExternSpec,
    MapSpec,
    ObjectSpec,
    Reloc,
)
from probee.sys import use
from probee.sys.bpf import ProgAttr
from probee.sys.fake import FakeKernel

CALL = struct.pack("=BBhi", 0x85, 0x10, 0, -1)
USER_RINGBUF, RINGBUF = 31, 27


@pytest.fixture
def fake() -> Iterator[FakeKernel]:
    with use(FakeKernel()) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"


def lacks(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(features, "have", lambda name: name not in names)


def test_attach_types_that_old_kernels_do_not_know(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks(monkeypatch, "expected_attach_type")
    fake.refuse("prog_load", errno.EINVAL)
    with load(object_spec("xdp")):
        assert [call["attach_type"] for call in fake.called("prog_load")] == [37, 0]


def test_attach_types_that_are_needed_stay(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks(monkeypatch, "expected_attach_type")
    fake.refuse("prog_load", errno.EINVAL, times=2)
    with pytest.raises(LoadError):
        load(object_spec("xdp/devmap"))
    assert {c["attach_type"] for c in fake.called("prog_load") if c["name"] == "count"} == {33}


@pytest.mark.parametrize(("kernel_has_it", "attach_type"), [(True, 48), (False, 0)])
def test_usdt_programs_are_for_the_newest_link(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, kernel_has_it: bool, attach_type: int
) -> None:
    lacks(monkeypatch, *([] if kernel_has_it else ["uprobe_multi"]))
    with load(object_spec("usdt/lib:provider:name")):
        assert [call["attach_type"] for call in fake.called("prog_load")] == [attach_type]


def test_constants_are_bound_to_programs(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[tuple[int, int]] = []
    monkeypatch.setattr(FakeKernel, "prog_bind_map", lambda self, prog, map: bound.append((prog, map)))
    with load(object_spec()) as live:
        assert bound == [(live.programs["count"].fd, live.maps[".rodata"].fd)]


def test_ring_buffers_are_whole_powers_of_pages(fake: FakeKernel) -> None:
    spec = object_spec()
    for name, kind, size in (("a", RINGBUF, 5000), ("b", USER_RINGBUF, 1), ("c", RINGBUF, 65536)):
        spec.maps[name] = MapSpec(name, map_type=kind, max_entries=size)
    with load(spec):
        sizes = {c["name"]: c["max_entries"] for c in fake.called("map_create")}
        assert (sizes["a"], sizes["b"], sizes["c"]) == (8192, 4096, 65536)
    assert spec.maps["a"].max_entries == 5000  # the spec stays what it was


def test_an_exclusive_map_is_known_by_the_code_without_descriptors(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = object_spec()
    spec.maps["counts"].exclusive_to = "count"
    given: list[bytes] = []
    plain = FakeKernel.map_create

    def create(self: FakeKernel, *args: int, exclusive_hash: bytes = b"", **more: object) -> int:
        given.append(bytes(exclusive_hash))
        return plain(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeKernel, "map_create", create)
    with load(spec):
        (loaded,) = fake.called("prog_load")
        code = bytearray(loaded["insns"])
        for at in (4, 12, 20, 28):  # descriptors, and places in data maps
            code[at : at + 4] = bytes(4)
    assert given == [hashlib.sha256(code).digest(), b"", b""]


def test_jump_tables_are_maps_of_instructions(fake: FakeKernel) -> None:
    spec = object_spec()
    reloc = Reloc(JUMP_TABLE, "JT", 0)
    reloc.table = (4, 2, 4)
    spec.relocs[1][2] = reloc
    with load(spec):
        made = next(c for c in fake.called("map_create") if c["name"] == ".jumptables")
        assert (made["type"], made["key_size"], made["value_size"], made["max_entries"]) == (34, 4, 16, 3)
        values = [u["value"] for u in fake.called("map_update") if len(u["value"]) == 16]
        assert [struct.unpack_from("=I", value)[0] for value in values] == [4, 2, 4]
        (loaded,) = fake.called("prog_load")
        registers, fd = struct.unpack_from("=xBxxi", loaded["insns"], 16)
        assert registers >> 4 == 2  # a map's value
        assert fd not in fake.open  # the program holds it


def test_jump_tables_on_kernels_without(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    lacks(monkeypatch, "insn_array")
    spec = object_spec()
    reloc = Reloc(JUMP_TABLE, "JT", 0)
    reloc.table = (4,)
    spec.relocs[1][2] = reloc
    fake.refuse("map_create", 0, times=3)
    fake.refuse("map_create", errno.EINVAL)
    with pytest.raises(Unsupported, match="compile with -fno-jump-tables") as caught:
        load(spec)
    assert caught.value.since == "6.19"


def calls_of_modules(spec: ObjectSpec) -> tuple[BtfBuilder, bytes]:
    """A kernel without `thing`, and a module that has it; `spec` calls it, and `other` of another module."""
    kernel = BtfBuilder()
    number = kernel.int_("int", 4)
    kernel.func("own", kernel.func_proto(number), 1)
    local = BtfBuilder()
    mine = local.int_("int", 4)
    proto = local.func_proto(mine)
    spec.btf = local.btf()
    for name, kind in (("thing___v2", KFUNC), ("own", KFUNC), ("variable", KSYM_TYPED), ("absent", KFUNC)):
        spec.externs[name] = ExternSpec(name, kind, mine if kind == KSYM_TYPED else proto, name == "absent")
    code = CALL + CALL + LDDW + LDDW + CALL + EXIT
    spec.code[1] = code
    spec.functions[0].count = len(code) // 8
    spec.relocs[1] = {
        0: Reloc(KFUNC, "thing___v2", 0),
        1: Reloc(KFUNC, "own", 0),
        2: Reloc(KSYM_TYPED, "variable", 0),
        4: Reloc(KFUNC_ADDR, "thing___v2", 0),
        6: Reloc(KFUNC, "absent", 0),
    }
    module = BtfBuilder(kernel.btf())
    module.func("thing", module.func_proto(number), 1)
    module.var("variable", number, 1)
    return kernel, module.build()


def test_names_of_modules_come_with_descriptors(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = object_spec()
    kernel, raw = calls_of_modules(spec)
    base = kernel.btf()
    other = BtfBuilder(base)
    other.func("whatever", 1, 1)

    def modules(self: Modules, out: list[Module]) -> None:
        for name, content in (("other", other.build()), ("mod", raw)):
            module = Module(name, fake._new("btf"), lambda: base)
            module._raw = content
            out.append(module)

    monkeypatch.setattr(Modules, "_list", modules)
    with load(spec, target_btf=base):
        (loaded,) = fake.called("prog_load")
        thing = len(base) + 1  # behind its prototype
        module_fd = loaded["fd_array"][1]
        assert loaded["fd_array"] == [0, module_fd]
        fields = list(struct.iter_unpack("=BBhi", loaded["insns"]))
        assert fields[0] == (0x85, 0x20, 1, thing)
        assert fields[1] == (0x85, 0x20, 0, base.find("own", FUNC))
        assert (fields[2][1] >> 4, fields[2][3], fields[3][3]) == (3, thing + 1, module_fd)
        assert (fields[4][1] >> 4, fields[4][3], fields[5][3]) == (3, thing, module_fd)
        assert fields[6] == (0x85, 0, 0, 2002000000)  # by name the first of four externs


def test_a_function_of_another_type_is_refused(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = object_spec()
    kernel, _ = calls_of_modules(spec)
    monkeypatch.setattr(Modules, "_list", lambda self, out: None)
    other = BtfBuilder()
    number = other.int_("int", 4)
    other.func("own", other.func_proto(number, [("a", number)]), 1)
    for name in ("thing___v2", "variable"):
        del spec.externs[name]
    spec.code[1] = CALL + EXIT
    spec.functions[0].count = 2
    spec.relocs[1] = {0: Reloc(KFUNC, "own", 0)}
    with pytest.raises(LoadError, match="the kfunc own of this kernel has another type than in sample"):
        load(spec, target_btf=other.btf())
    spec.externs["own"].weak = True  # then it counts as missing
    with load(spec, target_btf=other.btf()):
        (loaded,) = fake.called("prog_load")
        assert struct.unpack_from("=BBhi", loaded["insns"]) == (0x85, 0, 0, 2002000001)
    assert kernel.next_id > 1


def test_maps_that_are_not_created_poison_what_refers_to_them(fake: FakeKernel) -> None:
    spec = object_spec()
    spec.maps[".rodata"].autocreate = False
    with load(spec) as live:
        assert list(live.maps) == ["counts", ".bss"]
        (loaded,) = fake.called("prog_load")
        poison = struct.pack("=BBhi", 0x85, 0, 0, 2001000001)
        assert loaded["insns"][16:32] == poison * 2


def test_a_failed_load_closes_what_it_took_over(fake: FakeKernel) -> None:
    spec = object_spec()
    with load(spec) as live:
        fake.refuse("prog_load", errno.EACCES, "no\n", times=2)
        with pytest.raises(LoadError):
            load(spec, maps={"counts": live.maps["counts"].fd})
    with pytest.raises(LoadError, match="has no map 'else'"):
        load(spec, maps={"else": 3})


@pytest.mark.parametrize(
    ("program_type", "context"), [(6, "xdp_md"), (3, "__sk_buff"), (2, "bpf_user_pt_regs_t")]
)
def test_tagged_contexts_get_the_type_of_the_program(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, program_type: int, context: str
) -> None:
    lacks(monkeypatch, "arg_ctx_tag")
    builder = BtfBuilder()
    number, void = builder.int_("int", 4), builder.ptr(0)
    proto = builder.func_proto(number, [("ctx", void), ("x", number)])
    function = builder.func("of_context", proto, 1)
    builder.decl_tag("arg:ctx", function, 0)
    untouched = builder.func("static_one", proto, 0)
    builder.decl_tag("arg:ctx", untouched, 0)
    btf = builder.btf()
    attr = ProgAttr(program_type, b"", "GPL")
    attr.func_info = struct.pack("=4I", 0, untouched, 3, function)
    fd = fix_arguments(attr, btf)
    assert attr.btf_fd == fd
    from probee.btf import Btf

    made = Btf.parse(fake.open[fd].facts["data"])
    fake.close(fd)
    infos = list(struct.iter_unpack("=II", attr.func_info))
    assert infos[0] == (0, untouched)
    clone = made.type(infos[1][1])
    assert (infos[1][0], clone.name, clone.linkage) == (3, "of_context", 1)
    (first, pointer), (second, plain) = made.type(clone.type).params
    assert (first, second, plain) == ("ctx", "x", number)
    assert made.type(made.type(pointer).type).name == context
    assert [t.type for t in made.own_types() if t.name == "arg:ctx"] == [function, untouched, clone.id]


def test_contexts_are_left_alone_where_the_kernel_knows_the_tag(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks(monkeypatch)
    assert fix_arguments(ProgAttr(6, b"", "GPL"), BtfBuilder().btf()) == 0
