"""Iterators: what they walk, what narrows them, how they are read."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, ProbeeError
from probee.kernel.link_info import IterLinkDetails
from probee.kernel.links.base import Link
from probee.kernel.links.iter import IterLink
from probee.kernel.load import Collection, load

pytestmark = pytest.mark.root

PRELUDE = r"""
struct seq_file;
struct bpf_iter_meta { struct seq_file *seq; u64 session_id; u64 seq_num; } CORE;
struct task_struct { int pid; int tgid; char comm[16]; } CORE;
static long (*seq_printf)(struct seq_file *, const char *, u32, const void *, u32) = (void *)126;
static long (*seq_write)(struct seq_file *, const void *, u32) = (void *)127;
#define SAY(m, text, ...) ({ static const char f_[] = text; u64 a_[] = { __VA_ARGS__ }; \
    seq_printf((m)->seq, f_, sizeof f_, a_, sizeof a_); })
"""

TASKS = r"""
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } CORE;
SEC("iter/task") int tasks(struct bpf_iter__task *ctx) {
    struct task_struct *task = ctx->task;
    if (!task) return 0;
    SAY(ctx->meta, "%d %d %s\n", task->tgid, task->pid, (u64)task->comm);
    return 0;
}
struct file;
struct bpf_iter__task_file {
    struct bpf_iter_meta *meta; struct task_struct *task; u32 fd; struct file *file; } CORE;
SEC("iter/task_file") int files(struct bpf_iter__task_file *ctx) {
    struct task_struct *task = ctx->task;
    if (!task || !ctx->file) return 0;
    SAY(ctx->meta, "%d %d\n", task->tgid, ctx->fd);
    return 0;
}
struct vm_area_struct { unsigned long vm_start; unsigned long vm_end; } CORE;
struct bpf_iter__task_vma {
    struct bpf_iter_meta *meta; struct task_struct *task; struct vm_area_struct *vma; } CORE;
SEC("?iter/task_vma") int areas(struct bpf_iter__task_vma *ctx) {
    struct task_struct *task = ctx->task;
    struct vm_area_struct *vma = ctx->vma;
    if (!task || !vma) return 0;
    SAY(ctx->meta, "%d %lx-%lx\n", task->tgid, vma->vm_start, vma->vm_end);
    return 0;
}
"""

OBJECTS = r"""
struct bpf_map { u32 id; char name[16]; } CORE;
struct bpf_prog_aux { u32 id; char name[16]; } CORE;
struct bpf_prog { struct bpf_prog_aux *aux; } CORE;
struct bpf_link { u32 id; } CORE;
HASH(table, u32, u64, 16);
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } CORE;
struct bpf_iter__bpf_prog { struct bpf_iter_meta *meta; struct bpf_prog *prog; } CORE;
struct bpf_iter__bpf_link { struct bpf_iter_meta *meta; struct bpf_link *link; } CORE;
struct bpf_iter__bpf_map_elem {
    struct bpf_iter_meta *meta; struct bpf_map *map; void *key; void *value; } CORE;
SEC("iter/bpf_map") int maps(struct bpf_iter__bpf_map *ctx) {
    struct bpf_map *it = ctx->map; if (it) SAY(ctx->meta, "%u\n", it->id); return 0; }
SEC("iter/bpf_prog") int progs(struct bpf_iter__bpf_prog *ctx) {
    struct bpf_prog *it = ctx->prog; if (it) SAY(ctx->meta, "%u\n", it->aux->id); return 0; }
SEC("?iter/bpf_link") int links(struct bpf_iter__bpf_link *ctx) {
    struct bpf_link *it = ctx->link; if (it) SAY(ctx->meta, "%u\n", it->id); return 0; }
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx) {
    u32 *key = ctx->key; u64 *value = ctx->value;
    if (!key || !value) return 0;
    seq_write(ctx->meta->seq, key, 4);
    seq_write(ctx->meta->seq, value, 8);
    return 0;
}
"""

NETWORK = r"""
struct sock_common { unsigned short skc_num; int skc_family; } CORE;
struct bpf_iter__tcp { struct bpf_iter_meta *meta; struct sock_common *sk_common; u32 uid; } CORE;
struct udp_sock; struct sock { struct sock_common __sk_common; } CORE;
struct bpf_iter__udp { struct bpf_iter_meta *meta; struct udp_sock *udp_sk; u32 uid; int bucket; } CORE;
struct netlink_sock { u32 portid; } CORE;
struct bpf_iter__netlink { struct bpf_iter_meta *meta; struct netlink_sock *sk; } CORE;
SEC("iter/tcp") int tcp(struct bpf_iter__tcp *ctx) {
    struct sock_common *sk = ctx->sk_common; if (sk) SAY(ctx->meta, "%u\n", sk->skc_num); return 0; }
