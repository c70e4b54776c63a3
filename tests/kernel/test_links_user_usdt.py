"""USDT by what programs see: arguments of every form, cookies, semaphores, one process, libraries."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from c_compiler import compiled
from c_objects import clang, object_from_c
from needs import needs
from probee.errors import AttachError, Unsupported
from probee.kernel.features import have
from probee.kernel.load import Collection, load
from probee.obj import read_object
from probee.symbols.usdt import list_probes
from user_programs import LOOP, SDT, Running, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program is written in x86-64 assembly"),
]

TARGET = (
    SDT
    + r"""
SDT_SEMAPHORE(armed);
static long table[4] = {100, 101, 102, 103};
volatile int global_number = -77;
"""
    + LOOP
    + r"""
__attribute__((noinline)) void act(int c) {
    if (c == 'a') {
        volatile long local = -123456789012; long index = 2;
        SDT_PROBE(shop, sale, "0", "-8@%0 4@%1 -8@%2 -1@%3 2@%4 8@$7 -4@$-9 8@(%5,%6,8)",
            "r"(c * 1000L), "r"(0xfffffff0u), "m"(local), "r"((char)-5), "r"((short)0x1234),
            "r"(table), "r"(index));
    }
    if (c == 'g') SDT_PROBE(shop, global, "0", "-4@global_number(%%rip) 4@%0", "m"(global_number));
    if (c == 'n') SDT_PROBE(shop, none, "0", "", "i"(0));
    if (c == 's') SDT_PROBE(shop, guarded, "armed", "-4@%0", "r"(armed));
    if (c == 'f') SDT_PROBE(shop, number, "0", "8f@%%xmm0 -4@%0", "r"(c));
    if (c == 'm') SDT_PROBE(shop, twice, "0", "-4@%0", "r"(1));
    if (c == 'M') SDT_PROBE(shop, twice, "0", "-4@$2", "i"(0));
}
"""
)

# A reader of arguments in the way of libbpf's usdt.bpf.h: its maps and structures, in words of our own.
READER = r"""
extern const _Bool LINUX_HAS_BPF_COOKIE __attribute__((section(".kconfig")));
struct arg_spec { ARG_SPEC };
struct usdt_spec { struct arg_spec args[12]; u64 usdt_cookie; short arg_cnt; };
struct { __uint(type, 2); __uint(max_entries, 256); __type(key, int); __type(value, struct usdt_spec); }
    __bpf_usdt_specs SEC(".maps");
struct { __uint(type, 1); __uint(max_entries, 1024); __type(key, long); __type(value, u32); }
    __bpf_usdt_ip_to_spec_id SEC(".maps");
