"""Packets through XDP, tc, socket filters, cgroup and lwt programs, flow dissectors and netfilter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ProbeeError
from .contexts.base import PacketContext, struct
from .contexts.checksum import Checksum
from .contexts.packet import Packet, packet_bytes
from .core import Core
from .kernel_memory import Object
from .load import Program
from .results import LWT, NETFILTER, SK, TC, XDP, PacketResult, Result

# Program types (linux/bpf.h).
SOCKET_FILTER, SCHED_CLS, SCHED_ACT, XDP_TYPE, CGROUP_SKB = 1, 3, 4, 6, 8
LWT_IN, LWT_OUT, LWT_XMIT, SK_SKB, LWT_SEG6LOCAL, FLOW_DISSECTOR, NETFILTER_TYPE = 10, 11, 12, 14, 19, 22, 32
_LAYER3 = (CGROUP_SKB, LWT_IN, LWT_OUT, LWT_XMIT, LWT_SEG6LOCAL)
_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_ETHERNET = 14
_FROM_DRIVERS = ("rx_hash", "rx_timestamp", "rx_vlan")

Build = Callable[[Program, tuple[Any, ...], dict[str, Any]], Result]


class Packets(Core):
    """What `Machine` has of these."""

    def _packet_types(self) -> dict[int, Build]:
        skb = (
            SOCKET_FILTER,
            SCHED_CLS,
            SCHED_ACT,
            CGROUP_SKB,
            LWT_IN,
            LWT_OUT,
            LWT_XMIT,
            LWT_SEG6LOCAL,
            SK_SKB,
        )
        return {
            XDP_TYPE: self._xdp,
            FLOW_DISSECTOR: self._dissect,
            NETFILTER_TYPE: self._netfilter,
            **dict.fromkeys(skb, self._skb),
        }

    def _packet_program(self, program: Any, types: tuple[int, ...], what: str) -> Program:
        """A program by itself, its name or its declaration; the only one of its types if none is named."""
        if isinstance(program, Program):
            return program
        if program is not None:
            name = getattr(program, "name", program)
            found = self.programs.get(name)
            if found is None:
                raise ProbeeError(f"there is no program {name!r}; there are {', '.join(self.programs)}")
            return found
        fitting = [p for p in self.programs.values() if p.type in types]
        if len(fitting) != 1:
            have = ", ".join(p.name for p in fitting) or "none"
            raise ProbeeError(f"which {what} program? there are {have}")
        return fitting[0]

    def xdp(self, packet: Any, program: Any = None, **fields: Any) -> PacketResult:
        """A packet through an XDP program: bytes from the Ethernet header on, or a packet of scapy's.

        Fields: `ingress_ifindex` (1), `rx_queue_index` (0), `egress_ifindex`, `meta` (metadata before the
        packet), `linear` (how many bytes programs see directly), `headroom`; what a driver tells:
        `rx_timestamp`, `rx_hash` (the hash and its type), `rx_vlan` (0x8100 and the tag). The result has
        `verdict` ("PASS", "DROP", "TX", "REDIRECT", "ABORTED"), `packet`, `meta`, `redirect`.
        """
        chosen = self._packet_program(program, (XDP_TYPE,), "XDP")
        return self._xdp(chosen, (packet,), fields)

    def _xdp(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> PacketResult:
        told = {name: fields.pop(name) for name in _FROM_DRIVERS if name in fields}
        facts = {**fields.pop("facts", {}), **told}
        packet = self._packet(program, args, fields)
        given = {"ingress_ifindex": 1, **fields}
        context = PacketContext(self.kernel, "xdp_md", given, packet)
        context.facts.update(facts)
        result = self._run_packet(program, context)
        result.verdict = XDP[result.retval] if 0 <= result.retval < len(XDP) else "ABORTED"
        return result

    def tc(self, packet: Any, program: Any = None, **fields: Any) -> PacketResult:
        """A packet through a tc (or tcx, netkit) program: bytes from the Ethernet header on, or scapy's.

        Fields are those of `__sk_buff`, as `mark`, `priority`, `ifindex`, `ingress_ifindex`, `cb`,
        `vlan_tci`, `tc_classid`; and `linear`, `headroom`, `sock` (one of `machine.sock(…)`), `checksum`
        (what the network card said: "NONE", "UNNECESSARY", "COMPLETE", "PARTIAL"), `facts` (a dict of what
        helpers tell: `tunnel`, `tunnel_options`, `realm`). The result has `verdict`
        ("OK", "SHOT", "REDIRECT", …), `packet`, `redirect`, `mark`, `cb`, `checksum`.
        """
        return self._skb(self._packet_program(program, (SCHED_CLS, SCHED_ACT), "tc"), (packet,), fields)

    def skb(self, packet: Any, program: Any = None, **fields: Any) -> PacketResult:
        """The same for any other program that sees an skb: socket filters, cgroup_skb, lwt, sk_skb.

        The packet of cgroup_skb and lwt programs begins with the IP header.
        """
        kinds = (SOCKET_FILTER, CGROUP_SKB, LWT_IN, LWT_OUT, LWT_XMIT, LWT_SEG6LOCAL, SK_SKB)
        return self._skb(self._packet_program(program, kinds, "skb"), (packet,), fields)

    def _skb(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> PacketResult:
        sock, state = fields.pop("sock", None), fields.pop("checksum", "NONE")
        facts = fields.pop("facts", {})
        packet = self._packet(program, args, fields)
        given = {"ifindex": 1, "ingress_ifindex": 1, "protocol": self._protocol(program, packet.payload)}
        given.update(fields)
        checksum = Checksum(state, packet.payload, link=program.type not in _LAYER3)
        context = PacketContext(self.kernel, "__sk_buff", given, packet, checksum)
        context.facts.update(facts)
        if sock is not None:
            self._attach_sock(context, sock)
        result = self._run_packet(program, context)
        self._name(program, result)
        return result

    def _attach_sock(self, context: Any, sock: Any) -> None:
        uapi = self.uapi_sock(sock)  # type: ignore[attr-defined]
        context.sock = uapi
        fields = context.fields
        fields.sk = int(uapi)
        fields.family, fields.local_port = uapi.family, uapi.src_port
        fields.local_ip4, fields.remote_ip4 = uapi.src_ip4, uapi.dst_ip4
        fields.local_ip6, fields.remote_ip6 = list(uapi.src_ip6), list(uapi.dst_ip6)
        fields.remote_port = uapi.dst_port << 16

    def _packet(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Packet:
        data = fields.pop("packet", None) if not args else args[0]
        if data is None:
            raise ProbeeError(f"{program.name} wants a packet: bytes, or one of scapy's")
        names = ("linear", "meta", "headroom")
        options: dict[str, Any] = {name: fields.pop(name) for name in names if name in fields}
        if program.type in _LAYER3:
            options["before"] = b""
        return Packet(self.memory, packet_bytes(data), **options)

    def _protocol(self, program: Program, data: bytes) -> int:
        """`skb->protocol`: the type of the payload, in network order."""
        if program.type in _LAYER3:
            kind = _ETH_P_IPV6 if data[:1] and data[0] >> 4 == 6 else _ETH_P_IP
            wire = kind.to_bytes(2, "big")
        else:
            wire = data[12:14].ljust(2, b"\0")
        return int.from_bytes(wire, "little")

    def _run_packet(self, program: Program, context: PacketContext) -> PacketResult:
        try:
            result = PacketResult(program.name, self.run(program, context))
            assert context.packet is not None
            result.packet, result.meta = context.packet.payload, context.packet.meta
            result.checksum = context.checksum
            result.checksum.data = result.packet
            result.facts = context.facts
            result.context = self._fields_of(context.fields)
        finally:
            context.free(self.memory)
        return result

    def _fields_of(self, made: Object | None) -> dict[str, Any]:
        """The fields of a context as plain values."""
        if made is None:
            return {}
        out: dict[str, Any] = {}
        for name in self.kernel.fields(made._type):
            value = getattr(made, name)
            if isinstance(value, Object):
                value = int(value)
            out[name] = list(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
        return out

    def _name(self, program: Program, result: PacketResult) -> None:
        code = result.retval
        if program.type in (SCHED_CLS, SCHED_ACT):
            result.verdict = TC.get(code, str(code))
        elif program.type in (LWT_IN, LWT_OUT, LWT_XMIT, LWT_SEG6LOCAL):
            result.verdict = LWT.get(code, str(code))
        elif program.type == CGROUP_SKB:
            result.deny(0 if code & 1 else 1)
        elif program.kind.startswith("sk_skb") and "parser" not in program.kind:
            result.verdict = SK[code] if code in (0, 1) else str(code)
        elif program.type == SOCKET_FILTER:
            kept = max(0, min(result.r0 & 0xFFFF_FFFF, len(result.packet)))
            result.verdict = "PASS" if kept else "DROP"
            result.packet = result.packet[:kept]

    # ---- flow dissectors and netfilter

    def flow_dissector(self, packet: Any, program: Any = None, **fields: Any) -> PacketResult:
        """A packet through a flow dissector; the result's `context` has the flow's keys."""
        return self._dissect(
            self._packet_program(program, (FLOW_DISSECTOR,), "flow dissector"), (packet,), fields
        )

    def _dissect(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> PacketResult:
        packet = self._packet(program, args, fields)
        wire = packet.payload[12:14].ljust(2, b"\0")
        keys = struct(self.kernel, "bpf_flow_keys", {})
        assert keys.fields is not None
        keys.fields.nhoff = keys.fields.thoff = _ETHERNET
        keys.fields.n_proto = int.from_bytes(wire, "little")
        for name, value in fields.items():
            keys.fields[name] = value
        given = {"protocol": int.from_bytes(wire, "little")}
        context = PacketContext(self.kernel, "__sk_buff", given, packet)
        context.extra.append(keys.region)
        assert context.fields is not None
        context.fields.flow_keys = keys.address
        try:
            result = PacketResult(program.name, self.run(program, context))
            result.verdict = LWT.get(result.retval, str(result.retval))
            result.packet = packet.payload
            result.context = self._fields_of(keys.fields)
        finally:
            context.free(self.memory)
        return result

    def netfilter(
        self, packet: Any, program: Any = None, *, hook: int = 1, family: int = 2, **fields: Any
    ) -> PacketResult:
        """A packet, from its IP header on, through a netfilter program.

        `hook` is NF_INET_…, `family` NFPROTO_…, `in_device` and `out_device` are of `machine.net_device(…)`.
        """
        chosen = self._packet_program(program, (NETFILTER_TYPE,), "netfilter")
        return self._netfilter(chosen, (packet,), {"hook": hook, "family": family, **fields})

    def _netfilter(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> PacketResult:
        packet = self._packet(program, args, fields)
        devices = {"in": fields.pop("in_device", None), "out": fields.pop("out_device", None)}
        state = self.kernel.new(
            "nf_hook_state", hook=fields.pop("hook", 1), pf=fields.pop("family", 2), **devices
        )
        # A buffer of the kernel, of which helpers and dynptrs see the packet.
        skb = self.kernel.new(
            "sk_buff", len=packet.length, data=packet.data, head=packet.data - packet.headroom
        )
        for name, value in fields.items():
            skb[name] = value
        context = struct(self.kernel, "bpf_nf_ctx", {"state": state, "skb": skb}, writable=False)
        context.packet = packet
        self.services.contexts[int(skb)] = context
        try:
            result = PacketResult(program.name, self.run(program, context))
            result.packet = packet.payload
            result.facts = context.facts
            result.verdict = NETFILTER[result.retval] if result.retval in (0, 1) else str(result.retval)
        finally:
            self.services.contexts.pop(int(skb), None)
            context.free(self.memory)
        return result