SEC("iter/udp") int udp(struct bpf_iter__udp *ctx) {
    if (ctx->udp_sk) SAY(ctx->meta, "%u\n", ctx->uid); return 0; }
SEC("iter/netlink") int netlink(struct bpf_iter__netlink *ctx) {
    struct netlink_sock *sk = ctx->sk; if (sk) SAY(ctx->meta, "%u\n", sk->portid); return 0; }
"""

CGROUPS = r"""
struct kernfs_node { u64 id; } CORE;
struct cgroup { struct kernfs_node *kn; } CORE;
struct bpf_iter__cgroup { struct bpf_iter_meta *meta; struct cgroup *cgroup; } CORE;
SEC("iter/cgroup") int groups(struct bpf_iter__cgroup *ctx) {
    struct cgroup *cgroup = ctx->cgroup; if (cgroup) SAY(ctx->meta, "%llu\n", cgroup->kn->id); return 0; }
"""


def loaded(folder: Path, text: str, *names: str) -> Collection:
    return load(object_from_c(folder, PRELUDE + text), programs=list(names) or None)


def test_every_task_is_walked(tmp_path: Path) -> None:
    with loaded(tmp_path, TASKS, "tasks") as live, live.programs["tasks"].attach() as link:
        assert isinstance(link, IterLink)
        rows = [line.split(" ", 2) for line in link.lines()]
        mine = [row for row in rows if row[0] == str(os.getpid())]
        assert [str(os.getpid())] * 2 == mine[0][:2]
        assert mine[0][2] == Path("/proc/self/comm").read_text().strip()
        assert any(row[0] == str(os.getppid()) for row in rows)
        with link.stream() as one, link.stream() as other:  # walks of their own
            assert one.readline() == other.readline()
        assert link.text().count("\n") >= len(mine)
        details = link.info()
        assert isinstance(details, IterLinkDetails)
        assert details.to_dict()["target_name"] == "task"


def test_one_process_or_one_thread(tmp_path: Path) -> None:
    needs("iter_cgroup")  # came together with the parameters of tasks
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with loaded(tmp_path, TASKS, "tasks", "files") as live:
            tasks = live.programs["tasks"]
            with tasks.attach_iter(pid=os.getpid()) as link:
                pids = {tuple(line.split(" ")[:2]) for line in link.lines()}
                own = str(os.getpid())
                assert {(own, own), (own, str(thread.native_id))} <= pids
                assert {tgid for tgid, _ in pids} == {own}
                assert link.info().to_dict()["pid"] == os.getpid()
            with tasks.attach(tid=thread.native_id) as link:
                assert [line.split(" ")[1] for line in link.lines()] == [str(thread.native_id)]
            pidfd = os.pidfd_open(os.getpid())
            try:
                with live.programs["files"].attach_iter(pidfd=pidfd) as link:
                    fds = {int(line.split()[1]) for line in link.lines()}
            finally:
                os.close(pidfd)
            assert fds >= {0, 1, 2, pidfd}
    finally:
        stop.set()
        thread.join()


def test_files_of_all_tasks(tmp_path: Path) -> None:
    with (
        loaded(tmp_path, TASKS, "files") as live,
        live.programs["files"].attach() as link,
        open("/dev/null") as null,
    ):
        assert f"{os.getpid()} {null.fileno()}" in link.text().splitlines()


def test_memory_areas(tmp_path: Path) -> None:
    needs("iter_task_vma", "iter_cgroup")
    with (
        loaded(tmp_path, TASKS, "areas") as live,
        live.programs["areas"].attach_iter(pid=os.getpid()) as link,
    ):
        areas = {line.split()[1] for line in link.lines()}
    maps = {line.split(" ")[0].lstrip("0") for line in Path("/proc/self/maps").read_text().splitlines()}
    assert len(areas & maps) > 10


def test_programs_maps_and_links(tmp_path: Path) -> None:
    with loaded(tmp_path, OBJECTS, "maps", "progs") as live:
        with live.programs["maps"].attach() as link:
            assert str(live.maps["table"].id) in link.text().split()
        with live.programs["progs"].attach() as link:
            assert str(live.programs["progs"].id) in link.text().split()


def test_a_sleepable_iterator(tmp_path: Path) -> None:
    """It reads the memory of the tasks it walks."""
    needs("iter_cgroup")
    text = r"""