static u64 (*attach_cookie)(void *) = (void *)174;
static long (*probe_read_user)(void *, u32, const void *) = (void *)112;
struct record { u64 pid, cookie; s64 count, value[12]; s64 error[12]; };
ARRAY(last, struct record, 1);
ARRAY(hits, u64, 1);
static struct usdt_spec *spec_of(u64 *ctx) {
    int id;
    if (LINUX_HAS_BPF_COOKIE) id = attach_cookie(ctx);
    else {
        long ip = ctx[16];
        u32 *found = map_lookup(&__bpf_usdt_ip_to_spec_id, &ip);
        if (!found) return 0;
        id = *found;
    }
    return map_lookup(&__bpf_usdt_specs, &id);
}
static long argument(u64 *ctx, struct arg_spec *arg, s64 *out) {
    u64 value = 0, index = 0;
    switch (arg->arg_type) {
    case 0: value = arg->val_off; break;
    case 1: probe_read_kernel(&value, 8, (char *)ctx + arg->reg_off); break;
    case 2:
        probe_read_kernel(&value, 8, (char *)ctx + arg->reg_off);
        if (probe_read_user(&value, 8, (char *)value + arg->val_off)) return -14;
        break;
    INDEXED
    default: return -22;
    }
    value <<= arg->arg_bitshift;
    *out = arg->arg_signed ? (s64)value >> arg->arg_bitshift : (s64)(value >> arg->arg_bitshift);
    return 0;
}
static int record(u64 *ctx) {
    u32 zero = 0;
    struct record *r = map_lookup(&last, &zero);
    u64 *hit = map_lookup(&hits, &zero);
    struct usdt_spec *spec = spec_of(ctx);
    if (!r || !hit) return 0;
    *hit += 1;
    r->pid = pid_tgid() >> 32;
    if (!spec) { r->count = -3; return 0; }
    r->cookie = spec->usdt_cookie;
    r->count = spec->arg_cnt;
    for (int i = 0; i < 12; i++)
        r->error[i] = i < spec->arg_cnt ? argument(ctx, &spec->args[i], &r->value[i]) : -2;
    return 0;
}
SEC("usdt") int probe(void *ctx) { return record(ctx); }
"""
OLD = "u64 val_off; u32 arg_type; short reg_off; _Bool arg_signed; signed char arg_bitshift;"
NEW = """u64 val_off; u32 arg_type:8; u16 idx_reg_off:12; u16 scale_bitshift:4; u8 reserved:8;
    short reg_off; _Bool arg_signed; signed char arg_bitshift;"""
INDEXED = """case 3:
        probe_read_kernel(&value, 8, (char *)ctx + arg->reg_off);
        probe_read_kernel(&index, 8, (char *)ctx + arg->idx_reg_off);
        value += (index << arg->scale_bitshift) + arg->val_off;
        if (probe_read_user(&value, 8, (char *)value)) return -14;
        break;"""


def reader(*, new: bool = True) -> str:
    return READER.replace("ARG_SPEC", NEW if new else OLD).replace("INDEXED", INDEXED if new else "")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # At a fixed address: there, arguments are found on kernels without cookies, too.
    return build(tmp_path_factory.mktemp("usdt"), TARGET, "-O1", "-no-pie")


@pytest.fixture(params=[True, False], ids=["since-1.7", "before"])
def live(tmp_path: Path, request: pytest.FixtureRequest) -> Collection:
    with load(object_from_c(tmp_path, reader(new=request.param))) as collection:
        yield collection


class Record:
    def __init__(self, live: Collection) -> None:
        raw = live.maps["last"][0]
        self.pid, self.cookie, self.count = raw.pid, raw.cookie, raw.count
        self.values = [
            value if not error else OSError(-error)
            for value, error in zip(list(raw.value), list(raw.error), strict=True)
        ][: max(0, raw.count)]


def hits(live: Collection) -> int:
    count = live.maps["hits"][0]
    live.maps["hits"][0] = 0
    return int(count)


def test_probes_are_listed(target: Path) -> None:
    probes = list_probes(str(target))
    names = [probe.name for probe in probes]
    assert sorted(set(names)) == ["global", "guarded", "none", "number", "sale", "twice"]
    assert names.count("twice") == 2
    assert all(probe.provider == "shop" for probe in probes)
    sale = next(probe for probe in probes if probe.name == "sale")
    types = [argument.type for argument in sale.arguments]
    assert types == ["i64", "u32", "i64", "i8", "u16", "u64", "i32", "u64"]
    assert [p.name for p in list_probes(str(target), "sh?p", "g*")] == [n for n in names if n.startswith("g")]
    assert next(p for p in probes if p.name == "guarded").semaphore
    assert list_probes(sys.executable, "no*") == []


def test_arguments_of_every_form(live: Collection, target: Path) -> None:
    new = live.maps["__bpf_usdt_specs"].value_size > 208
    with live.programs["probe"].attach_usdt(str(target), "shop", "sale", cookie=42, pid=None) as link:
        with Running(target) as process:
            process.do("a")
        assert link.hook == f"usdt {target}:shop:sale"
    found = Record(live)
    assert (found.pid, found.cookie, found.count) == (process.pid, 42, 8)
    assert found.values[:7] == [ord("a") * 1000, 0xFFFFFFF0, -123456789012, -5, 0x1234, 7, -9]
    if new:
        assert found.values[7] == 102
    else:
        assert isinstance(found.values[7], OSError)  # the object's header knows no such place


def test_data_of_the_program_and_numbers_out_of_reach(live: Collection, target: Path) -> None:
    probe = live.programs["probe"]
    with Running(target) as process:
        with probe.attach_usdt(str(target), "shop", "global"):
            process.do("g")
        assert Record(live).values == [-77, 0xFFFFFFFF & -77]
        with probe.attach_usdt(str(target), "shop", "number"):
            process.do("f")
        missing, letter = Record(live).values
        assert isinstance(missing, OSError)
        assert missing.args == (22,)
        assert letter == ord("f")
        with probe.attach_usdt(str(target), "shop", "none"):
            process.do("n")
        assert (Record(live).count, Record(live).values) == (0, [])


def test_every_place_of_a_probe_has_its_arguments(live: Collection, target: Path) -> None:
    with live.programs["probe"].attach_usdt(str(target), "shop", "twice"), Running(target) as process:
        process.do("m")
        assert Record(live).values == [1]
        process.do("M")
        assert Record(live).values == [2]
    assert hits(live) == 2


def test_semaphores_are_up_while_attached(live: Collection, target: Path) -> None:
    with Running(target) as process:
        link = live.programs["probe"].attach_usdt(str(target), "shop", "guarded")
        with link:
            process.do("s")
            assert Record(live).values == [1]
            if have("bpf_cookie"):
                with live.programs["probe"].attach_usdt(str(target), "shop", "guarded"):
                    assert semaphore(target, process.pid) == 1  # places are counted, not who probes them
            else:  # a place is known by its address
                with pytest.raises(AttachError, match="is attached to already"):
                    live.programs["probe"].attach_usdt(str(target), "shop", "guarded")
            assert semaphore(target, process.pid) == 1
        assert semaphore(target, process.pid) == 0


def semaphore(target: Path, pid: int) -> int:
    probe = list_probes(str(target), name="guarded")[0]
    start = min(
        int(line.split("-")[0], 16)
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
        if line.endswith(str(target))
    )
    from probee.symbols.elf import Elf

    with Elf(str(target)) as elf:
        address = elf.address_of(probe.semaphore)
        assert address is not None
        fixed = elf.type == 2
    with open(f"/proc/{pid}/mem", "rb") as memory:
        memory.seek(address + (0 if fixed else start))
        return int(struct.unpack("<H", memory.read(2))[0])


def test_one_process(live: Collection, target: Path) -> None:
    with Running(target) as one, Running(target) as two:
        with live.programs["probe"].attach_usdt(str(target), "shop", "twice", pid=two.pid):
            one.do("mmm")
            two.do("m")
        assert hits(live) == 1
        assert Record(live).pid == two.pid
        with live.programs["probe"].attach_usdt("", "shop", "twice", pid=one.pid):
            one.do("m")
            two.do("m")
        assert hits(live) == 1
        assert Record(live).pid == one.pid


def test_a_library(tmp_path: Path, live: Collection) -> None:
    library = build(
        tmp_path,
        SDT + 'void ring(int x) { SDT_PROBE(bell, rings, "0", "-4@%0", "r"(x)); }',
        "-O1",
        "-shared",
        "-fPIC",
        name="libbell.so",
    )
    script = f"import ctypes\nbell = ctypes.CDLL({str(library)!r})\n"
    script += "import sys\nwhile sys.stdin.read(1): bell.ring(-5); print(end='.', flush=True)"
    with Running(sys.executable, "-u", "-c", script) as process:
        with live.programs["probe"].attach_usdt("bell", "bell", "rings", pid=process.pid):
            process.do("x")
        assert (Record(live).values, Record(live).pid) == ([-5], process.pid)


def test_a_program_that_is_loaded_anywhere(tmp_path: Path, live: Collection) -> None:
    path = build(tmp_path, TARGET, "-O1", "-pie", "-fPIE", name="anywhere")
    probe = live.programs["probe"]
    with Running(path) as process:
        with probe.attach_usdt(str(path), "shop", "twice", pid=process.pid):
            process.do("m")
        assert Record(live).values == [1]
        if have("bpf_cookie"):
            with probe.attach_usdt(str(path), "shop", "twice"):
                process.do("M")
            assert Record(live).values == [2]
        else:
            with pytest.raises(Unsupported, match="need pid="):
                probe.attach_usdt(str(path), "shop", "twice")


def test_probes_that_newer_kernels_reach_without_a_trap(tmp_path: Path, live: Collection) -> None:
    """A nop and a long one behind it: the same is seen, whichever is probed."""
    from probee.sys import uprobe_call

    text = TARGET.replace('"990: nop\\n"', '"990: nop\\n .byte 0x0f, 0x1f, 0x44, 0, 0\\n"')
    assert text != TARGET
    path = build(tmp_path, text, "-O1", "-no-pie", name="hasty")
    (probe,) = list_probes(str(path), name="global")
    assert probe.fast == 1
    with Running(path) as process, live.programs["probe"].attach_usdt(str(path), "shop", "global") as link:
        process.do("ggg")
        assert hits(live) == 3
        assert Record(live).values == [-77, 0xFFFFFFFF & -77]
        if have("uprobe_multi"):
            (offset,) = link.info().offsets
            assert offset == probe.offset + uprobe_call.available()


def test_numbers_of_specs_are_used_again(live: Collection, target: Path) -> None:
    probe = live.programs["probe"]
    for _ in range(3):
        with probe.attach_usdt(str(target), "shop", "sale"), probe.attach_usdt(str(target), "shop", "twice"):
            pass
    from probee.kernel.links import usdt

    numbers = usdt._free[live.maps["__bpf_usdt_specs"].id]
    assert sorted(numbers.free) == list(range(numbers.next)) == [0, 1, 2]
    assert len(live.maps["__bpf_usdt_ip_to_spec_id"]) == 0


def test_programs_without_arguments_and_sections(tmp_path: Path, target: Path) -> None:
    text = f"""
