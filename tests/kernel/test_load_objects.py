"""What objects of clang may hold, by what it does in the kernel."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from c_objects import compile_c, compile_file, object_from_c
from conftest import REPO
from probee.btf import BtfBuilder, kernel_btf
from probee.btf.kinds import VAR
from probee.errors import LoadError, ObjectError, Unsupported, VerifierError
from probee.kernel.each import load_each
from probee.kernel.features import ask, have
from probee.kernel.load import load
from probee.kernel.maps import Map
from probee.obj import ObjectSpec, read_object
from probee.sys import kernel as current_kernel

pytestmark = pytest.mark.root
BPFFS = Path("/sys/fs/bpf")


def needs(feature: str) -> None:
    answer = ask(feature)
    if not answer:
        pytest.skip(f"this kernel has no {feature} {answer.detail}")


@pytest.fixture
def folder() -> Iterator[Path]:
    if not os.path.ismount(BPFFS):
        pytest.skip(f"no bpffs is mounted at {BPFFS}")
    path = BPFFS / f"probee-objects-{os.getpid()}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


def fixture(directory: Path, name: str) -> Path:
    """A compiled fixture of the comparison with libbpf."""
    path = directory / f"{name}.bpf.o"
    path.write_bytes(compile_file(REPO / f"tests/differential/objects/{name}.bpf.c"))
    return path


def run(program: Any, data: bytes = bytes(14)) -> int:
    """The return value of a test run, signed."""
    value: int = program.test_run(data).retval
    return (value ^ 1 << 31) - (1 << 31)


# ---- the way in


COUNTER = """
u64 hits; const volatile u32 step = 1;
HASH(seen, u32, u64, 8);
SEC("xdp") int tick(void *ctx) { hits += step; count(&seen, 7); return 2; }
SEC("?xdp") int spare(void *ctx) { return 1; }
"""


def test_load_from_a_path_bytes_and_a_spec(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER, "counter")
    path = tmp_path / "counter.bpf.o"
    for source in (path, str(path), path.read_bytes(), spec):
        with bp.load(source, values={"step": 3}) as live:
            assert list(live.programs) == ["tick"]
            assert run(live.programs["tick"]) == 2
            assert live.globals.hits == 3
            assert live.maps["seen"][7] == 1
    with bp.load(path, programs=["spare"]) as live:
        assert run(live.programs["spare"]) == 1


def test_values_are_checked(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER + "char text[8] = {1};", "counter")
    with pytest.raises(LoadError, match="no global 'nothing'"):
        bp.load(spec, values={"nothing": 1})
    with bp.load(spec, values={"text": b"hello", "hits": 40}) as live:
        assert live.globals.text == "hello"
        run(live.programs["tick"])
        assert live.globals.hits == 41


def test_a_program_is_loaded_as_another_kind(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, 'SEC("whatever") int f(void *ctx) { return 2; }')
    with pytest.raises(LoadError, match="names no kind of program"):
        bp.load(spec)
    with bp.load(spec, sections={"f": "tc"}) as live:
        assert (live.programs["f"].type, live.programs["f"].kind) == (3, "tc")
    with pytest.raises(ObjectError, match="names no kind"):
        bp.load(spec, sections={"f": "nothing"})
    with pytest.raises(ObjectError, match="there is no program g"):
        bp.load(spec, sections={"g": "tc"})


def test_section_names_of_other_loaders(tmp_path: Path) -> None:
    text = """
    SEC("xdp_drop") int a(void *ctx) { return 1; }
    SEC("classifier/ingress") int b(void *ctx) { return 0; }
    SEC("prog") int c(void *ctx) { return 1; }
    SEC("socket1") int d(void *ctx) { return 0; }
    """
    object_from_c(tmp_path, text, "loose")
    with bp.load(tmp_path / "loose.bpf.o", lenient=True) as live:
        assert {n: p.type for n, p in live.programs.items()} == {"a": 6, "b": 3, "c": 6, "d": 1}
    with pytest.raises(LoadError):
        bp.load(tmp_path / "loose.bpf.o")


def test_maps_from_before_btf(tmp_path: Path) -> None:
    """`struct bpf_map_def` in a section `maps`, and iproute2's, with programs whose section names a slot."""
    text = """
    struct bpf_map_def { u32 type, key_size, value_size, max_entries, map_flags; };
    struct bpf_map_def SEC("maps") counts = { .type = 1, .key_size = 4, .value_size = 8, .max_entries = 9 };
    SEC("xdp") int tick(void *ctx) { count(&counts, 3); return 1; }
    """
    compile_c(tmp_path, text, "old")
    with bp.load(tmp_path / "old.bpf.o", lenient=True) as live:
        run(live.programs["tick"])
        assert live.maps["counts"].snapshot() == {3: 1}
    text = """
    struct bpf_elf_map { u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx; };
    struct bpf_elf_map SEC("maps") jumps = {
        .type = 3, .size_key = 4, .size_value = 4, .max_elem = 3, .id = 5
    };
    SEC("5/0x2") int inside(void *ctx) { return 42; }
    SEC("classifier") int start(void *ctx) { tail_call(ctx, &jumps, 2); return 1; }
    """
    compile_c(tmp_path, text, "tc")
    with bp.load(tmp_path / "tc.bpf.o", lenient=True) as live:
        assert run(live.programs["start"]) == 42


