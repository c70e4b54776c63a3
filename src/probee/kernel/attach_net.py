"""`NetworkHooks`: the methods of `Program` that attach to the network, sockets and cgroups."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os

    from probee.kernel.links.anchors import Anchor
    from probee.kernel.links.attached import Attachment
    from probee.kernel.links.base import Link
    from probee.kernel.links.lwt import LwtRoute
    from probee.kernel.links.socket import HasFileno, SocketLink
    from probee.kernel.links.sockmap import HasFd
    from probee.kernel.links.tc import TcLink
    from probee.kernel.program import Program

# Kind of section -> method.
NETWORK: dict[str, str] = {
    "xdp": "attach_xdp",
    "xdp.frags": "attach_xdp",
    "tc": "attach_tc",
    "classifier": "attach_tc",
    "tc/ingress": "attach_tcx",
    "tc/egress": "attach_tcx",
    "tcx/ingress": "attach_tcx",
    "tcx/egress": "attach_tcx",
    "netkit/primary": "attach_netkit",
    "netkit/peer": "attach_netkit",
    "netfilter": "attach_netfilter",
    "sk_lookup": "attach_sk_lookup",
    "flow_dissector": "attach_flow_dissector",
    "sk_msg": "attach_sockmap",
    "sk_skb": "attach_sockmap",
    "sk_skb/stream_parser": "attach_sockmap",
    "sk_skb/stream_verdict": "attach_sockmap",
    "sk_skb/verdict": "attach_sockmap",
    "socket": "attach_socket",
    "sk_reuseport": "attach_reuseport",
    "sk_reuseport/migrate": "attach_reuseport",
    "lwt_in": "attach_lwt",
    "lwt_out": "attach_lwt",
    "lwt_xmit": "attach_lwt",
    "lwt_seg6local": "attach_lwt",
    "lirc_mode2": "attach_lirc",
    "cgroup_skb/ingress": "attach_cgroup",
    "cgroup_skb/egress": "attach_cgroup",
    "cgroup/skb": "attach_cgroup",
    "sockops": "attach_cgroup",
    "lsm_cgroup": "attach_cgroup",
}
for _name in [
    "sock_create",
    "sock_release",
    "sock",
    "post_bind4",
    "post_bind6",
    "sysctl",
    "getsockopt",
    "setsockopt",
    "dev",
    "bind4",
    "bind6",
    "connect4",
    "connect6",
    "connect_unix",
    "sendmsg4",
    "sendmsg6",
    "sendmsg_unix",
    "recvmsg4",
    "recvmsg6",
    "recvmsg_unix",
    "getpeername4",
    "getpeername6",
    "getpeername_unix",
    "getsockname4",
    "getsockname6",
    "getsockname_unix",
]:
    NETWORK[f"cgroup/{_name}"] = "attach_cgroup"


class NetworkHooks(Attachable):
    """XDP, tc, netfilter, sockets, cgroups.

    Interfaces are given by name or index, in the calling thread's network namespace. What is attached without
    a BPF link (`link=False`, or hooks that have none) stays in the kernel even if the process ends, until it
    is closed: `leave()` of such a link closes it and leaves the program where it is.
    """

    __slots__ = ()

    def attach_xdp(
        self,
        interface: str | int,
        *,
        mode: str = "",
        replace: Program | bool = False,
        link: bool | None = None,
    ) -> Link:
        """Run on each packet that an interface receives, first of all (Linux 4.8; link 5.9). Type `xdp`.

        `mode`: `native` (in the driver), `generic` (any driver, slower), `offload` (in the card); by default
        native where the driver can, else generic. A BPF link is tried first, then route netlink; `link`
        demands one of them. `replace` (without a link) puts the program in the place of another that has no
        link: of that very program, or of any with True.
        """
        from probee.kernel.links import xdp

        return xdp.attach(self, interface, mode=mode, replace=replace, link=link)

    def attach_tc(
        self,
        interface: str | int,
        direction: str = "",
        *,
        priority: int = 0,
        handle: int = 0,
        direct_action: bool = True,
        classid: int = 0,
        replace: bool = False,
    ) -> TcLink:
        """Run as a filter of classic tc, `ingress` or `egress` (Linux 4.5). Type `sched_cls`.

        It hangs under the qdisc clsact, which is made if it is missing. The kernel chooses a free `priority`
        (filters run from low to high) and `handle` if they are 0. With `direct_action` the program's return
        value is the verdict (TC_ACT_…), without it the class id, where -1 stands for `classid` and 0 for no
        match. `replace` puts it in the place of the filter with that priority and handle.
        """
        from probee.kernel.links import tc

        return tc.attach(
            self,
            interface,
            direction,
            priority=priority,
            handle=handle,
            direct_action=direct_action,
            classid=classid,
            replace=replace,
        )

    def attach_tcx(
        self,
        interface: str | int,
        direction: str = "",
        *,
        before: Anchor = None,
        after: Anchor = None,
        first: bool = False,
        last: bool = False,
        revision: int = 0,
        replace: Program | None = None,
        link: bool = True,
    ) -> Link:
        """Run at `ingress` or `egress` of an interface, in order with others (Linux 6.6). Type `sched_cls`.

        `before` and `after` name another program there: a `Program`, a link, a program's id or a `LinkId`; by
        default it goes last. With `revision` it is attached only if nothing has changed since that revision
        was queried. Without a link, `replace` puts it in the place of another program that has none.
        """
        from probee.kernel.links import tcx

        return tcx.attach(
            self,
            interface,
            direction,
            before=before,
            after=after,
            first=first,
            last=last,
            revision=revision,
            replace=replace,
            link=link,
        )

    def attach_netkit(
        self,
        interface: str | int,
        end: str = "",
        *,
        before: Anchor = None,
        after: Anchor = None,
        first: bool = False,
        last: bool = False,
        revision: int = 0,
        replace: Program | None = None,
        link: bool = True,
    ) -> Link:
        """Run on what the `primary` or the `peer` end of a netkit pair sends (Linux 6.7). Type `sched_cls`.

        `interface` is the primary end. The order is as of `attach_tcx`.
        """
        from probee.kernel.links import netkit

        return netkit.attach(
            self,
            interface,
            end,
            before=before,
            after=after,
            first=first,
            last=last,
            revision=revision,
            replace=replace,
            link=link,
        )

    def attach_netfilter(
        self,
        family: str | int = "ipv4",
        hook: str | int = "input",
        *,
        priority: int = 0,
        defrag: bool = False,
    ) -> Link:
        """Run at a netfilter hook of the current network namespace (Linux 6.4). Type `netfilter`.

        `family` is `ipv4` or `ipv6`; `hook` is `prerouting`, `input`, `forward`, `output` or `postrouting`;
        lower priorities run first, and no two are the same. With `defrag` (6.6) packets come whole.
        """
        from probee.kernel.links import netfilter

        return netfilter.attach(self, family, hook, priority=priority, defrag=defrag)

    def attach_cgroup(
        self,
        cgroup: str | os.PathLike[str] | int,
        hook: str = "",
        *,
        before: Anchor = None,
        after: Anchor = None,
        first: bool = False,
        last: bool = False,
        revision: int = 0,
        preorder: bool = False,
        mode: str = "multi",
        replace: Program | None = None,
        link: bool = True,
    ) -> Link:
        """Run for the processes of a cgroup (version 2) and of those below it (Linux 4.10; link 5.7).

        `cgroup` is its folder, absolute or below the mount, or a descriptor. `hook` is needed only where the
        section name doesn't tell: `egress`, `connect4`… Order: as of `attach_tcx` (Linux 6.17); `preorder`
        runs it before the programs of cgroups below (6.15). Without a link: `mode` `multi`, `override` or
        `exclusive` says whether cgroups below may add, override, or do neither; `replace` puts it in the
        place of another program in mode multi (5.6).
        """
        from probee.kernel.links import cgroup as hooks

        return hooks.attach(
            self,
            cgroup,
            hook,
            before=before,
            after=after,
            first=first,
            last=last,
            revision=revision,
            preorder=preorder,
            mode=mode,
            replace=replace,
            link=link,
        )

    def attach_sockmap(self, map: HasFd | int, hook: str = "", *, link: bool | None = None) -> Link:
        """Run on what the sockets in a sockmap or sockhash send (type `sk_msg`) or receive (`sk_skb`).

        It is for sockets that are stored from then on; those in the map keep the programs they came with.

        `hook` is needed only where the section name doesn't tell: `stream_parser`, `stream_verdict`,
        `verdict` (5.13) or `msg_verdict`. A BPF link where the kernel has them (6.10), BPF_PROG_ATTACH
        elsewhere (4.14).
        """
        from probee.kernel.links import sockmap

        return sockmap.attach(self, map, hook, link=link)

    def attach_netns(
        self, namespace: str | os.PathLike[str] | int | None = None, *, pid: int | None = None
    ) -> Link:
        """Run for a network namespace (Linux 5.8; `sk_lookup` 5.9). Type `sk_lookup` or `flow_dissector`.

        `namespace` is a path, a name that `ip netns` lists, or a descriptor; `pid` a process in it; with
        neither it is the current one.
        """
        from probee.kernel.links import netns

        return netns.attach(self, namespace, pid=pid)

    attach_sk_lookup = attach_flow_dissector = attach_netns

    def attach_socket(self, sock: HasFileno | int) -> SocketLink:
        """Filter what a socket receives; the program returns how many bytes are kept (Linux 3.19).

        Type `socket_filter`. `sock` is a socket or its descriptor; it is not kept open.
        """
        from probee.kernel.links import socket

        return socket.attach(self, sock)

    def attach_reuseport(self, sock: HasFileno | int) -> SocketLink:
        """Choose, for each connection or datagram, one of the sockets that share `sock`'s port (Linux 4.5).

        Type `sk_reuseport` (4.19), or `socket_filter`, which returns the index of one. The sockets have
        SO_REUSEPORT.
        """
        from probee.kernel.links import socket

        return socket.attach_reuseport(self, sock)

    def attach_lwt(
        self,
        destination: str,
        *,
        interface: str | int = "",
        gateway: str = "",
        table: int = 0,
        metric: int = 0,
        headroom: int = 0,
    ) -> LwtRoute:
        """Run on the packets of a route to `destination` (`10.0.0.0/8`), which is made for it (Linux 4.10).

        Type `lwt_in`, `lwt_out`, `lwt_xmit` (`headroom`: bytes to keep free in front) or `lwt_seg6local`
        (4.18).
        """
        from probee.kernel.links import lwt

        return lwt.attach(
            self,
            destination,
            interface=interface,
            gateway=gateway,
            table=table,
            metric=metric,
            headroom=headroom,
        )

    def attach_lirc(self, device: str | os.PathLike[str] = "/dev/lirc0") -> Attachment:
        """Decode what an infrared receiver sees (Linux 4.18). Type `lirc_mode2`; needs the device."""
        from probee.kernel.links import lirc

        return lirc.attach(self, device)
