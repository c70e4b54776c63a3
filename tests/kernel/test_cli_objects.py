"""`probee btf`, `link`, `perf`, `struct-ops`, `iter` and `top` in the running kernel."""

from __future__ import annotations

import ast
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from c_objects import clang, compile_c
from cli_objects import FOLDER, Cli, loaded, write_object
from needs import needs
from probee.cli.owners import mounts
from probee.kernel.collection import Collection
from probee.kernel.objects import load

pytestmark = pytest.mark.root
PROBEE = [sys.executable, "-m", "probee"]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Collection]:
    with loaded(tmp_path) as collection:
        yield collection


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


# ---- BTF


def test_btf_show(live: Collection, cli: Cli) -> None:
    id = cli.json("prog", "show", "pinned", f"{FOLDER}/on_enter")["btf_id"]
    facts = cli.json("btf", "show", "id", str(id))
    assert facts["kernel"] is False
    assert set(facts["prog_ids"]) == {program.id for program in live.programs.values()}
    assert live.maps["counts"].id in facts["map_ids"]
    kernel = [one for one in cli.json("btf") if one.get("name") == "vmlinux"]
    assert "counts" in cli.text("btf", "show", "id", str(id))
    if not kernel:
        pytest.skip("this kernel gives its own types no id")
    assert [one["kernel"] for one in kernel] == [True]
    assert "[vmlinux]" in cli.text("btf")


def test_btf_dump_as_c_and_python(live: Collection, cli: Cli, tmp_path: Path) -> None:
    header = cli.text("btf", "dump", "map", "pinned", f"{FOLDER}/counts", "format", "c")
    assert "struct val {" in header
    (tmp_path / "types.c").write_text(header + "struct val one;\n")
    subprocess.run([clang(), "-target", "bpf", "-c", "types.c"], cwd=tmp_path, check=True)
    python = cli.text("btf", "dump", "map", "pinned", f"{FOLDER}/counts", "format", "python")
    ast.parse(python)
    assert "class val(Struct):" in python


def test_btf_dump_of_parts(live: Collection, cli: Cli, tmp_path: Path) -> None:
    counts = ("map", "pinned", f"{FOLDER}/counts")
    (key,) = cli.json("btf", "dump", *counts, "key")["types"]
    (value,) = cli.json("btf", "dump", *counts, "value")["types"]
    assert (key["name"], value["name"]) == ("int", "val")
    both = cli.json("btf", "dump", *counts)["types"]
    assert both == [key, value]
    every = cli.json("btf", "dump", *counts, "all")["types"]
    assert every == cli.json("btf", "dump", "prog", "pinned", f"{FOLDER}/on_enter")["types"]
    one = cli.json("btf", "dump", *counts, "all", "root_id", str(value["id"]))["types"]
    assert one == [value]
    assert "there is no type 999999" in cli.fails("btf", "dump", *counts, "all", "root_id", "999999")
    file = str(tmp_path / "seen.bpf.o")
    assert {t["name"] for t in cli.json("btf", "dump", "file", file)["types"]} >= {"val", "on_enter"}


