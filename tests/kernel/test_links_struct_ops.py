"""struct_ops links: replaced while in use, pinned, detached; those registered without a link."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, Unsupported
from probee.kernel.link_info import StructOpsLink as StructOpsInfo
from probee.kernel.links.base import Link
from probee.kernel.links.struct_ops import RegisteredStructOps, StructOpsLink
from probee.kernel.load import Collection, load

pytestmark = pytest.mark.root

TEXT = r"""
struct sock;
struct tcp_congestion_ops {
    u32 (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
    void (*init)(struct sock *sk); u32 (*undo_cwnd)(struct sock *sk); char name[16];
};
u64 first, second;
SEC("struct_ops/a") u32 ssthresh(u64 *ctx) { return 10; }
SEC("struct_ops/b") int cong_avoid(u64 *ctx) { return 0; }
SEC("struct_ops/c") int init(u64 *ctx) { __sync_fetch_and_add(&first, 1); return 0; }
SEC("struct_ops/c") int init_2(u64 *ctx) { __sync_fetch_and_add(&second, 1); return 0; }
SEC("struct_ops/d") u32 undo_cwnd(u64 *ctx) { return 10; }
SEC("KIND") struct tcp_congestion_ops one = {
    .ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .init = (void *)init,
    .undo_cwnd = (void *)undo_cwnd, .name = "probee_t",
};
SEC("KIND") struct tcp_congestion_ops two = {
    .ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .init = (void *)init_2,
    .undo_cwnd = (void *)undo_cwnd, .name = "probee_t",
};
"""


def loaded(folder: Path, kind: str) -> Collection:
    return load(object_from_c(folder, TEXT.replace("KIND", kind)))


def choose() -> None:
    """A socket that uses the congestion control of the tests."""
    with socket.socket() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"probee_t")


def gone() -> bool:
    try:
        choose()
    except FileNotFoundError:
        return True
    return False


def test_a_table_is_replaced_in_its_link(tmp_path: Path) -> None:
    needs("struct_ops_link")
    with loaded(tmp_path, ".struct_ops.link") as live:
        one, two = live.struct_ops["one"], live.struct_ops["two"]
        with one.attach() as link:
            assert isinstance(link, StructOpsLink)
            choose()
            with pytest.raises(AttachError, match="one of that name is registered already"):
                two.attach()
            link.replace(two)
            details = link.info()
            assert isinstance(details, StructOpsInfo)
            assert details.map_id == two.map.id
            with Link.open(id=link.id) as again, pytest.raises(Unsupported, match=r"use replace\(table\)"):
                again.update(live.programs["init"])
            with pytest.raises(AttachError, match="holds another table"):
                link.replace(two, old=one)
        assert gone()
        with two.attach():  # a table is attached again as often as one likes
            choose()
        assert gone()


def test_a_registered_table_is_pinned_and_detached(tmp_path: Path) -> None:
    needs("struct_ops_link")
    place = f"/sys/fs/bpf/probee-ops-{os.getpid()}"
    with loaded(tmp_path, ".struct_ops.link") as live:
        with live.struct_ops["one"].attach() as link:
            link.pin(place)
        choose()
        with Link.open(place) as link:
            assert link.hook.startswith("struct_ops map")
            link.detach()
        assert not os.path.exists(place)
        assert gone()


def test_a_table_that_is_registered_by_a_write(tmp_path: Path) -> None:
    needs("struct_ops")
    with loaded(tmp_path, ".struct_ops") as live:
        link = live.struct_ops["one"].attach()
        assert isinstance(link, RegisteredStructOps)
        choose()
        with pytest.raises(AttachError, match="one of that name is registered already"):
            live.struct_ops["two"].attach()
        with pytest.raises(Unsupported, match=r"can't be pinned; Linux 6.4 has BPF links for it"):
            link.pin("/sys/fs/bpf/x")
        link.close()
        link.close()
        assert gone()
