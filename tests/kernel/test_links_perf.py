"""Perf events: software ones, of a process, of a cgroup, and breakpoints; what a machine has not is named."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, PermissionDenied
from probee.kernel.link_info import PerfEventLink
from probee.kernel.links import perf_event
from probee.kernel.links.perf import PerfLink
from probee.kernel.load import load

pytestmark = pytest.mark.root

SAMPLE = r"""
HASH(seen, u32, u64, 4096);
SEC("perf_event/cpu-clock:freq=200") int sample(void *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
"""

SPIN = "import time; end = time.monotonic() + 0.4\nwhile time.monotonic() < end: pass"


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_one_process_is_sampled(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        with (
            subprocess.Popen([sys.executable, "-S", "-c", SPIN]) as child,
            live.programs["sample"].attach(pid=child.pid) as link,
        ):
            burn(0.2)
            child.wait()
            if not isinstance(link, PerfLink):
                assert link.info().type_name == "perf_event"
        assert list(live.maps["seen"]) == [child.pid]


def test_a_cgroup_is_sampled(tmp_path: Path) -> None:
    from probee.kernel.cgroups import mounts

    if not mounts():
        pytest.skip("no cgroup2 is mounted")
    group = Path(mounts()[0]) / f"probee-perf-{os.getpid()}"
    group.mkdir()
    try:
        with load(object_from_c(tmp_path, SAMPLE)) as live:
            try:
                link = live.programs["sample"].attach(cgroup=group)
            except AttachError as error:
                pytest.skip(f"this kernel can't sample cgroups: {error}")
            with link, subprocess.Popen([sys.executable, "-S", "-c", SPIN]) as child:
                (group / "cgroup.procs").write_text(str(child.pid))
                burn(0.1)
                child.wait()
            assert list(live.maps["seen"]) == [child.pid]
            with pytest.raises(AttachError, match="either of a process or of a cgroup"):
                live.programs["sample"].attach(cgroup=group, pid=1)
    finally:
        group.rmdir()


def test_a_counted_event(tmp_path: Path) -> None:
    """Every page fault of ours, one sample each."""
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        program = live.programs["sample"]
        with program.attach_perf_event("page-faults", period=1, pid=os.getpid()) as link:
            with mmap.mmap(-1, 64 * mmap.PAGESIZE) as memory:
                for page in range(64):
                    memory[page * mmap.PAGESIZE] = 1
            if not isinstance(link, PerfLink) and type(details := link.info()) is PerfEventLink:
                assert details.to_dict()["event_type"] == "software"
                assert details.event_config == "page-faults"
        assert live.maps["seen"][os.getpid()] >= 60


def test_events_by_number_and_by_the_older_way(tmp_path: Path) -> None:
    from probee.kernel.links import perf
    from probee.sys import kernel

    with load(object_from_c(tmp_path, SAMPLE)) as live:
        program = live.programs["sample"]
        with program.attach_perf_event(type=1, config=0, period=1_000_000) as link:
            assert "1:0x0" in link.hook
        event = kernel().perf_event_open(1, 0, sample=1_000_000, pid=os.getpid(), cpu=-1)
        with perf.attach([event], program.fd, "by ioctl", legacy=True) as link:
            assert isinstance(link, PerfLink)
            burn(0.05)
            with pytest.raises(
                Exception, match=r"by ioctl is attached by a perf event's ioctl, which can't be pin"
            ):
                link.pin("/sys/fs/bpf/x")
        assert live.maps["seen"][os.getpid()] > 0
        live.maps["seen"].clear()
        burn(0.02)
        assert os.getpid() not in live.maps["seen"]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("cpu-clock", (1, 0)),
        ("cycles", (0, 0)),
        ("r1a8", (4, 0x1A8)),
        ("LLC-load-misses", (3, 2 | 1 << 16)),
        ("LLC-loads", (3, 2)),
        ("L1-dcache-stores", (3, 1 << 8)),
        ("dTLB-store-misses", (3, 3 | 1 << 8 | 1 << 16)),
        ("node-prefetches", (3, 6 | 2 << 8)),
        ("LLC-eats", None),
        ("rx", None),
        ("nonesuch", None),
    ],
)
def test_names_of_events(name: str, numbers: tuple[int, int] | None) -> None:
    assert perf_event.number(name) == numbers


def test_a_counter_that_the_machine_has_not(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        for event in ("r1a8", "LLC-load-misses"):
            try:
                live.programs["sample"].attach_perf_event(event, period=100000).close()
            except AttachError as error:
                assert f"no hardware counter for {event}" in str(error)  # noqa: PT017
        with pytest.raises(AttachError, match="no such process"):
            live.programs["sample"].attach(pid=2**22 + 1)


# ---- breakpoints


def test_a_breakpoint_sees_writes_and_reads(tmp_path: Path) -> None:
    watched = ctypes.c_uint64(0)
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        program = live.programs["sample"]
        place = ctypes.addressof(watched)
        try:
            link = program.attach_breakpoint(place, access="w", pid=os.getpid())
        except AttachError as error:
            pytest.skip(f"no breakpoints here: {error}")
        with link:
            for value in range(5):
                watched.value = value
            seen = live.maps["seen"].get(os.getpid(), 0)
            if not seen:
                pytest.skip("this machine's debug registers do nothing (a virtual machine without them)")
            assert seen == 5
            assert watched.value == 4
            assert live.maps["seen"][os.getpid()] == 5  # reading is not writing
        watched.value = 9
        assert live.maps["seen"][os.getpid()] == 5
        with program.attach_breakpoint(place, access="rw", pid=threading.get_native_id()):
            assert watched.value == 9
            assert live.maps["seen"][os.getpid()] > 5


def test_a_breakpoint_on_an_instruction(tmp_path: Path) -> None:
    function = ctypes.CDLL(None).getppid
    place = ctypes.cast(function, ctypes.c_void_p).value
    assert place is not None
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        try:
            link = live.programs["sample"].attach_breakpoint(place, access="x", pid=os.getpid())
        except AttachError as error:
            pytest.skip(f"no breakpoints here: {error}")
        with link:
            for _ in range(3):
                function()
        seen = live.maps["seen"].get(os.getpid(), 0)
        if not seen:
            pytest.skip("this machine's debug registers do nothing (a virtual machine without them)")
        assert seen == 3


def test_breakpoints_that_can_not_be(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, SAMPLE)) as live:
        program = live.programs["sample"]
        with pytest.raises(AttachError, match="at a multiple of that"):
            program.attach_breakpoint(0x1001, length=8)
        with pytest.raises(AttachError, match="covers 1, 2, 4 or 8 bytes"):
            program.attach_breakpoint(0x1000, length=3)
        with pytest.raises(AttachError, match="access is one of r, w, rw, x"):
            program.attach_breakpoint(0x1000, access="q")
        with pytest.raises((AttachError, PermissionDenied), match=r"no process|breakpoints"):
            program.attach_breakpoint(0x1000, pid=2**22 + 1)


def test_a_cookie_of_a_sample(tmp_path: Path) -> None:
    needs("bpf_cookie")
    text = r"""
static u64 (*cookie)(void *) = (void *)174;
u64 got;
SEC("perf_event/cpu-clock:freq=200") int sample(void *ctx) { got = cookie(ctx); return 0; }
"""
    with load(object_from_c(tmp_path, text)) as live, live.programs["sample"].attach(cookie=77):
        burn(0.1)
        assert live.globals.got == 77