ARRAY(calls, u64, 1);
SEC("usdt/{target}:shop:none") int plain(void *ctx) {{
    u32 zero = 0; u64 *n = map_lookup(&calls, &zero); if (n) *n += 1; return 0;
}}
"""
    with load(object_from_c(tmp_path, text)) as live:
        with live.programs["plain"].attach() as link, Running(target) as process:
            assert len(link.fds) == 1
            process.do("n")
        assert live.maps["calls"][0] == 1
        with pytest.raises(AttachError, match="expected BINARY:PROVIDER:NAME"):
            live.programs["plain"].attach_usdt("libc.so.6")


def test_what_is_not_there(live: Collection, target: Path) -> None:
    probe = live.programs["probe"]
    with pytest.raises(AttachError, match=r"no USDT probe shop:sail in .*did you mean shop:sale"):
        probe.attach_usdt(str(target), "shop", "sail")
    with pytest.raises(AttachError, match="has no USDT probes"):
        probe.attach_usdt("/bin/ls", "shop", "sale")
    with pytest.raises(AttachError, match="can't find"):
        probe.attach_usdt("/no/such", "shop", "sale")
    with pytest.raises(AttachError, match="no process"):
        probe.attach_usdt(str(target), "shop", "sale", pid=4194305)


def test_uprobe_multi_makes_it_one_link(live: Collection, target: Path) -> None:
    needs("uprobe_multi")
    with live.programs["probe"].attach_usdt(str(target), "shop", "twice") as link:
        assert len(link.fds) == 1
        assert link.info().type_name == "uprobe_multi"


LIBBPF = r"""
#include <stdbool.h>
#include <linux/ptrace.h>
#include <linux/bpf.h>
#include <bpf/usdt.bpf.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, int); __type(value, long); }
    found SEC(".maps");
