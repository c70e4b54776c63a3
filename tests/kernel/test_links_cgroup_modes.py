"""Programs of cgroups together: modes, order, replacement, what is effective below."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbox import Cgroup, cgroup, live, namespace, udp_on_lo
from probee.errors import AttachError, Unsupported
from probee.kernel import cgroups
from probee.kernel.links.anchors import LinkId
from probee.kernel.load import Collection

pytestmark = pytest.mark.root

SOURCE = r"""
u64 order;
#define NOTE(n) { order = order * 10 + n; return 1; }
SEC("cgroup_skb/egress") int drop(void *ctx) { return 0; }
SEC("cgroup_skb/egress") int one(void *ctx) NOTE(1)
SEC("cgroup_skb/egress") int two(void *ctx) NOTE(2)
SEC("cgroup_skb/egress") int three(void *ctx) NOTE(3)
SEC("cgroup/skb") int either(void *ctx) NOTE(4)
SEC("cgroup/dev") int device(void *ctx) { return 1; }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def loaded(folder: Path) -> Iterator[Collection]:
    with live(folder, SOURCE, "modes") as collection, namespace():
        yield collection


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with cgroup() as made:
        yield made


def path_of(loaded: Collection, group: Cgroup) -> int:
    """The order in which programs saw one datagram of a process in the cgroup."""
    loaded.globals.order = 0
    with group:
        assert udp_on_lo() == b"hello"
    return int(loaded.globals.order)


def attached(group: Cgroup, *, effective: bool = False) -> list[int]:
    fd = cgroups.open_cgroup(group.path)
    try:
        return [one.prog_id for one in cgroups.attached(fd, effective=effective)]
    finally:
        os.close(fd)


def test_link_updates_and_is_pinned(loaded: Collection, group: Cgroup) -> None:
    from probee.kernel.links import Link

    drop, one = loaded.programs["drop"], loaded.programs["one"]
    path = f"/sys/fs/bpf/probee-test-cgroup-{os.getpid()}"
    link = one.attach_cgroup(group.path)
    assert path_of(loaded, group) == 1
    link.update(drop, old=one)
    with group:
        assert udp_on_lo() is None
    link.pin(path)
    link.close()
    with group:
        assert udp_on_lo() is None
    with Link.open(path) as again:
        again.detach()
    assert attached(group) == []


def test_several_run_in_the_order_they_came(loaded: Collection, group: Cgroup) -> None:
    one, two, three = (loaded.programs[n] for n in ("one", "two", "three"))
    with (
        one.attach_cgroup(group.path),
        two.attach_cgroup(group.path, link=False),
        three.attach_cgroup(group.path),
    ):
        assert path_of(loaded, group) == 123
        assert attached(group) == [one.id, two.id, three.id]
    assert attached(group) == []


def test_order_by_every_kind_of_anchor(loaded: Collection, group: Cgroup) -> None:
    one, two, three = (loaded.programs[n] for n in ("one", "two", "three"))
    with one.attach_cgroup(group.path) as first:
        try:
            with two.attach_cgroup(group.path, first=True), three.attach_cgroup(group.path, last=True):
                assert path_of(loaded, group) == 213
        except Unsupported as error:
            pytest.skip(f"{error} (since {error.since})")
        for anchor in (one, first, one.id, LinkId(first.id)):
            with two.attach_cgroup(group.path, before=anchor):
                assert path_of(loaded, group) == 21
        with pytest.raises(AttachError, match="links go before and after links"):
            two.attach_cgroup(group.path, before=three)
        with pytest.raises(AttachError, match="links go before and after links"):
            two.attach_cgroup(group.path, before=first, link=False)


def test_order_of_programs_without_links(loaded: Collection, group: Cgroup) -> None:
    one, two, three = (loaded.programs[n] for n in ("one", "two", "three"))
    with one.attach_cgroup(group.path, link=False) as first:
        try:
            second = two.attach_cgroup(group.path, before=one, link=False)
        except Unsupported as error:
            pytest.skip(str(error))
        with second, three.attach_cgroup(group.path, before=first, link=False):
            assert path_of(loaded, group) == 231


def test_preorder_runs_before_the_cgroups_below(loaded: Collection, group: Cgroup) -> None:
    one, two = loaded.programs["one"], loaded.programs["two"]
    child = group.child()
    with one.attach_cgroup(child.path):
        with two.attach_cgroup(group.path):
            assert path_of(loaded, child) == 12
        try:
            with two.attach_cgroup(group.path, preorder=True):
                assert path_of(loaded, child) == 21
        except Unsupported as error:
            pytest.skip(f"{error} (since {error.since})")