def test_the_log_is_kept_on_demand(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER)
    with bp.load(spec) as live:
        assert live.programs["tick"].log == ""
    with bp.load(spec, log_level=1) as live:
        assert live.programs["tick"].log.startswith("processed ")
    with bp.load(spec, log_level=2) as live:
        assert "exit" in live.programs["tick"].log


# ---- programs


def test_each_program_by_itself(tmp_path: Path) -> None:
    text = """
    HASH(seen, u32, u64, 8);
    SEC("xdp") int good(void *ctx) { count(&seen, 1); return 1; }
    SEC("xdp") int bad(void *ctx) { return *(int *)((long)ctx + 4000); }
    SEC("?socket") int spare(void *ctx) { return 0; }
    SEC("mystery") int unknown(void *ctx) { return 0; }
    """
    object_from_c(tmp_path, text)
    verdicts = load_each(tmp_path / "program.bpf.o")
    assert [v.name for v in verdicts] == ["good", "bad", "spare", "unknown"]
    good, bad, spare, unknown = (v.as_dict() for v in verdicts)
    assert (good["section"], good["type"]) == ("xdp", "xdp")
    assert len(good["tag"]) == 16
    assert good["insns"] > 10
    assert bad["error"] == "VerifierError"
    assert "the verifier refuses bad" in bad["message"]
    assert (spare["section"], spare["type"], spare["insns"]) == ("socket", "socket_filter", 2)
    assert unknown["error"] == "LoadError"
    with bp.load(tmp_path / "program.bpf.o", programs=["good"]) as live:
        assert live.programs["good"].tag == good["tag"]


def test_a_map_that_fails_is_the_verdict_on_all(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER)
    spec.maps["seen"].max_entries = 0
    verdicts = load_each(spec)
    assert [v.as_dict()["error"] for v in verdicts] == ["MapError", "MapError"]


def test_an_extension_replaces_a_function_of_its_target(tmp_path: Path) -> None:
    needs("freplace")
    target = object_from_c(
        tmp_path,
        """__attribute__((noinline)) int inner(int x) { asm volatile(""); return x + 1; }
        SEC("xdp") int outer(u32 *ctx) { return inner(1); }""",
        "target",
    )
    patch = object_from_c(tmp_path, 'SEC("freplace/inner") int better(int x) { return x + 40; }', "patch")
    with pytest.raises(LoadError, match="needs a BPF program to attach to"):
        load(patch)
    with load(target) as live:
        patch.programs["better"].target = live.programs["outer"]
        with load(patch) as fix:
            assert run(live.programs["outer"]) == 2
            with fix.programs["better"].attach():
                assert run(live.programs["outer"]) == 41
        patch.programs["better"].attach_to = "nothing"
        with pytest.raises(LoadError, match="has no function nothing"):
            load(patch)


