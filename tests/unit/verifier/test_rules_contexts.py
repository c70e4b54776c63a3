"""What contexts hold: the table's own facts, without a kernel."""

from __future__ import annotations

import pytest

from probee.isa.tables import ATTACH_TYPES, PROG_TYPES
from probee.verifier.context_rules import (
    CONTEXTS,
    access,
    fields,
    readable,
    size_of,
    sock,
    tcp_sock,
    writable,
)

SIZES = {
    "__sk_buff": 192,
    "xdp_md": 24,
    "bpf_sock": 80,
    "bpf_tcp_sock": 112,
    "bpf_sock_addr": 72,
    "bpf_sock_ops": 224,
    "sk_msg_md": 80,
    "sk_reuseport_md": 56,
    "bpf_sk_lookup": 72,
    "bpf_sysctl": 8,
    "bpf_sockopt": 40,
    "bpf_perf_event_data": 184,
    "pt_regs": 168,
}


@pytest.mark.parametrize("struct", SIZES)
def test_layouts_have_the_size_of_the_structs(struct: str) -> None:
    assert fields(struct)[-1].end == SIZES[struct]


def test_fields_are_where_uapi_has_them() -> None:
    places = {field.name: field.offset for field in fields("__sk_buff")}
    assert (places["cb"], places["data"], places["data_meta"], places["sk"]) == (48, 76, 140, 168)
    assert {field.name: field.offset for field in fields("bpf_sock_ops")}["skb_data"] == 192


def kind(prog: str, off: int, size: int, **more: bool) -> str:
    found = access(prog, 0, off, size, **more)
    return found.kind + ("?" if found.maybe_null else "") if found else "refused"


def test_packet_pointers() -> None:
    assert kind("sched_cls", 76, 4) == "packet"
    assert kind("sched_cls", 80, 4) == "packet_end"
    assert kind("sched_cls", 140, 4) == "packet_meta"
    assert kind("socket_filter", 76, 4) == "refused"
    assert kind("xdp", 0, 4) == "packet"
    assert kind("xdp", 0, 4, signed=True) == "refused"
    assert kind("xdp", 0, 8) == "refused"
    assert kind("sk_msg", 0, 8) == "packet"


def test_sockets() -> None:
    assert kind("sched_cls", 168, 8) == "sock_common?"
    assert kind("cgroup_sockopt", 0, 8) == "sock"
    assert kind("sk_lookup", 0, 8) == "sock?"
    assert kind("sk_lookup", 0, 4) == "refused"


def test_narrow_loads_and_whole_stores() -> None:
    assert kind("sched_cls", 8, 1) == kind("sched_cls", 8, 2) == kind("sched_cls", 8, 4) == "scalar"
    assert kind("sched_cls", 8, 8) == "refused"
    assert kind("sched_cls", 9, 2) == "refused"
    assert kind("sched_cls", 8, 4, write=True) == "scalar"
    assert kind("sched_cls", 8, 2, write=True) == "refused"
    assert kind("sched_cls", 0, 4, write=True) == "refused"


def test_what_is_writable() -> None:
    assert writable("sched_cls", 0) == "mark queue_mapping priority tc_index cb tc_classid tstamp".split()  # noqa: SIM905
    assert writable("socket_filter", 0) == ["cb"]
    assert writable("xdp", 0) == []
    assert "data" in readable("xdp", 0)
    assert readable("kprobe", 0)[0] == "r15"


def test_attach_types_decide() -> None:
    assert access("cgroup_sock_addr", "cgroup_inet4_connect", 4, 4) is not None
    assert access("cgroup_sock_addr", "cgroup_inet6_connect", 4, 4) is None
    assert access("cgroup_sockopt", "cgroup_getsockopt", 36, 4) is not None
    assert access("cgroup_sockopt", "cgroup_setsockopt", 36, 4) is None
    assert access("xdp", "xdp_devmap", 20, 4) is not None
    assert access("xdp", "xdp", 20, 4) is None


def test_old_kernels_have_fewer_fields() -> None:
    assert access("sched_cls", 0, 184, 8, kernel="5.10") is None
    assert access("sched_cls", 0, 184, 8, kernel="6.1") is not None
    assert access("sk_reuseport", 0, 40, 8, kernel="5.10") is None


def test_numbers_and_names_are_the_same() -> None:
    number = PROG_TYPES["cgroup_sock_addr"][0]
    attach = ATTACH_TYPES["cgroup_udp6_sendmsg"][0]
    for off in range(72):
        for size in (1, 2, 4, 8):
            by_name = access("cgroup_sock_addr", "cgroup_udp6_sendmsg", off, size)
            assert (by_name is None) == (access(number, attach, off, size) is None)


@pytest.mark.parametrize("prog", PROG_TYPES)
def test_nothing_lies_outside(prog: str) -> None:
    assert access(prog, 0, -8, 8) is None
    assert access(prog, 0, 8, 3) is None
    if prog in CONTEXTS:
        assert access(prog, 0, size_of(prog), 4) is None


def test_sockets_through_pointers() -> None:
    assert sock(24, 4) is not None
    assert sock(8, 4) is not None
    assert sock(8, 4, common=True) is None  # type
    assert sock(50, 2) is None  # the padding behind dst_port
    assert tcp_sock(80, 8) is not None
    assert tcp_sock(80, 4) is None
    assert tcp_sock(112, 4) is None
