"""Objects of clang loaded into a machine: maps, globals, relocations, and the types that come with probee."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import compile_file, object_from_c
from probee.btf import Btf, BtfBuilder
from probee.btf.choose import SHIPPED, arch_of, choose
from probee.btf.cut import cut
from probee.btf.kinds import FUNC, FWD, STRUCT, TYPEDEF
from probee.btf.shipped import ARCH, FOLDER, shipped_btf
from probee.errors import LoadError, ProbeeError, Unsupported
from probee.machine.load import Program
from probee.machine.machine import Machine
from probee.obj import read_object
from probee.sys.formats import FILE, shipped_events, shipped_fields

REPO = Path(__file__).resolve().parents[3]
FIXTURES = sorted((REPO / "tests/differential/c").glob("*.bpf.c"))


def run(m: Machine, name: str) -> int:
    """Run a socket filter or tc program on a short packet."""
    return m.skb(bytes(64), name).retval


@pytest.mark.parametrize("source", FIXTURES, ids=[f.name for f in FIXTURES])
def test_every_fixture_loads(source: Path) -> None:
    spec = read_object(compile_file(source), source.name.partition(".")[0])
    with Machine(spec, btf="shipped") as m:
        assert set(m.programs) == {p.name for p in spec.programs.values() if p.autoload}


def test_globals_are_shared_with_python(tmp_path: Path) -> None:
    text = """
    u64 total = 5; const volatile u32 step = 1; static u32 hidden = 7;
    SEC("socket") int add(void *c) { total += step; hidden++; return hidden; }
    """
    with Machine(object_from_c(tmp_path, text), values={"step": 10}) as m:
        assert run(m, "add") == 8
        assert m.globals.total == 15
        m.globals.total = 100
        run(m, "add")
        assert m.globals.total == 110
    with pytest.raises(LoadError, match="has no global 'stepp'; it has"):
        Machine(object_from_c(tmp_path, text), values={"stepp": 10})


def test_maps_in_maps_and_programs_in_arrays_are_there_from_the_start(tmp_path: Path) -> None:
    text = """
    struct inner { __uint(type, 2); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
        one SEC(".maps");
    struct { __uint(type, 12); __uint(max_entries, 2); __type(key, u32); __array(values, struct inner); }
        outer SEC(".maps") = { .values = { [1] = &one } };
    int last(void *);
    struct { __uint(type, 3); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int (void *)); }
        jumps SEC(".maps") = { .values = { [1] = (void *)&last } };
    SEC("socket") int last(void *c) { return 42; }
    SEC("socket") int first(void *c) {
        u32 key = 1, zero = 0;
        void *map = map_lookup(&outer, &key);
        u64 *v = map ? map_lookup(map, &zero) : 0;
        if (v) *v = 9;
        tail_call(c, &jumps, 1);
        return 1;
    }
    """
    with Machine(object_from_c(tmp_path, text)) as m:
        assert run(m, "first") == 42
        assert m.maps["one"][0] == 9


def test_fields_are_relocated_and_what_is_missing_says_so(tmp_path: Path) -> None:
    text = """
    struct task_struct { int tgid; int no_such_field; } CORE;
    static u64 (*current)(void) = (void *)35;
    SEC("raw_tp/x") int there(u64 *c) {
        struct task_struct *t = (void *)current(); int tgid = 0;
        probe_read_kernel(&tgid, 4, &t->tgid);
        return tgid;
    }
    SEC("raw_tp/y") int lacks(u64 *c) {
        struct task_struct *t = (void *)current(); int v = 0;
        if (__builtin_preserve_field_info(t->no_such_field, 2)) return 1;
        if (c[0]) probe_read_kernel(&v, 4, &t->no_such_field);
        return v;
    }
    """
    with Machine(object_from_c(tmp_path, text), btf="shipped") as m:
        m.current = m.task(9, "x", tgid=8)
        assert m.fire("there").retval == 8
        assert m.fire("lacks", 0).retval == 0
        assert m.kernel.offset("task_struct", "tgid") != 0


def test_kernel_variables_configuration_and_functions(tmp_path: Path) -> None:
    text = """
    extern int LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
    extern int CONFIG_MINE __attribute__((section(".kconfig")));
    extern int my_kfunc(int) __attribute__((section(".ksyms")));
    extern int not_there(int) __attribute__((section(".ksyms"))) __attribute__((weak));
    SEC("tc") int version(void *c) { return LINUX_KERNEL_VERSION >> 16; }
    SEC("tc") int mine(void *c) { return CONFIG_MINE; }
    SEC("tc") int calls(void *c) { if (not_there) return -1; return my_kfunc(20); }
    """
    spec = object_from_c(tmp_path, text)
    with Machine(spec, kconfig="CONFIG_MINE=77") as m:
        assert m.tc(bytes(20), "version").retval >= 6
        assert m.tc(bytes(20), "mine").retval == 77
        with pytest.raises(Unsupported, match="my_kfunc"):
            m.tc(bytes(20), "calls")
        m.helper("my_kfunc", lambda n: n + 1)
        assert m.tc(bytes(20), "calls").retval == 21
    with pytest.raises(LoadError, match="needs CONFIG_MINE; say what it is"):
        Machine(spec)


def test_machines_close_and_refuse_use_after(tmp_path: Path) -> None:
    m = Machine(object_from_c(tmp_path, 'SEC("socket") int f(void *c) { return 1; }'))
    program = m.programs["f"]
    assert isinstance(program, Program)
    m.close()
    m.close()
    with pytest.raises(ProbeeError, match="the machine is closed"):
        m.skb(bytes(20), "f")
    with pytest.raises(ProbeeError, match="no engine 'fast'"):
        Machine(engine="fast")


def test_the_shipped_types_are_small_and_whole() -> None:
    assert os.path.getsize(f"{FOLDER}/kernel.btf.xz") < 300_000
    assert os.path.getsize(FILE) < 100_000
    btf = shipped_btf()
    for name in (
        "task_struct",
        "sock",
        "tcp_sock",
        "file",
        "inode",
        "cred",
        "request",
        "sk_buff",
        "net_device",
    ):
        id = btf.find(name, STRUCT)
        assert id is not None
        assert btf.type(id).vlen > 3, name
    assert btf.find("btf_trace_sched_switch", TYPEDEF)
    assert btf.find("vfs_read", FUNC)
    assert arch_of(btf) == ARCH
    for t in btf.own_types():  # whatever a type refers to is there
        for member in t.members:
            assert member.type < len(btf)
        assert t.kind == FWD or t.kind in (4, 5, 6, 15, 19, 1, 16, 3) or t.type < len(btf)
    assert {"sched:sched_process_exec", "syscalls:sys_enter_openat"} <= set(shipped_events())
    fields = {f.name: f for f in shipped_fields("sched", "sched_process_exec")}
    assert fields["filename"].data_loc
    assert (fields["pid"].offset, fields["pid"].size, fields["pid"].signed) == (12, 4, True)
    with pytest.raises(Unsupported, match="did you mean sched:sched_process_exec"):
        shipped_fields("sched", "sched_process_exe")


def test_a_cut_keeps_layouts_and_names_the_rest() -> None:
    b = BtfBuilder()
    number = b.int_("int", 4, 1)
    far = b.struct("far", 4, [("x", number, 0)])
    pointer = b.ptr(far)
    near = b.struct("near", 8, [("bits", number, 0, 3), ("y", number, 32, 0)])
    root = b.struct("root", 24, [("p", pointer, 0), ("n", near, 64), ("next", b.next_id + 1, 128)])
    b.ptr(root)
    whole = b.btf()
    small = Btf.parse(cut(whole, [root]))
    kept = small.find("root", STRUCT)
    assert kept is not None
    members = {m.name: m for m in small.type(kept).members}
    assert [m.bit_offset for m in members.values()] == [0, 64, 128]
    assert small.type(small.type(members["next"].type).type).name == "root"
    assert small.type(small.type(members["p"].type).type).kind == FWD
    assert small.type(members["n"].type).members[0].bit_size == 3
    assert Btf.parse(cut(whole, [root, far])).find("far", STRUCT) is not None


def test_types_are_chosen_by_parameter_and_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(SHIPPED) == (shipped_btf(), SHIPPED)
    monkeypatch.setenv("PROBEE_BTF", SHIPPED)
    assert choose()[1] == SHIPPED
    with pytest.raises(ProbeeError, match="can't take kernel types from"):
        choose(tmp_path / "none")
    file = tmp_path / "some.btf"
    file.write_bytes(shipped_btf().raw)
    assert len(choose(file)[0]) == len(shipped_btf())


def test_tools_compile_where_kernel_types_and_formats_are_hidden() -> None:
    script = (
        "from probee.lang import compile; from probee.lang.decl import programs_in; import sys\n"
        "sys.platform = 'darwin'\n"
        "from probee.tools import execsnoop, opensnoop, tcpstates\n"
        "for tool in (execsnoop, opensnoop, tcpstates):\n"
        "    assert compile(programs_in(vars(tool)))[:4] == b'\\x7fELF'\n"
        "from probee.btf import live\n"
        "assert live._kernel is None"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=REPO, timeout=100)
