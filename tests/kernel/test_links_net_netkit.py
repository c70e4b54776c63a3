"""netkit pairs: programs at either end, in order."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbox import Namespace, ip, live, namespace
from probee.errors import AttachError, Unsupported
from probee.kernel import network
from probee.kernel.load import Collection

pytestmark = pytest.mark.root

SOURCE = r"""
u64 order;
SEC("netkit/primary") int drop(void *ctx) { return 2; }
SEC("netkit/peer") int drop_peer(void *ctx) { return 2; }
SEC("netkit/primary") int one(void *ctx) { order = order * 10 + 1; return -1; }
SEC("netkit/primary") int two(void *ctx) { order = order * 10 + 2; return -1; }
SEC("tc") int three(void *ctx) { order = order * 10 + 3; return -1; }
"""
HERE, THERE = "10.8.0.1", "10.8.0.2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def loaded(folder: Path) -> Iterator[Collection]:
    with live(folder, SOURCE, "netkit") as collection:
        yield collection


@pytest.fixture
def ends() -> Iterator[tuple[Namespace, Namespace]]:
    """Namespaces with the primary end `nkp` (10.8.0.1) and its peer (10.8.0.2); the thread is in that."""
    with namespace() as here:
        try:
            ip("link add nkp type netkit")
        except OSError:
            pytest.skip("this kernel has no netkit devices")
        peer = next(name for _, name in socket.if_nameindex() if name not in ("lo", "nkp"))
        there = Namespace()
        ip(f"link set {peer} netns {there.path}")
        ip(f"addr add {HERE}/24 dev nkp")
        ip("link set nkp up")
        with there:
            ip(f"addr add {THERE}/24 dev {peer}")
            ip(f"link set {peer} up")
        yield here, there
        there.close()


def carries(sender: Namespace, receiver: Namespace, address: str) -> bool:
    with receiver:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind((address, 7777))
        server.settimeout(0.3)
        client.sendto(b"x", (address, 7777))
        try:
            return server.recv(10) == b"x"
        except TimeoutError:
            return False


def test_each_end_has_its_programs(loaded: Collection, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    assert carries(here, there, THERE)
    assert carries(there, here, HERE)
    with loaded.programs["drop"].attach_netkit("nkp") as link:
        assert not carries(here, there, THERE)
        assert carries(there, here, HERE)
        index = socket.if_nametoindex("nkp")
        assert [one.link_id for one in network.ordered(index, 54)] == [link.id]
        link.update(loaded.programs["one"])
        assert carries(here, there, THERE)
    with loaded.programs["drop_peer"].attach_netkit("nkp"):
        assert carries(here, there, THERE)
        assert not carries(there, here, HERE)
    assert carries(there, here, HERE)


def test_order(loaded: Collection, ends: tuple[Namespace, Namespace]) -> None:
    here, there = ends
    one, two, three = (loaded.programs[n] for n in ("one", "two", "three"))
    with (
        one.attach_netkit("nkp"),
        two.attach_netkit("nkp", before=one) as second,
        three.attach_netkit("nkp", "primary", after=second, link=False),
    ):
        loaded.globals.order = 0
        assert carries(here, there, THERE)
        assert loaded.globals.order == 231


def test_other_interfaces_are_named(loaded: Collection) -> None:
    with namespace():
        try:
            with pytest.raises(AttachError, match="not the primary end of a netkit pair"):
                loaded.programs["one"].attach_netkit("lo")
        except Unsupported as error:
            pytest.skip(str(error))
        with pytest.raises(AttachError, match="primary or peer"):
            loaded.programs["one"].attach_netkit("lo", "middle")