def test_btf_dump_of_what_has_none(live: Collection, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text " * 20)
    assert "not BTF" in cli.fails("btf", "dump", "file", str(tmp_path / "text"))
    assert "No such file" in cli.fails("btf", "dump", "file", str(tmp_path / "absent"))
    assert "no BTF object with id" in cli.fails("btf", "dump", "id", "4294967295")
    assert "has no BTF" in cli.fails("btf", "dump", "map", "pinned", f"{FOLDER}/line")
    assert "no JSON of `format c`" in cli.json("btf", "dump", "id", "1", "format", "c", code=2)["error"]


# ---- links and perf events


def test_links_are_shown_pinned_and_detached(live: Collection, cli: Cli) -> None:
    needs("perf_link")
    with live.programs["on_enter"].attach() as link:
        id = str(link.id)
        facts = cli.json("link", "show", "id", id)
        assert (facts["type"], facts["prog_id"]) == ("perf_event", live.programs["on_enter"].id)
        assert f"on_enter (id {facts['prog_id']})" in cli.text("link", "show", "id", id)
        assert id in [str(one["id"]) for one in cli.json("link")]
        place = f"{FOLDER}/attached"
        cli.text("link", "pin", "id", id, place)
        assert cli.json("link", "show", "pinned", place, "-f")["pinned"] == [place]
        assert place in cli.text("-f", "link")
        assert "can't detach perf_event links" in cli.fails("link", "detach", "id", id)
        os.unlink(place)
    assert "there is no link with id" in cli.fails("link", "show", "id", "4294967295")


def test_a_link_that_can_be_detached(cli: Cli, tmp_path: Path) -> None:
    needs("link", "link_detach")
    compile_c(tmp_path, 'SEC("cgroup_skb/egress") int pass(void *ctx) { return 1; }', "cgroup")
    (root, *_) = mounts("cgroup2")
    with load(tmp_path / "cgroup.bpf.o") as live, live.programs["pass"].attach_cgroup(root) as link:
        id = str(link.id)
        assert cli.json("link", "show", "id", id)["type"] == "cgroup"
        cli.text("link", "detach", "id", id)
        assert cli.json("link", "show", "id", id)["cgroup_id"] == 0


def test_perf_lists_raw_tracepoints_of_processes(cli: Cli, tmp_path: Path) -> None:
    compile_c(tmp_path, 'SEC("raw_tp/sys_enter") int on(void *ctx) { return 0; }', "raw")
    with load(tmp_path / "raw.bpf.o") as live, live.programs["on"].attach():
        mine = [one for one in cli.json("perf") if one["pid"] == os.getpid()]
        assert [(one["fd_type"], one["tracepoint"]) for one in mine] == [("raw_tracepoint", "sys_enter")]
        assert mine[0]["prog_id"] == live.programs["on"].id
        assert "raw_tracepoint  sys_enter" in cli.text("perf")


# ---- struct_ops and iterators

CONGESTION = """
struct sock;
struct tcp_congestion_ops {
    u32 (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
    u32 (*undo_cwnd)(struct sock *sk); char name[16];
};
SEC("struct_ops/a") u32 ssthresh(u64 *ctx) { return 10; }
SEC("struct_ops/b") int cong_avoid(u64 *ctx) { return 0; }
SEC("struct_ops/c") u32 undo_cwnd(u64 *ctx) { return 10; }
SEC("SECTION") struct tcp_congestion_ops NAME = {
    .ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .undo_cwnd = (void *)undo_cwnd,
    .name = "probee_NAME",
};
"""


@pytest.mark.parametrize(("section", "name"), [(".struct_ops", "plain1"), (".struct_ops.link", "linked1")])
def test_struct_ops(cli: Cli, tmp_path: Path, section: str, name: str) -> None:
    linked = section.endswith("link")
    needs("struct_ops_link" if linked else "struct_ops")
    compile_c(tmp_path, CONGESTION.replace("SECTION", section).replace("NAME", name), name)
    path, folder = str(tmp_path / f"{name}.bpf.o"), f"{FOLDER}-ops"
    if linked:
        assert "has to be pinned" in cli.fails("struct-ops", "register", path)
    try:
        assert "registered tcp_congestion_ops" in cli.text("struct-ops", "register", path, folder)
        (facts,) = [one for one in cli.json("struct_ops") if one["name"] == name]
        assert facts["kernel_struct_ops"] == "tcp_congestion_ops"
        info, value = cli.json("struct-ops", "dump", "id", str(facts["id"]))
        assert info["bpf_map_info"]["name"] == name
        functions = value["bpf_struct_ops_tcp_congestion_ops"]["data"]
        assert re.fullmatch(r"u32 \(struct sock \*\) ssthresh/prog_id:\d+", functions["ssthresh"])
        assert functions["init"] == "void (struct sock *) 0"
        available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
        assert f"probee_{name}" in available.split()
        if linked:
            assert "`probee link detach`" in cli.fails("struct-ops", "unregister", "id", str(facts["id"]))
            cli.text("link", "detach", "pinned", f"{folder}/{name}")
        else:
            assert "unregistered" in cli.text("struct-ops", "unregister", "name", name)
        available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text()
        assert f"probee_{name}" not in available.split()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert "there is no struct_ops map with name nope" in cli.fails("struct-ops", "dump", "name", "nope")


ITERATOR = r"""
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; } CORE;
struct bpf_map;
struct bpf_iter__bpf_map_elem {
    struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; } CORE;
static long (*seq_printf)(void *, const char *, u32, const void *, u32) = (void *)126;
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx) {
    u32 *key = ctx->key;
    if (!key) return 0;
    static const char text[] = "key %u\n";
    u64 arguments[1] = { *key };
    seq_printf(ctx->meta->seq, text, sizeof text, arguments, 8);
    return 0;
}
"""


def test_iterators(live: Collection, cli: Cli, tmp_path: Path) -> None:
    needs("iter")
    compile_c(tmp_path, ITERATOR, "walk")
    path, place = str(tmp_path / "walk.bpf.o"), f"{FOLDER}/walk"
    live.maps["counts"].update({3: {}})
    counts = ("map", "pinned", f"{FOLDER}/counts")
    assert cli.json("iter", "read", path, *counts) == ["key 3"]
    assert cli.text("iter", "pin", path, place, *counts) == ""
    assert Path(place).read_text() == "key 3\n"
    assert cli.json("link", "show", "pinned", place)["target_name"] == "bpf_map_elem"
    os.unlink(place)
    assert "has no iterators" in cli.fails("iter", "read", str(write_object(tmp_path)))


# ---- top


def test_top_counts_programs(live: Collection, cli: Cli) -> None:
    caller = "import os, time\nwhile True: os.getppid(); time.sleep(0.001)"
    with live.programs["on_enter"].attach(), subprocess.Popen([sys.executable, "-c", caller]) as calls:
        text = cli.text("top", "-n", "1", "-i", "0.5")
        line = json.loads(cli.text("top", "-n", "1", "-i", "0.5", "--json"))
        calls.kill()
    heads = text.splitlines()[1].split()
    assert heads[:4] == ["ID", "TYPE", "NAME", "CPU"]
    (mine,) = [one for one in line["programs"] if one["id"] == live.programs["on_enter"].id]
    assert mine["events_per_second"] > 10
    assert 0 < mine["ns_per_run"] < 1e6
    assert 0 < mine["cpu_percent"] < 100
    order = [one["cpu_percent"] for one in line["programs"]]
    assert order == sorted(order, reverse=True)


def test_top_in_a_terminal_gives_it_back(live: Collection) -> None:
    """Ctrl-C, and `q`: the screen and the terminal's modes are as they were."""
    for end in (b"\x03", b"q"):
        leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (24, 80))
        before = termios.tcgetattr(follower)
        with subprocess.Popen(
            [*PROBEE, "top", "-i", "0.2"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=_take_terminal,
        ) as process:
            out = _until(leader, b"on_enter")
            os.write(leader, b"n")
            out += _until(leader, b"by name")
            os.write(leader, end)
            out += _until(leader, b"\x1b[?1049l")
            assert process.wait(10) == 0
        assert termios.tcgetattr(follower) == before
        assert out.count(b"\x1b[?1049h") == out.count(b"\x1b[?1049l") == 1
        assert b"Traceback" not in out
        os.close(leader)
        os.close(follower)


def _take_terminal() -> None:
    import fcntl

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _until(fd: int, text: bytes) -> bytes:
    data = b""
    end = time.monotonic() + 20
    while text not in data and time.monotonic() < end:
        if select.select([fd], [], [], 0.5)[0]:
            data += os.read(fd, 65536)
    assert text in data, data
    return data


# ---- at the edges


def test_a_reader_that_leaves_is_no_failure() -> None:
    words = [*PROBEE, "btf", "dump", "file", "/sys/kernel/btf/vmlinux"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""


def test_without_rights_it_says_which_are_missing() -> None:
    drop = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    if not shutil.which(drop[0]):
        pytest.skip("needs setpriv")
    for noun in ("prog", "map", "link", "btf", "perf", "struct-ops", "top"):
        done = subprocess.run([*drop, *PROBEE, noun], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, ""), noun
        assert "needs CAP_SYS_ADMIN" in done.stderr
        assert "sudo" in done.stderr
        assert done.stderr.count("\n") == 1


def test_ctrl_c_in_a_long_command(live: Collection) -> None:
    words = [*PROBEE, "prog", "profile", "id", str(live.programs["on_enter"].id)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "until Ctrl-C" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "runs" in out
    assert err == ""
