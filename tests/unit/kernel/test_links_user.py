"""Uprobes and USDT against the fake kernel: which calls are made, which fall-backs taken, what is closed."""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from probee.errors import AttachError, PermissionDenied, Unsupported
from probee.kernel import features
from probee.kernel.links import uprobe, uprobe_multi, usdt
from probee.kernel.links.perf import PerfLink
from probee.kernel.links.uprobe import Point, split_target
from probee.symbols.locate import Location
from probee.symbols.usdt import Probe
from probee.sys import caps, tracefs, use
from probee.sys.bpf import PERF_EVENT_IOC_SET_BPF
from probee.sys.fake import FakeKernel

PROGRAM = 5  # any descriptor
SYSFS = {"type": "9", "format/retprobe": "config:0", "format/ref_ctr_offset": "config:32-63"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    monkeypatch.setattr(uprobe, "_sysfs", lambda name: SYSFS[name])
    with use(FakeKernel(cpus=3)) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"


def text_at(address: int) -> str:
    return ctypes.string_at(address).decode()


def numbers_at(address: int, count: int) -> list[int]:
    return list(struct.unpack(f"={count}Q", ctypes.string_at(address, 8 * count)))


def test_perf_events(fake: FakeKernel) -> None:
    point = Point("/lib/x.so", 0x1234, cookie=7, semaphore=0x5678)
    with uprobe.attach(PROGRAM, [point], "uprobe x:f") as link:
        (event,) = fake.called("perf_event_open")
        assert (event["type"], event["path"], event["config2"]) == (9, "/lib/x.so", 0x1234)
        assert event["config"] == 0x5678 << 32
        assert (event["pid"], event["cpu"]) == (-1, 0)
        (made,) = fake.called("link_create")
        assert (made["prog_fd"], made["attach_type"], made["cookie"]) == (PROGRAM, 41, 7)
        assert link.hook == "uprobe x:f"
    with uprobe.attach(PROGRAM, [point], "uretprobe x:f", returns=True, pid=77):
        event = fake.called("perf_event_open")[-1]
        assert (event["config"], event["pid"], event["cpu"]) == (0x5678 << 32 | 1, 77, -1)


def test_several_points_are_one_link(fake: FakeKernel) -> None:
    points = [Point("/lib/x.so", at, cookie=at) for at in (1, 2, 3)]
    with uprobe.attach(PROGRAM, points, "uprobe x:*") as link:
        assert len(link.fds) == 3
        assert [made["cookie"] for made in fake.called("link_create")] == [1, 2, 3]


def test_without_bpf_links(fake: FakeKernel) -> None:
    points = [Point("/lib/x.so", 1), Point("/lib/x.so", 2)]
    with uprobe.attach(PROGRAM, points, "uprobe x:*", way="perf") as link:
        assert isinstance(link, PerfLink)
        assert fake.called("link_create") == []
        bound = [c for c in fake.called("ioctl") if c["request"] == PERF_EVENT_IOC_SET_BPF]
        assert len(bound) == 2


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.ESRCH, AttachError, "no process 77"),
        (errno.EINVAL, AttachError, r"refuses a probe at /lib/x.so\+0x2 \(Invalid argument\)"),
        (524, AttachError, "it can't probe that instruction"),
        (errno.ENOENT, AttachError, "is not there any more"),
        (errno.EPERM, PermissionDenied, "attaching to uprobe x"),
        (errno.ENOSPC, AttachError, "No space left"),
    ],
)
def test_refusals(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(caps, "missing", lambda *needed: [])
    fake.refuse("perf_event_open", number)
    with pytest.raises(error, match=message):
        uprobe.attach(PROGRAM, [Point("/lib/x.so", 2)], "uprobe x:f", pid=77)


def test_semaphores_that_perf_events_can_not_say(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AttachError, match="further into the file"):
        uprobe.attach(PROGRAM, [Point("/lib/x.so", 2, semaphore=1 << 33)], "u")

    def old(name: str) -> str:
        if "ref_ctr" in name:
            raise FileNotFoundError(name)
        return SYSFS[name]

    monkeypatch.setattr(uprobe, "_sysfs", old)
    with pytest.raises(Unsupported, match="count no semaphores"):
        uprobe.attach(PROGRAM, [Point("/lib/x.so", 2, semaphore=8)], "u")


def test_through_tracefs(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On kernels whose perf has no uprobes of its own; files whose names tracefs can't write, too."""
    (tmp_path / "uprobe_events").write_text("")
    odd = tmp_path / "a b"
    odd.write_text("x")
    monkeypatch.setattr(tracefs, "root", lambda: str(tmp_path))
    monkeypatch.setattr(tracefs, "event_id", lambda group, event: 42)
    monkeypatch.setattr(uprobe, "pmu_type", lambda: None)
    points = [Point("/lib/x.so", 0x10, semaphore=0x20), Point(str(odd), 0x30)]
    link = uprobe.attach(PROGRAM, points, "uretprobe x:*", returns=True, pid=7)
    first, second = (tmp_path / "uprobe_events").read_text().splitlines()
    assert first.startswith("r:probee_")
    assert first.endswith(" /lib/x.so:0x10(0x20)")
    assert "/proc/self/fd/" in second
    assert [(e["type"], e["config"], e["pid"]) for e in fake.called("perf_event_open")] == [(2, 42, 7)] * 2
    link.close()
    removed = (tmp_path / "uprobe_events").read_text().splitlines()[2:]
    assert [line[:10] for line in removed] == ["-:probee_" + first[9]] * 2


def test_no_uprobes_at_all(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(uprobe, "pmu_type", lambda: None)
    monkeypatch.setattr(tracefs, "root", lambda: str(tmp_path / "none"))
    target = tmp_path / "x"
    target.write_text("x")
    with pytest.raises(Unsupported, match="CONFIG_UPROBE_EVENTS"):
        uprobe.attach(PROGRAM, [Point(str(target), 1)], "u")
    with pytest.raises(Unsupported, match="CONFIG_UPROBE_EVENTS"):
        uprobe.attach(PROGRAM, [Point(str(target), 1)], "u", way="perf")


class Looking(FakeKernel):
    """Notes what links to many uprobes point to, while it is there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[object, ...]] = []

    def _enter(self, call: str, facts: dict[str, Any], log: Any = None) -> None:
        if call == "link_create":
            path, offsets, counters, cookies, count, flags, pid = struct.unpack_from(
                "=QQQQIII", facts["extra"]
            )
            lists = [numbers_at(at, count) if at else None for at in (offsets, counters, cookies)]
            self.seen.append((text_at(path), *lists, flags, pid))
        super()._enter(call, facts, log)


def test_multi_links() -> None:
    points = [Point("/a", 1, 10, 100), Point("/b", 2), Point("/a", 3, 30)]
    with use(Looking()) as fake:
        assert isinstance(fake, Looking)
        with uprobe_multi.attach(PROGRAM, points, "many", returns=True, pid=9) as link:
            assert len(link.fds) == 2
        assert fake.seen == [("/a", [1, 3], [100, 0], [10, 30], 1, 9), ("/b", [2], None, None, 1, 9)]
        assert {made["attach_type"] for made in fake.called("link_create")} == {48}
        with uprobe_multi.attach(PROGRAM, points[1:2], "many", returns=True, session=True):
            assert fake.called("link_create")[-1]["attach_type"] == 57
            assert fake.seen[-1] == ("/b", [2], None, None, 0, 0)
        assert fake.open == {}


def test_multi_falls_back(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL, times=1)
    with uprobe_multi.attach(PROGRAM, [Point("/a", 1), Point("/b", 2)], "many") as link:
        assert [event["path"] for event in fake.called("perf_event_open")] == ["/a", "/b"]
        assert len(link.fds) == 2
    many = [Point("/a", at) for at in range(1001)]
    fake.refuse("link_create", errno.EINVAL, times=1)
    with pytest.raises(Unsupported, match=r"take a uprobe\.multi link"):
        uprobe_multi.attach(PROGRAM, many, "many")
    fake.refuse("link_create", errno.EINVAL, times=1)
    with pytest.raises(Unsupported, match=r"uprobe\.session"):
        uprobe_multi.attach(PROGRAM, many[:1], "many", session=True)
    fake.refuse("link_create", errno.EBADF, times=1)
    with pytest.raises(AttachError, match="not a file that can be probed"):
        uprobe_multi.attach(PROGRAM, many[:1], "many")
    with pytest.raises(AttachError, match="nothing to attach to"):
        uprobe_multi.attach(PROGRAM, [], "many")


@pytest.mark.parametrize("target", ["", "libc", ":malloc", "libc:"])
def test_sections_that_are_wrong(target: str) -> None:
    with pytest.raises(AttachError, match="expected BINARY:SYMBOL"):
        split_target(target)


def test_sections() -> None:
    assert split_target("/bin/x:ns::f(int)+4") == ("/bin/x", "ns::f(int)+4")


def test_returns_inside_functions() -> None:
    with pytest.raises(AttachError, match="at a function's start"):
        uprobe.check(Location("/x", 4, "f", 4), "u", True)
    with pytest.warns(RuntimeWarning, match="Go program"):
        uprobe.check(Location("/x", 4, "f", go=True), "u", True)
    uprobe.check(Location("/x", 4, "f", 4, go=True), "u", False)


# ---- USDT on kernels without cookies


class FakeMap:
    """What USDT needs of a live map."""

    closed = False

    def __init__(self, kernel: FakeKernel, key: int, size: int, entries: int, kind: int) -> None:
        self.fd = kernel.map_create(kind, key, size, entries)
        self.id = self.fd + 1000
        self.value_size = size
        self.max_entries = entries


@pytest.fixture
def maps(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeMap]]:
    found = {usdt.SPECS: FakeMap(fake, 4, 208, 2, 2), usdt.PLACES: FakeMap(fake, 8, 4, 8, 1)}
    cookies = [False]
    monkeypatch.setattr(features, "have", lambda name: cookies[0])
    yield found
    usdt._free.clear()
    for made in found.values():
        fake.close(made.fd)


def probes(*texts: str, fixed: bool = True) -> list[Probe]:
    return [
        Probe("p", "n", text, "/x", 0x400000 + index, 0x1000 + index, 0, 62, 8, fixed)
        for index, text in enumerate(texts)
    ]


def test_places_instead_of_cookies(
    fake: FakeKernel, maps: dict[str, FakeMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usdt, "list_probes", lambda *a, **k: probes("8@%rax", "8@%rdx", "8@%rax"))
    places = maps[usdt.PLACES].fd
    with usdt.attach(PROGRAM, maps, "x", "p", "n"):
        found = [fake.map_lookup(places, (0x400000 + i).to_bytes(8, "little"), 4) for i in range(3)]
        assert [int.from_bytes(value or b"", "little") for value in found] == [0, 1, 0]
        with pytest.raises(AttachError, match="a larger BPF_USDT_MAX_SPEC_CNT"):
            usdt.attach(PROGRAM, maps, "x", "p", "n")
    assert fake.map_next_key(places, None, 8) is None
    with usdt.attach(PROGRAM, maps, "x", "p", "n"):
        pass


def test_a_place_that_is_taken(
    fake: FakeKernel, maps: dict[str, FakeMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usdt, "list_probes", lambda *a, **k: probes("8@%rax"))
    with (
        usdt.attach(PROGRAM, maps, "x", "p", "n"),
        pytest.raises(AttachError, match="is attached to already"),
    ):
        usdt.attach(PROGRAM, maps, "x", "p", "n")
    assert sorted(usdt._free[maps[usdt.SPECS].id].free) == [0, 1]


def test_what_needs_a_process(
    fake: FakeKernel, maps: dict[str, FakeMap], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usdt, "list_probes", lambda *a, **k: probes("8@%rax", fixed=False))
    with pytest.raises(Unsupported, match="need pid="):
        usdt.attach(PROGRAM, maps, "x", "p", "n")
    with pytest.raises(Unsupported, match="has no map"):
        usdt.attach(PROGRAM, {usdt.SPECS: maps[usdt.SPECS]}, "x", "p", "n")
    monkeypatch.setattr(usdt, "list_probes", lambda *a, **k: probes(" ".join(["8@%rax"] * 13)))
    with pytest.raises(AttachError, match="13 arguments; 12 are the most"):
        usdt.attach(PROGRAM, maps, "x", "p", "n")
