"""XDP on veth pairs and loopback: what programs do to packets, and what is said when they can't attach."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from needs import needs
from netbox import Pair, ip, live, namespace, pair, udp_on_lo
from probee.errors import AttachError, Unsupported
from probee.kernel import network
from probee.kernel.load import Collection
from probee.sys.netlink import Route

pytestmark = pytest.mark.root

SOURCE = r"""
struct xdp_md { u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex; };
static long (*redirect_map)(void *, u64, u64) = (void *)51;
struct target { u32 number; int fd; };
MAP(14, 4, u32, struct target) devices SEC(".maps");
MAP(16, 64, u32, struct target) cpus SEC(".maps");
u64 dropped, passed, seen, on_device, on_cpu;

SEC("xdp") int drop(struct xdp_md *ctx) { dropped++; return 1; }
SEC("xdp") int pass(struct xdp_md *ctx) { passed++; return 2; }
SEC("xdp") int pass_too(struct xdp_md *ctx) { passed++; return 2; }
SEC("xdp") int to_device(struct xdp_md *ctx) { return redirect_map(&devices, 0, 0); }
SEC("xdp") int to_cpu(struct xdp_md *ctx) { return redirect_map(&cpus, 0, 0); }
static int is_marked(struct xdp_md *ctx) {
    u8 *at = (u8 *)(long)ctx->data;
    return at + 43 <= (u8 *)(long)ctx->data_end && at[42] == 'Z';
}
SEC("xdp") int look(struct xdp_md *ctx) { if (is_marked(ctx)) seen++; return 1; }
SEC("xdp/devmap") int device_program(struct xdp_md *ctx) {
    u8 *at = (u8 *)(long)ctx->data;
    on_device++;
    if (at + 43 <= (u8 *)(long)ctx->data_end && at[42] == 'h') at[42] = 'Z';
    return 2;
}
SEC("xdp/cpumap") int cpu_program(struct xdp_md *ctx) { on_cpu++; return 1; }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def loaded(folder: Path) -> Iterator[Collection]:
    with live(folder, SOURCE, "xdp") as collection:
        yield collection


@pytest.fixture
def wire() -> Iterator[Pair]:
    with pair() as made:
        yield made


