"""Decorators of network, socket and cgroup programs.

Each takes what `bp.attach()` attaches the program to; without it the program is loaded, and attached by hand:
`session.programs["name"].attach_xdp("eth0")`. Sections are libbpf's. All may be written without parentheses
when they are given nothing.
"""

from __future__ import annotations

from ..decl.programs import ProgramDecl
from ..decl.refuse import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BY_HAND: tuple[str, tuple[Any, ...], dict[str, Any]] = ("", (), {})


def make(kind: str, section: str, target: Any, method: str, *more: Any, **how: Any) -> Any:
    """The decorator, or the program when it was written without parentheses."""
    plain = hasattr(target, "__code__") or isinstance(target, ProgramDecl)

    def decorate(fn: Any) -> ProgramDecl:
        made = ProgramDecl(fn, kind, (section,))
        made.attachment = _BY_HAND
        if target is not None and not plain:
            made.attachment = (method, (target, *more), {k: v for k, v in how.items() if v is not None})
        return made

    return decorate(target) if plain else decorate


def one_of(kind: str, what: str, value: object, allowed: str) -> str:
    """`value` if it is one of the allowed words."""
    if not isinstance(value, str) or value not in allowed.split():
        raise refuse(f"@{kind}: {value!r} is no {what}", f"it is one of {', '.join(allowed.split())}")
    return value


# ---- packets ----


def xdp(interface: Any = None, *, frags: bool = False, mode: str | None = None, at: str = "") -> Any:
    """Run on each packet that an interface receives, first of all (Linux 4.8).

    `frags`: packets may be larger than a page (5.18). `at` is "devmap" or "cpumap" for programs that run
    where another redirects to. `mode` is native, generic or offload.
    """
    section = "xdp.frags" if frags else "xdp"
    if at:
        section += "/" + one_of("xdp", "place", at, "devmap cpumap")
    return make("xdp", section, interface, "attach_xdp", mode=mode)


def tc(interface: Any = None, direction: str = "ingress", *, priority: int | None = None) -> Any:
    """Run as a filter of classic tc, at an interface's `ingress` or `egress` (Linux 4.5)."""
    one_of("tc", "direction", direction, "ingress egress")
    return make("tc", "tc", interface, "attach_tc", direction, priority=priority)


def action(fn: Any = None) -> Any:
    """Run as an action of classic tc behind a filter of any kind, `tc filter add … action bpf` (4.1)."""
    return make("action", "action", fn, "")


def tcx(interface: Any = None, direction: str = "ingress") -> Any:
    """Run at an interface's `ingress` or `egress`, in order with others (Linux 6.6)."""
    one_of("tcx", "direction", direction, "ingress egress")
    return make("tcx", f"tcx/{direction}", interface, "attach_tcx")


def netkit(interface: Any = None, end: str = "primary") -> Any:
    """Run on what the `primary` or the `peer` end of a netkit pair sends (Linux 6.7)."""
    one_of("netkit", "end", end, "primary peer")
    return make("netkit", f"netkit/{end}", interface, "attach_netkit")


def netfilter(
    family: Any = None, hook: str = "input", *, priority: int | None = None, defrag: bool | None = None
) -> Any:
    """Run at a netfilter hook of "ipv4" or "ipv6": prerouting, input, forward, output, postrouting (6.4).

    The parameter has `skb` and `state`. Lower priorities run first; `defrag`: packets come whole (6.6).
    """
    one_of("netfilter", "hook", hook, "prerouting input forward output postrouting")
    return make("netfilter", "netfilter", family, "attach_netfilter", hook, priority=priority, defrag=defrag)


def lwt(where: str, destination: Any = None, *, interface: str = "", headroom: int | None = None) -> Any:
    """Run on packets of a route: `where` is in, out, xmit (Linux 4.10) or seg6local (4.18)."""
    section = f"lwt_{one_of('lwt', 'place', where, 'in out xmit seg6local')}"
    return make("lwt", section, destination, "attach_lwt", interface=interface, headroom=headroom)


def flow_dissector(namespace: Any = None) -> Any:
    """Take packets apart for the kernel, in a network namespace: fill in `flow_keys` (Linux 4.20)."""
    return make("flow_dissector", "flow_dissector", namespace, "attach_flow_dissector")


def socket_filter(fn: Any = None) -> Any:
    """Say how many bytes of each packet a socket gets; attach it with `attach_socket` (Linux 3.19)."""
    return make("socket_filter", "socket", fn, "attach_socket")


# ---- sockets ----