def test_effective_programs_come_from_above(loaded: Collection, group: Cgroup) -> None:
    one, two = loaded.programs["one"], loaded.programs["two"]
    child = group.child()
    with one.attach_cgroup(group.path), two.attach_cgroup(child.path):
        assert attached(child) == [two.id]
        assert attached(child, effective=True) == [two.id, one.id]
        assert attached(group, effective=True) == [one.id]
        assert {path for path, _ in cgroups.tree(group.path)} == {group.path, child.path}


def test_exclusive_admits_none(loaded: Collection, group: Cgroup) -> None:
    one, two = loaded.programs["one"], loaded.programs["two"]
    child = group.child()
    with one.attach_cgroup(group.path, mode="exclusive", link=False):
        assert path_of(loaded, child) == 1
        with pytest.raises(
            AttachError, match=rf"program {one.id} \(one\) is attached there in mode exclusive"
        ):
            two.attach_cgroup(group.path)
        with pytest.raises(AttachError, match=f"attached to its parent {group.path} in mode exclusive"):
            two.attach_cgroup(child.path)


def test_override_is_overridden_below(loaded: Collection, group: Cgroup) -> None:
    one, two = loaded.programs["one"], loaded.programs["two"]
    child = group.child()
    with one.attach_cgroup(group.path, mode="override", link=False) as above:
        with two.attach_cgroup(child.path, mode="override", link=False):
            assert path_of(loaded, child) == 2
            assert path_of(loaded, group) == 1
        assert path_of(loaded, child) == 1
        above.update(two)
        assert path_of(loaded, child) == 2
        with pytest.raises(AttachError, match="in mode override, which admits no other in mode multi"):
            one.attach_cgroup(group.path)


def test_replace_in_multi_mode(loaded: Collection, group: Cgroup) -> None:
    one, two, three = (loaded.programs[n] for n in ("one", "two", "three"))
    first = one.attach_cgroup(group.path, link=False)
    with two.attach_cgroup(group.path, link=False):
        with three.attach_cgroup(group.path, link=False, replace=one):
            assert path_of(loaded, group) == 32
            assert not first.info().to_dict()["attached"]
            first.close()  # its program is not there any more
            assert path_of(loaded, group) == 32
            with pytest.raises(AttachError, match="program one is not attached there"):
                loaded.programs["drop"].attach_cgroup(group.path, link=False, replace=one)
        with pytest.raises(AttachError, match="the program is attached there already"):
            two.attach_cgroup(group.path, link=False)
    with two.attach_cgroup(group.path, link=False) as plain:
        plain.update(three)
        assert path_of(loaded, group) == 3
        with pytest.raises(Unsupported, match="can't be pinned"):
            plain.pin("/sys/fs/bpf/never")


def test_what_leave_leaves_stays(loaded: Collection, group: Cgroup) -> None:
    link = loaded.programs["one"].attach_cgroup(group.path, link=False)
    link.leave()  # type: ignore[attr-defined]
    assert attached(group) == [loaded.programs["one"].id]


def test_the_direction_may_have_to_be_said(loaded: Collection, group: Cgroup) -> None:
    either = loaded.programs["either"]
    with pytest.raises(AttachError, match="pass hook= one of ingress, egress"):
        either.attach_cgroup(group.path)
    with either.attach_cgroup(group.path, "egress"):
        assert path_of(loaded, group) == 4
    with either.attach_cgroup(group.path, "cgroup_inet_ingress"), group:
        assert udp_on_lo() == b"hello"
    with pytest.raises(AttachError, match="programs of its type have ingress, egress"):
        either.attach_cgroup(group.path, "connect4")


def test_what_is_no_cgroup_is_named(loaded: Collection, group: Cgroup, tmp_path: Path) -> None:
    one = loaded.programs["one"]
    with pytest.raises(AttachError, match="no folder of a cgroup2 file system; cgroup2 is mounted at"):
        one.attach_cgroup(tmp_path)
    with pytest.raises(AttachError, match="there is no such folder; cgroup2 is mounted at"):
        one.attach_cgroup("/no/such/folder")
    with one.attach_cgroup(os.path.basename(group.path)):  # below the mount
        assert path_of(loaded, group) == 1
    fd = os.open(group.path, os.O_RDONLY)
    with one.attach_cgroup(fd):
        assert path_of(loaded, group) == 1
    os.close(fd)
    with pytest.raises(AttachError, match="pass link=False"):
        one.attach_cgroup(group.path, mode="override")
    with pytest.raises(AttachError, match="multi, override or exclusive"):
        one.attach_cgroup(group.path, mode="alone", link=False)
    with one.attach(group.path):
        assert path_of(loaded, group) == 1