def test_attaching_all_that_says_to_what(tmp_path: Path) -> None:
    text = """
    u64 hits; u64 others;
    SEC("raw_tp/sys_enter") int a(void *ctx) { __sync_fetch_and_add(&hits, 1); return 0; }
    SEC("tracepoint/syscalls/sys_enter_getppid")
    int b(void *ctx) { __sync_fetch_and_add(&others, 1); return 0; }
    SEC("xdp") int not_by_itself(void *ctx) { return 2; }
    """
    object_from_c(tmp_path, text)
    with bp.load(tmp_path / "program.bpf.o") as live:
        links = live.attach()
        assert sorted(links) == ["a", "b"]
        os.getppid()
        assert live.globals.hits > 0
        assert live.globals.others == 1
        assert live.attach() == {}  # all are attached
    assert all(link.closed for link in links.values())


def test_a_failure_undoes_what_was_attached(tmp_path: Path) -> None:
    text = """
    SEC("raw_tp/sys_enter") int a(void *ctx) { return 0; }
    SEC("raw_tp/no_such_event") int b(void *ctx) { return 0; }
    """
    object_from_c(tmp_path, text)
    with bp.load(tmp_path / "program.bpf.o") as live:
        with pytest.raises(bp.AttachError):
            live.attach()
        assert live.links == {}


# ---- maps


def test_switched_off_maps(tmp_path: Path) -> None:
    """A program that can reach a map which is not there is refused, one that can't is not."""
    text = """
    const volatile bool wanted = 1;
    HASH(seen, u32, u64, 8);
    SEC("xdp") int tick(void *ctx) { if (wanted) count(&seen, 1); return 2; }
    """.replace("bool", "_Bool")
    object_from_c(tmp_path, text)
    spec = read_object(tmp_path / "program.bpf.o")
    spec.maps["seen"].autocreate = False
    with load(spec, values={"wanted": False}) as live:
        assert "seen" not in live.maps
        assert run(live.programs["tick"]) == 2
    with pytest.raises(VerifierError, match="map seen was not created") as refused:
        load(spec)
    assert "invalid func unknown#200100000" in refused.value.log


def test_maps_that_exist_are_used(tmp_path: Path, folder: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER)
    with load(spec) as first:
        run(first.programs["tick"])
        seen = first.maps["seen"]
        seen.pin(folder / "seen")
        for given in (seen, seen.fd, folder / "seen", str(folder / "seen")):
            with bp.load(spec, maps={"seen": given}) as second:
                assert second.maps["seen"].id == seen.id
                assert second.maps["seen"].fd != seen.fd
                run(second.programs["tick"])
        assert seen[7] == 5
        with pytest.raises(LoadError, match="can't be map seen: its type is 2, not 1"):
            bp.load(spec, maps={"seen": first.maps[".bss"]})
        with pytest.raises(LoadError, match="has no map 'other'"):
            bp.load(spec, maps={"other": seen})
        with pytest.raises(LoadError, match="No such file"):
            bp.load(spec, maps={"seen": folder / "nothing"})


def test_data_maps_are_shared(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, COUNTER)
    with load(spec) as first, bp.load(spec, maps={".bss": first.maps[".bss"]}) as second:
        run(first.programs["tick"])
        run(second.programs["tick"])
        assert first.globals.hits == second.globals.hits == 2


PINNED = """
struct { __uint(type, 1); __uint(max_entries, 8); __type(key, u32); __type(value, u64); __uint(pinning, 1); }
    kept SEC(".maps");
SEC("xdp") int tick(void *ctx) { count(&kept, 1); return 2; }
"""


