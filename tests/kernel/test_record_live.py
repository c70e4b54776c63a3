"""Recordings made in the running kernel, and replayed without privileges to the same."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import probee as bp
from c_objects import compile_c
from probee import u32, u64
from probee.record.file import Recording
from probee.record.live import record
from probee.record.replay import replay

pytestmark = pytest.mark.root

TOOLS = Path(bp.__file__).parent / "tools"

# Replays all files given in a process without rights, and says what it saw.
UNPRIVILEGED = """
import json, os, sys
files = [open(path, "rb").read() for path in sys.argv[1:]]
import probee.record.replay, probee.machine.helpers.table, probee.btf.shipped
probee.btf.shipped.shipped_btf()
probee.machine.helpers.table.all_helpers()
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
from probee.record.file import Recording
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
out = {"rights": int(status["CapEff"], 16)}
for path, data in zip(sys.argv[1:], files):
    with probee.record.replay.replay(Recording.from_bytes(data)) as run:
        differences = [str(d) for d in run.run()]
        records = {name: len(found) for name, found in run.events.items()}
        out[path] = [differences, len(run.recording), records, run.whole]
print(json.dumps(out))
"""


def work() -> None:
    """Something for every tool to see."""
    for _ in range(3):
        subprocess.run(["/bin/true"], check=True)
    Path("/etc/hostname").read_bytes()
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client:
        server.accept()[0].close()
        client.recv(1)
    time.sleep(0.1)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A recording of each tool."""
    folder = tmp_path_factory.mktemp("recordings")

    def write() -> None:
        work()
        with open(folder / "data", "wb") as file:
            file.write(os.urandom(1 << 16))
            os.fsync(file.fileno())

    paths = {}
    for tool in ("execsnoop", "opensnoop", "runqlat", "biolatency", "syscount", "tcpstates"):
        made = record(TOOLS / f"{tool}.py", workload=write, count=3000)
        paths[tool] = str(folder / f"{tool}.probee")
        made.save(paths[tool])
    return paths


def test_the_tools_replay_without_rights_to_the_same(tools: dict[str, str]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED, *tools.values()], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen.pop("rights") == 0
    for tool, path in tools.items():
        differences, invocations, records, _ = seen[path]
        assert not differences, tool
        if tool != "biolatency":  # there may be no disk
            assert invocations >= 3, tool
        if tool in ("execsnoop", "tcpstates"):
            assert sum(records.values()) == len(Recording.open(path).invocations()), tool


def test_a_tool_is_recorded_as_a_whole(tools: dict[str, str]) -> None:
    for path in tools.values():
        made = Recording.open(path)
        assert not any(t.partial for t in made.programs), path
        assert made.release == os.uname().release
        assert not made.dropped


def test_execs_by_name(tools: dict[str, str]) -> None:
    with replay(tools["execsnoop"]) as run:
        assert run.run() == []
        assert [e.filename for e in run.read("execs")].count("/bin/true") >= 3


def test_a_changed_result_is_a_difference(tools: dict[str, str]) -> None:
    made = Recording.open(tools["tcpstates"])
    made.all[1].result = 7
    made.objects[0].events["changes"][0] = b"\0" * len(made.objects[0].events["changes"][0])
    with replay(made) as run:
        first, *rest = run.run()
    assert first.where == 1
    assert "returned 0, in the kernel 7" in str(first)
    assert any("changes: " in str(d) and "1 of these differ" in str(d) for d in rest)


def test_it_can_start_in_the_middle(tools: dict[str, str]) -> None:
    with replay(tools["execsnoop"], engine="step") as run:
        run.seek(2)
        assert len(run.read("execs")) == 2
        program, context, cpu = run.start(2)
        assert run.machine.run(program, context, cpu=cpu) == 0
        with pytest.raises(bp.ProbeeError, match="invocation 0 is over"):
            run.seek(0)


