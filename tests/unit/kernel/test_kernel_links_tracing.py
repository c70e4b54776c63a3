"""Kprobes and BTF hooks against the fake kernel: which way is taken, what is passed, what is said."""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from pathlib import Path
from struct import unpack

import pytest

from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links import functions, iter, kprobe, kprobe_multi, ksyscall, lsm, struct_ops, tracing
from probee.kernel.links.perf import PerfLink
from probee.kernel.struct_ops import StructOps
from probee.symbols import ftrace
from probee.symbols.kallsyms import KernelSymbols
from probee.sys import probe_events, tracefs, use
from probee.sys.fake import FakeKernel

PROGRAM = 5  # any descriptor

SYMBOLS = """\
ffffffff81000010 T do_nanosleep
ffffffff81000020 t helper.isra.0
ffffffff81000030 t twice
ffffffff81000040 t twice
ffffffff81000050 T exc_int3
ffffffff81000060 T __x64_sys_getpgid
ffffffff81000065 T __x64_sys_openat
ffffffffc0000010 t work\t[virtio]
"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeKernel]:
    monkeypatch.setattr(kprobe, "_sysfs", lambda name: {"type": "8", "format/retprobe": "config:0"}[name])
    monkeypatch.setattr(KernelSymbols, "read", classmethod(lambda cls: cls(SYMBOLS.encode())))
    monkeypatch.setattr(ftrace, "blacklisted", lambda name: name == "exc_int3")
    monkeypatch.setattr(tracefs, "_found", str(tmp_path))
    monkeypatch.setattr(tracefs, "event_id", lambda group, event: 77)
    (tmp_path / probe_events.KPROBES).write_text("")
    with use(FakeKernel(cpus=2)) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"
    assert "p:" not in "".join(left(tmp_path))


def left(folder: Path) -> list[str]:
    """The probes that were added to tracefs and not removed."""
    out: dict[str, str] = {}
    for line in (folder / probe_events.KPROBES).read_text().splitlines():
        name = line.split()[0].partition(":")[2]
        if line.startswith("-:"):
            out.pop(name, None)
        else:
            out[name] = line
    return list(out.values())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("do_exit", ("do_exit", 0, "", 0)),
        ("do_exit+0x10", ("do_exit", 16, "", 0)),
        ("virtio:work+4", ("work", 4, "virtio", 0)),
        ("0xffffffff81000010", ("", 0, "", 0xFFFFFFFF81000010)),
        ("", None),
        ("a+b", None),
        (":a", None),
        ("a:", None),
        ("a+-1", None),
        ("0xzz", None),
    ],
)
def test_places(text: str, place: tuple[str, int, str, int] | None) -> None:
    if place is None:
        with pytest.raises(AttachError, match="expected FUNCTION, FUNCTION"):
            kprobe.parse(text)
    else:
        found = kprobe.parse(text)
        assert (found.name, found.offset, found.module, found.address) == place


def test_a_kprobe_is_a_link_of_a_perf_event(fake: FakeKernel) -> None:
    with kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep", 4), cookie=9) as link:
        (opened,) = fake.called("perf_event_open")
        assert (opened["type"], opened["config"], opened["path"], opened["config2"]) == (
            8,
            0,
            "do_nanosleep",
            4,
        )
        assert fake.called("link_create")[0]["cookie"] == 9
        assert link.hook == "kprobe do_nanosleep+0x4"
    with kprobe.attach(PROGRAM, kprobe.Place("", 4, "", 0x1000), returns=False):
        opened = fake.called("perf_event_open")[-1]
        assert (opened["path"], opened["config2"]) == (None, 0x1004)
    with kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"), returns=True):
        assert fake.called("perf_event_open")[-1]["config"] == 1


def test_the_older_ways(fake: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"), way="perf") as link:
        assert isinstance(link, PerfLink)
    with kprobe.attach(PROGRAM, kprobe.Place("work", 0, "virtio"), way="tracefs"):
        (line,) = left(tmp_path)
        assert line.startswith("p:probee_")
        assert line.endswith(" virtio:work")
        opened = fake.called("perf_event_open")[-1]
        assert (opened["type"], opened["config"]) == (2, 77)
    assert left(tmp_path) == []
    with kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"), returns=True, maxactive=32):
        assert left(tmp_path)[0].startswith("r32:")
    monkeypatch.setattr(kprobe, "_pmu_type", lambda: None)  # before Linux 4.17
    with kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep")):
        assert len(left(tmp_path)) == 1
    with pytest.raises(Unsupported, match="no kprobes"):
        kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"), way="perf")
    (tmp_path / probe_events.KPROBES).unlink()
    with pytest.raises(Unsupported, match="no kprobes"):
        kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"))
    (tmp_path / probe_events.KPROBES).write_text("")


def test_a_failure_leaves_no_probe_in_tracefs(fake: FakeKernel, tmp_path: Path) -> None:
    for call in ("perf_event_open", "ioctl"):
        fake.refuse(call, errno.ENOMEM)
        with pytest.raises(AttachError, match="Cannot allocate memory"):
            kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"), way="tracefs")
        assert left(tmp_path) == []


def test_a_module_that_the_kernel_does_not_split_from_the_name(fake: FakeKernel) -> None:
    fake.refuse("perf_event_open", errno.ENOENT)
    with kprobe.attach(PROGRAM, kprobe.Place("work", 2, "virtio")):
        named, addressed = fake.called("perf_event_open")
        assert (named["path"], addressed["path"]) == ("virtio:work", None)
        assert addressed["config2"] == 0xFFFFFFFFC0000012


@pytest.mark.parametrize(
    ("place", "number", "message"),
    [
        (kprobe.Place("do_nanoslep"), errno.ENOENT, "no function do_nanoslep; did you mean do_nanosleep"),
        (kprobe.Place("helper"), errno.ENOENT, r"did you mean helper\.isra\.0"),
        (kprobe.Place("qqqqqqqq"), errno.ENOENT, "see /proc/kallsyms"),
        (kprobe.Place("twice"), errno.EADDRNOTAVAIL, r"2 functions twice \(at 0xffffffff81000030, 0x"),
        (kprobe.Place("exc_int3"), errno.EINVAL, "must not be probed"),
        (kprobe.Place("do_nanosleep", 3), errno.EILSEQ, "no instruction starts there"),
        (kprobe.Place("do_nanosleep"), errno.ENOMEM, "Cannot allocate memory"),
        (kprobe.Place("work", 0, "nfs"), errno.ENODEV, "module nfs is not loaded"),
        (kprobe.Place("do_nanosleep", 0, "virtio"), errno.ENODEV, "not in module virtio but in vmlinux"),
    ],
)
def test_why_a_function_is_not_probed(
    fake: FakeKernel, place: kprobe.Place, number: int, message: str
) -> None:
    fake.refuse("perf_event_open", number, times=2)
    with pytest.raises(AttachError, match=message) as caught:
        kprobe.attach(PROGRAM, place)
    assert caught.value.errno == number


def test_a_kprobe_that_is_forbidden(fake: FakeKernel) -> None:
    fake.refuse("perf_event_open", errno.EPERM)
    with pytest.raises(PermissionDenied, match="attaching to kprobe do_nanosleep"):
        kprobe.attach(PROGRAM, kprobe.Place("do_nanosleep"))


def test_what_makes_no_sense(fake: FakeKernel) -> None:
    place = kprobe.Place("do_nanosleep", 4)
    with pytest.raises(AttachError, match="a return has no offset"):
        kprobe.attach(PROGRAM, place, returns=True)
    with pytest.raises(AttachError, match="maxactive is for returns"):
        kprobe.attach(PROGRAM, place, maxactive=1)
    with pytest.raises(ProbeeError, match="expected one of auto, perf, tracefs"):
        kprobe.attach(PROGRAM, place, way="magic")


def test_system_calls(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ksyscall, "_machine", lambda: "x86_64")
    with ksyscall.attach(PROGRAM, "getpgid") as link:
        assert fake.called("perf_event_open")[0]["path"] == "__x64_sys_getpgid"
        assert link.hook == "ksyscall getpgid"
    with pytest.raises(AttachError, match="no system call opennat; did you mean openat"):
        ksyscall.attach(PROGRAM, "opennat")


def numbers(address: int, count: int) -> list[int]:
    return list(unpack(f"={count}Q", ctypes.string_at(address, 8 * count))) if address else []


def test_many_kprobes(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    traceable = b"do_nanosleep\ndo_exit\nvfs_read\n"
    monkeypatch.setattr(ftrace.Traceable, "read", classmethod(lambda cls: cls(traceable)))
    seen: list[tuple[list[str], list[int], list[int], int]] = []
    create = fake.link_create

    def spy(prog: int, target: int, kind: int, *, flags: int = 0, cookie: int = 0, extra: bytes = b"") -> int:
        how, count, names, addresses, cookies = unpack("=IIQQQ", extra)
        texts = [ctypes.string_at(p).decode() for p in numbers(names, count)]
        seen.append((texts, numbers(addresses, count), numbers(cookies, count), how))
        return create(prog, target, kind, extra=extra)

    monkeypatch.setattr(type(fake), "link_create", lambda self, *a, **k: spy(*a, **k))
    with kprobe_multi.attach(PROGRAM, "do_*", cookie=3) as link:
        assert link.hook == "kprobe.multi do_* (2 functions)"
    kprobe_multi.attach(PROGRAM, addresses=[0x10, 0x20], cookies=[1, 2], returns=True).close()
    kprobe_multi.attach(PROGRAM, functions=["vfs_read"], session=True).close()
    assert seen == [
        (["do_nanosleep", "do_exit"], [], [3, 3], 0),
        ([], [0x10, 0x20], [1, 2], 1),
        (["vfs_read"], [], [], 0),
    ]
    assert [call["attach_type"] for call in fake.called("link_create")] == [42, 42, 56]
    fake.refuse("link_create", errno.ESRCH)
    with pytest.raises(AttachError, match="twice can't be traced: it is marked notrace"):
        kprobe_multi.attach(PROGRAM, functions=["do_exit", "twice"])
    fake.refuse("link_create", errno.EINVAL)
    with pytest.raises(Unsupported, match=r"kprobe\.multi do_exit: .*CONFIG_FPROBE") as caught:
        kprobe_multi.attach(PROGRAM, functions=["do_exit"])
    assert caught.value.since == "5.18"


@pytest.mark.parametrize(
    ("number", "cookie", "kind", "message"),
    [
        (errno.EPERM, 0, PermissionDenied, "attaching to fentry x"),
        (524, 0, Unsupported, "no BPF trampolines"),
        (errno.E2BIG, 0, AttachError, "too many programs"),
        (errno.EBUSY, 0, AttachError, "holds that function"),
        (errno.EINVAL, 5, Unsupported, "take no cookie"),
        (errno.EINVAL, 0, AttachError, "Invalid argument"),
    ],
)
def test_tracing_links_that_are_refused(
    fake: FakeKernel, number: int, cookie: int, kind: type[Exception], message: str
) -> None:
    fake.refuse("link_create" if cookie else "raw_tracepoint_open", number)
    with pytest.raises(kind, match=message):
        tracing.attach(PROGRAM, "fentry x", cookie=cookie, attach_type=24)


def test_freplace_is_refused(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL)
    with pytest.raises(AttachError, match="the function's arguments differ"):
        tracing.attach_to_program(PROGRAM, 6, 3, "freplace x")


def test_iterators_are_told_what_to_walk(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    create = fake.link_create

    def spy(self: FakeKernel, prog: int, target: int, kind: int, *, extra: bytes) -> int:
        address, size = unpack("=QI", extra)
        seen.append(ctypes.string_at(address, size) if address else b"")
        return create(prog, target, kind, extra=extra)

    monkeypatch.setattr(type(fake), "link_create", spy)
    iter.attach(PROGRAM, "task").close()
    iter.attach(PROGRAM, "bpf_map_elem", map_fd=9).close()
    iter.attach(PROGRAM, "task", tid=3).close()
    iter.attach(PROGRAM, "task_vma", pid=4).close()
    iter.attach(PROGRAM, "task_file", pidfd=5).close()
    iter.attach(PROGRAM, "cgroup", cgroup=77, order="up").close()
    words = [unpack(f"={len(s) // 4}I", s) for s in seen]
    assert words == [(), (9, 0, 0, 0), (3, 0, 0, 0), (0, 4, 0, 0), (0, 0, 5, 0), (4, 0, 77, 0)]
    fake.refuse("link_create", errno.ESRCH)
    with pytest.raises(AttachError, match="no such process"):
        iter.attach(PROGRAM, "task", pid=4)


class FakeMap:
    fd = 8


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EEXIST, "of that name is registered already"),
        (errno.EINVAL, "finds a function missing"),
        (errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_struct_ops_that_are_refused(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    monkeypatch.setattr(struct_ops, "_fill", lambda ops: None)
    fake.refuse("link_create", number)
    with pytest.raises(AttachError, match=message):
        struct_ops.attach_struct_ops(StructOps("x", "tcp_congestion_ops", True, FakeMap(), b""))


def test_security_modules_without_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lsm, "_MODULES", str(tmp_path / "none"))
    lsm.check_active("lsm x")


def test_near_names_of_a_big_table() -> None:
    lines = [f"ffffffff{i:08x} T tcp_v4_function_{i}\n" for i in range(3000)]
    symbols = KernelSymbols("".join([*lines, "ffffffff81000010 T tcp_v4_connect\n"]).encode())
    assert functions.near("tcp_v4_conect", symbols)[0] == "tcp_v4_connect"
    assert functions.near("tcp_v4_con", symbols)