def test_pinning_by_name(tmp_path: Path, folder: Path) -> None:
    spec = object_from_c(tmp_path, PINNED)
    root = folder / "deep"
    for times in (1, 2):
        with bp.load(spec, pin_root=root) as live:
            run(live.programs["tick"])
            assert live.maps["kept"][1] == times  # the second load goes on with the first one's map
    assert (root / "kept").exists()
    spec.maps["kept"].max_entries = 16
    with pytest.raises(LoadError, match=r"its max_entries is 8, not 16; remove it \(rm .*/kept\)"):
        bp.load(spec, pin_root=root)
    spec.maps["kept"].max_entries = 8
    spec.maps["kept"].flags = 1
    with pytest.raises(LoadError, match="its flags is 0, not 1"):
        bp.load(spec, pin_root=root)


def test_a_failed_load_leaves_no_pin(tmp_path: Path, folder: Path) -> None:
    text = PINNED + 'SEC("xdp") int bad(void *ctx) { return *(int *)((long)ctx + 4000); }'
    spec = object_from_c(tmp_path, text)
    with pytest.raises(VerifierError):
        bp.load(spec, pin_root=folder)
    assert not list(folder.iterdir())
    assert len(load_each(spec)) == 2
    assert not (BPFFS / "kept").exists()  # looking at an object pins nothing


def test_pinning_everything(tmp_path: Path, folder: Path) -> None:
    with bp.load(object_from_c(tmp_path, COUNTER, "counter")) as live:
        live.pin(folder / "all")
        names = {path.name for path in (folder / "all").iterdir()}
        assert names == {"tick", "seen", "counter_bss", "counter_rodata"}
        with pytest.raises(bp.AttachError):
            live.pin(folder / "all")  # the names are taken
        ids = live.maps["seen"].id, live.programs["tick"].id
    with Map.open(live.maps["seen"]._kernel.obj_get(str(folder / "all" / "seen"))) as seen:
        assert seen.id == ids[0]
    (folder / "other").mkdir()
    (folder / "other" / "tick").mkdir()
    with bp.load(object_from_c(tmp_path, COUNTER, "counter")) as live, pytest.raises(bp.AttachError):
        live.pin(folder / "other")
    assert [path.name for path in (folder / "other").iterdir()] == ["tick"]  # all or nothing


def test_sizes_are_changed_before_loading(tmp_path: Path) -> None:
    """A data map grows by its last array, and its type with it."""
    text = """
    HASH(seen, u32, u64, 8);
    struct item { u32 a; u32 b; };
    u32 length SEC(".data.items") = 1;
    struct item items[1] SEC(".data.items") = {};
    SEC("xdp") int tick(void *ctx) {
        u32 at = length - 1;
        if (at < 100) items[at].b = 5;
        return seen.max_entries ? 1 : 2;
    }
    """.replace("return seen.max_entries ? 1 : 2;", "count(&seen, 1); return 2;")
    spec = object_from_c(tmp_path, text)
    spec.maps["seen"].max_entries = 3
    size = spec.maps[".data.items"].value_size
    spec.resize(".data.items", size + 99 * 8)
    with load(spec, values={"length": 100}) as live:
        assert live.maps["seen"].max_entries == 3
        run(live.programs["tick"])
        items = live.globals["items"]
        assert len(items) == 100
        assert items[99].b == 5
        assert live.maps[".data.items"].info().btf_id
    with pytest.raises(ObjectError, match="is not made of whole elements"):
        spec.resize(".data.items", size + 7)


def takes_exclusive_maps() -> bool:
    kernel = current_kernel()
    try:
        kernel.close(kernel.map_create(1, 4, 4, 1, exclusive_hash=bytes(32)))
    except OSError:
        return False
    return True


