"""Links against the fake kernel: which calls are made, which fall-backs taken, what is closed."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links import perf_event, raw_tp, tp_btf, tracepoint
from probee.sys import caps, tracefs, use
from probee.sys.bpf import PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_SET_BPF
from probee.sys.fake import FakeKernel

PROGRAM = 5  # any descriptor


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    monkeypatch.setattr(tracefs, "event_id", lambda group, event: 42)
    monkeypatch.setattr(tracefs, "events", lambda: ["sched:sched_switch", "sched:sched_wakeup"])
    with use(FakeKernel(cpus=3)) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"


def test_a_tracepoint_is_a_link_where_there_are_such(fake: FakeKernel) -> None:
    with tracepoint.attach(PROGRAM, "sched", "sched_switch", cookie=7) as link:
        (opened,) = fake.called("perf_event_open")
        assert (opened["type"], opened["config"], opened["cpu"], opened["pid"]) == (2, 42, 0, -1)
        (made,) = fake.called("link_create")
        assert (made["prog_fd"], made["attach_type"], made["cookie"]) == (PROGRAM, 41, 7)
        assert list(fake.open) == [link.fd]  # the event's own descriptor is not kept
        assert link.hook == "tracepoint sched:sched_switch"


def test_a_tracepoint_goes_by_ioctl_elsewhere(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL, times=2)
    with tracepoint.attach(PROGRAM, "sched", "sched_switch") as link:
        assert fake.open[link.fd].kind == "perf"
        assert fake.open[link.fd].ioctls == [(PERF_EVENT_IOC_SET_BPF, PROGRAM), (PERF_EVENT_IOC_ENABLE, 0)]


def test_a_cookie_needs_a_link(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL, times=2)
    with pytest.raises(Unsupported, match=r"tracepoint sched:sched_switch: .* no cookie") as caught:
        tracepoint.attach(PROGRAM, "sched", "sched_switch", cookie=1)
    assert caught.value.since == "5.15"
    fake.refuse("link_create", errno.EINVAL)  # the kernel has links, and refuses this one
    with pytest.raises(AttachError, match="Invalid argument") as refused:
        tracepoint.attach(PROGRAM, "sched", "sched_switch", cookie=1)
    assert (refused.value.errno, refused.value.hook) == (errno.EINVAL, "tracepoint sched:sched_switch")


def test_failures_close_what_was_opened(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL, times=2)
    fake.refuse("ioctl", errno.EBADF)
    with pytest.raises(AttachError):
        tracepoint.attach(PROGRAM, "sched", "sched_switch")
    fake.refuse("perf_event_open", 0)  # the first CPU is fine, the second is not
    fake.refuse("perf_event_open", errno.ENOMEM)
    with pytest.raises(AttachError, match="Cannot allocate memory"):
        perf_event.attach(PROGRAM)


def test_permission(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 1 << caps.CAP_BPF)
    fake.refuse("raw_tracepoint_open", errno.EPERM)
    with pytest.raises(PermissionDenied, match="attaching to raw tracepoint sched_switch needs CAP_PERFMON"):
        raw_tp.attach(PROGRAM, "sched_switch")


def test_raw_tracepoints(fake: FakeKernel) -> None:
    with raw_tp.attach(PROGRAM, "sched_switch"), tp_btf.attach(PROGRAM, "sched_switch"):
        assert [call["name"] for call in fake.called("raw_tracepoint_open")] == ["sched_switch", ""]
    fake.refuse("raw_tracepoint_open", errno.ENOENT)
    with pytest.raises(
        AttachError, match="no raw tracepoint sched_swich in this kernel; did you mean sched_switch"
    ):
        raw_tp.attach(PROGRAM, "sched_swich")


def test_sampling_opens_every_cpu(fake: FakeKernel) -> None:
    with perf_event.attach(PROGRAM, frequency=49) as link:
        assert [call["cpu"] for call in fake.called("perf_event_open")] == [0, 1, 2]
        assert {
            (call["type"], call["sample"], call["frequency"]) for call in fake.called("perf_event_open")
        } == {(1, 49, True)}
        assert len(link.fds) == 3
    assert link.closed


def test_a_cpu_that_went_away_is_passed_over(fake: FakeKernel) -> None:
    fake.refuse("perf_event_open", errno.ENODEV)
    with perf_event.attach(PROGRAM) as link:
        assert len(link.fds) == 2


@pytest.mark.parametrize(
    ("event", "number", "message"),
    [
        ("cycles", errno.ENOENT, "no hardware counter for cycles"),
        ("cpu-clock", errno.EINVAL, "perf_event_max_sample_rate"),
        ("cycels", 0, "did you mean cycles"),
        ("zzzz", 0, "known: cpu-clock"),
    ],
)
def test_sampling_that_does_not_go(fake: FakeKernel, event: str, number: int, message: str) -> None:
    if number:
        fake.refuse("perf_event_open", number)
    with pytest.raises(AttachError, match=message):
        perf_event.attach(PROGRAM, event)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("", ("cpu-clock", 0, 0)),
        ("cpu-clock:freq=99", ("cpu-clock", 99, 0)),
        ("task-clock:period=1000000", ("task-clock", 0, 1000000)),
        ("freq=7", ("cpu-clock", 7, 0)),
    ],
)
def test_sampling_in_section_names(text: str, parsed: tuple[str, int, int]) -> None:
    assert perf_event.parse(text) == parsed


@pytest.mark.parametrize("text", ["cpu-clock:freq=0", "cpu-clock:rate=5", "cpu-clock:freq=x"])
def test_sampling_in_section_names_that_is_wrong(text: str) -> None:
    with pytest.raises(AttachError, match="expected EVENT:freq=N"):
        perf_event.parse(text)


def test_closed_links(fake: FakeKernel) -> None:
    link = raw_tp.attach(PROGRAM, "sched_switch")
    link.detach()
    link.close()
    assert len(fake.called("close")) == 1
    with pytest.raises(ProbeeError, match="the link to raw tracepoint sched_switch is closed"):
        _ = link.fd
