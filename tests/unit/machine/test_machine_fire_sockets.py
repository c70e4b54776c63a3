"""Hooks of sockets and of the network that are seldom used: what programs see there, and what comes of it."""

from __future__ import annotations

import socket

import pytest

from c_objects import compile_c
from probee.machine.machine import Machine
from probee.obj import read_object

TEXT = """
#define swap16 __builtin_bswap16
#define swap32 __builtin_bswap32

struct ops { u32 op, args[4], family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port,
    local_port, is_fullsock, snd_cwnd, srtt_us, cb_flags; };
SEC("sockops") int ops(struct ops *o) {
    if (o->op == 3 && o->remote_port == swap16(443) << 16) o->args[0] = o->local_port + 1;
    return 1;
}

struct msg { u64 data, data_end; u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port,
    local_port, size; };
SEC("sk_msg") int msg(struct msg *m) {
    unsigned char *d = (void *)m->data;
    if (d + 4 > (unsigned char *)m->data_end) return 0;
    if (d[0] == 'G') { d[0] = 'P'; return 1; }
    return m->size > 100;
}

struct lookup { u64 cookie; u32 family, protocol, remote_ip4, remote_ip6[4]; unsigned short remote_port, pad;
    u32 local_ip4, local_ip6[4], local_port, ingress_ifindex; };
SEC("sk_lookup") int look(struct lookup *c) {
    return c->local_port >= 1000 && c->local_port < 2000 && c->remote_ip4 == swap32(0xc0000201)
        && c->remote_port == swap16(5555) && c->protocol == 6;
}

struct reuse { u64 data, data_end; u32 len, eth_protocol, ip_protocol, bind_inany, hash; };
SEC("sk_reuseport") int reuse(struct reuse *r) {
    unsigned char *d = (void *)r->data;
    if (d + 4 > (unsigned char *)r->data_end) return 0;
    return r->ip_protocol == 6 && d[3] == 80 && r->len == 8;
}

struct keys { unsigned short nhoff, thoff, addr_proto; unsigned char is_frag, is_first_frag, is_encap;
    unsigned char ip_proto; unsigned short n_proto, sport, dport; };
struct skb { u32 len, a[18], data, data_end, b[15]; u64 flow_keys; };
SEC("flow_dissector") int dissect(struct skb *s) {
    struct keys *k = (void *)s->flow_keys;
    unsigned char *d = (void *)(long)s->data;
    if (d + 34 > (unsigned char *)(long)s->data_end || k->n_proto != swap16(0x800)) return 2;
    k->thoff = k->nhoff + 20;
    k->ip_proto = d[14 + 9];
    return 0;
}

SEC("lirc_mode2") int infrared(u32 *sample) { return *sample >> 24 == 1 && (*sample & 0xffffff) == 500; }

struct sysctl { u32 write, file_pos; };
static long (*name_of)(void *, char *, u64, u64) = (void *)101;
static long (*set_new)(void *, const char *, u64) = (void *)104;
SEC("cgroup/sysctl") int sysctl(struct sysctl *s) {
    char name[32] = {};
    if (name_of(s, name, sizeof name, 0) < 0) return 0;
    if (name[0] != 'n') return 0;
    if (s->write) set_new(s, "17", 2);
    return 1;
}

struct addr { u32 user_family, user_ip4, user_ip6[4], user_port, family, type, protocol; };
SEC("cgroup/bind4") int bind(struct addr *a) {
    if (a->user_port == swap16(80)) a->user_port = swap16(8080);
    return a->user_ip4 != swap32(0x0a000001);
}
SEC("cgroup/sendmsg4") int send(struct addr *a) {
    a->user_ip4 = swap32(0x7f000001);
    return a->user_port != swap16(53);
}
SEC("cgroup/recvmsg4") int receive(struct addr *a) { a->user_port = swap16(7); return 1; }
SEC("cgroup/getpeername4") int peer(struct addr *a) { a->user_ip4 = swap32(0x08080808); return 1; }

struct sock { u32 bound_dev_if, family, type, protocol, mark, priority; };
SEC("cgroup/sock_create") int create(struct sock *s) { s->mark = 5; return s->protocol != 17; }

struct opt { u64 sk, optval, optval_end; int level, optname, optlen, retval; };
SEC("cgroup/getsockopt") int get(struct opt *o) {
    u32 *v = (void *)o->optval; if ((void *)(v + 1) > (void *)o->optval_end) return 0;
    if (o->retval) { o->retval = 0; *v = 99; }
    return 1;
}
char _license[] SEC("license") = "GPL";
"""