def test_an_exclusive_map_is_for_one_program(tmp_path: Path) -> None:
    text = COUNTER + 'SEC("xdp") int other(void *ctx) { count(&seen, 8); return 2; }'
    text = text.replace("u64 hits;", "u64 before = 1; u64 hits = 1;").replace(
        "hits += step", "hits += before++"
    )
    spec = object_from_c(tmp_path, text)
    spec.maps["seen"].exclusive_to = "tick"
    if not takes_exclusive_maps():
        with pytest.raises(bp.MapError):
            load(spec, programs=["tick"])
        pytest.skip("this kernel has no exclusive maps (Linux 6.18)")
    with load(spec, programs=["tick"]) as live:
        run(live.programs["tick"])
        assert live.maps["seen"][7] == 1
    with pytest.raises(LoadError):
        load(spec, programs=["other"])
    spec.maps["seen"].exclusive_to = "nobody"
    with pytest.raises(LoadError, match="which does not exist"):
        load(spec, programs=["tick"])


def test_arena_variables(tmp_path: Path) -> None:
    needs("arena")
    output = fixture(tmp_path, "arena")
    with bp.load(output, values={"counter": 20}) as live:
        assert list(live.globals.table) == [1, 2, 3]
        assert live.programs["use"].test_run().retval == 21
        assert live.globals.counter == 21
        assert list(live.globals.table) == [1, 21, 3]
        live.globals.counter = 50
        assert live.programs["use"].test_run().retval == 51
        values = struct.unpack_from("=24xI", live.maps["arena"].memory, live.arena_offset)
        assert 51 in (values[0], *struct.unpack_from("=I", live.maps["arena"].memory, live.arena_offset))


def test_ring_buffers_get_a_size_that_the_kernel_takes(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, "RINGBUF(ring, 5000);\n" + COUNTER)) as live:
        assert live.maps["ring"].max_entries == max(8192, os.sysconf("SC_PAGE_SIZE"))


# ---- struct_ops


CONGESTION = """
struct sock;
struct tcp_congestion_ops___v1 {
    u32 (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
    void (*init)(struct sock *sk); u32 (*undo_cwnd)(struct sock *sk); u32 flags; char name[16];
    u64 not_in_this_kernel;
};
u64 inits;
SEC("struct_ops/a") u32 ssthresh(u64 *ctx) { return 10; }
SEC("struct_ops/b") int cong_avoid(u64 *ctx) { return 0; }
SEC("struct_ops/c") int init(u64 *ctx) { __sync_fetch_and_add(&inits, 1); return 0; }
SEC("struct_ops/d") u32 undo_cwnd(u64 *ctx) { return 10; }
SEC("?struct_ops/e") int second_init(u64 *ctx) { __sync_fetch_and_add(&inits, 100); return 0; }
SEC("SECTION") struct tcp_congestion_ops___v1 control = {
    .ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .init = (void *)init,
    .undo_cwnd = (void *)undo_cwnd, .name = "probee_NAME",
};
"""


def congestion(tmp_path: Path, section: str, name: str) -> ObjectSpec:
    return object_from_c(tmp_path, CONGESTION.replace("SECTION", section).replace("NAME", name), name)


def use_congestion_control(name: str) -> str:
    """Set it on a socket, and say which one the socket has then."""
    with socket.socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, 13, name.encode())  # TCP_CONGESTION
        return s.getsockopt(socket.IPPROTO_TCP, 13, 16).rstrip(b"\0").decode()


@pytest.mark.parametrize(("section", "name"), [(".struct_ops.link", "linked"), (".struct_ops", "plain")])
def test_a_congestion_control(tmp_path: Path, section: str, name: str) -> None:
    needs("struct_ops_link" if section.endswith("link") else "struct_ops")
    spec = congestion(tmp_path, section, name)
    with bp.load(spec) as live:
        assert sorted(live.programs) == ["cong_avoid", "init", "ssthresh", "undo_cwnd"]
        with pytest.raises(FileNotFoundError):
            use_congestion_control(f"probee_{name}")
        links = live.attach()
        assert list(links) == ["control"]
        assert use_congestion_control(f"probee_{name}") == f"probee_{name}"
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.setsockopt(socket.IPPROTO_TCP, 13, f"probee_{name}".encode())
            before = live.globals.inits
            client.connect(server.getsockname())
            assert live.globals.inits == before + 1
    with pytest.raises(FileNotFoundError):
        use_congestion_control(f"probee_{name}")


