"""Simulated sockets, and the helpers on them.

A socket's address is that of a `struct bpf_sock`: the fields programs may read. `cgroup`, `cookie`, `uid` and
`options` are what the helpers tell of it.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from ipaddress import ip_address
from itertools import count
from typing import TYPE_CHECKING, Any

from ...errors import ProbeeError
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu
    from ..tasks import Cgroup
    from .services import Services

_U32 = 0xFFFFFFFF
_SOCK = struct.Struct("<IIIIIII16sIHH I16sIi".replace(" ", ""))  # struct bpf_sock, 80 bytes
_TCP_SOCK_SIZE = 96  # struct bpf_tcp_sock
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
STREAM, DATAGRAM = 1, 2
TCP, UDP = 6, 17
ESTABLISHED, TIME_WAIT, LISTEN, NEW_SYN_RECV = 1, 6, 10, 12
MPTCP = 262
_TUPLE4, _TUPLE6 = 12, 36


class Socket:
    """A socket: addresses as text, ports in host order. `references` is how many of a program's look-ups were
    not given back."""

    def __init__(self, owner: Sockets, protocol: int, facts: dict[str, Any]) -> None:
        self.protocol = protocol
        self.local: str = facts.pop("local", "0.0.0.0")
        self.local_port: int = facts.pop("local_port", 0)
        self.remote: str = facts.pop("remote", "")
        self.remote_port: int = facts.pop("remote_port", 0)
        self.family = AF_INET6 if ":" in self.local else AF_INET
        listening = protocol == TCP and not self.remote
        self.state: int = facts.pop("state", LISTEN if listening else ESTABLISHED)
        self.mark: int = facts.pop("mark", 0)
        self.priority: int = facts.pop("priority", 0)
        self.uid: int = facts.pop("uid", 0)
        self.ifindex: int = facts.pop("ifindex", 0)
        self.cgroup: Cgroup = facts.pop("cgroup", owner.machine.tasks.root)
        self.netns: int = facts.pop("netns", 0)
        self.options: dict[tuple[int, int], bytes] = facts.pop("options", {})
        self.tcp: dict[str, int] = facts.pop("tcp", {})
        self.kernel_sock: int = int(facts.pop("sock", 0))
        if facts:
            raise TypeError(f"a socket has no {', '.join(facts)}")
        self.cookie = next(owner.cookies)
        self.references = 0
        self.id = self.cookie
        region = owner.machine.memory.alloc(_SOCK.size, "kernel", writable=True, name="bpf_sock")
        self.address = region.address
        self._memory = region
        self.tcp_address = 0
        self.write()

    def write(self) -> None:
        """Bring the struct in memory up to date."""
        four, six = [bytes(4), bytes(4)], [bytes(16), bytes(16)]
        for i, text in enumerate((self.local, self.remote)):
            if text:
                packed = ip_address(text).packed
                (four if len(packed) == 4 else six)[i] = packed
        remote_port = int.from_bytes(self.remote_port.to_bytes(2, "big"), "little")
        self._memory.data[:] = _SOCK.pack(
            self.ifindex,
            self.family,
            STREAM if self.protocol == TCP else DATAGRAM,
            self.protocol,
            self.mark,
            self.priority,
            int.from_bytes(four[0], "little"),
            six[0],
            self.local_port,
            remote_port,
            0,
            int.from_bytes(four[1], "little"),
            six[1],
            self.state,
            -1,
        )

    def __repr__(self) -> str:
        kind = "tcp" if self.protocol == TCP else "udp"
        return f"<Socket {kind} {self.local}:{self.local_port} {self.remote}:{self.remote_port}>"


class Sockets:
    """The sockets of a machine."""

    def __init__(self, machine: Services) -> None:
        self.machine = machine
        self.cookies = count(1)
        self.all: list[Socket] = []
        self._fds: dict[int, Socket] = {}
        self.known: dict[int, Socket] = {}
        self.before_search: Callable[[], object] = lambda: None

    def new(self, protocol: str | int, **facts: Any) -> Socket:
        """A socket, "tcp" or "udp". Facts: `local`, `local_port`, `remote`, `remote_port`, `state`, `mark`,
        `priority`, `uid`, `ifindex`, `cgroup`, `netns`, `options`, `tcp` (fields of `bpf_tcp_sock`), `sock`
        (the kernel's struct)."""
        number = {"tcp": TCP, "udp": UDP}.get(protocol, protocol) if isinstance(protocol, str) else protocol
        if not isinstance(number, int):
            raise ValueError(f"sockets are tcp or udp, not {protocol!r}")
        made = Socket(self, number, dict(facts))
        self.all.append(made)
        self.known[made.address] = made
        if made.kernel_sock:
            self.known[made.kernel_sock] = made
        return made

    def fd(self, socket: Socket) -> int:
        """A descriptor, as maps of sockets take."""
        return self.machine.syscalls.register("socket", socket)

    def by_fd(self, fd: int) -> Socket | None:
        return self._fds.get(fd)

    def at(self, address: int) -> Socket | None:
        found = self.known.get(address)
        if found is None:
            self.before_search()
            found = self.known.get(address)
        return found

    def find(
        self, protocol: int, source: tuple[str, int], target: tuple[str, int], netns: int
    ) -> Socket | None:
        """The socket that a packet from `source` to `target` belongs to: a connected one, else one that
        listens on the address or on any."""
        self.before_search()
        best: tuple[int, Socket] | None = None
        for sock in self.all:
            if sock.protocol != protocol or sock.netns != netns or sock.local_port != target[1]:
                continue
            rank = 0
            if sock.remote:
                if (ip_address(sock.remote), sock.remote_port) != (ip_address(source[0]), source[1]):
                    continue
                rank += 2
            if ip_address(sock.local).is_unspecified:
                if len(ip_address(sock.local).packed) != len(ip_address(target[0]).packed):
                    continue
            elif ip_address(sock.local) != ip_address(target[0]):
                continue
            else:
                rank += 1
            if best is None or rank > best[0]:
                best = rank, sock
        return best[1] if best else None


def socket_for(cpu: MachineCpu, address: int) -> Socket | None:
    """The socket at an address, or of the context there."""
    found = cpu.machine.sockets.at(address)
    if found is None:
        context = cpu.machine.contexts.get(address)
        sock = context.facts.get("socket") or context.sock if context is not None else None
        if isinstance(sock, Socket):
            return sock
        if sock is not None:
            return cpu.machine.sockets.at(int(sock))
    return found


def _lookup(cpu: MachineCpu, protocol: int, r2: int, r3: int, r4: int, r5: int, *, listen: bool) -> int:
    size = r3 & _U32
    if size not in (_TUPLE4, _TUPLE6) or r5:
        return 0
    raw = cpu.memory.read(r2, size)
    width = 4 if size == _TUPLE4 else 16
    source = str(ip_address(raw[:width])), int.from_bytes(raw[2 * width : 2 * width + 2], "big")
    target = str(ip_address(raw[width : 2 * width])), int.from_bytes(raw[2 * width + 2 :][:2], "big")
    number = r4 & _U32
    found = cpu.machine.sockets.find(protocol, source, target, 0 if number == _U32 else number)
    if found is None:
        return 0
    found.references += 1
    return found.address


@helper("sk_lookup_tcp", "skc_lookup_tcp")
def sk_lookup_tcp(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _lookup(cpu, TCP, r2, r3, r4, r5, listen=True)


@helper("sk_lookup_udp")
def sk_lookup_udp(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return _lookup(cpu, UDP, r2, r3, r4, r5, listen=False)


@helper("sk_release")
def sk_release(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.sockets.at(r1)
    if found is not None:
        found.references -= 1
    return 0


@helper("sk_fullsock")
def sk_fullsock(cpu: MachineCpu, r1: int, *_: int) -> int:
    return r1


@helper("get_listener_sock")
def get_listener_sock(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.sockets.at(r1)
    return r1 if found is not None and found.state == LISTEN else 0


_TCP_FIELDS = [
    "snd_cwnd",
    "srtt_us",
    "rtt_min",
    "snd_ssthresh",
    "rcv_nxt",
    "snd_nxt",
    "snd_una",
    "mss_cache",
    "ecn_flags",
    "rate_delivered",
    "rate_interval_us",
    "packets_out",
    "retrans_out",
    "total_retrans",
    "segs_in",
    "data_segs_in",
    "segs_out",
    "data_segs_out",
    "lost_out",
    "sacked_out",
]


@helper("tcp_sock")
def tcp_sock(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.sockets.at(r1)
    if found is None or found.protocol != TCP:
        return 0
    if not found.tcp_address:
        region = cpu.memory.alloc(_TCP_SOCK_SIZE, "kernel", writable=False, name="bpf_tcp_sock")
        found.tcp_address = region.address
        for i, name in enumerate(_TCP_FIELDS):
            region.data[4 * i : 4 * i + 4] = found.tcp.get(name, 0).to_bytes(4, "little")
        for i, name in enumerate(("bytes_received", "bytes_acked")):
            region.data[80 + 8 * i : 88 + 8 * i] = found.tcp.get(name, 0).to_bytes(8, "little")
    return found.tcp_address


@helper("get_socket_cookie")
def get_socket_cookie(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = socket_for(cpu, r1)
    return 0 if found is None else found.cookie


@helper("get_socket_uid")
def get_socket_uid(cpu: MachineCpu, r1: int, *_: int) -> int:
    overflow_uid = 65534
    found = socket_for(cpu, r1)
    return overflow_uid if found is None else found.uid


@helper("get_netns_cookie")
def get_netns_cookie(cpu: MachineCpu, r1: int, *_: int) -> int:
    return cpu.machine.cookie_net


@helper("sk_cgroup_id", "skb_cgroup_id")
def sk_cgroup_id(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = socket_for(cpu, r1)
    return 0 if found is None else found.cgroup.id


@helper("sk_ancestor_cgroup_id", "skb_ancestor_cgroup_id")
def sk_ancestor_cgroup_id(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    found = socket_for(cpu, r1)
    above = None if found is None else found.cgroup.ancestor(r2 & _U32)
    return 0 if above is None else above.id


@helper("skb_under_cgroup")
def skb_under_cgroup(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    m = cpu.machine.map_at(r2)
    index = r3 & _U32
    found = socket_for(cpu, r1)
    if found is None:
        return -errno.ENOENT
    if index >= m.max_entries:
        return -errno.E2BIG
    cgroup = m.item(index)  # type: ignore[attr-defined]
    return -errno.EAGAIN if cgroup is None else int(found.cgroup.under(cgroup))


@helper("setsockopt")
def setsockopt(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    found = socket_for(cpu, r1)
    data = cpu.memory.read(r4, r5 & _U32)
    if found is None:
        return -errno.EINVAL
    found.options[r2 & _U32, r3 & _U32] = data
    return 0


@helper("getsockopt")
def getsockopt(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    size = r5 & _U32
    found = socket_for(cpu, r1)
    value = None if found is None else found.options.get((r2 & _U32, r3 & _U32))
    if value is None:
        cpu.memory.write(r4, bytes(size))
        return -errno.EINVAL
    cpu.memory.write(r4, value[:size].ljust(size, b"\0"))
    return 0


@helper("bind")
def bind(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The address is the context's fact `bound`."""
    size = r3 & _U32
    raw = cpu.memory.read(r2, size)
    family = int.from_bytes(raw[:2], "little")
    if family == AF_INET and size < 16:
        return -errno.EINVAL
    if family not in (AF_INET, AF_INET6):
        return -errno.EAFNOSUPPORT
    cpu.machine.context_at(cpu, r1).facts["bound"] = raw
    return 0


def _cast(*names: str, fits: Callable[[Socket], bool]) -> None:
    @helper(*names)
    def cast(cpu: MachineCpu, r1: int, *_: int) -> int:
        """The kernel's struct of a socket, if it is of that kind."""
        found = socket_for(cpu, r1)
        if found is None or not fits(found):
            return 0
        return found.kernel_sock or r1


_HALF = (TIME_WAIT, NEW_SYN_RECV)
_cast("skc_to_tcp_sock", fits=lambda s: s.protocol == TCP and s.state not in _HALF)
_cast("skc_to_tcp6_sock", fits=lambda s: s.protocol == TCP and s.state not in _HALF and s.family == AF_INET6)
_cast("skc_to_tcp_timewait_sock", fits=lambda s: s.protocol == TCP and s.state == TIME_WAIT)
_cast("skc_to_tcp_request_sock", fits=lambda s: s.protocol == TCP and s.state == NEW_SYN_RECV)
_cast("skc_to_udp6_sock", fits=lambda s: s.protocol == UDP and s.family == AF_INET6)
_cast("skc_to_mptcp_sock", fits=lambda s: s.protocol == MPTCP)


@helper("skc_to_unix_sock")
def skc_to_unix_sock(cpu: MachineCpu, r1: int, *_: int) -> int:
    """A Unix socket is one whose `skc_family` says so."""
    from ..kernel_memory import Object

    kernel = cpu.machine.kernel
    if not r1 or kernel is None:
        return 0
    try:
        family = Object(kernel, r1, kernel.type_id("struct sock_common")).skc_family
    except ProbeeError:
        return 0
    return r1 if family == AF_UNIX else 0


@helper("sock_from_file")
def sock_from_file(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The `struct socket` that is a file's `private_data`."""
    from ..kernel_memory import Object

    kernel = cpu.machine.kernel
    if not r1 or kernel is None:
        return 0
    try:
        held = int(Object(kernel, r1, kernel.type_id("struct file")).private_data or 0)
    except ProbeeError:
        return 0
    region = cpu.memory.find(held) if held else None
    return held if region is not None and region.name == "socket" else 0


# Redirects between sockets, into the fact `redirect`.


def _redirect(cpu: MachineCpu, context: int, map_address: int, key: bytes, flags: int) -> int:
    drop, passed = 0, 1  # SK_DROP, SK_PASS
    m = cpu.machine.map_at(map_address)
    found = m.item(key)  # type: ignore[attr-defined]
    if flags & ~1 or found is None:
        return drop
    told = {"socket": found, "ingress": bool(flags & 1)}
    cpu.machine.context_at(cpu, context).facts["redirect"] = told
    return passed


@helper("sk_redirect_map", "msg_redirect_map")
def sk_redirect_map(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _redirect(cpu, r1, r2, (r3 & _U32).to_bytes(4, "little"), r4)


@helper("sk_redirect_hash", "msg_redirect_hash")
def sk_redirect_hash(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r2)
    return _redirect(cpu, r1, r2, cpu.memory.read(r3, m.key_size), r4)


@helper("sock_map_update", "sock_hash_update")
def sock_map_update(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r2)
    found = socket_for(cpu, r1)
    if found is None:
        return -errno.EINVAL
    try:
        m.put(cpu.memory.read(r3, m.key_size), found, r4)  # type: ignore[attr-defined]
    except OSError as e:
        return -(e.errno or errno.EINVAL)
    return 0


@helper("sk_assign")
def sk_assign(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    context = cpu.machine.context_at(cpu, r1)
    context.facts["assigned"] = None if not r2 else cpu.machine.sockets.at(r2)
    return 0


@helper("sk_select_reuseport")
def sk_select_reuseport(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r2)
    if r4:
        return -errno.EINVAL
    found = m.item(cpu.memory.read(r3, m.key_size))  # type: ignore[attr-defined]
    if found is None:
        return -errno.ENOENT
    cpu.machine.context_at(cpu, r1).facts["selected"] = found
    return 0


@helper("sock_ops_cb_flags_set")
def sock_ops_cb_flags_set(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    known = 0x7F
    context = cpu.machine.context_at(cpu, r1)
    context.fields.bpf_sock_ops_cb_flags = r2 & known
    return r2 & _U32 & ~known