static void put(int key, long value) { bpf_map_update_elem(&found, &key, &value, 0); }
SEC("usdt/TARGET:shop:sale")
int BPF_USDT(sale, long a, unsigned int b, long c) {
    put(0, a); put(1, b); put(2, c); put(3, bpf_usdt_arg_cnt(ctx)); put(4, bpf_usdt_cookie(ctx));
    return 0;
}
"""


def test_an_object_on_libbpfs_own_header(target: Path) -> None:
    if not Path("/usr/include/bpf/usdt.bpf.h").exists():
        pytest.skip("needs bpf/usdt.bpf.h (libbpf-dev)")
    command = [
        clang(),
        "-O2",
        "-g",
        "-target",
        "bpf",
        "-D__TARGET_ARCH_x86",
        "-I/usr/include/x86_64-linux-gnu",
    ]
    text = LIBBPF.replace("TARGET", str(target))
    made = compiled([*command, "-c", "sale.bpf.c", "-o", "sale.bpf.o"], {"sale.bpf.c": text}, "sale.bpf.o")
    with load(read_object(made, "sale")) as live:
        with live.programs["sale"].attach(cookie=6), Running(target) as process:
            process.do("a")
        found = dict(live.maps["found"].items())
        assert [found[i] for i in range(5)] == [97000, 0xFFFFFFF0, -123456789012, 8, 6]
