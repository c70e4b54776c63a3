"""What is attached to the network, as the kernel tells it: by interface, by namespace, by hook.

XDP and classic tc come by route netlink, tcx and netkit by BPF_PROG_QUERY, netfilter from the list of links.
Functions raise `OSError` with the kernel's errno.
"""

from __future__ import annotations

import errno
import os
from struct import Struct

from probee import sys as kernel_calls
from probee.sys import netlink
from probee.sys.netlink import Route, attributes, header, number, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.link_info import NetfilterLink

# if_link.h
IFLA_IFNAME, IFLA_XDP = 3, 43
_IFLA_XDP_ATTACHED, _IFLA_XDP_PROG_ID = 2, 4
_IFLA_XDP_BY_MODE = {"driver": 5, "generic": 6, "offload": 7}
_XDP_MODES = {1: "driver", 2: "generic", 3: "offload"}
_XDP_MULTI = 4
# pkt_sched.h, pkt_cls.h, tc_bpf.h
TC_H_ROOT = 0xFFFFFFFF
TC_H_INGRESS, TC_H_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3  # of clsact
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_ACT, _TCA_BPF_NAME, _TCA_BPF_FLAGS, _TCA_BPF_ID = 1, 7, 8, 11
_TCA_ACT_KIND, _TCA_ACT_OPTIONS = 1, 2
_TCA_ACT_BPF_NAME, _TCA_ACT_BPF_ID = 6, 9
_DIRECT_ACTION = 1
# enum bpf_attach_type
FLOW_DISSECTOR, SK_LOOKUP = 17, 36
ORDERED = {"tcx/ingress": 46, "tcx/egress": 47, "netkit/primary": 54, "netkit/peer": 55}

_IFINFO = Struct("=BxHiII")
_TCMSG = Struct("=BxxxiIII")


class Device:
    """A network interface; `xdp` are pairs of mode (generic, driver, offload) and program id."""

    __slots__ = ("index", "name", "xdp")

    def __init__(self, index: int, name: str, xdp: list[tuple[str, int]]) -> None:
        self.index = index
        self.name = name
        self.xdp = xdp


class TcFilter:
    """A BPF filter of classic tc. `place` names what it hangs on: clsact/ingress, clsact/egress, a qdisc.

    `info` is the kernel's word for priority and protocol; `actions` are (name, id) of BPF actions.
    """

    __slots__ = ("actions", "direct_action", "handle", "id", "name", "parent", "place", "priority")

    def __init__(
        self,
        place: str,
        parent: int,
        priority: int,
        handle: int,
        name: str,
        id: int,
        direct_action: bool,
        actions: list[tuple[str, int]] | None,
    ) -> None:
        self.place = place
        self.parent = parent
        self.priority = priority
        self.handle = handle
        self.name = name
        self.id = id
        self.direct_action = direct_action
        self.actions = actions


class Ordered:
    """A program of tcx or netkit; `link_id` is 0 where it is attached without a link."""

    __slots__ = ("link_flags", "link_id", "prog_flags", "prog_id")

    def __init__(self, prog_id: int, prog_flags: int, link_id: int, link_flags: int) -> None:
        self.prog_id = prog_id
        self.prog_flags = prog_flags
        self.link_id = link_id
        self.link_flags = link_flags


def devices(route: Route, index: int = 0) -> list[Device]:
    """The interfaces of the namespace, or the one with this index, with their XDP programs."""
    if index:
        # Family AF_UNSPEC, and no flags: one object.
        answers = route.request(netlink.RTM_GETLINK, _IFINFO.pack(0, 0, index, 0, 0), 0)
    else:
        answers = route.dump(netlink.RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0))
    found = []
    for body in answers:
        number_of = header(_IFINFO, body)[2]
        facts = attributes(body[_IFINFO.size :])
        name = text(facts[IFLA_IFNAME]) if IFLA_IFNAME in facts else ""
        found.append(Device(number_of, name, _xdp(facts.get(IFLA_XDP))))
    return found


def _xdp(data: memoryview | None) -> list[tuple[str, int]]:
    if data is None:
        return []
    facts = attributes(data)
    mode = number(facts[_IFLA_XDP_ATTACHED]) if _IFLA_XDP_ATTACHED in facts else 0
    if mode == _XDP_MULTI:
        by_mode = [(name, facts.get(kind)) for name, kind in _IFLA_XDP_BY_MODE.items()]
        order = ("generic", "driver", "offload")
        found = [(name, number(id)) for name, id in by_mode if id is not None]
        return sorted(found, key=lambda one: order.index(one[0]))
    if mode in _XDP_MODES:
        return [(_XDP_MODES[mode], number(facts[_IFLA_XDP_PROG_ID]) if _IFLA_XDP_PROG_ID in facts else 0)]
    return []


def xdp_of(index: int) -> list[tuple[str, int]]:
    """(mode, program id) of what XDP runs on the interface; empty if nothing, or if it is gone."""
    with Route() as route:
        try:
            return [pair for device in devices(route, index) for pair in device.xdp]
        except OSError as error:
            if error.errno == errno.ENODEV:
                return []
            raise