def eventually(check: object, seconds: float = 1.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("mode", ["", "native", "generic"])
def test_packets_are_dropped_while_attached(loaded: Collection, wire: Pair, mode: str) -> None:
    assert wire.reaches() == b"hello"
    with wire.there:
        link = loaded.programs["drop"].attach_xdp("far", mode=mode)
        index = next(d.index for d in network.devices(Route()) if d.name == "far")
        assert network.xdp_of(index) == [(mode.replace("native", "") or "driver", loaded.programs["drop"].id)]
    with link:
        assert wire.reaches() is None
        assert loaded.globals.dropped >= 1
        assert link.info().prog_id == loaded.programs["drop"].id
    assert wire.reaches() == b"hello"


def test_update_changes_the_program_in_place(loaded: Collection, wire: Pair) -> None:
    drop, passing = loaded.programs["drop"], loaded.programs["pass"]
    with wire.there, drop.attach_xdp("far") as link:
        assert wire.reaches() is None
        link.update(passing, old=drop)
        assert wire.reaches() == b"hello"
        with pytest.raises(AttachError, match="does not run program drop"):
            link.update(drop, old=drop)
        link.update(drop)
        assert wire.reaches() is None


def test_a_link_is_pinned_and_found_again(loaded: Collection, wire: Pair) -> None:
    from probee.kernel.links import Link

    path = f"/sys/fs/bpf/probee-test-xdp-{os.getpid()}"
    with wire.there:
        link = loaded.programs["drop"].attach_xdp("far")
        link.pin(path)
        link.close()
        assert wire.reaches() is None
        with Link.open(path) as again:
            assert "xdp" in again.hook
            again.detach()
        assert not os.path.exists(path)
        assert wire.reaches() == b"hello"


def test_without_a_link_it_is_netlink(loaded: Collection, wire: Pair) -> None:
    drop, passing = loaded.programs["drop"], loaded.programs["pass"]
    with wire.there:
        link = drop.attach_xdp("far", link=False)
    # The thread has left the namespace; the link remembers it.
    assert link.info().to_dict() == {"type": "route netlink", "prog_id": drop.id, "attached": True}
    assert wire.reaches() is None
    link.update(passing)
    assert wire.reaches() == b"hello"
    with pytest.raises(AttachError, match="does not run program drop"):
        link.update(drop, old=drop)
    with pytest.raises(Unsupported, match="netlink"):
        link.pin("/sys/fs/bpf/never")
    link.close()
    link.close()
    assert link.info().to_dict()["attached"] is False
    with wire.there:
        assert network.xdp_of(network.devices(Route())[-1].index) == []


def test_replace_takes_the_place_of_the_program_named(loaded: Collection, wire: Pair) -> None:
    drop, passing, other = (loaded.programs[n] for n in ("drop", "pass", "pass_too"))
    with wire.there:
        first = drop.attach_xdp("far", link=False)
        with pytest.raises(AttachError, match=rf"runs program {drop.id} \(drop\) \(driver\) already"):
            passing.attach_xdp("far", link=False)
        with pytest.raises(AttachError, match=f"does not run program pass_too, it has program {drop.id}"):
            passing.attach_xdp("far", replace=other)
        second = passing.attach_xdp("far", replace=drop)
        assert wire.reaches() == b"hello"
        first.close()  # its program is not there any more, and the other one stays
        assert network.xdp_of(2) == [("driver", passing.id)]
        third = drop.attach_xdp("far", replace=True)
        assert wire.reaches() is None
        third.close()
        second.close()
        assert network.xdp_of(2) == []


def test_what_leave_leaves_stays(loaded: Collection) -> None:
    from probee.kernel.links.xdp import detach

    with namespace():
        link = loaded.programs["drop"].attach_xdp("lo", link=False)
        link.leave()  # type: ignore[attr-defined]
        assert udp_on_lo() is None
        detach("lo")
        assert udp_on_lo() == b"hello"


def test_kill_leaves_nothing_attached(loaded: Collection) -> None:
    with namespace():
        ready, tell = os.pipe()
        child = os.fork()
        if not child:
            loaded.programs["drop"].attach_xdp("lo")
            os.write(tell, b"x")
            time.sleep(60)
            os._exit(0)
        assert os.read(ready, 1) == b"x"
        os.close(ready)
        os.close(tell)
        assert udp_on_lo() is None
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert eventually(lambda: udp_on_lo() == b"hello")


def test_frags_are_needed_for_large_packets(folder: Path, wire: Pair) -> None:
    needs("xdp_frags")
    with wire.there:
        ip("link set far mtu 9000")
    ip("link set near mtu 9000")
    text = """
    SEC("xdp") int whole(void *ctx) { return 2; }
    SEC("xdp.frags") int pieces(void *ctx) { return 2; }
    """
    with live(folder, text, "frags") as loaded, wire.there:
        with pytest.raises(AttachError, match="frags"):
            loaded.programs["whole"].attach_xdp("far", mode="native")
        with loaded.programs["pieces"].attach_xdp("far", mode="native"):
            assert wire.reaches(payload=b"x" * 2000) == b"x" * 2000


def test_devmap_runs_a_second_program(loaded: Collection, wire: Pair) -> None:
    with wire.there:
        ip("link add out type veth peer name sink")
        ip("link set out up")
        ip("link set sink up")
        loaded.maps["devices"][0] = ("out", loaded.programs["device_program"])
        with (
            loaded.programs["look"].attach_xdp("sink", mode="native"),
            loaded.programs["to_device"].attach_xdp("far", mode="native"),
        ):
            assert wire.reaches() is None
            assert eventually(lambda: loaded.globals.seen)  # what the second program wrote came out
        assert loaded.globals.on_device >= 1


def test_cpumap_runs_a_second_program(loaded: Collection, wire: Pair) -> None:
    loaded.maps["cpus"][0] = (64, loaded.programs["cpu_program"])
    with wire.there, loaded.programs["to_cpu"].attach_xdp("far", mode="native"):
        assert wire.reaches() is None
        assert eventually(lambda: loaded.globals.on_cpu)
    del loaded.maps["cpus"][0]


def test_programs_for_maps_are_not_for_interfaces(loaded: Collection) -> None:
    with namespace(), pytest.raises(AttachError, match="for entries of a devmap"):
        loaded.programs["device_program"].attach_xdp("lo")


def test_causes_are_named(loaded: Collection) -> None:
    drop = loaded.programs["drop"]
    with namespace():
        ip("link add near type veth peer name far")
        with pytest.raises(AttachError, match=r"no network interface neat .*did you mean near"):
            drop.attach_xdp("neat")
        with pytest.raises(AttachError, match="no network interface 77"):
            drop.attach_xdp(77)
        with pytest.raises(AttachError, match=r"driver has no native XDP.*; use mode='generic'"):
            drop.attach_xdp("lo", mode="native")
        with pytest.raises(AttachError, match="can't run BPF itself"):
            drop.attach_xdp("lo", mode="offload")
        with pytest.raises(AttachError, match="expected generic, native or offload"):
            drop.attach_xdp("lo", mode="fast")
        with drop.attach_xdp("lo"):
            with pytest.raises(AttachError, match=rf"program {drop.id} \(drop\) \(generic\) already"):
                loaded.programs["pass"].attach_xdp("lo")
            with pytest.raises(AttachError, match="attached by a BPF link"):
                loaded.programs["pass"].attach_xdp("lo", replace=True)
        with pytest.raises(AttachError, match="leave out link=True"):
            drop.attach_xdp("lo", replace=True, link=True)


def test_section_and_target_attach(loaded: Collection) -> None:
    with namespace(), loaded.programs["drop"].attach("lo", mode="generic"):
        assert udp_on_lo() is None