def test_members_are_set_before_loading(tmp_path: Path) -> None:
    needs("struct_ops_link")
    spec = congestion(tmp_path, ".struct_ops.link", "set")
    control = spec.maps["control"].struct_ops
    assert control is not None
    assert control["init"] == "init"
    assert control["name"] == "probee_set"
    control["name"] = "probee_other"
    control["init"] = "second_init"
    with bp.load(spec) as live:
        assert sorted(live.programs) == ["cong_avoid", "second_init", "ssthresh", "undo_cwnd"]
        live.attach()
        assert use_congestion_control("probee_other") == "probee_other"
    control["not_in_this_kernel"] = 1
    with pytest.raises(LoadError, match="this kernel has no member not_in_this_kernel"):
        bp.load(spec)
    control["not_in_this_kernel"] = 0
    control["init"] = "nobody"
    with pytest.raises(LoadError, match="member init is nobody, no struct_ops program"):
        bp.load(spec)


def test_struct_ops_that_are_not_made_by_themselves(tmp_path: Path) -> None:
    needs("struct_ops")
    spec = congestion(tmp_path, "?.struct_ops", "off")
    with bp.load(spec) as live:
        assert live.programs == {}  # they would have no use
        assert live.struct_ops == {}
    spec.maps["control"].autocreate = True
    with bp.load(spec) as live:
        assert len(live.programs) == 4


def test_a_struct_the_kernel_does_not_know(tmp_path: Path) -> None:
    text = """
    struct no_such_ops { int (*f)(void); };
    SEC("struct_ops/f") int f(u64 *ctx) { return 0; }
    SEC(".struct_ops") struct no_such_ops ops = { .f = (void *)f };
    """
    with pytest.raises(LoadError, match="this kernel has no struct_ops no_such_ops"):
        load(object_from_c(tmp_path, text))


# ---- names of the kernel


def config() -> dict[str, str]:
    for path in (f"/boot/config-{os.uname().release}", "/proc/config.gz"):
        try:
            data = Path(path).read_bytes()
        except OSError:
            continue
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        return dict(line.split("=", 1) for line in text.decode().splitlines() if line.startswith("CONFIG_"))
    pytest.skip("the kernel does not tell its configuration (CONFIG_IKCONFIG_PROC)")


KCONFIG = """
#define KCONFIG __attribute__((section(".kconfig")))
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };
extern unsigned LINUX_KERNEL_VERSION KCONFIG; extern _Bool LINUX_HAS_BPF_COOKIE KCONFIG;
extern _Bool CONFIG_BPF_SYSCALL KCONFIG; extern int CONFIG_HZ KCONFIG; extern char CONFIG_NET KCONFIG;
extern enum libbpf_tristate CONFIG_BPF KCONFIG; extern char CONFIG_CC_VERSION_TEXT[9] KCONFIG;
extern u64 CONFIG_NO_SUCH KCONFIG __attribute__((weak));
u64 out[8]; char text[9];
SEC("xdp") int ask(void *ctx) {
    out[0] = LINUX_KERNEL_VERSION; out[1] = LINUX_HAS_BPF_COOKIE; out[2] = CONFIG_BPF_SYSCALL;
    out[3] = CONFIG_HZ; out[4] = CONFIG_NET; out[5] = CONFIG_BPF; out[6] = CONFIG_NO_SUCH;
    for (int i = 0; i < 9; i++) text[i] = CONFIG_CC_VERSION_TEXT[i];
    return 2;
}
"""