def qdiscs(route: Route, index: int, kind: int = netlink.RTM_GETQDISC) -> list[tuple[str, int, int]]:
    """(kind, handle, parent) of the queueing disciplines (or classes) of an interface."""
    found = []
    for body in _of_interface(route, kind, index, 0):
        _, _, handle, parent, _ = header(_TCMSG, body)
        facts = attributes(body[_TCMSG.size :])
        found.append((text(facts[_TCA_KIND]) if _TCA_KIND in facts else "unknown", handle, parent))
    return found


def _of_interface(route: Route, kind: int, index: int, parent: int) -> list[bytes]:
    try:
        answers = route.dump(kind, _TCMSG.pack(0, index, 0, parent, 0))
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.EINVAL, errno.ENOENT):
            return []  # no such interface or qdisc any more: nothing hangs there
        raise
    return [body for body in answers if header(_TCMSG, body)[1] == index]


def filters(route: Route, index: int, place: str, parent: int) -> list[TcFilter]:
    """The BPF filters under `parent`, a handle, in the order they run."""
    found = []
    for body in _of_interface(route, netlink.RTM_GETTFILTER, index, parent):
        _, _, handle, _, info = header(_TCMSG, body)
        facts = attributes(body[_TCMSG.size :])
        if _TCA_OPTIONS not in facts or _TCA_KIND not in facts or text(facts[_TCA_KIND]) != "bpf":
            continue
        options = attributes(facts[_TCA_OPTIONS])
        if not options:
            continue  # the head of a priority, not a filter
        found.append(
            TcFilter(
                place,
                parent,
                info >> 16,
                handle,
                text(options[_TCA_BPF_NAME]) if _TCA_BPF_NAME in options else "",
                number(options[_TCA_BPF_ID]) if _TCA_BPF_ID in options else 0,
                bool(number(options[_TCA_BPF_FLAGS]) & _DIRECT_ACTION)
                if _TCA_BPF_FLAGS in options
                else False,
                _actions(options[_TCA_BPF_ACT]) if _TCA_BPF_ACT in options else None,
            )
        )
    return found


def any_filter(route: Route, index: int, parent: int) -> bool:
    """Whether filters of any kind hang under `parent`."""
    return bool(_of_interface(route, netlink.RTM_GETTFILTER, index, parent))


def _actions(data: memoryview) -> list[tuple[str, int]]:
    found = []
    for action in attributes(data).values():
        facts = attributes(action)
        if _TCA_ACT_KIND in facts and text(facts[_TCA_ACT_KIND]) == "bpf" and _TCA_ACT_OPTIONS in facts:
            options = attributes(facts[_TCA_ACT_OPTIONS])
            name = text(options[_TCA_ACT_BPF_NAME]) if _TCA_ACT_BPF_NAME in options else ""
            found.append((name, number(options[_TCA_ACT_BPF_ID]) if _TCA_ACT_BPF_ID in options else 0))
    return found


def tc_of(route: Route, index: int) -> list[TcFilter]:
    """Every BPF filter of classic tc on an interface."""
    places = [(kind, handle) for kind, handle, _ in qdiscs(route, index, netlink.RTM_GETTCLASS)]
    places += [(kind, handle) for kind, handle, _ in qdiscs(route, index) if kind != "clsact" and handle]
    places += [("root", TC_H_ROOT), ("clsact/ingress", TC_H_INGRESS), ("clsact/egress", TC_H_EGRESS)]
    return [one for place, parent in places for one in filters(route, index, place, parent)]


def ordered(index: int, attach_type: int) -> list[Ordered]:
    """The programs of tcx or netkit on an interface, in order. Empty where there is no such hook."""
    try:
        query = kernel_calls.kernel().prog_query(index, attach_type)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            raise
        return []
    count = len(query.prog_ids)
    return [
        Ordered(*facts)
        for facts in zip(
            query.prog_ids,
            query.prog_flags or [0] * count,
            query.link_ids or [0] * count,
            query.link_flags or [0] * count,
            strict=True,
        )
    ]


def of_namespace(fd: int, attach_type: int) -> list[int]:
    """Ids of the programs of a network namespace: flow dissector or sk_lookup."""
    try:
        return kernel_calls.kernel().prog_query(fd, attach_type).prog_ids
    except OSError as error:
        if error.errno == errno.EINVAL:
            return []  # the kernel can't tell
        raise


def flow_dissector() -> list[int]:
    """Ids of the flow dissector of the thread's network namespace, at most one."""
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return of_namespace(fd, FLOW_DISSECTOR)
    finally:
        os.close(fd)


def netfilter() -> list[NetfilterLink]:
    """All netfilter links of the machine, ordered by family, hook and priority. Needs CAP_SYS_ADMIN."""
    from probee.kernel.link_info import NetfilterLink
    from probee.kernel.links.every import each

    found = [one for one in each() if isinstance(one, NetfilterLink)]
    return sorted(found, key=lambda one: (one.pf, one.hooknum, one.priority, one.flags))
