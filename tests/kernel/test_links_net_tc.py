"""Classic tc and tcx: verdicts on packets, their order, and whose qdisc it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbox import ip, live, namespace, udp_on_lo
from probee.errors import AttachError, Unsupported
from probee.kernel import network
from probee.kernel.links.anchors import LinkId
from probee.kernel.load import Collection
from probee.sys.netlink import Route

pytestmark = pytest.mark.root

SOURCE = r"""
u64 dropped, order; u32 step;
#define NOTE(n) order = order * 10 + n
SEC("tc") int drop(void *ctx) { dropped++; return 2; }
SEC("tc") int pass(void *ctx) { return 0; }
SEC("tcx/ingress") int one(void *ctx) { NOTE(1); return -1; }
SEC("tcx/ingress") int two(void *ctx) { NOTE(2); return -1; }
SEC("tcx/ingress") int three(void *ctx) { NOTE(3); return -1; }
SEC("tc") int four(void *ctx) { NOTE(4); return -1; }
SEC("tcx/egress") int leaving(void *ctx) { dropped++; return 2; }
"""
LO = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def loaded(folder: Path) -> Iterator[Collection]:
    with live(folder, SOURCE, "tc") as collection, namespace():
        yield collection


def has_qdisc(kind: str) -> bool:
    with Route() as route:
        return any(name == kind for name, _, _ in network.qdiscs(route, LO))


def filters() -> list[tuple[int, int, str]]:
    with Route() as route:
        return [(f.priority, f.handle, f.name) for f in network.tc_of(route, LO)]


@pytest.fixture
def tcx(loaded: Collection) -> Collection:
    try:
        loaded.programs["one"].attach_tcx("lo").close()
    except Unsupported as error:
        pytest.skip(str(error))
    return loaded


def path_of(loaded: Collection) -> int:
    """The order in which programs saw one datagram."""
    loaded.globals.order = 0
    assert udp_on_lo() == b"hello"
    return int(loaded.globals.order)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_clsact_filter_drops(loaded: Collection, direction: str) -> None:
    assert udp_on_lo() == b"hello"
    with loaded.programs["drop"].attach_tc("lo", direction) as link:
        assert udp_on_lo() is None
        assert loaded.globals.dropped >= 1
        assert has_qdisc("clsact")
        assert filters() == [(link.priority, link.handle, "drop")]
        assert link.priority
        assert link.handle
        assert link.info().attached
        link.update(loaded.programs["pass"])
        assert link.info().prog_id == loaded.programs["pass"].id
        assert udp_on_lo() == b"hello"
        assert filters() == [(link.priority, link.handle, "pass")]
    assert udp_on_lo() == b"hello"
    assert not has_qdisc("clsact")


def test_priorities_decide_the_order(loaded: Collection) -> None:
    with (
        loaded.programs["four"].attach_tc("lo", priority=20) as later,
        loaded.programs["one"].attach_tc("lo", priority=10, handle=7) as earlier,
    ):
        assert path_of(loaded) == 14
        assert (later.priority, earlier.priority, earlier.handle) == (20, 10, 7)
        with pytest.raises(AttachError, match=r"priority 10, handle 7 is taken by program \d+ \(one\)"):
            loaded.programs["two"].attach_tc("lo", priority=10, handle=7)
        with loaded.programs["two"].attach_tc("lo", priority=10, handle=7, replace=True):
            assert path_of(loaded) == 24
        assert path_of(loaded) == 4
        with pytest.raises(AttachError, match="gone"):
            earlier.update(loaded.programs["three"])


def test_without_direct_action_the_program_classifies(loaded: Collection) -> None:
    """`drop` returns 2, which is then the number of a class and no verdict."""
    with loaded.programs["drop"].attach_tc("lo", direct_action=False):
        assert udp_on_lo() == b"hello"
        assert loaded.globals.dropped >= 1


def test_a_qdisc_of_others_stays(loaded: Collection) -> None:
    ip("qdisc add dev lo clsact", "tc")
    loaded.programs["pass"].attach_tc("lo").close()
    assert has_qdisc("clsact")


def test_a_qdisc_of_ours_stays_while_others_use_it(loaded: Collection) -> None:
    first = loaded.programs["pass"].attach_tc("lo")
    second = loaded.programs["pass"].attach_tc("lo", "egress")
    first.close()
    assert has_qdisc("clsact")
    second.close()
    assert has_qdisc("clsact")  # it was the first's, who left it to the second


def test_the_qdisc_ingress_has_no_egress(loaded: Collection) -> None:
    ip("qdisc add dev lo ingress", "tc")
    with loaded.programs["drop"].attach_tc("lo", "ingress"):
        assert udp_on_lo() is None
    with pytest.raises(AttachError, match="qdisc ingress, which has no egress"):
        loaded.programs["drop"].attach_tc("lo", "egress")


def test_a_filter_is_taken_off_from_another_namespace(loaded: Collection) -> None:
    link = loaded.programs["drop"].attach_tc("lo")
    with namespace():
        link.close()
    assert not filters()
    assert not has_qdisc("clsact")


def test_inside_an_event_loop(loaded: Collection) -> None:
    async def run() -> None:
        with loaded.programs["drop"].attach_tc("lo"):
            assert len(filters()) == 1

    asyncio.run(run())
    assert not filters()


def test_wrong_words_are_named(loaded: Collection) -> None:
    with pytest.raises(AttachError, match="ingress or egress"):
        loaded.programs["drop"].attach_tc("lo", "sideways")
    with pytest.raises(AttachError, match="1 to 65535"):
        loaded.programs["drop"].attach_tc("lo", priority=1 << 16)
    with pytest.raises(AttachError, match="say which"):
        loaded.programs["drop"].attach_tc("lo", replace=True)
    with pytest.raises(AttachError, match="no network interface"):
        loaded.programs["drop"].attach_tc("nope")


# ---- tcx


def test_tcx_drops_at_both_ends(tcx: Collection) -> None:
    with tcx.programs["drop"].attach_tcx("lo", "ingress"):
        assert udp_on_lo() is None
    with tcx.programs["leaving"].attach_tcx("lo") as link:
        assert udp_on_lo() is None
        assert [p.prog_id for p in network.ordered(LO, 47)] == [tcx.programs["leaving"].id]
        assert [p.link_id for p in network.ordered(LO, 47)] == [link.id]
        link.update(tcx.programs["pass"])
        assert udp_on_lo() == b"hello"
    assert udp_on_lo() == b"hello"


def test_tcx_order_by_every_kind_of_anchor(tcx: Collection) -> None:
    one, two, three, four = (tcx.programs[n] for n in ("one", "two", "three", "four"))
    with one.attach_tcx("lo") as first:
        with two.attach_tcx("lo", first=True), three.attach_tcx("lo", last=True):
            assert path_of(tcx) == 213
        with two.attach_tcx("lo", before=one):  # a program
            assert path_of(tcx) == 21
            with four.attach_tcx("lo", "ingress", after=two):
                assert path_of(tcx) == 241
        with two.attach_tcx("lo", before=first):  # a link
            assert path_of(tcx) == 21
        with two.attach_tcx("lo", before=one.id):  # a program's id
            assert path_of(tcx) == 21
        with two.attach_tcx("lo", before=LinkId(first.id)):
            assert path_of(tcx) == 21
        with pytest.raises(AttachError, match=rf"go before or after.*it has program {one.id} \(one\)"):
            two.attach_tcx("lo", before=three)
        with pytest.raises(AttachError, match="only one of before"):
            two.attach_tcx("lo", before=one, first=True)
        with pytest.raises(AttachError, match="attached there already"):
            one.attach_tcx("lo")


def test_tcx_revision_guards_against_changes(tcx: Collection) -> None:
    from probee import sys

    one, two = tcx.programs["one"], tcx.programs["two"]
    with one.attach_tcx("lo"):
        revision = sys.kernel().prog_query(LO, 46).revision
        with two.attach_tcx("lo", revision=revision):
            assert path_of(tcx) == 12
        with pytest.raises(AttachError, match=rf"its revision is \d+, not {revision}"):
            two.attach_tcx("lo", revision=revision)


def test_tcx_without_a_link(tcx: Collection) -> None:
    one, two, three = (tcx.programs[n] for n in ("one", "two", "three"))
    with one.attach_tcx("lo", link=False) as plain, two.attach_tcx("lo", before=plain):
        assert path_of(tcx) == 21
        plain.update(three)
        assert path_of(tcx) == 23
        assert plain.info().to_dict()["attached"]
        with one.attach_tcx("lo", replace=three, link=False):
            assert not plain.info().to_dict()["attached"]
            assert path_of(tcx) == 21
        assert path_of(tcx) == 2
        with pytest.raises(AttachError, match=r"update\(\)"):
            one.attach_tcx("lo", replace=two)
        with pytest.raises(AttachError, match="belongs to a link"):
            one.attach_tcx("lo", replace=two, link=False)
    assert network.ordered(LO, 46) == []
