"""Network and cgroup links against the fake kernel: what it is asked, and what is said when it refuses."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from probee.errors import AttachError, PermissionDenied, Unsupported
from probee.kernel import cgroups
from probee.kernel.links import cgroup, netfilter, netns, sockmap, tcx, xdp
from probee.kernel.links.anchors import LinkId, place
from probee.kernel.links.namespaces import inside, open_namespace
from probee.sys import caps, use
from probee.sys.bpf import ProgQuery
from probee.sys.fake import FakeKernel

FD = 5


def program(type: int, *, kind: str = "", attach_type: int = 0) -> Any:
    """As much of a program as links ask for."""
    spec = SimpleNamespace(attach_type=attach_type)
    return SimpleNamespace(fd=FD, id=70, name="prog", type=type, section=kind, kind=kind, spec=spec)


XDP, TC, NETFILTER, SK_LOOKUP, SKB, SK_MSG = 6, 3, 32, 30, 8, 16


@pytest.fixture
def fake() -> Iterator[FakeKernel]:
    with use(FakeKernel()) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert kernel.open == {}, "something was left open"


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """All capabilities."""
    monkeypatch.setattr(caps, "effective", lambda: (1 << 41) - 1)


@pytest.mark.parametrize(("mode", "flags"), [("", 0), ("generic", 2), ("native", 4), ("offload", 8)])
def test_xdp_asks_for_its_mode(fake: FakeKernel, mode: str, flags: int) -> None:
    with xdp.attach(program(XDP), "lo", mode=mode) as link:
        (asked,) = fake.called("link_create")
        assert (asked["target_fd"], asked["attach_type"], asked["flags"]) == (1, 37, flags)
        assert link.hook.startswith("xdp lo")


def test_xdp_without_rights_names_the_capability(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 1 << caps.CAP_BPF)
    fake.refuse("link_create", errno.EPERM)
    with pytest.raises(PermissionDenied, match="CAP_NET_ADMIN") as caught:
        xdp.attach(program(XDP), "lo")
    assert caught.value.capability == "CAP_NET_ADMIN"


def test_tcx_hands_over_its_place(fake: FakeKernel) -> None:
    other = tcx.attach(program(TC), "lo", "egress")
    with tcx.attach(program(TC), "lo", "egress", before=other, revision=9), other:
        asked = fake.called("link_create")[1]
        assert asked["attach_type"] == 47
        assert asked["flags"] == 8 | 1 << 13
        assert struct.unpack("=I4xQ", asked["extra"]) == (other.fd, 9)


def test_places() -> None:
    assert not place("hook")
    cases = [
        ({"first": True}, (8, 0)),
        ({"last": True}, (16, 0)),
        ({"before": 12}, (8 | 32, 12)),
        ({"after": LinkId(12)}, (16 | 32 | 1 << 13, 12)),
        ({"after": program(TC)}, (16, FD)),
    ]
    for options, (flags, relative) in cases:
        found = place("hook", **options)  # type: ignore[arg-type]
        assert (found.flags, found.relative) == (flags, relative)
    with pytest.raises(AttachError, match="only one of"):
        place("hook", first=True, last=True)


def test_a_kernel_without_tcx_is_named(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.EINVAL)
    fake.refuse("prog_query", errno.EINVAL)
    with pytest.raises(Unsupported, match="no tcx") as caught:
        tcx.attach(program(TC), "lo")
    assert caught.value.since == "6.6"


def test_a_changed_revision_is_named(fake: FakeKernel) -> None:
    fake.refuse("link_create", errno.ESTALE)
    fake.query = ProgQuery(0, [], 4)
    with pytest.raises(AttachError, match="its revision is 4, not 3; it has no programs"):
        tcx.attach(program(TC), "lo", revision=3)


def test_netfilter_packs_its_hook(fake: FakeKernel) -> None:
    with netfilter.attach(program(NETFILTER), "ipv6", "postrouting", priority=-5, defrag=True):
        (asked,) = fake.called("link_create")
        assert struct.unpack("=IIiI", asked["extra"]) == (10, 4, -5, 1)
    fake.refuse("link_create", errno.EINVAL)
    with pytest.raises(Unsupported, match="no netfilter links") as caught:
        netfilter.attach(program(NETFILTER))
    assert caught.value.since == "6.4"


def test_a_namespace_is_closed_again(fake: FakeKernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with netns.attach(program(SK_LOOKUP), "/proc/self/ns/net") as link:
        assert link.hook == "sk_lookup of network namespace /proc/self/ns/net"
        assert len(os.listdir("/proc/self/fd")) == before
    fake.refuse("link_create", errno.E2BIG)
    fake.query = ProgQuery(0, [])
    with pytest.raises(AttachError, match="attached already"):
        netns.attach(program(SK_LOOKUP))
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_runs_in_a_namespace_comes_back() -> None:
    fd = open_namespace()
    try:
        assert inside(fd, lambda: 7) == 7
        assert inside(fd, lambda: 7, thread=True) == 7
        with pytest.raises(KeyError):
            inside(fd, lambda: {}[1], thread=True)
    finally:
        os.close(fd)


def test_a_cgroup_link_is_closed_again(fake: FakeKernel, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    egress = program(SKB, kind="cgroup_skb/egress", attach_type=1)
    with cgroup.attach(egress, tmp_path):
        (asked,) = fake.called("link_create")
        assert (asked["attach_type"], asked["flags"], asked["extra"]) == (1, 0, b"")
        assert len(os.listdir("/proc/self/fd")) == before
    fake.refuse("link_create", errno.EINVAL)
    fake.refuse("prog_query", errno.EBADF)
    with pytest.raises(AttachError, match="no folder of a cgroup2 file system"):
        cgroup.attach(egress, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_cgroup_hook_that_the_kernel_lacks(fake: FakeKernel, tmp_path: Path) -> None:
    fake.refuse("link_create", errno.EINVAL)
    fake.refuse("prog_query", errno.EINVAL)
    unix = program(18, kind="cgroup/connect_unix", attach_type=49)
    with pytest.raises(Unsupported, match=r"cgroup_unix_connect of cgroup .* no such hook") as caught:
        cgroup.attach(unix, tmp_path)
    assert caught.value.since == "6.7"


def test_modes_that_exclude_each_other(fake: FakeKernel, everything: None, tmp_path: Path) -> None:
    fake.refuse("link_create", errno.EPERM)
    fake.query = ProgQuery(1, [33])
    with pytest.raises(AttachError, match=r"program 33 is attached there in mode override, .* mode multi"):
        cgroup.attach(program(SKB, kind="cgroup_skb/egress", attach_type=1), tmp_path)


def test_each_type_of_cgroup_program_has_hooks() -> None:
    for type, numbers in cgroup._OF_TYPE.items():
        for number in numbers:
            for name in cgroups.HOOKS[number]:
                assert cgroup._attach_type(program(type), name) == number
    covered = {number for numbers in cgroup._OF_TYPE.values() for number in numbers}
    assert covered == set(cgroups.HOOKS)


def test_sockmaps_fall_back(fake: FakeKernel) -> None:
    table = fake.map_create(15, 4, 8, 4, name="table")
    fake.refuse("link_create", errno.EINVAL)
    with pytest.raises(Unsupported, match="no links for sockmaps") as caught:
        sockmap.attach(program(SK_MSG), table, link=True)
    assert caught.value.since == "6.10"
    with sockmap.attach(program(SK_MSG), table):
        assert fake.called("link_create")[-1]["attach_type"] == 7
    fake.close(table)


def test_near_names_of_interfaces(fake: FakeKernel) -> None:
    with pytest.raises(AttachError, match=r"no network interface lop .*did you mean lo"):
        xdp.attach(program(XDP), "lop")
    with pytest.raises(AttachError, match="say which network interface"):
        xdp.attach(program(XDP), "")