struct mm_struct { unsigned long arg_start; } CORE;
struct task_struct___mm { struct mm_struct *mm; } CORE;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } CORE;
static long (*copy_from_user_task)(void *, u32, const void *, void *, u64) = (void *)191;
SEC("iter.s/task") int arguments(struct bpf_iter__task *ctx) {
    struct task_struct *task = ctx->task;
    char word[8];
    if (!task) return 0;
    struct mm_struct *mm = ((struct task_struct___mm *)task)->mm;
    if (!mm || copy_from_user_task(word, 8, (void *)mm->arg_start, task, 0)) return 0;
    seq_write(ctx->meta->seq, word, 8);
    return 0;
}
"""
    with loaded(tmp_path, text) as live, live.programs["arguments"].attach(pid=os.getpid()) as link:
        assert link.read()[:8] == Path("/proc/self/cmdline").read_bytes()[:8]


def test_links(tmp_path: Path) -> None:
    try:
        live = loaded(tmp_path, OBJECTS, "links")
    except AttachError:
        pytest.skip("this kernel has no iterator over links")
    with live, live.programs["links"].attach() as link:
        assert str(link.id) in link.text().split()


def test_elements_of_a_map(tmp_path: Path) -> None:
    with loaded(tmp_path, OBJECTS, "elements") as live:
        table = live.maps["table"]
        table.update({1: 10, 2: 20, 3: 30})
        with live.programs["elements"].attach_iter(map=table) as link:
            raw = link.read()
            rows = {raw[i : i + 4]: raw[i + 4 : i + 12] for i in range(0, len(raw), 12)}
            found = {int.from_bytes(k, "little"): int.from_bytes(v, "little") for k, v in rows.items()}
            assert found == {1: 10, 2: 20, 3: 30}
            details = link.info()
            assert isinstance(details, IterLinkDetails)
            assert details.map_id == table.id
        with pytest.raises(AttachError, match="it wants map="):
            live.programs["elements"].attach()


def test_sockets(tmp_path: Path) -> None:
    with loaded(tmp_path, NETWORK) as live, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with live.programs["tcp"].attach() as link:
            assert str(server.getsockname()[1]) in link.text().split()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            with live.programs["udp"].attach() as link:
                assert str(os.getuid()) in link.text().split()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.bind((0, 0))
            with live.programs["netlink"].attach() as link:
                assert str(netlink.getsockname()[0]) in link.text().split()


def test_cgroups_in_an_order(tmp_path: Path) -> None:
    needs("iter_cgroup")
    from probee.kernel.cgroups import mounts

    if not mounts():
        pytest.skip("no cgroup2 is mounted")
    root = Path(mounts()[0])
    outer = root / f"probee-test-{os.getpid()}"
    inner = outer / "inner"
    inner.mkdir(parents=True)
    try:
        ids = [str(folder.stat().st_ino) for folder in (outer, inner)]
        with loaded(tmp_path, CGROUPS) as live:
            groups = live.programs["groups"]
            with groups.attach_iter(cgroup=outer) as link:
                assert link.text().split() == ids
                assert link.info().to_dict()["order"] == "descendants_pre"
                assert link.info().to_dict()["cgroup_id"] == int(ids[0])
            with groups.attach_iter(cgroup=int(ids[0]), order="post") as link:
                assert link.text().split() == ids[::-1]
            with groups.attach_iter(cgroup=str(inner), order="up") as link:
                assert link.text().split()[:2] == ids[::-1]
            with groups.attach_iter(cgroup=inner, order="self") as link:
                assert link.text().split() == [ids[1]]
            with pytest.raises(AttachError, match="no cgroup /nonesuch"):
                groups.attach_iter(cgroup="/nonesuch")
            with pytest.raises(ProbeeError, match="expected one of self, pre, post, up, children"):
                groups.attach_iter(cgroup=outer, order="down")
            with pytest.raises(ProbeeError, match="walks one of"):
                groups.attach_iter(cgroup=outer, pid=1)
    finally:
        inner.rmdir()
        outer.rmdir()


def test_parameters_that_an_iterator_does_not_take(tmp_path: Path) -> None:
    needs("iter_cgroup")
    with loaded(tmp_path, OBJECTS, "progs") as live, pytest.raises(AttachError, match="it takes none"):
        live.programs["progs"].attach_iter(pid=os.getpid())
    with loaded(tmp_path, TASKS, "tasks") as live, pytest.raises(AttachError, match="it takes one of pid="):
        live.programs["tasks"].attach_iter(order="pre")


def test_an_iterator_is_pinned_and_read_by_others(tmp_path: Path) -> None:
    place = Path(f"/sys/fs/bpf/probee-iter-{os.getpid()}")
    with loaded(tmp_path, TASKS, "tasks") as live, live.programs["tasks"].attach() as link:
        link.pin(place)
        try:
            assert str(os.getpid()) in place.read_text().split()
            with Link.open(place) as opened:
                assert isinstance(opened, IterLink)
                assert str(os.getpid()) in opened.text().split()
        finally:
            link.unpin()