def test_values_of_the_kernel_s_configuration(tmp_path: Path) -> None:
    known = config()
    with load(object_from_c(tmp_path, KCONFIG)) as live:
        run(live.programs["ask"])
        major, minor = (int(word) for word in os.uname().release.split(".")[:2])
        out = list(live.globals.out)
        assert out[0] >> 8 == major << 8 | minor
        assert out[1] == have("bpf_cookie")
        assert out[2:7] == [1, int(known["CONFIG_HZ"]), ord("y"), 1, 0]
        expected = known["CONFIG_CC_VERSION_TEXT"].strip('"').encode()[:8]
        assert live.globals.text == expected.decode()
    given = 'CONFIG_HZ=7\nCONFIG_NET=m\nCONFIG_NO_SUCH=0x10\nCONFIG_CC_VERSION_TEXT="x"\n'
    with load(object_from_c(tmp_path, KCONFIG), kconfig=given) as live:
        run(live.programs["ask"])
        assert list(live.globals.out)[3:7] == [7, ord("m"), 1, 16]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("CONFIG_HZ=y", "CONFIG_HZ is y in this kernel, which is no value for a number"),
        ("CONFIG_HZ=0x100000000", "too large for 4 bytes"),
        ("CONFIG_BPF_SYSCALL=m", "no value for a bool"),
        ("CONFIG_CC_VERSION_TEXT=5", "no value for a text"),
        ("CONFIG_HZ=abc", "no number"),
    ],
)
def test_values_that_do_not_fit(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(LoadError, match=message):
        load(object_from_c(tmp_path, KCONFIG), kconfig=given)


def test_types_that_no_value_has(tmp_path: Path) -> None:
    text = 'struct pair { int a, b; }; extern struct pair CONFIG_HZ __attribute__((section(".kconfig")));'
    with pytest.raises(ObjectError, match="CONFIG_HZ is a struct; values of the kernel's configuration are"):
        object_from_c(tmp_path, text + 'SEC("xdp") int f(void *ctx) { return CONFIG_HZ.b; }')


def test_variables_of_the_kernel(tmp_path: Path) -> None:
    """A per-CPU variable by type: the number of the CPU in each run queue."""
    symbols = Path("/proc/kallsyms").read_text()
    if " runqueues\n" not in symbols:
        pytest.skip("this kernel does not tell where its variables are (CONFIG_KALLSYMS_ALL)")
    if kernel_btf().find("runqueues", VAR) is None:
        pytest.skip("this kernel's BTF has no variables")
    text = """
    static void *(*per_cpu_ptr)(const void *, u32) = (void *)153;
    struct rq { int cpu; } CORE;
    extern const struct rq runqueues __attribute__((section(".ksyms")));
    extern const int no_such_variable __attribute__((section(".ksyms"), weak));
    int second = -1;
    SEC("xdp") int f(void *ctx) {
        const struct rq *rq = per_cpu_ptr(&runqueues, CPU);
        if (&no_such_variable) return 99;
        second = rq ? rq->cpu : -2;
        return 2;
    }
    """
    last = sorted(os.sched_getaffinity(0))[-1]
    with load(object_from_c(tmp_path, text.replace("CPU", str(last)))) as live:
        assert run(live.programs["f"]) == 2
        assert live.globals.second == last
    wrong = text.replace("extern const struct rq runqueues", "extern const int runqueues").replace("CPU", "0")
    wrong = wrong.replace("const struct rq *rq", "const int *rq").replace("rq->cpu", "*rq")
    with pytest.raises(LoadError, match="variable runqueues of this kernel has another type"):
        load(object_from_c(tmp_path, wrong))
    missing = text.replace("runqueues", "no_such_queues").replace("CPU", "0")
    with pytest.raises(LoadError, match="this kernel has no variable no_such_queues"):
        load(object_from_c(tmp_path, missing))


def test_functions_of_the_kernel(tmp_path: Path) -> None:
    needs("rcu_kfuncs")
    text = """
    #define KSYM __attribute__((section(".ksyms")))
    struct task_struct { int pid; } CORE;
    extern struct task_struct *bpf_task_from_pid___flavoured(s32 pid) KSYM;
    extern void bpf_task_release(struct task_struct *p) KSYM;
    extern int bpf_no_such_function(int x) KSYM __attribute__((weak));
    extern int bpf_task_release___other(int x, int y) KSYM __attribute__((weak));
    int found = -1, missing = -1, other = -1;
    SEC("syscall") int f(void *ctx) {
        struct task_struct *task = bpf_task_from_pid___flavoured(2);
        missing = bpf_no_such_function ? bpf_no_such_function(1) : 0;
        other = bpf_task_release___other ? bpf_task_release___other(1, 2) : 0;
        if (!task) return 1;
        found = task->pid;
        bpf_task_release(task);
        return 0;
    }
    """
    with load(object_from_c(tmp_path, text)) as live:
        assert live.programs["f"].test_run().retval == 0
        assert (live.globals.found, live.globals.missing, live.globals.other) == (2, 0, 0)  # kthreadd
    strong = text.replace(" KSYM __attribute__((weak))", " KSYM")
    with pytest.raises(
        LoadError, match=r"no kfunc bpf_no_such_function|kfunc bpf_task_release of this kernel has"
    ):
        load(object_from_c(tmp_path, strong))


def test_types_from_a_file_decide_in_core(tmp_path: Path) -> None:
    """For kernels that ship no BTF: raw BTF, the section of an ELF file, or a Btf."""
    text = """
    struct made_up { long a; int b; } CORE;
    int at = -1;
    SEC("xdp") int f(void *ctx) { at = __builtin_preserve_field_info(((struct made_up *)0)->b, 0); return 2; }
    """
    spec = object_from_c(tmp_path, text)
    other = BtfBuilder()
    number, long_ = other.int_("int", 4), other.int_("long", 8)
    other.struct("made_up", 48, [("b", number, 40 * 8), ("a", long_, 0)])
    plain = tmp_path / "types.btf"
    plain.write_bytes(other.build())
    empty = tmp_path / "empty.o"
    subprocess.run(["gcc", "-c", "-xc", "/dev/null", "-o", str(empty)], check=True)
    image = tmp_path / "vmlinux"
    subprocess.run(["objcopy", "--add-section", f".BTF={plain}", str(empty), str(image)], check=True)
    for source in (plain, image, str(plain)):
        with bp.load(spec, btf=source) as live:
            run(live.programs["f"])
            assert live.globals.at == 40
    with pytest.raises(ObjectError, match=r"has no section \.BTF"):
        bp.load(spec, btf=empty)
    assert load_each(spec, btf=plain)[0].error is None
    with pytest.raises(VerifierError, match="made_up"):
        bp.load(spec)


def test_signatures(tmp_path: Path) -> None:
    """A signature is handed over; that of nobody is refused, by a kernel that looks at it."""
    spec = object_from_c(tmp_path, 'SEC("xdp") int f(void *ctx) { return 2; }')
    spec.programs["f"].signature = b"\x30\x03\x02\x01\x05"
    with pytest.raises(LoadError, match="program f"):
        load(spec).close()


# ---- jump tables


def test_jump_tables(tmp_path: Path) -> None:
    output = fixture(tmp_path, "jump_tables")
    spec = read_object(output)
    tables = spec.programs["choose"].link().jump_tables
    if not tables:
        pytest.skip("this clang makes no jump tables (22 does)")
    if not have("insn_array"):
        with pytest.raises(Unsupported, match="compile with -fno-jump-tables"):
            load(spec)
        pytest.skip("this kernel has no insn_array")
    with load(spec) as live:
        live.programs["choose"].test_run()