ETHERNET = bytes(12) + b"\x08\x00"
IP = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17]) + bytes(10)


@pytest.fixture(scope="module")
def m(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    data = compile_c(tmp_path_factory.mktemp("sockets"), TEXT, "sockets")
    with Machine(read_object(data, "sockets"), btf="shipped") as made:
        yield made


def test_tcp_events(m: Machine) -> None:
    sock = m.sock("tcp", local=("10.0.0.1", 40000), remote=("10.0.0.2", 443))
    result = m.sock_ops(3, sock=sock)
    assert result.retval == 1
    assert result.context["args"][0] == 40001
    other = m.sock("tcp", local=("10.0.0.1", 40000), remote=("10.0.0.2", 80))
    assert m.sock_ops(3, sock=other).context["args"][0] == 0


def test_messages_are_changed_and_judged(m: Machine) -> None:
    result = m.sk_msg(b"GET /")
    assert (result.verdict, result.output) == ("PASS", b"PET /")
    assert m.sk_msg(b"quit").verdict == "DROP"
    assert m.sk_msg(b"x" * 101).verdict == "PASS"


def test_sockets_are_looked_up_by_address_and_port(m: Machine) -> None:
    assert m.sk_lookup(("127.0.0.1", 1500), ("192.0.2.1", 5555)).verdict == "PASS"
    assert m.sk_lookup(("127.0.0.1", 2500), ("192.0.2.1", 5555)).verdict == "DROP"
    assert m.sk_lookup(("127.0.0.1", 1500), ("192.0.2.2", 5555)).verdict == "DROP"
    assert m.sk_lookup(("127.0.0.1", 1500), ("192.0.2.1", 5555), protocol="udp").verdict == "DROP"


def test_one_of_many_sockets_is_chosen_by_the_packet(m: Machine) -> None:
    assert m.sk_reuseport(bytes([0x9C, 0x40, 0, 80, 0, 0, 0, 0])).verdict == "PASS"
    assert m.sk_reuseport(bytes([0x9C, 0x40, 0, 81, 0, 0, 0, 0])).verdict == "DROP"


def test_flows_are_dissected(m: Machine) -> None:
    result = m.flow_dissector(ETHERNET + IP + bytes(8))
    assert (result.retval, result.context["thoff"], result.context["ip_proto"]) == (0, 34, 17)
    assert m.flow_dissector(bytes(12) + b"\x86\xdd" + bytes(40)).retval == 2


def test_infrared_samples(m: Machine) -> None:
    assert m.lirc(1 << 24 | 500).retval == 1
    assert m.lirc(500).retval == 0


def test_sysctls_are_judged_by_name_and_written(m: Machine) -> None:
    assert m.sysctl("net/ipv4/tcp_mem", "1").decision == "allow"
    assert m.sysctl("kernel/hostname", "x").decision == "deny"
    written = m.sysctl("net/ipv4/ip_forward", "0", new="1")
    assert written.decision == "allow"
    assert str(written.facts["new"]).strip("b'") == "17"


def test_addresses_are_rewritten(m: Machine) -> None:
    assert m.bind("192.0.2.1", 80).port == 8080
    assert m.bind("10.0.0.1", 90).decision == "deny"
    sent = m.sendmsg("192.0.2.1", 99)
    assert (sent.decision, sent.address) == ("allow", "127.0.0.1")
    assert m.sendmsg("192.0.2.1", 53).decision == "deny"
    assert m.recvmsg("192.0.2.1", 99).port == 7
    assert m.getpeername("192.0.2.1", 99).address == "8.8.8.8"


def test_sockets_are_made_or_not(m: Machine) -> None:
    made = m.sock_create()
    assert (made.decision, made.context["mark"]) == ("allow", 5)
    assert m.sock_create(protocol="udp").decision == "deny"


def test_an_option_that_the_kernel_has_not_is_answered(m: Machine) -> None:
    result = m.getsockopt(socket.SOL_SOCKET, 7, 0, retval=-22)
    assert result.output == (99).to_bytes(4, "little")
    assert result.context["retval"] == 0
    assert m.getsockopt(socket.SOL_SOCKET, 7, 5).output == (5).to_bytes(4, "little")