def sockops(cgroup: Any = None) -> Any:
    """Run at events of TCP sockets of a cgroup (Linux 4.13)."""
    return make("sockops", "sockops", cgroup, "attach_cgroup")


def sk_msg(sockmap: Any = None) -> Any:
    """Run on what is sent on the sockets of a SockMap or SockHash (Linux 4.17)."""
    return make("sk_msg", "sk_msg", sockmap, "attach_sockmap")


def sk_skb(what: Any = "verdict", sockmap: Any = None) -> Any:
    """Run on what the sockets of a SockMap receive: stream_parser, stream_verdict (4.14), verdict (5.13)."""
    if hasattr(what, "__code__"):  # without parentheses
        return sk_skb()(what)
    one_of("sk_skb", "program", what, "stream_parser stream_verdict verdict")
    return make("sk_skb", f"sk_skb/{what}", sockmap, "attach_sockmap")


def sk_lookup(namespace: Any = None) -> Any:
    """Choose the socket for what comes to a network namespace (Linux 5.9)."""
    return make("sk_lookup", "sk_lookup", namespace, "attach_sk_lookup")


def sk_reuseport(fn: Any = None, *, migrate: bool = False) -> Any:
    """Choose among sockets that share a port; attach it with `attach_reuseport` (4.19; `migrate` 5.14)."""
    return make("sk_reuseport", "sk_reuseport/migrate" if migrate else "sk_reuseport", fn, "attach_reuseport")


# ---- cgroups ----


def cgroup_skb(direction: Any = "ingress", cgroup: Any = None) -> Any:
    """Run on packets that a cgroup's sockets receive (`ingress`) or send (`egress`) (Linux 4.10)."""
    if hasattr(direction, "__code__"):  # without parentheses
        return cgroup_skb()(direction)
    one_of("cgroup_skb", "direction", direction, "ingress egress")
    return make("cgroup_skb", f"cgroup_skb/{direction}", cgroup, "attach_cgroup")


def cgroup_sock(event: Any = "sock_create", cgroup: Any = None) -> Any:
    """Run when a cgroup's socket is made (4.10), bound (post_bind4, post_bind6: 4.17) or released (5.9)."""
    if hasattr(event, "__code__"):  # without parentheses
        return cgroup_sock()(event)
    one_of("cgroup_sock", "event", event, "sock_create sock_release post_bind4 post_bind6")
    return make("cgroup_sock", f"cgroup/{event}", cgroup, "attach_cgroup")


_CALLS = """
    bind4 bind6 connect4 connect6 connect_unix sendmsg4 sendmsg6 sendmsg_unix recvmsg4 recvmsg6 recvmsg_unix
    getpeername4 getpeername6 getpeername_unix getsockname4 getsockname6 getsockname_unix
"""


def cgroup_sock_addr(call: str, cgroup: Any = None) -> Any:
    """Run when a cgroup's task gives or asks for an address: `connect4`, `bind6`, `sendmsg4`… (Linux 4.17).

    `recvmsg` since 5.2, `getpeername` and `getsockname` since 5.8, `…_unix` since 6.7.
    """
    one_of("cgroup_sock_addr", "call", call, _CALLS)
    return make("cgroup_sock_addr", f"cgroup/{call}", cgroup, "attach_cgroup")


def cgroup_sockopt(call: str, cgroup: Any = None) -> Any:
    """Run when a cgroup's task calls `getsockopt` or `setsockopt` (Linux 5.3)."""
    one_of("cgroup_sockopt", "call", call, "getsockopt setsockopt")
    return make("cgroup_sockopt", f"cgroup/{call}", cgroup, "attach_cgroup")


def cgroup_sysctl(cgroup: Any = None) -> Any:
    """Run when a cgroup's task reads or writes a file in /proc/sys (Linux 5.2)."""
    return make("cgroup_sysctl", "cgroup/sysctl", cgroup, "attach_cgroup")


def cgroup_device(cgroup: Any = None) -> Any:
    """Run when a cgroup's task opens or makes a device file (Linux 4.15)."""
    return make("cgroup_device", "cgroup/dev", cgroup, "attach_cgroup")


# ---- others ----


def lirc_mode2(device: Any = None) -> Any:
    """Decode infrared signals (Linux 4.18). The parameter is the sample, a number."""
    return make("lirc_mode2", "lirc_mode2", device, "attach_lirc")


def syscall(fn: Any = None) -> Any:
    """Run by `session.programs["name"].test_run(ctx=…)` (Linux 5.14). The parameter is a Struct of yours."""
    return make("syscall", "syscall", fn, "test_run")