def test_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "run.probee"
    recorder = subprocess.Popen(
        [sys.executable, "-m", "probee", "record", "execsnoop", "-o", out, "--count", "2", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    while recorder.poll() is None:
        subprocess.run(["/bin/true"], check=True)
        time.sleep(0.02)
    assert recorder.stdout is not None
    said = json.loads(recorder.stdout.read())
    recorder.stdout.close()
    assert said["invocations"] == {"on_exec": 2}
    command = [sys.executable, "-m", "probee", "replay", str(out)]
    again = subprocess.run([*command, "--json"], capture_output=True, text=True)
    assert again.returncode == 0, again.stdout
    facts = json.loads(again.stdout)
    assert facts["results"] == [0, 0]
    assert len(facts["events"]["execs"]) == 2
    broken = Recording.open(out)
    broken.all[0].result = 1
    broken.save(out)
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 1
    assert "invocation 0: on_exec returned 0, in the kernel 1" in again.stdout


# ---- programs of all kinds of constructs

seen = bp.Hash[u32, u64](64)
limit = bp.Global[u32](0)
calls = bp.Global[u64](0)


@bp.tp_btf("sys_enter")
def counts(regs, call):  # type: ignore[no-untyped-def]
    if limit.value == 0 or bp.tid() != limit.value:
        return
    calls.value += 1
    seen[u32(call)] += 1


def test_what_user_space_changes_is_seen_in_the_replay(tmp_path: Path) -> None:
    def change() -> None:
        os.getppid()
        limit.value = __import__("threading").get_native_id()
        for _ in range(5):
            os.getppid()
        seen[110] = 1000
        os.getppid()
        limit.value = 0

    with_globals = record(counts, workload=change)
    mine = [i for i in with_globals.all if any(t.sites[s].kind == "lookup" for t, s, _ in i.inputs)]
    assert len(mine) >= 6
    with replay(with_globals) as run:
        assert run.run() == []
        assert run.changes
        if os.uname().machine == "x86_64":
            assert run.machine.maps["seen"][110] == 1001


C = """
struct { __uint(type, 27); __uint(max_entries, 65536); } events SEC(".maps");
HASH(table, int, long, 8);
int second(unsigned long long *ctx);
struct { __uint(type, 3); __uint(max_entries, 2); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [1] = (void *)&second } };
struct task_struct { int pid; int tgid; struct task_struct *group_leader; char comm[16]; } CORE;
static unsigned int (*prandom)(void) = (void *)7;
static unsigned long long (*now)(void) = (void *)5;
static long (*output)(void *, void *, unsigned long long, unsigned long long) = (void *)130;
static long (*loop)(unsigned int, void *, void *, unsigned long long) = (void *)181;
static long (*read)(void *, unsigned int, const void *) = (void *)113;
static void *(*lookup)(void *, const void *) = (void *)1;
static long (*update)(void *, const void *, const void *, unsigned long long) = (void *)2;
static long (*jump)(void *, void *, unsigned int) = (void *)12;

static __attribute__((noinline)) long leader(struct task_struct *t, int extra)
{
    return t->group_leader->tgid + extra;
}

static int each(unsigned int n, void *sum)
{
    *(long *)sum += prandom() & 255;
    return 0;
}

SEC("tp_btf/sched_process_exec") int second(unsigned long long *ctx)
{
    struct task_struct *t = (void *)ctx[0];
    long e[3] = { 2, t->pid, now() };
    output(&events, e, sizeof e, 0);
    return 0;
}

SEC("tp_btf/sched_process_exec") int first(unsigned long long *ctx)
{
    struct task_struct *t = (void *)ctx[0];
    long e[3] = { 1, leader(t, 1), 0 };
    char comm[16];
    int key = 1;
    long one = 1, *n;
    loop(5, each, &e[2], 0);
    read(comm, sizeof comm, t->comm);
    e[0] += (long)comm[0] << 8;
    n = lookup(&table, &key);
    if (n) { __sync_fetch_and_add(n, 1); e[1] += *n << 32; } else update(&table, &key, &one, 0);
    output(&events, e, sizeof e, 0);
    jump(ctx, &jumps, 1);
    return 0;
}
char _license[] SEC("license") = "GPL";
"""


@pytest.fixture
def jumping(tmp_path: Path) -> str:
    compile_c(tmp_path, C, "jumping")
    return str(tmp_path / "jumping.bpf.o")


def test_functions_callbacks_and_maps(jumping: str) -> None:
    made = record(jumping, workload=work)
    assert not any(t.partial for t in made.programs), [t.notes for t in made.programs]
    calls = made.invocations("first")
    assert len(calls) >= 3
    names = {t.sites[s].name or t.sites[s].kind for i in calls for t, s, _ in i.inputs}
    assert {"load", "get_prandom_u32", "probe_read_kernel", "map_lookup_elem"} <= names
    for engine in ("interpreter", "step"):
        with replay(made, engine=engine) as run:
            assert run.run() == []
            assert run.machine.maps["table"][1] == len(calls)
            assert len(run.read("events")) == 2 * len(calls) + len(made.invocations("second"))


def test_a_full_recording_ends_early() -> None:
    made = record(counts, workload=work, keep=1000)
    assert made.full
    with replay(made) as run:
        assert run.whole  # the programs did nothing any more
        assert run.run() == []


PACKETS = """
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
HASH(lengths, u32, u64, 64);
static long (*update)(void *, const void *, const void *, u64) = (void *)2;
SEC("xdp") int look(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 34 > end)
        return 2;
    u32 key = data[12] << 8 | data[13];
    u64 length = end - data + ((u64)ctx->ingress_ifindex << 32);
    unsigned int at = 14 + (data[14] & 15) * 4;
    if (key == 0x800 && data + at + 8 <= end)
        length += (u64)data[at + 3] << 48;
    data[0] = 7;
    length += (u64)data[0] << 40;
    update(&lengths, &key, &length, 0);
    return 2;
}
char _license[] SEC("license") = "GPL";
"""


def test_packets_are_recorded_load_by_load(tmp_path: Path) -> None:
    compile_c(tmp_path, PACKETS, "packets")

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(4):
                sender.sendto(b"x" * 32, ("127.0.0.1", 9))

    made = record(
        str(tmp_path / "packets.bpf.o"),
        workload=send,
        attach=lambda session: session.programs["look"].attach_xdp("lo"),
    )
    assert not any(t.partial for t in made.programs), [t.notes for t in made.programs]
    assert len(made) >= 4
    with replay(made) as run:
        assert run.run() == []
        assert set(run.results) == {2}
        length = run.machine.maps["lengths"][0x800]
    assert length & 0xFFFF_FFFF in (14 + 28 + 32, 14 + 20 + 8 + 28 + 32)
    assert length >> 40 & 255 == 7
    assert length >> 32 & 255 == socket.if_nametoindex("lo")
