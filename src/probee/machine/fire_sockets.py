"""Hooks of cgroups and sockets: addresses, socket options, sysctl, devices, sock_ops, sk_msg, sk_lookup."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from ..errors import ProbeeError
from .builders import AF_INET, AF_INET6, AF_UNIX, PROTOCOLS, SOCK_TYPES, Builders, ip4_be, ip6_words, port_be
from .contexts.base import Context, struct
from .contexts.packet import packet_bytes
from .fire_packets import Packets
from .kernel_memory import Object
from .load import Program
from .results import SK, PacketResult, Result

# Program types (linux/bpf.h).
CGROUP_SOCK, SOCK_OPS, CGROUP_DEVICE, SK_MSG, CGROUP_SOCK_ADDR, LIRC = 9, 13, 15, 16, 18, 20
SK_REUSEPORT, CGROUP_SYSCTL, CGROUP_SOCKOPT, SK_LOOKUP = 21, 23, 25, 30
_EPERM = 1
_MOST_OPTIONS, _TCP_HEADER = 40, 20

Build = Callable[[Program, tuple[Any, ...], dict[str, Any]], Result]


class AddressResult(Result):
    """A run on an address: `address` and `port` are what the program left of them."""

    address = ""
    port = 0


class Sockets(Packets, Builders):
    """What `Machine` has of these."""

    def _socket_types(self) -> dict[int, Build]:
        return {
            CGROUP_SOCK: self._cgroup_sock,
            SOCK_OPS: self._sock_ops,
            CGROUP_DEVICE: self._device,
            SK_MSG: self._sk_msg,
            CGROUP_SOCK_ADDR: self._sock_addr,
            LIRC: self._lirc,
            SK_REUSEPORT: self._reuseport,
            CGROUP_SYSCTL: self._sysctl,
            CGROUP_SOCKOPT: self._sockopt,
            SK_LOOKUP: self._sk_lookup,
        }

    def _hook(self, kind: str, program: Any) -> Program:
        """The program given, or the only one of a kind of section."""
        if isinstance(program, Program):
            return program
        if program is not None:
            name = getattr(program, "name", program)
            if name not in self.programs:
                raise ProbeeError(f"there is no program {name!r}; there are {', '.join(self.programs)}")
            return self.programs[name]
        found = [p for p in self.programs.values() if p.kind == kind]
        if len(found) != 1:
            have = ", ".join(p.name for p in found) or "none"
            raise ProbeeError(f"which {kind} program? there are {have}")
        return found[0]

    # ---- sockets as programs see them

    def uapi_sock(self, sock: Any) -> Object:
        """The `bpf_sock` that programs see of a socket: one of `machine.sock(…)` or `services.sockets`."""
        kernel = self.kernel
        if isinstance(sock, Object) and kernel.btf.type(sock._type).name == "bpf_sock":
            return sock
        if isinstance(sock, Object):
            known = self.services.sockets.at(int(sock))
            sock = known if known is not None else self._registered(sock)
        return kernel.at(sock.address, "bpf_sock")

    def register_sockets(self) -> None:
        """Make all sockets of `machine.sock(…)` known to the helpers, those that look sockets up too."""
        sockets = self.services.sockets
        for sock in [s for address, s in self.sockets.items() if address not in sockets.known]:
            self._registered(sock)

    def _registered(self, sock: Object) -> Any:
        """A socket of the kernel made known to the helpers."""
        common = sock["__sk_common"]
        ipv6 = common.skc_family == AF_INET6
        packed = [
            bytes(common[six]["in6_u.u6_addr8"]) if ipv6 else common[four].to_bytes(4, "little")
            for four, six in (("skc_rcv_saddr", "skc_v6_rcv_saddr"), ("skc_daddr", "skc_v6_daddr"))
        ]
        local, remote = (str(ip_address(address)) for address in packed)
        return self.services.sockets.new(
            sock.sk_protocol,
            local=local,
            local_port=common.skc_num,
            remote=remote if any(packed[1]) else "",
            remote_port=int.from_bytes(common.skc_dport.to_bytes(2, "little"), "big"),
            state=common.skc_state,
            mark=sock.sk_mark,
            ifindex=max(0, common.skc_bound_dev_if),
            sock=int(sock),
        )

    def _some_sock(self, fields: dict[str, Any], protocol: str = "tcp") -> Object:
        given = fields.pop("sock", None)
        return self.uapi_sock(given if given is not None else self.sock(protocol))

    def _finish_struct(self, program: Program, context: Context, kind: type[Result] = Result) -> Any:
        try:
            result = kind(program.name, self.run(program, context))
            result.facts = context.facts
            result.context = self._fields_of(context.fields)
        finally:
            context.free(self.memory)
        return result

    def _sock_ops(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        from .contexts.headers import HeaderContext, header_of

        sock = self._some_sock(fields)
        header, syn, room = fields.pop("header", None), fields.pop("syn", None), fields.pop("room", None)
        given = {"family": sock.family, "local_ip4": sock.src_ip4, "remote_ip4": sock.dst_ip4}
        given |= {"local_ip6": list(sock.src_ip6), "remote_ip6": list(sock.dst_ip6)}
        given |= {"local_port": sock.src_port, "remote_port": sock.dst_port << 16, "is_fullsock": 1}
        given |= {"sk": int(sock), "op": args[0] if args else 0}
        packet = header_of(self.memory, header) if header is not None else None
        context = HeaderContext(self.kernel, {**given, **fields}, packet)
        context.sock = sock
        left = _MOST_OPTIONS - (len(header) - _TCP_HEADER if header is not None else 0)
        context.facts.update(options=b"", room=left if room is None else room)
        if syn is not None:
            context.facts["syn"] = bytes(syn)
        result: Result = self._finish_struct(program, context)
        return result

    def sock_ops(self, op: int, program: Any = None, **fields: Any) -> Result:
        """A TCP event: `op` is BPF_SOCK_OPS_…; fields are those of `bpf_sock_ops`, and `sock`.

        `header` is the TCP header with its options, of the packet that came or is to go; `syn` that of the
        SYN the kernel kept; `room` how many bytes of options the program may write (what is left of 40). The
        result's `context` has what the program left: `reply`, `bpf_sock_ops_cb_flags`. Its `facts` have
        `options` (what it wrote) and `reserved` (how many bytes it asked for).
        """
        return self._sock_ops(self._hook("sockops", program), (), {"op": op, **fields})

    # ---- addresses

    def _sock_addr(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> AddressResult:
        address, port = (*args, *[None] * 2)[:2]
        address = (
            fields.pop("address", "::1" if program.kind.endswith("6") else "127.0.0.1")
            if address is None
            else address
        )
        port = fields.pop("port", 0) if port is None else port
        protocol = fields.pop("protocol", "udp" if "msg" in program.kind else "tcp")
        source = fields.pop("source", "")
        if program.kind.endswith("_unix"):
            return self._unix_addr(program, address, fields)
        sock = self._some_sock(fields, protocol)
        ipv6 = ip_address(address).version == 6
        given: dict[str, Any] = {
            "user_family": AF_INET6 if ipv6 else AF_INET,
            "family": AF_INET6 if ipv6 else AF_INET,
            "user_port": port_be(port),
            "type": SOCK_TYPES[protocol],
            "protocol": PROTOCOLS[protocol],
            "sk": int(sock),
        }
        given["user_ip6" if ipv6 else "user_ip4"] = ip6_words(address) if ipv6 else ip4_be(address)
        if source:
            given["msg_src_ip6" if ipv6 else "msg_src_ip4"] = ip6_words(source) if ipv6 else ip4_be(source)
        context = struct(self.kernel, "bpf_sock_addr", {**given, **fields})
        context.sock = sock
        result: AddressResult = self._finish_struct(program, context, AddressResult)
        result.deny(self._refusal(result))
        left = result.context
        if ipv6:
            words = b"".join(word.to_bytes(4, "little") for word in left["user_ip6"])
            result.address = str(IPv6Address(words))
        else:
            result.address = str(IPv4Address(left["user_ip4"].to_bytes(4, "little")))
        result.port = int.from_bytes((left["user_port"] & 0xFFFF).to_bytes(2, "little"), "big")
        return result

    def _unix_addr(self, program: Program, path: str, fields: dict[str, Any]) -> AddressResult:
        """A Unix socket's address, which programs see and change through kernel functions only."""
        kind = SOCK_TYPES["udp" if "msg" in program.kind else "tcp"]
        sock = self._some_sock(fields, "tcp")
        given = {"user_family": AF_UNIX, "family": AF_UNIX, "type": kind, "sk": int(sock)}
        context = struct(self.kernel, "bpf_sock_addr", {**given, **fields})
        context.sock = sock
        context.facts["path"] = path
        result: AddressResult = self._finish_struct(program, context, AddressResult)
        result.deny(self._refusal(result))
        result.address = str(result.facts["path"])
        return result

    def _refusal(self, result: Result) -> int:
        """The error that a cgroup's program refuses with, 0 if it allows: it may have said another."""
        said = int(result.facts.get("retval", 0))
        if said < 0:
            return -said
        return 0 if result.retval & 1 else _EPERM

    def _address(
        self, verb: str, address: str, port: int, program: Any, fields: dict[str, Any]
    ) -> AddressResult:
        unix = "/" in address or address.startswith("@")
        kind = f"cgroup/{verb}_unix" if unix else f"cgroup/{verb}{ip_address(address).version}"
        return self._sock_addr(self._hook(kind, program), (address, port), fields)

    def connect(self, address: str, port: int, program: Any = None, **fields: Any) -> AddressResult:
        """connect(2) under `cgroup/connect4` or `connect6`: `decision`, and the `address` and `port` it left.

        A path (or `@name`) is the address of a Unix socket, for `connect_unix`.

        Fields: `protocol` ("tcp", "udp"), `sock` (of `machine.sock(…)`), others of `bpf_sock_addr`.
        """
        return self._address("connect", address, port, program, fields)

    def bind(self, address: str, port: int = 0, program: Any = None, **fields: Any) -> AddressResult:
        """bind(2) under `cgroup/bind4` or `bind6`."""
        return self._address("bind", address, port, program, fields)

    def sendmsg(self, address: str, port: int, program: Any = None, **fields: Any) -> AddressResult:
        """sendmsg(2) of UDP under `cgroup/sendmsg4` or `sendmsg6`; `source` is the address it sends from."""
        return self._address("sendmsg", address, port, program, fields)

    def recvmsg(self, address: str, port: int, program: Any = None, **fields: Any) -> AddressResult:
        """recvmsg(2) of UDP under `cgroup/recvmsg4` or `recvmsg6`."""
        return self._address("recvmsg", address, port, program, fields)

    def getpeername(self, address: str, port: int, program: Any = None, **fields: Any) -> AddressResult:
        """getpeername(2)."""
        return self._address("getpeername", address, port, program, fields)

    def getsockname(self, address: str, port: int, program: Any = None, **fields: Any) -> AddressResult:
        """getsockname(2)."""
        return self._address("getsockname", address, port, program, fields)

    # ---- other hooks of cgroups

    def _cgroup_sock(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        protocol = fields.pop("protocol", "tcp")
        sock = fields.pop("sock", None)
        whole = sock if sock is not None else self.sock(protocol, local=("0.0.0.0", 0))
        made = self.uapi_sock(whole)
        for name, value in fields.items():
            made[name] = value
        region = self.memory.find(int(made))
        assert region is not None
        context = Context(region, 0, made)
        context.sock = made
        result: Result = self._finish_struct(program, context)
        result.deny(self._refusal(result))
        return result

    def sock_create(self, program: Any = None, **fields: Any) -> Result:
        """socket(2) under `cgroup/sock_create`; fields: `protocol` ("tcp"), `sock`, others of `bpf_sock`."""
        found = [p for p in self.programs.values() if p.kind in ("cgroup/sock_create", "cgroup/sock")]
        chosen = (
            found[0] if program is None and len(found) == 1 else self._hook("cgroup/sock_create", program)
        )
        return self._cgroup_sock(chosen, (), fields)

    def sock_release(self, program: Any = None, **fields: Any) -> Result:
        """The end of a socket under `cgroup/sock_release`; fields as for `sock_create`."""
        return self._cgroup_sock(self._hook("cgroup/sock_release", program), (), fields)

    def post_bind(self, address: str, port: int, program: Any = None, **fields: Any) -> Result:
        """A socket that was bound, under `cgroup/post_bind4` or `post_bind6`; `protocol` ("tcp"), others of
        `bpf_sock`."""
        chosen = self._hook(f"cgroup/post_bind{ip_address(address).version}", program)
        sock = fields.pop("sock", None) or self.sock(fields.pop("protocol", "tcp"), local=(address, port))
        return self._cgroup_sock(chosen, (), {"sock": sock, **fields})

    def _device(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        kinds = {"block": 1, "char": 2}
        access = {"mknod": 1, "read": 2, "write": 4}
        kind, wanted = fields.pop("type", "char"), fields.pop("access", "read")
        bits = (
            sum(access[word] for word in wanted.replace(",", " ").split())
            if isinstance(wanted, str)
            else wanted
        )
        number = kinds[kind] if isinstance(kind, str) else kind
        given = {"access_type": bits << 16 | number, **fields}
        result: Result = self._finish_struct(program, struct(self.kernel, "bpf_cgroup_dev_ctx", given))
        result.deny(self._refusal(result))
        return result

    def device(
        self, major: int, minor: int, program: Any = None, *, type: str = "char", access: str = "read"
    ) -> Result:
        """A device being opened under `cgroup/dev`.

        `type` is "char" or "block", `access` "mknod", "read", "write" or several of these.
        """
        fields = {"major": major, "minor": minor, "type": type, "access": access}
        return self._device(self._hook("cgroup/dev", program), (), fields)

    def _sysctl(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        name, value = fields.pop("name", "kernel/hostname"), fields.pop("value", "")
        new = fields.pop("new", None)
        given = {"write": int(new is not None), **fields}
        context = struct(self.kernel, "bpf_sysctl", given)
        context.facts.update(name=name, current=value, new=new)
        result: Result = self._finish_struct(program, context)
        result.deny(self._refusal(result))
        return result

    def sysctl(self, name: str, value: str = "", program: Any = None, *, new: str | None = None) -> Result:
        """A sysctl, as `net/ipv4/tcp_mem`, being read, or written if `new` is given."""
        fields = {"name": name, "value": value, "new": new}
        return self._sysctl(self._hook("cgroup/sysctl", program), (), fields)

    def _sockopt(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        value = fields.pop("value", b"\0\0\0\0")
        value = value.to_bytes(4, "little", signed=value < 0) if isinstance(value, int) else bytes(value)
        sock = self._some_sock(fields)
        region = self.memory.alloc(max(8, len(value)), "packet", name="optval")
        region.data[: len(value)] = value
        given = {"optlen": len(value), **fields, "sk": int(sock)}
        context = struct(self.kernel, "bpf_sockopt", given)
        assert context.fields is not None
        context.fields.optval, context.fields.optval_end = region.address, region.address + len(value)
        context.sock = sock
        context.extra.append(region)
        if given.get("retval"):
            context.facts["retval"] = given["retval"]
        try:
            result = Result(program.name, self.run(program, context))
            result.facts = context.facts
            result.context = self._fields_of(context.fields)
            size = max(0, min(result.context["optlen"], len(value)))
            result.output = bytes(region.data[:size])
        finally:
            context.free(self.memory)
        get = program.kind == "cgroup/getsockopt"  # what it says is the call's result then, no refusal
        result.deny((0 if result.retval & 1 else _EPERM) if get else self._refusal(result))
        return result

    def setsockopt(self, level: int, name: int, value: Any = 0, program: Any = None, **fields: Any) -> Result:
        """setsockopt(2) under `cgroup/setsockopt`; the result's `output` is what the kernel goes on with."""
        fields = {"level": level, "optname": name, "value": value, **fields}
        return self._sockopt(self._hook("cgroup/setsockopt", program), (), fields)

    def getsockopt(
        self, level: int, name: int, value: Any = 0, program: Any = None, *, retval: int = 0, **fields: Any
    ) -> Result:
        """getsockopt(2) under `cgroup/getsockopt`: `value` and `retval` are what the kernel answered."""
        fields = {"level": level, "optname": name, "value": value, "retval": retval, **fields}
        return self._sockopt(self._hook("cgroup/getsockopt", program), (), fields)

    # ---- sockets that pass data on

    def _sk_msg(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> PacketResult:
        from .contexts.message import Message, MessageContext

        data = packet_bytes(fields.pop("data", None) if not args else args[0])
        sock = self._some_sock(fields)
        message = Message(self.memory, data, linear=fields.pop("linear", None))
        given = {"family": sock.family, "sk": int(sock), "local_port": sock.src_port}
        given |= {"remote_port": sock.dst_port << 16, "local_ip4": sock.src_ip4, "remote_ip4": sock.dst_ip4}
        context = MessageContext(self.kernel, {**given, **fields}, message)
        context.sock = sock
        try:
            result = PacketResult(program.name, self.run(program, context))
            result.verdict = SK[result.retval] if result.retval in (0, 1) else str(result.retval)
            result.facts = context.facts
            result.output = result.packet = message.payload
            result.context = self._fields_of(context.fields)
        finally:
            context.free(self.memory)
        return result

    def sk_msg(self, data: bytes, program: Any = None, **fields: Any) -> PacketResult:
        """Data that a socket sends through an sk_msg program: `verdict`, `output` (the data it left),
        `redirect`, `facts["apply_bytes"]`, `facts["cork_bytes"]`.

        Fields: `sock` (of `machine.sock(…)`), `linear` (how many bytes the program sees before it pulls).
        """
        return self._sk_msg(self._hook("sk_msg", program), (data,), fields)

    def _sk_lookup(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        local, remote = fields.pop("local", ("127.0.0.1", 0)), fields.pop("remote", ("127.0.0.1", 0))
        protocol = fields.pop("protocol", "tcp")
        ipv6 = ip_address(local[0]).version == 6
        given: dict[str, Any] = {
            "family": AF_INET6 if ipv6 else AF_INET,
            "protocol": PROTOCOLS[protocol],
            "local_port": local[1],
            "remote_port": port_be(remote[1]),
            "ingress_ifindex": 1,
        }
        for name, (address, _) in (("local", local), ("remote", remote)):
            given[f"{name}_ip6" if ipv6 else f"{name}_ip4"] = ip6_words(address) if ipv6 else ip4_be(address)
        context = struct(self.kernel, "bpf_sk_lookup", {**given, **fields})
        result: Result = self._finish_struct(program, context)
        result.verdict = SK[result.retval] if result.retval in (0, 1) else str(result.retval)
        return result

    def sk_lookup(
        self, local: tuple[str, int], remote: tuple[str, int], program: Any = None, **fields: Any
    ) -> Result:
        """The search for a connection's socket: `verdict`, `facts["assigned"]` if one was assigned."""
        fields = {"local": local, "remote": remote, **fields}
        return self._sk_lookup(self._hook("sk_lookup", program), (), fields)

    def _reuseport(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        from .contexts.packet import Packet

        data = packet_bytes(fields.pop("packet", b"") if not args else args[0])
        sock = self._some_sock(fields)
        packet = Packet(self.memory, data)
        if fields.get("migrating_sk") is not None:
            fields["migrating_sk"] = int(self.uapi_sock(fields["migrating_sk"]))
        given = {"len": len(data), "ip_protocol": 6, "eth_protocol": 8, **fields, "sk": int(sock)}
        context = struct(self.kernel, "sk_reuseport_md", given)
        assert context.fields is not None
        context.fields.data, context.fields.data_end = packet.data, packet.data_end
        context.packet, context.sock = packet, sock
        result: Result = self._finish_struct(program, context)
        result.verdict = SK[result.retval] if result.retval in (0, 1) else str(result.retval)
        return result

    def sk_reuseport(self, packet: bytes = b"", program: Any = None, **fields: Any) -> Result:
        """The choice of a socket among those of one port; the packet begins with the TCP or UDP header.

        `migrating_sk` is the socket whose connection needs another one. What was chosen is
        `facts["selected"]`.
        """
        found = [p for p in self.programs.values() if p.type == SK_REUSEPORT]
        chosen = found[0] if program is None and len(found) == 1 else self._hook("sk_reuseport", program)
        return self._reuseport(chosen, (packet,), fields)

    def _lirc(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        sample = args[0] if args else fields.get("sample", 0)
        region = self.memory.alloc(8, "ctx", writable=False, name="sample")
        region.data[:4] = (sample & 0xFFFF_FFFF).to_bytes(4, "little")
        result: Result = self._finish_struct(program, Context(region))
        return result

    def lirc(self, sample: int, program: Any = None) -> Result:
        """A sample of an infrared receiver, as `LIRC_MODE2_…` codes it."""
        return self._lirc(self._hook("lirc_mode2", program), (sample,), {})
