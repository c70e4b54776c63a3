"""The life of links and programs: pinned, reopened, detached; what is left of a process that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from c_objects import compile_c, object_from_c
from needs import needs
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel.link_info import LinkDetails
from probee.kernel.links.base import Link
from probee.kernel.load import Collection, load
from probee.kernel.program import Program

pytestmark = pytest.mark.root

EXEC = r"""
HASH(seen, u32, u64, 64);
SEC("raw_tp/sched_process_exec") int watch(void *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
SEC("tp/sched/sched_process_exec") int by_perf(void *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
SEC("perf_event/cpu-clock:freq=50") int sample(void *ctx) { return 0; }
"""

CHILD = """
import sys, time
from probee.obj import read_object
from probee.kernel.load import load
live = load(read_object(open(sys.argv[1], "rb").read(), "x"), programs=[sys.argv[2]])
link = live.programs[sys.argv[2]].attach()
print(live.programs[sys.argv[2]].id, flush=True)
if len(sys.argv) > 3: link.pin(sys.argv[3])
print("ready", flush=True)
time.sleep(float(len(sys.argv) > 4 and sys.argv[4] or 60))
"""


@pytest.fixture
def bpffs() -> Iterator[Path]:
    """A folder of a BPF file system, gone afterwards."""
    folder = Path(f"/sys/fs/bpf/probee-test-{uuid4().hex[:8]}")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no BPF file system at /sys/fs/bpf: {error.strerror}")
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Collection]:
    with load(object_from_c(tmp_path, EXEC)) as collection:
        yield collection


def run_true() -> int:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    return child.pid


def test_a_pinned_link_outlives_its_closing_and_is_reopened(live: Collection, bpffs: Path) -> None:
    needs("link")
    place = bpffs / "below" / "watch"
    with live.programs["watch"].attach() as link:
        link.pin(place)
        id = link.id
        with pytest.raises(AttachError, match="something is there already"):
            link.pin(place)
    assert run_true() in live.maps["seen"]
    for opened in (Link.open(place), Link.open(id=id)):
        with opened:
            assert opened.id == id
            assert "sched_process_exec" in opened.hook
            with Link.open(fd=opened.fd) as again:
                assert (again.id, again.fd != opened.fd) == (id, True)
    with Link.open(place) as opened:
        opened.detach()
    assert not place.exists()
    deadline = time.monotonic() + 10
    while run_true() in live.maps["seen"]:  # what is unpinned is freed by a worker of the kernel's
        assert time.monotonic() < deadline
    with pytest.raises(AttachError, match=f"there is no link {id}"):
        Link.open(id=id)


def test_unpinning_leaves_an_open_link_attached(live: Collection, bpffs: Path) -> None:
    with live.programs["watch"].attach() as link:
        link.pin(bpffs / "watch")
        link.unpin()
        link.unpin()
        assert not (bpffs / "watch").exists()
        assert run_true() in live.maps["seen"]


def test_links_of_every_cpu_are_pinned_together(live: Collection, bpffs: Path) -> None:
    needs("perf_link")
    with live.programs["sample"].attach(cpus=[0]) as alone:
        alone.pin(bpffs / "alone")
        assert (bpffs / "alone").is_file()
        alone.unpin()
    program = live.programs["sample"]
    with program.attach_perf_event(cpus=[0, 0], frequency=49) as several:
        several.pin(bpffs / "several")
    assert sorted(p.name for p in (bpffs / "several").iterdir()) == ["0", "1"]
    with Link.open(bpffs / "several") as opened:
        assert len(opened.fds) == 2
        opened.detach()
    assert not (bpffs / "several").exists()


def test_places_where_nothing_can_be_pinned(live: Collection, bpffs: Path, tmp_path: Path) -> None:
    with live.programs["watch"].attach() as link:
        with pytest.raises(AttachError, match="pins live in a BPF file system"):
            link.pin(tmp_path / "watch")
        with pytest.raises(AttachError, match="must not contain a dot"):
            link.pin(bpffs / "a.b")
    with pytest.raises(AttachError, match="there is nothing"):
        Link.open(bpffs / "nothing")
    (bpffs / "folder").mkdir()
    with pytest.raises(AttachError, match="a folder without links"):
        Link.open(bpffs / "folder")
    with pytest.raises(ProbeeError, match="opened by one of"):
        Link.open()
    with open(os.devnull) as null, pytest.raises(AttachError, match="that is no link but /dev/null"):
        Link.open(fd=null.fileno())
    with pytest.raises(ProbeeError, match="descriptor 999 is not open"):
        Link.open(fd=999)


def test_a_program_is_pinned_and_attached_by_whoever_opens_it(live: Collection, bpffs: Path) -> None:
    watch = live.programs["watch"]
    watch.pin(bpffs / "watch")
    for found in (Program.open(bpffs / "watch"), Program.open(id=watch.id), Program.open(fd=watch.fd)):
        with found:
            assert (found.name, found.type, found.tag, found.id) == ("watch", 17, watch.tag, watch.id)
            with pytest.raises(AttachError, match=r"names no hook; use one of the methods attach_"):
                found.attach()
            with pytest.raises(ProbeeError, match="no spec"):
                _ = found.spec
            with found.attach_raw_tracepoint("sched_process_exec"):
                assert run_true() in live.maps["seen"]
    watch.unpin()
    assert not (bpffs / "watch").exists()
    with pytest.raises(AttachError, match="there is nothing"):
        Program.open(bpffs / "watch")
    with pytest.raises(AttachError, match="there is no program"):
        Program.open(id=2**31 - 7)
    with watch.attach() as link, pytest.raises(AttachError, match="that is no program"):
        Program.open(fd=link.fd)


def test_a_tracing_link_does_not_change_its_program(live: Collection) -> None:
    with live.programs["watch"].attach() as link:
        with pytest.raises(Unsupported, match="attach the new program, then close the old link"):
            link.update(live.programs["watch"])
        link.detach()
        with pytest.raises(ProbeeError, match="is closed"):
            link.update(live.programs["watch"])


def test_a_link_that_can_takes_another_program(tmp_path: Path) -> None:
    """One of a cgroup: updated, refused to a program of another type, refused if it runs another by now."""
    from probee.kernel.cgroups import mounts

    needs("cgroup_multi", "link")
    if not mounts():
        pytest.skip("no cgroup2 is mounted")
    text = r"""
SEC("cgroup_skb/egress") int one(void *ctx) { return 1; }
SEC("cgroup_skb/egress") int two(void *ctx) { return 1; }
SEC("cgroup/sock_create") int other(void *ctx) { return 1; }
"""
    with load(object_from_c(tmp_path, text)) as live:
        one, two, other = (live.programs[name] for name in ("one", "two", "other"))
        with one.attach_cgroup(mounts()[0]) as link:
            assert link.info().prog_id == one.id
            link.update(two, old=one)
            assert link.info().prog_id == two.id
            with pytest.raises(AttachError, match="does not run program one any more"):
                link.update(one, old=one)
            with pytest.raises(AttachError, match="is of another type, or for another hook"):
                link.update(other)
            with Link.open(id=link.id) as again:
                again.detach()  # forced: the other holder's link is off too
            with pytest.raises(AttachError, match="the link is detached"):
                link.update(one)


def test_closed_links_say_so(live: Collection) -> None:
    link = live.programs["watch"].attach()
    link.close()
    link.detach()
    for question in (
        link.info,
        lambda: link.id,
        lambda: link.pin("/sys/fs/bpf/x"),
        lambda: link.update(live),
    ):
        with pytest.raises(ProbeeError, match="the link to raw tracepoint sched_process_exec is closed"):
            question()


@pytest.mark.parametrize("name", ["watch", "by_perf"])
@pytest.mark.parametrize("end", ["ends", "killed", "pinned"])
def test_what_is_left_of_a_process(tmp_path: Path, bpffs: Path, name: str, end: str) -> None:
    """Nothing that was not pinned stays in the kernel, however the process ends."""
    needs("link")
    (tmp_path / "x.o").write_bytes(compile_c(tmp_path, EXEC))
    pin = str(bpffs / "kept") if end == "pinned" else ""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path / "x.o"), name, *([pin] if pin else [])]
    if end == "ends":
        arguments += [str(bpffs / "other"), "0"]
    if name == "by_perf" and end != "killed":
        needs("perf_link")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        id = int(child.stdout.readline())
        assert child.stdout.readline() == "ready\n"
        with Program.open(id=id) as running:
            assert running.id == id
        if end == "ends":
            os.unlink(bpffs / "other")
        else:
            child.send_signal(signal.SIGKILL)
        child.wait()
    if pin:
        with Link.open(pin) as kept:
            details = kept.info()
            assert isinstance(details, LinkDetails)
            assert details.prog_id == id
            kept.detach()
    deadline = 200
    while deadline:
        try:
            Program.open(id=id).close()
        except AttachError:
            break
        deadline -= 1  # the kernel frees after a grace period
        os.sched_yield()
        subprocess.run(["sleep", "0.05"], check=True)
    assert deadline, f"program {id} is still there"
